//! A payment as the vendor keeps it, and the JSON that the vendor shows of it.
//!
//! It must not decide what may happen to a payment; `operations` does.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;

/// Where a payment stands. Spelled as the vendor spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Authenticated by the customer, waiting to be confirmed.
    InProgress,
    /// Confirmed; the virtual account waits for its deposit.
    WaitingForDeposit,
    /// Captured.
    Done,
    /// Cancelled in full by one cancel.
    Canceled,
    /// Cancelled in part; stays so when later cancels take the rest.
    PartialCanceled,
    /// Confirmation was refused.
    Aborted,
    /// Not confirmed within its time.
    Expired,
}

/// How the customer pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A card: captured when confirmed.
    Card,
    /// A virtual account: captured when the deposit arrives.
    VirtualAccount,
}

/// One cancel that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// How much was given back.
    pub amount: i64,
    /// Why, in the shop's words.
    pub reason: String,
    /// When, in ms since 1970 UTC.
    pub at_ms: i64,
    /// The transaction's key.
    pub transaction_key: String,
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// How it is paid.
    pub method: Method,
    /// What is to be paid, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Where it stands.
    pub status: Status,
    /// What webhooks are compared with.
    pub secret: String,
    /// When the customer authenticated it, in ms since 1970 UTC.
    pub requested_at_ms: i64,
    /// When it was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at_ms: Option<i64>,
    /// The transaction of the confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_key: Option<String>,
    /// The cancels, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancels: Vec<Cancel>,
    /// Why confirmation was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ApiError>,
}

/// A payment's past state, for answering a repeated request as it was answered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The status then.
    pub status: Status,
    /// How many cancels there were.
    pub cancels: usize,
}

impl Payment {
    /// What has not been given back.
    pub fn balance(&self) -> i64 {
        self.amount - self.cancels.iter().map(|it| it.amount).sum::<i64>()
    }

    /// Whether the customer's money has arrived (and may since have been given back).
    pub fn is_captured(&self) -> bool {
        self.approved_at_ms.is_some()
    }

    /// The state of now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { status: self.status, cancels: self.cancels.len() }
    }

    /// The payment as it was.
    pub fn at(&self, then: Snapshot) -> Self {
        let mut past = self.clone();
        past.status = then.status;
        past.cancels.truncate(then.cancels);
        if then.status == Status::WaitingForDeposit {
            past.approved_at_ms = None;
        }
        past
    }

    /// The vendor's JSON.
    pub fn render(&self) -> Value {
        let (method, card, account) = match self.method {
            Method::Card => ("카드", Some(self.render_card()), None),
            Method::VirtualAccount => ("가상계좌", None, Some(self.render_account())),
        };
        let last = self.cancels.last().map(|it| &it.transaction_key).or(self.transaction_key.as_ref());
        let tax = self.balance() / 11;
        json!({
            "version": "2022-11-16",
            "paymentKey": self.payment_key,
            "type": "NORMAL",
            "orderId": self.order_id,
            "orderName": format!("Order {}", self.order_id),
            "mId": "amends-sandbox",
            "currency": self.currency,
            "method": method,
            "totalAmount": self.amount,
            "balanceAmount": self.balance(),
            "suppliedAmount": self.balance() - tax,
            "vat": tax,
            "taxFreeAmount": 0,
            "status": self.status,
            "requestedAt": rfc3339_seoul(self.requested_at_ms),
            "approvedAt": self.approved_at_ms.map(rfc3339_seoul),
            "useEscrow": false,
            "cultureExpense": false,
            "lastTransactionKey": last,
            "isPartialCancelable": true,
            "secret": self.secret,
            "card": card,
            "virtualAccount": account,
            "receipt": { "url": format!("https://sandbox.invalid/receipts/{}", self.payment_key) },
            "failure": self.failure.as_ref().map(|it| json!({ "code": it.code, "message": it.message })),
            "cancels": self.render_cancels(),
            "country": "KR",
        })
    }

    fn render_card(&self) -> Value {
        json!({ "issuerCode": "11", "acquirerCode": "11", "number": "43301234****123*", "amount": self.amount,
            "installmentPlanMonths": 0, "approveNo": "00000000", "cardType": "신용", "ownerType": "개인" })
    }

    fn render_account(&self) -> Value {
        json!({ "accountNumber": "X6505636518308", "bankCode": "20", "customerName": "Amends",
            "accountType": "일반", "expired": false, "settlementStatus": "INCOMPLETED" })
    }

    fn render_cancels(&self) -> Value {
        if self.cancels.is_empty() {
            return Value::Null;
        }
        let mut left = self.amount;
        let render = |it: &Cancel| {
            left -= it.amount;
            json!({ "cancelAmount": it.amount, "cancelReason": it.reason, "refundableAmount": left,
                "canceledAt": rfc3339_seoul(it.at_ms), "transactionKey": it.transaction_key,
                "taxFreeAmount": 0, "cancelStatus": "DONE" })
        };
        self.cancels.iter().map(render).collect()
    }
}

/// An instant as the vendor writes it: whole seconds, Seoul's offset.
pub(crate) fn rfc3339_seoul(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms)
        .unwrap_or(DateTime::UNIX_EPOCH)
        .with_timezone(&seoul())
        .to_rfc3339_opts(SecondsFormat::Secs, false)
}

/// Seoul's offset; Korea keeps no summer time.
pub(crate) fn seoul() -> FixedOffset {
    FixedOffset::east_opt(9 * 3600).expect("nine hours are a valid offset")
}
