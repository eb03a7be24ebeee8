//! The way back: what was done, or may have been, is undone.
//!
//! Owns which cells need undoing, in which order, and when everything is undone. It must not look at the event.

use saga_protocol::{Direction, Outcome};

use super::draft::Draft;
use super::{Taken, notice, park, start, stop};
use crate::definition::{Step, StepIx, Turn, Work};
use crate::state::{Cause, Cell, CellRef, Phase, Run, Status, Track, Why};
use crate::transition::Illegal;

/// Turns the saga around. Executes in flight are no longer driven: their compensation is, and the worker's
/// barrier puts the two in order.
pub(super) fn turn_around(draft: &mut Draft<'_>, cause: Cause) {
    draft.state.phase = Phase::Unwinding { cause };
    draft.state.status = Status::Running;
    let definition = draft.definition;
    for cell in &mut draft.state.cells {
        if definition.step(cell.step).is_some_and(|step| step.turn == Turn::Graph) {
            cell.execute.due = None;
        }
    }
}

/// Goes on as far as the state allows.
pub(super) fn go_on(draft: &mut Draft<'_>) -> Result<(), Illegal> {
    let undone = undone(draft);
    let is_undone = |ix: StepIx| undone.get(usize::from(ix.0)).copied().unwrap_or(true);
    let mut ready = Vec::new();
    for cell in draft.state.cells.iter().filter(|cell| draft.is_graph(cell.step)) {
        let step = draft.step(cell.step)?;
        if cell.undo.is_none() && needs_undo(step, cell) && step.dependents.iter().all(|&ix| is_undone(ix)) {
            ready.push((cell.step, cell.item));
        }
    }
    for (step, item) in ready {
        begin(draft, step, item)?;
    }
    if draft.definition.steps().all(|(ix, _)| is_undone(ix)) {
        draft.state.status = Status::Running;
        if notice::go_on(draft, Turn::Compensated) {
            end(draft);
        }
        return Ok(());
    }
    let in_flight =
        |cell: &Cell| cell.undo.as_ref().is_some_and(|undo| undo.run.is_open() || undo.run == Run::Waiting);
    if draft.state.cells.iter().any(in_flight) {
        // What can still go on finishes first, whatever else has stopped.
        draft.state.status = Status::Running;
    } else if let Some((why, at)) = stopped(draft) {
        park::park(draft, why, Some(at));
    } else {
        return Err(Illegal("an unwind has nothing in flight and nothing that stopped it".to_owned()));
    }
    Ok(())
}

/// Starts to undo a cell.
pub(super) fn begin(draft: &mut Draft<'_>, step: StepIx, item: Option<u32>) -> Result<(), Illegal> {
    let at = CellRef { step, item, direction: Direction::Compensate };
    draft.cell_mut(step, item)?.undo = Some(Track::held(1));
    send(draft, at)
}

/// Sends a compensation's next attempt, or has a child saga undone.
pub(super) fn send(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    match draft.step(at.step)?.work {
        Work::Child { .. } => start::call_child(draft, at),
        _ => draft.send(at),
    }
}

/// For each step: whether it and everything that came after it is undone, or needs no undoing.
fn undone(draft: &Draft<'_>) -> Vec<bool> {
    fn visit(draft: &Draft<'_>, ix: StepIx, known: &mut [Option<bool>]) -> bool {
        let at = usize::from(ix.0);
        if let Some(known) = known.get(at).copied().flatten() {
            return known;
        }
        let Some(step) = draft.definition.step(ix) else { return true };
        let after = step.dependents.iter().all(|&next| visit(draft, next, known));
        let all = after && draft.cells(ix).iter().all(|cell| is_undone(step, cell));
        if let Some(slot) = known.get_mut(at) {
            *slot = Some(all);
        }
        all
    }
    let mut known = vec![None; draft.definition.steps.len()];
    for (ix, _) in draft.definition.steps().filter(|(_, step)| step.turn == Turn::Graph) {
        visit(draft, ix, &mut known);
    }
    known.into_iter().map(|undone| undone.unwrap_or(true)).collect()
}

fn is_undone(step: &Step, cell: &Cell) -> bool {
    match &cell.undo {
        None => !takes_effect(step, &cell.execute),
        Some(undo) => match undo.run {
            Run::Succeeded | Run::Skipped | Run::GivenUp => true,
            // A compensation that stopped is not needed any more when its execute turns out to have been refused.
            Run::Rejected | Run::Exhausted | Run::Undecidable => cell.execute.run == Run::Rejected,
            _ => false,
        },
    }
}

