//! What is counted a minute, and how long steps take.
//!
//! Counts come from hints: what a process counted in its last second before a crash is lost. Steps' times are
//! sampled from histories of sagas that completed or were compensated.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use saga_core::{State, What};
use saga_protocol::{Direction, Outcome, SagaChanged, SagaId};
use tokio::time::Instant;
use uuid::Uuid;

use super::histogram::Histogram;
use super::row::{direction_number, started_ms};
use crate::engine::Engine;
use crate::store::{Store, StoreError};

const FLUSH_EVERY: Duration = Duration::from_secs(1);
const LEARN_EVERY: Duration = Duration::from_secs(30);
/// Histories of completed sagas, and of compensated ones, that are read in a second, at most.
const SAMPLES_A_SECOND: usize = 20;
/// Fewer differences of the standing than this are left alone: they cost nobody anything.
const CHANGES_MIN: i64 = 500;
/// From how many samples on the 99th percentile means anything.
const SAMPLES_MIN: i64 = 100;

/// A minute.
#[derive(Clone, Debug, Default)]
pub struct Minute {
    /// Sagas that started.
    pub started: i64,
    /// Those that completed.
    pub completed: i64,
    /// Those that were compensated.
    pub compensated: i64,
    /// Times that sagas parked.
    pub parked: i64,
    /// Those that were abandoned.
    pub abandoned: i64,
    /// Times to the end, in ms.
    pub took: Histogram,
}

/// A step of a definition's version.
pub type StepKey = (i32, String, i16);

pub(super) struct Statistics {
    node: String,
    minutes: BTreeMap<DateTime<Utc>, Minute>,
    steps: HashMap<(StepKey, DateTime<Utc>), Histogram>,
    samples: Vec<SagaId>,
    undone: Vec<SagaId>,
    usual_ms: HashMap<StepKey, i64>,
    flushed: Option<Instant>,
    learnt: Option<Instant>,
}

impl Statistics {
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            minutes: BTreeMap::new(),
            steps: HashMap::new(),
            samples: Vec::new(),
            undone: Vec::new(),
            usual_ms: HashMap::new(),
            flushed: None,
            learnt: None,
        }
    }

    /// Counts a change.
    pub(super) fn count(&mut self, changed: &SagaChanged) {
        let now = Utc::now();
        let minute = self.minutes.entry(floor(now, TimeDelta::minutes(1))).or_default();
        match &*changed.status {
            "running" if changed.revision == 1 => minute.started += 1,
            "running" => {}
            "parked" => minute.parked += 1,
            word => {
                match word {
                    "completed" => minute.completed += 1,
                    "compensated" => minute.compensated += 1,
                    _ => minute.abandoned += 1,
                }
                minute.took.add(now.timestamp_millis() - started_ms(changed.saga.0));
            }
        }
    }

    /// Notes a saga that completed, to learn from.
    pub(super) fn sample(&mut self, saga: SagaId) {
        if self.samples.len() < SAMPLES_A_SECOND {
            self.samples.push(saga);
        }
    }

    /// Notes a saga that was compensated: how long undoing takes is learnt from these alone.
    pub(super) fn sample_undone(&mut self, saga: SagaId) {
        if self.undone.len() < SAMPLES_A_SECOND {
            self.undone.push(saga);
        }
    }

    /// The usual time of a step, in ms, when enough of them were seen.
    pub(super) fn usual_ms(&self, definition: i32, step: &str, direction: Direction) -> Option<i64> {
        self.usual_ms.get(&(definition, step.to_owned(), direction_number(direction))).copied()
    }

    pub(super) async fn turn(&mut self, engine: &Engine) -> Result<(), StoreError> {
        if self.flushed.is_some_and(|at| at.elapsed() < FLUSH_EVERY) {
            return Ok(());
        }
        self.flushed = Some(Instant::now());
        let mut samples: Vec<Uuid> =
            self.samples.drain(..).chain(self.undone.drain(..)).map(|id| id.0).collect();
        samples.sort_unstable();
        samples.dedup();
        if !samples.is_empty() {
            self.learn_from(engine, &samples).await?;
        }
        self.flush(&engine.store).await?;
        engine.store.sum_standing(CHANGES_MIN).await?;
        if self.learnt.is_none_or(|at| at.elapsed() >= LEARN_EVERY) {
            self.learnt = Some(Instant::now());
            let all = engine.store.step_times().await?;
            self.usual_ms = all
                .into_iter()
                .filter(|(_, took)| took.count() >= SAMPLES_MIN)
                .filter_map(|(key, took)| Some((key, took.quantile_ms(0.99)?)))
                .collect();
        }
        Ok(())
    }

    async fn learn_from(&mut self, engine: &Engine, samples: &[Uuid]) -> Result<(), StoreError> {
        let hour = floor(Utc::now(), TimeDelta::hours(1));
        for (definition, state, events) in engine.store.ended_with_events(samples).await? {
            let Some(published) = engine.definitions.get(&engine.store, definition).await? else { continue };
            for event in events {
                let What::Answer(answer) = &event.what else { continue };
                if answer.outcome != Outcome::Succeeded {
                    continue;
                }
                let Some(sent_ms) = sent_ms(&published.definition, &state, answer) else { continue };
                let key = (definition, answer.step.as_str().to_owned(), direction_number(answer.direction));
                self.steps.entry((key, hour)).or_default().add(event.at.0 - sent_ms);
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self, store: &Store) -> Result<(), StoreError> {
        store.put_minutes(&self.node, &self.minutes).await?;
        store.put_step_times(&self.node, &self.steps).await?;
        let now = Utc::now();
        self.minutes.retain(|at, _| now - *at < TimeDelta::minutes(2));
        self.steps.retain(|(_, at), _| now - *at < TimeDelta::hours(2));
        Ok(())
    }
}

fn sent_ms(
    definition: &saga_core::Definition,
    state: &State,
    answer: &saga_core::event::Answer,
) -> Option<i64> {
    let step = definition.find(answer.step.as_str())?;
    let cell = saga_core::CellRef { step, item: answer.item, direction: answer.direction };
    let track = state.track(cell).filter(|track| track.round == answer.round)?;
    track.first_sent_at.map(|at| at.0)
}

fn floor(at: DateTime<Utc>, to: TimeDelta) -> DateTime<Utc> {
    at.duration_trunc(to).unwrap_or(at)
}
