//! The vendor's API: `/v1/...`.
//!
//! Owns authentication, headers and bodies. It must not decide what happens to a payment.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{NaiveDateTime, TimeZone};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::book::{Movement, MovementKind, Operation};
use crate::connection::Scissors;
use crate::errors::ApiError;
use crate::exchange::{Answer, Ask, Exchange};
use crate::faults::Subject;
use crate::payment::{Payment, rfc3339_seoul, seoul};

type Shared = State<Arc<Exchange>>;

/// The longest idempotency key, in characters.
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 300;
const TRANSACTIONS_MAX: usize = 5_000;

pub(crate) fn routes(exchange: Arc<Exchange>) -> Router {
    Router::new()
        .route("/v1/payments/confirm", post(confirm))
        .route("/v1/payments/{payment_key}/cancel", post(cancel))
        .route("/v1/payments/{payment_key}", get(by_key))
        .route("/v1/payments/orders/{order_id}", get(by_order))
        .route("/v1/transactions", get(transactions))
        .with_state(exchange)
}

async fn confirm(
    State(exchange): Shared,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let ask = parse(&body).map(Ask::Confirm);
    answer_post(&exchange, caller, &uri, &headers, ask).await
}

async fn cancel(
    State(exchange): Shared,
    caller: Caller,
    Path(payment_key): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let ask = parse(&body).map(|request| Ask::Cancel(payment_key, request));
    answer_post(&exchange, caller, &uri, &headers, ask).await
}

async fn answer_post(
    exchange: &Arc<Exchange>,
    caller: Caller,
    uri: &Uri,
    headers: &HeaderMap,
    ask: Result<Ask, ApiError>,
) -> Response {
    if let Some(forced) = caller.forced {
        return forced.into_response();
    }
    let scope = match idempotency_key(headers) {
        // The scope is key, API key, method and URL, not the body.
        // The journal shows no API key, not even one of a sandbox.
        Ok(key) => key.map(|key| format!("{key} {} POST {}", digest(&caller.secret_key), uri.path())),
        Err(error) => return error.into_response(),
    };
    match exchange.process(scope, ask).await {
        Answer::Payment(payment) => axum::Json(payment).into_response(),
        Answer::Error(error) => error.into_response(),
        Answer::Silence { hang } => silence(exchange, caller.scissors, hang).await,
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let good =
        value.to_str().ok().filter(|key| !key.is_empty() && key.chars().count() <= IDEMPOTENCY_KEY_CHARS_MAX);
    good.map(Some).ok_or_else(|| ApiError::new("INVALID_IDEMPOTENCY_KEY"))
}

fn digest(secret_key: &str) -> String {
    let digest = Sha256::digest(secret_key);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid(error.to_string()))
}

/// Gives no answer: the connection is closed, or held open until the client or the server goes.
async fn silence(exchange: &Exchange, scissors: Option<Scissors>, hang: bool) -> Response {
    if let (false, Some(scissors)) = (hang, &scissors) {
        scissors.cut();
        return ().into_response();
    }
    exchange.closing.cancelled().await;
    if let Some(scissors) = scissors {
        scissors.cut();
    }
    ApiError::new("UNKNOWN_PAYMENT_ERROR").into_response()
}

async fn by_key(State(exchange): Shared, caller: Caller, Path(payment_key): Path<String>) -> Response {
    inquire(&exchange, caller, Some(&payment_key), None).await
}

async fn by_order(State(exchange): Shared, caller: Caller, Path(order_id): Path<String>) -> Response {
    inquire(&exchange, caller, None, Some(&order_id)).await
}

