//! Everything the bus knows, behind one lock. Owns topics, groups and records on their way; it must
//! not wait for anything.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::faults::{Dice, Faults, InFlight};
use super::group::{Group, MemberId};
use super::log::Log;
use crate::partitioner::partition_of;
use crate::{BusError, LogId, Outgoing, PublishError, Record, TopicPartition, TopicSpec};

/// The largest record, in bytes of key and data; as the Kafka implementation has it.
const RECORD_BYTES_MAX: usize = crate::RECORD_BYTES_MAX;

pub(super) struct State {
    cluster: String,
    closed: bool,
    pub(super) topics: Topics,
    pub(super) groups: HashMap<String, Group>,
    /// Who is to be woken when a topic gets records; also for topics that do not exist yet.
    listeners: HashMap<Arc<str>, Vec<(MemberId, Arc<Notify>)>>,
    ids_given: MemberId,
    keyless_published: u32,
    dice: Dice,
    in_flight: InFlight,
    postman_runs: bool,
}

/// The topics, apart from the rest so that a group can be changed while logs are read.
#[derive(Default)]
pub(super) struct Topics(HashMap<Arc<str>, Topic>);

struct Topic {
    id: String,
    compacted: bool,
    logs: Vec<Log>,
}

impl State {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            cluster: random_id(),
            closed: false,
            topics: Topics::default(),
            groups: HashMap::new(),
            listeners: HashMap::new(),
            ids_given: 0,
            keyless_published: 0,
            dice: Dice::new(faults),
            in_flight: InFlight::default(),
            postman_runs: false,
        }
    }

    pub(super) fn open(&self) -> Result<(), BusError> {
        if self.closed { Err(BusError::Broker("the bus is closed".to_owned())) } else { Ok(()) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.listeners.values().flatten().for_each(|(_, wake)| wake.notify_one());
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.dice.set_faults(faults);
    }

    // ---- topics ------------------------------------------------------------------------------

    pub(super) fn ensure_topic(&mut self, spec: &TopicSpec) {
        if self.topics.0.contains_key(spec.name.as_str()) {
            return;
        }
        let name: Arc<str> = spec.name.as_str().into();
        let topic = Topic::new(&name, spec.compacted, spec.partitions.max(1));
        self.topics.0.insert(name, topic);
        self.rebalance_all();
    }

    fn log_mut(&mut self, at: &TopicPartition) -> Option<&mut Log> {
        self.topics.0.get_mut(&at.topic)?.logs.get_mut(usize::try_from(at.partition).ok()?)
    }

    pub(super) fn log_id(&self, topic: &str) -> Option<LogId> {
        let topic = self.topics.0.get(topic)?;
        Some(LogId { cluster: self.cluster.clone(), topic: topic.id.clone() })
    }

    pub(super) fn wipe(&mut self, topic: &str) {
        let Some((name, old)) = self.topics.0.get_key_value(topic) else { return };
        let name = name.clone();
        let fresh = Topic::new(&name, old.compacted, old.partitions());
        self.topics.0.insert(name.clone(), fresh);
        for group in self.groups.values_mut() {
            group.committed.retain(|at, _| at.topic != name);
        }
        self.in_flight.forget(|record| record.at.topic == name);
        self.wake(&name);
    }

    pub(super) fn wipe_all(&mut self) {
        self.cluster = random_id();
        let names: Vec<Arc<str>> = self.topics.0.keys().cloned().collect();
        for name in names {
            self.wipe(&name);
        }
    }

    pub(super) fn delete_before(&mut self, at: &TopicPartition, offset: i64) {
        if let Some(log) = self.log_mut(at) {
            log.trim_to(offset);
        }
        self.wake(&at.topic);
    }

    // ---- records -----------------------------------------------------------------------------

    /// The results of the records, and whether somebody has to see to the delayed ones.
    pub(super) fn publish(
        &mut self,
        records: Vec<Outgoing>,
        now: Instant,
    ) -> (Vec<Result<(), PublishError>>, bool) {
        let fair = self.dice.is_fair();
        let results = records.into_iter().map(|outgoing| self.publish_one(outgoing, fair, now)).collect();
        let postman_needed = !self.postman_runs && self.in_flight.next_arrival().is_some();
        self.postman_runs |= postman_needed;
        (results, postman_needed)
    }

    fn publish_one(&mut self, outgoing: Outgoing, fair: bool, now: Instant) -> Result<(), PublishError> {
        let record = self.place(outgoing)?;
        if fair && self.in_flight.next_arrival().is_none() {
            self.deliver(record);
            return Ok(());
        }
        let fate = self.dice.throw(&record.at, now);
        for arrival in fate.arrivals {
            self.in_flight.push(arrival, record.clone());
        }
        if fate.reported_failed {
            return Err(PublishError { reason: "an injected fault".to_owned(), permanent: false });
        }
        Ok(())
    }

    fn place(&mut self, outgoing: Outgoing) -> Result<Record, PublishError> {
        let Outgoing { topic, partition, message } = outgoing;
        let permanent = |reason: String| Err(PublishError { reason, permanent: true });
        if self.closed {
            return Err(PublishError { reason: "the bus is closed".to_owned(), permanent: false });
        }
        let partitions = self.topics.partitions(&topic);
        if partitions == 0 {
            return permanent(format!("no topic `{topic}`"));
        }
        if message.key.len() + message.data.len() > RECORD_BYTES_MAX {
            return permanent(format!("larger than {RECORD_BYTES_MAX} bytes"));
        }
        let partition = match partition {
            Some(partition) if (0..i64::from(partitions)).contains(&i64::from(partition)) => partition,
            Some(partition) => return permanent(format!("no partition {partition} of `{topic}`")),
            None if message.key.is_empty() => {
                self.keyless_published = self.keyless_published.wrapping_add(1);
                (self.keyless_published % partitions).cast_signed()
            }
            None => partition_of(&message.key, partitions),
        };
        Ok(Record {
            at: TopicPartition { topic, partition },
            offset: -1,
            key: (!message.key.is_empty()).then_some(message.key),
            headers: message.headers,
            data: (!message.data.is_empty()).then_some(message.data),
        })
    }

    /// Delivers what has arrived; when the next arrives. `None` ends the postman.
    pub(super) fn deliver_arrived(&mut self, now: Instant) -> Option<Instant> {
        while let Some(record) = self.in_flight.pop(now) {
            self.deliver(record);
        }
        let next = self.in_flight.next_arrival();
        self.postman_runs = next.is_some();
        next
    }

    pub(super) fn on_their_way(&self) -> usize {
        self.in_flight.len()
    }

    fn deliver(&mut self, record: Record) {
        let at = record.at.clone();
        if let Some(log) = self.log_mut(&at) {
            log.append(record);
        }
        self.wake(&at.topic);
    }

    // ---- listeners and groups ----------------------------------------------------------------

    pub(super) fn listen(&mut self, topics: &[Arc<str>], wake: &Arc<Notify>) -> MemberId {
        self.ids_given += 1;
        for topic in topics {
            self.listeners.entry(topic.clone()).or_default().push((self.ids_given, wake.clone()));
        }
        self.ids_given
    }

    pub(super) fn stop_listening(&mut self, id: MemberId) {
        self.listeners.retain(|_, listeners| {
            listeners.retain(|(listener, _)| *listener != id);
            !listeners.is_empty()
        });
    }

    fn wake(&self, topic: &str) {
        self.listeners.get(topic).into_iter().flatten().for_each(|(_, wake)| wake.notify_one());
    }

    pub(super) fn rebalance(&mut self, group: &str) {
        let topics = &self.topics;
        if let Some(group) = self.groups.get_mut(group) {
            group.rebalance(|topic| topics.partitions(topic));
        }
    }

    fn rebalance_all(&mut self) {
        let groups: Vec<String> = self.groups.keys().cloned().collect();
        for group in groups {
            self.rebalance(&group);
        }
    }

    pub(super) fn expire(&mut self, group: &str, partition: &TopicPartition) {
        let owner = self.groups.get_mut(group).and_then(|it| {
            let member = it.members.values_mut().find(|member| member.owned.contains(partition))?;
            member.lost.extend(std::mem::take(&mut member.owned));
            member.reading.clear();
            member.away = true;
            Some(())
        });
        if owner.is_some() {
            self.rebalance(group);
        }
    }

    pub(super) fn commit(&mut self, group: &str, offsets: Vec<(TopicPartition, i64)>) {
        for (at, offset) in offsets {
            if let Some(group) = self.groups.get_mut(group) {
                group.committed.insert(at.clone(), offset);
            }
            // A group that reads the topic and has committed nothing still needs everything.
            let needed = self
                .groups
                .values()
                .filter(|it| {
                    it.committed.contains_key(&at)
                        || it.members.values().any(|it| it.topics.contains(&at.topic))
                })
                .map(|it| it.committed.get(&at).copied().unwrap_or(0))
                .min();
            if let (Some(needed), Some(log)) = (needed, self.log_mut(&at)) {
                log.trim_committed(needed);
            }
        }
    }
}

impl Topics {
    /// How many partitions a topic has; 0 when there is no such topic.
    pub(super) fn partitions(&self, topic: &str) -> u32 {
        self.0.get(topic).map_or(0, Topic::partitions)
    }

    pub(super) fn log(&self, at: &TopicPartition) -> Option<&Log> {
        self.0.get(&at.topic)?.logs.get(usize::try_from(at.partition).ok()?)
    }
}

impl Topic {
    fn new(name: &Arc<str>, compacted: bool, partitions: u32) -> Self {
        let logs = (0..partitions)
            .map(|it| {
                Log::new(TopicPartition { topic: name.clone(), partition: it.cast_signed() }, compacted)
            })
            .collect();
        Self { id: random_id(), compacted, logs }
    }

    fn partitions(&self) -> u32 {
        u32::try_from(self.logs.len()).unwrap_or(u32::MAX)
    }
}

fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
