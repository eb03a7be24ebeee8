//! Operators' actions on one saga.
//!
//! Owns when each is refused and what it does to the tracks; what follows from that is left to [`super::go_on`].
//! Whatever may still take effect is ended only when that was acknowledged.

use std::sync::Arc;

use saga_protocol::Direction;
use serde_json::Value;

use super::draft::Draft;
use super::operator_retry::{resume, retry, retry_edited};
use super::{Taken, forward, output, start, stop, unwind};
use crate::definition::{Step, Turn, Work};
use crate::event::{self, Operator, OperatorAction};
use crate::state::{Cause, Cell, CellRef, Phase, Run, Status, Track, Why};
use crate::transition::Illegal;

pub(super) const NOT_TOUCHED: &str = "the saga has no such step under way";
const MUST_ACKNOWLEDGE: &str = "it may still take effect: acknowledge that first";

/// Takes in an operator's action on a saga that has not ended.
pub(super) fn take(draft: &mut Draft<'_>, operator: &Operator) -> Result<Taken, Illegal> {
    if operator.revision != draft.state.revision {
        return Ok(Taken::Refused(event::MOVED_ON));
    }
    match &operator.action {
        OperatorAction::Retry { cell } => retry(draft, *cell),
        OperatorAction::RetryEdited { cell, input } => retry_edited(draft, *cell, input.as_ref()),
        OperatorAction::Skip { cell, output, acknowledged } => {
            skip(draft, *cell, output.as_ref(), *acknowledged)
        }
        OperatorAction::Compensate => Ok(compensate(draft)),
        OperatorAction::ResumeCompensation => resume(draft),
        OperatorAction::MarkCompensated { cell, acknowledged, .. } => mark(draft, *cell, *acknowledged),
        OperatorAction::Abandon { acknowledged: false } => {
            Ok(Taken::Refused("acknowledge first what stays uncompensated and what may still take effect"))
        }
        OperatorAction::Abandon { acknowledged: true } => Ok(abandon(draft)),
    }
}

/// An operator has looked: what parked the saga without a trace in its state is over.
pub(super) fn unpark_sticky(draft: &mut Draft<'_>) {
    if matches!(&draft.state.status, Status::Parked(parked) if parked.why.is_sticky()) {
        draft.state.status = Status::Running;
    }
}

fn compensate(draft: &mut Draft<'_>) -> Taken {
    match draft.state.phase {
        Phase::Committed => return Taken::Refused("the pivot has succeeded: it only goes forward"),
        Phase::Unwinding { .. } => return Taken::Refused("it is being undone already"),
        Phase::PivotOpen { stop: Some(_) } => {
            return Taken::Refused("it waits for the pivot's outcome already");
        }
        Phase::PivotOpen { stop: None } if matches!(draft.state.status, Status::Parked(_)) => {
            return Taken::Refused("nobody knows on which side of its pivot the saga is: settle that first");
        }
        Phase::PivotOpen { stop: None } | Phase::Forward => {}
    }
    stop(draft, Cause::Operator);
    Taken::Applied
}

fn skip(
    draft: &mut Draft<'_>,
    at: CellRef,
    output: Option<&Arc<Value>>,
    acknowledged: bool,
) -> Result<Taken, Illegal> {
    if completes_with(draft) {
        let Some(output) = output else {
            return Ok(Taken::Refused("the saga's output is missing: give one"));
        };
        draft.keep_payload(output);
        forward::complete_with(draft, Some(Arc::clone(output)));
        return Ok(Taken::Applied);
    }
    let Some(step) = draft.definition.step(at.step) else { return Ok(Taken::Refused(NOT_TOUCHED)) };
    if at.direction == Direction::Compensate {
        return Ok(Taken::Refused("a compensation is not skipped but marked as done"));
    }
    if matches!(draft.state.phase, Phase::Unwinding { .. }) && step.turn == Turn::Graph {
        return Ok(Taken::Refused("the saga is being undone"));
    }
    let Some(cell) = draft.state.cell(at.step, at.item) else {
        return skip_untouched(draft, step, at, output);
    };
    let (run, unusable) = (cell.execute.run, cell.execute.unusable);
    if matches!(run, Run::Succeeded | Run::Skipped) && !unusable {
        return Ok(Taken::Refused("the step is done"));
    }
    let open = may_take_effect(&step.work, run);
    if open && !acknowledged {
        return Ok(Taken::Refused(MUST_ACKNOWLEDGE));
    }
    if let Some(reason) = output::refused(step, unusable, at.item.is_some(), output) {
        return Ok(Taken::Refused(reason));
    }
    let revision = output.map(|output| draft.keep_payload(output));
    if unusable {
        let track = draft.track_mut(at)?;
        (track.unusable, track.output) = (false, revision);
    } else {
        let track = draft.settle(at, Run::Skipped)?;
        (track.waived, track.output) = (open, revision);
    }
    if step.pivot {
        // Also one that was never sent: the operator takes it as done, and there is no way back.
        forward::commit(draft);
    }
    unpark_sticky(draft);
    Ok(Taken::Applied)
}

