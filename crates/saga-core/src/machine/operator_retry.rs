//! Trying again at an operator's wish.
//!
//! Owns which track can be tried again and whether that is a new round: a stored rejection opens one, everything
//! else sends the same round with a fresh budget.

use std::sync::Arc;

use saga_protocol::Direction;
use serde_json::Value;

use super::draft::Draft;
use super::operator::{NOT_TOUCHED, unpark_sticky};
use super::{Taken, forward, start, unwind};
use crate::command;
use crate::definition::{Step, Turn, Work};
use crate::state::{CellRef, Phase, Run, Status, Track};
use crate::transition::Illegal;

const UNWINDS: &str = "the saga is being undone: only compensations are tried again";

/// Tries one track again, or everything that has stopped or pauses.
pub(super) fn retry(draft: &mut Draft<'_>, cell: Option<CellRef>) -> Result<Taken, Illegal> {
    if let Some(at) = cell {
        return Ok(match retry_one(draft, at)? {
            Ok(()) => {
                unpark_sticky(draft);
                Taken::Applied
            }
            Err(reason) => Taken::Refused(reason),
        });
    }
    let unwinding = matches!(draft.state.phase, Phase::Unwinding { .. });
    let stopped =
        |run| matches!(run, Run::Unknown | Run::Backoff | Run::Rejected | Run::Exhausted | Run::Undecidable);
    let tracks: Vec<CellRef> = draft
        .state
        .tracks()
        .filter(|(at, track)| {
            stopped(track.run)
                && draft.is_graph(at.step)
                && (at.direction == Direction::Compensate) == unwinding
        })
        .map(|(at, _)| at)
        .collect();
    let mut tried = matches!(draft.state.status, Status::Parked(_));
    for at in tracks {
        tried |= retry_one(draft, at)?.is_ok();
    }
    unpark_sticky(draft);
    Ok(if tried { Taken::Applied } else { Taken::Refused("nothing has stopped") })
}

