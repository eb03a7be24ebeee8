//! What the orchestrator asks of a worker.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::envelope::{self, DecodeError, Headers, Message, ReplyTo};
use crate::ids::{Direction, EffectKey, SagaId, StepName};

/// One sending of one round of a step, in one direction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// The saga that asks.
    pub saga: SagaId,
    /// The definition's name, for logs and metrics.
    pub definition: String,
    /// The step.
    pub step: StepName,
    /// The index within a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Execute or compensate.
    pub direction: Direction,
    /// The round, from 1.
    pub round: u32,
    /// The attempt within the round, from 1.
    pub attempt: u32,
    /// What to do: the step's action, or the name of its compensation.
    pub action: String,
    /// Only in a compensate: the execute round that it undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Undoes>,
    /// When this round was first sent, in ms since 1970 UTC, by the orchestrator's clock.
    pub first_sent_at_ms: i64,
    /// When this attempt was sent; the same instant as the header `ce_time`.
    pub sent_at_ms: i64,
    /// From when on an execute must no longer take effect. A compensate is bounded by the inbox's retention
    /// alone; there it says for how long that is, unless the worker has announced another.
    pub expires_at_ms: i64,
    /// The execute's input: byte for byte the same in every attempt, and in its compensation.
    pub input: Box<RawValue>,
    /// Only in a compensate: the execute's output, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
}

/// What a compensate undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undoes {
    /// The execute's round.
    pub round: u32,
    /// Whether the orchestrator knows that the execute succeeded. If it does, a worker without a
    /// record of it has lost something, and must not answer that there was nothing to undo.
    pub succeeded: bool,
}

impl Command {
    /// The effect key: what barriers and outside providers see.
    pub fn effect_key(&self) -> EffectKey {
        EffectKey {
            saga: self.saga,
            step: self.step.clone(),
            item: self.item,
            direction: self.direction,
            round: self.round,
        }
    }

    /// The execute round whose barrier row this command belongs to.
    pub fn execute_round(&self) -> u32 {
        self.undoes.map_or(self.round, |undoes| undoes.round)
    }

    /// Encodes the command for the worker's topic; the key is the saga's id.
    pub fn encode(&self, reply_to: &ReplyTo, traceparent: Option<&str>) -> Message {
        let mut message = envelope::encode(
            self.effect_key().ce_id(self.attempt),
            "amends.command",
            "/amends",
            self.sent_at_ms,
            self.saga,
            self,
        );
        message.headers.push(envelope::REPLY_TO, reply_to.to_string());
        if let Some(traceparent) = traceparent {
            message.headers.push(envelope::TRACEPARENT, traceparent.to_owned());
        }
        message
    }

    /// Decodes a record of a command topic.
    ///
    /// # Errors
    /// When a header is missing or the data is not a command; such a record is a dead letter.
    pub fn decode(headers: &Headers, data: &[u8]) -> Result<(Self, ReplyTo), DecodeError> {
        headers.expect_type("amends.command")?;
        let reply_to = headers.required(envelope::REPLY_TO)?.parse()?;
        let command: Self = serde_json::from_slice(data)?;
        if (command.direction == Direction::Compensate) != command.undoes.is_some() {
            return Err(DecodeError::Field("`undoes` must stand in a compensate and nowhere else"));
        }
        if command.round == 0 || command.attempt == 0 {
            return Err(DecodeError::Field("`round` and `attempt` count from 1"));
        }
        Ok((command, reply_to))
    }
}
