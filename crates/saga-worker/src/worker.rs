//! A worker: its name, its actions and its database, and how it is started.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use saga_bus::Bus;
use saga_protocol::{ActionInfo, Direction, Topics};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::external::{External, ExternalPolicy};
use crate::handler::Transactional;
use crate::run::pulse::Pulse;

/// How long an inbox remembers, unless told otherwise.
const RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The shortest retention that is allowed: shorter ones forget what may still be asked.
const RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);

/// A worker, ready to run.
#[derive(Clone)]
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
}

/// What all parts of a running worker share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) pool: PgPool,
    pub(crate) actions: Vec<Action>,
    /// Action by direction and name.
    pub(crate) lookup: HashMap<Direction, HashMap<String, usize>>,
    pub(crate) retention_ms: i64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tuning: Tuning,
    /// Of this run.
    pub(crate) pulse: Arc<Pulse>,
}

impl Shared {
    /// The name by which an action is asked for in a direction.
    pub(crate) fn action_name(&self, index: usize, direction: Direction) -> &str {
        let info = &self.actions[index].info;
        match direction {
            Direction::Execute => &info.action,
            Direction::Compensate => info.compensation.as_deref().unwrap_or("-"),
        }
    }
}

/// One registered action.
#[derive(Clone)]
pub(crate) struct Action {
    pub(crate) info: ActionInfo,
    pub(crate) kind: Kind,
}

/// How an action is done.
#[derive(Clone)]
pub(crate) enum Kind {
    Transactional(Arc<dyn Transactional>),
    External(Arc<dyn External>, ExternalPolicy),
}

/// Bounds and intervals; the defaults suit production.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Most commands in one transaction.
    pub batch_max: usize,
    /// How long a batch waits for company while commands keep coming, in ms.
    pub linger_ms: u64,
    /// Most commands held in memory in each direction; beyond, fetching stops.
    pub pending_max: usize,
    /// How often offsets are committed and progress is told, in ms.
    pub progress_ms: u64,
    /// How often the worker announces itself, in ms.
    pub announce_ms: u64,
    /// How long a stopping worker waits for what is in flight, in ms.
    pub drain_ms: u64,
    /// How many partitions the command topics get when they do not exist yet.
    pub partitions: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            batch_max: 500,
            linger_ms: 2,
            pending_max: 4_000,
            progress_ms: 1_000,
            announce_ms: 5_000,
            drain_ms: 20_000,
            partitions: 4,
        }
    }
}

impl Worker {
    /// Begins a worker. `name` is what definitions call it; `version` is announced; `pool` reaches
    /// the database that holds both the business tables and the inbox.
    pub fn builder(name: impl Into<String>, version: impl Into<String>, pool: PgPool) -> WorkerBuilder {
        WorkerBuilder {
            name: name.into(),
            version: version.into(),
            pool,
            actions: Vec::new(),
            lookup: HashMap::new(),
            retention: RETENTION_DEFAULT,
            clock: Arc::new(SystemClock),
            tuning: Tuning::default(),
            mistakes: Vec::new(),
        }
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it can do, as it announces it.
    pub fn actions(&self) -> Vec<ActionInfo> {
        self.shared.actions.iter().map(|action| action.info.clone()).collect()
    }

    /// The same worker by another clock, for tests.
    #[must_use]
    pub fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared { clock, ..Shared::clone(&self.shared) }) }
    }

    /// The same worker with other bounds and intervals.
    #[must_use]
    pub fn with_tuning(&self, tuning: Tuning) -> Self {
        Self { shared: Arc::new(Shared { tuning, ..Shared::clone(&self.shared) }) }
    }

    /// The same worker with another limit on an external action's calls: what its operator knows better than its author.
    ///
    /// # Errors
    /// When it has no such action, or one that calls nobody.
    pub fn with_limit(&self, action: &str, limit: Limit) -> Result<Self, NoSuchLimit> {
        let mut shared = Shared::clone(&self.shared);
        let found = shared.actions.iter_mut().find(|it| it.info.action == action);
        match found.map(|it| &mut it.kind) {
            Some(Kind::External(_, policy)) => match limit {
                Limit::AtOnce(calls) => {
                    policy.concurrency = usize::try_from(calls.get()).unwrap_or(usize::MAX)
                }
                Limit::PerSecond(calls) => policy.per_second = Some(calls),
            },
            Some(Kind::Transactional(_)) => return Err(NoSuchLimit::Transactional(action.to_owned())),
            None => return Err(NoSuchLimit::Unknown(action.to_owned(), self.name().to_owned())),
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Its bounds and intervals.
    pub fn tuning(&self) -> &Tuning {
        &self.shared.tuning
    }

    /// Runs until `shutdown` is cancelled, then drains: stops fetching, finishes what is in flight
    /// within a bound, publishes the replies, commits the offsets, and announces that it leaves.
    ///
    /// Trouble with the database or the bus does not end it; it waits and goes on.
    ///
    /// # Errors
    /// When it was built with a mistake, its inbox tables are missing, or the bus cannot be joined.
    pub async fn run(
        self,
        bus: Arc<dyn Bus>,
        topics: Topics,
        shutdown: CancellationToken,
    ) -> Result<(), WorkerError> {
        crate::run::run(self.shared, bus, topics, shutdown).await
    }
}

/// A limit on the calls of an external action, in each direction of a process. What waits for its turn stays unanswered
/// and in order; the engine sees it as queued, and neither sends it again nor charges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many are in the air.
    AtOnce(NonZeroU32),
    /// So many begin in a second.
    PerSecond(NonZeroU32),
}

