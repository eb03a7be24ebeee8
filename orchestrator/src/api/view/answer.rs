//! What is answered to who starts, signals, acts or probes.

use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// Where more about a saga is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// The saga itself.
    #[serde(rename = "self")]
    pub itself: String,
    /// Its history.
    pub history: String,
}

impl Links {
    /// The links of a saga.
    pub fn of(saga: SagaId) -> Self {
        Self { itself: format!("/sagas/{saga}"), history: format!("/sagas/{saga}/history") }
    }
}

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// The saga's id.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// The definition's name.
    pub definition: String,
    /// Where the saga stands: `running`, `parked`, `completed`, `compensated` or `abandoned`.
    pub status: String,
    /// The same request came before: this is its saga.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// What the saga yields, once it has completed and was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it did not complete, once it was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What may keep it from ending soon, such as a worker that is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Where more about it is.
    pub links: Links,
}

/// Why a saga or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The step, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// A stable code, such as `REJECT_CARD_COMPANY`.
    pub code: String,
    /// In words.
    pub message: String,
}

/// The answer to an operator's action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// The action's id in the mailbox; the same for a repetition with the same `Idempotency-Key`.
    pub id: Uuid,
    /// `applied`, `ignored` (nothing to do), `accepted` (kept, and not taken in yet) or `awaiting_approval` (kept
    /// until a second person decides).
    pub result: String,
    /// Why it was ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The saga's coarse status afterwards.
    pub status: String,
    /// Its revision afterwards.
    #[serde(default)]
    pub revision: u32,
    /// What happened, in words: `running: pay running`, `parked again: pay: CARD_REFUSED …`.
    #[serde(default)]
    pub happened: String,
    /// The approval that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Uuid>,
    /// Where more about it is.
    pub links: Links,
}

/// The answer to a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Signalled {
    /// The signal's id in the mailbox; the same for a repetition with the same `Idempotency-Key`.
    pub id: Uuid,
    /// `applied` (it ended a wait, is kept for one, or came too late and is an anomaly now), `ignored` (nothing waits for
    /// it), or `accepted` (kept, and not taken in yet).
    pub result: String,
    /// Why it was ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same request came before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Where more about the saga is.
    pub links: Links,
}

/// How the process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// Which process answers.
    pub node: String,
    /// How many shards it owns.
    pub shards: u64,
}
