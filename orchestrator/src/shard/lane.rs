//! The lane: collect what has arrived, decide, commit in one statement, publish.
//!
//! One loop serves all shards of the lane, so that batches do not shrink because there are more partitions.
//! What it goes through has an order, so that a simulated world is the same run each time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, Event, Outgoing, Pace, Record, Subscription, TopicPartition, Watermarks};
use saga_core::Millis;
use saga_protocol::{InboxRecord, SagaEvents, SagaId, Topics};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::{Decision, NO_DEFINITION_MS, Next, coarse, dead_letter, panic_text};
use super::owned::Owned;
use super::sagas::{Saga, Sagas};
use super::stuck::Stuck;
use super::timers::Timers;
use super::{Claims, Handover, Incoming, Input};
use crate::clock;
use crate::health::Health;
use crate::hints::{Ended, Waiters};
use crate::holds::Holds;
use crate::outbox::{Outbox, Published, Row};
use crate::store::definitions::Definitions;
use crate::store::load::Loaded;
use crate::store::sweep::Swept;
use crate::store::{Database, Session, StoreError};
use crate::workers::WorkerRegistry;

/// Inputs of one batch, at most.
const BATCH_MAX: usize = 1_000;
/// Timers of one batch, at most: a wave of timeouts must not starve answers.
const TIMERS_MAX: usize = 200;
/// A batch of at least this many inputs is load: the next one waits for company.
const LOAD_FROM: usize = 24;
const LINGER: Duration = Duration::from_millis(2);
/// Acknowledged rows are deleted by the next batch, or after this when there is none.
const IDLE_FLUSH: Duration = Duration::from_millis(500);
/// The longest sleep of an idle lane: the watchdog sees it come round.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// What a lane shares with the rest of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) store: Arc<dyn Database>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) topics: Topics,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) waiters: Waiters,
    pub(crate) workers: Arc<WorkerRegistry>,
    pub(crate) health: Arc<Health>,
    pub(crate) claims: Claims,
    pub(crate) stuck: Stuck,
    pub(crate) holds: Holds,
    pub(crate) node: String,
    /// Asks for a sweep at once: there is mail.
    pub(crate) sweep_now: Arc<Notify>,
}

/// The ways into a lane beside the log.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) handovers: mpsc::UnboundedReceiver<Handover>,
    pub(crate) acknowledged: mpsc::UnboundedReceiver<Published>,
    pub(crate) swept: mpsc::Receiver<Swept>,
}

/// A saga whose state this build cannot read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) shard: i32,
    pub(crate) saga: SagaId,
    pub(crate) ended: bool,
    pub(crate) reason: String,
}

/// A high watermark that was asked for.
type Asked = (i32, Millis, Option<Watermarks>);

pub(crate) struct Lane {
    pub(crate) context: Context,
    pub(crate) outbox: Outbox,
    pub(crate) connection: Option<Box<dyn Session>>,
    pub(crate) subscription: Subscription,
    pub(crate) shards: BTreeMap<i32, Owned>,
    pub(crate) sagas: Sagas,
    pub(crate) timers: Timers,
    /// Sagas whose definition cannot be loaded: their records wait in the mailbox.
    pub(crate) waits_for_definition: HashSet<SagaId>,
    /// Sagas whose state cannot be read, to be said so by the next batch.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Coarse statuses that are wrong in the database, to be put right by the next batch.
    pub(crate) statuses: Vec<(i32, uuid::Uuid, i16)>,
    /// Shards that read another log than before, until everything in flight is sent again: (cluster, topic).
    pub(crate) new_logs: BTreeMap<i32, (String, String)>,
    /// Shards to be claimed again, and from when on.
    pub(crate) reclaim: BTreeMap<i32, Instant>,
    pub(crate) queue: VecDeque<Input>,
    /// Rows whose records the bus has; deleted with the next batch.
    pub(crate) sent: Vec<Row>,
    /// Rows that are published or about to be: the sweep leaves them alone.
    pub(crate) in_flight: HashSet<Row>,
    /// Mail that was taken in, and when that was committed: a sweep which began before may still bring it.
    taken: HashMap<uuid::Uuid, Instant>,
    doors: Doors,
    acknowledge: mpsc::UnboundedSender<Published>,
    asked: (mpsc::UnboundedSender<Asked>, mpsc::UnboundedReceiver<Asked>),
    flush_at: Option<Instant>,
    last_batch: usize,
}

