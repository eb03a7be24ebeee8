//! Replays of one saga: the plan, and the start.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::account::actor;
use super::personal::{MASK, Personal};
use super::problem::{FaultAt, Problem};
use super::view::Links;
use super::{Api, From, body, headers, sagas};
use crate::auth::Caller;
use crate::replay::{self, Inputs, NoPlan, Plan};
use crate::start::StartError;
use crate::store::audit::Deed;

/// What a replay would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayPlan {
    /// The saga to be repeated.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// Its definition.
    pub definition: String,
    /// The version that the replay would take.
    pub version: String,
    /// The versions that it could take, newest first.
    pub versions: Vec<ReplayVersion>,
    /// Whether it can be repeated.
    pub allowed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The saga that repeats it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub replayed_by: Option<SagaId>,
    /// What becomes of each step.
    pub steps: Vec<ReplayStep>,
    /// Inputs that must be fresh, as JSON pointers.
    pub fresh: Vec<FreshInput>,
    /// The old saga's input.
    pub input: Value,
    /// What to know before.
    pub warnings: Vec<String>,
    /// It needs a second person: only a bulk job does it, which somebody else approves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
}

/// A version that a replay can take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayVersion {
    /// The version, a hash.
    pub version: String,
    /// Whether new sagas take it.
    pub active: bool,
}

/// A step in a replay's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayStep {
    /// The step.
    pub step: String,
    /// `runs_again`, `already_undone` (runs again, and was undone before), `new` or `gone`.
    pub plan: String,
    /// Where it stood in the old saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

/// An input that must be fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FreshInput {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What the schema says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A replay to be started.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Why; it stands in the audit.
    pub why: String,
    /// A whole new input; the old one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Fresh values, by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fresh: BTreeMap<String, Value>,
    /// Another version of the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the plan warns of: that was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
}

/// A replay that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// The new saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// The one that it repeats.
    #[schema(value_type = Uuid)]
    pub replay_of: SagaId,
    /// The same request came before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Where more about the new one is.
    pub links: Links,
}

/// Which version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    version: Option<String>,
}

impl std::convert::From<NoPlan> for Problem {
    fn from(error: NoPlan) -> Self {
        match error {
            NoPlan::NoSaga => Self::no_saga(),
            NoPlan::NoVersion => {
                Self::not_found("The definition has no such version. `GET /definitions/{name}` lists them.")
            }
            NoPlan::Unreadable(reason) => Self::conflict(format!("The saga cannot be repeated: {reason}.")),
            NoPlan::Store(error) => error.into(),
        }
    }
}

/// What a schema says of the place that a pointer names in the input.
fn described(schema: &Value, pointer: &str) -> Option<String> {
    let mut at = schema;
    for name in pointer.split('/').skip(1) {
        at = at.get("properties")?.get(name.replace("~1", "/").replace("~0", "~"))?;
    }
    at.get("description")?.as_str().map(str::to_owned)
}

