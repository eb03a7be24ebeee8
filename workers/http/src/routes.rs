//! The worker's own address: `GET /healthz`.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;

/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The routes on `pool`.
pub fn routes(pool: PgPool) -> Router {
    Router::new().route("/healthz", get(healthz)).with_state(pool)
}

async fn healthz(State(pool): State<PgPool>) -> Response {
    match tokio::time::timeout(HEALTH_TIMEOUT, sqlx::query("select 1").execute(&pool)).await {
        Ok(Ok(_)) => Json(json!({ "status": "ok" })).into_response(),
        _ => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let body = json!({ "title": "Service Unavailable", "status": 503, "detail": "The database does not answer." });
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
        }
    }
}
