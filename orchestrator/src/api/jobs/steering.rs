//! Steering bulk jobs: pause, resume, cancel, and the second person's approval.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::none;
use super::views::{JobView, view};
use crate::api::account::actor;
use crate::api::problem::Problem;
use crate::api::{Api, From, approvals, body};
use crate::auth::Caller;
use crate::store::jobs::JobApproval;

/// Why a job is steered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// Why; it stands in the audit.
    pub why: String,
}

/// Which job, and why.
async fn asked(
    api: &Api,
    path: Result<Path<Uuid>, PathRejection>,
    headers: &HeaderMap,
    sent: Body,
) -> Result<(Uuid, String), Problem> {
    let Path(id) = path.map_err(|_| none())?;
    let request: SteerRequest = body::of(api, headers, sent).await?;
    match body::reason(&request.why) {
        Some(fault) => Err(Problem::invalid_input(vec![fault])),
        None => Ok((id, request.why.replace('\0', "\u{fffd}"))),
    }
}

/// Moves a job to another state, from one of these.
async fn steer(
    api: &Api,
    caller: &Caller,
    from: From,
    (id, why): (Uuid, String),
    states: &[&str],
    to: &str,
    what: &str,
) -> Result<Json<JobView>, Problem> {
    let store = &api.engine().store;
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
    view(api, caller, job).await.map(Json)
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
    let asked = asked(&api, path, &headers, sent).await?;
    steer(&api, &caller, from, asked, &["canary", "running"], "paused", "job.pause").await
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
    let asked = asked(&api, path, &headers, sent).await?;
    let store = &api.engine().store;
    let job = store.job(asked.0).await?.ok_or_else(none)?;
    let counts = store.job_counts(job.id).await?;
    let begun = ["succeeded", "failed_again", "refused", "acting"];
    let begun: i64 = counts.iter().filter(|it| begun.contains(&it.0.as_str())).map(|it| it.1).sum();
    // What stopped after its canary goes on without another one.
    let canary = begun - i64::from(job.canary_tried) < i64::from(job.canary);
    let to = if canary { "canary" } else { "running" };
    steer(&api, &caller, from, asked, &["paused", "stopped"], to, "job.resume").await
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
    let (id, why) = asked(&api, path, &headers, sent).await?;
    let store = &api.engine().store;
    match store.approve_job(&actor(&caller, from), id, &why, api.auth().people_sign_in()).await? {
        JobApproval::Now => {}
        JobApproval::Nothing => return Err(none()),
        JobApproval::Before(reason) => {
            return Err(Problem::conflict(format!(
                "It cannot be approved: {reason}. Make a new job if it is needed."
            )));
        }
        JobApproval::OwnOne => return Err(approvals::own_one("job")),
    }
    api.live().tell("jobs");
    view(&api, &caller, store.job(id).await?.ok_or_else(none)?).await.map(Json)
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
    let asked = asked(&api, path, &headers, sent).await?;
    let states = ["canary", "running", "paused", "stopped"];
    steer(&api, &caller, from, asked, &states, "cancelled", "job.cancel").await
}
