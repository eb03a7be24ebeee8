//! The outbox: thin rows, whose bytes are rebuilt when they are published.
//!
//! Owns the spelling of a row's key and the way from a decided command to the bus and back. It must not
//! decide what is sent.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use saga_bus::{Bus, Outgoing, Pace, RECORD_BYTES_MAX};
use saga_core::command::{self, Spelled};
use saga_core::{CellRef, Definition, Effect, Payloads, State, StepIx};
use saga_protocol::{Direction, ReplyTo, SagaId, Topics};
use tokio::sync::mpsc;

pub mod partitions;

pub use partitions::Partitions;

/// A row of the outbox: the command's key with its attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The shard of the saga.
    pub shard: i32,
    /// The saga.
    pub saga: SagaId,
    /// The spelled key; see [`spell`].
    pub key: Arc<str>,
}

/// A row that is no command: its saga began without one, and its owner is to arm its timer.
pub const ARM: &str = "arm";

/// Spells a command's key: `3x1:2` is step 3, execute, round 1, attempt 2; `3.7c1:1` has an item.
pub fn spell(cell: CellRef, round: u32, attempt: u32) -> String {
    let CellRef { step, item, direction } = cell;
    let letter = direction.letter();
    match item {
        None => format!("{}{letter}{round}:{attempt}", step.0),
        Some(item) => format!("{}.{item}{letter}{round}:{attempt}", step.0),
    }
}

/// Reads a spelled key; `None` when it is none.
pub fn parse(key: &str) -> Option<(CellRef, u32, u32)> {
    let at = key.find(['x', 'c'])?;
    let direction =
        if key.as_bytes().get(at) == Some(&b'x') { Direction::Execute } else { Direction::Compensate };
    let (cell, rest) = (key.get(..at)?, key.get(at + 1..)?);
    let (step, item) = match cell.split_once('.') {
        None => (cell, None),
        Some((step, item)) => (step, Some(item.parse().ok()?)),
    };
    let (round, attempt) = rest.split_once(':')?;
    let cell = CellRef { step: StepIx(step.parse().ok()?), item, direction };
    Some((cell, round.parse().ok()?, attempt.parse().ok()?))
}

/// The row that makes an effect of a saga's first transition happen: a command's, or the order of a child saga, which
/// is spelled as the child's first command would be, behind a `k`. Later transitions start their children themselves.
pub fn row_of(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Send { cell, round, attempt } => Some(spell(*cell, *round, *attempt)),
        Effect::StartChild { cell, round } => Some(format!("{CHILD}{}", spell(*cell, *round, 1))),
        _ => None,
    }
}

/// Reads the order of a child saga: its track and the execute round; `None` when it is none.
pub fn parse_child(key: &str) -> Option<(CellRef, u32)> {
    parse(key.strip_prefix(CHILD)?).map(|(cell, round, _)| (cell, round))
}

const CHILD: char = 'k';

/// Where commands of a saga go, and how their bytes are made.
#[derive(Clone, Debug)]
pub struct Outbox {
    bus: Arc<dyn Bus>,
    topics: Topics,
    inbox: Arc<str>,
    partitions: Partitions,
}

/// A command whose row is in the database, or will be by the same commit, ready to be published.
#[derive(Debug)]
pub struct Ready {
    /// Its row.
    pub row: Row,
    /// Its record.
    pub record: Outgoing,
}

impl Outbox {
    /// An outbox on a bus.
    pub fn new(bus: Arc<dyn Bus>, topics: Topics) -> Self {
        let inbox = topics.inbox().into();
        Self { partitions: Partitions::new(Arc::clone(&bus)), bus, topics, inbox }
    }

    /// Builds the newest attempt of the track at `cell`; with its `input` when that has just been resolved.
    ///
    /// # Errors
    /// When state, payloads and definition do not yield the command that was decided: our own bug, or a
    /// damaged row.
    pub fn ready(
        &self,
        definition: &Definition,
        shard: i32,
        (saga, state, payloads): (SagaId, &State, &Payloads),
        cell: CellRef,
        input: Option<Spelled>,
    ) -> Result<Ready, String> {
        let command = match input {
            Some(input) => command::build_with(definition, saga, state, payloads, cell, input),
            None => command::build(definition, saga, state, payloads, cell),
        };
        let command = command.map_err(|error| error.to_string())?;
        let worker = worker_of(definition, cell.step).ok_or("the step has no worker")?;
        let topic = self.partitions.topic(&self.topics, worker, cell.direction);
        let reply_to = ReplyTo { topic: self.inbox.to_string(), partition: shard };
        let row = Row { shard, saga, key: spell(cell, command.round, command.attempt).into() };
        let message = command.encode(&reply_to, Some(&traceparent(saga, &row.key)));
        let bytes = message.key.len() + message.data.len();
        if bytes > RECORD_BYTES_MAX {
            return Err(format!("the command has {bytes} bytes; the bus takes at most {RECORD_BYTES_MAX}"));
        }
        Ok(Ready { row, record: Outgoing { partition: self.partitions.of(&topic, saga), topic, message } })
    }