/// A step that was never begun, because an expression of it has no value.
fn skip_untouched(
    draft: &mut Draft<'_>,
    step: &Step,
    at: CellRef,
    output: Option<&Arc<Value>>,
) -> Result<Taken, Illegal> {
    let its_turn =
        step.turn == Turn::Graph && step.after.iter().all(|&before| forward::is_done(draft, before));
    if !its_turn || at.item.is_some() || draft.is_touched(at.step) {
        return Ok(Taken::Refused(NOT_TOUCHED));
    }
    if let Some(reason) = output::refused(step, false, false, output) {
        return Ok(Taken::Refused(reason));
    }
    start::touch(draft, at.step, Run::Skipped);
    if let Some(output) = output {
        let revision = draft.keep_payload(output);
        draft.track_mut(at)?.output = Some(revision);
    }
    if step.pivot {
        forward::commit(draft);
    }
    unpark_sticky(draft);
    Ok(Taken::Applied)
}

/// Whether nothing is missing but the saga's own output.
fn completes_with(draft: &Draft<'_>) -> bool {
    matches!(&draft.state.status, Status::Parked(parked) if parked.why == Why::BadExpression && parked.cell.is_none())
}

fn mark(draft: &mut Draft<'_>, at: CellRef, acknowledged: bool) -> Result<Taken, Illegal> {
    if !matches!(draft.state.phase, Phase::Unwinding { .. }) {
        return Ok(Taken::Refused("the saga is not being undone"));
    }
    let (Some(step), Some(cell)) = (draft.definition.step(at.step), draft.state.cell(at.step, at.item))
    else {
        return Ok(Taken::Refused(NOT_TOUCHED));
    };
    if cell.undo.is_none() && !unwind::takes_effect(step, &cell.execute) {
        return Ok(Taken::Refused("there is nothing to undo"));
    }
    if cell.undo.as_ref().is_some_and(|undo| matches!(undo.run, Run::Succeeded | Run::Skipped)) {
        return Ok(Taken::Refused("it is undone already"));
    }
    // Either the compensation that is in flight, or the execute whose outcome nobody knows.
    let open_undo = cell.undo.as_ref().is_some_and(|undo| may_take_effect(&step.work, undo.run));
    let open = open_undo || may_take_effect(&step.work, cell.execute.run);
    if open && !acknowledged {
        return Ok(Taken::Refused(MUST_ACKNOWLEDGE));
    }
    let cell = draft.cell_mut(at.step, at.item)?;
    cell.undo.get_or_insert(Track::held(1));
    let undo = draft.settle(CellRef { direction: Direction::Compensate, ..at }, Run::Skipped)?;
    undo.waived = open;
    unpark_sticky(draft);
    Ok(Taken::Applied)
}

fn abandon(draft: &mut Draft<'_>) -> Taken {
    let definition = draft.definition;
    for cell in &mut draft.state.cells {
        let Cell { step, execute, undo, .. } = cell;
        let Some(step) = definition.step(*step) else { continue };
        for track in std::iter::once(execute).chain(undo.as_mut()) {
            if may_take_effect(&step.work, track.run) {
                track.waived = true;
                track.run = Run::GivenUp;
            } else if track.run == Run::Waiting {
                track.run = Run::GivenUp;
            }
            track.due = None;
        }
    }
    let direction = match draft.state.phase {
        Phase::Unwinding { cause: Cause::Parent } | Phase::PivotOpen { stop: Some(Cause::Parent) } => {
            Direction::Compensate
        }
        _ => Direction::Execute,
    };
    draft.end(Status::Abandoned, None, (direction, saga_protocol::Outcome::Undecidable));
    Taken::Applied
}

/// Whether a track that stands so may still take effect in the world.
fn may_take_effect(work: &Work, run: Run) -> bool {
    match run {
        Run::Sent | Run::Unknown | Run::Backoff | Run::Exhausted | Run::Undecidable => true,
        Run::Waiting => !matches!(work, Work::Sleep { .. }),
        Run::Held | Run::Succeeded | Run::Rejected | Run::Skipped | Run::GivenUp => false,
    }
}
