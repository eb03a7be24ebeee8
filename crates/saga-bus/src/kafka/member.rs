//! A member of a consumer group: its thread. Owns polling, back pressure and the order of events; the
//! handshakes are in `assignment`, what is asked from outside comes through `control`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio::sync::{mpsc, watch};

use super::assignment::Assignment;
use super::config::KafkaConfig;
use super::control::{Ask, Handle, KafkaControl, Shared};
use super::records::{Names, record};
use super::wait::block_until;
use super::{broker, positions};
use crate::{BusError, Start, Subscription, TopicPartition};

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

/// Joins a group; the member lives as long as its events are read.
pub(super) fn join(
    config: &KafkaConfig,
    group: &str,
    topics: &[String],
) -> Result<(Subscription, Handle), BusError> {
    let (sender, events) = mpsc::channel(EVENTS_WAITING + EVENTS_SPARE);
    let (leave, leave_asked) = watch::channel(false);
    let (alive, ended) = watch::channel(());
    let assignment = Assignment::new(sender, leave_asked);
    let consumer: BaseConsumer<Assignment> =
        config.member(group).create_with_context(assignment).map_err(broker)?;
    let consumer = Arc::new(consumer);
    let shared = Arc::new(Shared::new(group, consumer.clone()));
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
    let handle = Handle::new(leave, ended);
    Ok((Subscription { events, control: KafkaControl::new(shared, &handle) }, handle))
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
        self.shared.close();
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
            // Said twice, or a log that was cut and has grown again since, or brokers that do not
            // answer now. Whose fetcher has stopped cannot be known: each begins anew where it was.
            tracing::warn!(
                group = self.shared.group,
                "some offset is out of range, but no known one: fetching anew"
            );
            for (at, next) in reading {
                let begin = next.map_or(Offset::Beginning, Offset::Offset);
                if let Err(error) = self.fetch_anew(consumer, &at, begin) {
                    tracing::error!(partition = ?at, "cannot be fetched anew, and is given up: {error}");
                    gone.push(at);
                }
            }
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
        for ask in self.shared.take_asks() {
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
        if stopped || consumer.seek(&partition.topic, partition.partition, begin.offset, timeout).is_err() {
            self.fetch_anew(consumer, partition, begin.offset).map_err(broker)?;
        }
        assignment.moved(partition, begin.next);
        Ok(())
    }

    /// A fetcher that has stopped cannot be sought, only begun anew. Between two polls no rebalance is
    /// being answered that this could be taken for.
    fn fetch_anew(
        &self,
        consumer: &BaseConsumer<Assignment>,
        at: &TopicPartition,
        begin: Offset,
    ) -> KafkaResult<()> {
        let one = positions::list(std::slice::from_ref(at), begin);
        consumer.incremental_unassign(&one)?;
        consumer.incremental_assign(&one)?;
        set_paused(consumer, std::slice::from_ref(at), self.throttled || self.assignment.is_paused(at));
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
