//! The words for what the state machine knows: one place, so that API, timeline and dashboard say the same.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use saga_core::definition::{Step, Turn, Work, item_name};
use saga_core::state::Cause;
use saga_core::{
    Cell, CellRef, Definition, Event, Millis, OperatorAction, Phase, Run, State, StepIx, What, Why,
};
use saga_protocol::{Direction, Fault, Outcome};
use serde_json::Value;

use super::view::{self, Failure, Happening};

/// An instant as the API writes it.
pub fn instant(at: Millis) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.0).unwrap_or(DateTime::UNIX_EPOCH)
}

/// A direction.
pub const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Execute => "execute",
        Direction::Compensate => "compensate",
    }
}

/// Which way a saga goes.
pub const fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::PivotOpen { .. } => "pivot_open",
        Phase::Committed => "committed",
        Phase::Unwinding { .. } => "unwinding",
    }
}

/// Where one direction of a step stands.
pub const fn run(run: Run) -> &'static str {
    match run {
        Run::Held => "held",
        Run::Sent => "running",
        Run::Unknown => "unknown",
        Run::Backoff => "retrying",
        Run::Waiting => "waiting",
        Run::Succeeded => "succeeded",
        Run::Rejected => "rejected",
        Run::Exhausted => "exhausted",
        Run::Undecidable => "undecidable",
        Run::Skipped => "skipped",
        Run::GivenUp => "given_up",
    }
}

/// Where a step stands, both directions together.
pub fn cell(cell: &Cell) -> &'static str {
    let Some(undo) = &cell.undo else { return run(cell.execute.run) };
    match undo.run {
        Run::Held | Run::Sent | Run::Unknown | Run::Backoff | Run::Waiting => "compensating",
        Run::Succeeded | Run::Skipped => "compensated",
        Run::Rejected | Run::Exhausted | Run::Undecidable => "compensation_failed",
        Run::GivenUp => "given_up",
    }
}

/// Why a saga is parked, for when its history says no more.
pub const fn why(why: Why) -> (&'static str, &'static str) {
    match why {
        Why::Rejected => {
            ("rejected", "A step was rejected; its definition, or the pivot behind it, says park.")
        }
        Why::Exhausted => {
            ("exhausted", "A step's budget is spent; its definition, or the pivot behind it, says park.")
        }
        Why::PivotUnsettled => (
            "pivot_unsettled",
            "The pivot has no final answer: nobody knows on which side of it the saga is.",
        ),
        Why::CompensationFailed => {
            ("compensation_failed", "A compensation failed for good; what is undone only after it waits.")
        }
        Why::Undecidable => (
            "undecidable",
            "The worker has no right to any answer: its record is gone, or past its retention.",
        ),
        Why::OutputTooLarge => {
            ("output_too_large", "A step succeeded with an output that was too large to keep.")
        }
        Why::OutputUnfit => {
            ("output_unfit", "A step succeeded with an output that does not fit its `output_schema`.")
        }
        Why::BadExpression => {
            ("bad_expression", "An expression of the definition has no value with this saga's data.")
        }
        Why::Poison => ("poison", "A record of this saga cannot be applied."),
        Why::Illegal => {
            ("illegal", "The engine met a combination that cannot be: a bug of ours. Please report it.")
        }
    }
}

/// What turned a saga around.
pub fn cause(definition: &Definition, cause: Cause) -> view::Cause {
    let (kind, step) = match cause {
        Cause::Rejected(step) => ("rejected", Some(step)),
        Cause::Exhausted(step) => ("exhausted", Some(step)),
        Cause::Deadline => ("deadline", None),
        Cause::Operator => ("operator", None),
        Cause::Parent => ("parent", None),
    };
    view::Cause { kind: kind.to_owned(), step: step.and_then(|ix| step_name(definition, ix)) }
}

/// The step that turned a saga around, if it was one.
pub const fn cause_step(cause: Cause) -> Option<StepIx> {
    match cause {
        Cause::Rejected(step) | Cause::Exhausted(step) => Some(step),
        Cause::Deadline | Cause::Operator | Cause::Parent => None,
    }
}

/// How the action of a step that waits for a signal begins.
pub const WAIT_FOR_SIGNAL: &str = "wait for signal ";

/// A step's name.
pub fn step_name(definition: &Definition, step: StepIx) -> Option<String> {
    definition.step(step).map(|step| step.name.as_str().to_owned())
}

/// A step's name, or the spelling of one item of it.
pub fn cell_name(definition: &Definition, at: CellRef) -> Option<String> {
    Some(item_name(&step_name(definition, at.step)?, at.item))
}

