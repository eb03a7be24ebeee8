//! What a definition hands to the actions, and what they hand back.
//!
//! It must not know Toss's answers; only what may be asked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::toss::RefundAccount;

/// The only currency so far: amounts are whole won.
pub const CURRENCY: &str = "KRW";
/// The longest reason that travels with a cancel, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Input of `confirm`; its compensation `cancel` receives the same.
#[derive(Clone, Debug, Deserialize)]
pub struct Payment {
    /// The shop's order.
    pub order_id: OrderId,
    /// What the shop's front-end got from the vendor.
    pub payment_key: PaymentKey,
    /// How much is to be captured, in whole won.
    pub amount: i64,
    /// ISO 4217; won when absent.
    #[serde(default = "won")]
    pub currency: String,
    /// Whether a virtual account that still waits for its deposit counts as success. When it does
    /// not, such a payment is voided and refused.
    #[serde(default)]
    pub virtual_account: bool,
    /// How much a cancel gives back; everything that is left when absent.
    #[serde(default)]
    pub cancel_amount: Option<i64>,
    /// Why, in words that the customer may read.
    #[serde(default)]
    pub cancel_reason: Option<String>,
    /// Where the refund of a virtual account goes, once its deposit has arrived.
    #[serde(default)]
    pub refund_account: Option<RefundAccount>,
}

fn won() -> String {
    CURRENCY.to_owned()
}

impl Payment {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.amount <= 0 {
            return Err("`amount` must be positive".to_owned());
        }
        if self.currency != CURRENCY {
            return Err(format!("`currency` must be {CURRENCY}"));
        }
        if self.cancel_amount.is_some_and(|it| it <= 0 || it > self.amount) {
            return Err("`cancel_amount` must be positive and at most `amount`".to_owned());
        }
        Ok(())
    }

    /// The reason of a cancel: for a human, and with the effect key by which an inquiry tells this
    /// cancel from every other.
    pub fn reason(&self, effect_key: &str) -> String {
        let words = self.cancel_reason.as_deref().filter(|it| !it.trim().is_empty());
        let mark = mark(effect_key);
        let room = REASON_CHARS_MAX.saturating_sub(mark.chars().count() + 1);
        let words: String = words.unwrap_or("The order could not be completed").chars().take(room).collect();
        format!("{words} {mark}")
    }
}

/// The mark of a cancel, within its reason.
pub fn mark(effect_key: &str) -> String {
    format!("[{effect_key}]")
}

/// An order's id by the vendor's rule: 6 to 64 of letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderId(String);

/// A payment's key: 1 to 200 printable characters, as the vendor handed it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PaymentKey(String);

impl OrderId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PaymentKey {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OrderId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let good = (6..=64).contains(&text.len())
            && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
        if good { Ok(Self(text)) } else { Err("an order id is 6 to 64 of letters, digits, - and _") }
    }
}

impl TryFrom<String> for PaymentKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let length = text.chars().count();
        // "." and ".." would be taken out of a URL's path.
        let good = (1..=200).contains(&length)
            && text.chars().all(|it| !it.is_control() && !it.is_whitespace())
            && text.chars().any(|it| it != '.');
        if good { Ok(Self(text)) } else { Err("a payment key is 1 to 200 characters without spaces") }
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.0
    }
}

impl From<PaymentKey> for String {
    fn from(key: PaymentKey) -> Self {
        key.0
    }
}

/// Output of `confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// How much was asked for.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// As the vendor spells it: `DONE`, or `WAITING_FOR_DEPOSIT` where that counts as success.
    pub status: String,
    /// Money that was taken so far; 0 while a virtual account waits.
    pub captured_amount: i64,
    /// Money that was given back already (by somebody else).
    pub refunded_amount: i64,
    /// When it was captured, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<String>,
    /// Where the receipt is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_url: Option<String>,
    /// How it was paid, in the vendor's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// Output of `cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// As the vendor spells it.
    pub status: String,
    /// Money that was given back, by this cancel and all others.
    pub refunded_amount: i64,
    /// Money that is still held.
    pub balance_amount: i64,
    /// When the newest cancel was, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<String>,
}

