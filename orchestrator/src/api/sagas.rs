//! Reading sagas: lists, one saga whole, its history, and what changed nothing.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use saga_core::{Run, What};
use saga_protocol::SagaId;
use serde::Deserialize;
use serde_json::Value;

use super::personal::{MASK, Personal};
use super::problem::Problem;
use super::view::{HistoryEvent, HistoryPage, IgnoredPage, IgnoredView, LetterLine, SagaView};
use super::{Api, care, words};
use crate::auth::Caller;
use crate::store::care::LetterRow;
use crate::store::read::{HistoryRow, Whole};

const PAGE_DEFAULT: u16 = 50;
const PAGE_MAX: u16 = 500;
/// Events of one saga in which is looked for what it was given later on.
const HISTORY_MAX: u16 = 10_000;
/// Dead letters on a page of history; the rest are in `GET /ops/dead-letters?saga=`.
const LETTERS_MAX: i64 = 100;

/// Which page of a log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery<T> {
    after: Option<T>,
    limit: Option<u16>,
}

/// The id in a path.
///
/// # Errors
/// 404: what is not spelled like an id cannot be one.
pub fn id(path: Result<Path<SagaId>, PathRejection>) -> Result<SagaId, Problem> {
    path.map(|Path(id)| id).map_err(|_| Problem::no_saga())
}

/// A query that was understood.
///
/// # Errors
/// 400, with what is wrong.
pub fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(it)| it).map_err(|rejection| Problem::bad_request(rejection.body_text()))
}

/// The size of a page that was asked for, within its bounds.
pub fn limit(asked: Option<u16>) -> u16 {
    asked.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX)
}

/// A saga, if the caller may see it: somebody else's does not exist for a customer.
///
/// # Errors
/// 404 when there is none, or none for this caller.
pub async fn whole(api: &Api, caller: &Caller, id: SagaId) -> Result<Whole, Problem> {
    let whole = api.engine().store.whole(id).await?.ok_or_else(Problem::no_saga)?;
    let own = whole.summary.principal.as_deref() == Some(caller.principal.as_str());
    if caller.only_own() && !own { Err(Problem::no_saga()) } else { Ok(whole) }
}

/// One saga, whole
///
/// Its state in words, every step with rounds, attempts and timings, what happens next, input and output.
#[utoipa::path(
    get, path = "/sagas/{id}", operation_id = "get_saga", tag = "sagas",
    params(("id" = uuid::Uuid, Path, description = "The saga")),
    responses(
        (status = 200, description = "The saga", body = SagaView),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<SagaId>, PathRejection>,
) -> Result<Json<SagaView>, Problem> {
    let whole = whole(&api, &caller, id(path)?).await?;
    let mut view = care::beside(&api, whole).await?;
    if caller.masked() {
        mask(&api, &mut view).await?;
    }
    if caller.only_own() {
        // What operators write and decide is theirs.
        view.notes.clear();
        view.approvals.clear();
        view.runbook = None;
        view.team = None;
        strip(&mut view.summary);
    }
    Ok(Json(view))
}

/// Takes what operators write about a saga out of its summary.
pub(super) fn strip(summary: &mut super::view::SagaSummary) {
    summary.owner = None;
    summary.note = None;
    summary.failure = None;
}

/// Hides personal data in a saga's page.
async fn mask(api: &Api, view: &mut SagaView) -> Result<(), Problem> {
    let personal = personal(api, view.summary.saga).await?;
    let by = Value::from(MASK);
    personal.hide_in_input(&mut view.input, &by);
    for step in &mut view.steps {
        let waits = step.action.starts_with(words::WAIT_FOR_SIGNAL);
        for track in [&mut step.execute, &mut step.compensate].into_iter().flatten() {
            // What a signal or an operator brought is hidden whole, as in the history.
            let brought = waits || track.state == words::run(Run::Skipped);
            if let Some(output) = &mut track.output {
                if brought { output.clone_from(&by) } else { personal.hide(output, &by) }
            }
        }
    }
    for it in &mut view.anomalies {
        let brought = it.kind.starts_with("signal_");
        if let Some(output) = &mut it.output {
            if brought { output.clone_from(&by) } else { personal.hide(output, &by) }
        }
    }
    if let Some(output) = &mut view.output {
        personal.hide(output, &by);
    }
    // A message may quote anything.
    let tracks = view.steps.iter_mut().flat_map(|step| [&mut step.execute, &mut step.compensate]).flatten();
    let errors = tracks.filter_map(|track| track.error.as_mut()).chain(view.summary.error.as_mut());
    let messages = errors.map(|error| &mut error.message);
    for message in messages.chain(view.parked.as_mut().map(|parked| &mut parked.message)) {
        personal.hide_in_words(message);
    }
    for text in view.notes.iter_mut().map(|note| &mut note.text).chain(view.summary.note.as_mut()) {
        personal.hide_in_words(text);
    }
    for approval in &mut view.approvals {
        super::approvals::mask(approval);
        for words in std::iter::once(&mut approval.why).chain(approval.decision_why.as_mut()) {
            personal.hide_in_words(words);
        }
    }
    view.masked = true;
    Ok(())
}

fn hide_messages(personal: &Personal, what: &mut super::view::Happening) {
    let message = what.error.as_mut().map(|error| &mut error.message);
    for text in message.into_iter().chain(what.detail.as_mut()).chain(what.why.as_mut()) {
        personal.hide_in_words(text);
    }
}

