//! Finding sagas: lists, and how many there are.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_protocol::{Direction, SagaId};
use serde::Deserialize;

use super::problem::Problem;
use super::view::{Count, Counts, CountsByHealth, CountsByStatus, Failure, SagaPage, SagaSummary};
use super::{Api, assemble, masks, sagas, words};
use crate::auth::Caller;
use crate::engine::Engine;
use crate::store::find::{COUNT_MAX, Filter, Found, Health, Reached, Stand};
use crate::store::read::STATUS_WORDS;

/// Which sagas.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterQuery {
    status: Option<String>,
    health: Option<String>,
    definition: Option<String>,
    version: Option<String>,
    step: Option<String>,
    error_code: Option<String>,
    worker: Option<String>,
    failure: Option<String>,
    key: Option<String>,
    text: Option<String>,
    owner: Option<String>,
    label: Option<String>,
    started_after: Option<DateTime<Utc>>,
    started_before: Option<DateTime<Utc>>,
    older_than_s: Option<u32>,
    attempts_min: Option<u16>,
    replay_of: Option<SagaId>,
    limit: Option<u16>,
    after: Option<SagaId>,
}

impl FilterQuery {
    /// Reads a filter that was kept as a query.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let uri: Uri = format!("/?{}", text.trim_start_matches('?'))
            .parse()
            .map_err(|_| Problem::bad_request("The filter is no query such as `status=parked&step=pay`."))?;
        Query::try_from_uri(&uri).map(|Query(it)| it).map_err(|it| Problem::bad_request(it.body_text()))
    }

    /// The filter, for this caller.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn filter(self, caller: &Caller) -> Result<Filter, Problem> {
        let word_of = |word: &str, name: &str, all: &[&str]| {
            all.iter()
                .position(|it| *it == word)
                .ok_or_else(|| Problem::bad_request(format!("`{name}` is one of {}.", all.join(", "))))
        };
        let status = self.status.as_deref().map(|word| word_of(word, "status", &STATUS_WORDS)).transpose()?;
        let health = Health::ALL.map(Health::word);
        let health = self.health.as_deref().map(|word| word_of(word, "health", &health)).transpose()?;
        if self
            .version
            .as_ref()
            .is_some_and(|it| it.len() < 8 || !it.bytes().all(|it| it.is_ascii_hexdigit()))
        {
            return Err(Problem::bad_request(
                "`version` is a version's hash, or at least its first 8 digits.",
            ));
        }
        if self.text.as_ref().is_some_and(|it| it.trim().chars().count() < 2) {
            return Err(Problem::bad_request("`text` has at least 2 characters."));
        }
        let wrong =
            |it: &String| it.split_once(':').is_none_or(|(name, value)| name.is_empty() || value.is_empty());
        if self.label.as_ref().is_some_and(wrong) {
            return Err(Problem::bad_request("`label` is a label's name and value, such as `region:seoul`."));
        }
        // Without a key, a customer's sagas could only be found by looking at everybody's.
        if caller.only_own() && self.key.is_none() {
            return Err(Problem::bad_request("Give `key`: your sagas are found by their business key."));
        }
        Ok(Filter {
            status: status.and_then(|at| i16::try_from(at).ok()),
            health: health.map(|at| Health::ALL[at]),
            definition: self.definition,
            version: self.version,
            step: self.step,
            error_code: self.error_code,
            worker: self.worker,
            failure: self.failure,
            key: self.key,
            text: self.text,
            owner: self.owner,
            label: self.label,
            started_after: self.started_after,
            started_before: self.started_before,
            older_than_s: self.older_than_s,
            attempts_min: self.attempts_min,
            replay_of: self.replay_of,
            principal: caller.only_own().then(|| caller.principal.clone()),
            after: self.after,
        })
    }
}

/// How far workers are, as the queries need it.
pub fn reached(engine: &Engine) -> Vec<Reached> {
    let progress = engine.workers.progress().into_iter();
    progress.map(|it| Reached { topic: it.topic, partition: it.partition, ms: it.reached_ms }).collect()
}

