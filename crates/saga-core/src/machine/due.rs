//! What happens by itself: next tries, ends of waits, timeouts, the deadline.
//!
//! Owns which of them may fire with what the owner knows: an outage of ours is not a timeout of theirs.

use saga_protocol::Direction;

use super::draft::Draft;
use super::{Taken, answer, deadline_may_fire, retry, stop};
use crate::definition::{Turn, Work};
use crate::event::Due;
use crate::state::{Cause, CellRef, Phase, Run};
use crate::transition::{Effect, Illegal};

/// Fires whatever is due.
pub(super) fn take(draft: &mut Draft<'_>, due: &Due) -> Result<Taken, Illegal> {
    let now = draft.now();
    let mut fired = false;
    // First, so that nothing is sent for a saga that is being turned around.
    if due.caught_up && draft.state.deadline.is_some_and(|at| at <= now) && deadline_may_fire(&draft.state) {
        stop(draft, Cause::Deadline);
        fired = true;
    }
    let is_due = |due: Option<crate::time::Millis>| due.is_some_and(|at| at <= now);
    let tracks: Vec<CellRef> =
        draft.state.tracks().filter(|(_, track)| is_due(track.due)).map(|(at, _)| at).collect();
    for at in tracks {
        fired |= fire(draft, at, due)?;
    }
    Ok(if fired { Taken::Applied } else { Taken::Ignored("nothing is due") })
}

fn fire(draft: &mut Draft<'_>, at: CellRef, due: &Due) -> Result<bool, Illegal> {
    match (draft.track(at)?.run, &draft.step(at.step)?.work) {
        (Run::Backoff, _) => {
            draft.excuse(at)?;
            draft.send(at)?;
        }
        (Run::Waiting, Work::Sleep { .. }) => drop(draft.settle(at, Run::Succeeded)?),
        // The signal, or the child's end, may lie among what has not been read yet.
        (Run::Waiting, Work::Signal { .. } | Work::Child { .. }) if due.caught_up => {
            answer::exhaust(draft, at)?
        }
        (Run::Sent | Run::Unknown, _) if due.caught_up && !due.queued.contains(&at) => time_out(draft, at)?,
        (Run::Waiting | Run::Sent | Run::Unknown, _) => return Ok(false),
        (run, _) => return Err(Illegal(format!("{at:?} is due while {run:?}"))),
    }
    Ok(true)
}

/// No answer in time: nobody knows. The same round is sent again, as long as its budget lasts.
fn time_out(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    draft.excuse(at)?;
    let (policy, _) = draft.patience(at)?;
    let now = draft.now();
    let track = draft.track_mut(at)?;
    track.run = Run::Unknown;
    track.silent = track.silent.saturating_add(1);
    if retry::is_spent(policy, track, now) { answer::exhaust(draft, at) } else { draft.send(at) }
}

/// The log lost records: the newest attempt of everything in flight is sent again, as it is.
pub(super) fn send_in_flight_again(draft: &mut Draft<'_>) -> Taken {
    let unwinding = matches!(draft.state.phase, Phase::Unwinding { .. });
    let in_flight: Vec<Effect> = draft
        .state
        .tracks()
        .filter(|(at, track)| {
            let graph = draft.definition.step(at.step).is_some_and(|step| step.turn == Turn::Graph);
            let left_behind = unwinding && graph && at.direction == Direction::Execute;
            matches!(track.run, Run::Sent | Run::Unknown) && track.due.is_some() && !left_behind
        })
        .map(|(cell, track)| Effect::Send { cell, round: track.round, attempt: track.attempt })
        .collect();
    if in_flight.is_empty() {
        return Taken::Ignored("nothing is in flight");
    }
    in_flight.into_iter().for_each(|effect| draft.effect(effect));
    Taken::Applied
}
