//! The compensation `cancel`: giving money back at Toss, and finding out whether it was given back.

use saga_protocol::Fault;
use saga_worker::{Call, CallResult, Inquiry};

use crate::input;
use crate::payments::{self, fault_of, raw};
use crate::toss::{CancelRequest, Class, Client, TossError};
use crate::verdict;

/// The vendor forgets idempotency keys after 15 days. A day earlier, the amount takes their place as
/// what keeps a repeated cancel from giving back twice.
const KEYS_TRUSTED_FOR_MS: i64 = 14 * 24 * 3600 * 1000;

/// Makes the call.
pub(crate) async fn call(toss: &Client, call: &Call, asked: &input::Payment) -> CallResult {
    let mut request = CancelRequest {
        cancel_reason: asked.reason(&call.effect_key),
        cancel_amount: asked.cancel_amount,
        refundable_amount: None,
        refund_receive_account: asked.refund_account.clone(),
    };
    if call.now_ms() - call.command.first_sent_at_ms > KEYS_TRUSTED_FOR_MS {
        match toss.payment(asked.payment_key.as_str()).await {
            Ok(Some(payment)) => {
                if let Some(fault) = verdict::stranger(asked, &payment) {
                    return CallResult::NotSent(fault);
                }
                if let Some(output) = verdict::of_cancel(asked, &call.effect_key, &payment) {
                    return CallResult::Done(raw(&output));
                }
                request.refundable_amount = Some(payment.balance_amount);
            }
            Ok(None) => return needs_human("NOT_FOUND_PAYMENT", "There is no such payment."),
            Err(error) => return CallResult::NotSent(fault_of(&error)),
        }
    }
    let key = asked.payment_key.as_str();
    let error = match toss.cancel(key, &request, &call.effect_key, || call.may_send()).await {
        Ok(payment) => {
            return match verdict::of_cancel(asked, &call.effect_key, &payment) {
                Some(output) => CallResult::Done(raw(&output)),
                None => CallResult::Unknown(
                    verdict::stranger(asked, &payment)
                        .unwrap_or_else(|| Fault::new("toss_unclear", "the answer does not show the refund")),
                ),
            };
        }
        Err(error) => error,
    };
    let fault = fault_of(&error);
    match &error {
        TossError::NotSent(_) | TossError::TooLate => CallResult::NotSent(fault),
        TossError::NoAnswer(_) | TossError::Unreadable { .. } => CallResult::Unknown(fault),
        TossError::Refused(refusal) => match refusal.class {
            Class::Passing => CallResult::Unknown(fault),
            Class::Configuration => payments::own_trouble(fault),
            Class::ProbablyDone | Class::NeedsHuman | Class::Final | Class::Unlisted => {
                settle_refusal(toss, call, asked, fault).await
            }
        },
    }
}

/// A refused refund: the payment is read again before a human is called.
async fn settle_refusal(toss: &Client, call: &Call, asked: &input::Payment, fault: Fault) -> CallResult {
    match inquire(toss, call, asked).await {
        Inquiry::Found(output) => CallResult::Done(output),
        Inquiry::Unknown(_) => CallResult::Unknown(fault),
        // "Already given back", but the payment says otherwise: one of the two will change.
        Inquiry::NotFound if fault.code.starts_with("ALREADY_") && asked.cancel_amount.is_none() => {
            CallResult::Unknown(fault)
        }
        Inquiry::NotFound | Inquiry::Impossible(_) => needs_human(&fault.code, &fault.message),
    }
}

/// Asks whether the money was given back.
pub(crate) async fn inquire(toss: &Client, call: &Call, asked: &input::Payment) -> Inquiry {
    match toss.payment(asked.payment_key.as_str()).await {
        Ok(None) => Inquiry::NotFound,
        Ok(Some(payment)) => match verdict::of_cancel(asked, &call.effect_key, &payment) {
            Some(output) => Inquiry::Found(raw(&output)),
            None => verdict::stranger(asked, &payment).map_or(Inquiry::NotFound, Inquiry::Unknown),
        },
        Err(error) => payments::not_found_out(&error),
    }
}

fn needs_human(code: &str, message: &str) -> CallResult {
    CallResult::Declined(Fault::new(code, format!("{message} What to do: {}", remedy(code))))
}

/// What an operator does about a refund that the vendor refuses.
fn remedy(code: &str) -> &'static str {
    match code {
        "NOT_CANCELABLE_PAYMENT" => {
            "look the payment up in Toss's shop console; if it holds no money, mark the step compensated (after the pivot: skip it) with that as evidence, else refund by bank transfer."
        }
        "EXCEED_MAX_REFUND_DUE" => {
            "the period for refunds is over: refund by bank transfer, then mark the step compensated (after the pivot: skip it) with its receipt."
        }
        "ALREADY_CANCELED_PAYMENT" => {
            "somebody has given it all back, and not for this: compare the cancels in Toss's shop console, then skip the step, or settle it with the customer."
        }
        "REFUND_REJECTED" => "ask the card company or Toss why, then retry, or refund by bank transfer.",
        "NOT_ALLOWED_PARTIAL_REFUND" => {
            "the method allows no partial refund: refund in full in Toss's shop console, or the part by bank transfer."
        }
        "EXCEED_CANCEL_LIMIT" => "the shop's cancel limit is reached: have Toss raise it, then retry.",
        "NOT_MATCHES_REFUNDABLE_AMOUNT" | "NOT_CANCELABLE_AMOUNT" => {
            "somebody has refunded part of it: compare the cancels in Toss's shop console, then retry with the amount that is due."
        }
        "NOT_FOUND_PAYMENT" => {
            "Toss does not know the payment under this secret key: check that the key belongs to the shop that took it."
        }
        "INVALID_REFUND_ACCOUNT_INFO" | "INVALID_REFUND_ACCOUNT_NUMBER" | "INVALID_BANK" => {
            "ask the customer for the account to refund to, then retry with `refund_account` in the input."
        }
        _ => {
            "look the payment up in Toss's shop console, refund it there, then mark the step compensated (after the pivot: skip it) with evidence."
        }
    }
}
