//! Starting sagas: the definitions' triggers, and `POST /sagas/{definition}`.
//!
//! The hot path. Nothing is written before the whole request was understood; a body is parsed once.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use saga_core::definition::Work;
use saga_protocol::SagaId;

use super::account::actor;
use super::problem::Problem;
use super::view::{Links, Started};
use super::{Api, From, assemble, body, headers, triggers};
use crate::auth::Caller;
use crate::hints::Waiter;
use crate::start::StartRequest;
use crate::store::audit::Deed;
use crate::store::definitions::Published;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Starts a saga of a definition
///
/// The body is the saga's input. A 202 means that the saga is durable. The triggers of the definitions answer
/// the same way on their own paths.
#[utoipa::path(
    post, path = "/sagas/{id}", operation_id = "start_saga", tag = "sagas",
    params(
        ("id" = String, Path, description = "The definition's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key and body yields the same saga; 1 to 255 printable ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`wait=N` waits up to N seconds (60 at most) for the saga's end"),
    ),
    request_body(content = serde_json::Value, description = "The input, by the definition's schema"),
    responses(
        (status = 200, description = "The saga of an earlier, equal request; or its outcome, when it was waited for", body = Started),
        (status = 202, description = "The saga is started, durably", body = Started, headers(("Location" = String, description = "The saga"))),
        (status = 400, description = "The body is not JSON, or a header cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Nobody has signed in", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller's roles do not suffice", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such definition", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The key belongs to somebody else", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body has faults, all of them listed; or the key was used with another body", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Busy or not available; nothing is lost by repeating with the same key", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn by_name(
    State(api): State<Api>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some(definition) = api.engine().definitions.active(&name) else {
        let known: Vec<String> =
            api.engine().definitions.all_active().iter().map(|it| it.definition.name.clone()).collect();
        return Err(Problem::not_found(format!(
            "There is no definition `{}`. {}",
            name.chars().take(80).collect::<String>(),
            if known.is_empty() {
                "None is published.".to_owned()
            } else {
                format!("Known: {}.", known.join(", "))
            }
        )));
    };
    // An operator's deed. Whoever asks by the trigger is the one whom it is for, and stands with the saga.
    start(&api, definition, &caller, &headers, body, Some(from)).await
}

/// Every path that is not the API's own: a trigger, or nothing.
pub async fn by_trigger(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    match triggers::find(&api.engine().definitions, method.as_str(), uri.path()) {
        triggers::Found::Definition(definition) => {
            let Some(Extension(caller)) = caller else { return Err(Problem::unauthorized("Send a token.")) };
            let needed = triggers::needed(&definition.definition);
            if !caller.roles.meets(needed) {
                return Err(Problem::forbidden(needed));
            }
            start(&api, definition, &caller, &headers, body, None).await
        }
        triggers::Found::OtherMethods(methods) => Err(other_method(methods)),
        triggers::Found::Nothing(known) => {
            let hint = if known.is_empty() {
                "No definition is published, so there are no triggers.".to_owned()
            } else {
                format!("The triggers are {}.", known.join(", "))
            };
            Err(Problem::not_found(format!(
                "There is nothing at this path. {hint} `/openapi.json` lists all paths."
            )))
        }
    }
}

/// 405, with what is allowed.
pub fn other_method(methods: String) -> Problem {
    let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The path has another method")
        .detail(format!("Use {methods}."));
    problem.allow = Some(methods);
    problem
}

async fn start(
    api: &Api,
    definition: Arc<Published>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    audited: Option<From>,
) -> Result<Response, Problem> {
    let idempotency_key = headers::idempotency_key(headers)?;
    let wait = headers::wait(headers);
    let input = body::json(headers, body, api.config().body_bytes_max);
    let input =
        tokio::time::timeout(api.config().body_wait, input).await.map_err(|_| Problem::slow_body())??;
    // Only now: a client that takes its time must not hold a place.
    let Ok(permit) = api.starts().try_acquire() else { return Err(Problem::busy(1)) };
    let body_hash = body::hash(&definition.definition.name, &input);
    let definition = api.engine().definitions.for_start(definition, &body_hash, idempotency_key.as_deref());
    if !definition.validator.is_valid(&input) {
        return Err(Problem::invalid_input(body::faults(&definition.validator, &input)));
    }
    let request = StartRequest {
        definition: Arc::clone(&definition),
        input: Arc::new(input),
        body_hash,
        principal: caller.principal.clone(),
        idempotency_key,
        replay_of: None,
    };
    let engine = api.engine();
    let wait = wait.filter(|it| !it.is_zero());
    // A waiter costs memory, not work; beyond the bound a start is answered at once.
    let waiting = wait.and_then(|wait| Some((wait, api.waits().try_acquire().ok()?)));
    let (started, waiter) = match &waiting {
        Some(_) => engine.starter.start_and_watch(request, &engine.waiters).await?,
        None => (engine.starter.start(request).await?, None),
    };
    drop(permit);
    if let Some(from) = audited {
        let name = &definition.definition.name;
        let after = serde_json::json!({ "definition": name });
        let deed = Deed { after: Some(after), ..Deed::new("saga.start", started.saga.to_string()) };
        let actor = actor(caller, from);
        match started.fresh {
            true => engine.store.keep_deed(&actor, deed).await?,
            // Whoever started it may have died before this.
            false => engine.store.keep_deed_once(&actor, deed, name).await?,
        }
    }

    let mut answer = Started {
        saga: started.saga,
        definition: definition.definition.name.clone(),
        status: "running".to_owned(),
        repeated: !started.fresh,
        output: None,
        error: None,
        warnings: warnings(api, &definition),
        links: Links::of(started.saga),
    };
    match &waiting {
        Some((wait, _permit)) => outcome(api, &mut answer, waiter, *wait).await?,
        None if !started.fresh => status(api, started.saga).await?.clone_into(&mut answer.status),
        None => {}
    }
    respond(&answer, waiting.map(|(wait, _)| wait))
}

/// Waits for the saga to end or to park, and says what came of it.
async fn outcome(
    api: &Api,
    answer: &mut Started,
    waiter: Option<Waiter>,
    wait: Duration,
) -> Result<(), Problem> {
    let new = waiter.is_some();
    let waiter = waiter.unwrap_or_else(|| api.engine().waiters.register(answer.saga));
    // A saga of before may have ended before it was registered for.
    if new || status(api, answer.saga).await? == "running" {
        let ended = tokio::select! {
            ended = waiter.wait(wait) => ended,
            () = api.closing().cancelled() => None,
        };
        if let Some(ended) = ended {
            ended.state.status.word().clone_into(&mut answer.status);
            answer.output =
                assemble::output(&ended.definition.definition, answer.saga, &ended.state, &ended.payloads);
            answer.error = assemble::why_not(api.engine(), answer.saga, &ended).await?;
            return Ok(());
        }
        if status(api, answer.saga).await? == "running" {
            return Ok(());
        }
    }
    let view = assemble::saga(api.engine(), answer.saga).await?;
    answer.status = view.summary.status;
    answer.output = view.output;
    answer.error = view.summary.error;
    Ok(())
}

async fn status(api: &Api, saga: SagaId) -> Result<&'static str, Problem> {
    Ok(api.engine().store.status_of(saga).await?.unwrap_or("running"))
}

fn respond(answer: &Started, applied: Option<Duration>) -> Result<Response, Problem> {
    let known = answer.repeated || answer.status != "running";
    let status = if known { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, axum::Json(answer)).into_response();
    let location = HeaderValue::from_str(&answer.links.itself);
    response.headers_mut().extend(location.ok().map(|it| (header::LOCATION, it)));
    if let Some(wait) = applied {
        let value = HeaderValue::from_str(&format!("wait={}", wait.as_secs()));
        response.headers_mut().extend(value.ok().map(|it| (PREFERENCE_APPLIED, it)));
    }
    Ok(response)
}

/// What may keep the saga from ending: steps whose worker is not there, said now and not after the charge.
fn warnings(api: &Api, published: &Published) -> Vec<String> {
    published
        .definition
        .steps
        .iter()
        .filter_map(|step| match &step.work {
            Work::Action { worker, action } if !api.engine().workers.announced(worker, action) => {
                Some(format!(
                    "no live worker announces `{worker}.{action}`; step `{}` waits until one does",
                    step.name
                ))
            }
            _ => None,
        })
        .collect()
}
