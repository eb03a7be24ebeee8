//! Hints: records that carry no truth of their own, only the news that Postgres holds some.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::envelope::{self, DecodeError, Headers, Message};
use crate::ids::SagaId;
use crate::reply::Reply;

/// What a record of the inbox topic is.
#[derive(Clone, Debug)]
pub enum InboxRecord {
    /// A worker's answer.
    Reply(Box<Reply>),
    /// A saga was started on another node; its owner is to load it.
    Started(Started),
    /// The mailbox holds something for this saga.
    Nudge(SagaId),
}

#[derive(Serialize, Deserialize)]
struct About {
    saga: SagaId,
}

/// A saga that another node has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The saga.
    pub saga: SagaId,
    /// Rows of its outbox that need not be published any more, once the owner knows the saga.
    #[serde(default)]
    pub commands: Vec<String>,
}

impl InboxRecord {
    /// Tells the owner that a saga was started by another node, which has published its first commands.
    pub fn started(started: &Started, at_ms: i64) -> Message {
        let saga = started.saga;
        envelope::encode(format!("{saga}:started"), "amends.started", "/amends", at_ms, saga, started)
    }

    /// Tells the owner that its mailbox holds `mail` for the saga.
    pub fn nudge(saga: SagaId, mail: &str, at_ms: i64) -> Message {
        envelope::encode(format!("{saga}:{mail}"), "amends.nudge", "/amends", at_ms, saga, &About { saga })
    }

    /// Decodes a record of the inbox topic.
    ///
    /// # Errors
    /// When type or data are not understood; such a record is a dead letter.
    pub fn decode(headers: &Headers, data: &[u8]) -> Result<Self, DecodeError> {
        match headers.required(envelope::TYPE)? {
            "amends.reply" => Ok(Self::Reply(Box::new(Reply::decode(headers, data)?))),
            "amends.started" => Ok(Self::Started(serde_json::from_slice(data)?)),
            "amends.nudge" => Ok(Self::Nudge(serde_json::from_slice::<About>(data)?.saga)),
            found => Err(DecodeError::Type {
                expected: "amends.reply, amends.started or amends.nudge",
                found: found.chars().take(80).collect(),
            }),
        }
    }
}

/// What one batch of an orchestrator has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaEvents {
    /// The orchestrator that committed.
    pub node: String,
    /// The sagas, each once, with their newest revision.
    pub sagas: Vec<SagaChanged>,
}

/// A saga has a new revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaChanged {
    /// The saga.
    pub saga: SagaId,
    /// Its revision.
    pub revision: u32,
    /// Its coarse status: `running`, `parked`, `completed`, `compensated` or `abandoned`.
    pub status: Cow<'static, str>,
}

impl SagaEvents {
    /// Encodes the hint. Whose it is stands in a header too, so that a node need not read its own.
    pub fn encode(&self) -> Message {
        let data = serde_json::to_vec(self).expect("the wire's types have string keys");
        let mut headers = Headers::default();
        headers.push(envelope::SOURCE, self.node.clone());
        Message { key: Bytes::new(), headers, data: Bytes::from(data) }
    }

    /// Whether a record with these headers is a hint of that node.
    pub fn is_of(headers: &Headers, node: &str) -> bool {
        headers.get(envelope::SOURCE) == Some(node)
    }

    /// Decodes a record's value.
    ///
    /// # Errors
    /// When it is not a hint.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Ok(serde_json::from_slice(data)?)
    }
}
