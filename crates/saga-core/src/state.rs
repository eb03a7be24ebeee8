//! A saga's state: what is kept hot, in at most a few hundred bytes.
//!
//! Owns the shape and its compact spelling as JSON (short names, defaults left out). Payloads are not in
//! it: it points to history rows by revision.

use saga_protocol::Direction;
use serde::{Deserialize, Serialize};

use crate::definition::StepIx;
use crate::time::Millis;

/// The version of the state's spelling that this build writes.
pub const SCHEMA: i16 = 1;

/// One saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Counts transitions; 0 before the start.
    #[serde(rename = "v")]
    pub revision: u32,
    /// Where it stands, coarsely.
    #[serde(rename = "s")]
    pub status: Status,
    /// Which way it goes.
    #[serde(rename = "p")]
    pub phase: Phase,
    /// When it started.
    #[serde(rename = "t")]
    pub started: Millis,
    /// From when on it is to be undone, if the pivot has not been sent by then.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Millis>,
    /// The steps that were touched, in the order of (step, item).
    #[serde(rename = "c")]
    pub cells: Vec<Cell>,
    /// Signals that came before anything waited for them.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub early_signals: Vec<EarlySignal>,
    /// The saga that this one is a step of.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Effect keys with kind for which an anomaly was opened; once each.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<String>,
}

/// Where a saga stands, coarsely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Something is to happen by itself.
    #[serde(rename = "r")]
    Running,
    /// A human is needed.
    #[serde(rename = "k")]
    Parked(Parked),
    /// Ended as wanted.
    #[serde(rename = "c")]
    Completed,
    /// Ended, undone.
    #[serde(rename = "u")]
    Compensated,
    /// Ended by an operator who acknowledged what stays uncompensated.
    #[serde(rename = "x")]
    Abandoned,
}

impl Status {
    /// The word of the API and the coarse row.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Parked(_) => "parked",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether nothing can follow.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Abandoned)
    }
}

/// Why a saga is parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The kind of reason.
    #[serde(rename = "w")]
    pub why: Why,
    /// The cell and direction it is about, if it is about one.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellRef>,
    /// The revision at which it was parked; its history row says the details.
    #[serde(rename = "v")]
    pub revision: u32,
}

/// The kinds of reason for a parked saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A step was rejected, and its policy (or the pivot) says park.
    Rejected,
    /// A step's budget is spent, and its policy (or the pivot) says park.
    Exhausted,
    /// The pivot has no final answer: nobody knows on which side of it the saga is.
    PivotUnsettled,
    /// A compensation failed for good.
    CompensationFailed,
    /// A worker lost its record, or is past its retention.
    Undecidable,
    /// A `succeeded` came without its output, because that was too large.
    OutputTooLarge,
    /// A `succeeded` came with an output that its step's `output_schema` rules out.
    OutputUnfit,
    /// An expression could not be evaluated with the data at hand.
    BadExpression,
    /// A record of this saga cannot be applied.
    Poison,
    /// Our own bug.
    Illegal,
}

impl Why {
    /// Whether the saga is parked on its way forward before the pivot: such a one still obeys its deadline.
    pub const fn obeys_deadline(self) -> bool {
        matches!(
            self,
            Self::Rejected | Self::Exhausted | Self::BadExpression | Self::OutputTooLarge | Self::OutputUnfit
        )
    }
}

/// Which way a saga goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Forward, before the pivot is sent.
    #[serde(rename = "f")]
    Forward,
    /// The pivot is sent and not settled. `stop` remembers a cancel, deadline or failure that waits for it.
    #[serde(rename = "o")]
    PivotOpen {
        /// What waits for the pivot's outcome.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        stop: Option<Cause>,
    },
    /// The pivot succeeded: forward only.
    #[serde(rename = "c")]
    Committed,
    /// Backward.
    #[serde(rename = "u")]
    Unwinding {
        /// What turned it around.
        #[serde(rename = "c")]
        cause: Cause,
    },
}

/// What turned a saga around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A step was rejected.
    #[serde(rename = "r")]
    Rejected(StepIx),
    /// A step's budget was spent.
    #[serde(rename = "e")]
    Exhausted(StepIx),
    /// The deadline passed.
    #[serde(rename = "d")]
    Deadline,
    /// An operator.
    #[serde(rename = "o")]
    Operator,
    /// The parent saga, which is to be told when it is done.
    #[serde(rename = "p")]
    Parent,
}

/// One touched step, or one item of a `foreach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The step.
    #[serde(rename = "s")]
    pub step: StepIx,
    /// The index within a `foreach`.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Its work.
    #[serde(rename = "x")]
    pub execute: Track,
    /// Its undoing, once that was decided.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Track>,
}

/// Names one track of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellRef {
    /// The step.
    #[serde(rename = "s")]
    pub step: StepIx,
    /// The index within a `foreach`.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Which of the cell's two tracks.
    #[serde(rename = "d")]
    pub direction: Direction,
}

impl CellRef {
    /// How the cell's inputs are keyed in a history row: the step's index, and the item.
    pub fn input_key(&self) -> String {
        let step = self.step.0;
        self.item.map_or_else(|| step.to_string(), |item| format!("{step}.{item}"))
    }
}

