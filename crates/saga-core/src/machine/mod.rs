//! The state machine: one function decides everything about a saga.
//!
//! Owns the control flow, in one match of event and status; what an event does to a track and what the state
//! then demands stands in the files beside this one. It must not know a clock, a random source or IO. It works in
//! two halves: first the event is taken in (a track settles, an operator's wish is noted), then `go_on` brings
//! the saga to where its state demands it to be. The second half reads nothing but the state, so whatever
//! order events come in, nothing is forgotten and nothing is started twice.

mod answer;
mod draft;
mod due;
mod forward;
mod notice;
mod operator;
mod operator_retry;
mod output;
mod park;
mod resolve;
mod retry;
mod signal;
mod start;
mod unwind;

pub use self::signal::EARLY_SIGNALS_MAX;
pub use self::start::ITEMS_MAX;

use self::draft::Draft;
use crate::definition::Definition;
use crate::event::{Event, What};
use crate::payloads::Payloads;
use crate::state::{Cause, Phase, State, Status, Why};
use crate::time::Millis;
use crate::transition::{Illegal, Transition};

/// What became of an event.
enum Taken {
    /// It was taken in; the saga is to go on.
    Applied,
    /// It changes nothing, for this reason.
    Ignored(&'static str),
    /// An operator's action that cannot be, for this reason.
    Refused(&'static str),
}

/// Decides what an event does to a saga: its next state, and the effects that belong into the same transaction.
/// Total, synchronous and pure: the same arguments yield the same transition, for ever.
///
/// # Errors
/// [`Illegal`] is our own bug, never the outside's: the state cannot be one of this definition.
pub fn step(
    definition: &Definition,
    state: &State,
    event: &Event,
    payloads: &Payloads,
) -> Result<Transition, Illegal> {
    let mut draft = Draft::new(definition, state, event, payloads);
    let taken = take(&mut draft)?;
    if matches!(taken, Taken::Applied) {
        // Twice: a wait that begins now must not take one whose time is over, and the saga may be over behind it.
        signal::give_up_early(&mut draft);
        go_on(&mut draft)?;
        signal::give_up_early(&mut draft);
    }
    Ok(draft.finish(state, taken))
}

/// The earliest instant at which a [`What::Due`] may change the saga: a timeout, a next try, the end of a wait,
/// the deadline while it may fire. None when nothing happens by itself.
pub fn next_due(state: &State) -> Option<Millis> {
    if state.status.is_end() {
        return None;
    }
    let tracks = state.tracks().filter_map(|(_, track)| track.due).min();
    let deadline = state.deadline.filter(|_| deadline_may_fire(state));
    tracks.into_iter().chain(deadline).min()
}

/// Before the pivot is sent, a passed deadline equals a cancel; while the pivot is open it is remembered once.
fn deadline_may_fire(state: &State) -> bool {
    match (&state.status, &state.phase) {
        (Status::Running, Phase::Forward | Phase::PivotOpen { stop: None }) => true,
        (Status::Parked(parked), Phase::Forward) => parked.why.obeys_deadline(),
        _ => false,
    }
}

fn take(draft: &mut Draft<'_>) -> Result<Taken, Illegal> {
    let event = draft.event;
    let ended = draft.state.status.is_end();
    let taken = match &event.what {
        What::Start if draft.state.revision == 0 => start(draft),
        What::Start => Taken::Ignored("the saga has started already"),
        What::Poison(reason) if !ended => park_for_human(draft, Why::Poison, reason),
        What::Illegal(reason) if !ended => park_for_human(draft, Why::Illegal, reason),
        _ if draft.state.revision == 0 => Taken::Ignored("the saga has not started"),
        // These four know by themselves what an ended saga can still learn.
        What::Answer(answer) => answer::take(draft, answer)?,
        What::ChildEnded(child) => answer::take_child(draft, child)?,
        What::Signal(signal) => signal::take(draft, signal)?,
        What::ParentCompensates => unwind::for_parent(draft)?,
        What::Operator(_) if ended => Taken::Refused(crate::event::HAS_ENDED),
        What::Operator(operator) => operator::take(draft, operator)?,
        _ if ended => Taken::Ignored(crate::event::HAS_ENDED),
        What::Due(due) => due::take(draft, due)?,
        What::LogLost => due::send_in_flight_again(draft),
        // The holds came with the event; going on looks at them.
        What::Hold => Taken::Applied,
        What::Poison(_) | What::Illegal(_) => Taken::Ignored("the saga has ended"),
    };
    Ok(taken)
}

/// Brings the saga to where its state demands it to be.
fn go_on(draft: &mut Draft<'_>) -> Result<(), Illegal> {
    if draft.state.status.is_end() {
        return Ok(());
    }
    start::release(draft)?;
    match (&draft.state.status, &draft.state.phase) {
        // Nothing new starts before a human has looked.
        (Status::Parked(parked), _) if parked.why.is_sticky() => Ok(()),
        (_, Phase::Unwinding { .. }) => unwind::go_on(draft),
        (_, Phase::Forward | Phase::PivotOpen { .. } | Phase::Committed) => forward::go_on(draft),
    }
}

fn start(draft: &mut Draft<'_>) -> Taken {
    if draft.state.deadline.is_none() {
        draft.state.deadline =
            draft.definition.deadline_ms.map(|deadline_ms| draft.state.started + deadline_ms);
    }
    Taken::Applied
}

fn park_for_human(draft: &mut Draft<'_>, why: Why, reason: &str) -> Taken {
    if matches!(&draft.state.status, Status::Parked(parked) if parked.why.is_sticky()) {
        return Taken::Ignored("the saga waits for a human already");
    }
    draft.note(reason.to_owned());
    park::park(draft, why, None);
    Taken::Applied
}

/// Turns the saga around, or remembers to once the pivot's outcome is known. The caller has ruled out a saga that
/// is past its pivot or unwinding.
fn stop(draft: &mut Draft<'_>, cause: Cause) {
    match &mut draft.state.phase {
        Phase::PivotOpen { stop } => *stop = Some(cause),
        _ => unwind::turn_around(draft, cause),
    }
}