/// Why there is no such limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchLimit {
    /// The worker does not have the action.
    #[error("there is no action `{0}` of the worker `{1}`")]
    Unknown(String, String),
    /// It is done in batches in the worker's own database.
    #[error("`{0}` calls nobody: it is done in the worker's database, a batch at a time")]
    Transactional(String),
}

/// Collects a worker's actions.
#[must_use]
pub struct WorkerBuilder {
    name: String,
    version: String,
    pool: PgPool,
    actions: Vec<Action>,
    lookup: HashMap<Direction, HashMap<String, usize>>,
    retention: Duration,
    clock: Arc<dyn Clock>,
    tuning: Tuning,
    mistakes: Vec<String>,
}

impl WorkerBuilder {
    /// Registers an action that is done in the worker's own database.
    pub fn transactional(
        self,
        action: &str,
        compensation: Option<&str>,
        handler: impl Transactional + 'static,
    ) -> Self {
        self.action(action, compensation, Kind::Transactional(Arc::new(handler)))
    }

    /// Registers an action that is done by an outside system.
    pub fn external(
        mut self,
        action: &str,
        compensation: Option<&str>,
        handler: impl External + 'static,
        policy: ExternalPolicy,
    ) -> Self {
        if policy.concurrency == 0 || policy.client_timeout_ms == 0 || policy.not_after_ms == 0 {
            self.mistakes.push(format!("action `{action}`: concurrency and times must not be 0"));
        }
        self.action(action, compensation, Kind::External(Arc::new(handler), policy))
    }

    fn action(mut self, action: &str, compensation: Option<&str>, kind: Kind) -> Self {
        let index = self.actions.len();
        let names = [(Direction::Execute, Some(action)), (Direction::Compensate, compensation)];
        for (direction, name) in names {
            let Some(name) = name else { continue };
            let names = self.lookup.entry(direction).or_default();
            if names.insert(name.to_owned(), index).is_some() {
                self.mistakes.push(format!("`{name}` is registered twice"));
            }
        }
        let info = ActionInfo {
            action: action.to_owned(),
            compensation: compensation.map(str::to_owned),
            input_schema: None,
            output_schema: None,
        };
        self.actions.push(Action { info, kind });
        self
    }

    /// Gives the JSON Schemas of the action registered last; they are announced.
    pub fn schemas(mut self, input: serde_json::Value, output: Option<serde_json::Value>) -> Self {
        match self.actions.last_mut() {
            Some(action) => {
                action.info.input_schema = Some(input);
                action.info.output_schema = output;
            }
            None => self.mistakes.push("schemas before the first action".to_owned()),
        }
        self
    }

    /// How long the inbox remembers, counted from a round's first sending; 30 days by default, one
    /// day at least. Commands must expire before.
    pub fn retention(mut self, retention: Duration) -> Self {
        if retention < RETENTION_MIN {
            self.mistakes.push("retention must be one day at least".to_owned());
        }
        self.retention = retention;
        self
    }

    /// Replaces the machine's clock, in tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Replaces the bounds and intervals.
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        if tuning.batch_max == 0 || tuning.pending_max == 0 || tuning.partitions == 0 {
            self.mistakes.push("tuning: batch_max, pending_max and partitions must not be 0".to_owned());
        }
        self.tuning = tuning;
        self
    }

    /// The worker.
    ///
    /// # Panics
    /// When an action is registered twice or a bound makes no sense: mistakes in the program's
    /// text, which show at its first start.
    pub fn build(self) -> Worker {
        assert!(self.mistakes.is_empty(), "worker `{}`: {}", self.name, self.mistakes.join("; "));
        Worker {
            shared: Arc::new(Shared {
                name: self.name,
                version: self.version,
                pool: self.pool,
                actions: self.actions,
                lookup: self.lookup,
                retention_ms: i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX),
                clock: self.clock,
                tuning: self.tuning,
                pulse: Arc::default(),
            }),
        }
    }
}

/// Why a worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The inbox tables are missing, or not for this role; `saga_worker::migrate` makes them.
    #[error("the inbox cannot be used ({0}): run the worker's migrations")]
    NoInbox(String),
    /// The database could not be reached.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// The inbox tables could not be made.
    #[error("migrating the inbox")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A part of the worker ended although nobody asked it to.
    #[error("{0}")]
    Broken(&'static str),
}
