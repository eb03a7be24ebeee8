//! A carrier with a REST API, on a real port: what the tests call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Books {
    /// Pickups by their order.
    pub(crate) pickups: BTreeMap<String, Value>,
    /// The headers of each request.
    pub(crate) seen: Vec<HeaderMap>,
    /// The paths of each request.
    pub(crate) paths: Vec<String>,
    hold: bool,
    held: usize,
}

#[derive(Clone)]
pub(crate) struct Carrier {
    pub(crate) base: String,
    pub(crate) books: Arc<Mutex<Books>>,
    released: Arc<Notify>,
}

impl Carrier {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let carrier = Self { base, books: Arc::default(), released: Arc::default() };
        let router = Router::new()
            .route("/pickups", post(request))
            .route("/pickups/{order}", get(look).delete(call_off))
            .route("/status/{status}", any(status))
            .route("/long", any(|| async { format!("\"{}\"", "x".repeat(70_000)) }))
            .route("/moved", any(|| async { (StatusCode::FOUND, [("location", "/pickups")]) }))
            .route("/silent", any(|| async { std::future::pending::<()>().await }))
            .with_state(carrier.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        carrier
    }

    pub(crate) fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) fn standing(&self, order: &str) -> u32 {
        u32::from(self.books.lock().unwrap().pickups.contains_key(order))
    }

    pub(crate) fn hold(&self) {
        self.books.lock().unwrap().hold = true;
    }

    pub(crate) fn held(&self) -> usize {
        self.books.lock().unwrap().held
    }

    /// Lets every held request act.
    pub(crate) async fn release(&self) {
        self.books.lock().unwrap().hold = false;
        self.released.notify_waiters();
        while self.held() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn note(&self, path: &str, headers: HeaderMap) {
        let mut books = self.books.lock().unwrap();
        books.seen.push(headers);
        books.paths.push(path.to_owned());
    }
}

async fn request(State(carrier): State<Carrier>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    // A task of its own: it goes on when the client has gone, as most servers do.
    tokio::spawn(async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        carrier.note("/pickups", headers);
        let released = carrier.released.notified();
        tokio::pin!(released);
        released.as_mut().enable();
        let wait = {
            let mut books = carrier.books.lock().unwrap();
            books.held += usize::from(books.hold);
            books.hold
        };
        if wait {
            released.await;
        }
        let mut books = carrier.books.lock().unwrap();
        books.held -= usize::from(wait);
        let order = body["order"].as_str().unwrap().to_owned();
        let new = json!({ "pickup": { "id": order }, "key": key });
        let known = books.pickups.entry(order).or_insert(new).clone();
        // The same key means the same request; another one is a second pickup for the order.
        if known["key"] != key { StatusCode::CONFLICT.into_response() } else { Json(known).into_response() }
    })
    .await
    .unwrap()
}

async fn look(State(carrier): State<Carrier>, Path(order): Path<String>) -> Response {
    match carrier.books.lock().unwrap().pickups.get(&order) {
        Some(pickup) => Json(pickup.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn call_off(
    State(carrier): State<Carrier>,
    Path(order): Path<String>,
    headers: HeaderMap,
) -> StatusCode {
    carrier.note(&format!("/pickups/{order}"), headers);
    match carrier.books.lock().unwrap().pickups.remove(&order) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

async fn status(State(carrier): State<Carrier>, Path(status): Path<u16>, headers: HeaderMap) -> Response {
    carrier.note("/status", headers);
    let body = json!({ "message": "because", "card": "4330-1234" });
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}
