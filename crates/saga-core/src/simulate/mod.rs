//! One run of a saga in memory and in virtual time, by a script of what its workers answer.
//!
//! Owns scenarios: their format (docs/scenarios.md), how they are played, and what must have come of them. Decisions
//! are `step`'s, commands are built as the engine builds them, and workers have the barrier that the SDK has.

mod barrier;
mod coverage;
mod expect;
mod hand;
mod play;
mod save;
mod script;
mod tell;

use std::sync::Arc;

use saga_protocol::Fault;
use serde_json::Value;

pub use self::coverage::Coverage;
pub use self::expect::{Expect, has, verify};
pub use self::hand::{Hand, Move, MoveError, by_hand};
pub use self::play::play;
pub use self::script::{Answer, Happening, Live, Scenario, ScenarioError, ScenarioFile, Script, Try};

use crate::event::Event;
use crate::state::{CellRef, State};
use crate::transition::Effect;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The state at the end.
    pub state: State,
    /// What happened, in order.
    pub timeline: Vec<Line>,
    /// Every sending of a command, in order.
    pub sent: Vec<Sent>,
    /// What the saga yielded.
    pub output: Option<Arc<Value>>,
    /// The last rejection or failure that a worker gave a reason for, by step.
    pub faults: Vec<(CellRef, Fault)>,
    /// Kinds of the anomalies that were opened.
    pub anomalies: Vec<&'static str>,
    /// Virtual time from the start to the last transition, in ms.
    pub took_ms: i64,
    /// Tracks that stayed silent beyond their timeout at least once.
    pub silent: Vec<CellRef>,
    /// The run was cut off: it would go on for longer than a script may.
    pub cut_off: bool,
}

/// One sending of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The track.
    pub at: CellRef,
    /// The round.
    pub round: u32,
    /// The attempt.
    pub attempt: u32,
    /// `worker.action`; of a child saga its definition.
    pub action: String,
    /// What the worker is given.
    pub input: Value,
}

/// One event, and what `step` made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Virtual time from the start, in ms.
    pub at_ms: i64,
    /// What happened.
    pub event: Event,
    /// The saga's revision after it.
    pub revision: u32,
    /// Whether it changed the saga.
    pub changed: bool,
    /// What its history row holds beside the event.
    pub payload: Option<Arc<Value>>,
    /// What is to be done because of it.
    pub effects: Vec<Effect>,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Virtual time from the start, in ms.
    pub at_ms: i64,
    /// How it looks.
    pub mark: Mark,
    /// The step that it is about, with its item.
    pub step: Option<String>,
    /// What happens.
    pub text: String,
}

/// The kinds of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Goes on.
    Good,
    /// Failed for good.
    Failed,
    /// Will be tried again, or nobody knows yet.
    Again,
    /// Goes back.
    Back,
    /// Needs a human.
    Human,
    /// Something from outside, or time.
    Note,
}
