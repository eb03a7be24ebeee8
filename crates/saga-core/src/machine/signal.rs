//! Signals: one satisfies one wait, waits itself when it is early, and is an anomaly when it is late.
//!
//! Owns which wait a signal belongs to. It must not know where signals come from.

use std::sync::Arc;

use saga_protocol::Direction;
use serde_json::Value;

use super::draft::Draft;
use super::{Taken, answer};
use crate::definition::{Turn, Work};
use crate::event::Signal;
use crate::state::{Cell, CellRef, EarlySignal, Phase, Run, Status};
use crate::transition::Illegal;

/// The most signals that wait for their wait, in one saga.
pub const EARLY_SIGNALS_MAX: usize = 100;

/// Takes in a signal.
pub(super) fn take(draft: &mut Draft<'_>, signal: &Signal) -> Result<Taken, Illegal> {
    let backward = matches!(draft.state.phase, Phase::Unwinding { .. });
    let over = draft.state.status.is_end() || backward;
    if let Some(at) = waiting(draft, signal).filter(|_| !over) {
        let revision = signal.payload.as_ref().map(|payload| draft.keep_payload(payload));
        draft.settle(at, Run::Succeeded)?.output = revision;
        return Ok(Taken::Applied);
    }
    let mut named = false;
    let mut may_come = false;
    let mut late = None;
    for (ix, step) in draft.definition.steps().filter(|(_, step)| step.turn == Turn::Graph) {
        if !matches!(&step.work, Work::Signal { name } if *name == signal.name) {
            continue;
        }
        named = true;
        let at = |item| CellRef { step: ix, item, direction: Direction::Execute };
        if !draft.is_touched(ix) {
            may_come |= !over;
            late = late.or(over.then(|| at(None)));
        }
        let held = draft.cells(ix).iter().any(|cell| cell.execute.run == Run::Held);
        may_come |= held && !over;
        let unmet = draft.cells(ix).iter().find(|cell| is_unmet(cell, over));
        late = late.or(unmet.map(|cell| at(cell.item)));
    }
    match (named, may_come, late) {
        (false, ..) => Ok(Taken::Ignored("nothing in the definition waits for this signal")),
        (_, true, _) => Ok(keep(draft, signal)),
        // Whatever it reports has happened, and nothing of this saga will look at it.
        (_, _, Some(at)) => Ok(answer::anomaly(draft, at, 1, "signal_after_wait", signal.payload.as_ref())),
        _ => Ok(Taken::Ignored("no wait is left for this signal")),
    }
}

/// The first wait that the signal ends: one that is on, or one that has parked the saga by ending without it.
fn waiting(draft: &Draft<'_>, signal: &Signal) -> Option<CellRef> {
    let parked = matches!(draft.state.status, Status::Parked(_));
    draft.state.cells.iter().find_map(|cell| {
        let step = draft.definition.step(cell.step)?;
        let named = matches!(&step.work, Work::Signal { name } if *name == signal.name);
        let open = cell.execute.run == Run::Waiting
            || (cell.execute.run == Run::Exhausted && parked && !step.optional);
        let at = CellRef { step: cell.step, item: cell.item, direction: Direction::Execute };
        (named && open).then_some(at)
    })
}

/// Whether a wait began, or was to begin, and is over without its signal.
fn is_unmet(cell: &Cell, over: bool) -> bool {
    let began = cell.execute.first_sent_at.is_some();
    match cell.execute.run {
        Run::Exhausted | Run::GivenUp => true,
        // A wait whose `when` was false never began: nobody asked for the signal.
        Run::Skipped => began,
        Run::Waiting | Run::Held => over,
        _ => false,
    }
}

fn keep(draft: &mut Draft<'_>, signal: &Signal) -> Taken {
    let now = draft.now();
    draft.state.early_signals.retain(|early| early.expires > now);
    if draft.state.early_signals.len() >= EARLY_SIGNALS_MAX {
        return Taken::Ignored("too many signals wait already");
    }
    let payload = signal.payload.clone().unwrap_or_else(|| Arc::new(Value::Null));
    let revision = draft.keep_payload(&payload);
    let early = EarlySignal { name: signal.name.clone(), revision, expires: now + signal.ttl_ms };
    draft.state.early_signals.push(early);
    Taken::Applied
}
