//! The consumer of one direction: reads its topic, understands the records, feeds the lanes.
//!
//! Each direction has a consumer, a group and lanes of its own, so that a compensate never queues
//! behind executes.

use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, BusError, Control, Event, Record, Start, Subscription, TopicPartition};
use saga_protocol::{Direction, Topics};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::announce::Teller;
use super::backoff::Backoff;
use super::job::{Job, Letter, Read, Slot, read};
use super::ledger::Ledger;
use super::meters::{Meters, side};
use super::replies::{self, Finished, Replies};
use super::ride::Ride;
use super::{external, transactional};
use crate::answer::Answer;
use crate::worker::{Kind, Shared};

/// What each waiting command takes of the room at least, in KiB; so the room bounds both their
/// number and their bytes.
const SHARE_KIB_MIN: usize = 16;
/// How long a partition that is called back is waited for. Longer would hold up the whole group;
/// what is not finished is asked of the new owner again, and met by the barrier.
const REVOKE_WAIT_MS: u64 = 3_000;

/// One direction of a worker.
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    topics: Topics,
    direction: Direction,
    stop: CancellationToken,
    ride: Arc<Ride>,
    ledger: Arc<Ledger>,
    room: Arc<Semaphore>,
    room_kib: usize,
}

/// Where commands go.
struct Lanes {
    transactional: mpsc::Sender<Job>,
    external: mpsc::Sender<Job>,
    replies: Replies,
}

/// Why reading ended.
#[derive(PartialEq)]
enum Ended {
    /// The worker is to stop.
    Stop,
    /// The membership ended; join again.
    Subscription,
    /// The log is not the one that was read so far; join again, at its beginning.
    AnotherLog,
    /// A lane ended although nobody closed it.
    Lane,
}

