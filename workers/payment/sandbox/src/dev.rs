//! The surface that the vendor does not have: `/sandbox/...` and `/healthz`. No authentication; it
//! is for development and tests, and its server belongs on the loopback interface.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /sandbox/sessions` `{order_id, amount, method?, payment_key?}` | what a shop's front-end does: a customer authenticates a payment; answers its `payment_key` |
//! | `POST /sandbox/deposits` `{order_id, undone?}` | the customer pays into a virtual account, or the bank takes it back |
//! | `POST /sandbox/faults` (a [`crate::Rule`]), `GET`, `DELETE` | what goes wrong from now on |
//! | `GET /sandbox/held`, `POST /sandbox/release` | how many requests a fault holds; lets them go, and answers when they have taken effect |
//! | `GET /sandbox/fates` | the words that magic payment keys may carry |
//! | `POST /sandbox/clock` `{advance_ms}` | moves the sandbox's clock ahead |
//! | `GET /sandbox/ledger?after=0&limit=1000` | every movement of money, oldest first; `next` goes on |
//! | `GET /sandbox/ledger/totals` | sums over all orders |
//! | `GET /sandbox/ledger/orders/{order_id}` | sums of one order |

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::book::{MovementKind, RefundAccount, Totals};
use crate::errors::ApiError;
use crate::exchange::Exchange;
use crate::faults::{FATES, MAGIC_PREFIX, Rule};
use crate::operations;
use crate::payment::{Method, rfc3339_seoul};

type Shared = State<Arc<Exchange>>;

const LEDGER_PAGE_MAX: usize = 10_000;

pub(crate) fn routes(exchange: Arc<Exchange>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/sandbox/sessions", post(add_session))
        .route("/sandbox/deposits", post(deposit))
        .route("/sandbox/faults", post(add_fault).get(list_faults).delete(clear_faults))
        .route("/sandbox/held", get(held))
        .route("/sandbox/release", post(release))
        .route("/sandbox/fates", get(list_fates))
        .route("/sandbox/clock", post(advance_clock))
        .route("/sandbox/ledger", get(ledger))
        .route("/sandbox/ledger/totals", get(totals))
        .route("/sandbox/ledger/orders/{order_id}", get(totals_of_order))
        .with_state(exchange)
}

async fn health(State(exchange): Shared) -> Response {
    if exchange.healthy() {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "journal failed" }))).into_response()
    }
}

#[derive(Deserialize)]
struct SessionRequest {
    order_id: String,
    amount: i64,
    #[serde(default = "card")]
    method: Method,
    payment_key: Option<String>,
}

fn card() -> Method {
    Method::Card
}

async fn add_session(
    State(exchange): Shared,
    Json(request): Json<SessionRequest>,
) -> Result<Json<Value>, ApiError> {
    operations::check_order_id(&request.order_id)?;
    if request.amount <= 0 {
        return Err(ApiError::invalid("amount must be positive."));
    }
    let key = request.payment_key.unwrap_or_else(|| format!("tgen_{}", Uuid::now_v7().simple()));
    if key.is_empty() || key.chars().count() > 200 || exchange.book.lock().payment(&key).is_some() {
        return Err(ApiError::invalid("payment_key must be new, and 1 to 200 characters long."));
    }
    let now_ms = exchange.now_ms();
    let payment = operations::session(key.clone(), &request.order_id, request.amount, request.method, now_ms);
    exchange.add_session(payment).await?;
    Ok(Json(json!({ "payment_key": key, "order_id": request.order_id, "amount": request.amount })))
}

#[derive(Deserialize)]
struct DepositRequest {
    order_id: String,
    #[serde(default)]
    undone: bool,
}

async fn deposit(
    State(exchange): Shared,
    Json(request): Json<DepositRequest>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(exchange.deposit(&request.order_id, request.undone).await?.render()))
}

async fn add_fault(State(exchange): Shared, Json(rule): Json<Rule>) -> StatusCode {
    exchange.faults.lock().add(rule);
    StatusCode::CREATED
}

async fn list_faults(State(exchange): Shared) -> Json<Vec<Rule>> {
    Json(exchange.faults.lock().rules().to_vec())
}

async fn clear_faults(State(exchange): Shared) -> StatusCode {
    exchange.faults.lock().clear();
    StatusCode::NO_CONTENT
}

async fn held(State(exchange): Shared) -> Json<Value> {
    Json(json!({ "held": exchange.held() }))
}

async fn release(State(exchange): Shared) -> StatusCode {
    exchange.release().await;
    StatusCode::NO_CONTENT
}

async fn list_fates() -> Json<Value> {
    let fates: Vec<Value> = FATES.iter().map(|(word, what)| json!({ "word": word, "what": what })).collect();
    Json(json!({ "prefix": MAGIC_PREFIX, "fates": fates }))
}

#[derive(Deserialize)]
struct Advance {
    advance_ms: i64,
}

async fn advance_clock(State(exchange): Shared, Json(advance): Json<Advance>) -> Json<Value> {
    exchange.advance_clock(advance.advance_ms);
    Json(json!({ "now": rfc3339_seoul(exchange.now_ms()) }))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct LedgerLine {
    number: usize,
    kind: MovementKind,
    order_id: String,
    payment_key: String,
    amount: i64,
    transaction_key: String,
    at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_account: Option<RefundAccount>,
}

async fn ledger(State(exchange): Shared, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    let limit = page.limit.unwrap_or(1_000).clamp(1, LEDGER_PAGE_MAX);
    let (lines, length) = {
        let book = exchange.book.lock();
        let lines: Vec<LedgerLine> = (page.after + 1..)
            .zip(book.movements(page.after).take(limit))
            .map(|(number, (payment, movement))| LedgerLine {
                number,
                kind: movement.kind,
                order_id: payment.order_id.clone(),
                payment_key: payment.payment_key.clone(),
                amount: movement.amount,
                transaction_key: movement.transaction_key.clone(),
                at_ms: movement.at_ms,
                refund_account: movement.refund_account.clone(),
            })
            .collect();
        (lines, book.movements_len())
    };
    exchange.settled().await?;
    let read = page.after + lines.len();
    let next = (read < length).then_some(read);
    Ok(Json(json!({ "movements": lines, "next": next })))
}

async fn totals(State(exchange): Shared) -> Result<Json<Value>, ApiError> {
    let answer = {
        let book = exchange.book.lock();
        let by_order = book.totals_by_order();
        let captured: i64 = by_order.values().map(|it| it.captured).sum();
        let refunded: i64 = by_order.values().map(|it| it.refunded).sum();
        let paid = by_order.values().filter(|it| it.captured > it.refunded).count();
        let twice = by_order.values().filter(|it| it.captures > 1).count();
        json!({ "captured": captured, "refunded": refunded, "orders": by_order.len(),
            "orders_paid": paid, "orders_captured_twice": twice })
    };
    exchange.settled().await?;
    Ok(Json(answer))
}

async fn totals_of_order(
    State(exchange): Shared,
    Path(order_id): Path<String>,
) -> Result<Json<Totals>, ApiError> {
    let mut totals = Totals::default();
    for (payment, movement) in exchange.book.lock().movements(0) {
        if payment.order_id == order_id {
            totals.add(movement);
        }
    }
    exchange.settled().await?;
    Ok(Json(totals))
}
