//! How long ended sagas stay, and erasing what is personal.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use chrono::{DateTime, NaiveDate, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::account::actor;
use super::personal::Personal;
use super::problem::{FaultAt, Problem};
use super::{Api, From, body, sagas};
use crate::auth::Caller;
use crate::store::retention::{DAYS_MAX, DAYS_MIN};

/// What stands in the place of what was erased.
pub(crate) const ERASED: &str = "[erased]";

/// How long sagas stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionView {
    /// The rules; without one for `*` no history is dropped.
    pub retention: Vec<RuleView>,
    /// The weeks of history, oldest first.
    pub weeks: Vec<WeekView>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// The definition; `*` for every other one.
    pub definition: String,
    /// For how many days its ended sagas stay.
    pub days: i32,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A week of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WeekView {
    /// Its Monday.
    pub week: NaiveDate,
    /// How large it is.
    pub bytes: i64,
    /// When it may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droppable_at: Option<DateTime<Utc>>,
}

/// A rule to be set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionRequest {
    /// 14 to 36,500 days.
    pub days: i32,
    /// Why; it stands in the audit.
    pub why: String,
}

/// Sagas of one family that are erased together.
const FAMILY_MAX: usize = 1_000;

/// Why something is erased.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// Why; it stands in the audit.
    pub why: String,
}

/// What was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erased {
    /// The saga.
    #[schema(value_type = uuid::Uuid)]
    pub saga: SagaId,
    /// How many places of its input, and of its family's, were personal; of a saga whose retention is over, how many rows were left of it.
    pub places: usize,
}

async fn view(api: &Api) -> Result<RetentionView, Problem> {
    let store = &api.engine().store;
    let rules = store.retention().await?;
    let weeks = store.history_weeks().await?;
    Ok(RetentionView {
        retention: rules
            .into_iter()
            .map(|it| RuleView { definition: it.definition, days: it.days, by: it.by, at: it.at })
            .collect(),
        weeks: weeks
            .into_iter()
            .map(|it| WeekView { week: it.monday, bytes: it.bytes, droppable_at: it.droppable_at })
            .collect(),
    })
}

/// How long ended sagas stay
#[utoipa::path(
    get, path = "/ops/retention", operation_id = "get_retention", tag = "operators",
    responses((status = 200, description = "The rules, and the weeks of history", body = RetentionView))
)]
pub async fn get(State(api): State<Api>) -> Result<Json<RetentionView>, Problem> {
    view(&api).await.map(Json)
}

/// Says how long ended sagas of a definition stay; `*` is for every other one
#[utoipa::path(
    put, path = "/ops/retention/{definition}", operation_id = "set_retention", tag = "operators",
    params(("definition" = String, Path, description = "The definition, or `*`")),
    request_body = RetentionRequest,
    responses(
        (status = 200, description = "Set", body = RetentionView),
        (status = 404, description = "No such definition", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The rule has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<RetentionView>, Problem> {
    let none = || {
        Problem::not_found(
            "There is no such definition. `GET /definitions` lists them; `*` is every other one.",
        )
    };
    let Path(name) = path.map_err(|_| none())?;
    let request: RetentionRequest = body::of(&api, &headers, sent).await?;
    if name != "*" && api.engine().definitions.active(&name).is_none() {
        return Err(none());
    }
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    if !(DAYS_MIN..=DAYS_MAX).contains(&request.days) {
        faults.push(FaultAt::at(
            "/days",
            &format!("is {DAYS_MIN} to {DAYS_MAX}: workers remember for that long"),
        ));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    let why = request.why.replace('\0', "\u{fffd}");
    api.engine().store.set_retention(&actor(&caller, from), &name, request.days, &why).await?;
    view(&api).await.map(Json)
}

/// Erases personal data of an ended saga
///
/// What its definition marks `personal: true`, wherever the engine keeps it: also in the sagas that it started, that
/// started it, and that repeat it. Workers keep books of their own.
#[utoipa::path(
    post, path = "/sagas/{id}/erase", operation_id = "erase_saga", tag = "operators",
    params(("id" = uuid::Uuid, Path, description = "The saga")),
    request_body = EraseRequest,
    responses(
        (status = 200, description = "Erased", body = Erased),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It, or one of its family, has not ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn erase(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<SagaId>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Erased>, Problem> {
    let id = sagas::id(path)?;
    let request: EraseRequest = body::of(&api, &headers, sent).await?;
    if let Some(fault) = body::reason(&request.why) {
        return Err(Problem::invalid_input(vec![fault]));
    }
    let engine = api.engine();
    let why = request.why.replace('\0', "\u{fffd}");
    let family = engine.store.family(id, FAMILY_MAX).await?;
    if family.len() >= FAMILY_MAX {
        return Err(Problem::conflict(format!("The saga's family has {FAMILY_MAX} sagas or more.")));
    }
    let running = |member: SagaId| {
        Problem::conflict(format!(
            "Saga {member} has not ended: its steps still need this data. Erase it afterwards."
        ))
    };
    // Of those whose retention is over there is nothing to look up: what is left of them is deleted.
    let (mut all, there) = (BTreeMap::new(), family.iter().any(|(_, ended)| ended.is_some()));
    for &(member, ended) in &family {
        if ended == Some(false) {
            return Err(running(member));
        }
        all.insert(member, sagas::personal(&api, member).await?);
    }
    let told = all.values().fold(Personal::default(), |told, personal| told.with(personal));
    let places: usize = all.values().map(Personal::places).sum();
    all.values_mut().for_each(|personal| *personal = std::mem::take(personal).with(&told));
    let by = Value::from(ERASED);
    let hide = |member: SagaId, is_input: bool, value: &mut Value| {
        let Some(personal) = all.get(&member) else { return };
        if is_input {
            personal.hide_in_input(value, &by);
        }
        personal.hide(value, &by);
    };
    let family: Vec<SagaId> = family.into_iter().map(|(member, _)| member).collect();
    let gone = engine.store.erase(&actor(&caller, from), &family, &why, hide).await?.map_err(running)?;
    if engine.store.family(id, FAMILY_MAX).await?.iter().any(|(member, _)| !family.contains(member)) {
        return Err(Problem::conflict(
            "Another saga that repeats it has started meanwhile. Erase it again.".to_owned(),
        ));
    }
    if !there && gone == 0 {
        return Err(Problem::no_saga());
    }
    Ok(Json(Erased { saga: id, places: places + usize::try_from(gone).unwrap_or(usize::MAX) }))
}
