//! The API: `GET /stock/{sku}`, `GET /stock`, `PUT /stock/{sku}` and `GET /healthz`.
//!
//! `PUT` says what a stocktake found and is for whoever runs the shop: it must not be reachable from
//! outside (the process binds to loopback unless told otherwise).

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;

use crate::books::{self, PAGE_MAX, Stocktake};
use crate::input::{ON_HAND_MAX, Sku};

/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest body that `PUT` takes.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// SKUs on a page, unless asked otherwise.
const PAGE_DEFAULT: i64 = 100;

/// The API on `pool`.
pub fn routes(pool: PgPool) -> Router {
    Router::new()
        .route("/stock", get(list))
        .route("/stock/{sku}", get(one).put(put))
        .route("/healthz", get(healthz))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(pool)
}

async fn one(State(pool): State<PgPool>, Path(sku): Path<String>) -> Response {
    let unknown = || problem(StatusCode::NOT_FOUND, "This SKU is not in the books.");
    // What is not spelled like a SKU cannot be one.
    let Ok(sku) = Sku::new(sku) else { return unknown() };
    match books::find(&pool, &sku).await {
        Ok(Some(book)) => Json(book).into_response(),
        Ok(None) => unknown(),
        Err(error) => unavailable(&error),
    }
}

#[derive(Deserialize)]
struct PageQuery {
    after: Option<String>,
    limit: Option<i64>,
}

async fn list(State(pool): State<PgPool>, Query(query): Query<PageQuery>) -> Response {
    let after = match query.after.map(Sku::new).transpose() {
        Ok(after) => after,
        Err(reason) => return problem(StatusCode::BAD_REQUEST, &format!("after: {reason}")),
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, &format!("limit must be 1 to {PAGE_MAX}"));
    }
    match books::page(&pool, after.as_ref(), limit).await {
        Ok(page) => {
            let full = page.len() as i64 == limit;
            let next = page.last().filter(|_| full).map(|last| last.sku.clone());
            Json(json!({ "items": page, "next_after": next })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    on_hand: i64,
}

async fn put(
    State(pool): State<PgPool>,
    Path(sku): Path<String>,
    headers: HeaderMap,
    counted: Result<Json<Counted>, JsonRejection>,
) -> Response {
    let sku = match Sku::new(sku) {
        Ok(sku) => sku,
        Err(reason) => return problem(StatusCode::UNPROCESSABLE_ENTITY, &reason),
    };
    let on_hand = match counted {
        Ok(Json(Counted { on_hand })) => on_hand,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    if !(0..=ON_HAND_MAX).contains(&on_hand) {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, &format!("on_hand must be 0 to {ON_HAND_MAX}"));
    }
    // Seeding must not refill what has been sold since: `If-None-Match: *` makes new SKUs only.
    let only_new = match headers.get(header::IF_NONE_MATCH) {
        None => false,
        Some(value) if value == "*" => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "If-None-Match takes only `*` here."),
    };
    match books::stocktake(&pool, &sku, on_hand, only_new).await {
        Ok(Stocktake::Created(book)) => (StatusCode::CREATED, Json(book)).into_response(),
        Ok(Stocktake::Changed(book)) => Json(book).into_response(),
        Ok(Stocktake::Exists(_)) => {
            problem(StatusCode::PRECONDITION_FAILED, "This SKU is in the books already.")
        }
        Ok(Stocktake::BelowReserved(book)) => problem(
            StatusCode::CONFLICT,
            &format!("{} units are reserved for orders under way; on_hand cannot be less.", book.reserved),
        ),
        Err(error) => unavailable(&error),
    }
}

async fn healthz(State(pool): State<PgPool>) -> Response {
    match tokio::time::timeout(HEALTH_TIMEOUT, sqlx::query("select 1").execute(&pool)).await {
        Ok(Ok(_)) => Json(json!({ "status": "ok" })).into_response(),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer."),
    }
}

fn unavailable(error: &sqlx::Error) -> Response {
    tracing::error!(%error, "reading or writing the books");
    problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer.")
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
