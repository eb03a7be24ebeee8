//! A saga's history, and what changed nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Failure;

/// A page of history, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// The transitions.
    pub events: Vec<HistoryEvent>,
    /// What came for the saga while these happened and could not be taken in, oldest first; at most 100 on a page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_letters: Vec<LetterLine>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// A dead letter on a saga's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LetterLine {
    /// The letter: `GET /ops/dead-letters/{id}` has its data.
    pub id: i64,
    /// When it was kept.
    pub at: DateTime<Utc>,
    /// Where it came from.
    pub source: String,
    /// Why it could not be taken in.
    pub reason: String,
    /// `kept`, `sent` or `discarded`.
    pub state: String,
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEvent {
    /// The revision that it made.
    pub revision: u32,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened to a saga.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Happening {
    /// When it was taken in.
    pub at: DateTime<Utc>,
    /// `start`, `answer`, `due`, `signal`, `child_ended`, `operator`, `hold`, `log_lost`, `poison`,
    /// `illegal`, `parent_compensates`, or `unreadable` for one that this build cannot read.
    pub kind: String,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `succeeded`, `rejected`, `retryable` or `undecidable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The signal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// What an operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What else a human should read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the event brought: the start's input, an answer's output, a signal's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// A page of what changed nothing, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IgnoredPage {
    /// The records.
    pub ignored: Vec<IgnoredView>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Something that changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IgnoredView {
    /// Orders the log.
    pub id: i64,
    /// Why it changed nothing.
    pub reason: String,
    /// What it was.
    #[serde(flatten)]
    pub what: Happening,
}
