//! Bulk jobs: one action, or a replay, for a frozen set of sagas.
//!
//! Owns which sagas fit a request ([`select`]) and the work on them ([`run`]): a canary first, a rate, an end by itself
//! when the same failure repeats. It decides nothing about a saga: actions go the way of one operator's ([`crate::deeds`],
//! [`crate::replay`]), with an id made of job and number, so that a job that is killed and goes on elsewhere does
//! nothing twice.

use std::collections::BTreeMap;

use saga_core::OperatorAction;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

pub mod run;
pub mod select;

/// The largest frozen set.
pub const SET_MAX: usize = 100_000;

/// A bulk job, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// `action` or `replay`.
    pub kind: String,
    /// For `action`: `retry`, `compensate`, `resume_compensation` or `abandon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Which sagas: the query of `GET /sagas`, such as `status=parked&failure=7d1f…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Or these, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Uuid>>)]
    pub sagas: Option<Vec<saga_protocol::SagaId>>,
    /// Why; it stands in every saga's history and in the audit.
    pub why: String,
    /// What abandoning leaves undone, or what a replay's plan warns of: that was seen. Nothing is replayed twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
    /// So many first, before the rest; 10 when absent, 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// Sagas a second; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<u32>,
    /// Stops when the same failure comes so many times in a row; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_same: Option<u32>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For `replay`: another version of the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Refused when it would be more sagas than this: what the preview said, so that a set that has grown meanwhile is
    /// looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sagas_max: Option<u32>,
    /// For `replay`: what every input is changed by, as a JSON merge patch (RFC 7396): members replace, `null` removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
    /// For `replay`: fresh values by saga and JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fresh: BTreeMap<String, BTreeMap<String, Value>>,
}

/// What a job does to each saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Try again from where it stopped.
    Retry,
    /// Turn around.
    Compensate,
    /// Go on undoing.
    ResumeCompensation,
    /// End it.
    Abandon,
    /// Repeat it as a new saga.
    Replay,
}

impl JobRequest {
    /// What is to be done; `None` when it is nothing that a job can do.
    pub fn doing(&self) -> Option<Doing> {
        match (self.kind.as_str(), self.action.as_deref()) {
            ("replay", None) => Some(Doing::Replay),
            ("action", Some("retry")) => Some(Doing::Retry),
            ("action", Some("compensate")) => Some(Doing::Compensate),
            ("action", Some("resume_compensation")) => Some(Doing::ResumeCompensation),
            ("action", Some("abandon")) => Some(Doing::Abandon),
            _ => None,
        }
    }
}

impl Doing {
    /// The action on one saga; a replay is none.
    pub const fn action(self, acknowledged: bool) -> Option<OperatorAction> {
        match self {
            Self::Retry => Some(OperatorAction::Retry { cell: None }),
            Self::Compensate => Some(OperatorAction::Compensate),
            Self::ResumeCompensation => Some(OperatorAction::ResumeCompensation),
            Self::Abandon => Some(OperatorAction::Abandon { acknowledged }),
            Self::Replay => None,
        }
    }
}

/// The id of the mail that a job's item becomes: the same however often it is tried.
pub fn mail_id(job: Uuid, number: i32) -> Uuid {
    made_of(&format!("job/{job}/{number}"))
}

/// The id of the job that somebody asks for under a key: the same however often they ask.
pub fn id_of(principal: &str, key: &str) -> Uuid {
    // The length keeps apart what would read the same.
    made_of(&format!("job of/{}/{principal}/{key}", principal.len()))
}

fn made_of(text: &str) -> Uuid {
    let hash = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
