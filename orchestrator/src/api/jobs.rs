//! Bulk jobs: previewed, made, steered, and what became of each saga.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::find::{FilterQuery, reached};
use super::problem::{FaultAt, Problem};
use super::queues::AtRiskView;
use super::view::SagaSummary;
use super::{Api, From, body, find, headers, sagas};
use crate::auth::Caller;
use crate::jobs::select::{Meant, Selected, select};
use crate::jobs::{Doing, JobRequest, SET_MAX};
use crate::store::find::Filter;
use crate::store::jobs::{Item, Job, JobApproval};

const SAGAS_MAX: usize = 10_000;
const SAMPLE: usize = 10;
const CANARY: u32 = 10;
const RATE_PER_S: u32 = 50;
const RATE_PER_S_MAX: u32 = 5_000;
const STOP_AFTER_SAME: u32 = 5;
const OUTCOMES: [&str; 7] =
    ["waiting", "acting", "succeeded", "failed_again", "changed", "refused", "awaiting_approval"];

/// What a job would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobPreview {
    /// How many sagas it would act on.
    pub sagas: i64,
    /// Those that are left out, by reason.
    pub excluded: Vec<Excluded>,
    /// The money behind the set.
    pub amount: Vec<AtRiskView>,
    /// Some of them.
    pub sample: Vec<SagaSummary>,
    /// Where they stand.
    pub by_step: Vec<ByStep>,
    /// Inputs that a replay needs fresh, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_fresh: Vec<String>,
    /// How many will wait for a second person.
    pub approval: i64,
}

/// Sagas that are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Excluded {
    /// Why.
    pub reason: String,
    /// How many.
    pub sagas: i64,
}

/// Sagas at a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByStep {
    /// The step; `-` for none.
    pub step: String,
    /// How many.
    pub sagas: i64,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `action` or `replay`.
    pub kind: String,
    /// The action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The filter that its set was found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Who made it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// `canary`, `running`, `paused`, `stopped` (by itself), `done` or `cancelled`.
    pub state: String,
    /// Why it stopped by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_because: Option<String>,
    /// So many first.
    pub canary: i32,
    /// Sagas a second.
    pub rate_per_s: i32,
    /// Stops when the same failure comes so many times in a row.
    pub stop_after_same: i32,
    /// The second person, who has approved what needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// How many sagas have which outcome.
    pub counts: JobCounts,
    /// Why sagas did not succeed, the most frequent first.
    pub reasons: Vec<JobReason>,
}

/// How many sagas have which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the outcomes")]
pub struct JobCounts {
    pub total: i64,
    pub waiting: i64,
    pub acting: i64,
    pub succeeded: i64,
    pub failed_again: i64,
    pub changed: i64,
    pub refused: i64,
    pub awaiting_approval: i64,
}

/// Why sagas did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobReason {
    /// The outcome.
    pub outcome: String,
    /// In words.
    pub reason: String,
    /// How many.
    pub sagas: i64,
}

/// Jobs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// At most 200.
    pub jobs: Vec<JobView>,
}

/// One saga of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobItem {
    /// Its place in the set.
    pub number: i32,
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// Its business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `waiting`, `acting`, `succeeded`, `failed_again`, `changed`, `refused` or `awaiting_approval`.
    pub outcome: String,
    /// In words: `now succeeded`, `failed again: pay: CARD_REFUSED`, `changed meanwhile: skipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The saga that repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub new_saga: Option<SagaId>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// A page of a job's sagas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobItems {
    /// The sagas, in their order.
    pub items: Vec<JobItem>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i32>,
}

/// Why a job is steered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// Why; it stands in the audit.
    pub why: String,
}

/// Which items.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemQuery {
    outcome: Option<String>,
    limit: Option<u16>,
    after: Option<i32>,
}

struct Asked {
    request: JobRequest,
    doing: Doing,
    meant: Meant,
}

