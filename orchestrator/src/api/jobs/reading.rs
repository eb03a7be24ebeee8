//! Reading bulk jobs, and what became of each saga.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use uuid::Uuid;

use super::none;
use super::views::{JobItems, JobList, JobView, item, view};
use crate::api::problem::Problem;
use crate::api::{Api, sagas};
use crate::auth::Caller;
use crate::store::jobs::Among;

const OUTCOMES: [&str; 7] =
    ["waiting", "acting", "succeeded", "failed_again", "changed", "refused", "awaiting_approval"];

/// Which items.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemQuery {
    outcome: Option<String>,
    reason: Option<String>,
    limit: Option<u16>,
    after: Option<i32>,
}

/// Bulk jobs, newest first
#[utoipa::path(
    get, path = "/ops/jobs", operation_id = "list_jobs", tag = "operators",
    responses((status = 200, description = "The jobs", body = JobList))
)]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<JobList>, Problem> {
    let mut jobs = Vec::new();
    for job in api.engine().store.jobs().await? {
        jobs.push(view(&api, &caller, job).await?);
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
    Extension(caller): Extension<Caller>,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<JobView>, Problem> {
    let Path(id) = path.map_err(|_| none())?;
    let job = api.engine().store.job(id).await?.ok_or_else(none)?;
    view(&api, &caller, job).await.map(Json)
}

/// What became of each saga of a job
#[utoipa::path(
    get, path = "/ops/jobs/{id}/items", operation_id = "list_job_items", tag = "operators",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("outcome" = Option<String>, Query, description = "Only with this outcome"),
        ("reason" = Option<String>, Query, description = "Only for this reason, in the words of the job's `reasons`"),
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
    if asked.reason.as_deref().is_some_and(|it| it.contains('\0')) {
        return Err(Problem::bad_request("`reason` has a NUL character."));
    }
    let limit = sagas::limit(asked.limit);
    let after = asked.after.unwrap_or(0);
    let among = Among { outcome: asked.outcome.as_deref(), reason: asked.reason.as_deref() };
    let mut rows = store.job_items(id, among, after, i64::from(limit) + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|it| it.number);
    Ok(Json(JobItems { items: rows.into_iter().map(item).collect(), next }))
}
