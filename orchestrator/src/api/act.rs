//! What comes to a running saga from outside: signals and operators' actions.
//!
//! Both are committed to the mailbox before they are acknowledged; the owner takes them in. Nothing here
//! changes a saga.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use saga_core::definition::Work;
use saga_core::event::{Operator, Signal};
use saga_core::{CellRef, Definition, Event, OperatorAction, What};
use saga_protocol::{Direction, SagaId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::problem::{FaultAt, Problem};
use super::view::{Acted, Links, Signalled};
use super::{Api, From, body, headers, sagas, words};
use crate::auth::role::Roles;
use crate::auth::{Caller, Kind};
use crate::clock;
use crate::deeds::{self, Came, Second, Wanted};
use crate::settle::{self, Outcome};
use crate::store::audit::{Actor, Deed};
use crate::store::mail::{Asked, Delivery};

/// The longest name of a signal.
const SIGNAL_NAME_MAX: usize = 64;
/// The longest `who`, `why` and `evidence`, in characters.
const WORDS_MAX: usize = 1_000;
/// The longest time that what follows from an action is waited for, in s.
const WAIT_MAX_S: u32 = 60;

/// What is said beside a signal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalQuery {
    /// Why; operators must say it.
    why: Option<String>,
}

/// Signals a saga
///
/// Waits up to 5 seconds for what the saga's owner makes of it; a worker, which only tells, is answered at once. The
/// body, if there is one, is the signal's payload. A 202 means that the signal is kept; one signal
/// satisfies one wait, and waits itself for a day when it is early.
#[utoipa::path(
    post, path = "/sagas/{id}/signals/{name}", operation_id = "signal_saga", tag = "sagas",
    params(
        ("id" = uuid::Uuid, Path, description = "The saga"),
        ("name" = String, Path, description = "The signal's name"),
        ("why" = Option<String>, Query, description = "Why; it stands in the audit. Operators must say it, workers need not"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless"),
    ),
    request_body(content = Option<serde_json::Value>, description = "The payload"),
    responses(
        (status = 200, description = "Taken in: the saga has it, or nothing of it waits for it", body = Signalled),
        (status = 202, description = "Kept; not taken in yet", body = Signalled),
        (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another signal", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn signal(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<(SagaId, String)>, PathRejection>,
    asked: Result<Query<SignalQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path((saga, name)) = path.map_err(|_| Problem::no_saga())?;
    let SignalQuery { why } = sagas::query(asked)?;
    let acts = caller.roles.meets(Roles::ACT);
    let needed = acts && caller.kind != Kind::Dev;
    if let Some(fault) = why.as_deref().or(needed.then_some("")).and_then(body::reason) {
        return Err(Problem::bad_request(format!("`why` {}.", fault.detail)));
    }
    let why = why.map(|it| it.replace('\0', "\u{fffd}"));
    let mut bytes = name.bytes();
    let spelled = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && name.len() <= SIGNAL_NAME_MAX;
    if !spelled {
        return Err(Problem::bad_request(
            "A signal's name has letters, digits and `_-.`, begins with a letter, and is at most 64 long.",
        ));
    }
    let id = mail_id("signal", saga, &headers)?;
    let payload = match headers.contains_key(axum::http::header::CONTENT_TYPE) {
        true => Some(body::json(&headers, body, api.config().body_bytes_max).await?),
        false if body::read(body, api.config().body_bytes_max).await?.is_empty() => None,
        false => return Err(body::unsupported("application/json")),
    };
    let signal = Signal { name: name.clone(), payload: None, ttl_ms: saga_core::event::SIGNAL_TTL_MS };
    let event = Event::new(clock::now(), rand::random(), What::Signal(signal));
    let what = format!("saga.signal.{name}");
    let deed = Deed { mail: Some(id), why: why.as_deref(), ..Deed::new(&what, saga.to_string()) };
    let asked = Asked { id, saga, event: &event, payload: payload.as_ref() };
    let delivery = deliver(&api, asked, &actor(&caller, from), deed).await?;
    let came = if acts { deeds::result(api.engine(), id).await? } else { Came::Accepted };
    let (status, result, reason) = match came {
        Came::Applied => (StatusCode::OK, "applied", None),
        // A signal is not refused but by a saga that can take nothing any more.
        Came::Ignored(reason) | Came::Refused(reason) => (StatusCode::OK, "ignored", Some(reason)),
        _ => (StatusCode::ACCEPTED, "accepted", None),
    };
    let repeated = delivery == Delivery::Duplicate;
    let answer = Signalled { id, result: result.to_owned(), reason, repeated, links: Links::of(saga) };
    Ok((status, Json(answer)).into_response())
}

/// What an operator wants of a saga.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// `retry`, `retry_edited`, `skip`, `compensate`, `resume_compensation`, `mark_compensated` or `abandon`.
    pub action: Action,
    /// Who acts. Read only where nobody needs to sign in, in dev mode; else it is the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why; it stands in the history.
    pub why: String,
    /// The revision that was looked at; refused when the saga has moved on.
    pub revision: u32,
    /// The step, where the action is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` (also when absent) or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub direction: Option<Direction>,
    /// The new input of `retry_edited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The output of `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What proves that the compensation was done by hand, for `mark_compensated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// "It may still take effect", or "this stays uncompensated", was shown and acknowledged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
    /// Waits so many seconds, 60 at most, until the saga has ended, needs a human again, or is past the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
}

/// An operator's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Try again now, from where it stopped; every stopped step when none is named.
    Retry,
    /// Try again with another input.
    RetryEdited,
    /// Take the step as done, with the given output.
    Skip,
    /// Turn around: undo what was done.
    Compensate,
    /// Go on undoing after a failed compensation.
    ResumeCompensation,
    /// The compensation was done by hand.
    MarkCompensated,
    /// End it here.
    Abandon,
}