async fn inquire(
    exchange: &Exchange,
    caller: Caller,
    payment_key: Option<&str>,
    order_id: Option<&str>,
) -> Response {
    if let Some(forced) = caller.forced {
        return forced.into_response();
    }
    let find = || {
        let book = exchange.book.lock();
        match (payment_key, order_id) {
            (Some(key), _) => book.payment(key).cloned(),
            (None, Some(order_id)) => book.newest_of_order(order_id).cloned(),
            (None, None) => None,
        }
    };
    let found = find();
    let subject = Subject {
        operation: Operation::Inquire,
        payment_key: payment_key.or(found.as_ref().map(|it| it.payment_key.as_str())),
        order_id: order_id.or(found.as_ref().map(|it| it.order_id.as_str())),
    };
    let fault = exchange.faults.lock().take(subject);
    tokio::time::sleep(std::time::Duration::from_millis(fault.delay_ms)).await;
    if fault.lost.is_some() {
        return silence(exchange, caller.scissors, fault.hang).await;
    }
    if let Some(code) = &fault.error {
        return ApiError::new(code).with_status(fault.status).into_response();
    }
    // What is shown must be on disk: a restart must not take back what an inquiry has proved.
    let found = find();
    if let Err(error) = exchange.settled().await {
        return error.into_response();
    }
    match found {
        Some(payment) => axum::Json(payment.render()).into_response(),
        None => ApiError::new("NOT_FOUND_PAYMENT").into_response(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    start_date: String,
    end_date: String,
    starting_after: Option<String>,
    limit: Option<usize>,
}

async fn transactions(
    State(exchange): Shared,
    caller: Caller,
    span: Result<Query<Span>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if let Some(forced) = caller.forced {
        return forced.into_response();
    }
    let listed = span
        .map_err(|error| ApiError::invalid(error.to_string()))
        .and_then(|Query(span)| list_transactions(&exchange, &span));
    match (listed, exchange.settled().await) {
        (Ok(list), Ok(())) => axum::Json(list).into_response(),
        (Err(error), _) | (Ok(_), Err(error)) => error.into_response(),
    }
}

fn list_transactions(exchange: &Exchange, span: &Span) -> Result<Value, ApiError> {
    let (from_ms, until_ms) = (seoul_ms(&span.start_date)?, seoul_ms(&span.end_date)?);
    let limit = span.limit.unwrap_or(100);
    if limit == 0 || limit > TRANSACTIONS_MAX {
        return Err(ApiError::invalid(format!("limit must be 1 to {TRANSACTIONS_MAX}.")));
    }
    let book = exchange.book.lock();
    let skip = match &span.starting_after {
        None => 0,
        Some(after) => book
            .movements(0)
            .position(|(_, it)| it.transaction_key == *after)
            .map(|at| at + 1)
            .ok_or_else(|| ApiError::invalid("startingAfter is not a transaction."))?,
    };
    let within = |it: &Movement| (from_ms..=until_ms).contains(&it.at_ms);
    let chosen = book.movements(skip).filter(|(_, it)| within(it)).take(limit);
    Ok(chosen.map(|(payment, movement)| render_transaction(payment, movement)).collect())
}

fn render_transaction(payment: &Payment, movement: &Movement) -> Value {
    let status = match movement.kind {
        MovementKind::Captured => "DONE",
        MovementKind::Refunded if movement.amount == payment.amount => "CANCELED",
        MovementKind::Refunded => "PARTIAL_CANCELED",
    };
    json!({ "mId": "amends-sandbox", "transactionKey": movement.transaction_key, "orderId": payment.order_id,
        "paymentKey": payment.payment_key, "method": payment.render()["method"], "status": status,
        "transactionAt": rfc3339_seoul(movement.at_ms), "currency": payment.currency,
        "amount": movement.amount, "useEscrow": false })
}

fn seoul_ms(text: &str) -> Result<i64, ApiError> {
    let bad = || ApiError::invalid("Dates are written yyyy-MM-ddThh:mm:ss.");
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").map_err(|_| bad())?;
    let at = seoul().from_local_datetime(&naive).single().ok_or_else(bad)?;
    Ok(at.timestamp_millis())
}

/// Who calls, over which connection, and which error the caller wants to see.
struct Caller {
    secret_key: String,
    scissors: Option<Scissors>,
    forced: Option<ApiError>,
}

impl FromRequestParts<Arc<Exchange>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, exchange: &Arc<Exchange>) -> Result<Self, ApiError> {
        let secret_key = secret_key(&parts.headers)?;
        if !["test_sk_", "live_sk_", "test_gsk_", "live_gsk_"].iter().any(|it| secret_key.starts_with(it)) {
            return Err(ApiError::new("INVALID_API_KEY"));
        }
        if !exchange.config.secret_keys.contains(&secret_key) {
            return Err(ApiError::new("UNAUTHORIZED_KEY"));
        }
        let scissors = parts.extensions.get::<ConnectInfo<Scissors>>().map(|it| it.0.clone());
        let forced = parts
            .headers
            .get("tosspayments-test-code")
            .filter(|_| secret_key.starts_with("test_"))
            .and_then(|code| code.to_str().ok())
            .map(ApiError::new);
        Ok(Self { secret_key, scissors, forced })
    }
}

fn secret_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(ApiError::new("UNAUTHORIZED_KEY"));
    };
    let decoded = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("Basic "))
        .and_then(|text| STANDARD.decode(text.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let key = decoded.as_deref().and_then(|text| text.strip_suffix(':')).filter(|key| !key.is_empty());
    key.map(str::to_owned).ok_or_else(|| ApiError::new("INCORRECT_BASIC_AUTH_FORMAT"))
}
