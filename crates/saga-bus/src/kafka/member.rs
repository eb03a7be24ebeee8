//! A member of a consumer group: its thread, and what can be done from outside. Owns polling,
//! back pressure and the order of events; the handshakes are in `assignment`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot, watch};

use super::assignment::Assignment;
use super::config::KafkaConfig;
use super::records::{Names, record};
use super::wait::block_until;
use super::{broker, positions};
use crate::{BusError, Control, Start, Subscription, TopicPartition};

/// How many records, and about how many bytes, one event carries at most.
const RECORDS_PER_EVENT: usize = 500;
const BYTES_PER_EVENT: usize = 8 * 1024 * 1024;
/// How many events with records wait for the member at most; and the room beyond them, so that the
/// handshakes of a rebalance never wait for records to be read first.
const EVENTS_WAITING: usize = 16;
const EVENTS_SPARE: usize = 16;
/// How long one poll waits: also how late a seek, a pause or a leave is noticed on an idle topic.
const POLL: Duration = Duration::from_millis(50);
/// How long a full channel is waited for before the partitions are paused. Pausing throws away what
/// was fetched ahead, so a member that is merely busy should not cause it.
const FULL_PATIENCE: Duration = Duration::from_millis(500);
/// How long a member that declined stays out of the group.
const REJOIN_AFTER: Duration = Duration::from_secs(1);
/// How long a commit is tried while the group is being rearranged.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
const COMMIT_RETRY: Duration = Duration::from_millis(50);

/// Ends a membership from the outside.
pub(super) struct Handle {
    leave: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<()>,
}

impl Handle {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    pub(super) async fn leave(mut self) {
        self.leave.send_replace(true);
        // Fails once the thread has dropped its end.
        let _ = self.ended.changed().await;
    }
}

/// Joins a group; the member lives as long as its events are read.
pub(super) fn join(
    config: &KafkaConfig,
    group: &str,
    topics: &[String],
) -> Result<(Subscription, Handle), BusError> {
    let (sender, events) = mpsc::channel(EVENTS_WAITING + EVENTS_SPARE);
    let (leave, leave_asked) = watch::channel(false);
    let leave = Arc::new(leave);
    let (alive, ended) = watch::channel(());
    let assignment = Assignment::new(sender, leave_asked);
    let consumer: BaseConsumer<Assignment> =
        config.member(group).create_with_context(assignment).map_err(broker)?;
    let consumer = Arc::new(consumer);
    let shared = Arc::new(Shared {
        group: group.to_owned(),
        consumer: RwLock::new(Some(consumer.clone())),
        asks: Mutex::default(),
    });
    let topics = topics.to_vec();
    let member = Member {
        shared: shared.clone(),
        assignment: consumer.context().clone(),
        topics,
        names: Names::default(),
        throttled: false,
        rejoin_at: None,
    };
    std::thread::Builder::new()
        .name(format!("kafka {group}"))
        .spawn(move || {
            member.run(consumer);
            drop(alive);
        })
        .map_err(|error| BusError::Broker(format!("no thread for a member: {error}")))?;
    let control = Arc::new(KafkaControl { shared, leave: leave.clone(), ended: ended.clone() });
    Ok((Subscription { events, control }, Handle { leave, ended }))
}

/// What the thread and the control share.
struct Shared {
    group: String,
    /// Taken away before the thread closes it, so that commits end first and the thread itself, which
    /// is the one that polls, drops it; with it goes the sender of the events.
    consumer: RwLock<Option<Arc<BaseConsumer<Assignment>>>>,
    asks: Mutex<Vec<Ask>>,
}

/// What the thread does between polls, where no rebalance can come in between.
enum Ask {
    Seek(TopicPartition, Start, oneshot::Sender<Result<(), BusError>>),
    Pause(Vec<TopicPartition>, bool, oneshot::Sender<Result<(), BusError>>),
}

