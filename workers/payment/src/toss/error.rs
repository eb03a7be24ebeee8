//! Errors of the vendor and of the way to it, and what kind each is.

use std::fmt;

/// Which request was refused; some codes mean something else in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Confirming a payment.
    Confirm,
    /// Cancelling one.
    Cancel,
    /// Asking for one.
    Inquire,
}

impl Operation {
    /// For logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Inquire => "inquire",
        }
    }
}

/// What kind of refusal a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nobody knows, or it passes: inquire, then the same key again.
    Passing,
    /// What was asked has probably been done before: inquire, and succeed if it matches.
    ProbablyDone,
    /// The payment is refused for good.
    Final,
    /// A refund that a human must see to.
    NeedsHuman,
    /// Our key or our set-up is wrong.
    Configuration,
    /// A code that no table lists: inquire before it is believed.
    Unlisted,
}

impl Class {
    /// For logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::ProbablyDone => "probably_done",
            Self::Final => "final",
            Self::NeedsHuman => "needs_human",
            Self::Configuration => "configuration",
            Self::Unlisted => "unlisted",
        }
    }
}

/// Sorts a refusal. Sources: the vendor's lists of errors by API,
/// <https://docs.tosspayments.com/reference/error-codes>.
pub fn classify(operation: Operation, status: u16, code: &str) -> Class {
    match (operation, code) {
        (_, "UNAUTHORIZED_KEY" | "INVALID_API_KEY" | "INCORRECT_BASIC_AUTH_FORMAT") => Class::Configuration,
        _ if status == 401 => Class::Configuration,
        _ if status >= 500 || matches!(status, 408 | 409 | 429) => Class::Passing,
        (
            _,
            "UNKNOWN_PAYMENT_ERROR"
            | "COMMON_ERROR"
            | "PROVIDER_ERROR"
            | "FORBIDDEN_CONSECUTIVE_REQUEST"
            | "IDEMPOTENT_REQUEST_PROCESSING",
        ) => Class::Passing,
        (_, code) if code.starts_with("FAILED_") => Class::Passing,
        (
            _,
            "ALREADY_PROCESSED_PAYMENT"
            | "ALREADY_CANCELED_PAYMENT"
            | "ALREADY_REFUND_PAYMENT"
            | "NOT_CANCELABLE_AMOUNT",
        ) => Class::ProbablyDone,
        (Operation::Confirm, code) if is_final(code) => Class::Final,
        (
            Operation::Cancel,
            "NOT_CANCELABLE_PAYMENT"
            | "EXCEED_MAX_REFUND_DUE"
            | "REFUND_REJECTED"
            | "NOT_ALLOWED_PARTIAL_REFUND"
            | "EXCEED_CANCEL_LIMIT"
            | "NOT_MATCHES_REFUNDABLE_AMOUNT"
            | "NOT_FOUND_PAYMENT",
        ) => Class::NeedsHuman,
        _ => Class::Unlisted,
    }
}

fn is_final(code: &str) -> bool {
    matches!(
        code,
        "REJECT_CARD_COMPANY"
            | "REJECT_CARD_PAYMENT"
            | "REJECT_ACCOUNT_PAYMENT"
            | "NOT_FOUND_PAYMENT_SESSION"
            | "NOT_FOUND_PAYMENT"
    ) || code.starts_with("EXCEED_MAX_")
        || (code.starts_with("INVALID_") && code.contains("CARD"))
}

/// The vendor's `{code, message}`, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub operation: Operation,
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: String,
    /// In the vendor's words.
    pub message: String,
    /// What kind it is.
    pub class: Class,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