/// The personal data that a saga was given: as its definition marks its input, and all that people and other systems
/// brought later, of which nobody has said what is personal.
pub(super) async fn personal(api: &Api, saga: SagaId) -> Result<Personal, Problem> {
    let engine = api.engine();
    let Some(whole) = engine.store.whole(saga).await? else { return Ok(Personal::default()) };
    let published = engine.definitions.get(&engine.store, whole.summary.definition_id).await?;
    let published = published.ok_or_else(Problem::unavailable)?;
    let mut history = engine.store.history(saga, 0, HISTORY_MAX).await?.into_iter();
    let input = history.next().and_then(|row| row.payload).unwrap_or_default();
    let mut personal = Personal::of(&published.definition.input_schema, &input);
    for row in history {
        let given = row.event.is_ok_and(|it| matches!(it.what, What::Signal(_) | What::Operator(_)));
        if let (true, Some(payload)) = (given, row.payload) {
            personal.also(&payload, &input);
        }
    }
    Ok(personal)
}

/// A saga's history, oldest first
#[utoipa::path(
    get, path = "/sagas/{id}/history", operation_id = "get_history", tag = "sagas",
    params(
        ("id" = uuid::Uuid, Path, description = "The saga"),
        ("after" = Option<u32>, Query, description = "The revision after which the page begins"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
    ),
    responses(
        (status = 200, description = "A page", body = HistoryPage),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn history(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<SagaId>, PathRejection>,
    asked: Result<Query<PageQuery<u32>>, QueryRejection>,
) -> Result<Json<HistoryPage>, Problem> {
    let (id, asked) = (id(path)?, query(asked)?);
    let limit = limit(asked.limit);
    let engine = api.engine();
    let whole = whole(&api, &caller, id).await?;
    let published = engine.definitions.get(&engine.store, whole.summary.definition_id).await?;
    let after = asked.after.unwrap_or(0);
    let mut rows = engine.store.history(id, after, limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    // The first page has what came before its first transition, the last what came after its last.
    let at = |row: &HistoryRow| Some(words::instant(row.event.as_ref().ok()?.at));
    let from = rows.first().filter(|_| after > 0).and_then(at);
    let until = rows.get(usize::from(limit)).and_then(at);
    let ended = rows.is_empty() && after > 0;
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.revision);
    // They say things of the inside, which are not for customers.
    let dead_letters = if caller.only_own() || ended {
        Vec::new()
    } else {
        let rows = engine.store.letters_between(id, from, until, LETTERS_MAX).await?;
        rows.into_iter().map(letter_line).collect()
    };
    let definition = published.as_ref().map(|it| &it.definition);
    let mut events: Vec<HistoryEvent> = rows.into_iter().map(|row| history_event(definition, row)).collect();
    if caller.only_own() {
        // What operators say and bring is theirs.
        for what in events.iter_mut().map(|it| &mut it.what).filter(|it| it.kind == "operator") {
            (what.who, what.why, what.detail, what.payload) = (None, None, None, None);
        }
    }
    if caller.masked() {
        let personal = personal(&api, id).await?;
        let by = Value::from(MASK);
        for event in &mut events {
            hide_messages(&personal, &mut event.what);
            let Some(payload) = event.what.payload.as_mut() else { continue };
            match event.what.kind.as_str() {
                // What people and other systems send may hold what the input did not.
                "signal" | "operator" => payload.clone_from(&by),
                _ => {
                    if event.revision == 1 {
                        personal.hide_in_input(payload, &by);
                    }
                    personal.hide(payload, &by);
                }
            }
        }
    }
    Ok(Json(HistoryPage { events, dead_letters, next }))
}

fn letter_line(it: LetterRow) -> LetterLine {
    LetterLine { id: it.id, at: it.at, source: it.source, reason: it.reason, state: it.state }
}

fn history_event(definition: Option<&saga_core::Definition>, row: HistoryRow) -> HistoryEvent {
    let what = match &row.event {
        Ok(event) => words::happening(definition, event, row.payload),
        Err(reason) => super::view::Happening {
            kind: "unreadable".to_owned(),
            detail: Some(reason.clone()),
            payload: row.payload,
            ..super::view::Happening::default()
        },
    };
    HistoryEvent { revision: row.revision, what }
}

/// What arrived for a saga and changed nothing, oldest first
#[utoipa::path(
    get, path = "/sagas/{id}/ignored", operation_id = "get_ignored", tag = "sagas",
    params(
        ("id" = uuid::Uuid, Path, description = "The saga"),
        ("after" = Option<i64>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
    ),
    responses(
        (status = 200, description = "A page", body = IgnoredPage),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn ignored(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<SagaId>, PathRejection>,
    asked: Result<Query<PageQuery<i64>>, QueryRejection>,
) -> Result<Json<IgnoredPage>, Problem> {
    let (id, asked) = (id(path)?, query(asked)?);
    let limit = limit(asked.limit);
    let engine = api.engine();
    let whole = whole(&api, &caller, id).await?;
    let published = engine.definitions.get(&engine.store, whole.summary.definition_id).await?;
    let mut rows = engine.store.ignored(id, asked.after.unwrap_or(0), limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.id);
    let definition = published.as_ref().map(|it| &it.definition);
    let mut ignored: Vec<IgnoredView> = rows
        .into_iter()
        .map(|row| {
            let what = match serde_json::from_value::<saga_core::Event>(row.event) {
                Ok(event) => words::happening(definition, &event, None),
                Err(error) => super::view::Happening {
                    at: words::instant(saga_core::Millis(row.at_ms)),
                    kind: "unreadable".to_owned(),
                    detail: Some(error.to_string()),
                    ..super::view::Happening::default()
                },
            };
            IgnoredView { id: row.id, reason: row.reason, what }
        })
        .collect();
    if caller.masked() {
        let personal = personal(&api, id).await?;
        ignored.iter_mut().for_each(|it| hide_messages(&personal, &mut it.what));
    }
    Ok(Json(IgnoredPage { ignored, next }))
}
