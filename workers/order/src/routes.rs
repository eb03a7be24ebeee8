//! The read API: `GET /orders/{id}` and `GET /healthz`. It changes nothing; orders are made by sagas.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;

use crate::input::OrderId;
use crate::store;

/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The read API on `pool`.
pub fn routes(pool: PgPool) -> Router {
    Router::new().route("/orders/{id}", get(order)).route("/healthz", get(healthz)).with_state(pool)
}

async fn order(State(pool): State<PgPool>, Path(id): Path<String>) -> Response {
    // What is not spelled like an order id cannot be one.
    let Ok(id) = OrderId::new(id) else { return unknown() };
    match store::find(&pool, &id).await {
        Ok(Some(order)) => Json(order).into_response(),
        Ok(None) => unknown(),
        Err(error) => {
            tracing::error!(%error, "reading an order");
            problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer.")
        }
    }
}

async fn healthz(State(pool): State<PgPool>) -> Response {
    match tokio::time::timeout(HEALTH_TIMEOUT, sqlx::query("select 1").execute(&pool)).await {
        Ok(Ok(_)) => Json(json!({ "status": "ok" })).into_response(),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer."),
    }
}

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "There is no order with this id.")
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
