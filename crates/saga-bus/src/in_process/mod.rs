//! The bus in memory, for one process: partitioned logs, consumer groups, and faults for tests.
//!
//! Owns the same events in the same order as the Kafka implementation (tests/conformance.rs holds
//! both to it). It keeps nothing: a restart is to its users what a wiped Kafka log is. It must not
//! grow without bound, nor offer anything that Kafka cannot.

mod faults;
mod group;
mod log;
mod member;
mod state;
mod tail;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

pub use self::faults::Faults;
use self::state::State;
use crate::{
    Bus, BusError, From, LogId, Outgoing, Pace, Receipt, Subscription, Tail, TopicPartition, TopicSpec,
    Watermarks,
};

/// How many records one event carries at most.
const RECORDS_PER_EVENT: usize = 500;
/// How many events wait for a reader at most.
const EVENTS_WAITING: usize = 16;

/// The bus of one process.
pub struct InProcess {
    shared: Arc<Shared>,
}

/// What the bus shares with its members' tasks.
struct Shared {
    state: Mutex<State>,
    /// Wakes the task that delivers delayed records.
    post: Notify,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl InProcess {
    /// A bus without topics, which loses nothing as long as the process lives.
    pub fn new() -> Arc<Self> {
        Self::with_faults(Faults::default())
    }

    /// A bus that misbehaves as told. Publish from within a tokio runtime.
    pub fn with_faults(faults: Faults) -> Arc<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::new(faults)), post: Notify::new() });
        Arc::new(Self { shared })
    }

    /// Misbehaves differently from now on; what is on its way stays so.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state.lock().set_faults(faults);
    }

    /// How many records are published and not delivered yet.
    pub fn on_their_way(&self) -> usize {
        self.shared.state.lock().on_their_way()
    }

    /// Loses a topic's records and offsets, as deleting and making the topic again does: its
    /// [`LogId`] is new, and who reads it gets [`Event::OutOfRange`](crate::Event::OutOfRange) unless
    /// it stood at the start.
    pub fn wipe(&self, topic: &str) {
        self.shared.state.lock().wipe(topic);
    }

    /// Loses every topic's records and offsets, as a new cluster at the same address.
    pub fn wipe_all(&self) {
        self.shared.state.lock().wipe_all();
    }

    /// Removes the records before `offset`, as retention does.
    pub fn delete_before(&self, partition: &TopicPartition, offset: i64) {
        self.shared.state.lock().delete_before(partition, offset);
    }

    /// Expels the group's member that has the partition, as the end of its session does: all it had
    /// is another's at once, it learns of it by [`Event::Lost`](crate::Event::Lost) and joins again.
    pub fn expire(&self, group: &str, partition: &TopicPartition) {
        self.shared.state.lock().expire(group, partition);
    }

    /// Delivers what is delayed, as long as there is any. One task at a time.
    fn start_postman(&self) {
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            loop {
                let Some(strong) = shared.upgrade() else { return };
                let Some(next) = strong.state.lock().deliver_arrived(Instant::now()) else { return };
                // An earlier one may be published meanwhile.
                let _ = tokio::time::timeout_at(next, strong.post.notified()).await;
            }
        });
    }
}

#[async_trait]
impl Bus for InProcess {
    fn outlives_process(&self) -> bool {
        false
    }

    async fn publish(&self, records: Vec<Outgoing>, _pace: Pace) -> Receipt {
        let (results, postman_needed) = self.shared.state.lock().publish(records, Instant::now());
        if postman_needed {
            self.start_postman();
        }
        self.shared.post.notify_one();
        futures::future::ready(results).boxed()
    }

    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        let mut state = self.shared.state.lock();
        state.open()?;
        for spec in topics {
            state.ensure_topic(spec);
        }
        Ok(())
    }

    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        let state = self.shared.state.lock();
        state.open()?;
        match state.topics.partitions(topic) {
            0 => Err(BusError::NoTopic(topic.to_owned())),
            partitions => Ok(partitions),
        }
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        let state = self.shared.state.lock();
        state.open()?;
        let log = state.topics.log(partition).ok_or_else(|| BusError::NoTopic(format!("{partition:?}")))?;
        Ok(log.watermarks())
    }

    async fn log_id(&self, topic: &str) -> Result<LogId, BusError> {
        let state = self.shared.state.lock();
        state.open()?;
        state.log_id(topic).ok_or_else(|| BusError::NoTopic(topic.to_owned()))
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Subscription, BusError> {
        let (sender, events) = mpsc::channel(EVENTS_WAITING);
        let control = member::join(&self.shared, group, topics, sender)?;
        Ok(Subscription { events, control })
    }

    async fn tail(&self, topic: &str, from: From) -> Result<Tail, BusError> {
        let (sender, records) = mpsc::channel(EVENTS_WAITING);
        tail::start(&self.shared, topic, from, sender)?;
        Ok(Tail { records })
    }

    async fn close(&self, _timeout_ms: u64) {
        self.shared.state.lock().close();
    }
}