impl ActionRequest {
    /// The action as the state machine knows it, with its payload.
    fn resolve(self, definition: &Definition, caller: &Caller) -> Result<(Operator, Option<Value>), Problem> {
        let mut faults = Vec::new();
        for (pointer, text) in
            [("/who", self.who.as_ref()), ("/why", Some(&self.why)), ("/evidence", self.evidence.as_ref())]
        {
            match text {
                Some(text) if text.trim().is_empty() => {
                    faults.push(FaultAt::at(pointer, "must not be empty"))
                }
                Some(text) if text.chars().count() > WORDS_MAX => {
                    faults.push(FaultAt::at(pointer, "has more than 1,000 characters"))
                }
                _ => {}
            }
        }
        let direction = self.direction.unwrap_or(match self.action {
            Action::MarkCompensated => Direction::Compensate,
            _ => Direction::Execute,
        });
        let cell = self.step.as_deref().and_then(|name| {
            let step = definition.find(name);
            if step.is_none() {
                let known: Vec<&str> = definition.steps.iter().map(|step| step.name.as_str()).collect();
                faults.push(FaultAt::at(
                    "/step",
                    &format!("is no step of `{}`: {}", definition.name, known.join(", ")),
                ));
            }
            step.map(|step| CellRef { step, item: self.item, direction })
        });
        let needs_step = matches!(self.action, Action::RetryEdited | Action::Skip | Action::MarkCompensated);
        if needs_step && self.step.is_none() {
            faults.push(FaultAt::at("/step", "is needed for this action"));
        }
        if self.action == Action::RetryEdited && self.input.is_none() {
            faults.push(FaultAt::at("/input", "is needed for `retry_edited`"));
        }
        if self.action == Action::MarkCompensated && self.evidence.is_none() {
            faults.push(FaultAt::at("/evidence", "is needed for `mark_compensated`: say what proves it"));
        }
        if !faults.is_empty() {
            return Err(Problem::invalid_input(faults));
        }
        let acknowledged = self.acknowledged;
        let needed = || cell.ok_or_else(|| Problem::bad_request("The action needs a step."));
        let (action, payload) = match self.action {
            Action::Retry => (OperatorAction::Retry { cell }, None),
            Action::RetryEdited => (OperatorAction::RetryEdited { cell: needed()?, input: None }, self.input),
            Action::Skip => {
                (OperatorAction::Skip { cell: needed()?, output: None, acknowledged }, self.output)
            }
            Action::Compensate => (OperatorAction::Compensate, None),
            Action::ResumeCompensation => (OperatorAction::ResumeCompensation, None),
            Action::MarkCompensated => {
                let evidence = self.evidence.unwrap_or_default();
                (OperatorAction::MarkCompensated { cell: needed()?, evidence, acknowledged }, None)
            }
            Action::Abandon => (OperatorAction::Abandon { acknowledged }, None),
        };
        let who = match caller.kind {
            Kind::Dev => self.who.unwrap_or_else(|| caller.principal.clone()),
            Kind::Token | Kind::Key => caller.principal.clone(),
        };
        Ok((Operator { who, why: self.why, revision: self.revision, action }, payload))
    }
}

/// Whether the step's worker says that it takes this input; who does not say so takes any.
fn fits(api: &Api, definition: &Definition, cell: CellRef, input: &Value) -> Result<(), Problem> {
    let Some(Work::Action { worker, action }) = definition.step(cell.step).map(|step| &step.work) else {
        return Ok(());
    };
    // What undoes an action takes what its definition says; only actions announce what they take.
    let schema = match cell.direction {
        Direction::Execute => api.engine().workers.input_schema(worker, action),
        Direction::Compensate => None,
    };
    let Some(validator) = schema.and_then(|it| jsonschema::validator_for(&it).ok()) else { return Ok(()) };
    let faults: Vec<FaultAt> = body::faults(&validator, input)
        .into_iter()
        .map(|fault| FaultAt { pointer: fault.pointer.map(|at| format!("/input{at}")), ..fault })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid_input(faults)) }
}

