//! The external action `confirm` with its compensation `cancel`, as the SDK calls it: each direction
//! has its module, and the shop's own record of a payment is written in the transaction that records
//! the answer.

use async_trait::async_trait;
use saga_protocol::{Direction, Fault};
use saga_worker::{Answer, Call, CallResult, External, HandlerError, Inquiry};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use crate::secrets::Secrets;
use crate::toss::{Class, Client, TossError};
use crate::{cancel, confirm, input, store};

/// The handler.
#[derive(Clone, Debug)]
pub struct Payments {
    toss: Client,
    secrets: Secrets,
}

impl Payments {
    /// A handler that calls the vendor through `toss`.
    pub fn new(toss: Client) -> Self {
        Self { toss, secrets: Secrets::default() }
    }
}

#[async_trait]
impl External for Payments {
    async fn call(&self, call: &Call) -> CallResult {
        match (parse(call), call.command.direction) {
            (Ok(asked), Direction::Execute) => confirm::call(&self.toss, &self.secrets, call, &asked).await,
            (Ok(asked), Direction::Compensate) => cancel::call(&self.toss, call, &asked).await,
            (Err(fault), _) => CallResult::Declined(fault),
        }
    }

    async fn inquire(&self, call: &Call) -> Inquiry {
        match (parse(call), call.command.direction) {
            (Ok(asked), Direction::Execute) => {
                confirm::inquire(&self.toss, &self.secrets, call, &asked).await
            }
            (Ok(asked), Direction::Compensate) => cancel::inquire(&self.toss, call, &asked).await,
            // Another version may have understood it, and called.
            (Err(fault), _) => Inquiry::Unknown(fault),
        }
    }

    async fn settled(&self, tx: &mut PgConnection, call: &Call, answer: &Answer) -> Result<(), HandlerError> {
        let Ok(asked) = parse(call) else { return Ok(()) };
        match (call.command.direction, answer) {
            (Direction::Execute, Answer::Succeeded(output)) => {
                let secret = self.secrets.of(&asked.payment_key);
                store::confirmed(tx, &call.command, &asked, output_of(output.as_deref())?, secret).await?;
            }
            (Direction::Execute, Answer::Rejected(fault)) => {
                store::refused(tx, &call.command, &asked, fault).await?;
            }
            (Direction::Compensate, Answer::Succeeded(output)) => {
                store::cancelled(tx, &output_of(output.as_deref())?).await?;
            }
            (Direction::Compensate, Answer::Rejected(fault)) => {
                store::refund_refused(tx, &asked.payment_key, fault).await?;
            }
            (_, Answer::Retryable { .. } | Answer::Undecidable(_)) => {}
        }
        Ok(())
    }
}

/// What was asked. It cannot change between attempts, so what does not fit never will.
fn parse(call: &Call) -> Result<input::Payment, Fault> {
    let bad = |message: String| Fault::new("bad_input", message);
    let asked: input::Payment =
        serde_json::from_str(call.command.input.get()).map_err(|error| bad(format!("input: {error}")))?;
    asked.check().map_err(bad)?;
    Ok(asked)
}

pub(crate) fn output_of<T: serde::de::DeserializeOwned>(
    output: Option<&RawValue>,
) -> Result<T, HandlerError> {
    let text = output.map_or("null", RawValue::get);
    serde_json::from_str(text).map_err(|error| HandlerError::Data(format!("our own output: {error}")))
}

pub(crate) fn raw<T: Serialize>(output: &T) -> Option<Box<RawValue>> {
    Some(serde_json::value::to_raw_value(output).expect("outputs are structs of strings and numbers"))
}

/// The fault that an error becomes on the wire.
pub(crate) fn fault_of(error: &TossError) -> Fault {
    let message = match error {
        TossError::Refused(refusal) => refusal.message.clone(),
        TossError::NotSent(source) | TossError::NoAnswer(source) => format!("{error}: {source}"),
        TossError::TooLate | TossError::Unreadable { .. } => error.to_string(),
    };
    Fault::new(error.code(), message)
}

/// An inquiry that was not answered.
pub(crate) fn not_found_out(error: &TossError) -> Inquiry {
    let fault = fault_of(error);
    if error.class() == Some(Class::Configuration) {
        alarm(&fault);
    }
    Inquiry::Unknown(fault)
}

/// Our key or set-up is wrong: nothing is charged to the step's budget, and somebody is told.
pub(crate) fn own_trouble(fault: Fault) -> CallResult {
    alarm(&fault);
    CallResult::OwnTrouble(fault)
}

fn alarm(fault: &Fault) {
    metrics::counter!("amends_toss_configuration_errors_total", "code" => fault.code.clone()).increment(1);
    tracing::error!(code = fault.code, "Toss Payments refuses our key: payments and refunds stand still");
}
