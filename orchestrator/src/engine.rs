//! Puts the engine together: store, lane, sweep, starts, and the followers of topics.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use saga_bus::{Bus, Outgoing, TopicSpec};
use saga_core::definition::Work;
use saga_protocol::{DEAD_LETTERS_RETENTION_MS, Direction, InboxRecord, SagaId, Topics};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::dead_letters;
use crate::health::Health;
use crate::hints::Waiters;
use crate::holds::Holds;
use crate::intake;
use crate::jobs;
use crate::projection::{Lag, Projector};
use crate::shard::Claims;
use crate::shard::lane::{Context, Doors, Lane};
use crate::shard::stuck::Stuck;
use crate::start::{Parts, Starter};
use crate::store::audit::Actor;
use crate::store::definitions::{Definitions, Proof, PublishError, Published, Release};
use crate::store::retention;
use crate::store::sweep::{Look, Place, Swept};
use crate::store::{Store, StoreError};
use crate::workers::WorkerRegistry;

/// How long records of the inbox and command topics stay, in ms: longer than any outage that is to be
/// survived without sending everything again.
pub(crate) const RETENTION_MS: i64 = 7 * 24 * 3_600_000;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// However much mail comes and however many timeouts wait for it, the database is not asked more often.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// How often the coming weeks' history partitions are looked after, and how soon again after a failure.
const PARTITIONS_EVERY: Duration = Duration::from_secs(3_600);
const PARTITIONS_AGAIN: Duration = Duration::from_secs(60);
/// How often ended sagas whose time has come go, and those are counted that wait for a human.
const RETIRE_EVERY: Duration = Duration::from_secs(10);

/// What the engine is made with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This process, for people: host and process id.
    pub node: String,
    /// Partitions of each command topic that has to be made.
    pub command_partitions: u32,
}

/// The running engine, as the API sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The database.
    pub store: Store,
    /// The definitions.
    pub definitions: Arc<Definitions>,
    /// Starts sagas.
    pub starter: Starter,
    /// Waits for sagas.
    pub waiters: Waiters,
    /// Knows the workers.
    pub workers: Arc<WorkerRegistry>,
    /// How it is.
    pub health: Arc<Health>,
    /// This process.
    pub node: String,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The topics.
    pub topics: Topics,
    /// What operators hold.
    pub holds: Holds,
    /// How far the projection is behind.
    pub lag: Lag,
    /// What of the operators' own has changed in this process: `jobs`, `reconciliation`.
    pub news: broadcast::Sender<&'static str>,
    command_partitions: u32,
}

/// The engine's tasks.
#[derive(Debug)]
pub struct Running(JoinSet<()>);

