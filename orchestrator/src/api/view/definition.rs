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
    /// When it was published first.
    pub published_at: DateTime<Utc>,
    /// What the check said when it was published: `proved`, `refuted` or `unproved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
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
    /// The version, now the active one.
    pub version: String,
    /// Whether its content is new.
    pub fresh: bool,
    /// What the check said: `proved`, `refuted` or `unproved`.
    pub verdict: String,
    /// Why it was published although it is not proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<String>,
}
