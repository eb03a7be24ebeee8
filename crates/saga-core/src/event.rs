//! What can happen to a saga. Recorded with every transition, so that history can be folded again.

use std::sync::Arc;

use saga_protocol::{Direction, Fault, Outcome, StepName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::StepIx;
use crate::state::CellRef;
use crate::time::Millis;

/// Something that happened, with the time and the randomness that deciding about it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it is taken in, by the owner's clock. Never before an earlier event of the saga.
    pub at: Millis,
    /// A random number, the seed of jitter.
    pub seed: u32,
    /// The steps whose (worker, action) an operator holds at this moment. Their executes are not sent;
    /// compensations are never held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<StepIx>,
    /// What happened.
    pub what: What,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The saga begins; its input is in the payloads.
    Start,
    /// A worker answered.
    Answer(Answer),
    /// Something may have fallen due.
    Due(Due),
    /// A signal arrived.
    Signal(Signal),
    /// A child saga ended.
    ChildEnded(ChildEnded),
    /// An operator acted.
    Operator(Operator),
    /// A hold began or ended: what was held back is to be looked at again, with the event's `held`.
    Hold,
    /// The log lost records: everything in flight is to be sent again.
    LogLost,
    /// A record of this saga cannot be applied; the reason is for humans.
    Poison(String),
    /// [`crate::step`] answered `Illegal`, which is our own bug; the reason is for humans.
    Illegal(String),
    /// The parent saga compensates the step that this saga is.
    ParentCompensates,
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The step, by name, as it came.
    pub step: StepName,
    /// The index within a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Execute or compensate.
    pub direction: Direction,
    /// The round that is answered.
    pub round: u32,
    /// The attempt that is answered.
    pub attempt: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// The output, not recorded with the event: the history row's payload holds it.
    #[serde(skip)]
    pub output: Option<Arc<Value>>,
    /// The output was too large and has been left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oversized: bool,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// The worker's own trouble: burns no budget.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncharged: bool,
    /// Not to be asked again sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
}

/// What the owner knows when something falls due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The shard was read up to a high watermark that was fetched after the due instant: timeouts and the
    /// deadline may fire. Otherwise only backoffs and waits do.
    pub caught_up: bool,
    /// Tracks whose newest command its worker has not reached yet: queued, not unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<CellRef>,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// Its payload, not recorded with the event: the history row's payload holds it.
    #[serde(skip)]
    pub payload: Option<Arc<Value>>,
    /// For how long it waits when it is early, in ms.
    pub ttl_ms: i64,
}

/// The end of a child saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildEnded {
    /// The parent's track that the child is: `execute` when it completed or was compensated by itself,
    /// `compensate` when its parent had it undone.
    pub cell: CellRef,
    /// The parent's execute round that the child is, in both directions.
    pub round: u32,
    /// `succeeded` (completed; direction `compensate`: undone), `rejected` (compensated by itself) or
    /// `undecidable` (abandoned, or past its pivot).
    pub outcome: Outcome,
    /// The child's output.
    #[serde(skip)]
    pub output: Option<Arc<Value>>,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// Why an operator's action is refused: the saga went on since they looked.
pub const MOVED_ON: &str = "the saga has moved on since you looked";
/// The same, to its end.
pub const HAS_ENDED: &str = "the saga has ended";
/// Why an output that an operator gives a step is refused.
pub const UNFIT: &str = "that output does not fit the step's output_schema";
/// How long an early signal waits for its wait where the definition does not say, in ms.
pub const SIGNAL_TTL_MS: i64 = 24 * 3_600_000;

/// An operator's deed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// The revision that they saw; refused when the saga has moved on.
    pub revision: u32,
    /// What they want.
    pub action: OperatorAction,
}

/// What an operator can do to one saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAction {
    /// Try again now, from where it stopped. An open or exhausted round is sent again (its budget starts
    /// anew); a rejected one opens a new round.
    Retry {
        /// The track; every stopped one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cell: Option<CellRef>,
    },
    /// Try again with another input: always a new round, and only once the old one is settled.
    RetryEdited {
        /// The track.
        cell: CellRef,
        /// The new input; the history row's payload holds it.
        #[serde(skip)]
        input: Option<Arc<Value>>,
    },
    /// Take the step as done, with this output.
    Skip {
        /// The cell.
        cell: CellRef,
        /// The output; the history row's payload holds it.
        #[serde(skip)]
        output: Option<Arc<Value>>,
        /// "It may still take effect" was acknowledged.
        acknowledged: bool,
    },
    /// Turn around: undo what was done.
    Compensate,
    /// Go on undoing after a failed compensation.
    ResumeCompensation,
    /// The compensation was done by hand.
    MarkCompensated {
        /// The cell (direction `compensate`).
        cell: CellRef,
        /// What proves it.
        evidence: String,
        /// "It may still take effect" was acknowledged.
        acknowledged: bool,
    },
    /// End it here.
    Abandon {
        /// What stays uncompensated (and what may still take effect) was shown and acknowledged.
        acknowledged: bool,
    },
}

impl OperatorAction {
    /// Gives the action its payload (an edited input, a skipped step's output), which is kept beside it.
    pub fn set_payload(&mut self, value: Option<Arc<Value>>) {
        match self {
            Self::RetryEdited { input, .. } => *input = value,
            Self::Skip { output, .. } => *output = value,
            _ => {}
        }
    }
}

impl Event {
    /// An event without holds.
    pub const fn new(at: Millis, seed: u32, what: What) -> Self {
        Self { at, seed, held: Vec::new(), what }
    }

    /// Gives the event the payload that is kept beside it; with what [`crate::Transition::payload`] holds, a
    /// recorded event can be folded again.
    pub fn set_payload(&mut self, value: Option<Arc<Value>>) {
        match &mut self.what {
            What::Answer(answer) => answer.output = value,
            What::Signal(signal) => signal.payload = value,
            What::ChildEnded(child) => child.output = value,
            What::Operator(operator) => operator.action.set_payload(value),
            _ => {}
        }
    }
}