/// Input of `decide`.
#[derive(Clone, Debug, Deserialize)]
pub struct Decision {
    /// The shop's order.
    pub order_id: OrderId,
    /// How much.
    pub amount: i64,
    /// Refuse it.
    #[serde(default)]
    pub reject: bool,
}

/// JSON Schema of [`Payment`].
pub fn payment_schema() -> Value {
    json!({
        "type": "object",
        "required": ["order_id", "payment_key", "amount"],
        "properties": {
            "order_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" },
            "payment_key": { "type": "string", "minLength": 1, "maxLength": 200 },
            "amount": { "type": "integer", "minimum": 1 },
            "currency": { "const": CURRENCY },
            "virtual_account": { "type": "boolean" },
            "cancel_amount": { "type": ["integer", "null"], "minimum": 1 },
            "cancel_reason": { "type": ["string", "null"] },
            "refund_account": refund_account_schema()
        }
    })
}

/// JSON Schema of [`RefundAccount`].
pub fn refund_account_schema() -> Value {
    json!({
        "type": ["object", "null"],
        "required": ["bank", "account_number", "holder_name"],
        "properties": {
            "bank": { "type": "string" },
            "account_number": { "type": "string" },
            "holder_name": { "type": "string" }
        }
    })
}

/// JSON Schema of [`Confirmed`].
pub fn confirmed_schema() -> Value {
    json!({
        "type": "object",
        "required": ["payment_key", "order_id", "amount", "currency", "status", "captured_amount", "refunded_amount"],
        "properties": {
            "payment_key": { "type": "string" },
            "order_id": { "type": "string" },
            "amount": { "type": "integer" },
            "currency": { "type": "string" },
            "status": { "type": "string" },
            "captured_amount": { "type": "integer" },
            "refunded_amount": { "type": "integer" },
            "approved_at": { "type": "string", "format": "date-time" },
            "receipt_url": { "type": "string" },
            "method": { "type": "string" }
        }
    })
}

/// JSON Schema of [`Decision`].
pub fn decision_schema() -> Value {
    json!({
        "type": "object",
        "required": ["order_id", "amount"],
        "properties": {
            "order_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" },
            "amount": { "type": "integer", "minimum": 1 },
            "reject": { "type": "boolean" }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_reason_keeps_its_mark_and_its_length() {
        let mut payment: Payment =
            serde_json::from_value(json!({ "order_id": "order-1", "payment_key": "k", "amount": 1 }))
                .unwrap();
        let key = "k".repeat(140);
        for words in [None, Some("품절".to_owned()), Some("x".repeat(500)), Some("  ".to_owned())] {
            payment.cancel_reason = words;
            let reason = payment.reason(&key);
            assert!(reason.chars().count() <= 200 && reason.ends_with(&mark(&key)), "{reason}");
        }
        payment.cancel_reason = Some("품절".to_owned());
        assert_eq!(payment.reason("s:pay:c1"), "품절 [s:pay:c1]");
    }

    #[test]
    fn what_cannot_be_asked_is_refused_before_it_is_asked() {
        let base = json!({ "order_id": "order-1", "payment_key": "k", "amount": 100 });
        let with = |field: &str, value: Value| {
            let mut input = base.clone();
            input[field] = value;
            serde_json::from_value::<Payment>(input).map_err(|it| it.to_string()).and_then(|it| it.check())
        };
        assert!(with("amount", json!(100)).is_ok());
        assert!(with("cancel_amount", json!(100)).is_ok());
        for (field, value) in [
            ("amount", json!(0)),
            ("amount", json!(1.5)),
            ("currency", json!("USD")),
            ("cancel_amount", json!(101)),
            ("cancel_amount", json!(0)),
            ("order_id", json!("short")),
            ("order_id", json!("order/1")),
            ("payment_key", json!("")),
            ("payment_key", json!("..")),
            ("payment_key", json!("a\u{0}b")),
            ("payment_key", json!("k".repeat(201))),
        ] {
            assert!(with(field, value.clone()).is_err(), "{field} {value}");
        }
    }
}