impl Running {
    /// Waits until every task has ended: after the shutdown was asked for, or because one failed.
    pub async fn ended(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Each runs until the shutdown. One that ends before, also by a panic, asks for it: a process without its
/// lane or its sweep must not look alive.
struct Tasks {
    running: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shutdown.clone().drop_guard();
        self.running.spawn(async move {
            let _stop = stop;
            task.await;
        });
    }
}

impl Engine {
    /// Starts the engine on a migrated database.
    ///
    /// # Errors
    /// When the database has no shards, or the bus cannot be reached.
    pub async fn start(
        config: EngineConfig,
        store: Store,
        bus: Arc<dyn Bus>,
        topics: Topics,
        shutdown: CancellationToken,
    ) -> anyhow::Result<(Self, Running)> {
        let shards = store
            .shards()
            .await
            .context("cannot read the shards; was the database migrated? (`amends db migrate`)")?;
        anyhow::ensure!(shards > 0, "the database has no shards; run `amends db migrate`");
        bus.ensure_topics(&engine_topics(&topics, shards))
            .await
            .context("cannot make the engine's topics")?;
        let inbox = topics.inbox();
        let partitions =
            bus.partitions(&inbox).await.context("cannot ask for the inbox topic's partitions")?;
        anyhow::ensure!(
            partitions == shards,
            "the topic `{inbox}` has {partitions} partitions and the database {shards} shards; sagas of a shard without \
             a partition would never be served: use another topic prefix, or a database of its own"
        );

        let (claims, health, waiters) = (Claims::default(), Arc::<Health>::default(), Waiters::default());
        let (definitions, workers) = (Arc::<Definitions>::default(), Arc::<WorkerRegistry>::default());
        let (stuck, sweep_now) = (Stuck::default(), Arc::<Notify>::default());
        // Known before the first saga moves.
        let holds = Holds::default();
        holds.refresh(&store).await.context("cannot read the holds")?;
        let (handovers, handed_over) = mpsc::unbounded_channel();
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        let (swept, sweeps) = mpsc::channel(1);
        let context = Context {
            store: Arc::new(store.clone()),
            bus: Arc::clone(&bus),
            topics: topics.clone(),
            definitions: Arc::clone(&definitions),
            waiters: waiters.clone(),
            workers: Arc::clone(&workers),
            health: Arc::clone(&health),
            claims: claims.clone(),
            stuck: stuck.clone(),
            holds: holds.clone(),
            node: config.node.clone(),
            sweep_now: Arc::clone(&sweep_now),
        };
        let (starter, group) = Starter::new(Parts {
            store: Arc::new(store.clone()),
            bus: Arc::clone(&bus),
            topics: topics.clone(),
            claims: claims.clone(),
            health: Arc::clone(&health),
            shards,
            handovers,
            acknowledged: acknowledge.clone(),
            waiters: waiters.clone(),
            holds: holds.clone(),
            node: config.node.clone(),
        });
        let stop = shutdown.clone();
        tokio::spawn(async move {
            if group.await.is_err() {
                tracing::error!("the group commit of starts panicked");
                stop.cancel();
            }
        });
        let engine = Self {
            store: store.clone(),
            definitions: Arc::clone(&definitions),
            starter,
            waiters: waiters.clone(),
            workers: Arc::clone(&workers),
            health,
            node: config.node.clone(),
            bus: Arc::clone(&bus),
            topics: topics.clone(),
            holds: holds.clone(),
            lag: Lag::default(),
            news: broadcast::channel(64).0,
            command_partitions: config.command_partitions.max(1),
        };
        definitions.refresh(&store).await.context("cannot read the definitions")?;
        for published in definitions.all_active() {
            engine.ensure_command_topics(&published).await?;
        }

        let group = format!("{}.engine", topics.prefix());
        let subscription =
            bus.subscribe(&group, &[topics.inbox()]).await.context("cannot join the engine's group")?;
        let doors = Doors { handovers: handed_over, acknowledged, swept: sweeps };
        // Subscribed to before anything is committed.
        let projector = Projector::new(engine.clone(), claims.clone(), waiters.live());
        let lane = Lane::new(context, subscription, doors, acknowledge);
        let mut tasks = Tasks { running: JoinSet::new(), shutdown: shutdown.clone() };
        tasks.spawn(lane.run(shutdown.clone()));
        let sweep = Sweep { engine: engine.clone(), claims: claims.clone(), stuck, swept, now: sweep_now };
        tasks.spawn(sweep.run(shutdown.clone()));
        tasks.spawn(projector.run(shutdown.clone()));
        tasks.spawn(holds.follow(engine.clone(), claims, shutdown.clone()));
        tasks.spawn(housekeeping(engine.clone(), shutdown.clone()));
        tasks.spawn(intake::run(engine.clone(), shutdown.clone()));
        tasks.spawn(jobs::run::run(engine.clone(), shutdown.clone()));
        tasks.spawn(waiters.follow(Arc::clone(&bus), topics.saga_events(), config.node, shutdown.clone()));
        tasks.spawn(workers.follow(Arc::clone(&bus), topics.workers(), shutdown.clone()));
        tasks.spawn(dead_letters::keep(store, bus, topics, shutdown));
        Ok((engine, Running(tasks.running)))
    }

    /// Publishes a definition's text that was not checked, and makes its topics.
    ///
    /// # Errors
    /// See [`Definitions::publish`].
    pub async fn publish(&self, source: &str) -> Result<(Arc<Published>, bool), PublishError> {
        let made = self.definitions.publish(&self.store, source, None).await?;
        self.ensure_topics_of(&made.0).await;
        Ok(made)
    }

    /// Publishes a definition's text with what the check said of it, and makes its topics.
    ///
    /// # Errors
    /// See [`Definitions::publish`].
    pub async fn publish_proved(
        &self,
        source: &str,
        proof: &Proof,
        release: &Release,
        actor: &Actor,
    ) -> Result<(Arc<Published>, bool), PublishError> {
        let made =
            self.definitions.publish_to(&self.store, source, Some(proof), release, Some(actor)).await?;
        self.ensure_topics_of(&made.0).await;
        Ok(made)
    }

    /// Ends a canary; its version becomes the current one if it is promoted. False when it was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_canary(
        &self,
        actor: &Actor,
        published: &Published,
        promote: bool,
        why: Option<&str>,
    ) -> Result<bool, StoreError> {
        let name = &published.definition.name;
        let ended = self.store.end_canary(actor, name, published, promote, why).await?;
        self.definitions.refresh(&self.store).await?;
        Ok(ended)
    }

    async fn ensure_topics_of(&self, published: &Published) {
        if let Err(error) = self.ensure_command_topics(published).await {
            tracing::warn!(%error, "the definition's topics could not be made yet; its workers make them");
        }
    }

    /// Tells a saga's owner that its mailbox holds something. Only a hint: the sweep finds it too.
    pub async fn nudge(&self, saga: SagaId, shard: i32, mail: Uuid) {
        let message = InboxRecord::nudge(saga, &mail.to_string(), clock::now().0);
        let record = Outgoing { topic: self.topics.inbox().into(), partition: Some(shard), message };
        drop(self.bus.publish(vec![record], saga_bus::Pace::Now).await);
    }

    /// Partitions of a topic that has to be made.
    pub(crate) const fn command_partitions(&self) -> u32 {
        self.command_partitions
    }