/// Why a request brought no payment.
#[derive(Debug, thiserror::Error)]
pub enum TossError {
    /// Certainly nothing reached the vendor.
    #[error("no connection to Toss Payments")]
    NotSent(#[source] reqwest::Error),
    /// It was too late to send it; nothing was sent.
    #[error("not sent: its time was over")]
    TooLate,
    /// It may have reached the vendor; no whole answer came back.
    #[error("no answer from Toss Payments")]
    NoAnswer(#[source] reqwest::Error),
    /// An answer that is not the vendor's JSON: another server in between, or a change of the API.
    #[error("an answer ({status}) that cannot be read: {reason}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The vendor says no.
    #[error("{0}")]
    Refused(Refusal),
}

impl TossError {
    /// A stable code for faults and metrics: the vendor's own where there is one.
    pub fn code(&self) -> &str {
        match self {
            Self::NotSent(_) => "toss_unreachable",
            Self::TooLate => "toss_too_late",
            Self::NoAnswer(error) if error.is_timeout() => "toss_timeout",
            Self::NoAnswer(_) => "toss_no_answer",
            Self::Unreadable { .. } => "toss_unreadable",
            Self::Refused(refusal) => &refusal.code,
        }
    }

    /// The kind, where the vendor has answered.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Refused(refusal) => Some(refusal.class),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_is_sorted_as_the_table_says() {
        use Class::{Configuration, Final, NeedsHuman, Passing, ProbablyDone, Unlisted};
        use Operation::{Cancel, Confirm, Inquire};
        let table: &[(Operation, u16, &str, Class)] = &[
            (Confirm, 409, "IDEMPOTENT_REQUEST_PROCESSING", Passing),
            (Confirm, 409, "ANYTHING", Passing),
            (Confirm, 429, "ANYTHING", Passing),
            (Confirm, 500, "ANYTHING", Passing),
            (Confirm, 503, "REJECT_CARD_COMPANY", Passing),
            (Confirm, 500, "FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING", Passing),
            (Confirm, 400, "FAILED_ANYTHING", Passing),
            (Confirm, 400, "UNKNOWN_PAYMENT_ERROR", Passing),
            (Cancel, 400, "COMMON_ERROR", Passing),
            (Confirm, 400, "PROVIDER_ERROR", Passing),
            (Cancel, 400, "PROVIDER_ERROR", Passing),
            (Cancel, 403, "FORBIDDEN_CONSECUTIVE_REQUEST", Passing),
            (Confirm, 400, "ALREADY_PROCESSED_PAYMENT", ProbablyDone),
            (Cancel, 400, "ALREADY_CANCELED_PAYMENT", ProbablyDone),
            (Cancel, 400, "ALREADY_REFUND_PAYMENT", ProbablyDone),
            (Cancel, 403, "NOT_CANCELABLE_AMOUNT", ProbablyDone),
            (Confirm, 403, "REJECT_CARD_COMPANY", Final),
            (Confirm, 403, "REJECT_CARD_PAYMENT", Final),
            (Confirm, 403, "REJECT_ACCOUNT_PAYMENT", Final),
            (Confirm, 400, "INVALID_CARD_EXPIRATION", Final),
            (Confirm, 400, "INVALID_STOPPED_CARD", Final),
            (Confirm, 400, "INVALID_CARD_LOST_OR_STOLEN", Final),
            (Confirm, 400, "EXCEED_MAX_DAILY_PAYMENT_COUNT", Final),
            (Confirm, 403, "EXCEED_MAX_AUTH_COUNT", Final),
            (Confirm, 404, "NOT_FOUND_PAYMENT_SESSION", Final),
            (Confirm, 404, "NOT_FOUND_PAYMENT", Final),
            (Cancel, 403, "NOT_CANCELABLE_PAYMENT", NeedsHuman),
            (Cancel, 403, "EXCEED_MAX_REFUND_DUE", NeedsHuman),
            (Cancel, 400, "REFUND_REJECTED", NeedsHuman),
            (Cancel, 403, "NOT_ALLOWED_PARTIAL_REFUND", NeedsHuman),
            (Cancel, 403, "EXCEED_CANCEL_LIMIT", NeedsHuman),
            (Cancel, 400, "NOT_MATCHES_REFUNDABLE_AMOUNT", NeedsHuman),
            (Cancel, 404, "NOT_FOUND_PAYMENT", NeedsHuman),
            (Confirm, 401, "UNAUTHORIZED_KEY", Configuration),
            (Confirm, 401, "ANYTHING", Configuration),
            (Cancel, 400, "INVALID_API_KEY", Configuration),
            (Inquire, 403, "INCORRECT_BASIC_AUTH_FORMAT", Configuration),
            (Confirm, 400, "INVALID_REQUEST", Unlisted),
            (Cancel, 403, "REJECT_CARD_COMPANY", Unlisted),
            (Confirm, 403, "A_CODE_OF_TOMORROW", Unlisted),
            (Inquire, 404, "NOT_FOUND_PAYMENT", Unlisted),
        ];
        for (operation, status, code, expected) in table {
            assert_eq!(classify(*operation, *status, code), *expected, "{operation:?} {status} {code}");
        }
    }
}