/// Reads and checks a job's request.
async fn read(api: &Api, caller: &Caller, headers: &HeaderMap, sent: Body) -> Result<Asked, Problem> {
    let request: JobRequest = body::of(api, headers, sent).await?;
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    let doing = request.doing();
    if doing.is_none() {
        faults.push(FaultAt::at(
            "/kind",
            "is `replay`, or `action` with the action `retry`, `compensate`, `resume_compensation` or `abandon`",
        ));
    }
    if doing == Some(Doing::Abandon) && !request.acknowledged {
        faults.push(FaultAt::at("/acknowledged", "must be true: what each saga leaves undone stays undone"));
    }
    if request.canary.is_some_and(|it| it > 1_000) {
        faults.push(FaultAt::at("/canary", "is at most 1,000"));
    }
    if request.rate_per_s.is_some_and(|it| it == 0 || it > RATE_PER_S_MAX) {
        faults.push(FaultAt::at("/rate_per_s", "is 1 to 5,000"));
    }
    if request.stop_after_same.is_some_and(|it| it == 0 || it > 100_000) {
        faults.push(FaultAt::at("/stop_after_same", "is 1 to 100,000"));
    }
    if request.name.as_ref().is_some_and(|it| it.chars().count() > 200) {
        faults.push(FaultAt::at("/name", "has more than 200 characters"));
    }
    let inputs = request.version.is_some() || request.merge.is_some() || !request.fresh.is_empty();
    if doing != Some(Doing::Replay) && inputs {
        faults.push(FaultAt::at("/version", "`version`, `merge` and `fresh` are for `replay`"));
    }
    if request.merge.as_ref().is_some_and(|it| !it.is_object()) {
        faults.push(FaultAt::at("/merge", "is an object: the members of the input that change"));
    }
    let meant = match (&request.filter, &request.sagas) {
        (Some(filter), None) => Some(Meant::Filter(Box::new(FilterQuery::parse(filter)?.filter(caller)?))),
        (None, Some(these)) if these.is_empty() || these.len() > SAGAS_MAX => {
            faults.push(FaultAt::at("/sagas", "are 1 to 10,000; use `filter` for more"));
            None
        }
        (None, Some(these)) => Some(Meant::These(these.clone())),
        _ => {
            faults.push(FaultAt::at("", "needs either `filter` or `sagas`"));
            None
        }
    };
    match (doing, meant) {
        (Some(doing), Some(meant)) if faults.is_empty() => Ok(Asked { request, doing, meant }),
        _ => Err(Problem::invalid_input(faults)),
    }
}

async fn chosen(api: &Api, asked: &Asked) -> Result<Selected, Problem> {
    let engine = api.engine();
    let reached = reached(engine);
    let selected = select(engine, asked.doing, &asked.meant, &reached, asked.request.acknowledged).await?;
    if selected.too_many {
        return Err(Problem::invalid_input(vec![FaultAt::at(
            "/filter",
            &format!("finds more than {SET_MAX} sagas: narrow it, by time for example"),
        )]));
    }
    let count = selected.set.len();
    if let Some(max) = asked.request.sagas_max.filter(|max| u32::try_from(count).map_or(true, |it| it > *max))
    {
        return Err(Problem::invalid_input(vec![FaultAt::at(
            "/sagas_max",
            &format!("it would be {count} sagas now, more than {max}: look at the preview again"),
        )]));
    }
    Ok(selected)
}

