//! What would have come of past sagas with another definition.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find::{FilterQuery, reached};
use super::jobs::making::BOUNDED;
use super::personal::Personal;
use super::problem::{FaultAt, Problem};
use super::{Api, body};
use crate::auth::Caller;
use crate::store::definitions::{PublishError, Published};
use crate::what_if::Past;

const SAGAS: i64 = 100;
const SAGAS_MAX: i64 = 1_000;
const HISTORY_MAX: u16 = 2_000;

/// A question.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIfRequest {
    /// Which sagas: the query of `GET /sagas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Or these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Uuid>>)]
    pub sagas: Option<Vec<SagaId>>,
    /// The candidate, as YAML; it need not be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Or the name of a published one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version; the active one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// At most so many sagas; 100 when absent, 1,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// What would have come of the sagas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIf {
    /// How many were looked at: those that have not completed.
    pub sagas: i64,
    /// How they would have ended.
    pub would: WouldCounts,
    /// Each of them.
    pub items: Vec<WhatIfItem>,
}

/// How sagas would have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the ends")]
pub struct WouldCounts {
    pub completed: i64,
    pub parked: i64,
    pub compensated: i64,
    pub unknown: i64,
}

/// One saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfItem {
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// What it is.
    pub was: String,
    /// What it would have become: `completed`, `parked`, `compensated` or `unknown`.
    pub would: String,
    /// Why.
    pub because: String,
    /// Steps that history says nothing of, taken as succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
}

/// What if past sagas had run by another definition
///
/// Their recorded answers are played against it in a simulation. Nothing is changed, and no worker is asked. Personal
/// data is masked before for who may not see it: a condition on it then goes as it does for the mask.
#[utoipa::path(
    post, path = "/ops/what-if", operation_id = "what_if", tag = "operators",
    request_body = WhatIfRequest,
    responses(
        (status = 200, description = "What would have come of them", body = WhatIf),
        (status = 400, description = "The filter cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such definition or version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request or the candidate has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn what_if(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<WhatIf>, Problem> {
    let request: WhatIfRequest = body::of(&api, &headers, sent).await?;
    let engine = api.engine();
    let store = &engine.store;
    let candidate = candidate(&api, &request).await?;
    let name = candidate.definition.name.clone();
    let limit = request.limit.unwrap_or(SAGAS).clamp(1, SAGAS_MAX);
    let ids = match (&request.filter, &request.sagas) {
        (Some(filter), None) => {
            let mut filter = FilterQuery::parse(filter)?.filter(&caller)?;
            filter.definition.get_or_insert_with(|| name.clone());
            let found = store.find_ids(&filter, &reached(engine), limit).await?;
            found.ok_or_else(|| Problem::invalid_input(vec![FaultAt::at("/filter", BOUNDED)]))?
        }
        (None, Some(these)) if !these.is_empty() => {
            these.iter().copied().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
        }
        _ => return Err(Problem::invalid_input(vec![FaultAt::at("", "needs either `filter` or `sagas`")])),
    };
    let mut answer = WhatIf { sagas: 0, would: WouldCounts::default(), items: Vec::new() };
    for id in ids {
        let Some(whole) = store.whole(id).await? else { continue };
        if whole.summary.status == "completed" || whole.summary.definition != name {
            continue;
        }
        let Some(old) = engine.definitions.get(store, whole.summary.definition_id).await? else { continue };
        let Ok(state) = &whole.state else { continue };
        let rows = store.history(id, 0, HISTORY_MAX).await?;
        let Some(mut past) = Past::of(id, &old.definition, state, rows) else { continue };
        let personal = Personal::of(&old.definition.input_schema, &past.input);
        if caller.masked() {
            past.hide(&personal);
        }
        // Of what is hidden, nobody is told whether it fits.
        let hidden = |fault: &FaultAt| {
            caller.masked() && fault.pointer.as_deref().is_some_and(|it| personal.covers(it))
        };
        let item = match body::faults(&candidate.validator, &past.input).iter().find(|fault| !hidden(fault)) {
            Some(fault) => WhatIfItem {
                saga: id,
                was: whole.summary.status.to_owned(),
                would: "unknown".to_owned(),
                because: format!(
                    "its input does not fit: {} {}",
                    fault.pointer.as_deref().unwrap_or(""),
                    fault.detail
                ),
                assumed: Vec::new(),
            },
            None => {
                let would = past.with(&candidate.definition);
                WhatIfItem {
                    saga: id,
                    was: whole.summary.status.to_owned(),
                    would: would.end.to_owned(),
                    because: would.because,
                    assumed: would.assumed,
                }
            }
        };
        *match item.would.as_str() {
            "completed" => &mut answer.would.completed,
            "parked" => &mut answer.would.parked,
            "compensated" => &mut answer.would.compensated,
            _ => &mut answer.would.unknown,
        } += 1;
        answer.sagas += 1;
        answer.items.push(item);
        // Simulations are work without a pause: others want this thread too.
        tokio::task::yield_now().await;
    }
    Ok(Json(answer))
}

async fn candidate(api: &Api, request: &WhatIfRequest) -> Result<Arc<Published>, Problem> {
    let engine = api.engine();
    match (&request.definition, &request.name) {
        (Some(text), None) => {
            let definition = saga_core::definition::load(text).map_err(PublishError::Mistakes)?;
            let validator = saga_core::definition::validator(&definition)
                .map_err(|error| PublishError::Unsupported(error.to_string()))?;
            Ok(Arc::new(Published { id: 0, definition, validator }))
        }
        (None, Some(name)) => {
            let none = || {
                Problem::not_found("There is no such definition or version. `GET /definitions` lists them.")
            };
            let Some(version) = &request.version else {
                return engine.definitions.active(name).ok_or_else(none);
            };
            let id = engine.store.version_id(name, version).await?.ok_or_else(none)?;
            engine.definitions.get(&engine.store, id).await?.ok_or_else(none)
        }
        _ => Err(Problem::invalid_input(vec![FaultAt::at("", "needs either `definition` (YAML) or `name`")])),
    }
}
