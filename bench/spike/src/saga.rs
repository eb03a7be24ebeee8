//! The one saga of the spike: three steps in a row, undone in reverse when one is rejected; and its wire.
//!
//! Pure. Of the engine's semantics it has what `checkout-bare` meets when nothing goes wrong.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A step: who does what, and how it is undone.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) worker: &'static str,
    pub(crate) action: &'static str,
    pub(crate) compensation: &'static str,
}

/// `saga-defs/checkout-bare.yaml`.
pub(crate) const STEPS: [Step; 3] = [
    Step { name: "create_order", worker: "order", action: "create", compensation: "cancel" },
    Step { name: "reserve_stock", worker: "stock", action: "reserve", compensation: "release" },
    Step { name: "pay", worker: "payment", action: "decide", compensation: "undo_decide" },
];

/// How long a saga and an answer may take, in ms. Written, and watched by nobody.
const DEADLINE_MS: i64 = 600_000;
const TIMEOUT_MS: i64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    Execute,
    Compensate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Succeeded,
    Rejected,
}

/// How a saga stands; as numbers, the engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Running = 0,
    Completed = 2,
    Compensated = 3,
}

impl Status {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
        }
    }
}

/// A saga's state, as it is kept.
#[derive(Debug, Serialize)]
pub(crate) struct State {
    pub(crate) revision: i32,
    pub(crate) status: Status,
    started: i64,
    deadline: i64,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    step: &'static str,
    execute: Track,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<Track>,
}

#[derive(Debug, Serialize)]
struct Track {
    round: u32,
    sent: i64,
    /// With its answer: what it was, and the revision that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<(Outcome, i32)>,
}

/// A command to send: which step, which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) step: usize,
    pub(crate) direction: Direction,
}

impl Call {
    /// The command's number within its saga: its key in the outbox.
    pub(crate) fn number(self) -> i16 {
        i16::try_from(self.step).unwrap_or(i16::MAX) * 2 + i16::from(self.direction == Direction::Compensate)
    }
}

impl State {
    /// A saga that begins, with its first command.
    pub(crate) fn begin(now_ms: i64) -> (Self, Call) {
        let status = Status::Running;
        let mut state = Self {
            revision: 1,
            status,
            started: now_ms,
            deadline: now_ms + DEADLINE_MS,
            cells: Vec::with_capacity(STEPS.len()),
        };
        let call = state.execute(0, now_ms);
        (state, call)
    }

    /// Takes an answer in; what it leads to.
    pub(crate) fn apply(&mut self, reply: &Reply, now_ms: i64) -> anyhow::Result<Option<Call>> {
        let step = STEPS.iter().position(|it| it.name == reply.step).context("an answer of no step")?;
        self.revision += 1;
        let revision = self.revision;
        let cell = self.cells.get_mut(step).context("an answer of a step that was not sent")?;
        let track = match reply.direction {
            Direction::Execute => &mut cell.execute,
            Direction::Compensate => cell.undo.as_mut().context("an answer to what was not asked")?,
        };
        anyhow::ensure!(track.answer.is_none(), "a second answer");
        track.answer = Some((reply.outcome, revision));
        Ok(match (reply.direction, reply.outcome) {
            (Direction::Execute, Outcome::Succeeded) if step + 1 < STEPS.len() => {
                Some(self.execute(step + 1, now_ms))
            }
            (Direction::Execute, Outcome::Succeeded) => {
                self.status = Status::Completed;
                None
            }
            // Dependents first.
            (Direction::Execute, Outcome::Rejected) | (Direction::Compensate, Outcome::Succeeded) => {
                self.undo_before(step, now_ms)
            }
            (Direction::Compensate, Outcome::Rejected) => anyhow::bail!("a compensation was rejected"),
        })
    }

    fn execute(&mut self, step: usize, now_ms: i64) -> Call {
        let execute = Track { round: 1, sent: now_ms, answer: None };
        self.cells.push(Cell { step: STEPS[step].name, execute, undo: None });
        Call { step, direction: Direction::Execute }
    }

    fn undo_before(&mut self, step: usize, now_ms: i64) -> Option<Call> {
        let Some(step) = step.checked_sub(1) else {
            self.status = Status::Compensated;
            return None;
        };
        self.cells[step].undo = Some(Track { round: 1, sent: now_ms, answer: None });
        Some(Call { step, direction: Direction::Compensate })
    }

    /// When the timer of a saga that runs would be due, in ms.
    pub(crate) fn due_ms(&self, now_ms: i64) -> i64 {
        self.deadline.min(now_ms + TIMEOUT_MS)
    }
}

/// What a worker is asked. The input is the saga's whole one, as it came.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Command<'a> {
    pub(crate) saga: Uuid,
    pub(crate) step: &'a str,
    pub(crate) direction: Direction,
    pub(crate) round: u32,
    pub(crate) attempt: u32,
    pub(crate) action: &'a str,
    pub(crate) sent_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    #[serde(borrow)]
    pub(crate) input: &'a RawValue,
}

impl<'a> Command<'a> {
    /// The first attempt of the first round.
    pub(crate) fn new(saga: Uuid, call: Call, now_ms: i64, input: &'a RawValue) -> Self {
        let Step { name, action, compensation, .. } = &STEPS[call.step];
        let action = if call.direction == Direction::Execute { action } else { compensation };
        let (sent_at_ms, expires_at_ms) = (now_ms, now_ms + TIMEOUT_MS);
        let (round, attempt) = (1, 1);
        Self {
            saga,
            step: name,
            direction: call.direction,
            round,
            attempt,
            action,
            sent_at_ms,
            expires_at_ms,
            input,
        }
    }
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply<'a> {
    pub(crate) saga: Uuid,
    pub(crate) step: &'a str,
    pub(crate) direction: Direction,
    pub(crate) round: u32,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
}

/// What is ordered.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) customer_id: String,
    pub(crate) items: Vec<Item>,
    pub(crate) payment: Payment,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) unit_price: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Payment {
    pub(crate) amount: i64,
    pub(crate) reject: bool,
}

/// Now, in ms since 1970 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Answers everything, rejecting the payment if asked to; what was sent, and how it ended.
    fn play(reject: bool) -> (Vec<(usize, Direction)>, State) {
        let (mut state, first) = State::begin(1_795_261_079_912);
        let (mut sent, mut next) = (Vec::new(), Some(first));
        while let Some(Call { step, direction }) = next {
            sent.push((step, direction));
            let outcome = if reject && step == 2 { Outcome::Rejected } else { Outcome::Succeeded };
            let reply =
                Reply { saga: Uuid::nil(), step: STEPS[step].name, direction, round: 1, attempt: 1, outcome };
            next = state.apply(&reply, 1_795_261_079_999).unwrap();
        }
        (sent, state)
    }

    #[test]
    fn what_was_done_is_undone_in_reverse() {
        use Direction::{Compensate, Execute};
        let (sent, state) = play(false);
        assert_eq!((sent, state.status), (vec![(0, Execute), (1, Execute), (2, Execute)], Status::Completed));
        let (sent, state) = play(true);
        let there = [(0, Execute), (1, Execute), (2, Execute)];
        assert_eq!(sent, [&there[..], &[(1, Compensate), (0, Compensate)]].concat());
        assert_eq!((state.status, state.revision), (Status::Compensated, 6));
    }

    #[test]
    fn a_state_has_the_size_of_the_engines() {
        let bytes = serde_json::to_vec(&play(false).1).unwrap().len();
        assert!((280..=400).contains(&bytes), "{bytes} bytes");
    }
}
