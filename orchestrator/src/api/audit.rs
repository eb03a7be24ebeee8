//! The audit, for reading: pages, and an export.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Api, masks, sagas};
use crate::auth::Caller;
use crate::store::audit::{AuditFilter, AuditRow};

const EXPORT_PAGE: u16 = 500;

/// A deed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Orders the audit.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// What they might be.
    pub roles: Vec<String>,
    /// From where.
    pub address: String,
    /// What, such as `saga.retry`.
    pub what: String,
    /// To what: an id or a name.
    pub target: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is, or what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            id: row.id,
            at: row.at,
            who: row.actor.who,
            roles: row.actor.roles,
            address: row.actor.address,
            what: row.what,
            target: row.target,
            why: row.why,
            before: json(row.before),
            after: json(row.after),
        }
    }
}

/// A page of the audit, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The deeds.
    pub entries: Vec<AuditView>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Which deeds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    who: Option<String>,
    what: Option<String>,
    target: Option<String>,
    after_at: Option<DateTime<Utc>>,
    before_at: Option<DateTime<Utc>>,
    limit: Option<u16>,
    after: Option<i64>,
}

impl AuditQuery {
    fn filter(self) -> AuditFilter {
        AuditFilter {
            who: self.who,
            what: self.what,
            target: self.target,
            after_at: self.after_at,
            before_at: self.before_at,
            after: self.after,
        }
    }
}

/// The audit, newest first
#[utoipa::path(
    get, path = "/ops/audit", operation_id = "list_audit", tag = "operators",
    params(
        ("who" = Option<String>, Query, description = "Only by this principal"),
        ("what" = Option<String>, Query, description = "Only this deed; `saga.` with its dot means all that begin so"),
        ("target" = Option<String>, Query, description = "Only to this"),
        ("after_at" = Option<DateTime<Utc>>, Query, description = "Not before"),
        ("before_at" = Option<DateTime<Utc>>, Query, description = "Only before"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<i64>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = AuditPage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    let asked = sagas::query(asked)?;
    let limit = sagas::limit(asked.limit);
    let mut rows = api.engine().store.audit(&asked.filter(), limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.id);
    let mut entries: Vec<AuditView> = rows.into_iter().map(AuditView::from).collect();
    masks::mask(api.engine(), &caller, &mut entries).await?;
    Ok(Json(AuditPage { entries, next }))
}

/// The audit as NDJSON, newest first, all of it
#[utoipa::path(
    get, path = "/ops/audit/export", operation_id = "export_audit", tag = "operators",
    params(
        ("who" = Option<String>, Query, description = "As in `GET /ops/audit`; and so on"),
        ("what" = Option<String>, Query), ("target" = Option<String>, Query),
        ("after_at" = Option<DateTime<Utc>>, Query), ("before_at" = Option<DateTime<Utc>>, Query),
        ("limit" = Option<u16>, Query, description = "Means nothing here"), ("after" = Option<i64>, Query),
    ),
    responses(
        (status = 200, description = "A deed a line", body = String, content_type = "application/x-ndjson"),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn export(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let filter = sagas::query(asked)?.filter();
    // A page at a time, so that an audit of years does not have to fit into memory.
    let pages = futures::stream::try_unfold(Some((api, caller, filter)), async |state| {
        let Some((api, caller, mut filter)) = state else { return Ok(None) };
        let rows = api.engine().store.audit(&filter, EXPORT_PAGE).await?;
        let last = rows.len() < usize::from(EXPORT_PAGE);
        filter.after = rows.last().map(|row| row.id);
        let mut entries: Vec<AuditView> = rows.into_iter().map(AuditView::from).collect();
        masks::mask(api.engine(), &caller, &mut entries).await?;
        let mut text = String::new();
        for entry in &entries {
            text.push_str(&serde_json::to_string(entry).unwrap_or_default());
            text.push('\n');
        }
        Ok::<_, crate::store::StoreError>(Some((text, (!last).then_some((api, caller, filter)))))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, Body::from_stream(Box::pin(pages))).into_response())
}
