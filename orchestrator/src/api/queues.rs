//! What waits for people: the parked queue and groups of failures.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_core::Millis;
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::find::direction_word;
use super::problem::Problem;
use super::{Api, masks, sagas, words};
use crate::auth::Caller;
use crate::engine::Engine;
use crate::store::projection::WINDOW_MINUTES;
use crate::store::queues::{AtRisk, Group, Place, Sort, Waiting};
use crate::store::read::STATUS_WORDS;

/// Money that is at risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AtRiskView {
    /// The currency, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The sum, in its smallest unit.
    pub amount: i64,
    /// Of how many.
    pub sagas: i64,
}

impl From<AtRisk> for AtRiskView {
    fn from(it: AtRisk) -> Self {
        Self { currency: it.currency, amount: it.amount, sagas: it.sagas }
    }
}

/// The effect that nobody undoes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnomalyRef {
    /// The effect.
    pub effect_key: String,
    /// What happened.
    pub kind: String,
}

/// One that waits for a human.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingView {
    /// `saga`: a parked one; `anomaly`: proof of an effect that nobody undoes.
    pub kind: String,
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// Its definition.
    pub definition: String,
    /// The definition's version.
    pub version: String,
    /// The saga's status.
    pub status: String,
    /// Its business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The same in words.
    pub message: String,
    /// The anomaly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<AnomalyRef>,
    /// The step that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The revision, as the projection saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// The amount at risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// For how long, in s.
    pub age_s: i64,
    /// The team that the definition names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The definition's runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What was written about it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What usually helps: `retry`, `resume_compensation`, `skip`, `resolve` or `look`.
    pub suggested: String,
    /// The group of failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A page of the parked queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingPage {
    /// What waits, the worst first.
    pub parked: Vec<WaitingView>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The money behind the whole queue.
    pub at_risk: Vec<AtRiskView>,
    /// How far the projection is behind, in ms.
    pub lag_ms: i64,
}

/// Which page of the parked queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingQuery {
    sort: Option<String>,
    definition: Option<String>,
    owner: Option<String>,
    limit: Option<u16>,
    after: Option<String>,
}

/// `next` of a page: where it ended.
fn spelled(place: &Place) -> String {
    format!("{}~{}~{}~{}", place.amount, place.since_ms, place.saga, place.effect)
}

fn place(text: &str) -> Option<Place> {
    let mut parts = text.splitn(4, '~');
    let amount = parts.next()?.parse().ok()?;
    let since_ms = parts.next()?.parse().ok()?;
    let saga = parts.next()?.parse().ok()?;
    let effect = parts.next().filter(|it| !it.contains('\0'))?.to_owned();
    // Both are negated in a comparison.
    (amount != i64::MIN && since_ms != i64::MIN).then_some(Place { amount, since_ms, saga, effect })
}

