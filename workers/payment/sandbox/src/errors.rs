//! The vendor's error codes: which HTTP status each one comes with, and the JSON that carries it.
//!
//! It must not decide when an error happens; `operations` and `faults` do.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// An answer of the form `{code, message}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The vendor's code, such as `REJECT_CARD_COMPANY`.
    pub code: String,
    /// In words.
    pub message: String,
    /// The HTTP status; not part of the JSON that the vendor sends.
    pub status: u16,
}

impl ApiError {
    /// The error of `code`, with the status and words that the vendor gives it.
    pub fn new(code: &str) -> Self {
        let (status, message) = describe(code);
        Self { code: code.to_owned(), message: message.to_owned(), status }
    }

    /// `INVALID_REQUEST`, with what is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::new("INVALID_REQUEST") }
    }

    /// The same error under another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: Option<u16>) -> Self {
        self.status = status.unwrap_or(self.status);
        self
    }

    /// Whether the same request may be answered otherwise later. Such an answer is not kept under
    /// its idempotency key: a client that follows the rules asks again with the same key.
    pub fn passing(&self) -> bool {
        self.status >= 500
            || self.status == 409
            || self.status == 429
            || matches!(self.code.as_str(), "PROVIDER_ERROR" | "FORBIDDEN_CONSECUTIVE_REQUEST")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::json!({ "code": self.code, "message": self.message });
        (status, axum::Json(body)).into_response()
    }
}

/// Status and words of a code. Codes that are not listed get the status of their family, so that
/// every code can be forced.
fn describe(code: &str) -> (u16, &'static str) {
    match code {
        "INVALID_REQUEST" => (400, "The request is not valid."),
        "INVALID_IDEMPOTENCY_KEY" => (400, "The idempotency key must be 1 to 300 characters long."),
        "IDEMPOTENT_REQUEST_PROCESSING" => (409, "A request with this idempotency key is being processed."),
        "ALREADY_PROCESSED_PAYMENT" => (400, "The payment has already been processed."),
        "ALREADY_CANCELED_PAYMENT" => (400, "The payment has already been canceled."),
        "ALREADY_REFUND_PAYMENT" => (400, "The payment has already been refunded."),
        "PROVIDER_ERROR" => (400, "A passing error of the provider. Try again in a moment."),
        "REFUND_REJECTED" => (400, "The refund was refused."),
        "NOT_MATCHES_REFUNDABLE_AMOUNT" => (400, "The refundable amount does not match."),
        "INVALID_REFUND_ACCOUNT_INFO" => (400, "The refund's account is missing or not valid."),
        "INVALID_API_KEY" => (400, "The key is not a secret key."),
        "UNAUTHORIZED_KEY" => (401, "The secret key is not known."),
        "INCORRECT_BASIC_AUTH_FORMAT" => (403, "Encode the secret key followed by a colon."),
        "REJECT_CARD_COMPANY" => (403, "The card company refused the payment."),
        "REJECT_CARD_PAYMENT" => (403, "Over the limit, or the balance is too low."),
        "REJECT_ACCOUNT_PAYMENT" => (403, "The account's balance is too low."),
        "NOT_CANCELABLE_AMOUNT" => (403, "The amount cannot be canceled."),
        "NOT_CANCELABLE_PAYMENT" => (403, "The payment cannot be canceled."),
        "FORBIDDEN_CONSECUTIVE_REQUEST" => (403, "Repeated requests are not allowed. Wait a moment."),
        "EXCEED_MAX_REFUND_DUE" => (403, "The period for a refund is over."),
        "NOT_ALLOWED_PARTIAL_REFUND" => (403, "A partial refund is not possible."),
        "NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT" => (403, "No partial refund before the deposit."),
        "NOT_FOUND_PAYMENT" => (404, "There is no such payment."),
        "NOT_FOUND_PAYMENT_SESSION" => (404, "The payment's session is over: its ten minutes have passed."),
        "FAILED_INTERNAL_SYSTEM_PROCESSING" => (500, "An internal error. Try again in a moment."),
        "UNKNOWN_PAYMENT_ERROR" => (500, "The payment failed. Ask its state, then try again."),
        "COMMON_ERROR" => (500, "A passing error. Try again in a moment."),
        _ => (family(code), "The request was refused."),
    }
}

fn family(code: &str) -> u16 {
    const BY_PREFIX: [(&str, u16); 7] = [
        ("FAILED_", 500),
        ("UNKNOWN_", 500),
        ("NOT_FOUND_", 404),
        ("REJECT_", 403),
        ("FORBIDDEN_", 403),
        ("NOT_CANCELABLE_", 403),
        ("EXCEED_MAX_ONE_DAY_AMOUNT", 403),
    ];
    BY_PREFIX.iter().find(|(prefix, _)| code.starts_with(prefix)).map_or(400, |(_, status)| *status)
}