/// What a replay would do
#[utoipa::path(
    get, path = "/sagas/{id}/replay", operation_id = "plan_replay", tag = "operators",
    params(
        ("id" = uuid::Uuid, Path, description = "The saga"),
        ("version" = Option<String>, Query, description = "Another version of the definition"),
    ),
    responses(
        (status = 200, description = "The plan", body = ReplayPlan),
        (status = 404, description = "No such saga or version", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The saga cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn plan(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<SagaId>, PathRejection>,
    asked: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<Json<ReplayPlan>, Problem> {
    let (id, asked) = (sagas::id(path)?, sagas::query(asked)?);
    let plan = replay::plan(api.engine(), id, asked.version.as_deref()).await?;
    let approval = plan.needs_second(false);
    let Plan { published, mut input, mut fresh, steps, refused, replayed_by, warnings, .. } = plan;
    // Nothing new is asked for where there was nothing.
    fresh.retain(|pointer| input.pointer(pointer).is_some());
    if caller.masked() {
        let by = Value::from(MASK);
        // What either version calls personal: the input is the old one's.
        let old = sagas::personal(&api, id).await?;
        for personal in [old, Personal::of(&published.definition.input_schema, &input)] {
            personal.hide_in_input(&mut input, &by);
            personal.hide(&mut input, &by);
        }
    }
    let steps = steps
        .into_iter()
        .map(|it| ReplayStep { step: it.step, plan: it.plan.to_owned(), was: it.was })
        .collect();
    let versions = api.engine().store.versions(&published.definition.name).await?;
    let versions =
        versions.into_iter().map(|it| ReplayVersion { version: it.version, active: it.active }).collect();
    Ok(Json(ReplayPlan {
        saga: id,
        definition: published.definition.name.clone(),
        version: published.definition.version.0.clone(),
        allowed: refused.is_none(),
        refused,
        replayed_by,
        steps,
        fresh: fresh
            .into_iter()
            .map(|pointer| FreshInput {
                description: described(&published.definition.input_schema, &pointer),
                pointer,
            })
            .collect(),
        versions,
        input,
        warnings,
        approval,
    }))
}

/// Repeats a saga that ended without completing
///
/// As a new saga, linked to the old one, which keeps its history. It takes over the business key.
#[utoipa::path(
    post, path = "/sagas/{id}/replay", operation_id = "replay_saga", tag = "operators",
    params(
        ("id" = uuid::Uuid, Path, description = "The saga"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless"),
    ),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "The same request came before: its saga", body = Replayed),
        (status = 201, description = "Started", body = Replayed),
        (status = 404, description = "No such saga or version", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It cannot be repeated", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "An input is not fresh, or does not fit", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Starts are held, or the service is busy", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn start(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<SagaId>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let id = sagas::id(path)?;
    headers::idempotency_key(&headers)?;
    let request: ReplayRequest = body::of(&api, &headers, sent).await?;
    if let Some(fault) = body::reason(&request.why) {
        return Err(Problem::invalid_input(vec![fault]));
    }
    let engine = api.engine();
    let plan = replay::plan(engine, id, request.version.as_deref()).await?;
    // Where there is a replay, the request may be a repetition: the same one gets what it got.
    if let (Some(reason), None) = (&plan.refused, plan.replayed_by) {
        return Err(Problem::conflict(format!("Saga {id} cannot be replayed: {reason}.")));
    }
    let already = |by: SagaId| {
        Problem::conflict(format!("Saga {by} replays it already. Replay that one, if it did not complete."))
    };
    if let Some(by) = plan.replayed_by
        && plan.started(engine, id).await? != Some(by)
    {
        return Err(already(by));
    }
    if !plan.warnings.is_empty() && !request.acknowledged {
        let warned = plan.warnings.join("; ");
        return Err(Problem::conflict(format!("Acknowledge first: {warned}.")));
    }
    if plan.needs_second(request.input.is_some()) {
        return Err(Problem::conflict(format!(
            "A second person must approve this replay: make a bulk job of this one saga (`POST /ops/jobs` with \
             `\"kind\": \"replay\", \"sagas\": [\"{id}\"]`), and let somebody else approve the job."
        )));
    }
    let inputs = Inputs { input: request.input, merge: None, fresh: request.fresh.into_iter().collect() };
    let input = plan.input_with(&inputs).map_err(|faults| {
        Problem::invalid_input(faults.iter().map(|(pointer, detail)| FaultAt::at(pointer, detail)).collect())
    })?;
    let (actor, why) = (actor(&caller, from), request.why.replace('\0', "\u{fffd}"));
    // The start is a transaction of its own: who dies after it has at least said that they would.
    engine
        .store
        .keep_deed(&actor, Deed { why: Some(&why), ..Deed::new("saga.replay.ask", id.to_string()) })
        .await?;
    let started = plan.start(engine, id, input).await.map_err(|error| match error {
        StartError::KeyReused { saga } if plan.replayed_by == Some(saga) => already(saga),
        StartError::KeyReused { saga } => {
            Problem::conflict(format!("Saga {saga} has the business key now. Replay that one instead."))
        }
        StartError::KeyOfAnother => Problem::conflict("Somebody else's saga has the business key now."),
        other => other.into(),
    })?;
    plan.tell(engine, &actor, id, started.saga, &why, Value::Null).await?;
    let status = if started.fresh { StatusCode::CREATED } else { StatusCode::OK };
    let answer = Replayed {
        saga: started.saga,
        replay_of: id,
        repeated: !started.fresh,
        links: Links::of(started.saga),
    };
    Ok((status, Json(answer)).into_response())
}