/// The parked queue: whatever needs a human, anomalies included
#[utoipa::path(
    get, path = "/ops/parked", operation_id = "list_parked", tag = "operators",
    params(
        ("sort" = Option<String>, Query, description = "`amount` (also when absent), `age` or `-age`"),
        ("definition" = Option<String>, Query, description = "Only of this definition"),
        ("owner" = Option<String>, Query, description = "Only what this person looks after"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = WaitingPage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn parked(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<WaitingQuery>, QueryRejection>,
) -> Result<Json<WaitingPage>, Problem> {
    let asked = sagas::query(asked)?;
    let limit = sagas::limit(asked.limit);
    let sort = match asked.sort.as_deref() {
        None | Some("amount") => Sort::Amount,
        Some("age") => Sort::Oldest,
        Some("-age") => Sort::Newest,
        Some(_) => return Err(Problem::bad_request("`sort` is `amount`, `age` or `-age`.")),
    };
    let engine = api.engine();
    let after = asked
        .after
        .as_deref()
        .map(|it| place(it).ok_or_else(|| Problem::bad_request("`after` is the `next` of the page before.")));
    let after = after.transpose()?;
    let (definition, owner) = (asked.definition.as_deref(), asked.owner.as_deref());
    let (mut rows, at_risk) = tokio::try_join!(
        engine.store.waiting(sort, definition, owner, after.as_ref(), limit + 1),
        engine.store.at_risk()
    )?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|it| spelled(&it.place()));
    let mut parked = Vec::with_capacity(rows.len());
    for row in rows {
        parked.push(waiting_view(engine, row).await?);
    }
    masks::mask(engine, &caller, &mut parked).await?;
    let at_risk = at_risk.into_iter().map(AtRiskView::from).collect();
    Ok(Json(WaitingPage { parked, next, at_risk, lag_ms: engine.lag.ms() }))
}

async fn waiting_view(engine: &Engine, row: Waiting) -> Result<WaitingView, Problem> {
    let published = engine.definitions.get(&engine.store, row.definition).await?;
    let definition = published.as_ref().map(|it| &it.definition);
    let suggested = suggested(&row);
    let message = match (&row.anomaly, &row.code, &row.message) {
        (Some((_, kind)), ..) => {
            format!("An effect was proved that nobody undoes: {}.", kind.replace('_', " "))
        }
        (None, Some(code), Some(message)) => format!("{code}: {message}"),
        _ => "It needs a human.".to_owned(),
    };
    let since = words::instant(Millis(row.since_ms));
    Ok(WaitingView {
        kind: if row.anomaly.is_some() { "anomaly" } else { "saga" }.to_owned(),
        saga: row.saga,
        definition: definition.map(|it| it.name.clone()).unwrap_or_default(),
        version: definition.map(|it| it.version.0.clone()).unwrap_or_default(),
        status: status_word(row.status),
        key: row.key,
        why: row.why,
        message,
        anomaly: row.anomaly.map(|(effect_key, kind)| AnomalyRef { effect_key, kind }),
        step: row.step,
        item: row.item.and_then(|it| u32::try_from(it).ok()),
        direction: row.direction.map(direction_word),
        revision: row.revision.and_then(|it| u32::try_from(it).ok()),
        amount: row.amount,
        currency: row.currency,
        since,
        age_s: (Utc::now() - since).num_seconds().max(0),
        team: definition.and_then(|it| it.about.owner.clone()),
        runbook: definition.and_then(|it| it.about.runbook.clone()),
        owner: row.owner,
        note: row.note,
        suggested: suggested.to_owned(),
        failure: row.failure,
    })
}

/// A coarse status in words.
pub fn status_word(status: i16) -> String {
    let word = usize::try_from(status).ok().and_then(|at| STATUS_WORDS.get(at)).copied();
    word.unwrap_or("running").to_owned()
}

fn suggested(row: &Waiting) -> &'static str {
    if row.anomaly.is_some() {
        return "resolve";
    }
    match row.why.as_deref() {
        Some("compensation_failed") => "resume_compensation",
        Some("rejected" | "exhausted" | "pivot_unsettled" | "bad_expression") => "retry",
        Some("output_too_large" | "output_unfit") => "skip",
        _ => "look",
    }
}

/// How many sagas of a group fail now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "as they say")]
pub struct FailingNow {
    pub retrying: i64,
    pub parked: i64,
    pub compensated: i64,
}

/// Failures of one definition's version, step, direction, code and message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailureGroup {
    /// Its id.
    pub id: String,
    /// The definition.
    pub definition: String,
    /// Its version.
    pub version: String,
    /// The step; none when a deadline turned the sagas around.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// What the worker answered: `rejected` (it said no, as the business has it: no outage), `retryable` or `undecidable`;
    /// else what the engine says itself, such as `exhausted` (silence, until the budget was spent) or `deadline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The code.
    pub code: String,
    /// The message, without what differs from saga to saga.
    pub message: String,
    /// When it was seen first, ever.
    pub first_seen: DateTime<Utc>,
    /// Since when it fails without a break of an hour: the beginning of the present trouble, or of the last.
    pub since: DateTime<Utc>,
    /// When it was seen last.
    pub last_seen: DateTime<Utc>,
    /// How often; a saga that fails again counts again.
    pub count: i64,
    /// Sagas that stand so now, at most 10,000 looked at.
    pub now: FailingNow,
    /// Sagas of it that completed after all.
    pub recovered: i64,
    /// Failures in the last windows, oldest first.
    pub trend: Vec<i64>,
    /// One of its sagas.
    pub sample: Uuid,
    /// The newest bulk job over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
}

