//! What the worker says of itself: that it lives, and how far it has read.

use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, Control, LogId, Outgoing, Pace, Start, TopicPartition};
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
        let record = WorkerRecord::Announcement(Announcement {
            worker: shared.name.clone(),
            instance: self.instance.clone(),
            version: shared.version.clone(),
            actions: shared.actions.iter().map(|action| action.info.clone()).collect(),
            retention_ms: shared.retention_ms,
            at_ms: shared.clock.now_ms(),
            leaving,
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

/// Every how many ticks the log's identity is looked at.
const LOG_LOOK_TICKS: u64 = 5;

impl Teller {
    /// Commits and tells for ever.
    pub(crate) async fn run(&self) {
        let mut every = tokio::time::interval(Duration::from_millis(self.shared.tuning.progress_ms));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Vec::new();
        let mut log = None;
        for tick in 0_u64.. {
            every.tick().await;
            if tick.is_multiple_of(LOG_LOOK_TICKS) {
                self.look_at_log(&mut log).await;
            }
            self.commit().await;
            self.tell(&mut told).await;
        }
    }

    /// A topic that was deleted and made again starts its offsets anew. As long as fewer records came
    /// since than we had read before, the broker sees nothing wrong with our position.
    async fn look_at_log(&self, known: &mut Option<LogId>) {
        let Ok(log) = self.bus.log_id(&self.commands).await else { return };
        if known.as_ref().is_some_and(|known| *known != log) {
            self.start_anew(self.ledger.partitions()).await;
        }
        *known = Some(log);
    }

    /// The log is another one, or does not have what we wanted to read next. Everything that it still
    /// has is read; the barrier answers what was done before.
    pub(crate) async fn start_anew(&self, partitions: Vec<TopicPartition>) {
        tracing::error!(
            worker = self.shared.name,
            ?partitions,
            "the log is not the one that was read so far: reading it from its beginning"
        );
        for partition in partitions {
            self.ledger.assign(std::slice::from_ref(&partition));
            if let Err(error) = self.control.seek(partition, Start::Earliest).await {
                tracing::warn!(worker = self.shared.name, %error, "could not start anew");
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
        match self.control.commit(offsets.clone()).await {
            Ok(()) => self.ledger.committed(&offsets),
            Err(error) => {
                tracing::warn!(worker = self.shared.name, %error, "offsets could not be committed");
            }
        }
    }

    /// Tells how far each partition is worked off, where that is news.
    pub(crate) async fn tell(&self, told: &mut Vec<(TopicPartition, i64)>) {
        for partition in self.ledger.idle() {
            // Asked before the look: what comes in meanwhile is later than the claim.
            let at_ms = self.shared.clock.now_ms();
            if let Ok(marks) = self.bus.watermarks(&partition).await {
                self.ledger.looked(&partition, marks.low, marks.high, at_ms);
            }
        }
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
