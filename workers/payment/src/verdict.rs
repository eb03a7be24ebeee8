//! What a payment of the vendor's says about what was asked: pure judgement.
//!
//! It must not ask or record anything. An answer is not success because it is one: it must be this
//! payment, this order and this amount.

use saga_protocol::Fault;

use crate::input::{self, Cancelled, Confirmed};
use crate::toss::{Payment, Status};

/// What a payment says about a confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmVerdict {
    /// It took effect: the money is ours (less what somebody has given back since).
    Captured(Confirmed),
    /// It took effect: a virtual account waits for its deposit.
    AwaitsDeposit(Confirmed),
    /// It holds no money and never will.
    Over(Fault),
    /// Not confirmed, so far.
    Open,
    /// It is the payment, but for another order or amount: it can never be this order's.
    Other(Fault),
    /// It is another payment, and says nothing about the one that was asked for.
    Stranger(Fault),
    /// A status that this version does not know.
    Unclear(Fault),
}

/// Judges `found`, which the vendor answered for `asked`.
pub fn of_confirm(asked: &input::Payment, found: &Payment) -> ConfirmVerdict {
    if let Some(fault) = stranger(asked, found) {
        return ConfirmVerdict::Stranger(fault);
    }
    if found.order_id != asked.order_id.as_str()
        || found.total_amount != asked.amount
        || found.currency != asked.currency
    {
        return ConfirmVerdict::Other(Fault::new(
            "payment_mismatch",
            format!(
                "asked for {} {} of order {}, but the payment is {} {} of order {}",
                asked.amount,
                asked.currency,
                asked.order_id.as_str(),
                found.total_amount,
                found.currency,
                found.order_id
            ),
        ));
    }
    match found.status {
        Status::Done => ConfirmVerdict::Captured(confirmed(found)),
        Status::PartialCanceled if found.balance_amount > 0 => ConfirmVerdict::Captured(confirmed(found)),
        Status::WaitingForDeposit => ConfirmVerdict::AwaitsDeposit(confirmed(found)),
        Status::Canceled | Status::PartialCanceled => {
            ConfirmVerdict::Over(Fault::new("payment_canceled", "the payment has been given back in full"))
        }
        Status::Aborted | Status::Expired => ConfirmVerdict::Over(refused(found)),
        Status::Ready | Status::InProgress => ConfirmVerdict::Open,
        Status::Unknown => ConfirmVerdict::Unclear(Fault::new(
            "toss_unknown_status",
            "the payment has a status that is not known",
        )),
    }
}

/// Why `found` is not the payment that was asked for, if it is not.
pub fn stranger(asked: &input::Payment, found: &Payment) -> Option<Fault> {
    (found.payment_key != asked.payment_key.as_str())
        .then(|| Fault::new("payment_mismatch", "the answer is about another payment"))
}

fn refused(found: &Payment) -> Fault {
    match &found.failure {
        Some(failure) if !failure.code.is_empty() => Fault::new(&failure.code, &failure.message),
        _ if found.status == Status::Expired => {
            Fault::new("NOT_FOUND_PAYMENT_SESSION", "the payment was not confirmed in time")
        }
        _ => Fault::new("payment_aborted", "the payment was refused"),
    }
}

fn confirmed(found: &Payment) -> Confirmed {
    Confirmed {
        payment_key: found.payment_key.clone(),
        order_id: found.order_id.clone(),
        amount: found.total_amount,
        currency: found.currency.clone(),
        status: found.status.as_str().to_owned(),
        captured_amount: found.captured_amount(),
        refunded_amount: found.refunded_amount(),
        approved_at: found.approved_at.clone(),
        receipt_url: found.receipt.as_ref().and_then(|it| it.url.clone()),
        method: found.method.clone(),
    }
}

