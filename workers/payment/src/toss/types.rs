//! What is sent and what comes back.
//!
//! Answers are read leniently: the vendor adds fields and values without notice, and an answer that
//! cannot be read after money has moved is the worst kind.

use serde::{Deserialize, Deserializer, Serialize};

/// The body of a confirm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmRequest {
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// How much is to be captured, in the currency's smallest unit.
    pub amount: i64,
}

/// The body of a cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelRequest {
    /// Why; at most 200 characters.
    pub cancel_reason: String,
    /// How much; everything that is left when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_amount: Option<i64>,
    /// What the sender believes to be left; the vendor refuses when it is not so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refundable_amount: Option<i64>,
    /// Where a virtual account's refund goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_receive_account: Option<RefundAccount>,
}

/// A bank account that takes a refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct RefundAccount {
    /// The bank's code.
    pub bank: String,
    /// The account's number, digits only.
    #[serde(alias = "accountNumber")]
    pub account_number: String,
    /// The holder's name.
    #[serde(alias = "holderName")]
    pub holder_name: String,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Made, not authenticated.
    Ready,
    /// Authenticated, not confirmed.
    InProgress,
    /// A virtual account that waits for its deposit.
    WaitingForDeposit,
    /// Captured.
    Done,
    /// Cancelled in full.
    Canceled,
    /// Cancelled in part, perhaps in several parts that sum to everything.
    PartialCanceled,
    /// Its confirmation was refused.
    Aborted,
    /// Not confirmed in time.
    Expired,
    /// A status that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Status {
    /// As the vendor spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::InProgress => "IN_PROGRESS",
            Self::WaitingForDeposit => "WAITING_FOR_DEPOSIT",
            Self::Done => "DONE",
            Self::Canceled => "CANCELED",
            Self::PartialCanceled => "PARTIAL_CANCELED",
            Self::Aborted => "ABORTED",
            Self::Expired => "EXPIRED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A payment, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// Where it stands.
    #[serde(default)]
    pub status: Status,
    /// What was asked for, in the currency's smallest unit.
    #[serde(deserialize_with = "whole")]
    pub total_amount: i64,
    /// What has not been given back.
    #[serde(deserialize_with = "whole")]
    pub balance_amount: i64,
    /// ISO 4217.
    #[serde(default = "won")]
    pub currency: String,
    /// How it was paid, in Korean.
    #[serde(default)]
    pub method: Option<String>,
    /// When it was captured, RFC 3339.
    #[serde(default)]
    pub approved_at: Option<String>,
    /// What webhooks are compared with.
    #[serde(default)]
    pub secret: Option<String>,
    /// Where the customer finds the receipt.
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// Why its confirmation was refused.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The cancels, oldest first.
    #[serde(default)]
    pub cancels: Option<Vec<Cancel>>,
}

/// Where a receipt is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    /// Its address.
    #[serde(default)]
    pub url: Option<String>,
}

/// Why a confirmation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The vendor's code.
    #[serde(default)]
    pub code: String,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// One cancel of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// How much was given back.
    #[serde(default, deserialize_with = "whole")]
    pub cancel_amount: i64,
    /// Why; what this worker cancels carries its effect key in here.
    #[serde(default)]
    pub cancel_reason: Option<String>,
    /// When, RFC 3339.
    #[serde(default)]
    pub canceled_at: Option<String>,
}

impl Payment {
    /// The cancels.
    pub fn cancels(&self) -> &[Cancel] {
        self.cancels.as_deref().unwrap_or_default()
    }

    /// Money that was taken from the customer (and may since have been given back).
    pub fn captured_amount(&self) -> i64 {
        let captured = match self.status {
            Status::Done | Status::PartialCanceled => true,
            // A virtual account that was cancelled while it waited never held money.
            Status::Canceled => self.approved_at.is_some(),
            _ => false,
        };
        if captured { self.total_amount } else { 0 }
    }

    /// Money that was given back. Webhooks claim whatever their sender likes, amounts that none can be among it.
    pub fn refunded_amount(&self) -> i64 {
        self.total_amount.saturating_sub(self.balance_amount).clamp(0, self.captured_amount().max(0))
    }
}

fn won() -> String {
    "KRW".to_owned()
}

/// A whole number, also when it is written `15000.0`.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let number = serde_json::Number::deserialize(deserializer)?;
    if let Some(whole) = number.as_i64() {
        return Ok(whole);
    }
    match number.as_f64() {
        #[allow(clippy::cast_possible_truncation)] // whole and within the range that f64 keeps exactly
        Some(float) if float.fract() == 0.0 && float.abs() < EXACT_MAX => Ok(float as i64),
        _ => Err(serde::de::Error::custom(format!("{number} is not a whole amount"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LEAST: &str =
        r#"{"paymentKey":"k","orderId":"o","totalAmount":15000.0,"balanceAmount":0,"brandNew":{"a":[1]}}"#;

    #[test]
    fn what_is_new_or_missing_does_not_matter() {
        let payment: Payment = serde_json::from_str(LEAST).unwrap();
        assert_eq!((payment.total_amount, payment.status), (15_000, Status::Unknown));
        assert_eq!((payment.currency.as_str(), payment.cancels().len()), ("KRW", 0));
    }

    #[test]
    fn an_unknown_status_is_read_as_unknown() {
        let text = LEAST.replace("\"orderId\"", "\"status\":\"HALF_DONE\",\"orderId\"");
        assert_eq!(serde_json::from_str::<Payment>(&text).unwrap().status, Status::Unknown);
    }

    #[test]
    fn an_amount_with_a_fraction_is_not_read() {
        let text = LEAST.replace("15000.0", "150.25");
        assert!(serde_json::from_str::<Payment>(&text).unwrap_err().to_string().contains("150.25"));
    }
}