fn retry_one(draft: &mut Draft<'_>, at: CellRef) -> Result<Result<(), &'static str>, Illegal> {
    let Some(step) = draft.definition.step(at.step) else { return Ok(Err(NOT_TOUCHED)) };
    if let Err(reason) = may_retry(draft, step, at) {
        return Ok(Err(reason));
    }
    match draft.track(at)?.run {
        Run::Rejected => new_round(draft, at)?,
        Run::Sent | Run::Unknown | Run::Backoff | Run::Exhausted | Run::Undecidable => same_round(draft, at)?,
        Run::Waiting => return Ok(Err("it waits, and there is nothing to try")),
        Run::Held => return Ok(Err("it is held: end the hold")),
        Run::Succeeded | Run::Skipped | Run::GivenUp => return Ok(Err("the step is done")),
    }
    Ok(Ok(()))
}

fn may_retry(draft: &Draft<'_>, step: &Step, at: CellRef) -> Result<(), &'static str> {
    let Some(track) = draft.state.track(at) else { return Err(NOT_TOUCHED) };
    let graph = step.turn == Turn::Graph;
    let unwinding = matches!(draft.state.phase, Phase::Unwinding { .. });
    if unwinding && graph && at.direction == Direction::Execute {
        return Err(UNWINDS);
    }
    let failed = matches!(track.run, Run::Rejected | Run::Exhausted);
    if step.optional && failed && at.direction == Direction::Execute {
        return Err("the step is optional, and the saga has gone on without it");
    }
    Ok(())
}

/// The same round once more, now, with a fresh budget.
fn same_round(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    let now = draft.now();
    let track = draft.track_mut(at)?;
    (track.charged, track.silent, track.budget_from) = (0, 0, Some(now));
    match at.direction {
        // A hold pauses it; it does not become a round that was never sent.
        Direction::Execute => start::begin_round(draft, at),
        Direction::Compensate => unwind::send(draft, at),
    }
}

/// A new round with the input of the old one.
fn new_round(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    let track = draft.track_mut(at)?;
    let (round, input, input_hash) = (track.round.saturating_add(1), track.input, track.input_hash);
    *track = Track { input, input_hash, ..Track::held(round) };
    match at.direction {
        Direction::Execute => start::open_round(draft, at),
        Direction::Compensate => unwind::send(draft, at),
    }
}

/// Tries again with an input that the operator wrote.
pub(super) fn retry_edited(
    draft: &mut Draft<'_>,
    at: CellRef,
    input: Option<&Arc<Value>>,
) -> Result<Taken, Illegal> {
    let Some(input) = input else { return Ok(Taken::Refused("the new input is missing")) };
    let Some(step) = draft.definition.step(at.step) else { return Ok(Taken::Refused(NOT_TOUCHED)) };
    if !matches!(step.work, Work::Action { .. } | Work::Child { .. }) {
        return Ok(Taken::Refused("a wait has no input"));
    }
    if draft.state.track(at).is_none() {
        return begin_untouched(draft, step, at, input);
    }
    if let Err(reason) = may_retry(draft, step, at) {
        return Ok(Taken::Refused(reason));
    }
    if draft.track(at)?.run != Run::Rejected {
        return Ok(Taken::Refused(
            "its round is not settled: another input could take effect beside the first",
        ));
    }
    draft.keep_payload(input);
    let revision = draft.keep_input(at, Arc::clone(input));
    let track = draft.track_mut(at)?;
    (track.input, track.input_hash) = (Some(revision), Some(command::input_hash(input)));
    new_round(draft, at)?;
    unpark_sticky(draft);
    Ok(Taken::Applied)
}

/// A step whose input has no value: the operator gives it one.
fn begin_untouched(
    draft: &mut Draft<'_>,
    step: &Step,
    at: CellRef,
    input: &Arc<Value>,
) -> Result<Taken, Illegal> {
    let its_turn = step.turn == Turn::Graph
        && step.foreach.is_none()
        && !matches!(draft.state.phase, Phase::Unwinding { .. })
        && step.after.iter().all(|&before| forward::is_done(draft, before));
    if !its_turn || at.item.is_some() || at.direction == Direction::Compensate || draft.is_touched(at.step) {
        return Ok(Taken::Refused(NOT_TOUCHED));
    }
    draft.keep_payload(input);
    start::begin_edited(draft, at.step, Arc::clone(input))?;
    unpark_sticky(draft);
    Ok(Taken::Applied)
}

/// Goes on undoing after it has stopped: only what remains runs.
pub(super) fn resume(draft: &mut Draft<'_>) -> Result<Taken, Illegal> {
    if !matches!(draft.state.phase, Phase::Unwinding { .. }) {
        return Ok(Taken::Refused("the saga is not being undone"));
    }
    let graph = draft.state.cells.iter().filter(|cell| draft.is_graph(cell.step));
    let stopped = |run| matches!(run, Run::Rejected | Run::Exhausted | Run::Undecidable);
    let (mut again, mut guessed) = (Vec::new(), Vec::new());
    for cell in graph {
        let at = CellRef { step: cell.step, item: cell.item, direction: Direction::Compensate };
        match &cell.undo {
            Some(undo) if stopped(undo.run) && cell.execute.run != Run::Rejected => again.push(at),
            None if cell.execute.run == Run::Undecidable => guessed.push(at),
            _ => {}
        }
    }
    let mut resumed = matches!(&draft.state.status, Status::Parked(parked) if parked.why.is_sticky());
    unpark_sticky(draft);
    for at in again {
        resumed |= retry_one(draft, at)?.is_ok();
    }
    for at in guessed {
        resumed |= unwind::begin_undecided(draft, at.step, at.item)?;
    }
    Ok(if resumed { Taken::Applied } else { Taken::Refused("no compensation has stopped") })
}
