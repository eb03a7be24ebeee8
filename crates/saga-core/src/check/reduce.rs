//! Less work for definitions with many parallel branches, by what branches cannot do to each other.
//!
//! Owns the reductions of [`super::Depth::Troubles`]. In an unwind each open compensation goes its own way until it is
//! done, so that the first one may go before the others move; what is undone is forgotten, for an unwind treats it
//! like what never began; and an execute whose compensation is on its way is merely unknown, however it became so.
//! Small definitions are explored both ways in tests, and must come to the same verdict.

use super::model::Model;
use super::moves::Move;
use super::world::{Final, Row, World};
use crate::definition::{Step, StepIx, Turn, Work};
use crate::state::{Cell, CellRef, Phase, Run};

/// The cell that goes first: its moves are all that is explored until it is at rest.
pub(super) fn first(model: &Model, world: &World) -> Option<(StepIx, Option<u32>)> {
    if !matches!(world.state.phase, Phase::Unwinding { .. }) {
        return None;
    }
    let moving = |run: Run| run.is_open() || run == Run::Waiting;
    let goes = |cell: &&Cell| {
        let notice = model.step(cell.step).is_some_and(|step| step.turn != Turn::Graph);
        cell.undo.as_ref().is_some_and(|undo| moving(undo.run)) || (notice && cell.execute.run.is_open())
    };
    world.state.cells.iter().find(goes).map(|cell| (cell.step, cell.item))
}

/// Whether a move can wait until the cell that goes first is at rest.
pub(super) fn is_postponed(first: Option<(StepIx, Option<u32>)>, it: Move) -> bool {
    let Some(first) = first else { return false };
    let other = |at: CellRef| (at.step, at.item) != first;
    match it {
        Move::Answer(at, _) | Move::Due { at, .. } => other(at),
        Move::Idle(idle) => idle.cell().is_some_and(other),
        Move::AllDue { .. } | Move::Signal { .. } => true,
        Move::Start | Move::Deadline | Move::Cancel | Move::ParentUndoes | Move::LogLost => false,
    }
}

/// Whether too many steps are in trouble at once.
pub(super) fn is_too_much(before: &World, after: &World, max: u8) -> bool {
    let troubles = after.troubles();
    troubles > usize::from(max) && troubles > before.troubles()
}

/// Forgets what an unwind has behind it.
pub(super) fn forget_undone(model: &Model, world: &mut World) {
    if !matches!(world.state.phase, Phase::Unwinding { .. }) {
        return;
    }
    for cell in &mut world.state.cells {
        let on_its_way = cell.undo.is_some();
        if on_its_way && (cell.execute.run.is_open() || cell.execute.run == Run::Exhausted) {
            (cell.execute.run, cell.execute.silent) = (Run::Unknown, 1);
        }
    }
    let standing: Vec<StepIx> = (world.state.cells.iter().zip(&world.rows))
        .filter(|(cell, row)| !is_over(model, cell, row))
        .map(|(cell, _)| cell.step)
        .collect();
    let keeps = |cell: &Cell| {
        let Some(step) = model.step(cell.step) else { return true };
        let after = model
            .facts(cell.step)
            .is_some_and(|facts| standing.iter().any(|ix| facts.descendants.contains(ix)));
        // A signal may still come for a wait.
        step.turn != Turn::Graph
            || after
            || standing.contains(&cell.step)
            || matches!(step.work, Work::Signal { .. })
    };
    let kept: Vec<bool> = world.state.cells.iter().map(keeps).collect();
    let mut keep = kept.iter();
    world.state.cells.retain(|_| keep.next().copied().unwrap_or(true));
    let mut keep = kept.iter();
    world.rows.retain(|_| keep.next().copied().unwrap_or(true));
}

/// Whether nothing of a cell is left to undo, and both its worker and the saga know.
fn is_over(model: &Model, cell: &Cell, row: &Row) -> bool {
    let Some(step) = model.step(cell.step) else { return false };
    match &cell.undo {
        Some(undo) => undo.run == Run::Succeeded && row.undo.told == Some(Final::Succeeded),
        None => !row.may_stand() || leaves_nothing(step),
    }
}

fn leaves_nothing(step: &Step) -> bool {
    step.compensation.is_none()
        && !matches!(step.work, Work::Child { .. })
        && (step.harmless || !matches!(step.work, Work::Action { .. }))
}
