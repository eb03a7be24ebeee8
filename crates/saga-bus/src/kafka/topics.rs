//! Making topics. Owns their properties; it must not change a topic that exists.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;

use super::broker;
use super::config::REQUEST_TIMEOUT_MS;
use super::context::Logged;
use crate::{BusError, RECORD_BYTES_MAX, TopicSpec};

/// How long a new topic may take until every partition has a leader.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(20);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(REQUEST_TIMEOUT_MS as u64);

/// Makes the topics that do not exist, and returns once they can be written.
pub(super) async fn ensure(
    admin: &AdminClient<Logged>,
    topics: &[TopicSpec],
    replicas: u16,
) -> Result<(), BusError> {
    if topics.is_empty() {
        return Ok(());
    }
    let replicas = i32::from(replicas.max(1));
    let retention: Vec<String> = topics.iter().map(|it| it.retention_ms.to_string()).collect();
    let bytes_max = (RECORD_BYTES_MAX + 64 * 1024).to_string();
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .zip(&retention)
        .map(|(spec, retention_ms)| {
            let partitions = i32::try_from(spec.partitions.max(1)).unwrap_or(i32::MAX);
            let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(replicas))
                .set("unclean.leader.election.enable", "false")
                .set("max.message.bytes", &bytes_max);
            topic = if spec.compacted {
                topic.set("cleanup.policy", "compact")
            } else {
                topic.set("cleanup.policy", "delete").set("retention.ms", retention_ms)
            };
            if replicas >= 3 {
                topic = topic.set("min.insync.replicas", "2");
            }
            topic
        })
        .collect();
    let options =
        AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let results = admin.create_topics(&new, &options).await.map_err(broker)?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(BusError::Broker(format!("topic `{name}` cannot be made: {code}")));
            }
        }
    }
    Ok(())
}

/// Blocks until every partition of the topics has a leader that the asked broker knows.
pub(super) fn wait_until_ready(client: &Client<Logged>, topics: &[String]) -> Result<(), BusError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    for topic in topics {
        while !is_ready(client, topic)? {
            if Instant::now() >= deadline {
                return Err(BusError::Broker(format!("topic `{topic}` has no leader for every partition")));
            }
            std::thread::sleep(READY_POLL);
        }
    }
    Ok(())
}

fn is_ready(client: &Client<Logged>, topic: &str) -> Result<bool, BusError> {
    let metadata = client.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(broker)?;
    Ok(metadata.topics().iter().any(|it| {
        it.name() == topic
            && it.error().is_none()
            && !it.partitions().is_empty()
            && it.partitions().iter().all(|partition| partition.leader() >= 0)
    }))
}

/// How many partitions a topic has; blocks.
pub(super) fn partitions(client: &Client<Logged>, topic: &str) -> Result<u32, BusError> {
    let metadata = client.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(broker)?;
    let count = metadata.topics().iter().find(|it| it.name() == topic).map_or(0, |it| it.partitions().len());
    match u32::try_from(count) {
        Ok(0) | Err(_) => Err(BusError::NoTopic(topic.to_owned())),
        Ok(count) => Ok(count),
    }
}

/// Whether a broker answers within the time; blocks.
pub(super) fn reachable(client: &Client<Logged>, timeout: Duration) -> Result<(), BusError> {
    client.fetch_metadata(Some("__consumer_offsets"), timeout).map(|_| ()).map_err(broker)
}

/// How many brokers the cluster has; blocks.
pub(super) fn brokers(client: &Client<Logged>) -> Result<usize, BusError> {
    // Any topic's metadata lists all brokers; all topics' would be a large answer on a shared cluster.
    let metadata = client.fetch_metadata(Some("__consumer_offsets"), REQUEST_TIMEOUT).map_err(broker)?;
    Ok(metadata.brokers().len())
}
