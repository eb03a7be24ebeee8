//! What a worker answers.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::command::Command;
use crate::envelope::{self, DecodeError, Headers, Message};
use crate::ids::{Direction, EffectKey, SagaId, StepName};

/// The answer to one attempt of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The saga that asked.
    pub saga: SagaId,
    /// The step.
    pub step: StepName,
    /// The index within a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Execute or compensate.
    pub direction: Direction,
    /// The round that is answered.
    pub round: u32,
    /// The attempt that is answered. A final answer counts whichever attempt carried it.
    pub attempt: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// With `succeeded`: what the step produced; at most [`crate::OUTPUT_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// With every other outcome: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// With `retryable`: the trouble is the worker's own (a wrong key, an open circuit breaker), so
    /// it burns no budget.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncharged: bool,
    /// With `retryable`: do not ask again sooner than this, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done. Final: the barrier keeps it and answers it again.
    Succeeded,
    /// Business said no, and nothing took effect. Final.
    Rejected,
    /// Not now; ask again. Never stored by the barrier.
    Retryable,
    /// The worker has no right to any answer (its record is gone, or past retention). Not final: it
    /// parks the saga, and the command is kept as a dead letter.
    Undecidable,
}

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A stable code, such as `REJECT_CARD_COMPANY` or `out_of_stock`.
    pub code: String,
    /// In words, for a human; at most 1,000 characters are kept.
    pub message: String,
}

impl Fault {
    /// Makes a fault.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl Reply {
    /// An answer to `command` without output or error.
    pub fn to(command: &Command, outcome: Outcome) -> Self {
        Self {
            saga: command.saga,
            step: command.step.clone(),
            item: command.item,
            direction: command.direction,
            round: command.round,
            attempt: command.attempt,
            outcome,
            output: None,
            error: None,
            uncharged: false,
            retry_after_ms: None,
        }
    }

    /// The effect key that is answered.
    pub fn effect_key(&self) -> EffectKey {
        EffectKey {
            saga: self.saga,
            step: self.step.clone(),
            item: self.item,
            direction: self.direction,
            round: self.round,
        }
    }

    /// Encodes the reply for the command's reply topic. `worker` is the worker's name, `at_ms` now.
    pub fn encode(&self, worker: &str, at_ms: i64, traceparent: Option<&str>) -> Message {
        let mut message = envelope::encode(
            self.effect_key().ce_id(self.attempt),
            "amends.reply",
            &format!("/workers/{worker}"),
            at_ms,
            self.saga,
            self,
        );
        if let Some(traceparent) = traceparent {
            message.headers.push(envelope::TRACEPARENT, traceparent.to_owned());
        }
        message
    }

    /// Decodes a record of the inbox topic whose type is `amends.reply`.
    ///
    /// # Errors
    /// When the data is not a reply; such a record is a dead letter.
    pub fn decode(headers: &Headers, data: &[u8]) -> Result<Self, DecodeError> {
        headers.expect_type("amends.reply")?;
        Ok(serde_json::from_slice(data)?)
    }
}
