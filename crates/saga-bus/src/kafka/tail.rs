//! A reader of all partitions without a group. Owns its thread; it must not commit anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::broker;
use super::config::KafkaConfig;
use super::context::Logged;
use super::positions::watermarks;
use super::records::{Names, record};
use super::wait::block_until;
use crate::{BusError, From, Record, Tail, TopicPartition};

const RECORDS_PER_BATCH: usize = 500;
const BATCHES_WAITING: usize = 16;
/// How long one poll, or one wait for a slow reader, lasts: how late the end is noticed.
const TURN: Duration = Duration::from_millis(50);

impl ConsumerContext for Logged {}

/// Starts the reader; blocks until its first offsets are known, so that whatever is published after
/// this has returned is read.
pub(super) fn start(
    config: &KafkaConfig,
    topic: &str,
    partitions: u32,
    from: From,
    closed: Arc<AtomicBool>,
) -> Result<Tail, BusError> {
    let consumer: BaseConsumer<Logged> = config.tail().create_with_context(Logged).map_err(broker)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions.cast_signed() {
        let bounds = watermarks(consumer.client(), &TopicPartition { topic: topic.into(), partition })
            .map_err(broker)?;
        let begin = if from == From::Earliest { bounds.low } else { bounds.high };
        list.add_partition_offset(topic, partition, Offset::Offset(begin)).map_err(broker)?;
    }
    consumer.assign(&list).map_err(broker)?;
    let (sender, records) = mpsc::channel(BATCHES_WAITING);
    std::thread::Builder::new()
        .name(format!("kafka tail {topic}"))
        .spawn(move || run(&consumer, &sender, &closed))
        .map_err(|error| BusError::Broker(format!("no thread for a reader: {error}")))?;
    Ok(Tail { records })
}

fn run(consumer: &BaseConsumer<Logged>, records: &mpsc::Sender<Vec<Record>>, closed: &AtomicBool) {
    let mut names = Names::default();
    while !closed.load(Ordering::Relaxed) && !records.is_closed() {
        // Nobody waits for a reader without a group: it may be as slow as it likes.
        let Some(Ok(room)) = block_until(records.reserve(), Instant::now() + TURN) else { continue };
        let batch = poll(consumer, &mut names);
        if !batch.is_empty() {
            room.send(batch);
        }
    }
}

fn poll(consumer: &BaseConsumer<Logged>, names: &mut Names) -> Vec<Record> {
    let mut batch = Vec::new();
    let mut timeout = TURN;
    while batch.len() < RECORDS_PER_BATCH {
        match consumer.poll(timeout) {
            Some(Ok(message)) => batch.push(record(&message, names)),
            Some(Err(error)) => {
                tracing::debug!("librdkafka reports: {error}");
                break;
            }
            None => break,
        }
        timeout = Duration::ZERO;
    }
    batch
}
