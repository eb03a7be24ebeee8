//! What workers say of themselves: who lives, what they can do, and how far each partition is worked off.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use saga_bus::{Bus, From};
use saga_core::Millis;
use saga_protocol::{Announcement, Progress, WorkerRecord};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// An instance that has been silent for longer is taken for dead, in ms.
const ALIVE_MS: i64 = 20_000;
/// How far a worker's clock may be ahead of ours, in ms.
const SKEW_MAX_MS: i64 = 60_000;

/// The workers' topic, folded.
#[derive(Debug, Default)]
pub struct WorkerRegistry {
    announcements: RwLock<HashMap<(String, String), Announcement>>,
    progress: RwLock<HashMap<Arc<str>, HashMap<i32, Progress>>>,
}

impl WorkerRegistry {
    /// Every instance that was heard of, the living first.
    pub fn list(&self) -> Vec<Announcement> {
        let mut all: Vec<_> = self.announcements.read().values().cloned().collect();
        all.sort_by(|a, b| (!alive(a), &a.worker, &a.instance).cmp(&(!alive(b), &b.worker, &b.instance)));
        all
    }

    /// Whether a living instance of the worker announces the action.
    pub fn announced(&self, worker: &str, action: &str) -> bool {
        self.announcements.read().values().any(|it| {
            it.worker == worker && alive(it) && it.actions.iter().any(|offer| offer.action == action)
        })
    }

    /// The schema that a living instance of the worker announces for the inputs of an action, or of what undoes it.
    pub fn input_schema(&self, worker: &str, action: &str) -> Option<serde_json::Value> {
        let all = self.announcements.read();
        let offers = all.values().filter(|it| it.worker == worker && alive(it)).flat_map(|it| &it.actions);
        let mut its = offers.filter(|offer| offer.action == action);
        its.find_map(|offer| offer.input_schema.clone())
    }

    /// How far a partition of a command topic has been worked off, when its worker says so at all.
    pub fn reached(&self, topic: &str, partition: i32) -> Option<Millis> {
        let progress = self.progress.read();
        progress.get(topic)?.get(&partition).map(|it| Millis(it.reached_ms))
    }

    /// All progress that was heard of.
    pub fn progress(&self) -> Vec<Progress> {
        self.progress.read().values().flat_map(HashMap::values).cloned().collect()
    }

    fn take_in(&self, record: WorkerRecord) {
        match record {
            WorkerRecord::Announcement(it) => {
                let key = (it.worker.clone(), it.instance.clone());
                let mut all = self.announcements.write();
                if it.leaving {
                    all.remove(&key);
                } else {
                    all.insert(key, it);
                }
                // Instances that died without a word; a day keeps them visible long enough.
                all.retain(|_, it| clock::now() - Millis(it.at_ms) < 24 * 3_600_000);
            }
            // A word from the future would outlive all that comes after it.
            WorkerRecord::Progress(it) if Millis(it.at_ms) - clock::now() > SKEW_MAX_MS => {
                tracing::warn!(
                    it.topic,
                    it.partition,
                    it.at_ms,
                    "progress of a worker whose clock is ahead is passed over"
                );
            }
            WorkerRecord::Progress(it) => {
                let mut all = self.progress.write();
                let partitions = all.entry(it.topic.as_str().into()).or_default();
                let newer = partitions.get(&it.partition).is_none_or(|known| known.at_ms <= it.at_ms);
                if newer {
                    partitions.insert(it.partition, it);
                }
            }
        }
    }

    /// Reads the topic from its beginning and follows it, until shut down.
    pub(crate) async fn follow(
        self: Arc<Self>,
        bus: Arc<dyn Bus>,
        topic: String,
        shutdown: CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            let mut tail = match bus.tail(&topic, From::Earliest).await {
                Ok(tail) => tail,
                Err(error) => {
                    tracing::warn!(%error, "cannot follow the workers' topic; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                        () = shutdown.cancelled() => return,
                    }
                }
            };
            loop {
                let records = tokio::select! {
                    records = tail.records.recv() => records,
                    () = shutdown.cancelled() => return,
                };
                let Some(records) = records else { break };
                for data in records.into_iter().filter_map(|record| record.data) {
                    match WorkerRecord::decode(&data) {
                        Ok(record) => self.take_in(record),
                        Err(error) => tracing::warn!(%error, "a record of the workers' topic cannot be read"),
                    }
                }
            }
        }
    }
}

/// Whether an instance is taken to live.
pub fn alive(it: &Announcement) -> bool {
    clock::now() - Millis(it.at_ms) < ALIVE_MS
}