/// One direction of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Where it stands.
    #[serde(rename = "r")]
    pub run: Run,
    /// The round, from 1.
    #[serde(rename = "n", default = "one", skip_serializing_if = "is_one")]
    pub round: u32,
    /// Attempts sent in this round; 0 before the first.
    #[serde(rename = "a", default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
    /// Attempts of this round that count against the budget.
    #[serde(rename = "b", default = "one", skip_serializing_if = "is_one")]
    pub charged: u32,
    /// When the round was first sent.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<Millis>,
    /// When the newest attempt was sent; timeouts count from here.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Millis>,
    /// When the track needs attention by itself: timeout, next try, end of a wait. An open track without it
    /// is paused by an operator's hold (or, once its saga unwinds, no longer driven).
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Millis>,
    /// From when on the budget in time counts, when that is not `first_sent_at`: an operator renewed it, or
    /// the worker's own trouble took time that is not charged.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub budget_from: Option<Millis>,
    /// Consecutive sendings without an answer; the exponent of the unknown's backoff.
    #[serde(rename = "q", default, skip_serializing_if = "is_zero")]
    pub silent: u32,
    /// The revision whose history row holds this round's input; absent when the input is plain paths of
    /// what is held anyway.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u32>,
    /// A hash of the round's input, as a check that every attempt carries the same bytes.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub input_hash: Option<u32>,
    /// The revision whose history row holds the output.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u32>,
    /// It succeeded, and its output cannot be used: it was too large to keep, or does not fit its schema (then it is
    /// kept for the compensation alone). An operator has not given another one yet.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub unusable: bool,
    /// Ended by an operator who acknowledged that it may still take effect. A success that shows up later is
    /// an anomaly.
    #[serde(rename = "w", default, skip_serializing_if = "std::ops::Not::not")]
    pub waived: bool,
}

impl Track {
    /// A track that was decided and not yet sent.
    pub const fn held(round: u32) -> Self {
        Self {
            run: Run::Held,
            round,
            attempt: 0,
            charged: 0,
            first_sent_at: None,
            sent_at: None,
            due: None,
            budget_from: None,
            silent: 0,
            input: None,
            input_hash: None,
            output: None,
            unusable: false,
            waived: false,
        }
    }
}

const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_one(n: &u32) -> bool {
    *n == 1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Where a track stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Run {
    /// Ready, and held back by an operator's hold. Nothing of this round was sent.
    #[serde(rename = "h")]
    Held,
    /// Sent; an answer is awaited.
    #[serde(rename = "s")]
    Sent,
    /// Sent, and silent beyond its timeout: nobody knows. The same round is sent again.
    #[serde(rename = "u")]
    Unknown,
    /// Answered `retryable`; the next try is at `due`.
    #[serde(rename = "b")]
    Backoff,
    /// Waits for time, a signal or a child saga.
    #[serde(rename = "w")]
    Waiting,
    /// Done. Final.
    #[serde(rename = "d")]
    Succeeded,
    /// Business said no. Final.
    #[serde(rename = "r")]
    Rejected,
    /// Its budget is spent without a final answer: it may have taken effect.
    #[serde(rename = "e")]
    Exhausted,
    /// Its worker has no right to any answer: it may have taken effect, and asking again may not help.
    #[serde(rename = "l")]
    Undecidable,
    /// Its `when` was false, or an operator skipped it.
    #[serde(rename = "k")]
    Skipped,
    /// Never to be finished: abandoned.
    #[serde(rename = "g")]
    GivenUp,
}

impl Run {
    /// Whether a command of the round may be in the air.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Unknown | Self::Backoff)
    }
}

/// A signal that came before its wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlySignal {
    /// Its name.
    #[serde(rename = "n")]
    pub name: String,
    /// The revision whose history row holds its payload.
    #[serde(rename = "v")]
    pub revision: u32,
    /// Until when it waits.
    #[serde(rename = "e")]
    pub expires: Millis,
}

/// The step of another saga that a child saga is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The parent's id.
    #[serde(rename = "i")]
    pub saga: saga_protocol::SagaId,
    /// The parent's step.
    #[serde(rename = "s")]
    pub step: StepIx,
    /// The index within the parent's `foreach`.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// The parent's round.
    #[serde(rename = "r")]
    pub round: u32,
}

impl State {
    /// A saga before its start: revision 0, nothing touched.
    pub fn new(started: Millis, deadline: Option<Millis>, parent: Option<Parent>) -> Self {
        Self {
            revision: 0,
            status: Status::Running,
            phase: Phase::Forward,
            started,
            deadline,
            cells: Vec::new(),
            early_signals: Vec::new(),
            parent,
            anomalies: Vec::new(),
        }
    }

    /// The cell of a step (and item), if it was touched.
    pub fn cell(&self, step: StepIx, item: Option<u32>) -> Option<&Cell> {
        let at = self.cells.binary_search_by_key(&(step, item), |cell| (cell.step, cell.item)).ok()?;
        self.cells.get(at)
    }

    /// The track that `at` names, if it was touched.
    pub fn track(&self, at: CellRef) -> Option<&Track> {
        let cell = self.cell(at.step, at.item)?;
        match at.direction {
            Direction::Execute => Some(&cell.execute),
            Direction::Compensate => cell.undo.as_ref(),
        }
    }

    /// Every track, with its name.
    pub fn tracks(&self) -> impl Iterator<Item = (CellRef, &Track)> {
        self.cells.iter().flat_map(|cell| {
            let name = |direction| CellRef { step: cell.step, item: cell.item, direction };
            std::iter::once((name(Direction::Execute), &cell.execute))
                .chain(cell.undo.as_ref().map(|undo| (name(Direction::Compensate), undo)))
        })
    }
}