    /// The topic and partition that commands of the saga's step travel on, when they are known.
    pub fn route(&self, definition: &Definition, saga: SagaId, cell: CellRef) -> Option<(Arc<str>, i32)> {
        let topic = self.partitions.topic(&self.topics, worker_of(definition, cell.step)?, cell.direction);
        let partition = self.partitions.of(&topic, saga)?;
        Some((topic, partition))
    }

    /// Publishes commands. Their rows arrive at `acknowledged` once the bus has them; rows that it refused
    /// do not, and stay for the sweep.
    pub async fn publish(
        &self,
        ready: Vec<Ready>,
        pace: Pace,
        acknowledged: mpsc::UnboundedSender<Published>,
    ) {
        if ready.is_empty() {
            return;
        }
        let (rows, records): (Vec<Row>, Vec<Outgoing>) =
            ready.into_iter().map(|it| (it.row, it.record)).unzip();
        let receipt = self.bus.publish(records, pace).await;
        tokio::spawn(async move {
            let results = receipt.await;
            let mut published = Published::default();
            for (row, result) in rows.into_iter().zip(results) {
                match result {
                    Ok(()) => published.rows.push(row),
                    Err(error) => {
                        metrics::counter!("amends_publish_failures_total").increment(1);
                        tracing::warn!(saga.id = %row.saga, command = &*row.key, %error, "a command was not published; the sweep tries again");
                        published.failed.push(row);
                    }
                }
            }
            // The lane is gone when the process stops; the next owner sweeps.
            let _ = acknowledged.send(published);
        });
    }

    /// Publishes records that have no row: hints.
    pub async fn hint(&self, records: Vec<Outgoing>) {
        drop(self.bus.publish(records, Pace::Batch).await);
    }
}

/// The trace context of a command (W3C Trace Context, version 00). A saga is one trace: its id is the trace's id, so
/// that nothing has to be kept, and whoever has the one has the other. Each attempt is a span of its own.
fn traceparent(saga: SagaId, key: &str) -> String {
    let mut span = DefaultHasher::new();
    (saga, key).hash(&mut span);
    // A span's id must not be zero.
    format!("00-{}-{:016x}-01", saga.0.simple(), span.finish().max(1))
}

/// What became of published rows.
#[derive(Debug, Default)]
pub struct Published {
    /// Acknowledged: the rows can go.
    pub rows: Vec<Row>,
    /// Refused: the rows stay.
    pub failed: Vec<Row>,
}

/// The worker of a step, if it is one that sends commands.
pub fn worker_of(definition: &Definition, step: StepIx) -> Option<&str> {
    match &definition.step(step)?.work {
        saga_core::definition::Work::Action { worker, .. } => Some(worker),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use saga_core::{CellRef, StepIx};
    use saga_protocol::Direction;

    use saga_protocol::SagaId;
    use uuid::Uuid;

    use super::{parse, spell, traceparent};

    #[test]
    fn a_saga_is_one_trace_and_each_attempt_a_span() {
        let saga = SagaId(Uuid::now_v7());
        let (first, second) = (traceparent(saga, "0x1:1"), traceparent(saga, "0x1:2"));
        let parts: Vec<&str> = first.split('-').collect();
        assert_eq!(parts[..2], ["00", saga.0.simple().to_string().as_str()]);
        assert_eq!((parts[2].len(), parts[3]), (16, "01"));
        assert_ne!(first, second);
        assert_eq!(first, traceparent(saga, "0x1:1"), "the same when it is built again");
    }

    #[test]
    fn a_spelled_key_reads_back() {
        for item in [None, Some(0), Some(99)] {
            for direction in [Direction::Execute, Direction::Compensate] {
                let cell = CellRef { step: StepIx(17), item, direction };
                assert_eq!(parse(&spell(cell, 3, 12)).unwrap(), (cell, 3, 12));
            }
        }
        for bad in ["", "x", "3x", "3x1", "ax1:1", "3.x1:1", "3x1:1:1", "-1x1:1", super::ARM] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