struct Member {
    shared: Arc<Shared>,
    assignment: Arc<Assignment>,
    topics: Vec<String>,
    names: Names,
    /// The member reads too slowly: the partitions are paused, and only the group is served.
    throttled: bool,
    rejoin_at: Option<Instant>,
}

impl Member {
    fn run(mut self, consumer: Arc<BaseConsumer<Assignment>>) {
        self.subscribe(&consumer);
        while !self.assignment.is_ending() {
            self.turn(&consumer);
        }
        // Waits for the commits that are on their way.
        let shared_one = self.shared.consumer.write().take();
        drop(shared_one);
        for ask in self.shared.asks.lock().drain(..) {
            let (Ask::Seek(_, _, answer) | Ask::Pause(_, _, answer)) = ask;
            let _ = answer.send(Err(self.shared.left()));
        }
        // Polls until the group is left.
        drop(consumer);
    }

    fn subscribe(&self, consumer: &BaseConsumer<Assignment>) {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        if let Err(error) = consumer.subscribe(&topics) {
            tracing::error!(group = self.shared.group, "cannot subscribe: {error}");
            self.assignment.end();
        }
    }

    fn turn(&mut self, consumer: &BaseConsumer<Assignment>) {
        let assignment = self.assignment.clone();
        self.serve_asks(consumer);
        self.rejoin(consumer);
        if self.has_room() {
            self.throttle(consumer, false);
            self.poll(consumer, POLL);
        } else if self.throttled {
            self.poll(consumer, POLL);
        } else {
            let room = assignment.events.reserve_many(EVENTS_SPARE + 1);
            if block_until(room, Instant::now() + FULL_PATIENCE).is_none() {
                self.throttle(consumer, true);
            }
        }
        if self.has_room() {
            assignment.flush();
        }
    }

    fn has_room(&self) -> bool {
        self.assignment.events.capacity() > EVENTS_SPARE
    }

    /// Waits for a record, and takes what is there already.
    fn poll(&mut self, consumer: &BaseConsumer<Assignment>, timeout: Duration) {
        let mut timeout = timeout;
        loop {
            match consumer.poll(timeout) {
                Some(Ok(message)) => self.assignment.push(record(&message, &mut self.names)),
                Some(Err(error)) => return self.fail(consumer, &error),
                None => return,
            }
            let (records, bytes) = self.assignment.buffered();
            if records >= RECORDS_PER_EVENT || bytes >= BYTES_PER_EVENT {
                return;
            }
            timeout = Duration::ZERO;
        }
    }

