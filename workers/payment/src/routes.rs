//! The HTTP surface: `GET /payments/{order_id}`, `GET /payments/key/{payment_key}`, `GET /healthz`,
//! and the vendor's webhooks. Payments are made and cancelled by sagas, never here.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;

use crate::input::{OrderId, PaymentKey};
use crate::{store, webhook};

/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTP surface on `pool`. Webhooks are only kept here; [`webhook::run`] looks into them.
pub fn routes(pool: PgPool) -> Router {
    Router::new()
        .route("/payments/{order_id}", get(of_order))
        .route("/payments/key/{payment_key}", get(by_key))
        .route("/healthz", get(healthz))
        .with_state(pool.clone())
        .merge(webhook::receive::routes(pool))
}

async fn of_order(State(pool): State<PgPool>, Path(order_id): Path<String>) -> Response {
    let Ok(order_id) = OrderId::try_from(order_id) else { return unknown() };
    match store::of_order(&pool, &order_id).await {
        Ok(payments) if payments.is_empty() => unknown(),
        Ok(payments) => Json(json!({ "order_id": order_id, "payments": payments })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn by_key(State(pool): State<PgPool>, Path(payment_key): Path<String>) -> Response {
    let Ok(payment_key) = PaymentKey::try_from(payment_key) else { return unknown() };
    match store::by_key(&pool, &payment_key).await {
        Ok(Some(payment)) => Json(payment).into_response(),
        Ok(None) => unknown(),
        Err(error) => unavailable(&error),
    }
}

async fn healthz(State(pool): State<PgPool>) -> Response {
    match tokio::time::timeout(HEALTH_TIMEOUT, sqlx::query("select 1").execute(&pool)).await {
        Ok(Ok(_)) => Json(json!({ "status": "ok" })).into_response(),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer."),
    }
}

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "There is no such payment.")
}

fn unavailable(error: &sqlx::Error) -> Response {
    tracing::error!(%error, "reading payments");
    problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer.")
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
