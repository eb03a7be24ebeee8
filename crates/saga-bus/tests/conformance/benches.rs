//! The buses under test, what is done to them from outside, and a member that a test drives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use saga_bus::{
    Bus, Control, Event, InProcess, Kafka, KafkaConfig, Outgoing, Pace, Record, Start, TopicPartition,
    TopicSpec,
};
use saga_protocol::{Headers, Message};
use tokio::sync::{mpsc, oneshot};

/// Longer than any rebalance takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bus, and what can be done to it from outside.
#[async_trait(?Send)]
pub(crate) trait Bench {
    fn bus(&self) -> &Arc<dyn Bus>;
    /// Removes records as retention does.
    async fn delete_before(&self, partition: &TopicPartition, offset: i64);
    /// Deletes a topic, and makes it again.
    async fn make_again(&self, topic: &str, partitions: u32);
    /// Makes the group expel `member`, which has the partition and has committed 1 in it.
    async fn expel(&self, group: &str, partition: &TopicPartition, member: &mut Member);
}

pub(crate) struct InProcessBench {
    concrete: Arc<InProcess>,
    bus: Arc<dyn Bus>,
}

impl InProcessBench {
    pub(crate) fn new() -> Self {
        let concrete = InProcess::new();
        Self { bus: concrete.clone(), concrete }
    }
}

#[async_trait(?Send)]
impl Bench for InProcessBench {
    fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    async fn delete_before(&self, partition: &TopicPartition, offset: i64) {
        self.concrete.delete_before(partition, offset);
    }

    async fn make_again(&self, topic: &str, _partitions: u32) {
        self.concrete.wipe(topic);
    }

    async fn expel(&self, group: &str, partition: &TopicPartition, _member: &mut Member) {
        self.concrete.expire(group, partition);
    }
}

pub(crate) struct KafkaBench {
    bus: Arc<dyn Bus>,
    admin: AdminClient<DefaultClientContext>,
}

/// Short, so that a member which does not poll is expelled within a test.
const POLL_INTERVAL_MAX_MS: u64 = 8_000;

impl KafkaBench {
    pub(crate) async fn new() -> Self {
        let bootstrap = test_support::kafka();
        let admin = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
        let extra = vec![("max.poll.interval.ms".to_owned(), POLL_INTERVAL_MAX_MS.to_string())];
        let config =
            KafkaConfig { bootstrap, client_id: "conformance".to_owned(), extra, ..KafkaConfig::default() };
        Self { bus: Kafka::connect(config).await.unwrap(), admin }
    }
}

#[async_trait(?Send)]
impl Bench for KafkaBench {
    fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    async fn delete_before(&self, partition: &TopicPartition, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset)).unwrap();
        // Asked again until it is so: a topic that was just made may be unknown to who is asked, and the answer says so only
        // within.
        test_support::eventually("the records are gone", 40_000, async || {
            self.admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
            self.bus.watermarks(partition).await.is_ok_and(|it| it.low == offset)
        })
        .await;
    }

    async fn make_again(&self, topic: &str, partitions: u32) {
        for result in self.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
        test_support::eventually("the topic is gone and can be made again", 20_000, async || {
            self.bus.partitions(topic).await.is_err()
        })
        .await;
        make(&self.bus, topic, partitions).await;
    }

    async fn expel(&self, group: &str, partition: &TopicPartition, member: &mut Member) {
        // Another member comes; the owner does not answer the revocation for longer than the group
        // lets a member go without polling.
        let topic = partition.topic.to_string();
        let other = self.bus.subscribe(group, std::slice::from_ref(&topic)).await.unwrap();
        let Event::Revoked { done, .. } = member.event().await else { panic!("not a revocation") };
        test_support::eventually("the group expels the member", 40_000, async || {
            member.control.commit(vec![(partition.clone(), 1)]).await.is_err()
        })
        .await;
        // Answered too late.
        let _ = done.send(());
        other.control.leave().await;
    }
}

/// A topic of its own.
pub(crate) async fn topic(bus: &Arc<dyn Bus>, partitions: u32) -> Arc<str> {
    let name = test_support::unique_prefix("conformance");
    make(bus, &name, partitions).await;
    name.into()
}

