//! Notices: the optional steps outside of the graph, which run when a saga is undone or parks.
//!
//! Owns that they hold nothing: whatever becomes of a notice, the saga is as it would be without.

use super::draft::Draft;
use super::start::{self, Plan};
use crate::definition::{StepIx, Turn};
use crate::state::Run;

/// Starts every notice of a turn that was not touched, once in a saga's life.
pub(super) fn start_all(draft: &mut Draft<'_>, turn: Turn) {
    let ready: Vec<StepIx> = draft.definition.notices(turn).filter(|&ix| !draft.is_touched(ix)).collect();
    ready.into_iter().for_each(|ix| start(draft, ix));
}

/// Starts the notices of a turn. Returns whether all are done.
pub(super) fn go_on(draft: &mut Draft<'_>, turn: Turn) -> bool {
    start_all(draft, turn);
    draft.definition.notices(turn).all(|ix| is_done(draft, ix))
}

fn start(draft: &mut Draft<'_>, ix: StepIx) {
    let Some(step) = draft.definition.step(ix) else { return };
    let plan = start::plan(draft, step).unwrap_or_else(|bad| {
        draft.note(format!("{} is skipped: {}", step.name, bad.0));
        Plan::Skip
    });
    if let Err(illegal) = start::carry_out(draft, ix, plan) {
        draft.note(format!("{} is skipped: {illegal}", step.name));
    }
}

fn is_done(draft: &Draft<'_>, ix: StepIx) -> bool {
    let cells = draft.cells(ix);
    let ended =
        |run| matches!(run, Run::Succeeded | Run::Skipped | Run::Rejected | Run::Exhausted | Run::GivenUp);
    !cells.is_empty() && cells.iter().all(|cell| ended(cell.execute.run))
}
