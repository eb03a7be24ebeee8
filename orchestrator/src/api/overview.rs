//! Whether it is a good night: what runs, what fails, what is at risk, who is behind.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_core::Millis;
use saga_protocol::BreakerState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find::{direction_word, reached};
use super::problem::Problem;
use super::queues::{AtRiskView, FailureGroup, groups};
use super::{Api, sagas, words};
use crate::auth::Caller;
use crate::clock;
use crate::engine::Engine;
use crate::projection::histogram::Histogram;

const MINUTES_DEFAULT: u16 = 60;
const MINUTES_MAX: u16 = 1_440;
const FAILURES: u16 = 5;

/// How things are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// When this was.
    pub at: DateTime<Utc>,
    /// How far the projection is behind, in ms.
    pub lag_ms: i64,
    /// What runs and waits now.
    pub now: Now,
    /// The money behind what needs a human.
    pub at_risk: Vec<AtRiskView>,
    /// The last minutes, each of them, oldest first; the last one is not over yet.
    pub minutes: Vec<MinuteView>,
    /// How long sagas of these minutes took to end.
    pub to_end: ToEnd,
    /// Where work is, the largest piles first.
    pub in_flight: Vec<PileView>,
    /// The groups of failures that were seen last; those that are mere refusals after the others.
    pub failures: Vec<FailureGroup>,
    /// The workers, those with the most lag first.
    pub workers: Vec<WorkerLag>,
    /// Dead letters that nobody settled.
    pub dead_letters: i64,
    /// What is held.
    pub holds: Vec<super::holds::HoldView>,
    /// Actions that wait for a second person.
    pub approvals: i64,
}

/// What runs and waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the healths")]
pub struct Now {
    pub running: i64,
    pub late: i64,
    pub queued: i64,
    pub waiting: i64,
    pub retrying: i64,
    pub parked: i64,
    pub anomalies: i64,
}

/// A minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MinuteView {
    /// Its beginning.
    pub at: DateTime<Utc>,
    /// Sagas that started.
    pub started: i64,
    /// Sagas that completed.
    pub completed: i64,
    /// Sagas that were compensated.
    pub compensated: i64,
    /// Times that sagas parked.
    pub parked: i64,
    /// Sagas that were abandoned.
    pub abandoned: i64,
    /// The median time to the end, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<i64>,
    /// The time that 99 % did not exceed, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<i64>,
}

/// Times to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToEnd {
    /// The median, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<i64>,
    /// What 99 % did not exceed, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<i64>,
    /// Of how many.
    pub samples: i64,
}

/// Where work is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PileView {
    /// The definition.
    pub definition: String,
    /// The step.
    pub step: String,
    /// `execute` or `compensate`.
    pub direction: String,
    /// The worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Sagas that stand here.
    pub count: i64,
    /// Of them late.
    pub late: i64,
    /// Of them queued.
    pub queued: i64,
    /// Of them waiting.
    pub waiting: i64,
    /// Of them retrying.
    pub retrying: i64,
    /// Of them parked.
    pub parked: i64,
    /// Since when the oldest stands here.
    pub oldest_since: DateTime<Utc>,
}

/// How far a worker is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerLag {
    /// The worker.
    pub worker: String,
    /// Instances that live.
    pub instances: u32,
    /// How far its slowest partition is behind, in ms.
    pub lag_ms: i64,
}

/// For how many minutes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverviewQuery {
    minutes: Option<u16>,
}

