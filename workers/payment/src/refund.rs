//! The external action `refund`: a part of a captured payment, or all of it, is given back for good, such as for a return.
//!
//! Owns which payment an order's refund belongs to. How Toss is asked, and how a refund is recognized, is
//! the compensation `cancel`'s: to the vendor both are a cancel, told apart by their effect key. It has no compensation.

use async_trait::async_trait;
use saga_protocol::Fault;
use saga_worker::{Answer, Call, CallResult, External, HandlerError, Inquiry};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::input::{self, OrderId, PaymentKey};
use crate::payments;
use crate::toss::{Client, RefundAccount};
use crate::{cancel, store};

/// The handler.
#[derive(Clone, Debug)]
pub struct Refunds {
    toss: Client,
    pool: PgPool,
}

/// Input of `refund`.
#[derive(Clone, Debug, Deserialize)]
pub struct Refund {
    /// The shop's order.
    pub order_id: OrderId,
    /// How much is given back, in whole won.
    pub amount: i64,
    /// Why, in words that the customer may read.
    #[serde(default)]
    pub reason: Option<String>,
    /// Which of the order's payments, when it has several.
    #[serde(default)]
    pub payment_key: Option<PaymentKey>,
    /// Where the refund of a virtual account goes.
    #[serde(default)]
    pub refund_account: Option<RefundAccount>,
}

/// Why there is nothing to ask the vendor for.
enum Unfit {
    /// It never will be: the order, or the input, is wrong.
    Never(Fault),
    /// The database does not answer.
    NotNow(Fault),
}

impl Refunds {
    /// A handler that finds payments in `pool` and calls the vendor through `toss`.
    pub fn new(toss: Client, pool: PgPool) -> Self {
        Self { toss, pool }
    }

    /// The refund as a cancel of the order's payment. The same in every attempt: a payment that was captured stays
    /// one, and an order with several is not guessed at.
    async fn asked(&self, call: &Call) -> Result<input::Payment, Unfit> {
        let never = |code: &str, words: String| Unfit::Never(Fault::new(code, words));
        let refund: Refund = serde_json::from_str(call.command.input.get())
            .map_err(|error| never("bad_input", format!("input: {error}")))?;
        if refund.amount <= 0 {
            return Err(never("bad_input", "`amount` must be positive".to_owned()));
        }
        let captured = store::captured(&self.pool, &refund.order_id)
            .await
            .map_err(|error| Unfit::NotNow(Fault::new("database", error.to_string())))?;
        let order = refund.order_id.as_str();
        let named = |it: &store::Payment| {
            refund.payment_key.as_ref().is_none_or(|key| key.as_str() == it.payment_key)
        };
        let of_order = captured.into_iter().filter(named).collect();
        let payment = the_one(of_order, order).map_err(Unfit::Never)?;
        let payment_key = PaymentKey::try_from(payment.payment_key)
            .map_err(|error| never("bad_payment_key", error.to_owned()))?;
        Ok(input::Payment {
            order_id: refund.order_id,
            payment_key,
            amount: payment.captured_amount,
            currency: payment.currency,
            virtual_account: false,
            cancel_amount: Some(refund.amount),
            cancel_reason: refund.reason,
            refund_account: refund.refund_account,
        })
    }
}

/// The payment that an order stands by, of those that were captured for it, the oldest first: what an earlier try was
/// charged was given back whole when that was undone. Once all are given back it is the newest, so that a refund that is
/// asked for again means the same payment.
fn the_one(mut captured: Vec<store::Payment>, order: &str) -> Result<store::Payment, Fault> {
    let mut holding = captured.iter().enumerate().filter(|(_, it)| it.refunded_amount < it.captured_amount);
    match (holding.next().map(|it| it.0), holding.next()) {
        (Some(_), Some(_)) => Err(Fault::new(
            "several_payments",
            format!("order {order} has several payments. What to do: retry with `payment_key` in the input."),
        )),
        (Some(at), None) => Ok(captured.swap_remove(at)),
        (None, _) => captured
            .pop()
            .ok_or_else(|| Fault::new("no_payment", format!("nothing was captured for order {order}"))),
    }
}

#[async_trait]
impl External for Refunds {
    async fn call(&self, call: &Call) -> CallResult {
        match self.asked(call).await {
            Ok(asked) => cancel::call(&self.toss, call, &asked).await,
            Err(Unfit::Never(fault)) => CallResult::Declined(fault),
            Err(Unfit::NotNow(fault)) => CallResult::NotSent(fault),
        }
    }

    async fn inquire(&self, call: &Call) -> Inquiry {
        match self.asked(call).await {
            Ok(asked) => cancel::inquire(&self.toss, call, &asked).await,
            // Another version may have understood it, and called.
            Err(Unfit::Never(fault) | Unfit::NotNow(fault)) => Inquiry::Unknown(fault),
        }
    }

    async fn settled(&self, tx: &mut PgConnection, call: &Call, answer: &Answer) -> Result<(), HandlerError> {
        match answer {
            Answer::Succeeded(output) => {
                store::cancelled(tx, &payments::output_of(output.as_deref())?).await?;
            }
            Answer::Rejected(fault) => {
                if let Ok(asked) = self.asked(call).await {
                    store::refund_refused(tx, &asked.payment_key, fault).await?;
                }
            }
            Answer::Retryable { .. } | Answer::Undecidable(_) => {}
        }
        Ok(())
    }
}

/// JSON Schema of [`Refund`].
pub fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["order_id", "amount"],
        "properties": {
            "order_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" },
            "amount": { "type": "integer", "minimum": 1 },
            "reason": { "type": ["string", "null"] },
            "payment_key": { "type": ["string", "null"], "minLength": 1, "maxLength": 200 },
            "refund_account": input::refund_account_schema()
        }
    })
}

/// JSON Schema of [`input::Cancelled`], which is a refund's output.
pub fn output_schema() -> Value {
    json!({
        "type": "object",
        "required": ["payment_key", "order_id", "status", "refunded_amount", "balance_amount"],
        "properties": {
            "payment_key": { "type": "string" },
            "order_id": { "type": "string" },
            "status": { "type": "string" },
            "refunded_amount": { "type": "integer" },
            "balance_amount": { "type": "integer" },
            "canceled_at": { "type": "string", "format": "date-time" }
        }
    })
}