/// What a bulk job would do
///
/// The sagas that it would act on now, and those that it would leave out. Nothing is changed.
#[utoipa::path(
    post, path = "/ops/jobs/preview", operation_id = "preview_job", tag = "operators",
    request_body = JobRequest,
    responses(
        (status = 200, description = "The preview", body = JobPreview),
        (status = 400, description = "The filter cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn preview(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<JobPreview>, Problem> {
    let asked = read(&api, &caller, &headers, sent).await?;
    let selected = chosen(&api, &asked).await?;
    let engine = api.engine();
    let mut sample = Vec::new();
    for frozen in selected.set.iter().take(SAMPLE) {
        let filter = Filter { text: Some(frozen.saga.to_string()), ..Filter::default() };
        sample.extend(engine.store.find(&filter, &reached(engine), 1).await?.into_iter().map(find::summary));
    }
    let pairs = |all: HashMap<String, i64>| {
        let mut all: Vec<(String, i64)> = all.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    };
    let excluded =
        pairs(selected.excluded.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect());
    let by_step = pairs(selected.by_step.into_iter().collect());
    Ok(Json(JobPreview {
        sagas: i64::try_from(selected.set.len()).unwrap_or(i64::MAX),
        excluded: excluded.into_iter().map(|(reason, sagas)| Excluded { reason, sagas }).collect(),
        amount: selected.amount.into_iter().map(Into::into).collect(),
        sample,
        by_step: by_step.into_iter().map(|(step, sagas)| ByStep { step, sagas }).collect(),
        needs_fresh: selected.needs_fresh.into_iter().collect(),
        approval: selected.approval,
    }))
}

/// Makes a bulk job
///
/// The set is frozen now; a saga that has changed by its turn is skipped. The job runs on the server.
#[utoipa::path(
    post, path = "/ops/jobs", operation_id = "make_job", tag = "operators",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = JobRequest,
    responses(
        (status = 200, description = "The same request came before: its job", body = JobView),
        (status = 201, description = "Made", body = JobView),
        (status = 400, description = "The filter cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults, or there is nothing to do", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn make(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let asked = read(&api, &caller, &headers, sent).await?;
    let id = match headers::idempotency_key(&headers)? {
        Some(key) => {
            let id = crate::jobs::id_of(&caller.principal, &key);
            if let Some(job) = api.engine().store.job(id).await? {
                return repeated(&api, job, asked.request).await;
            }
            id
        }
        None => Uuid::now_v7(),
    };
    let selected = chosen(&api, &asked).await?;
    if selected.set.is_empty() {
        let reasons: Vec<String> =
            selected.excluded.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
        let reasons = if reasons.is_empty() { "nothing was found".to_owned() } else { reasons.join("; ") };
        return Err(Problem::invalid_input(vec![FaultAt::at(
            "",
            &format!("there is nothing to do ({reasons})"),
        )]));
    }
    let number = |it: u32| i32::try_from(it).unwrap_or(i32::MAX);
    let total = i32::try_from(selected.set.len()).unwrap_or(i32::MAX);
    let request = asked.request;
    let canary = number(request.canary.unwrap_or(CANARY)).min(total);
    let why = request.why.replace('\0', "\u{fffd}");
    let job = Job {
        id,
        name: request.name.clone().map(|it| it.replace('\0', "\u{fffd}")),
        kind: request.kind.clone(),
        by: caller.principal.clone(),
        roles: caller.roles.words(),
        why,
        created_at: Utc::now(),
        ended_at: None,
        state: if canary > 0 { "canary" } else { "running" }.to_owned(),
        stopped_because: None,
        canary,
        rate_per_s: number(request.rate_per_s.unwrap_or(RATE_PER_S)),
        stop_after_same: number(request.stop_after_same.unwrap_or(STOP_AFTER_SAME)),
        total,
        last_reason: None,
        last_count: 0,
        approved_by: None,
        // The set is kept by itself.
        request: kept(request.clone()),
    };
    let engine = api.engine();
    if !engine.store.make_job(&actor(&caller, from), &job, &selected.set).await? {
        // Made a moment ago, by a request with the same key.
        let job = engine.store.job(job.id).await?.ok_or_else(none)?;
        return repeated(&api, job, request).await;
    }
    api.live().tell("jobs");
    let view = view(&api, engine.store.job(job.id).await?.ok_or_else(none)?).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// A job's request as it is kept.
fn kept(request: JobRequest) -> Value {
    serde_json::to_value(JobRequest { sagas: None, ..request }).unwrap_or_default()
}

/// The job that a request with the same key has made, if it is the same request.
async fn repeated(api: &Api, job: Job, request: JobRequest) -> Result<Response, Problem> {
    let mut same = job.request == kept(request.clone());
    if let (true, Some(sagas)) = (same, &request.sagas) {
        let set = api.engine().store.job_items(job.id, None, 0, i64::MAX).await?;
        same = set.iter().all(|item| sagas.contains(&item.saga));
    }
    if !same {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key-reused",
            "The key was used for another job",
        )
        .detail(format!("Job {} has this Idempotency-Key. Use another key for another job.", job.id)));
    }
    Ok(Json(view(api, job).await?).into_response())
}

fn none() -> Problem {
    Problem::not_found("There is no such job. `GET /ops/jobs` lists them.")
}

async fn view(api: &Api, job: Job) -> Result<JobView, Problem> {
    let store = &api.engine().store;
    let counts: HashMap<String, i64> = store.job_counts(job.id).await?.into_iter().collect();
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or(0);
    let reasons = store.job_reasons(job.id).await?;
    let text = |name: &str| job.request.get(name).and_then(|it| it.as_str()).map(str::to_owned);
    Ok(JobView {
        id: job.id,
        action: text("action"),
        filter: text("filter"),
        name: job.name,
        kind: job.kind,
        by: job.by,
        why: job.why,
        created_at: job.created_at,
        ended_at: job.ended_at,
        state: job.state,
        stopped_because: job.stopped_because,
        canary: job.canary,
        rate_per_s: job.rate_per_s,
        stop_after_same: job.stop_after_same,
        approved_by: job.approved_by,
        counts: JobCounts {
            total: i64::from(job.total),
            waiting: count("waiting"),
            acting: count("acting"),
            succeeded: count("succeeded"),
            failed_again: count("failed_again"),
            changed: count("changed"),
            refused: count("refused"),
            awaiting_approval: count("awaiting_approval"),
        },
        reasons: reasons
            .into_iter()
            .map(|(outcome, reason, sagas)| JobReason { outcome, reason, sagas })
            .collect(),
    })
}

/// Bulk jobs, newest first
#[utoipa::path(
    get, path = "/ops/jobs", operation_id = "list_jobs", tag = "operators",
    responses((status = 200, description = "The jobs", body = JobList))
)]
pub async fn list(State(api): State<Api>) -> Result<Json<JobList>, Problem> {
    let mut jobs = Vec::new();
    for job in api.engine().store.jobs().await? {
        jobs.push(view(&api, job).await?);
    }
    Ok(Json(JobList { jobs }))
}