/// Whether it is a good night
#[utoipa::path(
    get, path = "/ops/overview", operation_id = "overview", tag = "operators",
    params(("minutes" = Option<u16>, Query, description = "1 to 1,440; 60 when absent")),
    responses(
        (status = 200, description = "How things are", body = Overview),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn overview(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<OverviewQuery>, QueryRejection>,
) -> Result<Json<Overview>, Problem> {
    let minutes = sagas::query(asked)?.minutes.unwrap_or(MINUTES_DEFAULT).clamp(1, MINUTES_MAX);
    let engine = api.engine();
    let mut took = Histogram::default();
    let reached = reached(engine);
    let (minutes, piles, all, loose) = tokio::try_join!(
        engine.store.minutes(minutes),
        engine.store.piles(&reached),
        engine.store.in_all(),
        engine.store.loose_ends()
    )?;
    let minutes = minutes
        .into_iter()
        .map(|(at, minute)| {
            took.merge(&minute.took);
            MinuteView {
                at,
                started: minute.started,
                completed: minute.completed,
                compensated: minute.compensated,
                parked: minute.parked,
                abandoned: minute.abandoned,
                p50_ms: minute.took.quantile_ms(0.5),
                p99_ms: minute.took.quantile_ms(0.99),
            }
        })
        .collect();
    // Who stands at no step is in no pile, and counts all the same.
    let mut now = Now {
        running: all.running,
        parked: all.parked,
        waiting: all.waiting,
        retrying: all.retrying,
        ..Now::default()
    };
    for pile in &piles {
        now.late += pile.late;
        now.queued += pile.queued;
    }
    let dead_letters;
    (now.anomalies, dead_letters) = loose;
    let in_flight = piles
        .into_iter()
        .map(|pile| PileView {
            definition: pile.definition,
            step: pile.step,
            direction: direction_word(pile.direction),
            worker: pile.worker,
            count: pile.count,
            late: pile.late,
            queued: pile.queued,
            waiting: pile.waiting,
            retrying: pile.retrying,
            parked: pile.parked,
            oldest_since: words::instant(Millis(pile.oldest_ms)),
        })
        .collect();
    // A refused card is no trouble, and must not push trouble out of sight.
    let mut failing = engine.store.groups(None, true, Some(false), None, None, FAILURES).await?;
    let room = FAILURES.saturating_sub(u16::try_from(failing.len()).unwrap_or(FAILURES));
    if room > 0 {
        failing.extend(engine.store.groups(None, true, Some(true), None, None, room).await?);
    }
    let failures = groups(engine, &caller, failing).await?;
    Ok(Json(Overview {
        at: Utc::now(),
        lag_ms: engine.lag.ms(),
        now,
        at_risk: engine.store.at_risk().await?.into_iter().map(AtRiskView::from).collect(),
        minutes,
        to_end: ToEnd {
            p50_ms: took.quantile_ms(0.5),
            p99_ms: took.quantile_ms(0.99),
            samples: took.count(),
        },
        in_flight,
        failures,
        workers: lags(engine),
        dead_letters,
        holds: super::holds::all(&api, true).await?.holds,
        approvals: engine.store.open_approvals().await? + engine.store.unapproved_jobs().await?,
    }))
}

/// The workers, those with the most lag first.
fn lags(engine: &Engine) -> Vec<WorkerLag> {
    let mut lags: BTreeMap<String, WorkerLag> = BTreeMap::new();
    for view in workers_of(engine) {
        let instances = view.instances.iter().filter(|it| it.alive).count();
        let lag_ms = view.topics.iter().map(|it| it.lag_ms).max().unwrap_or(0);
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        lags.insert(view.worker.clone(), WorkerLag { worker: view.worker, instances, lag_ms });
    }
    let mut lags: Vec<WorkerLag> = lags.into_values().collect();
    lags.sort_by_key(|it| std::cmp::Reverse(it.lag_ms));
    lags
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// Its name.
    pub worker: String,
    /// The actions that its living instances announce.
    pub actions: Vec<ActionView>,
    /// Its instances, the living first.
    pub instances: Vec<InstanceView>,
    /// How far its command topics are worked off.
    pub topics: Vec<TopicView>,
    /// Sagas that wait for it.
    pub open: i64,
}

/// An action of a worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    /// Its name.
    pub action: String,
    /// What undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<String>,
}

