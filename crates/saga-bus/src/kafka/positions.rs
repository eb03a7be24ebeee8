//! From where a partition is read. Owns the translation between our words and librdkafka's; it must
//! not remember anything.

use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::config::REQUEST_TIMEOUT_MS;
use crate::{Start, TopicPartition, Watermarks};

pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_millis(REQUEST_TIMEOUT_MS as u64);

const RETRY: Duration = Duration::from_millis(20);

pub(super) fn of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    elements.iter().map(|it| TopicPartition { topic: it.topic().into(), partition: it.partition() }).collect()
}

pub(super) fn list(partitions: &[TopicPartition], offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for at in partitions {
        let mut element = list.add_partition(&at.topic, at.partition);
        // Only an offset that cannot be represented is refused.
        element.set_offset(offset).expect("a logical offset");
    }
    list
}

/// Where a partition begins to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// In librdkafka's words. The earliest record stays a word: an offset could be gone by the time
    /// that it is fetched.
    pub(super) offset: Offset,
    /// The offset that will be read next, or one before it that the log has lost meanwhile.
    pub(super) next: i64,
}

impl Begin {
    const fn at(offset: i64) -> Self {
        Self { offset: Offset::Offset(offset), next: offset }
    }
}

/// A partition's bounds, asked of its leader now; blocks. A leadership that is moving, or that a broker
/// has not heard of yet, is waited for.
pub(super) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    at: &TopicPartition,
) -> KafkaResult<Watermarks> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        let error = match client.fetch_watermarks(&at.topic, at.partition, REQUEST_TIMEOUT) {
            Ok((low, high)) => return Ok(Watermarks { low, high }),
            Err(error) => error,
        };
        let passing = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::ReplicaNotAvailable
                    | RDKafkaErrorCode::FencedLeaderEpoch
                    | RDKafkaErrorCode::UnknownLeaderEpoch
            )
        );
        if !passing || Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(RETRY);
    }
}

/// Where each partition begins; `None` where the log cannot have it. Asks the group and the brokers where that is needed; blocks.
pub(super) fn resolve<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    wanted: &[(TopicPartition, Start)],
) -> KafkaResult<Vec<(TopicPartition, Option<Begin>)>> {
    let asked: Vec<TopicPartition> =
        wanted.iter().filter(|(_, start)| *start == Start::Committed).map(|(at, _)| at.clone()).collect();
    let committed = if asked.is_empty() {
        TopicPartitionList::new()
    } else {
        consumer.committed_offsets(list(&asked, Offset::Invalid), REQUEST_TIMEOUT)?
    };
    let mut begins = Vec::with_capacity(wanted.len());
    for (at, start) in wanted {
        let begin = match start {
            Start::Earliest => Some(earliest(consumer, at)?),
            // Logical offsets are negative to librdkafka; to us no log has them.
            Start::At(offset) => (*offset >= 0).then_some(Begin::at(*offset)),
            Start::Committed => {
                Some(match committed.find_partition(&at.topic, at.partition).map(|it| it.offset()) {
                    Some(Offset::Offset(offset)) => still_there(consumer, at, offset)?,
                    _ => earliest(consumer, at)?,
                })
            }
        };
        begins.push((at.clone(), begin));
    }
    Ok(begins)
}

fn earliest<C: ConsumerContext>(consumer: &BaseConsumer<C>, at: &TopicPartition) -> KafkaResult<Begin> {
    let Watermarks { low, .. } = watermarks(consumer.client(), at)?;
    Ok(Begin { offset: Offset::Beginning, next: low })
}

/// The offset, or the beginning when the log does not have it any more.
fn still_there<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    at: &TopicPartition,
    offset: i64,
) -> KafkaResult<Begin> {
    let Watermarks { low, high } = watermarks(consumer.client(), at)?;
    if (low..=high).contains(&offset) {
        return Ok(Begin::at(offset));
    }
    tracing::warn!(partition = ?at, offset, low, high, "the committed offset is gone: reading from the earliest record");
    Ok(Begin { offset: Offset::Beginning, next: low })
}
