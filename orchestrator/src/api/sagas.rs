//! Reading sagas: lists, one saga whole, its history, and what changed nothing.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use saga_protocol::SagaId;
use serde::Deserialize;

use super::problem::Problem;
use super::view::{HistoryEvent, HistoryPage, IgnoredPage, IgnoredView, SagaPage, SagaView};
use super::{Api, assemble, words};
use crate::auth::Caller;
use crate::store::read::{Filter, HistoryRow, STATUS_WORDS, Whole};

const PAGE_DEFAULT: u16 = 50;
const PAGE_MAX: u16 = 500;

/// Which sagas to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    status: Option<String>,
    definition: Option<String>,
    key: Option<String>,
    limit: Option<u16>,
    after: Option<SagaId>,
}

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

/// Lists sagas, newest first
#[utoipa::path(
    get, path = "/sagas", operation_id = "list_sagas", tag = "sagas",
    params(
        ("status" = Option<String>, Query, description = "`running`, `parked`, `completed`, `compensated` or `abandoned`"),
        ("definition" = Option<String>, Query, description = "The definition's name"),
        ("key" = Option<String>, Query, description = "The business key"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<uuid::Uuid>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SagaPage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<SagaPage>, Problem> {
    let asked = query(asked)?;
    let status = match asked.status.as_deref() {
        None => None,
        Some(word) => {
            let at = STATUS_WORDS.iter().position(|it| *it == word);
            let number = at.and_then(|at| i16::try_from(at).ok());
            Some(number.ok_or_else(|| {
                Problem::bad_request(format!("`status` is one of {}.", STATUS_WORDS.join(", ")))
            })?)
        }
    };
    let limit = limit(asked.limit);
    let principal = caller.only_own().then(|| caller.principal.clone());
    let filter =
        Filter { status, definition: asked.definition, key: asked.key, principal, after: asked.after };
    // One more than asked tells whether there is a next page.
    let mut rows = api.engine().store.list(&filter, limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.saga);
    Ok(Json(SagaPage { sagas: rows.into_iter().map(assemble::summary).collect(), next }))
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
    assemble::view(api.engine(), whole).await.map(Json)
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
    let mut rows = engine.store.history(id, asked.after.unwrap_or(0), limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.revision);
    let definition = published.as_ref().map(|it| &it.definition);
    let events = rows.into_iter().map(|row| history_event(definition, row)).collect();
    Ok(Json(HistoryPage { events, next }))
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
    let ignored = rows
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
    Ok(Json(IgnoredPage { ignored, next }))
}
