//! The bus: a small trait with two real implementations, Apache Kafka and an in-process one.
//!
//! Owns how records are published, consumed and assigned. It must not know what a record means, nor
//! keep anything that a restart may not lose: truth is in Postgres.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use saga_protocol::{Headers, Message};
use tokio::sync::{mpsc, oneshot};

pub mod in_process;
pub mod kafka;
mod partitioner;

pub use in_process::{Faults, InProcess};
pub use kafka::{Kafka, KafkaConfig};

/// The largest record that is published, in bytes of key and data: twice what a saga may hold, so that a
/// command with its saga's whole payload always fits.
pub const RECORD_BYTES_MAX: usize = 2 * saga_protocol::SAGA_BYTES_MAX;

/// One partition of a topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stood.
    pub at: TopicPartition,
    /// Its offset in the partition.
    pub offset: i64,
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's headers.
    pub headers: Headers,
    /// The record's value; `None` is a tombstone.
    pub data: Option<Bytes>,
}

/// A record to publish.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; by the key's hash when absent.
    pub partition: Option<i32>,
    /// Key, headers and data. Empty data is published as a tombstone.
    pub message: Message,
}

/// Resolves once every record of one `publish` is acknowledged by all in-sync replicas or has
/// failed; one result a record, in order. Dropping it does not take the records back.
pub type Receipt = BoxFuture<'static, Vec<Result<(), PublishError>>>;

/// Where a subscription begins to read a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Where the group committed last; the earliest record when it never did, or when that offset is gone.
    Committed,
    /// The earliest record that the log still has.
    Earliest,
    /// This offset. When the log does not have it, [`Event::OutOfRange`] follows.
    At(i64),
}

/// What a group member receives, in order.
#[derive(Debug)]
pub enum Event {
    /// Partitions are offered. No record of them arrives before `start` was answered; dropping
    /// `start` declines (the member leaves the group and joins again).
    Assigned {
        /// The partitions, new ones only.
        partitions: Vec<TopicPartition>,
        /// The answer: where to begin, for each of them.
        start: oneshot::Sender<Vec<(TopicPartition, Start)>>,
    },
    /// Partitions go to another member, once `done` was answered or dropped. Offsets can still be
    /// committed before; no record of them arrives after this event.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// The answer.
        done: oneshot::Sender<()>,
    },
    /// Partitions are gone already (session expired): another member may own them.
    Lost {
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Records, each partition's in its order; never empty.
    Records(Vec<Record>),
    /// The log does not have the offset that was to be read next. Nothing of the partition arrives
    /// until [`Control::seek`].
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
    },
}

/// A membership in a consumer group. Dropping it leaves the group.
#[derive(Debug)]
pub struct Subscription {
    /// What happens; bounded: a member that does not read stops its consumer, not the memory.
    pub events: mpsc::Receiver<Event>,
    /// What the member can do.
    pub control: Arc<dyn Control>,
}

/// What a group member can do beside reading.
#[async_trait]
pub trait Control: Send + Sync + fmt::Debug {
    /// Commits offsets (each the next one to read) and waits for the group's answer.
    ///
    /// # Errors
    /// When the group refuses (the member is not the owner any more) or cannot be reached.
    async fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> Result<(), BusError>;

    /// Moves an assigned partition; also ends an [`Event::OutOfRange`].
    async fn seek(&self, partition: TopicPartition, start: Start) -> Result<(), BusError>;

    /// The offset of the partition's next record to come, known before the first one has come. Every
    /// record below it that this member was to read has been received, or waits in the events: who
    /// finds the events empty *after* having asked has seen them all. It may lag, and never leads.
    ///
    /// # Errors
    /// When the partition is not being read: it is another member's, its offer is not answered yet, or
    /// the log does not have what was to be read next ([`Event::OutOfRange`]), until a seek.
    async fn position(&self, partition: &TopicPartition) -> Result<i64, BusError>;

    /// Stops (`true`) or goes on (`false`) fetching the partitions, without leaving the group.
    async fn pause(&self, partitions: Vec<TopicPartition>, paused: bool) -> Result<(), BusError>;

    /// Leaves the group after its pending commits; the events end.
    async fn leave(&self);
}

/// A partition's bounds: its first offset and the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The offset of the earliest record.
    pub low: i64,
    /// The offset that the next record will get.
    pub high: i64,
}

/// Which log this is; another value means that offsets of before mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogId {
    /// The cluster's id.
    pub cluster: String,
    /// The topic's id: new when the topic is deleted and made again.
    pub topic: String,
}

/// A topic to make when it does not exist.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Keep the newest record a key instead of a time range.
    pub compacted: bool,
    /// For how long records stay, in ms, when not compacted.
    pub retention_ms: i64,
}

/// Where a reader without a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The earliest record of every partition.
    Earliest,
    /// What comes from now on.
    Latest,
}

/// A reader of all partitions of a topic, without a group.
#[derive(Debug)]
pub struct Tail {
    /// Records, as they come. Ends when the bus is closed.
    pub records: mpsc::Receiver<Vec<Record>>,
}

/// The bus.
#[async_trait]
pub trait Bus: Send + Sync + fmt::Debug + 'static {
    /// Hands records over, in order; waits only for room in the local queue. A record is durable
    /// once the receipt says so. `pace` says whether to wait a little for company.
    async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt;

    /// Makes the topics that do not exist. An existing topic is left as it is.
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError>;

    /// How many partitions a topic has.
    async fn partitions(&self, topic: &str) -> Result<u32, BusError>;

    /// A partition's bounds, asked of the broker now.
    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError>;

    /// Which log the topic's records are in.
    async fn log_id(&self, topic: &str) -> Result<LogId, BusError>;

    /// Whether records outlive the process. Where they do not, every start finds another log, as it should.
    fn outlives_process(&self) -> bool {
        true
    }

    /// Joins a consumer group.
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Subscription, BusError>;

    /// Reads all partitions of a topic.
    async fn tail(&self, topic: &str, from: From) -> Result<Tail, BusError>;

    /// Sends what is queued and closes, waiting at most `timeout_ms`.
    async fn close(&self, timeout_ms: u64);
}

/// Whether records may wait a little for company. Order is kept among records of one pace; a record that
/// is published under the other one may overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Send at once: the system is idle, latency counts.
    Now,
    /// Wait up to 2 ms for more: under load, the broker's work counts.
    Batch,
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not published: {reason}")]
pub struct PublishError {
    /// In words.
    pub reason: String,
    /// Sending the same record again cannot help (too large, no such topic).
    pub permanent: bool,
}

/// Why the bus could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The member does not own the partition any more.
    #[error("not the owner any more: {0}")]
    NotOwner(String),
    /// The topic does not exist.
    #[error("no topic `{0}`")]
    NoTopic(String),
    /// The broker cannot be reached, or refuses.
    #[error("{0}")]
    Broker(String),
}
