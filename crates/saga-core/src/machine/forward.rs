//! The way forward: which steps are ready, what a failure leads to, when the saga is done.
//!
//! Owns what the state of a saga that goes forward demands. It must not look at the event.

use std::sync::Arc;

use saga_protocol::{Direction, Outcome};
use serde_json::Value;

use super::draft::Draft;
use super::resolve::BadExpression;
use super::{park, start, unwind};
use crate::definition::{Step, StepIx, Turn};
use crate::state::{Cause, Cell, CellRef, Phase, Run, Status, Why};
use crate::transition::Illegal;

/// Goes on as far as the state allows.
pub(super) fn go_on(draft: &mut Draft<'_>) -> Result<(), Illegal> {
    loop {
        if let Some(cause) = turning(draft)? {
            unwind::turn_around(draft, cause);
            return unwind::go_on(draft);
        }
        if let Some((why, at)) = park::demanded(draft)? {
            park::park(draft, why, Some(at));
            return Ok(());
        }
        // Every start is planned before the first is made: a parked saga has started nothing.
        let mut plans = Vec::new();
        for (ix, step) in ready(draft) {
            match start::plan(draft, step) {
                Ok(plan) => plans.push((ix, plan)),
                Err(BadExpression(reason)) => {
                    draft.note(format!("{}: {reason}", step.name));
                    let at = CellRef { step: ix, item: None, direction: Direction::Execute };
                    park::park(draft, Why::BadExpression, Some(at));
                    return Ok(());
                }
            }
        }
        if plans.is_empty() && all_done(draft) {
            return complete(draft);
        }
        draft.state.status = Status::Running;
        let opened = start::open_held(draft)?;
        if plans.is_empty() && !opened {
            return Ok(());
        }
        for (ix, plan) in plans {
            start::carry_out(draft, ix, plan)?;
        }
    }
}

/// What turns the saga around, if anything does. Brings the phase in line with the pivot on the way.
fn turning(draft: &mut Draft<'_>) -> Result<Option<Cause>, Illegal> {
    // What has waited for the pivot's outcome comes first: a parent saga is to be told.
    if let Some(cause) = pass_pivot(draft) {
        return Ok(Some(cause));
    }
    for cell in draft.state.cells.iter().filter(|cell| draft.is_graph(cell.step)) {
        let step = draft.step(cell.step)?;
        let (cause, policy) = match cell.execute.run {
            Run::Rejected => (Cause::Rejected(cell.step), step.on_rejected),
            // An exhausted pivot is not among them: it is open, and nobody knows on which side of it the saga is.
            Run::Exhausted => (Cause::Exhausted(cell.step), step.on_exhausted),
            _ => continue,
        };
        if !step.optional && park::turns_around(draft, policy) {
            return Ok(Some(cause));
        }
    }
    Ok(None)
}

/// Follows the pivot's outcome. Returns what has waited for it, when it was definitely rejected.
fn pass_pivot(draft: &mut Draft<'_>) -> Option<Cause> {
    let Phase::PivotOpen { stop } = draft.state.phase else { return None };
    let run = draft.definition.pivot.and_then(|pivot| draft.state.cell(pivot, None))?.execute.run;
    match run {
        Run::Succeeded | Run::Skipped => commit(draft),
        Run::Rejected => {
            draft.state.phase = Phase::Forward;
            return stop;
        }
        _ => {}
    }
    None
}

/// From here on the saga only goes forward. A parent that has asked to have it undone, and waits, is told that it cannot be.
pub(super) fn commit(draft: &mut Draft<'_>) {
    if let Phase::PivotOpen { stop: Some(Cause::Parent) } = draft.state.phase {
        draft.tell_parent((Direction::Compensate, Outcome::Undecidable), None);
    }
    draft.state.phase = Phase::Committed;
}

fn ready<'a>(draft: &Draft<'a>) -> Vec<(StepIx, &'a Step)> {
    let is_ready = |&(ix, step): &(StepIx, &Step)| {
        step.turn == Turn::Graph
            && !draft.is_touched(ix)
            && step.after.iter().all(|&before| is_done(draft, before))
    };
    draft.definition.steps().filter(is_ready).collect()
}

fn all_done(draft: &Draft<'_>) -> bool {
    draft.definition.steps().all(|(ix, step)| step.turn != Turn::Graph || is_done(draft, ix))
}

/// Whether a step's dependents may start.
pub(super) fn is_done(draft: &Draft<'_>, ix: StepIx) -> bool {
    let optional = draft.definition.step(ix).is_some_and(|step| step.optional);
    let done = |cell: &Cell| match cell.execute.run {
        Run::Succeeded | Run::Skipped => true,
        Run::Rejected | Run::Exhausted => optional,
        _ => false,
    };
    let cells = draft.cells(ix);
    !cells.is_empty() && cells.iter().all(done)
}

/// Ends the saga as wanted. An output without a value parks it: the work is done, and must not be lost.
fn complete(draft: &mut Draft<'_>) -> Result<(), Illegal> {
    let output = match &draft.definition.output {
        None => None,
        Some(template) => match draft.resolve(template, None) {
            Ok(output) => Some(output),
            Err(BadExpression(reason)) => {
                draft.note(format!("output: {reason}"));
                park::park(draft, Why::BadExpression, None);
                return Ok(());
            }
        },
    };
    complete_with(draft, output);
    Ok(())
}

/// Ends the saga as wanted, with this output.
pub(super) fn complete_with(draft: &mut Draft<'_>, output: Option<Arc<Value>>) {
    draft.end(Status::Completed, output, (Direction::Execute, Outcome::Succeeded));
}
