//! What a member has been given, and the handshakes of a rebalance, which librdkafka runs inside the
//! member's own thread. Owns which partition may be committed and which records may be handed on; it
//! must not poll.
//!
//! Both handshakes block the member's thread until the member has answered, so nothing is fetched
//! under an assignment that was not accepted, and nothing is given away that is still being worked on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot, watch};

use super::context;
use super::positions::{self, resolve};
use super::wait::block_until;
use crate::{Event, Record, Start, TopicPartition};

/// How long an answer is waited for before the member counts as one that declined; well below the
/// poll interval after which the group expels it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The member's side of its consumer; librdkafka calls it on the member's thread.
pub(super) struct Assignment {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) leave_asked: watch::Receiver<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Polled, not handed on yet.
    buffer: Vec<Record>,
    buffer_bytes: usize,
    /// The first offset of each partition in the event that is being handed on just now: what is on
    /// its way from the buffer into the channel is in neither.
    handing: BTreeMap<TopicPartition, i64>,
    /// The member declined, or could not begin: it has to leave and join again.
    must_rejoin: bool,
    /// The member does not listen, or cannot go on.
    ended: bool,
}

#[derive(Debug)]
struct Partition {
    /// Offered and accepted. Before, offsets can be committed, and no record is handed on.
    accepted: bool,
    /// The offset that is read next, where it is known.
    next: Option<i64>,
    paused: bool,
    out_of_range: bool,
}

impl Assignment {
    pub(super) fn new(events: mpsc::Sender<Event>, leave_asked: watch::Receiver<bool>) -> Self {
        Self { events, leave_asked, state: Mutex::default() }
    }

    /// Whether the member is gone, wants to be, or cannot go on.
    pub(super) fn is_ending(&self) -> bool {
        *self.leave_asked.borrow() || self.events.is_closed() || self.state.lock().ended
    }

    pub(super) fn end(&self) {
        self.state.lock().ended = true;
    }

    pub(super) fn take_rejoin(&self) -> bool {
        std::mem::take(&mut self.state.lock().must_rejoin)
    }

