//! Definitions and their versions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A definition in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionSummary {
    /// Its name.
    pub name: String,
    /// The version that new sagas take, a hash.
    pub version: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The route that starts it, such as `POST /orders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The team that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where its runbook is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<String>,
    /// A version beside it that takes a share of the starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryView>,
}

/// A version that takes a share of the starts, beside the current one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CanaryView {
    /// The version, a hash.
    pub version: String,
    /// How many starts of a hundred it takes.
    pub percent: u8,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What has come of its sagas.
    pub outcomes: OutcomesView,
    /// What has come of the current version's sagas that were started since then.
    pub current: OutcomesView,
}

/// What has come of a version's sagas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutcomesView {
    /// Still on their way.
    pub running: i64,
    /// Waiting for a human.
    pub parked: i64,
    /// Completed.
    pub completed: i64,
    /// Undone.
    pub compensated: i64,
    /// Given up.
    pub abandoned: i64,
    /// The share of those that are not on their way any more and have not completed; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
}

/// The definitions that sagas can be started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionList {
    /// The definitions, by name.
    pub definitions: Vec<DefinitionSummary>,
}

/// One definition with its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionView {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: DefinitionSummary,
    /// JSON Schema of its input.
    pub input: Value,
    /// Its versions, newest first.
    pub versions: Vec<VersionView>,
}

/// A version of a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// The hash of its content.
    pub version: String,
    /// Whether new sagas take it.
    pub active: bool,
    /// How many starts of a hundred it takes as a canary, beside the active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u8>,
    /// When it was published first.
    pub published_at: DateTime<Utc>,
    /// What the check said when it was published: `proved`, `refuted` or `unproved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// At most so many steps were in trouble at once when it was checked, because there are too many combinations; absent
    /// when all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubles: Option<u8>,
    /// Why it was published although it was not proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<String>,
    /// How many of its sagas have not ended.
    #[serde(default)]
    pub unfinished: i64,
    /// Its text.
    pub source: String,
}

/// The answer to a publication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublishedView {
    /// The definition's name.
    pub name: String,
    /// The version, now the active one, or a canary.
    pub version: String,
    /// Whether its content is new.
    pub fresh: bool,
    /// How many starts of a hundred it takes as a canary; absent when it takes all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u8>,
    /// What the check said: `proved`, `refuted` or `unproved`.
    pub verdict: String,
    /// At most so many steps were in trouble at once when it was checked, because there are too many combinations; absent
    /// when all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubles: Option<u8>,
    /// Why it was published although it is not proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<String>,
}

/// Which canary is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryRequest {
    /// The canary's version, or at least 8 of its first digits: what its operator has looked at.
    pub version: String,
    /// Why; it stands in the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
