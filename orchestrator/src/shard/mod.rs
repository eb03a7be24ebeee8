//! The shard engine: a lane takes in everything that can change its sagas, decides by `saga_core::step`, writes one
//! statement a batch, and publishes after the commit.
//!
//! - [`lane`]: the loop: collect, decide, commit, publish
//! - [`membership`]: claims, fences, and what happens when the log lies
//! - [`decide`]: one batch's inputs become transitions and rows; pure but for the cache
//! - [`sagas`], [`timers`], [`owned`]: what a lane holds in memory
//! - [`isolate`]: a record cannot stop a shard
//!
//! Only the owner of a shard writes its sagas after their start.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use saga_core::{Millis, What};
use saga_protocol::{Headers, Reply, SagaId, Started};
use uuid::Uuid;

use crate::store::sweep::Mail;

pub mod children;
pub mod decide;
pub mod isolate;
pub mod lane;
pub mod membership;
pub mod owned;
pub mod sagas;
pub mod stuck;
pub mod timers;

/// The claims that hold in this process: what starts and sweeps note before they act.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<RwLock<HashMap<i32, Uuid>>>);

impl Claims {
    /// The token of the claim on a shard, if this process holds one.
    pub fn token(&self, shard: i32) -> Option<Uuid> {
        self.0.read().get(&shard).copied()
    }

    /// The shards that this process owns, in order.
    pub fn shards(&self) -> Vec<i32> {
        let mut shards: Vec<i32> = self.0.read().keys().copied().collect();
        shards.sort_unstable();
        shards
    }

    pub(crate) fn set(&self, shard: i32, token: Option<Uuid>) {
        match token {
            Some(token) => self.0.write().insert(shard, token),
            None => self.0.write().remove(&shard),
        };
    }
}

/// Something for a lane to take in.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A record of the inbox topic.
    Record { shard: i32, offset: i64, record: Arc<Incoming> },
    /// A saga that this process has started.
    Handover(Arc<Handover>),
    /// A saga whose timer may be due.
    Due { shard: i32, saga: SagaId },
    /// A piece of mail.
    Mail(Arc<Mail>),
    /// All mail of a shard that was there at this instant stands before this input.
    MailRead { shard: i32, until: Millis },
    /// A row of the outbox that nobody seems to have published.
    Republish { shard: i32, saga: SagaId, key: Arc<str> },
    /// Something that the engine itself has to say to a saga.
    Tell { shard: i32, saga: SagaId, what: What },
}

/// A record, understood or not.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A worker's answer.
    Reply(Box<Reply>),
    /// A saga of this shard was started elsewhere.
    Started(Started),
    /// A saga's mailbox holds something.
    Nudge(SagaId),
    /// Not understood: a dead letter.
    Dead { reason: String, headers: Headers, data: Vec<u8> },
}

/// A started saga, handed to its owner in memory.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) shard: i32,
    pub(crate) saga: SagaId,
    /// The claim's token, noted before the start's transaction began.
    pub(crate) token: Uuid,
    /// When the transaction began: older than the sweep's age, somebody else may have moved the saga on.
    pub(crate) began: tokio::time::Instant,
    pub(crate) loaded: sagas::Saga,
}

impl Input {
    /// The shard and saga that must be loaded for this input.
    pub(crate) fn needs(&self) -> Option<(i32, SagaId)> {
        match self {
            Self::Record { shard, record, .. } => match record.as_ref() {
                Incoming::Reply(reply) => Some((*shard, reply.saga)),
                Incoming::Started(Started { saga, .. }) | Incoming::Nudge(saga) => Some((*shard, *saga)),
                Incoming::Dead { .. } => None,
            },
            Self::Handover(it) => Some((it.shard, it.saga)),
            Self::Due { shard, saga }
            | Self::Republish { shard, saga, .. }
            | Self::Tell { shard, saga, .. } => Some((*shard, *saga)),
            Self::Mail(mail) => Some((mail.shard, SagaId(mail.saga))),
            Self::MailRead { .. } => None,
        }
    }

    /// The shard that it belongs to.
    pub(crate) fn shard(&self) -> i32 {
        match self {
            Self::Record { shard, .. }
            | Self::Due { shard, .. }
            | Self::MailRead { shard, .. }
            | Self::Republish { shard, .. }
            | Self::Tell { shard, .. } => *shard,
            Self::Handover(it) => it.shard,
            Self::Mail(mail) => mail.shard,
        }
    }
}