    /// The first of the partitions that the member does not have.
    pub(super) fn foreign<'a>(
        &self,
        mut of: impl Iterator<Item = &'a TopicPartition>,
    ) -> Option<TopicPartition> {
        let state = self.state.lock();
        of.find(|at| !state.partitions.contains_key(at)).cloned()
    }

    // ---- records -----------------------------------------------------------------------------

    /// Keeps a record for the next event, if its partition is being read.
    pub(super) fn push(&self, record: Record) {
        let mut state = self.state.lock();
        let Some(partition) = state.partitions.get_mut(&record.at) else { return };
        if !partition.accepted || partition.out_of_range {
            return;
        }
        partition.next = Some(record.offset + 1);
        state.buffer_bytes += record.data.as_ref().map_or(0, bytes::Bytes::len);
        state.buffer.push(record);
    }

    /// How many records, and how many bytes of data, wait to be handed on.
    pub(super) fn buffered(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.buffer.len(), state.buffer_bytes)
    }

    /// Hands on what was polled.
    pub(super) fn flush(&self) {
        let records = {
            let mut state = self.state.lock();
            state.buffer_bytes = 0;
            state.handing = firsts(&state.buffer);
            std::mem::take(&mut state.buffer)
        };
        if !records.is_empty() {
            self.tell(Event::Records(records));
            self.state.lock().handing.clear();
        }
    }

    /// Hands an event on. The channel keeps room for more events than a rebalance has, so this waits
    /// only for a member that has stopped reading altogether; in the end it gives up the membership.
    pub(super) fn tell(&self, event: Event) {
        let event = match self.events.try_send(event) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(event)) => event,
            Err(mpsc::error::TrySendError::Closed(_)) => return self.end(),
        };
        let sent = block_until(self.unless_leaving(self.events.send(event)), Instant::now() + ANSWER_TIMEOUT);
        if !matches!(sent, Some(Some(Ok(())))) {
            tracing::error!("a member does not read its events: it leaves the group");
            self.end();
        }
    }

    async fn unless_leaving<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let mut leave_asked = self.leave_asked.clone();
        tokio::select! {
            biased;
            output = what => Some(output),
            _ = leave_asked.wait_for(|leave| *leave) => None,
            () = self.events.closed() => None,
        }
    }

    /// The answer to an event; `None` when it was declined, or did not come in time.
    fn answer<T>(&self, answer: oneshot::Receiver<T>, what: &str) -> Option<T> {
        match block_until(self.unless_leaving(answer), Instant::now() + ANSWER_TIMEOUT) {
            Some(answer) => answer?.ok(),
            None => {
                tracing::error!(
                    timeout_ms = u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
                    "a member did not answer the {what} of partitions in time"
                );
                None
            }
        }
    }

    // ---- positions ---------------------------------------------------------------------------

    /// Below which offset everything was handed on; `None` when the partition is not being read.
    pub(super) fn position(&self, at: &TopicPartition) -> Option<i64> {
        let state = self.state.lock();
        let next = state.partitions.get(at).filter(|it| it.accepted && !it.out_of_range)?.next?;
        let buffered = state.buffer.iter().find(|record| record.at == *at).map(|record| record.offset);
        let held = state.handing.get(at).copied().or(buffered);
        Some(held.map_or(next, |held| held.min(next)))
    }

    /// Every partition that is being read, with the offset that is next where it is known.
    pub(super) fn read_positions(&self) -> Vec<(TopicPartition, Option<i64>)> {
        let state = self.state.lock();
        let reading = state.partitions.iter().filter(|(_, it)| it.accepted && !it.out_of_range);
        reading.map(|(at, it)| (at.clone(), it.next)).collect()
    }

    /// Stops handing on the partition's records, and says so.
    pub(super) fn tell_out_of_range(&self, partition: TopicPartition) {
        self.flush();
        if let Some(it) = self.state.lock().partitions.get_mut(&partition) {
            it.out_of_range = true;
        }
        self.tell(Event::OutOfRange { partition });
    }

    /// Whether the partition waits for a seek; `None` when the member does not read it.
    pub(super) fn is_out_of_range(&self, at: &TopicPartition) -> Option<bool> {
        self.state.lock().partitions.get(at).filter(|it| it.accepted).map(|it| it.out_of_range)
    }

    /// The partition goes on at `next`; what was polled of it before is dropped.
    pub(super) fn moved(&self, at: &TopicPartition, next: i64) {
        let mut state = self.state.lock();
        state.buffer.retain(|record| record.at != *at);
        if let Some(it) = state.partitions.get_mut(at) {
            it.next = Some(next);
            it.out_of_range = false;
        }
    }

    /// Notes what the member wants; the first partition that it does not read, if any.
    pub(super) fn set_paused(
        &self,
        partitions: &[TopicPartition],
        paused: bool,
    ) -> Result<(), TopicPartition> {
        let mut state = self.state.lock();
        for at in partitions {
            match state.partitions.get_mut(at).filter(|it| it.accepted) {
                Some(it) => it.paused = paused,
                None => return Err(at.clone()),
            }
        }
        Ok(())
    }

    pub(super) fn is_paused(&self, at: &TopicPartition) -> bool {
        self.state.lock().partitions.get(at).is_some_and(|it| it.paused)
    }

    /// The partitions that are read and that the member has not paused itself.
    pub(super) fn flowing(&self) -> Vec<TopicPartition> {
        let state = self.state.lock();
        let flowing = state.partitions.iter().filter(|(_, it)| it.accepted && !it.paused);
        flowing.map(|(at, _)| at.clone()).collect()
    }

    // ---- rebalances --------------------------------------------------------------------------

    fn assign(&self, consumer: &BaseConsumer<Self>, offered: Vec<TopicPartition>) {
        if offered.is_empty() {
            return log_failure(
                "accept nothing new",
                consumer.incremental_assign(&TopicPartitionList::new()),
            );
        }
        if self.is_ending() {
            return self.decline(consumer, &offered);
        }
        self.flush();
        let fresh = || Partition { accepted: false, next: None, paused: false, out_of_range: false };
        self.state.lock().partitions.extend(offered.iter().map(|at| (at.clone(), fresh())));
        let (start, answer) = oneshot::channel();
        self.tell(Event::Assigned { partitions: offered.clone(), start });
        let Some(starts) = self.answer(answer, "offer") else {
            self.forget(&offered);
            return self.decline(consumer, &offered);
        };
        if let Err(error) = self.begin(consumer, &offered, &starts) {
            tracing::error!("partitions cannot be read, the member joins again: {error}");
            self.forget(&offered);
            self.tell(Event::Lost { partitions: offered.clone() });
            self.decline(consumer, &offered);
        }
    }

    fn begin(
        &self,
        consumer: &BaseConsumer<Self>,
        offered: &[TopicPartition],
        starts: &[(TopicPartition, Start)],
    ) -> Result<(), KafkaError> {
        let wanted: Vec<(TopicPartition, Start)> = offered
            .iter()
            .map(|at| {
                let start =
                    starts.iter().find(|(of, _)| of == at).map_or(Start::Committed, |(_, start)| *start);
                (at.clone(), start)
            })
            .collect();
        let begins = resolve(consumer, &wanted)?;
        let mut list = TopicPartitionList::with_capacity(begins.len());
        let mut unreadable = Vec::new();
        for (at, begin) in &begins {
            let offset = begin.map_or(Offset::End, |begin| begin.offset);
            list.add_partition_offset(&at.topic, at.partition, offset)?;
            if begin.is_none() {
                unreadable.push(at.clone());
            }
        }
        consumer.incremental_assign(&list)?;
        // A partition that was paused when it went away comes back paused.
        consumer.resume(&list)?;
        let mut state = self.state.lock();
        for (at, begin) in &begins {
            if let Some(it) = state.partitions.get_mut(at) {
                it.accepted = true;
                it.next = begin.map(|begin| begin.next);
            }
        }
        drop(state);
        for at in unreadable {
            self.tell_out_of_range(at);
        }
        Ok(())
    }

    /// librdkafka has no way to refuse: the partitions are taken, but not read, and given back by
    /// leaving the group.
    fn decline(&self, consumer: &BaseConsumer<Self>, offered: &[TopicPartition]) {
        let list = positions::list(offered, Offset::End);
        log_failure("take declined partitions", consumer.incremental_assign(&list));
        log_failure("pause declined partitions", consumer.pause(&list));
        self.state.lock().must_rejoin = true;
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &[TopicPartition]) {
        let accepted = {
            let state = self.state.lock();
            let accepted = |at: &&TopicPartition| state.partitions.get(*at).is_some_and(|it| it.accepted);
            revoked.iter().filter(accepted).cloned().collect::<Vec<_>>()
        };
        if consumer.assignment_lost() {
            // First of all nothing can be committed any more, then the member is told.
            self.forget(revoked);
            if !accepted.is_empty() {
                self.tell(Event::Lost { partitions: accepted });
            }
        } else if !accepted.is_empty() && !self.is_ending() {
            self.flush();
            let (done, answer) = oneshot::channel();
            self.tell(Event::Revoked { partitions: accepted, done });
            // Answered, dropped or too late: they go in any case.
            let _ = self.answer(answer, "revocation");
        }
        self.forget(revoked);
        log_failure(
            "give partitions back",
            consumer.incremental_unassign(&positions::list(revoked, Offset::Invalid)),
        );
    }

    /// Everything is gone at once, without the group's say.
    pub(super) fn lose_all(&self) {
        let mut state = self.state.lock();
        let all = std::mem::take(&mut state.partitions);
        state.buffer.clear();
        drop(state);
        let partitions: Vec<_> = all.into_iter().filter(|(_, it)| it.accepted).map(|(at, _)| at).collect();
        if !partitions.is_empty() {
            self.tell(Event::Lost { partitions });
        }
    }

    fn forget(&self, partitions: &[TopicPartition]) {
        let mut state = self.state.lock();
        state.partitions.retain(|at, _| !partitions.contains(at));
        state.buffer.retain(|record| !partitions.contains(&record.at));
    }
}

impl ClientContext for Assignment {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::log_error(&error, reason);
    }
}

impl ConsumerContext for Assignment {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = positions::of(list);
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            _ => self.revoke(consumer, &partitions),
        }
    }
}

/// Each partition's first offset.
fn firsts(records: &[Record]) -> BTreeMap<TopicPartition, i64> {
    let mut firsts = BTreeMap::new();
    for record in records {
        firsts.entry(record.at.clone()).or_insert(record.offset);
    }
    firsts
}

fn log_failure(what: &str, result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::error!("librdkafka cannot {what}: {error}");
    }
}
