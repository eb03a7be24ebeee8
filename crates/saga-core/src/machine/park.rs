//! Parking: a saga that needs a human.
//!
//! Owns which state demands it, and in which order of weight. It must not unpark: [`super::go_on`] does, by
//! finding nothing that demands it any more.

use saga_protocol::Direction;

use super::draft::Draft;
use super::notice;
use crate::definition::{OnFailure, Turn};
use crate::state::{CellRef, Parked, Phase, Run, Status, Why};
use crate::transition::Illegal;

impl Why {
    /// Whether nothing in the state shows it: it ends only when an operator has looked.
    pub(super) const fn is_sticky(self) -> bool {
        matches!(self, Self::Poison | Self::Illegal)
    }
}

/// Parks the saga; one that is parked for the very same reason stays as it is.
pub(super) fn park(draft: &mut Draft<'_>, why: Why, cell: Option<CellRef>) {
    if matches!(&draft.state.status, Status::Parked(parked) if parked.why == why && parked.cell == cell) {
        return;
    }
    draft.state.status = Status::Parked(Parked { why, cell, revision: draft.revision });
    notice::start_all(draft, Turn::Parked);
}

/// What parks a saga on its way forward, the weightiest first: what nobody knows, what failed, what is missing.
pub(super) fn demanded(draft: &Draft<'_>) -> Result<Option<(Why, CellRef)>, Illegal> {
    let mut found: Option<(u8, Why, CellRef)> = None;
    for cell in draft.state.cells.iter().filter(|cell| draft.is_graph(cell.step)) {
        let step = draft.step(cell.step)?;
        let why = match cell.execute.run {
            Run::Exhausted if step.pivot => Why::PivotUnsettled,
            Run::Undecidable => Why::Undecidable,
            Run::Exhausted if !step.optional => Why::Exhausted,
            Run::Rejected if !step.optional => Why::Rejected,
            Run::Succeeded if cell.execute.unusable && !step.optional => match cell.execute.output {
                None => Why::OutputTooLarge,
                Some(_) => Why::OutputUnfit,
            },
            _ => continue,
        };
        let rank = match why {
            Why::PivotUnsettled => 0,
            Why::Undecidable => 1,
            Why::OutputTooLarge | Why::OutputUnfit => 3,
            _ => 2,
        };
        let at = CellRef { step: cell.step, item: cell.item, direction: Direction::Execute };
        if found.as_ref().is_none_or(|(best, ..)| rank < *best) {
            found = Some((rank, why, at));
        }
    }
    Ok(found.map(|(_, why, at)| (why, at)))
}

/// Whether a failure turns the saga around. After the pivot every failure parks.
pub(super) fn turns_around(draft: &Draft<'_>, policy: OnFailure) -> bool {
    policy == OnFailure::Compensate && draft.state.phase == Phase::Forward
}
