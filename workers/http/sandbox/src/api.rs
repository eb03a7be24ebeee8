//! The carrier's API. It must not keep anything: [`super::books`] does.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::books::{Books, Pickup, Refusal};

/// The carrier.
#[derive(Debug)]
pub(crate) struct Carrier {
    key: String,
    books: Mutex<Books>,
    /// The requests whose first answer was lost.
    lost: Mutex<HashSet<String>>,
}

impl Carrier {
    pub(crate) fn new(key: String, books: Books) -> Self {
        Self { key, books: Mutex::new(books), lost: Mutex::default() }
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        sent.and_then(|it| it.strip_prefix("Bearer ")) == Some(self.key.as_str())
    }
}

pub(crate) fn routes(carrier: Arc<Carrier>) -> Router {
    Router::new()
        .route("/v1/pickups", post(request))
        .route("/v1/pickups/by-order/{order}", get(look))
        .route("/v1/pickups/{tracking}", delete(call_off))
        .route("/sandbox/pickups", get(books))
        .with_state(carrier)
}

#[derive(Deserialize)]
struct Request {
    order_id: String,
    address: String,
}

async fn request(
    State(carrier): State<Arc<Carrier>>,
    headers: HeaderMap,
    Json(Request { order_id, address }): Json<Request>,
) -> Response {
    if !carrier.knows(&headers) {
        return stranger();
    }
    let Some(key) = headers.get("idempotency-key").and_then(|it| it.to_str().ok()).map(str::to_owned) else {
        return problem(StatusCode::BAD_REQUEST, "no_key", "The request has no Idempotency-Key.");
    };
    if address.contains("nowhere") {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "area_not_served",
            "We do not come to this address.",
        );
    }
    let flaky = address.contains("flaky");
    let done = {
        let (carrier, key) = (Arc::clone(&carrier), key.clone());
        on_disk(move || carrier.books.lock().request(&key, &order_id, &address)).await
    };
    match done {
        Err(response) => response,
        Ok(_) if flaky && carrier.lost.lock().insert(key) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The request was taken, and this answer lost.",
        ),
        Ok(Ok((pickup, fresh))) => {
            let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
            (status, view(&pickup)).into_response()
        }
        Ok(Err(Refusal::KeyReused)) => {
            problem(StatusCode::CONFLICT, "key_reused", "The key was used for another request.")
        }
        Ok(Err(Refusal::OrderTaken)) => {
            problem(StatusCode::CONFLICT, "order_taken", "There is a pickup for this order already.")
        }
    }
}

async fn look(
    State(carrier): State<Arc<Carrier>>,
    Path(order): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !carrier.knows(&headers) {
        return stranger();
    }
    match carrier.books.lock().of_order(&order) {
        Some(pickup) => view(pickup).into_response(),
        None => nothing(),
    }
}

async fn call_off(
    State(carrier): State<Arc<Carrier>>,
    Path(tracking): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !carrier.knows(&headers) {
        return stranger();
    }
    if carrier.books.lock().get(&tracking).is_none() {
        return nothing();
    }
    match on_disk(move || carrier.books.lock().call_off(&tracking)).await {
        Err(response) => response,
        // Also what was called off before: there is no pickup, which is what was asked for.
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn books(State(carrier): State<Arc<Carrier>>) -> Response {
    let pickups: Vec<_> = carrier.books.lock().all().map(body).collect();
    Json(json!({ "pickups": pickups })).into_response()
}

/// Runs what waits for the disk where it holds nobody up.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Response> {
    let failed = || problem(StatusCode::INTERNAL_SERVER_ERROR, "books", "The books cannot be written.");
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(failed()),
    }
}

fn body(pickup: &Pickup) -> serde_json::Value {
    let status = if pickup.called_off { "called_off" } else { "requested" };
    json!({ "tracking": pickup.tracking, "order_id": pickup.order_id, "status": status })
}

fn view(pickup: &Pickup) -> Json<serde_json::Value> {
    Json(body(pickup))
}

fn nothing() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "There is no such pickup.")
}

fn stranger() -> Response {
    problem(StatusCode::UNAUTHORIZED, "unauthorized", "The key is not known.")
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}