impl Lane {
    pub(crate) fn new(
        context: Context,
        subscription: Subscription,
        doors: Doors,
        acknowledge: mpsc::UnboundedSender<Published>,
    ) -> Self {
        let outbox = Outbox::new(Arc::clone(&context.bus), context.topics.clone());
        Self {
            outbox,
            context,
            connection: None,
            subscription,
            shards: BTreeMap::new(),
            sagas: Sagas::default(),
            timers: Timers::default(),
            waits_for_definition: HashSet::new(),
            unreadable: Vec::new(),
            statuses: Vec::new(),
            new_logs: BTreeMap::new(),
            reclaim: BTreeMap::new(),
            queue: VecDeque::new(),
            sent: Vec::new(),
            in_flight: HashSet::new(),
            taken: HashMap::new(),
            doors,
            acknowledge,
            asked: mpsc::unbounded_channel(),
            flush_at: None,
            last_batch: 0,
        }
    }

    /// Serves its shards until shut down or until the bus ends the membership.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.context.health.lane_came_round(self.shards.len());
            if self.queue.is_empty() && !self.wait(&shutdown).await {
                break;
            }
            if !self.drain(&shutdown).await {
                break;
            }
            self.reclaim_due().await;
            let inputs = self.collect();
            let flush = self.flush_at.is_some_and(|at| at <= Instant::now());
            if !inputs.is_empty() || flush {
                self.last_batch = inputs.len();
                self.take_in(inputs).await;
            }
            if let Err(error) = self.know_logs().await {
                tracing::warn!(%error, "the shards' logs cannot be recorded; claiming the shards again");
                self.all_fenced();
            }
        }
        self.release().await;
    }

    /// Waits for anything to do. `false` when the lane is to end.
    async fn wait(&mut self, shutdown: &CancellationToken) -> bool {
        let now = Instant::now();
        let timer = self.timers.next().map(|due| {
            let ms = u64::try_from(due - clock::now()).unwrap_or(0);
            now + Duration::from_millis(ms)
        });
        let wake = [timer, self.flush_at, self.reclaim.values().min().copied()].into_iter().flatten().min();
        let wake = wake.unwrap_or(now + IDLE_MAX).min(now + IDLE_MAX);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            Some(handover) = self.doors.handovers.recv() => self.queue.push_back(Input::Handover(Arc::new(handover))),
            event = self.subscription.events.recv() => match event {
                Some(event) => self.on_event(event).await,
                None => return false,
            },
            Some(published) = self.doors.acknowledged.recv() => self.on_published(published),
            Some(swept) = self.doors.swept.recv() => self.on_swept(swept).await,
            Some(asked) = self.asked.1.recv() => self.on_watermark(asked),
            () = tokio::time::sleep_until(wake) => {}
        }
        true
    }

    /// Takes what has arrived, without waiting; under load, waits a little for company.
    async fn drain(&mut self, shutdown: &CancellationToken) -> bool {
        if self.last_batch >= LOAD_FROM && self.queue.len() < self.last_batch {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(LINGER) => {}
            }
        }
        while let Ok(published) = self.doors.acknowledged.try_recv() {
            self.on_published(published);
        }
        while let Ok(asked) = self.asked.1.try_recv() {
            self.on_watermark(asked);
        }
        if let Ok(swept) = self.doors.swept.try_recv() {
            self.on_swept(swept).await;
        }
        while self.queue.len() < BATCH_MAX {
            match self.subscription.events.try_recv() {
                Ok(event) => self.on_event(event).await,
                Err(_) => break,
            }
        }
        // Last, and to the end: a start must be known before anything that answers it.
        while let Ok(handover) = self.doors.handovers.try_recv() {
            self.queue.push_front(Input::Handover(Arc::new(handover)));
        }
        true
    }

    /// The inputs of the next batch: what waits, and what is due.
    fn collect(&mut self) -> Vec<Input> {
        let count = self.queue.len().min(BATCH_MAX);
        let mut inputs: Vec<Input> = self.queue.drain(..count).collect();
        // Behind the answers, so that one which came in time is taken in first.
        let due = self.timers.due(clock::now(), TIMERS_MAX);
        inputs.extend(due.into_iter().map(|(shard, saga)| Input::Due { shard, saga }));
        inputs.retain(|input| self.shards.contains_key(&input.shard()));
        inputs
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Records(records) => self.on_records(records),
            Event::Assigned { partitions, start } => self.on_assigned(partitions, start).await,
            Event::Revoked { partitions, done } => {
                self.on_revoked(&partitions).await;
                let _ = done.send(());
            }
            Event::Lost { partitions } => {
                for partition in &partitions {
                    self.drop_shard(partition.partition);
                    self.reclaim.remove(&partition.partition);
                }
            }
            Event::OutOfRange { partition } => {
                tracing::error!(?partition, "the log does not have the next offset any more");
                self.fenced(partition.partition);
            }
        }
    }

    fn on_records(&mut self, records: Vec<Record>) {
        for record in records {
            let shard = record.at.partition;
            let Some(owned) = self.shards.get_mut(&shard) else { continue };
            if record.offset < owned.read_offset {
                continue;
            }
            if owned.seeking && record.offset > owned.read_offset {
                continue;
            }
            owned.seeking = false;
            owned.read_offset = record.offset + 1;
            let offset = record.offset;
            let record = Arc::new(understand(record));
            if matches!(record.as_ref(), Incoming::Nudge(_)) {
                self.context.sweep_now.notify_one();
            }
            self.queue.push_back(Input::Record { shard, offset, record });
        }
    }

    fn on_published(&mut self, published: Published) {
        for row in published.failed {
            self.in_flight.remove(&row);
        }
        if published.rows.is_empty() {
            return;
        }
        failpoint::hit("lane.acknowledged");
        let (ours, others): (Vec<Row>, Vec<Row>) =
            published.rows.into_iter().partition(|row| self.shards.contains_key(&row.shard));
        for row in others {
            self.in_flight.remove(&row);
        }
        if !ours.is_empty() {
            self.sent.extend(ours);
            self.flush_at.get_or_insert(Instant::now() + IDLE_FLUSH);
        }
    }

    async fn on_swept(&mut self, swept: Swept) {
        failpoint::hit("lane.swept");
        self.sagas.turn_generation();
        for (shard, epoch, token) in &swept.claims {
            let Some(owned) = self.shards.get(shard) else { continue };
            // A claim of our own that is newer than the sweep is no fence.
            if *epoch > owned.epoch || (*epoch == owned.epoch && *token != Some(owned.token)) {
                tracing::warn!(shard, "another owner has claimed the shard");
                self.fenced(*shard);
            }
        }
        // Sweeps come in order: what was committed before this one began is in none that is still to come.
        self.taken.retain(|_, at| *at >= swept.look.began);
        // What was read before a claim may have been done since, by whoever owned the shard.
        let news: HashSet<i32> = self
            .shards
            .values()
            .filter(|owned| owned.claimed < swept.look.began)
            .map(|owned| owned.shard)
            .collect();
        for (shard, saga, key) in swept.outbox {
            let row = Row { shard, saga: SagaId(saga), key };
            if news.contains(&shard) && !self.in_flight.contains(&row) {
                self.queue.push_back(Input::Republish { shard, saga: row.saga, key: row.key });
            }
        }
        let queued: HashSet<uuid::Uuid> = self
            .queue
            .iter()
            .filter_map(|input| if let Input::Mail(mail) = input { Some(mail.id) } else { None })
            .collect();
        for mail in swept.mail {
            if news.contains(&mail.shard) && !self.taken.contains_key(&mail.id) && !queued.contains(&mail.id)
            {
                self.queue.push_back(Input::Mail(Arc::new(mail)));
            }
        }
        if !swept.more_mail {
            let look = &swept.look;
            let owned = look.shards.iter().filter_map(|shard| self.shards.get(shard));
            let read = owned.filter(|owned| owned.sweep_counts(look.began));
            let read = read.map(|owned| Input::MailRead { shard: owned.shard, until: look.began_at });
            self.queue.extend(read);
        }
    }

    fn on_watermark(&mut self, (shard, asked_at, watermarks): Asked) {
        if let Some(owned) = self.shards.get_mut(&shard) {
            owned.answered(asked_at, watermarks);
        }
    }

    /// Names a record for good. Another log has the same offsets, but never under the same claim.
    pub(crate) fn source(&self, shard: i32, offset: i64) -> String {
        let epoch = self.shards.get(&shard).map_or(0, |owned| owned.epoch);
        format!("{}/{shard}/{epoch}/{offset}", self.context.topics.inbox())
    }

    pub(crate) fn partition(&self, shard: i32) -> TopicPartition {
        TopicPartition { topic: self.context.topics.inbox().into(), partition: shard }
    }

    fn ask_watermark(&mut self, shard: i32) {
        let partition = self.partition(shard);
        let Some(owned) = self.shards.get_mut(&shard) else { return };
        if !owned.asks() {
            return;
        }
        let (bus, answer, asked_at) = (Arc::clone(&self.context.bus), self.asked.0.clone(), clock::now());
        tokio::spawn(async move {
            let watermarks = bus.watermarks(&partition).await.ok();
            let _ = answer.send((shard, asked_at, watermarks));
        });
    }

    /// Loads what the inputs need and the cache has not.
    async fn load(&mut self, inputs: &[Input]) -> Result<(), StoreError> {
        let mut missing: Vec<(i32, uuid::Uuid)> = Vec::new();
        for input in inputs {
            if let Input::Handover(handover) = input {
                self.receive(handover);
            }
            if let Some((shard, saga)) = input.needs()
                && !self.sagas.contains(saga)
            {
                missing.push((shard, saga.0));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        missing.dedup();
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        let found = connection.load(&missing).await?;
        for (id, loaded) in found {
            self.keep(SagaId(id), loaded).await?;
        }
        Ok(())
    }

    async fn keep(&mut self, id: SagaId, loaded: Loaded) -> Result<(), StoreError> {
        let Some(definition) = self.context.definitions.get(&*self.context.store, loaded.definition).await?
        else {
            self.waits_for_definition.insert(id);
            self.context.stuck.insert(id);
            self.timers.set(loaded.shard, id, Some(clock::now() + NO_DEFINITION_MS));
            return Ok(());
        };
        let waited = self.waits_for_definition.remove(&id);
        match loaded.state {
            Ok(state) => {
                let (shard, payloads) = (loaded.shard, loaded.payloads);
                let coarse = coarse(&state.status);
                if !loaded.ended && loaded.status != coarse {
                    // It could not be read for a while, and was said to be parked.
                    self.statuses.push((shard, id.0, coarse));
                }
                if (self.context.stuck.remove(id) || waited)
                    && let Some(owned) = self.shards.get_mut(&shard)
                {
                    owned.unread_mail();
                }
                self.sagas.loaded(id, Saga { shard, definition, state, payloads, ignored: 0, answers: None });
            }
            Err(reason) => {
                self.context.stuck.insert(id);
                self.unreadable(Unreadable { shard: loaded.shard, saga: id, ended: loaded.ended, reason })
            }
        }
        Ok(())
    }

    /// Decides about inputs and commits; the caller handles what fails.
    pub(crate) async fn attempt(&mut self, inputs: &[Input]) -> Result<(), StoreError> {
        self.attempt_with(Decision::default(), inputs).await
    }

    /// The same, on top of what is decided already.
    pub(crate) async fn attempt_with(
        &mut self,
        mut decision: Decision,
        inputs: &[Input],
    ) -> Result<(), StoreError> {
        self.load(inputs).await?;
        decision.batch.statuses.append(&mut self.statuses);
        for Unreadable { shard, saga, ended, reason } in std::mem::take(&mut self.unreadable) {
            decision.unreadable.insert(saga);
            if !ended {
                decision.batch.statuses.push((shard, saga.0, 1));
                decision.at(shard, saga, Next::At(None));
            }
            let source = format!("saga/{saga}/unreadable");
            dead_letter(&mut decision, shard, source, reason, String::new(), Vec::new(), Some(saga));
        }
        // Whatever panics is bisected like what the database refuses.
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for input in inputs {
                self.decide(input, &mut decision);
            }
        }));
        if let Err(panic) = decided {
            return Err(StoreError::Panic(panic_text(panic.as_ref())));
        }
        self.commit(decision).await
    }

    /// Writes a decision and does what follows from its being durable.
    pub(crate) async fn commit(&mut self, mut decision: Decision) -> Result<(), StoreError> {
        self.finish(&mut decision);
        let mut sent = std::mem::take(&mut self.sent);
        self.flush_at = None;
        decision.batch.sent.extend(sent.iter().map(|row| (row.shard, row.saga.0, row.key.clone())));
        decision.batch.keep_sends();
        decision.batch.fences = self.fences(&decision);
        if decision.batch.fences.is_empty() {
            drop(self.note_timers(&decision));
            self.ask(&decision);
            return Ok(());
        }
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        let started = Instant::now();
        failpoint::hit("lane.commit");
        let passed = match connection.commit(&decision.batch).await {
            Ok(passed) => passed,
            Err(error) => {
                self.sent.append(&mut sent);
                for id in &decision.touched {
                    self.sagas.forget(*id);
                }
                return Err(error);
            }
        };
        failpoint::hit("lane.committed");
        metrics::histogram!("amends_commit_seconds").record(started.elapsed().as_secs_f64());
        for fence in &decision.batch.fences {
            if passed.contains(&fence.shard) {
                if let Some(owned) = self.shards.get_mut(&fence.shard) {
                    owned.seq += 1;
                    owned.next_offset = fence.next_offset;
                }
            } else {
                tracing::warn!(
                    shard = fence.shard,
                    "fenced: another owner has claimed the shard; nothing was written"
                );
                metrics::counter!("amends_fenced_total").increment(1);
                self.fenced(fence.shard);
            }
        }
        for row in &sent {
            self.in_flight.remove(row);
        }
        let now = Instant::now();
        let taken = decision.batch.taken.iter().filter(|(shard, ..)| passed.contains(shard));
        self.taken.extend(taken.map(|(_, mail, ..)| (*mail, now)));
        let ended = self.note_timers(&decision);
        self.ask(&decision);
        self.follow_children(&decision.batch, &passed);
        self.publish(decision, &passed, &ended).await;
        Ok(())
    }

    /// The shards that have something to write.
    fn fences(&self, decision: &Decision) -> Vec<crate::store::batch::Fence> {
        let batch = &decision.batch;
        let mut shards: Vec<i32> = decision.offsets.keys().copied().collect();
        shards.extend(batch.states.iter().map(|row| row.0));
        shards.extend(batch.ended.iter().map(|row| row.0));
        shards.extend(batch.statuses.iter().map(|row| row.0));
        shards.extend(batch.sends.iter().map(|row| row.0));
        shards.extend(batch.sent.iter().map(|row| row.0));
        shards.extend(batch.taken.iter().map(|row| row.0));
        shards.extend(batch.ignored.iter().map(|row| row.0));
        shards.extend(batch.dead_letters.iter().map(|row| row.0));
        shards.extend(batch.reopened.iter().map(|row| row.0));
        shards.extend(batch.children.iter().map(|it| it.row.shard));
        // What is only published again writes nothing, and is published by an owner all the same.
        shards.extend(decision.ready.iter().map(|it| it.row.shard));
        shards.sort_unstable();
        shards.dedup();
        shards
            .into_iter()
            .filter_map(|shard| self.shards.get(&shard))
            .map(|owned| {
                owned.fence(decision.offsets.get(&owned.shard).copied().unwrap_or(owned.next_offset))
            })
            .collect()
    }

    /// Sets the timers, and lets go of the sagas that ended. Returns those that somebody waits for.
    fn note_timers(&mut self, decision: &Decision) -> HashMap<SagaId, Arc<Ended>> {
        let mut ended = HashMap::new();
        for (shard, saga, next) in &decision.timers {
            if !self.shards.contains_key(shard) {
                continue;
            }
            match next {
                Next::At(due) => self.timers.set(*shard, *saga, *due),
                Next::Ended => {
                    self.timers.remove(*saga);
                    if let Some(gone) = self.sagas.forget(*saga)
                        && self.context.waiters.waits_for(*saga)
                    {
                        let Saga { definition, state, payloads, answers, .. } = gone;
                        ended.insert(*saga, Arc::new(Ended { definition, state, payloads, answers }));
                    }
                }
            }
        }
        ended
    }

    /// Asks for what timeouts wait for: how far the logs go, and what lies in the mailbox.
    fn ask(&mut self, decision: &Decision) {
        for shard in &decision.watermarks {
            self.ask_watermark(*shard);
        }
        if decision.sweep {
            self.context.sweep_now.notify_one();
        }
    }

    async fn publish(&mut self, decision: Decision, passed: &[i32], ended: &HashMap<SagaId, Arc<Ended>>) {
        let ready: Vec<_> = decision.ready.into_iter().filter(|it| passed.contains(&it.row.shard)).collect();
        for it in &ready {
            self.in_flight.insert(it.row.clone());
        }
        let pace = if self.last_batch >= LOAD_FROM { Pace::Batch } else { Pace::Now };
        self.outbox.publish(ready, pace, self.acknowledge.clone()).await;
        failpoint::hit("lane.published");
        if decision.changed.is_empty() {
            return;
        }
        let events =
            SagaEvents { node: self.context.node.clone(), sagas: decision.changed.into_values().collect() };
        let record = Outgoing {
            topic: self.context.topics.saga_events().into(),
            partition: None,
            message: events.encode(),
        };
        self.outbox.hint(vec![record]).await;
        self.context.waiters.notify(events, ended);
    }
}

pub(crate) fn no_connection() -> StoreError {
    StoreError::Unknown(sqlx::Error::PoolClosed)
}

/// Reads a record of the inbox topic.
fn understand(record: Record) -> Incoming {
    let data = record.data.unwrap_or_default();
    match InboxRecord::decode(&record.headers, &data) {
        Ok(InboxRecord::Reply(reply)) => Incoming::Reply(reply),
        Ok(InboxRecord::Started(started)) => Incoming::Started(started),
        Ok(InboxRecord::Nudge(saga)) => Incoming::Nudge(saga),
        Err(error) => {
            Incoming::Dead { reason: error.to_string(), headers: record.headers, data: data.to_vec() }
        }
    }
}