/// Steps that took effect, or may have, and have not been undone: those that can be, child sagas, and those after which
/// there is no way back.
pub fn uncompensated(definition: &Definition, state: &State) -> Vec<String> {
    let stands = state.cells.iter().filter(|cell| {
        let undone = cell.undo.as_ref().is_some_and(|undo| matches!(undo.run, Run::Succeeded | Run::Skipped));
        // Skipped by somebody who acknowledged that it may still take effect, it is not settled.
        let settled = match cell.execute.run {
            Run::Rejected | Run::Held => true,
            Run::Skipped => !cell.execute.waived,
            _ => false,
        };
        !undone && !settled
    });
    let leaves_something = |step: &&Step| match step.work {
        Work::Sleep { .. } | Work::Signal { .. } => false,
        Work::Child { .. } => true,
        Work::Action { .. } => step.compensation.is_some() || !(step.harmless || step.optional),
    };
    let steps = stands.filter_map(|cell| definition.step(cell.step)).filter(leaves_something);
    // A `foreach` is named once.
    let mut named = BTreeSet::new();
    steps.map(|step| step.name.as_str()).filter(|name| named.insert(*name)).map(str::to_owned).collect()
}

/// A step's worker, if it has one, and its action in words.
pub fn work(work: &Work) -> (Option<String>, String) {
    match work {
        Work::Action { worker, action } => (Some(worker.clone()), action.clone()),
        Work::Sleep { for_ms } => (None, format!("wait {for_ms} ms")),
        Work::Signal { name } => (None, format!("{WAIT_FOR_SIGNAL}{name}")),
        Work::Child { definition } => (None, format!("saga {definition}")),
    }
}

/// When a step has its turn, when that is not in the graph.
pub const fn turn(turn: Turn) -> Option<&'static str> {
    match turn {
        Turn::Graph => None,
        Turn::Compensated => Some("on_compensated"),
        Turn::Parked => Some("on_parked"),
    }
}

/// An outcome.
pub const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Rejected => "rejected",
        Outcome::Retryable => "retryable",
        Outcome::Undecidable => "undecidable",
    }
}

/// A worker's fault.
pub fn failure(step: Option<String>, fault: &Fault) -> Failure {
    Failure { step, code: fault.code.clone(), message: fault.message.clone() }
}

/// An event of a saga.
pub fn happening(definition: Option<&Definition>, event: &Event, payload: Option<Value>) -> Happening {
    let mut it = Happening { at: instant(event.at), payload, ..Happening::default() };
    let place = |it: &mut Happening, cell: &CellRef| {
        it.step = definition.and_then(|definition| step_name(definition, cell.step));
        it.item = cell.item;
        it.direction = Some(direction(cell.direction).to_owned());
    };
    let kind = match &event.what {
        What::Start => "start",
        What::Answer(answer) => {
            it.step = Some(answer.step.as_str().to_owned());
            it.item = answer.item;
            it.direction = Some(direction(answer.direction).to_owned());
            (it.round, it.attempt) = (Some(answer.round), Some(answer.attempt));
            it.outcome = Some(outcome(answer.outcome).to_owned());
            it.error = answer.error.as_ref().map(|fault| failure(None, fault));
            it.detail = answer.oversized.then(|| "its output was too large and was left out".to_owned());
            "answer"
        }
        What::Due(_) => "due",
        What::Signal(signal) => {
            it.signal = Some(signal.name.clone());
            "signal"
        }
        What::ChildEnded(child) => {
            place(&mut it, &child.cell);
            it.round = Some(child.round);
            it.outcome = Some(outcome(child.outcome).to_owned());
            it.error = child.error.as_ref().map(|fault| failure(None, fault));
            "child_ended"
        }
        What::Operator(operator) => {
            it.who = Some(operator.who.clone());
            it.why = Some(operator.why.clone());
            let (action, cell) = action(&operator.action);
            it.action = Some(action.to_owned());
            if let Some(cell) = cell {
                place(&mut it, &cell);
            }
            if let OperatorAction::MarkCompensated { evidence, .. } = &operator.action {
                it.detail = Some(evidence.clone());
            }
            "operator"
        }
        What::Hold => "hold",
        What::LogLost => "log_lost",
        What::ParentCompensates => "parent_compensates",
        What::Poison(reason) => {
            it.detail = Some(reason.clone());
            "poison"
        }
        What::Illegal(reason) => {
            it.detail = Some(reason.clone());
            "illegal"
        }
    };
    kind.clone_into(&mut it.kind);
    it
}

/// An operator's action: its word, and the track that it is about.
pub const fn action(action: &OperatorAction) -> (&'static str, Option<CellRef>) {
    match action {
        OperatorAction::Retry { cell } => ("retry", *cell),
        OperatorAction::RetryEdited { cell, .. } => ("retry_edited", Some(*cell)),
        OperatorAction::Skip { cell, .. } => ("skip", Some(*cell)),
        OperatorAction::Compensate => ("compensate", None),
        OperatorAction::ResumeCompensation => ("resume_compensation", None),
        OperatorAction::MarkCompensated { cell, .. } => ("mark_compensated", Some(*cell)),
        OperatorAction::Abandon { .. } => ("abandon", None),
    }
}