/// An instance of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Its name.
    pub instance: String,
    /// Its version.
    pub version: String,
    /// When it was heard of last.
    pub at: DateTime<Utc>,
    /// Whether it is taken to live.
    pub alive: bool,
    /// Commands that it answered in the minute before; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_per_minute: Option<u64>,
    /// Its circuit breakers, one for each external action and direction; absent when it does not say whether it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakers: Option<Vec<BreakerView>>,
}

/// A circuit breaker: an action whose calls fail in a row is not called for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakerView {
    /// The action, or what undoes it.
    pub action: String,
    /// `execute` or `compensate`.
    pub direction: String,
    /// `closed`: calls go. `open`: none goes. `half_open`: one goes, and decides.
    pub state: String,
    /// When an open one lets a call through again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// A partition of a worker's command topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicView {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Every command up to here is answered.
    pub reached: DateTime<Utc>,
    /// When it said so.
    pub at: DateTime<Utc>,
    /// How far it is behind, in ms; 0 when it is not.
    pub lag_ms: i64,
}

/// The workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// By name.
    pub workers: Vec<WorkerView>,
}

/// The workers: who lives, what they can do, who is behind
#[utoipa::path(
    get, path = "/ops/workers", operation_id = "list_workers", tag = "operators",
    responses((status = 200, description = "The workers", body = WorkerList))
)]
pub async fn workers(State(api): State<Api>) -> Result<Json<WorkerList>, Problem> {
    let engine = api.engine();
    let mut workers = workers_of(engine);
    for (name, open) in engine.store.open_by_worker().await? {
        match workers.iter_mut().find(|it| it.worker == name) {
            Some(view) => view.open = open,
            // Sagas wait for a worker that nobody has heard of.
            None => workers.push(WorkerView { open, ..nobody(name) }),
        }
    }
    Ok(Json(WorkerList { workers }))
}

fn nobody(worker: String) -> WorkerView {
    WorkerView { worker, actions: Vec::new(), instances: Vec::new(), topics: Vec::new(), open: 0 }
}

/// What is behind by less is a heartbeat's distance.
const HEARTBEAT_MS: i64 = 5_000;

fn workers_of(engine: &Engine) -> Vec<WorkerView> {
    let mut views: BTreeMap<String, WorkerView> = BTreeMap::new();
    for it in engine.workers.list() {
        let alive = crate::workers::alive(&it);
        let view = views.entry(it.worker.clone()).or_insert_with(|| nobody(it.worker.clone()));
        let at = words::instant(Millis(it.at_ms));
        let breaker = |it: saga_protocol::BreakerInfo| BreakerView {
            action: it.action,
            direction: words::direction(it.direction).to_owned(),
            state: match it.state {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
                BreakerState::HalfOpen => "half_open",
            }
            .to_owned(),
            until: it.until_ms.map(|ms| words::instant(Millis(ms))),
        };
        view.instances.push(InstanceView {
            instance: it.instance,
            version: it.version,
            at,
            alive,
            answered_per_minute: it.answered_per_minute,
            breakers: it.breakers.map(|all| all.into_iter().map(breaker).collect()),
        });
        if alive {
            let action = |it: saga_protocol::ActionInfo| ActionView {
                action: it.action,
                compensation: it.compensation,
            };
            view.actions.extend(it.actions.into_iter().map(action));
        }
    }
    let now = clock::now();
    for it in engine.workers.progress() {
        for view in views.values_mut() {
            let directions = [saga_protocol::Direction::Execute, saga_protocol::Direction::Compensate];
            if directions.iter().any(|direction| engine.topics.commands(&view.worker, *direction) == it.topic)
            {
                let behind_ms = now.0 - it.reached_ms;
                view.topics.push(TopicView {
                    topic: it.topic.clone(),
                    partition: it.partition,
                    reached: words::instant(Millis(it.reached_ms)),
                    at: words::instant(Millis(it.at_ms)),
                    lag_ms: if behind_ms <= HEARTBEAT_MS { 0 } else { behind_ms },
                });
            }
        }
    }
    for view in views.values_mut() {
        view.actions.sort();
        view.actions.dedup();
        view.topics.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    }
    views.into_values().collect()
}