/// Whether a cell's compensation is to be sent. Where the worker lost its record nobody may guess.
fn needs_undo(step: &Step, cell: &Cell) -> bool {
    takes_effect(step, &cell.execute) && cell.execute.run != Run::Undecidable
}

/// Whether an execute has taken effect, or may have, and there is a way to undo it.
pub(super) fn takes_effect(step: &Step, execute: &Track) -> bool {
    let undoable = match step.work {
        Work::Action { .. } => step.compensation.is_some(),
        Work::Child { .. } => true,
        Work::Sleep { .. } | Work::Signal { .. } => false,
    };
    // An empty `foreach` is done without anything having been sent.
    let sent = execute.attempt > 0;
    let done = match execute.run {
        Run::Sent | Run::Unknown | Run::Backoff | Run::Waiting => true,
        Run::Succeeded | Run::Exhausted | Run::Undecidable => true,
        Run::Held | Run::Rejected | Run::Skipped | Run::GivenUp => false,
    };
    undoable && sent && done
}

/// The first cell that keeps the unwind from going on.
fn stopped(draft: &Draft<'_>) -> Option<(Why, CellRef)> {
    draft.state.cells.iter().filter(|cell| draft.is_graph(cell.step)).find_map(|cell| {
        let step = draft.definition.step(cell.step)?;
        if is_undone(step, cell) {
            return None;
        }
        let at = |direction| CellRef { step: cell.step, item: cell.item, direction };
        match (&cell.undo, cell.execute.run) {
            (Some(undo), _) if undo.run == Run::Undecidable => {
                Some((Why::Undecidable, at(Direction::Compensate)))
            }
            (Some(_), _) => Some((Why::CompensationFailed, at(Direction::Compensate))),
            (None, Run::Undecidable) => Some((Why::Undecidable, at(Direction::Execute))),
            // It waits for one that stopped.
            (None, _) => None,
        }
    })
}

fn end(draft: &mut Draft<'_>) {
    let told = match draft.state.phase {
        Phase::Unwinding { cause: Cause::Parent } => (Direction::Compensate, Outcome::Succeeded),
        _ => (Direction::Execute, Outcome::Rejected),
    };
    draft.end(Status::Compensated, None, told);
}

/// The parent saga compensates this one. A completed child is reopened; one that is past its pivot says so,
/// because its parent must not wait in silence.
pub(super) fn for_parent(draft: &mut Draft<'_>) -> Result<Taken, Illegal> {
    if draft.state.parent.is_none() {
        return Ok(Taken::Ignored("the saga has no parent"));
    }
    match (&draft.state.status, &mut draft.state.phase) {
        (Status::Compensated, _) => draft.tell_parent((Direction::Compensate, Outcome::Succeeded), None),
        (Status::Abandoned, _) | (_, Phase::Committed) => {
            draft.tell_parent((Direction::Compensate, Outcome::Undecidable), None);
        }
        (_, Phase::Unwinding { cause }) => *cause = Cause::Parent,
        // A human has to look first; the saga unwinds when it is released.
        (Status::Parked(parked), Phase::Forward) if parked.why.is_sticky() => {
            let status = draft.state.status.clone();
            turn_around(draft, Cause::Parent);
            draft.state.status = status;
        }
        (_, Phase::Forward | Phase::PivotOpen { .. }) => stop(draft, Cause::Parent),
    }
    Ok(Taken::Applied)
}

/// Undoes a cell of which nobody knows whether it took effect, because an operator says so. Returns whether it
/// was its turn.
pub(super) fn begin_undecided(
    draft: &mut Draft<'_>,
    step: StepIx,
    item: Option<u32>,
) -> Result<bool, Illegal> {
    let undone = undone(draft);
    let definition = draft.step(step)?;
    let mut dependents = definition.dependents.iter();
    let its_turn = dependents.all(|ix| undone.get(usize::from(ix.0)).copied().unwrap_or(true));
    let execute = draft.track(CellRef { step, item, direction: Direction::Execute })?;
    if !its_turn || !takes_effect(definition, execute) {
        return Ok(false);
    }
    begin(draft, step, item)?;
    Ok(true)
}
