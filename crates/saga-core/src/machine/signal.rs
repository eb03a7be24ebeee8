//! Signals: one satisfies one wait, waits itself when it is early, and is an anomaly when it is late.
//!
//! Owns which wait a signal belongs to. It must not know where signals come from.

use std::sync::Arc;

use saga_protocol::Direction;
use serde_json::Value;

use super::draft::Draft;
use super::{Taken, answer, output};
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
        output::succeed(draft, at, signal.payload.as_ref(), false)?;
        return Ok(Taken::Applied);
    }
    match prospect(draft, &signal.name, over) {
        Prospect { named: false, .. } => {
            Ok(Taken::Ignored("nothing in the definition waits for this signal"))
        }
        Prospect { may_come: Some(_), .. } => Ok(keep(draft, signal)),
        // Whatever it reports has happened, and nothing of this saga will look at it.
        Prospect { late: Some(at), .. } => {
            Ok(answer::anomaly(draft, at, 1, "signal_after_wait", signal.payload.as_ref()))
        }
        Prospect { .. } => Ok(Taken::Ignored("no wait is left for this signal")),
    }
}

/// What a signal that no wait takes now can hope for.
struct Prospect {
    /// A step waits for signals of its name.
    named: bool,
    /// The first of these that has yet to begin.
    may_come: Option<CellRef>,
    /// The first of these that was over, or never began, without a signal.
    late: Option<CellRef>,
}

/// `over`: no wait of the saga will begin any more.
fn prospect(draft: &Draft<'_>, name: &str, over: bool) -> Prospect {
    let mut found = Prospect { named: false, may_come: None, late: None };
    for (ix, step) in draft.definition.steps().filter(|(_, step)| step.turn == Turn::Graph) {
        if !matches!(&step.work, Work::Signal { name: it } if *it == name) {
            continue;
        }
        found.named = true;
        let at = |item| CellRef { step: ix, item, direction: Direction::Execute };
        let held = draft.cells(ix).iter().find(|cell| cell.execute.run == Run::Held);
        let to_come = if draft.is_touched(ix) { held.map(|cell| at(cell.item)) } else { Some(at(None)) };
        let unmet = draft.cells(ix).iter().find(|cell| is_unmet(cell, over)).map(|cell| at(cell.item));
        if over {
            found.late = found.late.or(to_come).or(unmet);
        } else {
            found.may_come = found.may_come.or(to_come);
            found.late = found.late.or(unmet);
        }
    }
    found
}

/// Gives up early signals that nothing will take: their time is over, or the saga is. What they report has happened
/// all the same, so each is an anomaly, as if it came only now; one that a wait has had already is none.
pub(super) fn give_up_early(draft: &mut Draft<'_>) {
    let now = draft.now();
    let over = draft.state.status.is_end() || matches!(draft.state.phase, Phase::Unwinding { .. });
    let lives = |early: &EarlySignal| !over && early.expires > now;
    if draft.state.early_signals.iter().all(lives) {
        return;
    }
    let all = std::mem::take(&mut draft.state.early_signals);
    let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(lives);
    draft.state.early_signals = kept;
    for early in gone {
        let Prospect { may_come, late, .. } = prospect(draft, &early.name, over);
        let found = may_come.map(|at| (at, "signal_expired")).or(late.map(|at| (at, "signal_after_wait")));
        let payload = draft.payloads().at(early.revision).cloned();
        if let Some((at, kind)) = found {
            answer::report(draft, at, 1, kind, payload);
        }
    }
}

/// The first wait that the signal ends: one that is on, or one that has parked the saga by ending without it, or with one
/// that could not be used.
fn waiting(draft: &Draft<'_>, signal: &Signal) -> Option<CellRef> {
    let parked = matches!(draft.state.status, Status::Parked(_));
    draft.state.cells.iter().find_map(|cell| {
        let step = draft.definition.step(cell.step)?;
        let named = matches!(&step.work, Work::Signal { name } if *name == signal.name);
        let open = cell.execute.run == Run::Waiting
            || ((cell.execute.run == Run::Exhausted || cell.execute.unusable) && parked && !step.optional);
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
    if draft.state.early_signals.iter().filter(|early| early.expires > now).count() >= EARLY_SIGNALS_MAX {
        return Taken::Ignored("too many signals wait already");
    }
    let payload = signal.payload.clone().unwrap_or_else(|| Arc::new(Value::Null));
    let revision = draft.keep_payload(&payload);
    let ttl_ms = draft.definition.signal_ttl_ms.unwrap_or(signal.ttl_ms);
    let early = EarlySignal { name: signal.name.clone(), revision, expires: now + ttl_ms };
    draft.state.early_signals.push(early);
    Taken::Applied
}