    async fn ensure_command_topics(&self, published: &Published) -> anyhow::Result<()> {
        let mut names = Vec::new();
        for step in &published.definition.steps {
            if let Work::Action { worker, .. } = &step.work {
                names.push(self.topics.commands(worker, Direction::Execute));
                names.push(self.topics.commands(worker, Direction::Compensate));
            }
        }
        names.sort_unstable();
        names.dedup();
        let specs: Vec<TopicSpec> = names
            .into_iter()
            .map(|name| TopicSpec {
                name,
                partitions: self.command_partitions,
                compacted: false,
                retention_ms: RETENTION_MS,
            })
            .collect();
        self.bus.ensure_topics(&specs).await.context("cannot make the command topics")
    }
}

fn engine_topics(topics: &Topics, shards: u32) -> Vec<TopicSpec> {
    let topic =
        |name, partitions, compacted, retention_ms| TopicSpec { name, partitions, compacted, retention_ms };
    vec![
        topic(topics.inbox(), shards, false, RETENTION_MS),
        topic(topics.saga_events(), 1, false, 3_600_000),
        topic(topics.workers(), 1, true, RETENTION_MS),
        topic(topics.dead_letters(), 1, false, DEAD_LETTERS_RETENTION_MS),
    ]
}

/// The one poll.
struct Sweep {
    engine: Engine,
    claims: Claims,
    stuck: Stuck,
    swept: mpsc::Sender<Swept>,
    now: Arc<Notify>,
}

impl Sweep {
    /// Each second, and soon whenever there is mail.
    async fn run(self, shutdown: CancellationToken) {
        let mut rows_from = None;
        loop {
            let last = Instant::now();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = self.now.notified() => tokio::time::sleep_until(last + SWEEP_PAUSE).await,
            }
            // First: timeouts wait for it.
            let began = clock::now();
            let swept = self.once(rows_from).await;
            self.engine.health.swept(began, swept.is_ok());
            rows_from = swept.unwrap_or_else(|error| {
                tracing::warn!(%error, "the sweep failed; again in a second");
                None
            });
            if let Err(error) = self.backlog().await {
                tracing::warn!(%error, "how long commands have waited cannot be read; again in a second");
            }
        }
    }

    /// How long the oldest command has waited to be published.
    async fn backlog(&self) -> Result<(), StoreError> {
        let shards = self.claims.shards();
        // Whoever owns nothing looks at all: the bus may be why nobody owns anything.
        let (mut oldest_ms, mut unreadable) = (0, Vec::new());
        while let Some((definition, age_ms)) = self.engine.store.backlog(&shards, &unreadable).await? {
            if self.engine.definitions.get(&self.engine.store, definition).await?.is_some() {
                oldest_ms = age_ms;
                break;
            }
            // What waits for its definition is not the bus's backlog.
            unreadable.push(definition);
        }
        self.engine.health.outbox_oldest(oldest_ms);
        Ok(())
    }

    /// Returns where the next one goes on.
    async fn once(&self, rows_from: Option<Place>) -> Result<Option<Place>, StoreError> {
        let look = Look::begin(&self.claims, &self.stuck, rows_from);
        if look.shards.is_empty() {
            return Ok(None);
        }
        let found = self.engine.store.sweep(look).await?;
        let rows_to = found.rows_to.clone();
        // The lane ends before this task does.
        let _ = self.swept.send(found).await;
        Ok(rows_to)
    }
}

/// The active definitions each second; partitions at once and each hour, each minute while one is missing.
async fn housekeeping(engine: Engine, shutdown: CancellationToken) {
    let mut partitions_due = Instant::now();
    let mut retirement_due = Instant::now() + RETIRE_EVERY;
    loop {
        if Instant::now() >= partitions_due {
            let made = engine.store.make_partitions(chrono::Utc::now()).await;
            partitions_due = Instant::now() + if made.is_ok() { PARTITIONS_EVERY } else { PARTITIONS_AGAIN };
            if let Err(error) = made {
                tracing::error!(%error, "a week's history partition cannot be made; its rows go to the default one");
            }
        }
        if Instant::now() >= retirement_due {
            retirement_due = Instant::now() + RETIRE_EVERY;
            match engine.store.retire(chrono::Utc::now()).await {
                // As long as there may be more, each second.
                Ok((_, sagas)) if sagas >= u64::from(retention::BATCH) => retirement_due = Instant::now(),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "ended sagas whose time has come cannot go yet"),
            }
            match engine.store.waiting_for_a_human().await {
                Ok(waiting) => waiting.tell(),
                Err(error) => tracing::warn!(%error, "parked sagas cannot be counted; again in a moment"),
            }
            match engine.store.standing_of_books().await {
                Ok(books) => books.tell(),
                Err(error) => tracing::warn!(%error, "open findings cannot be counted; again in a moment"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("amends_clock_ahead_seconds").set(clock::ahead_ms() as f64 / 1_000.0);
        if let Err(error) = engine.definitions.refresh(&engine.store).await {
            tracing::warn!(%error, "the definitions cannot be read; going on with those that are known");
        }
    }
}
