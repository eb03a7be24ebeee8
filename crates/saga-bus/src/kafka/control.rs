//! What can be done with a membership from outside its thread. Owns commits, which may come from any
//! thread, and hands everything else to the member's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{oneshot, watch};

use super::assignment::Assignment;
use super::broker;
use crate::{BusError, Control, Start, TopicPartition};

/// How long a commit is tried while the group is being rearranged.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
const COMMIT_RETRY: Duration = Duration::from_millis(50);

/// Ends a membership from the outside.
#[derive(Clone)]
pub(super) struct Handle {
    leave: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<()>,
}

impl Handle {
    pub(super) fn new(leave: watch::Sender<bool>, ended: watch::Receiver<()>) -> Self {
        Self { leave: Arc::new(leave), ended }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    pub(super) async fn leave(mut self) {
        self.leave.send_replace(true);
        // Fails once the thread has dropped its end.
        let _ = self.ended.changed().await;
    }
}

/// What the thread and the control share.
pub(super) struct Shared {
    pub(super) group: String,
    /// Taken away before the thread closes it, so that commits end first and the thread itself, which
    /// is the one that polls, drops it; with it goes the sender of the events.
    consumer: RwLock<Option<Arc<BaseConsumer<Assignment>>>>,
    asks: Mutex<Vec<Ask>>,
}

/// What the thread does between polls, where no rebalance can come in between.
pub(super) enum Ask {
    Seek(TopicPartition, Start, oneshot::Sender<Result<(), BusError>>),
    Pause(Vec<TopicPartition>, bool, oneshot::Sender<Result<(), BusError>>),
}

impl Shared {
    pub(super) fn new(group: &str, consumer: Arc<BaseConsumer<Assignment>>) -> Self {
        Self { group: group.to_owned(), consumer: RwLock::new(Some(consumer)), asks: Mutex::default() }
    }

    pub(super) fn take_asks(&self) -> Vec<Ask> {
        std::mem::take(&mut *self.asks.lock())
    }

    /// Refuses everything from now on; waits for the commits that are on their way.
    pub(super) fn close(&self) {
        self.consumer.write().take();
        for ask in self.take_asks() {
            let (Ask::Seek(_, _, answer) | Ask::Pause(_, _, answer)) = ask;
            let _ = answer.send(Err(self.left()));
        }
    }

    pub(super) fn not_owner(&self, at: &TopicPartition) -> BusError {
        BusError::NotOwner(format!("{at:?} in group `{}`", self.group))
    }

    fn left(&self) -> BusError {
        BusError::NotOwner(format!("the member has left group `{}`", self.group))
    }

    /// Blocks until the group has answered.
    fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), BusError> {
        let consumer = self.consumer.read();
        let Some(consumer) = consumer.as_ref() else { return Err(self.left()) };
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, offset) in offsets {
            list.add_partition_offset(&at.topic, at.partition, Offset::Offset(*offset)).map_err(broker)?;
        }
        let deadline = Instant::now() + COMMIT_PATIENCE;
        loop {
            // The broker checks the membership, not the partition; whose it is only the member knows.
            if let Some(at) = consumer.context().foreign(offsets.iter().map(|(at, _)| at)) {
                return Err(self.not_owner(&at));
            }
            let Err(error) = consumer.commit(&list, CommitMode::Sync) else { return Ok(()) };
            let code = error.rdkafka_error_code();
            match code {
                Some(
                    RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::FencedInstanceId
                    | RDKafkaErrorCode::AssignmentLost,
                ) => return Err(BusError::NotOwner(error.to_string())),
                // Another generation is being formed. The member may keep the partition in it.
                Some(
                    RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::RebalanceInProgress
                    | RDKafkaErrorCode::CoordinatorLoadInProgress
                    | RDKafkaErrorCode::CoordinatorNotAvailable
                    | RDKafkaErrorCode::NotCoordinator
                    | RDKafkaErrorCode::WaitingForCoordinator,
                ) if Instant::now() < deadline => std::thread::sleep(COMMIT_RETRY),
                Some(RDKafkaErrorCode::IllegalGeneration) => {
                    return Err(BusError::NotOwner(error.to_string()));
                }
                _ => return Err(broker(error)),
            }
        }
    }
}

pub(super) struct KafkaControl {
    shared: Arc<Shared>,
    handle: Handle,
}

impl std::fmt::Debug for KafkaControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaControl").field("group", &self.shared.group).finish_non_exhaustive()
    }
}

impl KafkaControl {
    pub(super) fn new(shared: Arc<Shared>, handle: &Handle) -> Arc<Self> {
        Arc::new(Self { shared, handle: handle.clone() })
    }

    async fn ask(&self, ask: Ask, answer: oneshot::Receiver<Result<(), BusError>>) -> Result<(), BusError> {
        {
            // Under the lock that the ending thread takes: an ask is served or refused, never forgotten.
            let consumer = self.shared.consumer.read();
            if consumer.is_none() {
                return Err(self.shared.left());
            }
            self.shared.asks.lock().push(ask);
        }
        answer.await.unwrap_or_else(|_| Err(self.shared.left()))
    }
}

#[async_trait]
impl Control for KafkaControl {
    async fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> Result<(), BusError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let shared = self.shared.clone();
        super::blocking(move || shared.commit(&offsets)).await
    }

    async fn seek(&self, partition: TopicPartition, start: Start) -> Result<(), BusError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Seek(partition, start, answer), answered).await
    }

    async fn position(&self, partition: &TopicPartition) -> Result<i64, BusError> {
        // Who closes holds or awaits the lock, perhaps for as long as a commit takes.
        let consumer = self.shared.consumer.try_read();
        let consumer = consumer.as_deref().and_then(Option::as_ref).ok_or_else(|| self.shared.left())?;
        consumer.context().position(partition).ok_or_else(|| self.shared.not_owner(partition))
    }

    async fn pause(&self, partitions: Vec<TopicPartition>, paused: bool) -> Result<(), BusError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Pause(partitions, paused, answer), answered).await
    }

    async fn leave(&self) {
        self.handle.clone().leave().await;
    }
}