/// What a payment says about a cancel: its output when it has taken effect.
///
/// Who asks for all of it is served by whoever gave it back. A part is recognized by its effect key, which stands in
/// its reason: amounts alone cannot tell it from another one.
pub fn of_cancel(asked: &input::Payment, effect_key: &str, found: &Payment) -> Option<Cancelled> {
    if stranger(asked, found).is_some() {
        return None;
    }
    let mark = input::mark(effect_key);
    let ours = |reason: &Option<String>| reason.as_deref().is_some_and(|it| it.contains(&mark));
    let done = match asked.cancel_amount {
        None => found.balance_amount == 0,
        Some(_) => found.cancels().iter().any(|it| ours(&it.cancel_reason)),
    };
    if !done {
        return None;
    }
    Some(Cancelled {
        payment_key: found.payment_key.clone(),
        order_id: found.order_id.clone(),
        status: found.status.as_str().to_owned(),
        refunded_amount: found.refunded_amount(),
        balance_amount: found.balance_amount,
        canceled_at: found.cancels().last().and_then(|it| it.canceled_at.clone()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn asked() -> input::Payment {
        serde_json::from_value(json!({ "order_id": "order-1", "payment_key": "key", "amount": 100 })).unwrap()
    }

    fn found(changes: Value) -> Payment {
        let mut payment = json!({ "paymentKey": "key", "orderId": "order-1", "totalAmount": 100,
            "balanceAmount": 100, "status": "DONE", "approvedAt": "2026-01-01T00:00:00+09:00" });
        payment.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(payment).unwrap()
    }

    #[test]
    fn a_confirm_is_judged_by_what_was_asked() {
        let judge = |changes| match of_confirm(&asked(), &found(changes)) {
            ConfirmVerdict::Captured(out) => {
                format!("captured {}", out.captured_amount - out.refunded_amount)
            }
            ConfirmVerdict::AwaitsDeposit(out) => format!("awaits, holds {}", out.captured_amount),
            ConfirmVerdict::Over(fault) => format!("over {}", fault.code),
            ConfirmVerdict::Open => "open".to_owned(),
            ConfirmVerdict::Other(fault) => format!("other {}", fault.code),
            ConfirmVerdict::Stranger(fault) => format!("stranger {}", fault.code),
            ConfirmVerdict::Unclear(fault) => format!("unclear {}", fault.code),
        };
        let failure =
            json!({ "status": "ABORTED", "failure": { "code": "REJECT_CARD_COMPANY", "message": "no" } });
        for (changes, expected) in [
            (json!({}), "captured 100"),
            (json!({ "status": "PARTIAL_CANCELED", "balanceAmount": 30 }), "captured 30"),
            (json!({ "status": "PARTIAL_CANCELED", "balanceAmount": 0 }), "over payment_canceled"),
            (json!({ "status": "CANCELED", "balanceAmount": 0 }), "over payment_canceled"),
            (json!({ "status": "WAITING_FOR_DEPOSIT", "approvedAt": null }), "awaits, holds 0"),
            (json!({ "status": "IN_PROGRESS" }), "open"),
            (json!({ "status": "READY" }), "open"),
            (failure, "over REJECT_CARD_COMPANY"),
            (json!({ "status": "ABORTED" }), "over payment_aborted"),
            (json!({ "status": "EXPIRED" }), "over NOT_FOUND_PAYMENT_SESSION"),
            (json!({ "status": "TOMORROW" }), "unclear toss_unknown_status"),
            (json!({ "paymentKey": "other" }), "stranger payment_mismatch"),
            (json!({ "paymentKey": "other", "totalAmount": 99 }), "stranger payment_mismatch"),
            (json!({ "orderId": "order-2" }), "other payment_mismatch"),
            (json!({ "totalAmount": 99 }), "other payment_mismatch"),
            (json!({ "currency": "USD" }), "other payment_mismatch"),
        ] {
            assert_eq!(judge(changes.clone()), expected, "{changes}");
        }
    }

    #[test]
    fn a_full_cancel_is_a_zero_balance_and_nothing_less() {
        let shows = |changes| of_cancel(&asked(), "s:pay:c1", &found(changes)).is_some();
        assert!(shows(json!({ "status": "CANCELED", "balanceAmount": 0 })));
        assert!(shows(json!({ "status": "PARTIAL_CANCELED", "balanceAmount": 0 })));
        assert!(!shows(json!({})));
        assert!(!shows(json!({ "balanceAmount": 0, "paymentKey": "other" })));
        let marked = json!([{ "cancelAmount": 40, "cancelReason": "r [s:pay:c1]" }]);
        assert!(!shows(json!({ "status": "PARTIAL_CANCELED", "balanceAmount": 60, "cancels": marked })));
    }

    #[test]
    fn a_partial_cancel_is_known_by_its_mark() {
        let asked = input::Payment { cancel_amount: Some(40), ..asked() };
        let shows = |reason: &str| {
            let cancels = json!([{ "cancelAmount": 40, "cancelReason": reason }]);
            let found =
                found(json!({ "status": "PARTIAL_CANCELED", "balanceAmount": 60, "cancels": cancels }));
            of_cancel(&asked, "s:pay:c1", &found).map(|it| it.refunded_amount)
        };
        assert_eq!(shows("r [s:pay:c1]"), Some(40));
        assert_eq!(shows("r [s:pay:c11]"), None);
        assert_eq!(shows("r"), None);
    }
}
