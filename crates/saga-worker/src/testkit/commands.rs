//! Commands as an orchestrator would send them.

use saga_protocol::{Command, Direction, SagaId, StepName, Undoes};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};

/// How long commands live, in ms.
const LIFE_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// The first attempt of the first round of a step, in a new saga.
pub fn execute(action: &str, input: &Value) -> Command {
    let now_ms = SystemClock.now_ms();
    Command {
        saga: SagaId(Uuid::now_v7()),
        definition: "conformance".to_owned(),
        step: StepName::new("step").expect("a good name"),
        item: None,
        direction: Direction::Execute,
        round: 1,
        attempt: 1,
        action: action.to_owned(),
        undoes: None,
        first_sent_at_ms: now_ms,
        sent_at_ms: now_ms,
        expires_at_ms: now_ms + LIFE_MS,
        input: raw(input),
        output: None,
    }
}

/// The first attempt of the first round that undoes `execute`. `succeeded` says whether the
/// orchestrator knows that the execute did.
pub fn compensate(execute: &Command, compensation: &str, succeeded: bool) -> Command {
    Command {
        direction: Direction::Compensate,
        round: 1,
        attempt: 1,
        action: compensation.to_owned(),
        undoes: Some(Undoes { round: execute.round, succeeded }),
        ..execute.clone()
    }
}

/// The next attempt of the same round.
pub fn again(command: &Command) -> Command {
    Command { attempt: command.attempt + 1, ..command.clone() }
}

/// Another round of the same step.
pub fn round(command: &Command, round: u32) -> Command {
    Command { round, attempt: 1, ..command.clone() }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value is JSON")
}
