//! One command on its way through the worker, from record to reply.

use std::sync::Arc;

use saga_bus::{Outgoing, Record, TopicPartition};
use saga_protocol::envelope::TRACEPARENT;
use saga_protocol::{Direction, Headers, Message, ReplyTo};
use tokio::sync::OwnedSemaphorePermit;

use crate::command::Command;
use crate::inbox::Key;
use crate::worker::Shared;

/// Where a command stood in the log.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) at: TopicPartition,
    pub(crate) offset: i64,
    /// Under which assignment it was read: after a log was made anew, offsets come again.
    pub(crate) generation: u64,
}

/// A command that was understood. It is split from what surrounds it so that handlers get slices
/// of commands without a copy.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: Command,
    pub(crate) meta: Meta,
}

/// What surrounds a command.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) key: Key,
    pub(crate) reply_to: ReplyTo,
    /// Index into the worker's actions; beyond them for an action that it does not have.
    pub(crate) action: usize,
    pub(crate) letter: Letter,
}

/// The record itself, kept until its answer is acknowledged.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) record: Record,
    pub(crate) generation: u64,
    /// Its share of the memory that waiting commands may take; freed with the letter.
    pub(crate) _room: OwnedSemaphorePermit,
}

impl Letter {
    pub(crate) fn slot(&self) -> Slot {
        Slot { at: self.record.at.clone(), offset: self.record.offset, generation: self.generation }
    }

    /// The record as a dead letter: as it came, plus where from and why.
    pub(crate) fn dead(&self, topic: &Arc<str>, worker: &str, reason: &str) -> Outgoing {
        let mut headers: Headers = self.record.headers.clone();
        headers.push(saga_protocol::DEAD_REASON, reason.chars().take(1_000).collect::<String>());
        headers.push("amends_dead_worker", worker.to_owned());
        headers.push("amends_dead_topic", self.record.at.topic.as_bytes().to_vec());
        headers.push("amends_dead_partition", self.record.at.partition.to_string());
        headers.push("amends_dead_offset", self.record.offset.to_string());
        let message = Message {
            key: self.record.key.clone().unwrap_or_default(),
            headers,
            data: self.record.data.clone().unwrap_or_default(),
        };
        Outgoing { topic: topic.clone(), partition: None, message }
    }
}

/// What became of a record when it was read.
#[derive(Debug)]
pub(crate) enum Read {
    /// A command for one of the worker's actions.
    Job(Job),
    /// A command for an action that this worker does not have.
    Stranger(Job),
    /// Nothing that can be understood, and why.
    Poison(Letter, String),
}

/// Understands a record.
pub(crate) fn read(letter: Letter, direction: Direction, shared: &Shared) -> Read {
    let Some(data) = &letter.record.data else {
        return Read::Poison(letter, "a tombstone, not a command".to_owned());
    };
    let (wire, reply_to) = match saga_protocol::Command::decode(&letter.record.headers, data) {
        Ok(decoded) => decoded,
        Err(error) => return Read::Poison(letter, error.to_string()),
    };
    if wire.direction != direction {
        return Read::Poison(letter, "its direction is not the topic's".to_owned());
    }
    let Some(key) = Key::of(&wire) else {
        return Read::Poison(letter, "`item` or `round` is beyond 2147483647".to_owned());
    };
    let traceparent = letter.record.headers.get(TRACEPARENT).map(str::to_owned);
    let found = shared.lookup.get(&direction).and_then(|names| names.get(&wire.action)).copied();
    let command = Command { wire, traceparent };
    let meta = Meta { key, reply_to, action: found.unwrap_or(usize::MAX), letter };
    let job = Job { command, meta };
    if found.is_some() { Read::Job(job) } else { Read::Stranger(job) }
}
