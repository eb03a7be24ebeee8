//! What workers say of themselves on the compacted topic: who they are, and how far they have read.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::envelope::{DecodeError, Headers, Message};
use crate::ids::Direction;

/// A record of the workers' topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum WorkerRecord {
    /// A worker's instance lives. Keyed by worker and instance; repeated as its heartbeat.
    Announcement(Announcement),
    /// How far a partition of a command topic has been worked off. Keyed by topic and partition, so
    /// that it outlives the instance that wrote it.
    Progress(Progress),
}

/// A worker's instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The worker's name, as definitions use it.
    pub worker: String,
    /// The instance (process), unique.
    pub instance: String,
    /// The worker's version.
    pub version: String,
    /// What it can do.
    pub actions: Vec<ActionInfo>,
    /// How long its inbox remembers, in ms; a command whose round was first sent before gets no final answer.
    pub retention_ms: i64,
    /// When this was said, in ms since 1970 UTC.
    pub at_ms: i64,
    /// Said last by an instance that drains: it is gone on purpose.
    #[serde(default)]
    pub leaving: bool,
    /// Commands that it answered in the minute before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_per_minute: Option<u64>,
    /// Its circuit breakers; absent when it does not say whether it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakers: Option<Vec<BreakerInfo>>,
}

/// A circuit breaker of a worker's instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerInfo {
    /// The action, or what undoes it.
    pub action: String,
    /// Which of its directions.
    pub direction: Direction,
    /// How it stands.
    pub state: BreakerState,
    /// When an open one lets a call through again, in ms since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

/// How a circuit breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go.
    Closed,
    /// No call goes.
    Open,
    /// One call goes, and decides.
    HalfOpen,
}

/// One action of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionInfo {
    /// The action's name.
    pub action: String,
    /// The name of what undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<String>,
    /// JSON Schema of the input, when the worker gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<serde_json::Value>,
    /// JSON Schema of the output, when the worker gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Value>,
}

/// How far a partition has been worked off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The command topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Every command of the partition with a `ce_time` up to here (ms since 1970 UTC) has been
    /// answered. When the partition was read to its end, the instant at which that end was fetched.
    pub reached_ms: i64,
    /// When this was said.
    pub at_ms: i64,
}

impl WorkerRecord {
    /// Encodes the record; the key makes compaction keep the newest.
    pub fn encode(&self) -> Message {
        let key = match self {
            Self::Announcement(it) => format!("announcement/{}/{}", it.worker, it.instance),
            Self::Progress(it) => format!("progress/{}/{}", it.topic, it.partition),
        };
        let data = serde_json::to_vec(self).expect("the wire's types have string keys");
        Message { key: Bytes::from(key), headers: Headers::default(), data: Bytes::from(data) }
    }

    /// Decodes a record's value.
    ///
    /// # Errors
    /// When it is not a worker's record.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Ok(serde_json::from_slice(data)?)
    }
}
