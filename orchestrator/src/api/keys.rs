//! API keys: made, listed and revoked, by administrators.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::problem::{FaultAt, Problem};
use super::{Api, From, body, sagas};
use crate::auth::Caller;
use crate::auth::keys::{self, KeyRow, NewKey, generate};
use crate::auth::role::Role;

/// A key to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What it is for; its principal is `key:` and this. 1 to 64 letters, digits and `_-.`.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Why; it stands in the audit.
    pub why: String,
    /// Until when it works; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its beginning.
    pub prefix: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Until when it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it does not work any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
    /// The key itself: in the answer to its making, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Newest first.
    pub keys: Vec<KeyView>,
}

impl std::convert::From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            roles: row.roles,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            key: None,
        }
    }
}

/// Lists API keys
#[utoipa::path(
    get, path = "/ops/keys", operation_id = "list_keys", tag = "account",
    responses((status = 200, description = "The keys, newest first", body = KeyList))
)]
pub async fn list(State(api): State<Api>) -> Result<Json<KeyList>, Problem> {
    let rows = api.engine().store.keys().await?;
    Ok(Json(KeyList { keys: rows.into_iter().map(KeyView::from).collect() }))
}

/// Makes an API key
///
/// The answer holds it, this once.
#[utoipa::path(
    post, path = "/ops/keys", operation_id = "make_key", tag = "account",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "Made", body = KeyView),
        (status = 409, description = "A key of that name works already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn make(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let request: KeyRequest = body::of(&api, &headers, sent).await?;
    let mut faults = Vec::new();
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if request.name.is_empty() || request.name.len() > 64 || !request.name.chars().all(good) {
        faults.push(FaultAt::at("/name", "has 1 to 64 letters, digits and `_-.`"));
    }
    if format!("{}{}", keys::PRINCIPAL, request.name) == keys::ADMIN {
        faults.push(FaultAt::at("/name", "is that of the configured administrator's key"));
    }
    if request.roles.is_empty() {
        faults.push(FaultAt::at("/roles", "must not be empty: such a key could do nothing"));
    }
    if request.expires_at.is_some_and(|at| at <= Utc::now()) {
        faults.push(FaultAt::at("/expires_at", "is past"));
    }
    faults.extend(body::reason(&request.why));
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    let key = generate();
    let new = NewKey {
        name: &request.name,
        roles: request.roles.iter().copied().collect(),
        expires_at: request.expires_at,
        why: &request.why,
    };
    let row = api.engine().store.add_key(&actor(&caller, from), &new, &key).await?.ok_or_else(|| {
        Problem::conflict(format!(
            "A key named `{}` works already. Revoke it first, or take another name.",
            request.name
        ))
    })?;
    Ok((StatusCode::CREATED, Json(KeyView { key: Some(key), ..row.into() })).into_response())
}

/// Why, as a query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyQuery {
    /// The reason.
    pub why: Option<String>,
}

/// Revokes an API key
///
/// It stops working within five seconds.
#[utoipa::path(
    delete, path = "/ops/keys/{id}", operation_id = "revoke_key", tag = "account",
    params(("id" = Uuid, Path, description = "The key"), ("why" = Option<String>, Query, description = "The reason")),
    responses(
        (status = 200, description = "Revoked", body = KeyView),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<Uuid>, PathRejection>,
    asked: Result<Query<WhyQuery>, QueryRejection>,
) -> Result<Json<KeyView>, Problem> {
    let none = || Problem::not_found("There is no key with this id. `GET /ops/keys` lists them.");
    let Path(id) = path.map_err(|_| none())?;
    let asked = sagas::query(asked)?;
    let row = api.engine().store.revoke_key(&actor(&caller, from), id, asked.why.as_deref()).await?;
    row.map(|row| Json(row.into())).ok_or_else(none)
}