/// One bulk job
#[utoipa::path(
    get, path = "/ops/jobs/{id}", operation_id = "get_job", tag = "operators",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(api): State<Api>,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<JobView>, Problem> {
    let Path(id) = path.map_err(|_| none())?;
    let job = api.engine().store.job(id).await?.ok_or_else(none)?;
    view(&api, job).await.map(Json)
}

/// What became of each saga of a job
#[utoipa::path(
    get, path = "/ops/jobs/{id}/items", operation_id = "list_job_items", tag = "operators",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("outcome" = Option<String>, Query, description = "Only with this outcome"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<i32>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = JobItems),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn items(
    State(api): State<Api>,
    path: Result<Path<Uuid>, PathRejection>,
    asked: Result<Query<ItemQuery>, QueryRejection>,
) -> Result<Json<JobItems>, Problem> {
    let Path(id) = path.map_err(|_| none())?;
    let asked = sagas::query(asked)?;
    let store = &api.engine().store;
    store.job(id).await?.ok_or_else(none)?;
    if asked.outcome.as_deref().is_some_and(|it| !OUTCOMES.contains(&it)) {
        return Err(Problem::bad_request(format!("`outcome` is one of {}.", OUTCOMES.join(", "))));
    }
    let limit = sagas::limit(asked.limit);
    let after = asked.after.unwrap_or(0);
    let mut rows = store.job_items(id, asked.outcome.as_deref(), after, i64::from(limit) + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|it| it.number);
    Ok(Json(JobItems { items: rows.into_iter().map(item).collect(), next }))
}

fn item(it: Item) -> JobItem {
    JobItem {
        number: it.number,
        saga: it.saga,
        key: it.key,
        outcome: it.outcome,
        words: it.words,
        new_saga: it.new_saga,
        at: it.at,
    }
}