/// Lists sagas, newest first
///
/// Every condition must hold. What is beyond a saga's first line comes from the projection, which is `lag_ms` behind.
#[utoipa::path(
    get, path = "/sagas", operation_id = "list_sagas", tag = "sagas",
    params(
        ("status" = Option<String>, Query, description = "`running`, `parked`, `completed`, `compensated` or `abandoned`"),
        ("health" = Option<String>, Query, description = "`on_time`, `late`, `queued`, `waiting`, `retrying` or `parked`"),
        ("definition" = Option<String>, Query, description = "The definition's name"),
        ("version" = Option<String>, Query, description = "The version, or its first 8 digits and more"),
        ("step" = Option<String>, Query, description = "Where it stands, or failed"),
        ("error_code" = Option<String>, Query, description = "The code that it failed with"),
        ("worker" = Option<String>, Query, description = "The worker that it stands at"),
        ("failure" = Option<String>, Query, description = "The group of failures"),
        ("key" = Option<String>, Query, description = "The business key; a customer must give it"),
        ("text" = Option<String>, Query, description = "The id, the beginning of the key, or words of the error or of a note"),
        ("owner" = Option<String>, Query, description = "Who looks after it"),
        ("label" = Option<String>, Query, description = "A label that its definition gives it, as `name:value`"),
        ("started_after" = Option<DateTime<Utc>>, Query, description = "Not started before"),
        ("started_before" = Option<DateTime<Utc>>, Query, description = "Started before"),
        ("older_than_s" = Option<u32>, Query, description = "Started at least this long ago, in s"),
        ("attempts_min" = Option<u16>, Query, description = "Not ended, and sent at least so many times in the round that it stands at"),
        ("replay_of" = Option<uuid::Uuid>, Query, description = "Only replays of this saga"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<uuid::Uuid>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SagaPage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<FilterQuery>, QueryRejection>,
) -> Result<Json<SagaPage>, Problem> {
    let asked = sagas::query(asked)?;
    let limit = sagas::limit(asked.limit);
    let filter = asked.filter(&caller)?;
    let engine = api.engine();
    // One more than asked tells whether there is a next page.
    let mut rows = engine.store.find(&filter, &reached(engine), limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.summary.saga);
    let mut sagas: Vec<SagaSummary> = rows.into_iter().map(summary).collect();
    if caller.only_own() {
        sagas.iter_mut().for_each(sagas::strip);
    }
    masks::mask(engine, &caller, &mut sagas).await?;
    Ok(Json(SagaPage { sagas, next, lag_ms: Some(engine.lag.ms()) }))
}

/// A found saga as the API shows it.
pub fn summary(found: Found) -> SagaSummary {
    let mut summary = assemble::summary(found.summary);
    summary.owner = found.owner;
    summary.note = found.note;
    summary.open_anomalies = found.anomalies;
    if let Some(stand) = found.stand {
        stand_in(&mut summary, stand);
    }
    summary
}

/// Says in a summary where the saga stands.
pub fn stand_in(summary: &mut SagaSummary, stand: Stand) {
    let instant = |ms: i64| words::instant(saga_core::Millis(ms));
    summary.health = stand.health.map(|it| it.word().to_owned());
    summary.step = stand.step;
    summary.item = stand.item.and_then(|it| u32::try_from(it).ok());
    summary.direction = stand.direction.map(direction_word);
    summary.worker = stand.worker;
    summary.failure = stand.failure;
    summary.held = stand.held;
    summary.since = Some(instant(stand.since_ms));
    summary.next_at = stand.due_ms.map(instant);
    summary.attempt = stand.attempt.and_then(|it| u32::try_from(it).ok());
    summary.attempts_max = stand.attempts_max.and_then(|it| u32::try_from(it).ok());
    summary.error = stand.error_code.map(|code| Failure {
        step: stand.error_step,
        code,
        message: stand.error_message.unwrap_or_default(),
    });
}

/// A direction's number in tables, as a word.
pub fn direction_word(number: i16) -> String {
    let direction = if number == 0 { Direction::Execute } else { Direction::Compensate };
    words::direction(direction).to_owned()
}

/// How many sagas there are
///
/// By the filters of `GET /sagas`. Counts stop at 10,000, so that they are fast over any number of sagas.
#[utoipa::path(
    get, path = "/ops/counts", operation_id = "count_sagas", tag = "operators",
    params(
        ("status" = Option<String>, Query, description = "As in `GET /sagas`; and so on"),
        ("health" = Option<String>, Query), ("definition" = Option<String>, Query), ("version" = Option<String>, Query),
        ("step" = Option<String>, Query), ("error_code" = Option<String>, Query), ("worker" = Option<String>, Query),
        ("failure" = Option<String>, Query), ("key" = Option<String>, Query), ("text" = Option<String>, Query),
        ("owner" = Option<String>, Query), ("label" = Option<String>, Query), ("started_after" = Option<DateTime<Utc>>, Query),
        ("started_before" = Option<DateTime<Utc>>, Query), ("older_than_s" = Option<u32>, Query),
        ("attempts_min" = Option<u16>, Query), ("replay_of" = Option<uuid::Uuid>, Query),
    ),
    responses(
        (status = 200, description = "The counts", body = Counts),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn counts(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<FilterQuery>, QueryRejection>,
) -> Result<Json<Counts>, Problem> {
    let filter = sagas::query(asked)?.filter(&caller)?;
    let engine = api.engine();
    let reached = reached(engine);
    let counted = engine.store.count(&filter, &reached).await?;
    let by_status = counted.by_status.map(capped);
    let [on_time, late, queued, waiting, retrying, parked] = counted.by_health;
    let by_health = CountsByHealth { on_time, late, queued, waiting, retrying, parked };
    let sum: i64 = by_status.iter().map(|it| it.count).sum();
    let beyond = sum > COUNT_MAX || counted.bounded || by_status.iter().any(|it| it.capped);
    let total = Count { capped: beyond, count: sum.min(COUNT_MAX) };
    let [running, parked, completed, compensated, abandoned] = by_status;
    Ok(Json(Counts {
        total,
        by_status: CountsByStatus { running, parked, completed, compensated, abandoned },
        by_health,
        lag_ms: engine.lag.ms(),
    }))
}

fn capped(count: i64) -> Count {
    Count { count: count.min(COUNT_MAX), capped: count > COUNT_MAX }
}
