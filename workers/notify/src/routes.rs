//! The API: `GET /events` (server-sent events) and `GET /healthz`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::feed::{EntryId, Feed};
use crate::notice::OrderId;
use crate::sse::{self, Wish};

/// Most followers of one process.
pub const FOLLOWERS_MAX: usize = 10_000;
/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct Shared {
    pool: PgPool,
    feed: Arc<dyn Feed>,
    shutdown: CancellationToken,
    places: Arc<Semaphore>,
}

/// The API. `shutdown` ends the streams, which would otherwise hold up a graceful stop for ever.
pub fn routes(pool: PgPool, feed: Arc<dyn Feed>, shutdown: CancellationToken) -> Router {
    let shared = Shared { pool, feed, shutdown, places: Arc::new(Semaphore::new(FOLLOWERS_MAX)) };
    Router::new().route("/events", get(events)).route("/healthz", get(healthz)).with_state(shared)
}

#[derive(Deserialize)]
struct EventsQuery {
    order_id: Option<String>,
    /// For clients that cannot set the header on their first request.
    last_event_id: Option<String>,
}

async fn events(
    State(shared): State<Shared>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Response {
    let wish = match wish(query, &headers) {
        Ok(wish) => wish,
        Err(reason) => return problem(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(place) = shared.places.try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "There are too many followers.");
    };
    match sse::follow(shared.feed, wish, shared.shutdown, place).await {
        Ok(stream) => {
            let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
            // Proxies must not collect what is to be seen at once.
            ([("x-accel-buffering", "no")], Sse::new(stream).keep_alive(keep_alive)).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "events: the feed cannot be read");
            problem(StatusCode::SERVICE_UNAVAILABLE, "The feed does not answer.")
        }
    }
}

fn wish(query: EventsQuery, headers: &HeaderMap) -> Result<Wish, String> {
    // The header wins: a browser that reconnects repeats the old query.
    let header = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| "Last-Event-ID is not text".to_owned())?.to_owned()),
    };
    let after: Option<EntryId> = header
        .filter(|id| !id.is_empty())
        .or(query.last_event_id)
        .map(|id| id.parse())
        .transpose()
        .map_err(|error| format!("Last-Event-ID: {error}"))?;
    let order_id = query.order_id.map(OrderId::new).transpose()?;
    Ok(Wish { after, order_id })
}

async fn healthz(State(shared): State<Shared>) -> Response {
    // The feed does not count: without it notices wait, and orders go on.
    match tokio::time::timeout(HEALTH_TIMEOUT, crate::outbox::is_empty(&shared.pool)).await {
        Ok(Ok(caught_up)) => {
            Json(json!({ "status": "ok", "feed": shared.feed.kind(), "caught_up": caught_up }))
                .into_response()
        }
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer."),
    }
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
