//! The spike's ends of Kafka: a reader that takes batches, and the settings of `saga-bus`.
//!
//! Owns topics and client properties. The properties are copies of `crates/saga-bus/src/kafka/config.rs`, which says why
//! each has its value; what is set there for failures is left out.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use saga_bus::{Bus, Kafka, KafkaConfig, TopicSpec};
use uuid::Uuid;

use crate::saga::{Direction, STEPS};

/// Where replies go.
pub(crate) const INBOX: &str = "spike.inbox";
/// Records of one batch, at most.
const BATCH_MAX: usize = 1_000;
/// How long an idle reader waits.
const POLL: Duration = Duration::from_millis(50);
/// How long a batch waits for company under load.
const LINGER: Duration = Duration::from_millis(2);

/// A worker's topic of commands: each direction has its own.
pub(crate) fn commands(worker: &str, direction: Direction) -> String {
    match direction {
        Direction::Execute => format!("spike.{worker}.execute"),
        Direction::Compensate => format!("spike.{worker}.compensate"),
    }
}

/// Makes the topics, a partition each, as the engine makes its own.
pub(crate) async fn make_topics(bootstrap: &str) -> anyhow::Result<()> {
    let bus =
        Kafka::connect(KafkaConfig { bootstrap: bootstrap.to_owned(), ..KafkaConfig::default() }).await?;
    let directions = [Direction::Execute, Direction::Compensate];
    let commands = STEPS.iter().flat_map(|it| directions.map(|direction| commands(it.worker, direction)));
    let week_ms = 7 * 24 * 60 * 60 * 1_000;
    let topics: Vec<TopicSpec> = std::iter::once(INBOX.to_owned())
        .chain(commands)
        .map(|name| TopicSpec { name, partitions: 1, compacted: false, retention_ms: week_ms })
        .collect();
    bus.ensure_topics(&topics).await?;
    bus.close(1_000).await;
    Ok(())
}

fn base(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "spike")
        .set("allow.auto.create.topics", "false")
        .set("socket.nagle.disable", "true")
        .set("topic.metadata.refresh.interval.ms", "60000");
    config
}

/// A producer as the engine has it under load; it hears of acknowledgements on a thread of its own, as the engine's does.
pub(crate) fn producer<C: ProducerContext + 'static>(
    bootstrap: &str,
    context: C,
) -> anyhow::Result<ThreadedProducer<C>> {
    let mut config = base(bootstrap);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("compression.type", "lz4")
        .set("delivery.timeout.ms", "30000")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536");
    Ok(config.create_with_context(context)?)
}

/// Hands a record of a saga over. A local queue that is full is an error: nothing here fills it.
pub(crate) fn send<C: ProducerContext>(
    producer: &ThreadedProducer<C>,
    topic: &str,
    saga: Uuid,
    data: &[u8],
    opaque: C::DeliveryOpaque,
) -> anyhow::Result<()> {
    let key = saga.as_bytes().as_slice();
    let record = BaseRecord::with_opaque_to(topic, opaque).partition(0).key(key).payload(data);
    producer.send(record).map_err(|(error, _)| error).with_context(|| format!("publishing to {topic}"))
}

/// Reads batches.
pub(crate) struct Reader {
    consumer: BaseConsumer,
    /// A batch of at least this many is load: the next one waits for company.
    load_from: usize,
    last: usize,
}

impl Reader {
    /// Reads the inbox from an offset, outside of a group.
    pub(crate) fn inbox(bootstrap: &str, from: i64, load_from: usize) -> anyhow::Result<Self> {
        let consumer = consumer(bootstrap, "spike.engine")?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(INBOX, 0, Offset::Offset(from))?;
        consumer.assign(&partitions)?;
        Ok(Self { consumer, load_from, last: 0 })
    }

    /// Reads a worker's commands as a member of its group.
    pub(crate) fn member(bootstrap: &str, worker: &str, load_from: usize) -> anyhow::Result<Self> {
        let topics = [commands(worker, Direction::Execute), commands(worker, Direction::Compensate)];
        let consumer = consumer(bootstrap, &format!("spike.{worker}"))?;
        consumer.subscribe(&topics.each_ref().map(String::as_str))?;
        Ok(Self { consumer, load_from, last: 0 })
    }

    /// What has arrived. Blocks for a moment when that is nothing.
    pub(crate) fn batch<T>(
        &mut self,
        read: impl Fn(&BorrowedMessage<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        let mut batch = Vec::with_capacity(self.last);
        self.take(POLL, &read, &mut batch)?;
        if self.last >= self.load_from && !batch.is_empty() && batch.len() < self.last {
            std::thread::sleep(LINGER);
            self.take(Duration::ZERO, &read, &mut batch)?;
        }
        self.last = batch.len();
        Ok(batch)
    }

    fn take<T>(
        &self,
        mut wait: Duration,
        read: impl Fn(&BorrowedMessage<'_>) -> anyhow::Result<T>,
        batch: &mut Vec<T>,
    ) -> anyhow::Result<()> {
        while batch.len() < BATCH_MAX
            && let Some(message) = self.consumer.poll(wait)
        {
            batch.push(read(&message?)?);
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Commits offsets for the group, without waiting.
    pub(crate) fn commit(&self, offsets: &[(String, i64)]) -> anyhow::Result<()> {
        let mut partitions = TopicPartitionList::new();
        for (topic, offset) in offsets {
            partitions.add_partition_offset(topic, 0, Offset::Offset(*offset))?;
        }
        Ok(self.consumer.commit(&partitions, CommitMode::Async)?)
    }
}

fn consumer(bootstrap: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = base(bootstrap);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "50")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1500")
        .set("auto.offset.reset", "earliest");
    Ok(config.create()?)
}