/// Acts on a saga
///
/// Waits up to 5 seconds for what the saga's owner makes of it, and with `wait_s` for what follows from it. The
/// answer says what happened.
#[utoipa::path(
    post, path = "/sagas/{id}/actions", operation_id = "act_on_saga", tag = "operators",
    params(
        ("id" = uuid::Uuid, Path, description = "The saga"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless"),
    ),
    request_body = ActionRequest,
    responses(
        (status = 200, description = "Taken in: applied, or nothing was to be done", body = Acted),
        (status = 202, description = "Kept; not taken in yet, or waiting for a second person", body = Acted),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Refused, with the reason; the saga is unchanged", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The action has faults; or the key was used for another action", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn act(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<SagaId>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let saga = sagas::id(path)?;
    let request: ActionRequest = body::of(&api, &headers, body).await?;
    let wait = request.wait_s.map(|s| Duration::from_secs(u64::from(s.min(WAIT_MAX_S))));
    let engine = api.engine();
    let whole = engine.store.whole(saga).await?.ok_or_else(Problem::no_saga)?;
    let published = engine.definitions.get(&engine.store, whole.summary.definition_id).await?;
    let published = published.ok_or_else(Problem::unavailable)?;
    let asked = serde_json::to_value(&request).unwrap_or_default();
    let (operator, payload) = request.resolve(&published.definition, &caller)?;
    if let (OperatorAction::RetryEdited { cell, .. }, Some(input)) = (&operator.action, &payload) {
        fits(&api, &published.definition, *cell, input)?;
    }
    let id = mail_id("action", saga, &headers)?;
    let (_, cell) = words::action(&operator.action);
    let wanted = Wanted { saga, id, operator, payload, request: asked, second: Second::Asked };
    let came = deeds::act(engine, wanted, &actor(&caller, from)).await?;
    if came == Came::AwaitingApproval {
        api.live().tell("approvals");
    }
    let wait = wait.filter(|_| came == Came::Applied);
    let stands = settle::wait(engine, saga, cell, wait.unwrap_or_default(), api.closing()).await?;
    answer(saga, id, came, stands)
}

/// What came of an action, with where the saga stands now.
pub(super) fn answer(
    saga: SagaId,
    id: Uuid,
    came: Came,
    stands: Option<(Outcome, String)>,
) -> Result<Response, Problem> {
    let (stands, happened) = stands.ok_or_else(Problem::no_saga)?;
    let (word, reason) = match came {
        Came::Applied => ("applied", None),
        Came::Ignored(reason) => ("ignored", Some(reason)),
        Came::Accepted => ("accepted", None),
        Came::AwaitingApproval => ("awaiting_approval", None),
        Came::NoSaga => return Err(Problem::no_saga()),
        Came::Reused => return Err(Problem::mail_key_reused()),
        Came::Refused(reason) => return Err(refused(&reason, stands.revision)),
    };
    let kept = matches!(word, "accepted" | "awaiting_approval");
    let answer = Acted {
        id,
        result: word.to_owned(),
        reason,
        status: stands.status.clone(),
        revision: stands.revision,
        happened,
        approval: (word == "awaiting_approval").then_some(id),
        links: Links::of(saga),
    };
    let status = if kept { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

fn refused(reason: &str, revision: u32) -> Problem {
    let mut problem = Problem::new(StatusCode::CONFLICT, "refused", "The action was refused")
        .detail(format!("{reason}. The saga is unchanged; look at it again before you decide."));
    problem.revision = Some(revision);
    problem
}

/// Commits a piece of mail with its deed, and tells the saga's owner.
async fn deliver(api: &Api, asked: Asked<'_>, actor: &Actor, deed: Deed<'_>) -> Result<Delivery, Problem> {
    let (id, saga) = (asked.id, asked.saga);
    let (delivery, shard) = api.engine().store.ask(asked, actor, deed).await?;
    match delivery {
        Delivery::NoSaga => return Err(Problem::no_saga()),
        Delivery::Reused => return Err(Problem::mail_key_reused()),
        Delivery::Accepted | Delivery::Duplicate => {}
    }
    api.engine().nudge(saga, shard, id).await;
    Ok(delivery)
}

/// The id in the mailbox: from the `Idempotency-Key`, so that a repetition is one; else a new one.
/// `kind` keeps the keys of signals and of actions apart.
fn mail_id(kind: &str, saga: SagaId, headers: &HeaderMap) -> Result<Uuid, Problem> {
    let Some(key) = headers::idempotency_key(headers)? else { return Ok(Uuid::now_v7()) };
    let hash = Sha256::digest(format!("{kind}/{saga}/{key}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Ok(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_repeated_key_is_the_same_mail_and_only_for_its_saga_and_kind() {
        let key = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), "retry-1".parse().unwrap())]);
        let (one, two) = (SagaId(Uuid::now_v7()), SagaId(Uuid::now_v7()));
        assert_eq!(mail_id("action", one, &key).unwrap(), mail_id("action", one, &key).unwrap());
        assert_ne!(mail_id("action", one, &key).unwrap(), mail_id("action", two, &key).unwrap());
        assert_ne!(mail_id("action", one, &key).unwrap(), mail_id("signal", one, &key).unwrap());
        assert_ne!(
            mail_id("action", one, &HeaderMap::new()).unwrap(),
            mail_id("action", one, &HeaderMap::new()).unwrap()
        );
    }
}
