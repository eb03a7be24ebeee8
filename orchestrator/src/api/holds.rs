//! Holds: set, shown, released.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_core::Definition;
use saga_core::definition::Work;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::keys::WhyQuery;
use super::problem::{FaultAt, Problem};
use super::{Api, From, body, sagas};
use crate::auth::Caller;
use crate::holds::{Held, Hold};
use crate::store::StoreError;

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldView {
    /// Its id.
    pub id: Uuid,
    /// `starts`, `definition` or `action`.
    pub kind: String,
    /// The definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The action; every one of the worker when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who set it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Until when, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<DateTime<Utc>>,
    /// By whom; `time` when by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// Sagas that wait for its end.
    pub held_back: i64,
}

/// Holds, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldList {
    /// The holds.
    pub holds: Vec<HoldView>,
}

/// A hold to be set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// `starts`, `definition` or `action`.
    pub kind: String,
    /// The definition, for `definition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The worker, for `action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The action; every one of the worker when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Why; it stands in the audit.
    pub why: String,
    /// Until when; until it is released when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Which holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldQuery {
    active: Option<bool>,
}

pub(super) fn view(hold: Hold, counts: &[(String, Option<String>, Option<String>, i64)]) -> HoldView {
    let over = hold.released_at.is_some();
    let (kind, definition, worker, action) = match hold.what {
        Held::Starts => ("starts", None, None, None),
        Held::Definition(name) => ("definition", Some(name), None, None),
        Held::Action { worker, action } => ("action", None, Some(worker), action),
    };
    let counted = |it: &&(String, Option<String>, Option<String>, i64)| match kind {
        "definition" => Some(&it.0) == definition.as_ref(),
        "action" => it.1 == worker && (action.is_none() || it.2 == action),
        _ => false,
    };
    let held_back = if over { 0 } else { counts.iter().filter(counted).map(|it| it.3).sum() };
    HoldView {
        id: hold.id,
        kind: kind.to_owned(),
        definition,
        worker,
        action,
        by: hold.by,
        why: hold.why,
        at: hold.at,
        until: hold.until,
        released_at: hold.released_at,
        released_by: hold.released_by,
        held_back,
    }
}

/// Holds, newest first
#[utoipa::path(
    get, path = "/ops/holds", operation_id = "list_holds", tag = "operators",
    params(("active" = Option<bool>, Query, description = "Only those in force; true when absent")),
    responses(
        (status = 200, description = "The holds", body = HoldList),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    asked: Result<Query<HoldQuery>, QueryRejection>,
) -> Result<Json<HoldList>, Problem> {
    let active = sagas::query(asked)?.active.unwrap_or(true);
    all(&api, active).await.map(Json)
}

/// The holds as the API shows them.
///
/// # Errors
/// When the database fails.
pub async fn all(api: &Api, active: bool) -> Result<HoldList, Problem> {
    let store = &api.engine().store;
    let counts = store.held_counts().await?;
    Ok(HoldList { holds: store.holds(active).await?.into_iter().map(|it| view(it, &counts)).collect() })
}

/// Sets a hold
///
/// Within two seconds no start of it is taken and no execute of it is sent, on any node. Compensations flow.
#[utoipa::path(
    post, path = "/ops/holds", operation_id = "set_hold", tag = "operators",
    request_body = HoldRequest,
    responses(
        (status = 201, description = "Set", body = HoldView),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let request: HoldRequest = body::of(&api, &headers, sent).await?;
    let engine = api.engine();
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    if request.until.is_some_and(|at| at <= Utc::now()) {
        faults.push(FaultAt::at("/until", "is past"));
    }
    let what = match (request.kind.as_str(), request.definition, request.worker) {
        ("starts", ..) => Some(Held::Starts),
        ("definition", Some(name), _) => {
            if engine.definitions.active(&name).is_none() {
                faults.push(FaultAt::at("/definition", "is no definition; `GET /definitions` lists them"));
            }
            Some(Held::Definition(name))
        }
        ("definition", None, _) => {
            faults.push(FaultAt::at("/definition", "is needed"));
            None
        }
        ("action", _, Some(worker)) => {
            if !used(engine, &worker, request.action.as_deref()).await? {
                faults.push(FaultAt::at("/worker", "no definition uses this worker with this action"));
            }
            Some(Held::Action { worker, action: request.action })
        }
        ("action", _, None) => {
            faults.push(FaultAt::at("/worker", "is needed"));
            None
        }
        _ => {
            faults.push(FaultAt::at("/kind", "is `starts`, `definition` or `action`"));
            None
        }
    };
    let Some(what) = what.filter(|_| faults.is_empty()) else { return Err(Problem::invalid_input(faults)) };
    let why = request.why.replace('\0', "\u{fffd}");
    let set = engine.store.set_hold(&actor(&caller, from), &what, &why, request.until).await?;
    engine.holds.refresh(&engine.store).await?;
    tracing::warn!(hold.id = %set.id, ?what, by = caller.principal, "a hold is in force");
    api.live().tell("holds");
    Ok((StatusCode::CREATED, Json(view(set, &[]))).into_response())
}

/// Whether some version has a step with this action: sagas may run on one that nobody starts any more.
async fn used(engine: &crate::Engine, worker: &str, action: Option<&str>) -> Result<bool, StoreError> {
    let uses = |definition: &Definition| {
        definition.steps.iter().any(|step| match &step.work {
            Work::Action { worker: its, action: its_action } => {
                its == worker && action.is_none_or(|action| action == its_action)
            }
            _ => false,
        })
    };
    if engine.definitions.all_in_use().iter().any(|it| uses(&it.definition)) {
        return Ok(true);
    }
    for id in engine.store.version_ids().await? {
        if engine.definitions.get(&engine.store, id).await?.is_some_and(|it| uses(&it.definition)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Releases a hold
///
/// What it kept back goes on within some seconds.
#[utoipa::path(
    delete, path = "/ops/holds/{id}", operation_id = "release_hold", tag = "operators",
    params(("id" = Uuid, Path, description = "The hold"), ("why" = Option<String>, Query, description = "The reason")),
    responses(
        (status = 200, description = "Released", body = HoldView),
        (status = 404, description = "No such hold in force", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn release(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    asked: Result<Query<WhyQuery>, QueryRejection>,
) -> Result<Json<HoldView>, Problem> {
    let none = || Problem::not_found("There is no hold with this id in force. `GET /ops/holds` lists them.");
    let Path(id) = path.map_err(|_| none())?;
    let why = sagas::query(asked)?.why.map(|why| why.replace('\0', "\u{fffd}"));
    let engine = api.engine();
    let released = engine.store.release_hold(&actor(&caller, from), id, why.as_deref()).await?;
    let released = released.ok_or_else(none)?;
    engine.holds.refresh(&engine.store).await?;
    api.live().tell("holds");
    Ok(Json(view(released, &[])))
}