async fn steer(
    api: &Api,
    caller: &Caller,
    from: From,
    path: Result<Path<Uuid>, PathRejection>,
    headers: &HeaderMap,
    sent: Body,
    to: &str,
) -> Result<Json<JobView>, Problem> {
    let Path(id) = path.map_err(|_| none())?;
    let request: SteerRequest = body::of(api, headers, sent).await?;
    if let Some(fault) = body::reason(&request.why) {
        return Err(Problem::invalid_input(vec![fault]));
    }
    let store = &api.engine().store;
    let (states, to): (&[&str], &str) = match to {
        "pause" => (&["canary", "running"], "paused"),
        "cancel" => (&["canary", "running", "paused", "stopped"], "cancelled"),
        _ => {
            let job = view(api, store.job(id).await?.ok_or_else(none)?).await?;
            let counts = job.counts;
            let tried = counts.succeeded + counts.failed_again + counts.refused;
            // What stopped after its canary goes on without another one.
            let canary = tried + counts.acting < i64::from(job.canary);
            (&["paused", "stopped"], if canary { "canary" } else { "running" })
        }
    };
    let what = match to {
        "paused" => "job.pause",
        "cancelled" => "job.cancel",
        _ => "job.resume",
    };
    let why = request.why.replace('\0', "\u{fffd}");
    let moved = store.steer_job(&actor(caller, from), id, states, to, what, &why).await?;
    let job = store.job(id).await?.ok_or_else(none)?;
    match moved {
        None => return Err(none()),
        Some(false) => {
            return Err(Problem::conflict(format!(
                "The job is {}; this is for jobs that are {}.",
                job.state,
                states.join(", ")
            )));
        }
        Some(true) => {}
    }
    api.live().tell("jobs");
    view(api, job).await.map(Json)
}

/// Pauses a job
///
/// What was begun is still looked at; nothing more is begun.
#[utoipa::path(
    post, path = "/ops/jobs/{id}/pause", operation_id = "pause_job", tag = "operators",
    params(("id" = Uuid, Path, description = "The job")), request_body = SteerRequest,
    responses(
        (status = 200, description = "Paused", body = JobView),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It does not run", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<JobView>, Problem> {
    steer(&api, &caller, from, path, &headers, sent, "pause").await
}

/// Lets a paused or stopped job go on
#[utoipa::path(
    post, path = "/ops/jobs/{id}/resume", operation_id = "resume_job", tag = "operators",
    params(("id" = Uuid, Path, description = "The job")), request_body = SteerRequest,
    responses(
        (status = 200, description = "It goes on", body = JobView),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not paused or stopped", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<JobView>, Problem> {
    steer(&api, &caller, from, path, &headers, sent, "resume").await
}

/// Approves a job
///
/// As a second person, where a definition asks for one: the job goes on with what waited for it. Whoever made the job
/// cannot approve it.
#[utoipa::path(
    post, path = "/ops/jobs/{id}/approve", operation_id = "approve_job", tag = "operators",
    params(("id" = Uuid, Path, description = "The job")), request_body = SteerRequest,
    responses(
        (status = 200, description = "Approved", body = JobView),
        (status = 403, description = "One cannot approve one's own job", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was approved before, has ended, or is too old", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn approve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<JobView>, Problem> {
    let Path(id) = path.map_err(|_| none())?;
    let request: SteerRequest = body::of(&api, &headers, sent).await?;
    if let Some(fault) = body::reason(&request.why) {
        return Err(Problem::invalid_input(vec![fault]));
    }
    let store = &api.engine().store;
    let why = request.why.replace('\0', "\u{fffd}");
    match store.approve_job(&actor(&caller, from), id, &why).await? {
        JobApproval::Now => {}
        JobApproval::Nothing => return Err(none()),
        JobApproval::Before(reason) => {
            return Err(Problem::conflict(format!(
                "It cannot be approved: {reason}. Make a new job if it is needed."
            )));
        }
        JobApproval::OwnOne => return Err(super::approvals::own_one("job")),
    }
    api.live().tell("jobs");
    view(&api, store.job(id).await?.ok_or_else(none)?).await.map(Json)
}

/// Ends a job; what it has begun is still looked at
#[utoipa::path(
    post, path = "/ops/jobs/{id}/cancel", operation_id = "cancel_job", tag = "operators",
    params(("id" = Uuid, Path, description = "The job")), request_body = SteerRequest,
    responses(
        (status = 200, description = "Cancelled", body = JobView),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<JobView>, Problem> {
    steer(&api, &caller, from, path, &headers, sent, "cancel").await
}
