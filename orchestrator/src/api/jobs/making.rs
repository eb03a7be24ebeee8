//! Making bulk jobs: the preview of a set, and the job that freezes it.

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::Utc;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::none;
use super::views::{ByStep, Excluded, JobPreview, JobView, view};
use crate::api::account::actor;
use crate::api::find::{FilterQuery, reached};
use crate::api::problem::{FaultAt, Problem};
use crate::api::queues::AtRiskView;
use crate::api::{Api, From, body, find, headers, masks};
use crate::auth::Caller;
use crate::jobs::select::{Meant, Selected, select};
use crate::jobs::{Doing, JobRequest, SET_MAX};
use crate::store::find::Filter;
use crate::store::jobs::Job;

const SAGAS_MAX: usize = 10_000;
const SAMPLE: usize = 10;
const CANARY: u32 = 10;
const RATE_PER_S: u32 = 50;
const RATE_PER_S_MAX: u32 = 5_000;
const STOP_AFTER_SAME: u32 = 5;
/// Why a filter cannot be acted on.
pub(in crate::api) const BOUNDED: &str = "`text` or `owner` finds more sagas than can be looked at: narrow it, by status, step, error code or time";

struct Asked {
    request: JobRequest,
    doing: Doing,
    meant: Meant,
}

/// Reads and checks a job's request.
async fn read(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    sent: Body,
    preview: bool,
) -> Result<Asked, Problem> {
    let request: JobRequest = body::of(api, headers, sent).await?;
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    let doing = request.doing();
    if doing.is_none() {
        faults.push(FaultAt::at(
            "/kind",
            "is `replay`, or `action` with the action `retry`, `compensate`, `resume_compensation` or `abandon`",
        ));
    }
    if doing == Some(Doing::Abandon) && !request.acknowledged && !preview {
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
    let selected = select(engine, &asked.request, asked.doing, &asked.meant, &reached).await?;
    if selected.bounded {
        return Err(Problem::invalid_input(vec![FaultAt::at("/filter", BOUNDED)]));
    }
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
    let asked = read(&api, &caller, &headers, sent, true).await?;
    let selected = chosen(&api, &asked).await?;
    let engine = api.engine();
    let mut sample = Vec::new();
    for frozen in selected.set.iter().take(SAMPLE) {
        let filter = Filter { text: Some(frozen.saga.to_string()), ..Filter::default() };
        sample.extend(engine.store.find(&filter, &reached(engine), 1).await?.into_iter().map(find::summary));
    }
    masks::mask(engine, &caller, &mut sample).await?;
    let pairs = |all: HashMap<String, i64>| {
        let mut all: Vec<(String, i64)> = all.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    };
    let excluded =
        pairs(selected.excluded.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect());
    let by_step = |all: BTreeMap<String, i64>| -> Vec<ByStep> {
        pairs(all.into_iter().collect()).into_iter().map(|(step, sagas)| ByStep { step, sagas }).collect()
    };
    Ok(Json(JobPreview {
        sagas: i64::try_from(selected.set.len()).unwrap_or(i64::MAX),
        excluded: excluded.into_iter().map(|(reason, sagas)| Excluded { reason, sagas }).collect(),
        amount: selected.amount.into_iter().map(Into::into).collect(),
        sample,
        by_step: by_step(selected.by_step),
        uncompensated: by_step(selected.uncompensated),
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
    let asked = read(&api, &caller, &headers, sent, false).await?;
    let id = match headers::idempotency_key(&headers)? {
        Some(key) => {
            let id = crate::jobs::id_of(&caller.principal, &key);
            if let Some(job) = api.engine().store.job(id).await? {
                return repeated(&api, &caller, job, &asked.request).await;
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
    let amount: Vec<AtRiskView> = selected.amount.into_iter().map(Into::into).collect();
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
        asked: hash(&request),
        amount: serde_json::to_string(&amount).ok(),
        stalled: None,
        canary_tried: 0,
        canary_failed: 0,
        summary: None,
        // The set is kept by itself.
        request: serde_json::to_value(JobRequest { sagas: None, ..request.clone() }).unwrap_or_default(),
    };
    let engine = api.engine();
    if !engine.store.make_job(&actor(&caller, from), &job, &selected.set).await? {
        // Made a moment ago, by a request with the same key.
        let job = engine.store.job(job.id).await?.ok_or_else(none)?;
        return repeated(&api, &caller, job, &request).await;
    }
    api.live().tell("jobs");
    let view = view(&api, &caller, engine.store.job(job.id).await?.ok_or_else(none)?).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// What tells a repetition from another request under the same key: all of it, also which sagas.
fn hash(request: &JobRequest) -> Vec<u8> {
    Sha256::digest(serde_json::to_vec(request).unwrap_or_default()).to_vec()
}

/// The job that a request with the same key has made, if it is the same request.
async fn repeated(api: &Api, caller: &Caller, job: Job, request: &JobRequest) -> Result<Response, Problem> {
    if job.asked != hash(request) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key-reused",
            "The key was used for another job",
        )
        .detail(format!("Job {} has this Idempotency-Key. Use another key for another job.", job.id)));
    }
    Ok(Json(view(api, caller, job).await?).into_response())
}
