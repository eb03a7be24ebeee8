//! The books in memory: payments, movements of money, answers kept under idempotency keys.
//!
//! Every change is one [`Entry`], applied by [`Book::apply`], whether it happens now or is replayed
//! from the journal. It must not do IO, nor decide what is allowed.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::errors::ApiError;
use crate::payment::{Payment, Snapshot};

/// How long an answer is kept under its idempotency key: 15 days.
pub const KEPT_FOR_MS: i64 = 15 * 24 * 3600 * 1000;

/// The operations that change a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /v1/payments/confirm`.
    Confirm,
    /// `POST /v1/payments/{paymentKey}/cancel`.
    Cancel,
    /// Any `GET /v1/...`.
    Inquire,
}

/// Which way money went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// From the customer.
    Captured,
    /// Back to the customer.
    Refunded,
}

/// One movement of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// Which way.
    pub kind: MovementKind,
    /// How much, in the currency's smallest unit; always positive.
    pub amount: i64,
    /// When, in ms since 1970 UTC.
    pub at_ms: i64,
    /// The transaction.
    pub transaction_key: String,
    /// Where a virtual account's refund went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_account: Option<RefundAccount>,
}

/// A bank account that has taken a refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundAccount {
    /// The bank.
    pub bank: String,
    /// The account's number.
    pub account_number: String,
    /// Whose it is.
    pub holder_name: String,
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The payment, as it was then.
    Payment(String, Snapshot),
    /// An error.
    Error(ApiError),
}

/// An answer under its scoped idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Idempotency key, API key, method and URL, joined.
    pub scope: String,
    /// The answer.
    pub answer: Kept,
    /// When it was given, in ms since 1970 UTC.
    pub at_ms: i64,
}

/// One change of the books: what one line of the journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The payment's whole new state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The money that moved with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub movement: Option<Movement>,
    /// The answer to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptAnswer>,
}

/// Totals of one order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Money taken.
    pub captured: i64,
    /// Money given back.
    pub refunded: i64,
    /// How many captures: more than one means that a customer was charged twice.
    pub captures: u32,
}

/// The books.
#[derive(Debug, Default)]
pub struct Book {
    payments: Vec<Payment>,
    by_key: HashMap<String, usize>,
    by_order: HashMap<String, Vec<usize>>,
    movements: Vec<(usize, Movement)>,
    kept: HashMap<String, (Kept, i64)>,
    /// Scopes of requests that are being processed.
    pub(crate) in_flight: HashSet<String>,
    /// Payments with an operation that is being processed.
    pub(crate) busy: HashSet<(Operation, String)>,
}

impl Book {
    /// Applies one change.
    pub fn apply(&mut self, entry: Entry) {
        let index = entry.payment.map(|payment| self.put(payment));
        if let (Some(index), Some(movement)) = (index, entry.movement) {
            self.movements.push((index, movement));
        }
        if let Some(kept) = entry.kept {
            self.kept.insert(kept.scope, (kept.answer, kept.at_ms));
        }
    }

    fn put(&mut self, payment: Payment) -> usize {
        if let Some(&index) = self.by_key.get(&payment.payment_key) {
            self.payments[index] = payment;
            return index;
        }
        let index = self.payments.len();
        self.by_key.insert(payment.payment_key.clone(), index);
        self.by_order.entry(payment.order_id.clone()).or_default().push(index);
        self.payments.push(payment);
        index
    }

    /// The payment with this key.
    pub fn payment(&self, payment_key: &str) -> Option<&Payment> {
        self.by_key.get(payment_key).map(|&index| &self.payments[index])
    }

    /// The newest payment of an order.
    pub fn newest_of_order(&self, order_id: &str) -> Option<&Payment> {
        let &index = self.by_order.get(order_id)?.last()?;
        Some(&self.payments[index])
    }

    /// The answer kept under a scoped idempotency key, unless it is too old.
    pub fn kept(&self, scope: &str, now_ms: i64) -> Option<&Kept> {
        let (answer, at_ms) = self.kept.get(scope)?;
        (now_ms - at_ms < KEPT_FOR_MS).then_some(answer)
    }

    /// Movements from number `after` on, with their payments.
    pub fn movements(&self, after: usize) -> impl Iterator<Item = (&Payment, &Movement)> {
        let rest = self.movements.get(after..).unwrap_or_default();
        rest.iter().map(|(index, movement)| (&self.payments[*index], movement))
    }

    /// How many movements there are.
    pub fn movements_len(&self) -> usize {
        self.movements.len()
    }

    /// Captured and refunded of every order that money moved for.
    pub fn totals_by_order(&self) -> HashMap<&str, Totals> {
        let mut totals: HashMap<&str, Totals> = HashMap::new();
        for (payment, movement) in self.movements(0) {
            totals.entry(&payment.order_id).or_default().add(movement);
        }
        totals
    }
}

impl Totals {
    /// Adds a movement.
    pub fn add(&mut self, movement: &Movement) {
        match movement.kind {
            MovementKind::Captured => {
                self.captured += movement.amount;
                self.captures += 1;
            }
            MovementKind::Refunded => self.refunded += movement.amount,
        }
    }
}