pub(crate) async fn make(bus: &Arc<dyn Bus>, name: &str, partitions: u32) {
    let spec = TopicSpec { name: name.to_owned(), partitions, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[spec]).await.unwrap();
}

pub(crate) fn at(topic: &Arc<str>, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

pub(crate) fn outgoing(at: &TopicPartition, data: impl Into<String>) -> Outgoing {
    let message = Message { key: "key".into(), headers: Headers::default(), data: data.into().into() };
    Outgoing { topic: at.topic.clone(), partition: Some(at.partition), message }
}

pub(crate) async fn publish(bus: &Arc<dyn Bus>, records: Vec<Outgoing>) {
    for result in bus.publish(records, Pace::Now).await.await {
        result.unwrap();
    }
}

/// Publishes `count` records whose data counts from `from`.
pub(crate) async fn publish_numbers(bus: &Arc<dyn Bus>, at: &TopicPartition, from: usize, count: usize) {
    publish(bus, (from..from + count).map(|n| outgoing(at, n.to_string())).collect()).await;
}

pub(crate) fn number(record: &Record) -> usize {
    text(record).parse().unwrap()
}

pub(crate) fn text(record: &Record) -> &str {
    std::str::from_utf8(record.data.as_ref().unwrap()).unwrap()
}

/// A member of a group that a test drives event by event.
pub(crate) struct Member {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) control: Arc<dyn Control>,
}

impl Member {
    pub(crate) async fn join(bus: &Arc<dyn Bus>, group: &str, topic: &str) -> Self {
        let subscription = bus.subscribe(group, &[topic.to_owned()]).await.unwrap();
        Self { events: subscription.events, control: subscription.control }
    }

    /// Joins, and begins at `start` everywhere.
    pub(crate) async fn begin(bus: &Arc<dyn Bus>, group: &str, topic: &str, start: Start) -> Self {
        let mut member = Self::join(bus, group, topic).await;
        member.accept(start).await;
        member
    }

    pub(crate) async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("the events go on")
    }

    pub(crate) async fn offer(
        &mut self,
    ) -> (Vec<TopicPartition>, oneshot::Sender<Vec<(TopicPartition, Start)>>) {
        match self.event().await {
            Event::Assigned { partitions, start } => (partitions, start),
            other => panic!("not an offer: {other:?}"),
        }
    }

    pub(crate) async fn accept(&mut self, start: Start) -> Vec<TopicPartition> {
        let (partitions, answer) = self.offer().await;
        answer.send(partitions.iter().map(|at| (at.clone(), start)).collect()).expect("the offer stands");
        partitions
    }

    pub(crate) async fn revocation(&mut self) -> (Vec<TopicPartition>, oneshot::Sender<()>) {
        match self.event().await {
            Event::Revoked { partitions, done } => (partitions, done),
            other => panic!("not a revocation: {other:?}"),
        }
    }

    pub(crate) async fn out_of_range(&mut self) -> TopicPartition {
        match self.event().await {
            Event::OutOfRange { partition } => partition,
            other => panic!("not out of range: {other:?}"),
        }
    }

    /// Reads exactly `count` records.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            match self.event().await {
                Event::Records(more) => {
                    assert!(!more.is_empty(), "an event without records");
                    records.extend(more);
                }
                other => panic!("{} of {count} records, then {other:?}", records.len()),
            }
        }
        assert_eq!(records.len(), count, "more than was published");
        records
    }

    /// Leaves, and sees the events end.
    pub(crate) async fn leave(mut self) {
        self.control.leave().await;
        while let Some(event) =
            tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("the events end")
        {
            assert!(matches!(event, Event::Records(_)), "{event:?} after leaving");
        }
    }
}

/// The numbers of each partition, in the order they were read in.
pub(crate) fn by_partition(records: &[Record]) -> HashMap<i32, Vec<usize>> {
    let mut numbers: HashMap<i32, Vec<usize>> = HashMap::new();
    for record in records {
        numbers.entry(record.at.partition).or_default().push(number(record));
    }
    numbers
}
