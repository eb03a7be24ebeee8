//! `POST /webhooks/toss`: kept durably, then answered 200; nothing else happens before the answer.

use std::fmt::Write;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::notice::Notice;

/// The largest webhook that is taken, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
const TRANSMISSION_ID: &str = "tosspayments-webhook-transmission-id";
const TRANSMISSION_ID_CHARS_MAX: usize = 200;

pub(crate) fn routes(pool: PgPool) -> Router {
    Router::new()
        .route("/webhooks/toss", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(pool)
}

async fn receive(State(pool): State<PgPool>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(text) = std::str::from_utf8(&body) else { return StatusCode::BAD_REQUEST };
    if Notice::read(text).is_none() {
        return StatusCode::BAD_REQUEST;
    }
    let id = transmission_id(&headers, &body);
    // A repeat of one that is settled is only counted.
    let kept = sqlx::query(
        "insert into amends_payment.webhook as it (transmission_id, body) values ($1, $2)
         on conflict (transmission_id) do update set deliveries = it.deliveries + 1",
    )
    .bind(id)
    .bind(text)
    .execute(&pool)
    .await;
    match kept {
        Ok(_) => StatusCode::OK,
        Err(error) => {
            tracing::error!(%error, "a webhook could not be kept; the vendor will repeat it");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// What repeats of a transmission have in common: the vendor's id, else what was sent.
fn transmission_id(headers: &HeaderMap, body: &[u8]) -> String {
    let id = headers.get(TRANSMISSION_ID).and_then(|it| it.to_str().ok());
    if let Some(id) = id.filter(|it| !it.is_empty() && it.len() <= TRANSMISSION_ID_CHARS_MAX) {
        return id.to_owned();
    }
    Sha256::digest(body).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
