//! What the vendor does when it is asked to confirm or cancel: pure decisions over the books.
//!
//! It must not wait, write or know HTTP; the caller applies the outcome under the same lock.

use serde::Deserialize;
use uuid::Uuid;

use crate::book::{Book, Movement, MovementKind, RefundAccount};
use crate::errors::ApiError;
use crate::faults;
use crate::payment::{Cancel, Method, Payment, Status};

/// How long an authenticated payment waits to be confirmed: 10 minutes.
pub const SESSION_MS: i64 = 10 * 60 * 1000;

/// The body of a confirm.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Confirm {
    pub(crate) payment_key: String,
    pub(crate) order_id: String,
    pub(crate) amount: i64,
}

/// The body of a cancel.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CancelRequest {
    pub(crate) cancel_reason: Option<String>,
    pub(crate) cancel_amount: Option<i64>,
    pub(crate) refundable_amount: Option<i64>,
    pub(crate) currency: Option<String>,
    pub(crate) refund_receive_account: Option<RefundReceiveAccount>,
}

/// Where a virtual account's refund goes, as the vendor spells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefundReceiveAccount {
    bank: String,
    account_number: String,
    holder_name: String,
}

/// What an operation changes and answers.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) payment: Option<Payment>,
    pub(crate) movement: Option<Movement>,
    pub(crate) refused: Option<ApiError>,
}

impl Outcome {
    fn refused(error: ApiError) -> Self {
        Self { payment: None, movement: None, refused: Some(error) }
    }

    fn changed(payment: Payment, movement: Option<Movement>) -> Self {
        Self { payment: Some(payment), movement, refused: None }
    }
}

/// A payment that a customer has authenticated.
pub(crate) fn session(key: String, order_id: &str, amount: i64, method: Method, now_ms: i64) -> Payment {
    Payment {
        payment_key: key,
        order_id: order_id.to_owned(),
        method,
        amount,
        currency: "KRW".to_owned(),
        status: Status::InProgress,
        secret: format!("ps_{}", Uuid::now_v7().simple()),
        requested_at_ms: now_ms,
        approved_at_ms: None,
        transaction_key: None,
        cancels: Vec::new(),
        failure: None,
    }
}

/// Checks an order id: 6 to 64 of letters, digits, `-` and `_`.
pub(crate) fn check_order_id(order_id: &str) -> Result<(), ApiError> {
    let good = (6..=64).contains(&order_id.len())
        && order_id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
    if good { Ok(()) } else { Err(ApiError::invalid("orderId must be 6 to 64 of letters, digits, - and _.")) }
}

/// Confirms a payment.
pub(crate) fn confirm(book: &Book, request: &Confirm, now_ms: i64) -> Outcome {
    match try_confirm(book, request, now_ms) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::refused(error),
    }
}

fn try_confirm(book: &Book, request: &Confirm, now_ms: i64) -> Result<Outcome, ApiError> {
    if request.payment_key.is_empty() || request.payment_key.chars().count() > 200 {
        return Err(ApiError::invalid("paymentKey must be 1 to 200 characters long."));
    }
    check_order_id(&request.order_id)?;
    if request.amount <= 0 {
        return Err(ApiError::invalid("amount must be positive."));
    }
    let key = &request.payment_key;
    let mut payment = match book.payment(key) {
        Some(known) => known.clone(),
        None if key.starts_with(faults::MAGIC_PREFIX) => {
            session(key.clone(), &request.order_id, request.amount, faults::method(key), now_ms)
        }
        None => return Err(ApiError::new("NOT_FOUND_PAYMENT_SESSION")),
    };
    match payment.status {
        Status::InProgress => {}
        Status::Aborted | Status::Expired => return Err(ApiError::new("NOT_FOUND_PAYMENT_SESSION")),
        _ => return Err(ApiError::new("ALREADY_PROCESSED_PAYMENT")),
    }
    if payment.order_id != request.order_id || payment.amount != request.amount {
        return Err(ApiError::invalid("orderId and amount must be what the customer authenticated."));
    }
    if now_ms - payment.requested_at_ms > SESSION_MS {
        payment.status = Status::Expired;
        let refused = Some(ApiError::new("NOT_FOUND_PAYMENT_SESSION"));
        return Ok(Outcome { payment: Some(payment), movement: None, refused });
    }
    if let Some(code) = faults::refusal(key) {
        let refused = ApiError::new(code);
        payment.status = if code == "NOT_FOUND_PAYMENT_SESSION" { Status::Expired } else { Status::Aborted };
        payment.failure = Some(refused.clone());
        return Ok(Outcome { payment: Some(payment), movement: None, refused: Some(refused) });
    }
    Ok(approve(payment, now_ms))
}

fn approve(mut payment: Payment, now_ms: i64) -> Outcome {
    let transaction_key = new_transaction_key();
    payment.transaction_key = Some(transaction_key.clone());
    if payment.method == Method::VirtualAccount {
        payment.status = Status::WaitingForDeposit;
        return Outcome::changed(payment, None);
    }
    payment.status = Status::Done;
    payment.approved_at_ms = Some(now_ms);
    let amount = payment.amount;
    let kind = MovementKind::Captured;
    Outcome::changed(
        payment,
        Some(Movement { kind, amount, at_ms: now_ms, transaction_key, refund_account: None }),
    )
}

