//! Four eyes: actions that wait for a second person.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::personal::MASK;
use super::problem::{FaultAt, Problem};
use super::{Api, From, body, masks, sagas};
use crate::auth::Caller;
use crate::deeds::{self, Came};
use crate::store::approvals::{Approval, Decided};

/// An action that waits, or waited, for a second person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// Its id.
    pub id: Uuid,
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// Its definition.
    pub definition: String,
    /// Its business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The amount at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The action, as it was asked for.
    pub action: Value,
    /// Who asked.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// Why.
    pub why: String,
    /// `open`, `approved`, `rejected` or `expired`.
    pub state: String,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<DateTime<Utc>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_why: Option<String>,
    /// What the saga made of an approved action: `applied`, `ignored: …` or `refused: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl std::convert::From<Approval> for ApprovalView {
    fn from(it: Approval) -> Self {
        Self {
            id: it.id,
            saga: it.saga,
            definition: it.definition,
            key: it.key,
            amount: it.amount,
            currency: it.currency,
            action: it.request,
            asked_by: it.asked_by,
            asked_at: it.asked_at,
            why: it.why,
            state: it.state,
            decided_by: it.decided_by,
            decided_at: it.decided_at,
            decision_why: it.decision_why,
            result: it.result,
        }
    }
}

/// Approvals, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalList {
    /// At most 500.
    pub approvals: Vec<ApprovalView>,
}

/// Which approvals.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalQuery {
    open: Option<bool>,
    saga: Option<SagaId>,
}

/// A decision.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// `approve` or `reject`.
    pub decision: String,
    /// Why; it stands in the audit.
    pub why: String,
}

/// Actions that wait for a second person
#[utoipa::path(
    get, path = "/ops/approvals", operation_id = "list_approvals", tag = "operators",
    params(
        ("open" = Option<bool>, Query, description = "Only open ones; true when absent"),
        ("saga" = Option<uuid::Uuid>, Query, description = "Only of this saga"),
    ),
    responses(
        (status = 200, description = "The approvals, newest first", body = ApprovalList),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<ApprovalQuery>, QueryRejection>,
) -> Result<Json<ApprovalList>, Problem> {
    let asked = sagas::query(asked)?;
    let found = api.engine().store.approvals(asked.open.unwrap_or(true), asked.saga).await?;
    let mut approvals: Vec<ApprovalView> = found.into_iter().map(Into::into).collect();
    if caller.masked() {
        // Which of it is personal depends on the step; who need not know sees none of it.
        approvals.iter_mut().for_each(mask);
    }
    masks::mask(api.engine(), &caller, &mut approvals).await?;
    Ok(Json(ApprovalList { approvals }))
}

/// Hides what an action was asked for with.
pub(super) fn mask(it: &mut ApprovalView) {
    for name in ["input", "output", "evidence", "why"] {
        if let Some(value) = it.action.get_mut(name).filter(|it| !it.is_null()) {
            *value = MASK.into();
        }
    }
}

/// Whoever asked for something cannot approve it.
pub(super) fn own_one(what: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "own-approval", "A second person must approve")
        .detail(format!(
            "You asked for this {what} yourself, or speak with a key that may belong to who did. Somebody else has to approve it."
        ))
}

/// Approves or rejects an action
///
/// An approved action goes to its saga at once; `result` says what the saga made of it. Whoever asked cannot approve.
#[utoipa::path(
    post, path = "/ops/approvals/{id}", operation_id = "decide_approval", tag = "operators",
    params(("id" = Uuid, Path, description = "The approval")),
    request_body = DecisionRequest,
    responses(
        (status = 200, description = "Decided", body = ApprovalView),
        (status = 403, description = "One cannot approve one's own action", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such approval", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was decided before, or is too old", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The decision has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn decide(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<ApprovalView>, Problem> {
    let none = || Problem::not_found("There is no such approval. `GET /ops/approvals` lists the open ones.");
    let Path(id) = path.map_err(|_| none())?;
    let request: DecisionRequest = body::of(&api, &headers, sent).await?;
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    let approve = match request.decision.as_str() {
        "approve" => true,
        "reject" => false,
        _ => {
            faults.push(FaultAt::at("/decision", "is `approve` or `reject`"));
            false
        }
    };
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    let engine = api.engine();
    let why = request.why.replace('\0', "\u{fffd}");
    let people_sign_in = api.auth().people_sign_in();
    match engine.store.decide_approval(&actor(&caller, from), id, approve, &why, people_sign_in).await? {
        Decided::Nothing => return Err(none()),
        Decided::Before(state) => {
            return Err(Problem::conflict(format!(
                "It is {state} already. Ask for the action anew if it is still needed."
            )));
        }
        Decided::Reused => {
            return Err(Problem::conflict(
                "Its Idempotency-Key has named another action of the saga meanwhile. Nothing was decided; ask for \
                 the action anew."
                    .to_owned(),
            ));
        }
        Decided::OwnOne => {
            return Err(own_one("action"));
        }
        Decided::Now(shard) => {
            let saga = engine.store.approval(id).await?.ok_or_else(none)?.saga;
            if approve {
                engine.nudge(saga, shard, id).await;
                if deeds::result(engine, id).await? == Came::Accepted {
                    tracing::debug!(saga.id = %saga, "an approved action was not taken in yet");
                }
            }
        }
    }
    api.live().tell("approvals");
    Ok(Json(engine.store.approval(id).await?.ok_or_else(none)?.into()))
}
