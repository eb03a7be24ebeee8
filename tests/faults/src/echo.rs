//! Duplicates on a real Kafka: reads topics and publishes a share of their records again, later and so out of
//! order, byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use saga_bus::{Bus, From, Kafka, KafkaConfig, Outgoing, Pace, Record};
use saga_protocol::{Direction, Headers, Message, Topics};
use tokio::task::JoinSet;

use crate::shop::WORKERS;

/// The header by which an echo knows its own, which are not echoed again.
const MARK: &str = "echo";
/// The longest time that an echo comes later, in ms.
const LATER_MAX_MS: u64 = 3_000;

/// Echoes until it is dropped.
#[derive(Debug)]
pub struct Echo {
    echoed: Arc<AtomicU64>,
    _listeners: JoinSet<()>,
}

impl Echo {
    /// Echoes `percent` of all replies and commands.
    ///
    /// # Errors
    /// When Kafka cannot be read.
    pub async fn start(topics: &Topics, percent: u32) -> anyhow::Result<Self> {
        let config = KafkaConfig { bootstrap: test_support::kafka(), ..KafkaConfig::default() };
        let bus: Arc<dyn Bus> = Kafka::connect(config).await?;
        let both = [Direction::Execute, Direction::Compensate];
        let mut names: Vec<String> =
            WORKERS.iter().flat_map(|it| both.map(|direction| topics.commands(it, direction))).collect();
        names.push(topics.inbox());
        let (echoed, mut listeners) = (Arc::<AtomicU64>::default(), JoinSet::new());
        for name in names {
            let mut tail = bus.tail(&name, From::Earliest).await?;
            let (bus, echoed) = (Arc::clone(&bus), Arc::clone(&echoed));
            listeners.spawn(async move {
                let mut later = JoinSet::new();
                while let Some(records) = tail.records.recv().await {
                    for record in records {
                        let hit = rand::rng().random_range(0..100) < percent;
                        if hit && record.headers.get(MARK).is_none() {
                            echoed.fetch_add(1, Ordering::Relaxed);
                            later.spawn(again(Arc::clone(&bus), record));
                        }
                        while later.try_join_next().is_some() {}
                    }
                }
            });
        }
        Ok(Self { echoed, _listeners: listeners })
    }

    /// How many records were published again.
    pub fn count(&self) -> u64 {
        self.echoed.load(Ordering::Relaxed)
    }
}

async fn again(bus: Arc<dyn Bus>, record: Record) {
    let wait_ms = rand::rng().random_range(0..LATER_MAX_MS);
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    let mut headers: Headers = record.headers;
    headers.push(MARK, "1");
    let message =
        Message { key: record.key.unwrap_or_default(), headers, data: record.data.unwrap_or_default() };
    let outgoing = Outgoing { topic: record.at.topic, partition: Some(record.at.partition), message };
    // One that is lost was not to be missed.
    drop(bus.publish(vec![outgoing], Pace::Batch).await.await);
}
