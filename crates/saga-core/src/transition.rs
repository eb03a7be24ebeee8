//! What a decision yields: the next state, and the effects that belong into the same transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use saga_protocol::SagaId;
use serde_json::Value;

use crate::command::Spelled;
use crate::event::ChildEnded;
use crate::state::{CellRef, State};

/// The outcome of [`crate::step`].
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The next state. When nothing changed it has the revision it had, and no history row is due.
    pub state: State,
    /// What else belongs into the transaction, in order.
    pub effects: Vec<Effect>,
    /// What the history row must hold beside the event: the answer's output, a signal's payload, a skip's
    /// output. The state points to it by the new revision.
    pub payload: Option<Arc<Value>>,
    /// Inputs that cannot be resolved again from what is held anyway (computed or edited ones), by
    /// [`CellRef::input_key`]. They stand in the same history row.
    pub inputs: BTreeMap<String, Arc<Value>>,
    /// Inputs of rounds that begin now, as they were resolved: for whoever builds their commands, so that it is not
    /// done again. Never stored.
    pub resolved: Vec<(CellRef, Spelled)>,
    /// What a human should read in the history beside the event: why an expression has no value, that an
    /// optional step failed.
    pub notes: Vec<String>,
}

impl Transition {
    /// Whether the event changed the saga: only then a history row is due.
    pub fn changed(&self, before: &State) -> bool {
        self.state.revision != before.revision
    }
}

/// Something that must happen because of a transition.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A command is to be sent: a row of the outbox. Its bytes are rebuilt by [`crate::command::build`].
    Send {
        /// The track.
        cell: CellRef,
        /// The round.
        round: u32,
        /// The attempt.
        attempt: u32,
    },
    /// A child saga is to be started; direction `compensate`: to be undone, by
    /// [`crate::What::ParentCompensates`]. Once started it lives in the store, so it is never sent twice,
    /// and the one who carries this out must bear a repetition.
    StartChild {
        /// The track.
        cell: CellRef,
        /// The execute round, of which the child's id is made; also in direction `compensate`.
        round: u32,
    },
    /// The parent saga is to be told that this one ended, or was undone.
    Tell {
        /// The parent.
        parent: SagaId,
        /// What it is told.
        ended: ChildEnded,
    },
    /// An effect was proved that nobody undoes.
    Anomaly(Anomaly),
    /// The event changed nothing, for this reason.
    Ignored(&'static str),
    /// An operator's action was refused, for this reason; the saga is unchanged.
    Refused(&'static str),
    /// The saga ended; its output, when it completed and has one.
    Ended {
        /// The output.
        output: Option<Arc<Value>>,
    },
}

/// Proof of an effect that nobody undoes.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The track whose effect it is.
    pub cell: CellRef,
    /// The round.
    pub round: u32,
    /// What happened, such as `succeeded_after_skip`.
    pub kind: &'static str,
    /// The answer's output, for the amount.
    pub output: Option<Arc<Value>>,
}

/// A combination that cannot be: our own bug. It parks the saga and alarms. Nothing that comes from outside
/// leads here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal: {0}")]
pub struct Illegal(pub String);
