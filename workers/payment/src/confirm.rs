//! The action `confirm`: capturing a payment at Toss, and finding out whether it was captured.

use saga_protocol::Fault;
use saga_worker::{Call, CallResult, Inquiry};

use crate::input;
use crate::payments::{self, fault_of, raw};
use crate::secrets::Secrets;
use crate::toss::{CancelRequest, Class, Client, ConfirmRequest, TossError};
use crate::verdict::{self, ConfirmVerdict};

/// Makes the call.
pub(crate) async fn call(
    toss: &Client,
    secrets: &Secrets,
    call: &Call,
    asked: &input::Payment,
) -> CallResult {
    let request = ConfirmRequest {
        payment_key: asked.payment_key.as_str().to_owned(),
        order_id: asked.order_id.as_str().to_owned(),
        amount: asked.amount,
    };
    let error = match toss.confirm(&request, &call.effect_key, || call.may_send()).await {
        Ok(payment) => {
            secrets.hold(&payment);
            let verdict = verdict::of_confirm(asked, &payment);
            if let ConfirmVerdict::Other(fault) | ConfirmVerdict::Stranger(fault) = verdict {
                // Not our payment: whether ours was captured, only asking for it can tell.
                tracing::error!(fault = fault.message, "Toss answered a confirm with another payment");
                return from_inquiry(
                    inquire(toss, secrets, call, asked).await,
                    fault.clone(),
                    CallResult::Unknown(fault),
                );
            }
            return match conclude(toss, call, asked, verdict).await {
                // An answer to a confirm that says "not confirmed" proves nothing.
                Inquiry::NotFound => {
                    CallResult::Unknown(Fault::new("toss_unclear", "the confirm left the payment open"))
                }
                Inquiry::Found(output) => CallResult::Done(output),
                Inquiry::Impossible(fault) => CallResult::Declined(fault),
                Inquiry::Unknown(fault) => CallResult::Unknown(fault),
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
            Class::Final => CallResult::Declined(fault),
            Class::Configuration => payments::own_trouble(fault),
            Class::ProbablyDone => {
                let otherwise = CallResult::Unknown(fault.clone());
                from_inquiry(inquire(toss, secrets, call, asked).await, fault, otherwise)
            }
            // Refused, by a code that is on no list: believed only if the payment does not say otherwise.
            Class::NeedsHuman | Class::Unlisted => {
                let otherwise = CallResult::Declined(fault.clone());
                from_inquiry(inquire(toss, secrets, call, asked).await, fault, otherwise)
            }
        },
    }
}

/// What a call's doubtful answer means after an inquiry; `not_found` when there is no trace.
fn from_inquiry(inquiry: Inquiry, doubt: Fault, not_found: CallResult) -> CallResult {
    match inquiry {
        Inquiry::Found(output) => CallResult::Done(output),
        Inquiry::Impossible(fault) => CallResult::Declined(fault),
        Inquiry::NotFound => not_found,
        Inquiry::Unknown(_) => CallResult::Unknown(doubt),
    }
}

/// Asks whether the payment was captured.
pub(crate) async fn inquire(
    toss: &Client,
    secrets: &Secrets,
    call: &Call,
    asked: &input::Payment,
) -> Inquiry {
    match toss.payment(asked.payment_key.as_str()).await {
        Ok(None) => Inquiry::NotFound,
        Ok(Some(payment)) => {
            secrets.hold(&payment);
            conclude(toss, call, asked, verdict::of_confirm(asked, &payment)).await
        }
        Err(error) => payments::not_found_out(&error),
    }
}

async fn conclude(toss: &Client, call: &Call, asked: &input::Payment, verdict: ConfirmVerdict) -> Inquiry {
    match verdict {
        ConfirmVerdict::Captured(output) => Inquiry::Found(raw(&output)),
        ConfirmVerdict::AwaitsDeposit(output) if asked.virtual_account => Inquiry::Found(raw(&output)),
        ConfirmVerdict::AwaitsDeposit(_) => void(toss, call, asked).await,
        // Whoever owns the payment, it is not this order: a confirm for this order cannot succeed.
        ConfirmVerdict::Over(fault) | ConfirmVerdict::Other(fault) => Inquiry::Impossible(fault),
        ConfirmVerdict::Open => Inquiry::NotFound,
        ConfirmVerdict::Stranger(fault) | ConfirmVerdict::Unclear(fault) => Inquiry::Unknown(fault),
    }
}

/// Takes back a virtual account that nobody wants to wait for. Left alone, the customer might still
/// pay into it. Once it is void the confirm holds nothing and never will.
async fn void(toss: &Client, call: &Call, asked: &input::Payment) -> Inquiry {
    let key = format!("{}:void", call.effect_key);
    let request = CancelRequest {
        cancel_reason: format!("Virtual accounts are not offered {}", input::mark(&key)),
        ..CancelRequest::default()
    };
    match toss.cancel(asked.payment_key.as_str(), &request, &key, || true).await {
        Ok(payment) if payment.payment_key == asked.payment_key.as_str() && payment.balance_amount == 0 => {
            Inquiry::Impossible(Fault::new(
                "virtual_account_not_offered",
                "the customer chose a virtual account; it was voided before any deposit",
            ))
        }
        Ok(_) => Inquiry::Unknown(Fault::new("toss_unclear", "the virtual account was not voided in full")),
        Err(error) => Inquiry::Unknown(fault_of(&error)),
    }
}