    fn fail(&self, consumer: &BaseConsumer<Assignment>, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                self.find_out_of_range(consumer)
            }
            KafkaError::MessageConsumptionFatal(code) => {
                tracing::error!(group = self.shared.group, "the consumer failed for good: {code}");
                self.assignment.lose_all();
                self.assignment.end();
            }
            // Already logged with its reason; librdkafka goes on by itself.
            _ => tracing::debug!(group = self.shared.group, "librdkafka reports: {error}"),
        }
    }

    /// librdkafka says that some partition's offset is gone, but not which one's.
    fn find_out_of_range(&self, consumer: &BaseConsumer<Assignment>) {
        let reading = self.assignment.read_positions();
        let mut gone: Vec<TopicPartition> = reading
            .iter()
            .filter(|(at, next)| {
                let bounds = positions::watermarks(consumer.client(), at);
                matches!((bounds, next), (Ok(bounds), Some(next)) if !(bounds.low..=bounds.high).contains(next))
            })
            .map(|(at, _)| at.clone())
            .collect();
        if gone.is_empty() {
            // A log that was cut and has grown again since, or brokers that do not answer. Whose it is
            // cannot be known, and a partition that silently stops is worse than one that is read twice.
            gone = reading.into_iter().map(|(at, _)| at).collect();
        }
        for at in gone {
            tracing::warn!(partition = ?at, "the log does not have the offset that was to be read next");
            self.assignment.tell_out_of_range(at);
        }
    }

    /// Pauses or resumes whatever the member has not paused itself.
    fn throttle(&mut self, consumer: &BaseConsumer<Assignment>, throttled: bool) {
        if self.throttled == throttled {
            return;
        }
        self.throttled = throttled;
        set_paused(consumer, &self.assignment.flowing(), throttled);
    }

    /// Leaves and joins again after a decline.
    fn rejoin(&mut self, consumer: &BaseConsumer<Assignment>) {
        if self.assignment.take_rejoin() && self.rejoin_at.is_none() {
            consumer.unsubscribe();
            self.rejoin_at = Some(Instant::now() + REJOIN_AFTER);
        }
        if self.rejoin_at.is_some_and(|at| Instant::now() >= at)
            && consumer.assignment().is_ok_and(|assigned| assigned.count() == 0)
        {
            self.rejoin_at = None;
            self.subscribe(consumer);
        }
    }

    fn serve_asks(&self, consumer: &BaseConsumer<Assignment>) {
        let asks = std::mem::take(&mut *self.shared.asks.lock());
        for ask in asks {
            match ask {
                Ask::Seek(partition, start, answer) => {
                    let _ = answer.send(self.seek(consumer, &partition, start));
                }
                Ask::Pause(partitions, paused, answer) => {
                    let noted = self.assignment.set_paused(&partitions, paused);
                    if noted.is_ok() && !self.throttled {
                        set_paused(consumer, &partitions, paused);
                    }
                    let _ = answer.send(noted.map_err(|at| self.shared.not_owner(&at)));
                }
            }
        }
    }

    fn seek(
        &self,
        consumer: &BaseConsumer<Assignment>,
        partition: &TopicPartition,
        start: Start,
    ) -> Result<(), BusError> {
        let assignment = &self.assignment;
        let Some(stopped) = assignment.is_out_of_range(partition) else {
            return Err(self.shared.not_owner(partition));
        };
        let begins = positions::resolve(consumer, &[(partition.clone(), start)]).map_err(broker)?;
        let Some((_, Some(begin))) = begins.first() else {
            assignment.tell_out_of_range(partition.clone());
            return Ok(());
        };
        let timeout = positions::REQUEST_TIMEOUT;
        if stopped || consumer.seek(&partition.topic, partition.partition, *begin, timeout).is_err() {
            // A fetcher that has stopped cannot be sought, only begun anew. Between two polls no
            // rebalance is being answered that this could be taken for.
            let one = positions::list(std::slice::from_ref(partition), *begin);
            consumer.incremental_unassign(&one).map_err(broker)?;
            consumer.incremental_assign(&one).map_err(broker)?;
            set_paused(
                consumer,
                std::slice::from_ref(partition),
                self.throttled || assignment.is_paused(partition),
            );
        }
        assignment.moved(partition, positions::known(Some(*begin)));
        Ok(())
    }
}

fn set_paused(consumer: &BaseConsumer<Assignment>, partitions: &[TopicPartition], paused: bool) {
    let list = positions::list(partitions, Offset::Invalid);
    let done = if paused { consumer.pause(&list) } else { consumer.resume(&list) };
    if let Err(error) = done {
        tracing::error!(?partitions, paused, "cannot pause or resume: {error}");
    }
}

impl Shared {
    fn not_owner(&self, at: &TopicPartition) -> BusError {
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

struct KafkaControl {
    shared: Arc<Shared>,
    leave: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<()>,
}

impl std::fmt::Debug for KafkaControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaControl").field("group", &self.shared.group).finish_non_exhaustive()
    }
}

impl KafkaControl {
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

    async fn pause(&self, partitions: Vec<TopicPartition>, paused: bool) -> Result<(), BusError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Pause(partitions, paused, answer), answered).await
    }

    async fn leave(&self) {
        Handle { leave: self.leave.clone(), ended: self.ended.clone() }.leave().await;
    }
}
