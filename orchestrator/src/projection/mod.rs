//! The projection: where sagas stand, as operators search for it, beside the hot tables.
//!
//! Owns the rows that lists, queues, failure groups and overviews are read from. It is fed by the hints of what
//! this process has committed, outside of the hot transaction, and repaired by a patrol that walks what runs; so it
//! lags, and says by how much. A saga that completes within a moment never gets a row. It decides nothing about
//! a saga.
//!
//! | file | what |
//! |---|---|
//! | [`row`] | a saga's state as a row: pure |
//! | [`failures`] | what went wrong, and which failures are the same |
//! | [`statistics`] | what is counted a minute, and how long steps take |
//! | [`patrol`] | finds what the hints missed |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use saga_protocol::{SagaEvents, SagaId};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::Engine;
use crate::outbox::Outbox;
use crate::shard::Claims;
use crate::store::StoreError;
use statistics::Statistics;

pub mod failures;
pub mod histogram;
pub mod patrol;
pub mod row;
pub mod statistics;

/// A saga that has run for this long gets a row; most end before.
const MOMENT: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(200);
/// Sagas that are read at once.
const CHUNK: usize = 500;
/// Changes that wait; beyond, the patrol finds them.
const PENDING_MAX: usize = 500_000;

/// How far the projection is behind. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lag(Arc<AtomicI64>);

impl Lag {
    /// In ms.
    pub fn ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A change that waits to be projected.
#[derive(Clone, Copy, Debug)]
struct Pending {
    since: Instant,
    status: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Running,
    Completed,
    Other,
}

pub(crate) struct Projector {
    engine: Engine,
    outbox: Outbox,
    claims: Claims,
    hints: broadcast::Receiver<Arc<SagaEvents>>,
    pending: HashMap<SagaId, Pending>,
    /// Sagas that have a row and have not ended, as far as this process knows.
    shown: HashSet<SagaId>,
    statistics: Statistics,
    patrol: patrol::Patrol,
}

impl Projector {
    /// `hints` must have been subscribed to before the first commit.
    pub(crate) fn new(engine: Engine, claims: Claims, hints: broadcast::Receiver<Arc<SagaEvents>>) -> Self {
        let outbox = Outbox::new(Arc::clone(&engine.bus), engine.topics.clone());
        let statistics = Statistics::new(engine.node.clone());
        Self {
            engine,
            outbox,
            claims,
            hints,
            pending: HashMap::new(),
            shown: HashSet::new(),
            statistics,
            patrol: patrol::Patrol::default(),
        }
    }

    /// Projects until shut down.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                hint = self.hints.recv() => match hint {
                    Ok(events) => self.note(&events),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "the projection missed hints; the patrol finds what they were about");
                        self.patrol.hurry();
                    }
                    Err(RecvError::Closed) => break,
                },
                _ = tick.tick() => {
                    if let Err(error) = self.turn().await {
                        tracing::warn!(%error, "the projection cannot be written; it goes on later");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
        let _ = self.statistics.flush(&self.engine.store).await;
    }

    /// Only what this process has committed: every other one projects its own.
    fn note(&mut self, events: &SagaEvents) {
        if events.node != self.engine.node {
            return;
        }
        let now = Instant::now();
        for changed in &events.sagas {
            self.statistics.count(changed);
            let status = match &*changed.status {
                "running" => Word::Running,
                "completed" => Word::Completed,
                _ => Word::Other,
            };
            if changed.status == "compensated" {
                self.statistics.sample_undone(changed.saga);
            }
            if status == Word::Completed && !self.shown.contains(&changed.saga) {
                // Nobody will ask where it stood.
                self.pending.remove(&changed.saga);
                self.statistics.sample(changed.saga);
                continue;
            }
            if self.pending.len() >= PENDING_MAX {
                self.patrol.hurry();
                continue;
            }
            let known = self.pending.entry(changed.saga).or_insert(Pending { since: now, status });
            known.status = status;
        }
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        let ripe: Vec<SagaId> = self
            .pending
            .iter()
            .filter(|(_, it)| it.status != Word::Running || now - it.since >= MOMENT)
            .map(|(id, _)| *id)
            .collect();
        let oldest = self.pending.values().map(|it| now - it.since).max().unwrap_or_default();
        metrics::gauge!("amends_projection_lag_seconds").set(oldest.as_secs_f64());
        self.engine.lag.0.store(i64::try_from(oldest.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        for chunk in ripe.chunks(CHUNK) {
            self.project(chunk).await?;
            for id in chunk {
                self.pending.remove(id);
            }
        }
        let found = self.patrol.turn(&self.engine, &self.claims).await?;
        for chunk in found.chunks(CHUNK) {
            self.project(chunk).await?;
        }
        self.statistics.turn(&self.engine).await
    }

    /// Reads these sagas and writes their rows.
    async fn project(&mut self, ids: &[SagaId]) -> Result<(), StoreError> {
        let store = &self.engine.store;
        let mut uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        // The patrol may come by a saga twice: running, and ended a moment later. One row cannot be written twice.
        uuids.sort_unstable();
        uuids.dedup();
        let read = store.read_for_projection(&uuids).await?;
        let errors = store.errors_of(&read).await?;
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for it in read {
            let id = SagaId(it.id);
            if it.status == 2 {
                gone.push(it.id);
                self.shown.remove(&id);
                self.statistics.sample(id);
                continue;
            }
            let Some(published) = self.engine.definitions.get(store, it.definition).await? else { continue };
            let errors = errors.get(&it.id).map(Vec::as_slice).unwrap_or_default();
            let slow = |step: &str, direction| self.statistics.usual_ms(it.definition, step, direction);
            if it.status < 2 {
                self.shown.insert(id);
            } else {
                self.shown.remove(&id);
            }
            rows.push(row::row(&it, &published.definition, errors, &self.outbox, slow));
        }
        store.put_projection(&rows).await?;
        store.drop_projection(&gone).await
    }
}