/// A page of failure groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailurePage {
    /// The groups, those seen last first.
    pub failures: Vec<FailureGroup>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The length of a trend's window, in minutes.
    pub trend_minutes: i64,
}

/// Which failure groups.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureQuery {
    open: Option<bool>,
    refused: Option<bool>,
    definition: Option<String>,
    limit: Option<u16>,
    after: Option<String>,
}

/// Groups of failures
#[utoipa::path(
    get, path = "/ops/failures", operation_id = "list_failures", tag = "operators",
    params(
        ("open" = Option<bool>, Query, description = "Only those with sagas that stand so now; true when absent"),
        ("refused" = Option<bool>, Query, description = "Only what workers rejected going forward, as the business has it; or, when false, only the rest: trouble"),
        ("definition" = Option<String>, Query, description = "Only of this definition"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = FailurePage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn failures(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<FailureQuery>, QueryRejection>,
) -> Result<Json<FailurePage>, Problem> {
    let asked = sagas::query(asked)?;
    let limit = sagas::limit(asked.limit);
    let after = match asked.after.as_deref().map(|it| it.split_once('~')) {
        None => None,
        Some(parts) => {
            let at = parts.and_then(|(micros, id)| {
                Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.to_owned()))
            });
            Some(at.ok_or_else(|| Problem::bad_request("`after` is the `next` of the page before."))?)
        }
    };
    let engine = api.engine();
    let open = asked.open.unwrap_or(true);
    let definition = asked.definition.as_deref();
    let mut rows = engine.store.groups(None, open, asked.refused, definition, after, limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next =
        rows.last().filter(|_| more).map(|it| format!("{}~{}", it.last_seen.timestamp_micros(), it.id));
    let failures = groups(engine, &caller, rows).await?;
    Ok(Json(FailurePage { failures, next, trend_minutes: WINDOW_MINUTES }))
}

/// One group of failures
#[utoipa::path(
    get, path = "/ops/failures/{id}", operation_id = "get_failure", tag = "operators",
    params(("id" = String, Path, description = "The group")),
    responses(
        (status = 200, description = "The group", body = FailureGroup),
        (status = 404, description = "No such group", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn failure(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<FailureGroup>, Problem> {
    let none = || Problem::not_found("There is no such group of failures. `GET /ops/failures` lists them.");
    if id.contains('\0') {
        return Err(none());
    }
    let rows = api.engine().store.groups(Some(&id), false, None, None, None, 1).await?;
    groups(api.engine(), &caller, rows).await?.into_iter().next().map(Json).ok_or_else(none)
}

/// Groups as the API shows them to this caller.
///
/// # Errors
/// When the database fails.
pub async fn groups(
    engine: &Engine,
    caller: &Caller,
    rows: Vec<Group>,
) -> Result<Vec<FailureGroup>, Problem> {
    let mut groups = Vec::with_capacity(rows.len());
    for row in rows {
        let published = engine.definitions.get(&engine.store, row.definition).await?;
        let definition = published.as_ref().map(|it| &it.definition);
        groups.push(FailureGroup {
            id: row.id,
            definition: definition.map(|it| it.name.clone()).unwrap_or_default(),
            version: definition.map(|it| it.version.0.clone()).unwrap_or_default(),
            step: row.step,
            direction: row.direction.map(direction_word),
            kind: row.kind,
            code: row.code,
            message: row.message,
            first_seen: row.first_seen,
            since: row.since,
            last_seen: row.last_seen,
            count: row.count,
            now: FailingNow { retrying: row.retrying, parked: row.parked, compensated: row.compensated },
            recovered: row.recovered,
            trend: row.trend,
            sample: row.sample,
            job: row.job,
        });
    }
    masks::mask(engine, caller, &mut groups).await?;
    Ok(groups)
}