/// Cancels a payment, in full or in part.
pub(crate) fn cancel(book: &Book, payment_key: &str, request: &CancelRequest, now_ms: i64) -> Outcome {
    match try_cancel(book, payment_key, request, now_ms) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::refused(error),
    }
}

fn try_cancel(book: &Book, key: &str, request: &CancelRequest, now_ms: i64) -> Result<Outcome, ApiError> {
    let reason = request.cancel_reason.as_deref().unwrap_or_default();
    if reason.is_empty() || reason.chars().count() > 200 {
        return Err(ApiError::invalid("cancelReason must be 1 to 200 characters long."));
    }
    let mut payment = book.payment(key).ok_or_else(|| ApiError::new("NOT_FOUND_PAYMENT"))?.clone();
    if request.currency.as_ref().is_some_and(|it| *it != payment.currency) {
        return Err(ApiError::invalid("currency must be the payment's."));
    }
    match payment.status {
        Status::Done | Status::PartialCanceled | Status::WaitingForDeposit => {}
        Status::Canceled => return Err(ApiError::new("ALREADY_CANCELED_PAYMENT")),
        Status::InProgress | Status::Aborted | Status::Expired => {
            return Err(ApiError::new("NOT_CANCELABLE_PAYMENT"));
        }
    }
    let balance = payment.balance();
    if balance == 0 {
        let code = if request.cancel_amount.is_some() {
            "NOT_CANCELABLE_AMOUNT"
        } else {
            "ALREADY_CANCELED_PAYMENT"
        };
        return Err(ApiError::new(code));
    }
    if request.refundable_amount.is_some_and(|it| it != balance) {
        return Err(ApiError::new("NOT_MATCHES_REFUNDABLE_AMOUNT"));
    }
    let amount = request.cancel_amount.unwrap_or(balance);
    if amount <= 0 || amount > balance {
        return Err(ApiError::new("NOT_CANCELABLE_AMOUNT"));
    }
    if payment.method == Method::VirtualAccount {
        check_virtual_account(&payment, request, amount)?;
    }
    let transaction_key = new_transaction_key();
    payment.status = if amount == payment.amount { Status::Canceled } else { Status::PartialCanceled };
    payment.cancels.push(Cancel {
        amount,
        reason: reason.to_owned(),
        at_ms: now_ms,
        transaction_key: transaction_key.clone(),
    });
    // An account that was never paid into has nothing to give back.
    let kind = MovementKind::Refunded;
    let account = request.refund_receive_account.clone().filter(|_| payment.method == Method::VirtualAccount);
    let refund_account = account.map(|it| RefundAccount {
        bank: it.bank,
        account_number: it.account_number,
        holder_name: it.holder_name,
    });
    let movement = Movement { kind, amount, at_ms: now_ms, transaction_key, refund_account };
    let movement = payment.is_captured().then_some(movement);
    Ok(Outcome::changed(payment, movement))
}

fn check_virtual_account(payment: &Payment, request: &CancelRequest, amount: i64) -> Result<(), ApiError> {
    if !payment.is_captured() {
        let whole = amount == payment.amount;
        return if whole { Ok(()) } else { Err(ApiError::new("NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT")) };
    }
    let complete = |it: &RefundReceiveAccount| {
        !it.bank.is_empty() && !it.account_number.is_empty() && !it.holder_name.is_empty()
    };
    let good = request.refund_receive_account.as_ref().is_some_and(complete);
    if good { Ok(()) } else { Err(ApiError::new("INVALID_REFUND_ACCOUNT_INFO")) }
}

/// The customer pays into the virtual account, or (`undone`) the bank finds that it was an error.
pub(crate) fn deposit(book: &Book, order_id: &str, undone: bool, now_ms: i64) -> Result<Outcome, ApiError> {
    let mut payment =
        book.newest_of_order(order_id).ok_or_else(|| ApiError::new("NOT_FOUND_PAYMENT"))?.clone();
    let expected = if undone { Status::Done } else { Status::WaitingForDeposit };
    if payment.method != Method::VirtualAccount || payment.status != expected {
        return Err(ApiError::invalid("The payment does not wait for this."));
    }
    let (status, kind, approved_at_ms) = if undone {
        (Status::WaitingForDeposit, MovementKind::Refunded, None)
    } else {
        (Status::Done, MovementKind::Captured, Some(now_ms))
    };
    payment.status = status;
    payment.approved_at_ms = approved_at_ms;
    let transaction_key = new_transaction_key();
    let movement =
        Movement { kind, amount: payment.amount, at_ms: now_ms, transaction_key, refund_account: None };
    Ok(Outcome::changed(payment, Some(movement)))
}

fn new_transaction_key() -> String {
    format!("txrd_{}", Uuid::now_v7().simple())
}
