//! What the worker says of itself: that it lives, and how far it has read.

use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, Control, LogId, Outgoing, Pace, TopicPartition};
use saga_protocol::{Announcement, Progress, Topics, WorkerRecord};

use super::ledger::Ledger;
use crate::worker::Shared;

/// Writes announcements for one instance.
pub(crate) struct Announcer {
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    topic: Arc<str>,
    instance: String,
}

impl Announcer {
    pub(crate) fn new(shared: Arc<Shared>, bus: Arc<dyn Bus>, topics: &Topics) -> Self {
        let instance = uuid::Uuid::now_v7().to_string();
        Self { shared, bus, topic: topics.workers().into(), instance }
    }

    /// Announces the worker for ever.
    pub(crate) async fn run(&self) {
        let mut every = tokio::time::interval(Duration::from_millis(self.shared.tuning.announce_ms));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.announce(false).await;
        }
    }

    /// Announces the worker once; `leaving` says that it goes on purpose.
    pub(crate) async fn announce(&self, leaving: bool) {
        let shared = &self.shared;
        let at_ms = shared.clock.now_ms();
        let record = WorkerRecord::Announcement(Announcement {
            worker: shared.name.clone(),
            instance: self.instance.clone(),
            version: shared.version.clone(),
            actions: shared.actions.iter().map(|action| action.info.clone()).collect(),
            retention_ms: shared.retention_ms,
            at_ms,
            leaving,
            answered_per_minute: Some(shared.pulse.per_minute(at_ms)),
            breakers: Some(shared.pulse.breakers()),
        });
        say(&*self.bus, &self.topic, vec![record]).await;
    }
}

/// Commits offsets and tells progress, for one consumer.
pub(crate) struct Teller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) topic: Arc<str>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) control: Arc<dyn Control>,
    /// The command topic.
    pub(crate) commands: String,
}

impl Teller {
    /// Commits and tells until the log turns out to be another one. One that was deleted and made again
    /// starts its offsets anew; as long as fewer records came since than we had read before, the broker
    /// sees nothing wrong with our position.
    pub(crate) async fn run(&self) {
        let mut every = tokio::time::interval(Duration::from_millis(self.shared.tuning.progress_ms));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Vec::new();
        let mut known: Option<LogId> = None;
        loop {
            every.tick().await;
            self.look().await;
            // After the look: if the log is still the one that was read, so were its ends.
            let log = self.bus.log_id(&self.commands).await.ok();
            if log.as_ref().is_some_and(|log| *known.get_or_insert_with(|| log.clone()) != *log) {
                return;
            }
            self.commit().await;
            if log.is_some() {
                self.tell(&mut told).await;
            }
        }
    }

    /// Commits what is answered. A refusal is not an error: the partition went to another member,
    /// who will meet the barrier.
    pub(crate) async fn commit(&self) {
        let offsets = self.ledger.committable();
        if offsets.is_empty() {
            return;
        }
        failpoint::hit("worker.offset");
        match self.control.commit(offsets.clone()).await {
            Ok(()) => self.ledger.committed(&offsets),
            Err(error) => {
                tracing::warn!(worker = self.shared.name, %error, "offsets could not be committed");
            }
        }
    }

    /// Looks which partitions are read to their end.
    async fn look(&self) {
        let idle = self.ledger.idle();
        // Asked before the look: what comes in meanwhile is later than the claim.
        let at_ms = self.shared.clock.now_ms();
        // All at once: a broker that does not answer holds the next commit up once, not once a partition.
        let looks = idle.iter().map(|idle| async move {
            if let Ok(marks) = self.bus.watermarks(&idle.at).await {
                self.ledger.looked(idle, marks.high, at_ms);
            }
        });
        futures::future::join_all(looks).await;
    }

    /// Tells how far each partition is worked off, where that is news.
    pub(crate) async fn tell(&self, told: &mut Vec<(TopicPartition, i64)>) {
        let reached = self.ledger.reached();
        let at_ms = self.shared.clock.now_ms();
        let news = reached.iter().filter(|one| !told.contains(one));
        let records = news.map(|(partition, reached_ms)| {
            WorkerRecord::Progress(Progress {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                reached_ms: *reached_ms,
                at_ms,
            })
        });
        say(&*self.bus, &self.topic, records.collect()).await;
        *told = reached;
    }
}

/// Publishes records of the workers' topic. They are repeated soon, so a failure is only logged.
async fn say(bus: &dyn Bus, topic: &Arc<str>, records: Vec<WorkerRecord>) {
    if records.is_empty() {
        return;
    }
    let records = records
        .iter()
        .map(|record| Outgoing { topic: topic.clone(), partition: None, message: record.encode() })
        .collect();
    for result in bus.publish(records, Pace::Batch).await.await {
        if let Err(error) = result {
            tracing::warn!(%error, "an announcement could not be published");
        }
    }
}