impl Consumer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        bus: Arc<dyn Bus>,
        topics: Topics,
        direction: Direction,
        stop: CancellationToken,
        ride: Arc<Ride>,
    ) -> Self {
        let room_kib = (shared.tuning.pending_max * SHARE_KIB_MIN).max(2_048);
        let room = Arc::new(Semaphore::new(room_kib));
        let ledger = ride.ledger(direction).clone();
        Self { shared, bus, topics, direction, stop, ride, ledger, room, room_kib }
    }

    /// Works until told to stop, then drains.
    pub(crate) async fn run(self) {
        let meters = Arc::new(Meters::new(&self.shared, self.direction));
        let (replies, waiter) = replies::channel(
            self.shared.clone(),
            self.bus.clone(),
            &self.topics,
            meters.clone(),
            self.ledger.clone(),
        );
        let (transactional, jobs) = mpsc::channel(self.shared.tuning.pending_max);
        let lane = transactional::Lane {
            shared: self.shared.clone(),
            direction: self.direction,
            jobs,
            way: transactional::Way { replies: replies.clone(), meters: meters.clone() },
            ride: self.ride.clone(),
        };
        let (external, jobs) = mpsc::channel(self.shared.tuning.pending_max);
        let outside = external::Lane::new(self.shared.clone(), self.direction, jobs, replies.clone(), meters);
        // Dropping the set stops its tasks: a worker that is torn down leaves nothing running.
        let mut tasks = JoinSet::new();
        tasks.spawn(lane.run());
        tasks.spawn(outside.run());
        tasks.spawn(waiter.run());

        let mut lanes = Some(Lanes { transactional, external, replies });
        let mut backoff = Backoff::default();
        let mut start = Start::Committed;
        while let (Some(open), Some(subscription)) = (&lanes, self.subscribe(&mut backoff).await) {
            let Subscription { mut events, control } = subscription;
            let teller = Arc::new(Teller {
                shared: self.shared.clone(),
                bus: self.bus.clone(),
                topic: self.topics.workers().into(),
                commands: self.topics.commands(&self.shared.name, self.direction),
                ledger: self.ledger.clone(),
                control,
            });
            let mut telling = JoinSet::new();
            telling.spawn({
                let teller = teller.clone();
                async move { teller.run().await }
            });
            let ended = self.consume(&mut events, open, &teller, start, &mut telling, &mut tasks).await;
            if ended == Ended::Lane {
                // A bug of ours. What it had in hand is lost, so the worker ends; a new one is asked again.
                tracing::error!(worker = self.shared.name, "a lane broke");
                return;
            }
            if ended == Ended::Stop {
                // Closing the lanes lets each finish what it has, and the waiter after them.
                lanes = None;
                while let Some(ended) = tasks.join_next().await {
                    if let Err(error) = ended {
                        tracing::error!(worker = self.shared.name, %error, "a lane broke while draining");
                    }
                }
                drop(telling);
                teller.commit().await;
                teller.tell(&mut Vec::new()).await;
                teller.control.leave().await;
            } else {
                let another_log = ended == Ended::AnotherLog;
                tracing::warn!(
                    worker = self.shared.name,
                    direction = side(self.direction),
                    another_log,
                    "the subscription ended; joining again"
                );
                // Records of the old log may wait in the events: they go with the subscription, so that
                // their offsets are never taken for the new log's.
                start = if another_log { Start::Earliest } else { Start::Committed };
                self.ledger.clear();
                backoff.wait().await;
            }
        }
    }

    /// Joins the group; `None` when told to stop first.
    async fn subscribe(&self, backoff: &mut Backoff) -> Option<Subscription> {
        let topic = self.topics.commands(&self.shared.name, self.direction);
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            // The group has the topic's name: each direction is rebalanced by itself.
            match self.bus.subscribe(&topic, std::slice::from_ref(&topic)).await {
                Ok(subscription) => {
                    *backoff = Backoff::default();
                    return Some(subscription);
                }
                Err(error) => {
                    tracing::warn!(worker = self.shared.name, topic, %error, "cannot join the group yet");
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = self.stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Reads events until told to stop or the subscription ends. The first partitions begin at `start_at`.
    async fn consume(
        &self,
        events: &mut mpsc::Receiver<Event>,
        lanes: &Lanes,
        teller: &Teller,
        mut start_at: Start,
        telling: &mut JoinSet<()>,
        tasks: &mut JoinSet<()>,
    ) -> Ended {
        let mut seeking = JoinSet::new();
        let mut look = tokio::time::interval(Duration::from_millis(self.shared.tuning.progress_ms));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ended::Stop,
                _ = tasks.join_next() => return Ended::Lane,
                told = telling.join_next() => match told {
                    Some(Err(error)) => {
                        tracing::error!(worker = self.shared.name, %error, "commits and progress broke");
                        return Ended::Lane;
                    }
                    _ => return Ended::AnotherLog,
                },
                event = events.recv() => event,
                _ = look.tick() => {
                    self.place(events, teller).await;
                    continue;
                }
            };
            match event {
                None => return Ended::Subscription,
                Some(Event::Records(records)) => {
                    for record in records {
                        tokio::select! {
                            biased;
                            () = self.stop.cancelled() => return Ended::Stop,
                            _ = tasks.join_next() => return Ended::Lane,
                            () = self.take(record, lanes) => {}
                        }
                    }
                }
                Some(Event::Assigned { partitions, start }) => {
                    self.ledger.assign(&partitions);
                    let starts = partitions.into_iter().map(|partition| (partition, start_at)).collect();
                    // What comes later was committed by others who read the same log.
                    start_at = Start::Committed;
                    // Nobody listens when the group has moved on already; another event follows.
                    let _ = start.send(starts);
                }
                Some(Event::Revoked { partitions, done }) => {
                    self.hand_over(&partitions, teller).await;
                    let _ = done.send(());
                }
                Some(Event::Lost { partitions }) => self.ledger.forget(&partitions),
                Some(Event::OutOfRange { partition }) => {
                    tracing::error!(
                        worker = self.shared.name,
                        ?partition,
                        "the log does not have what was to be read next: reading what it has"
                    );
                    // All that came before was taken, and nothing comes until the seek.
                    self.ledger.assign(std::slice::from_ref(&partition));
                    seeking.spawn(seek_earliest(teller.control.clone(), partition));
                }
            }
        }
    }

    /// Understands a record and gives it to its lane; waits while there is no room.
    async fn take(&self, record: Record, lanes: &Lanes) {
        let bytes = record.data.as_ref().map_or(0, bytes::Bytes::len);
        let share_kib = (2 * bytes / 1_024).clamp(SHARE_KIB_MIN, self.room_kib);
        let share = self.room.clone().acquire_many_owned(u32::try_from(share_kib).unwrap_or(u32::MAX)).await;
        let (Ok(room), Some(generation)) = (share, self.ledger.generation(&record.at)) else { return };
        let slot = Slot { at: record.at.clone(), offset: record.offset, generation };
        let read = read(Letter { record, generation, _room: room }, self.direction, &self.shared);
        let time_ms = match &read {
            Read::Job(job) | Read::Stranger(job) => Some(job.command.sent_at_ms),
            Read::Poison(..) => None,
        };
        if !self.ledger.read(&slot, time_ms) {
            return;
        }
        match read {
            Read::Job(job) => {
                let lane = match self.shared.actions[job.meta.action].kind {
                    Kind::Transactional(_) => &lanes.transactional,
                    Kind::External(..) => &lanes.external,
                };
                // A lane ends before its sender only when the worker is torn down.
                let _ = lane.send(job).await;
            }
            Read::Stranger(job) => {
                let message = format!("this worker has no action `{}` in that direction", job.command.action);
                let answer = Answer::own_trouble("unknown_action", message);
                lanes.replies.send(vec![Finished::Answered(job, answer)]).await;
            }
            Read::Poison(letter, reason) => lanes.replies.send(vec![Finished::Poison(letter, reason)]).await,
        }
    }

    /// Learns where partitions begin of which no record has come. Only here, where the events are read:
    /// if there are none after the bus was asked, then none was handed on.
    async fn place(&self, events: &mpsc::Receiver<Event>, teller: &Teller) {
        for partition in self.ledger.unplaced() {
            if let Ok(position) = teller.control.position(&partition).await
                && events.is_empty()
            {
                self.ledger.begins(&partition, position);
            }
        }
    }

    /// Finishes what is in flight of partitions that go to another member, within a bound.
    async fn hand_over(&self, partitions: &[TopicPartition], teller: &Teller) {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(REVOKE_WAIT_MS);
        while !self.ledger.is_settled(partitions) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        teller.commit().await;
        self.ledger.forget(partitions);
    }
}

/// Goes on at the earliest record. Not awaited where the events are read: the bus may have to be answered
/// there first.
async fn seek_earliest(control: Arc<dyn Control>, partition: TopicPartition) {
    let mut backoff = Backoff::default();
    while let Err(error) = control.seek(partition.clone(), Start::Earliest).await {
        if matches!(error, BusError::NotOwner(_)) {
            return;
        }
        tracing::warn!(?partition, %error, "cannot go on at the earliest record yet");
        backoff.wait().await;
    }
}
