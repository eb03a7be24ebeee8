//! What people add to sagas: notes, who looks after one; and the filters that they save.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::account::actor;
use super::find::{FilterQuery, reached, stand_in};
use super::problem::{FaultAt, Problem};
use super::view::{NoteView, SagaView};
use super::{Api, From, assemble, body, sagas};
use crate::auth::Caller;
use crate::store::care::Note;
use crate::store::find::Filter;
use crate::store::read::Whole;

/// The longest note, in characters.
const NOTE_MAX: usize = 4_000;
/// The longest name of an owner or a filter, in characters.
const NAME_MAX: usize = 100;
/// The longest saved query, in bytes.
const QUERY_MAX: usize = 2_000;

/// A saga's page, with what stands beside it.
///
/// # Errors
/// 503 when the database fails or its state cannot be read.
pub async fn beside(api: &Api, whole: Whole) -> Result<SagaView, Problem> {
    let engine = api.engine();
    let id = whole.summary.saga;
    let mut view = assemble::view(engine, whole).await?;
    let found = engine.store.beside(id).await?;
    view.notes = found.notes.into_iter().map(note_view).collect();
    view.replays = found.replays;
    view.dead_letters = found.dead_letters;
    view.approvals = engine.store.approvals(true, Some(id)).await?.into_iter().map(Into::into).collect();
    let filter = Filter { text: Some(id.to_string()), ..Filter::default() };
    if let Some(row) = engine.store.find(&filter, &reached(engine), 1).await?.into_iter().next() {
        view.summary.owner = row.owner;
        view.summary.open_anomalies = row.anomalies;
        // The page itself is newer than the projection: what contradicts it is left out.
        if let Some(stand) = row.stand
            && i64::from(stand.revision) == i64::from(view.revision)
        {
            let error = view.summary.error.take();
            stand_in(&mut view.summary, stand);
            view.summary.error = error.or(view.summary.error.take());
        }
    }
    Ok(view)
}

fn note_view(note: Note) -> NoteView {
    NoteView { id: note.id, at: note.at, who: note.who, text: note.text }
}

/// A note to be written.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteRequest {
    /// What; at most 4,000 characters.
    pub text: String,
}

/// Adds a note to a saga
#[utoipa::path(
    post, path = "/sagas/{id}/notes", operation_id = "add_note", tag = "operators",
    params(("id" = uuid::Uuid, Path, description = "The saga")),
    request_body = NoteRequest,
    responses(
        (status = 201, description = "Added", body = NoteView),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The note has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn add_note(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<SagaId>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let id = sagas::id(path)?;
    let request: NoteRequest = body::of(&api, &headers, sent).await?;
    let text = request.text.trim();
    if text.is_empty() || text.chars().count() > NOTE_MAX {
        return Err(Problem::invalid_input(vec![FaultAt::at("/text", "has 1 to 4,000 characters")]));
    }
    sagas::whole(&api, &caller, id).await?;
    let note = api.engine().store.add_note(&actor(&caller, from), id, text).await?;
    Ok((StatusCode::CREATED, Json(note_view(note))).into_response())
}

/// Who is to look after a saga.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerRequest {
    /// Who; nobody when null or absent.
    #[serde(default)]
    pub owner: Option<String>,
    /// Who looks after it as far as you know, empty where nobody does: where somebody else does by then, nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Why; it stands in the audit.
    pub why: String,
}

/// Who looks after a saga.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnerView {
    /// Who.
    pub owner: Option<String>,
}

/// Says who looks after a saga
#[utoipa::path(
    put, path = "/sagas/{id}/owner", operation_id = "set_owner", tag = "operators",
    params(("id" = uuid::Uuid, Path, description = "The saga")),
    request_body = OwnerRequest,
    responses(
        (status = 200, description = "Who looks after it now", body = OwnerView),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Somebody else looks after it than `was` says", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn set_owner(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<SagaId>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<OwnerView>, Problem> {
    let id = sagas::id(path)?;
    let request: OwnerRequest = body::of(&api, &headers, sent).await?;
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    let owner = request.owner.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    if owner.as_ref().is_some_and(|it| it.chars().count() > NAME_MAX || it.chars().any(char::is_control)) {
        faults.push(FaultAt::at("/owner", "has at most 100 printable characters"));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    sagas::whole(&api, &caller, id).await?;
    let why = request.why.replace('\0', "\u{fffd}");
    let was = request.was.as_deref().map(str::trim);
    let actor = actor(&caller, from);
    match api.engine().store.set_owner(&actor, id, owner.as_deref(), was, &why).await? {
        Ok(()) => Ok(Json(OwnerView { owner })),
        Err(None) => {
            Err(Problem::conflict("Nobody looks after it any more. Nothing was changed.".to_owned()))
        }
        Err(Some(who)) => Err(Problem::conflict(format!("{who} looks after it. Nothing was changed."))),
    }
}

/// A saved filter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FilterView {
    /// Its name.
    pub name: String,
    /// The query of `GET /sagas`.
    pub query: String,
    /// Whether everybody sees it.
    pub shared: bool,
    /// Whose it is.
    pub by: String,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// Saved filters.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FilterList {
    /// By name.
    pub filters: Vec<FilterView>,
}

/// A filter to be saved.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterRequest {
    /// The query of `GET /sagas`.
    pub query: String,
    /// Whether everybody sees it.
    #[serde(default)]
    pub shared: bool,
}

/// Lists saved filters: one's own, and shared ones
#[utoipa::path(
    get, path = "/ops/filters", operation_id = "list_filters", tag = "operators",
    responses((status = 200, description = "The filters", body = FilterList))
)]
pub async fn filters(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<FilterList>, Problem> {
    let rows = api.engine().store.filters(&caller.principal).await?;
    let filters = rows
        .into_iter()
        .map(|it| FilterView { name: it.name, query: it.query, shared: it.shared, by: it.owner, at: it.at })
        .collect();
    Ok(Json(FilterList { filters }))
}

/// Saves a filter
#[utoipa::path(
    put, path = "/ops/filters/{name}", operation_id = "save_filter", tag = "operators",
    params(("name" = String, Path, description = "Its name, at most 100 characters")),
    request_body = FilterRequest,
    responses(
        (status = 200, description = "One's filters", body = FilterList),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The filter has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn save_filter(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<FilterList>, Problem> {
    let request: FilterRequest = body::of(&api, &headers, sent).await?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Problem::bad_request("A filter's name has 1 to 100 printable characters."));
    }
    if request.query.len() > QUERY_MAX || request.query.contains('\0') {
        return Err(Problem::invalid_input(vec![FaultAt::at("/query", "has at most 2,000 bytes")]));
    }
    FilterQuery::parse(&request.query)?.filter(&caller)?;
    api.engine().store.save_filter(&caller.principal, name, &request.query, request.shared).await?;
    filters(State(api), Extension(caller)).await
}

/// Drops one's own filter
#[utoipa::path(
    delete, path = "/ops/filters/{name}", operation_id = "drop_filter", tag = "operators",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "One's filters", body = FilterList),
        (status = 404, description = "No such filter of one's own", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn drop_filter(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<FilterList>, Problem> {
    if name.contains('\0') || !api.engine().store.drop_filter(&caller.principal, &name).await? {
        return Err(Problem::not_found("You have no filter of this name. `GET /ops/filters` lists them."));
    }
    filters(State(api), Extension(caller)).await
}
