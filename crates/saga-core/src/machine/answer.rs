//! Answers of workers and ends of child sagas: what settles, what comes too late, what proves an anomaly.
//!
//! Owns the judgement of one answer against one track. It must not start anything: [`super::go_on`] does.

use std::sync::Arc;

use saga_protocol::{Direction, Outcome};
use serde_json::Value;

use super::draft::Draft;
use super::{Taken, output, retry, unwind};
use crate::definition::Work;
use crate::event::{Answer, ChildEnded};
use crate::state::{Cell, CellRef, Phase, Run, Status};
use crate::transition::{Anomaly, Effect, Illegal};

/// What an answer means to the track that it names.
enum Verdict {
    Ignored(&'static str),
    Anomaly(&'static str),
    Settles(Run),
    TryAgain,
}

/// Takes in a worker's answer.
pub(super) fn take(draft: &mut Draft<'_>, answer: &Answer) -> Result<Taken, Illegal> {
    let Some(step) = draft.definition.find(answer.step.as_str()) else {
        return Ok(Taken::Ignored("the definition has no such step"));
    };
    if !matches!(draft.step(step)?.work, Work::Action { .. }) {
        return Ok(Taken::Ignored("no worker was asked: the step is not a command"));
    }
    let at = CellRef { step, item: answer.item, direction: answer.direction };
    judge(draft, at, answer)
}

/// Takes in the end of a child saga.
pub(super) fn take_child(draft: &mut Draft<'_>, child: &ChildEnded) -> Result<Taken, Illegal> {
    let at = child.cell;
    let is_child = |step: &crate::definition::Step| matches!(step.work, Work::Child { .. });
    let Some(step) = draft.definition.step(at.step).filter(|step| is_child(step)) else {
        return Ok(Taken::Ignored("the step is not a child saga"));
    };
    let Some(cell) = draft.state.cell(at.step, at.item) else {
        return Ok(Taken::Ignored("no child was started"));
    };
    // A child that compensated itself, or was undone, has nothing left to undo, whichever of the two it tells.
    let undo = cell.undo.as_ref().filter(|undo| undo.run == Run::Waiting);
    let (direction, outcome) = match (at.direction, child.outcome, undo) {
        (Direction::Execute, Outcome::Rejected, Some(_)) => (Direction::Compensate, Outcome::Succeeded),
        (direction, outcome, _) => (direction, outcome),
    };
    let round = match (direction, &cell.undo) {
        (Direction::Compensate, Some(undo)) if child.round == cell.execute.round => undo.round,
        // No round at all: the child of an older round.
        (Direction::Compensate, _) => 0,
        (Direction::Execute, _) => child.round,
    };
    let answer = Answer {
        step: step.name.clone(),
        item: at.item,
        direction,
        round,
        attempt: 1,
        outcome,
        output: child.output.clone(),
        oversized: false,
        error: child.error.clone(),
        uncharged: false,
        retry_after_ms: None,
    };
    judge(draft, CellRef { direction, ..at }, &answer)
}

fn judge(draft: &mut Draft<'_>, at: CellRef, answer: &Answer) -> Result<Taken, Illegal> {
    let Some(cell) = draft.state.cell(at.step, at.item) else {
        return Ok(Taken::Ignored("nothing was sent for this step"));
    };
    let verdict = match at.direction {
        Direction::Execute => of_execute(draft, cell, answer),
        Direction::Compensate => of_compensate(draft, cell, answer),
    };
    match verdict {
        Verdict::Ignored(reason) => Ok(Taken::Ignored(reason)),
        Verdict::Anomaly(kind) => Ok(anomaly(draft, at, answer.round, kind, answer.output.as_ref())),
        Verdict::TryAgain => try_again(draft, at, answer).map(|()| Taken::Applied),
        Verdict::Settles(run) => settle(draft, at, run, answer).map(|()| Taken::Applied),
    }
}

fn of_execute(draft: &Draft<'_>, cell: &Cell, answer: &Answer) -> Verdict {
    let (track, succeeded) = (&cell.execute, answer.outcome == Outcome::Succeeded);
    if answer.round < track.round && answer.round > 0 {
        // A new round is opened only once the old one is settled without an effect.
        return if succeeded {
            Verdict::Anomaly("succeeded_after_rejected")
        } else {
            Verdict::Ignored("an older round")
        };
    }
    if answer.round != track.round || answer.attempt == 0 || answer.attempt > track.attempt {
        return Verdict::Ignored("no such attempt was sent");
    }
    let marked = cell.undo.as_ref().is_some_and(|undo| undo.run == Run::Skipped);
    match track.run {
        Run::Succeeded if succeeded => return Verdict::Ignored("a duplicate"),
        Run::Rejected if succeeded => return Verdict::Anomaly("succeeded_after_rejected"),
        Run::Skipped if succeeded => return Verdict::Anomaly("succeeded_after_skip"),
        Run::GivenUp if succeeded => return Verdict::Anomaly("succeeded_after_abandon"),
        Run::Held | Run::Succeeded | Run::Rejected | Run::Skipped | Run::GivenUp => {
            return Verdict::Ignored("the round is settled");
        }
        _ if succeeded && marked => return Verdict::Anomaly("succeeded_after_mark"),
        _ if succeeded && stands_after_all(draft, cell) => return Verdict::Anomaly("succeeded_after_end"),
        _ if draft.state.status.is_end() => return Verdict::Ignored("the saga has ended"),
        Run::Sent | Run::Unknown | Run::Backoff | Run::Waiting | Run::Exhausted | Run::Undecidable => {}
    }
    let graph = draft.is_graph(cell.step);
    let left_behind = graph && matches!(draft.state.phase, Phase::Unwinding { .. });
    match answer.outcome {
        Outcome::Succeeded => Verdict::Settles(Run::Succeeded),
        Outcome::Rejected => Verdict::Settles(Run::Rejected),
        Outcome::Retryable if left_behind => Verdict::Ignored("the saga unwinds: it is not tried again"),
        Outcome::Undecidable if cell.undo.is_some() => Verdict::Ignored("its compensation is under way"),
        // A notice holds nothing, whatever becomes of it.
        Outcome::Undecidable if !graph && track.run.is_open() && answer.attempt == track.attempt => {
            Verdict::Settles(Run::Exhausted)
        }
        Outcome::Retryable | Outcome::Undecidable => not_final(track.run, track.attempt, answer),
    }
}

/// Whether a saga has completed without a step that can be undone: an optional one, which counted as not done.
fn stands_after_all(draft: &Draft<'_>, cell: &Cell) -> bool {
    let step = draft.definition.step(cell.step);
    draft.state.status == Status::Completed
        && cell.undo.is_none()
        && step.is_some_and(|step| unwind::takes_effect(step, &cell.execute))
}

fn of_compensate(draft: &Draft<'_>, cell: &Cell, answer: &Answer) -> Verdict {
    let Some(track) = &cell.undo else { return Verdict::Ignored("no compensation was sent") };
    if answer.round == 0 || answer.round > track.round || answer.attempt == 0 {
        return Verdict::Ignored("no such attempt was sent");
    }
    if answer.round < track.round {
        return Verdict::Ignored("an older round");
    }
    if answer.attempt > track.attempt {
        return Verdict::Ignored("no such attempt was sent");
    }
    match (track.run, answer.outcome) {
        // It was done by hand as well: what a human paid back is now paid back twice.
        (Run::Skipped, Outcome::Succeeded) => return Verdict::Anomaly("compensated_after_mark"),
        (Run::Succeeded, Outcome::Succeeded) => return Verdict::Ignored("a duplicate"),
        (Run::Succeeded | Run::Rejected | Run::Skipped | Run::GivenUp | Run::Held, _) => {
            return Verdict::Ignored("the round is settled");
        }
        _ if draft.state.status.is_end() => return Verdict::Ignored("the saga has ended"),
        _ => {}
    }
    match answer.outcome {
        Outcome::Succeeded => Verdict::Settles(Run::Succeeded),
        Outcome::Rejected => Verdict::Settles(Run::Rejected),
        Outcome::Retryable | Outcome::Undecidable => not_final(track.run, track.attempt, answer),
    }
}

/// An answer that ends nothing: it counts only while the round is open, and only for the newest attempt. An older
/// one may be an instance's that sees less than the one that is at work now.
fn not_final(run: Run, newest: u32, answer: &Answer) -> Verdict {
    match (answer.outcome, run) {
        // A child is started once a round.
        (Outcome::Undecidable, Run::Waiting) => Verdict::Settles(Run::Undecidable),
        (Outcome::Undecidable, Run::Sent | Run::Unknown | Run::Backoff) if answer.attempt == newest => {
            Verdict::Settles(Run::Undecidable)
        }
        (Outcome::Retryable, Run::Sent | Run::Unknown) if answer.attempt == newest => Verdict::TryAgain,
        (Outcome::Retryable, Run::Sent | Run::Unknown)
        | (Outcome::Undecidable, Run::Sent | Run::Unknown | Run::Backoff) => {
            Verdict::Ignored("not the newest attempt")
        }
        _ => Verdict::Ignored("the round awaits no answer"),
    }
}

fn settle(draft: &mut Draft<'_>, at: CellRef, run: Run, answer: &Answer) -> Result<(), Illegal> {
    let step = draft.step(at.step)?;
    let forward = !matches!(draft.state.phase, Phase::Unwinding { .. });
    match run {
        Run::Succeeded => output::succeed(draft, at, answer.output.as_ref(), answer.oversized)?,
        // Not final: the round stays what it is, and takes a final answer later.
        Run::Undecidable | Run::Exhausted => {
            let track = draft.track_mut(at)?;
            (track.run, track.due, track.output, track.unusable) = (run, None, None, false);
        }
        _ => {
            let track = draft.settle(at, run)?;
            (track.output, track.unusable) = (None, false);
        }
    }
    if step.optional && run == Run::Rejected && at.direction == Direction::Execute && forward {
        draft.note(format!("{} was rejected; it is optional", step.name));
    }
    Ok(())
}

fn try_again(draft: &mut Draft<'_>, at: CellRef, answer: &Answer) -> Result<(), Illegal> {
    let (policy, _) = draft.patience(at)?;
    let (now, random) = (draft.now(), retry::random(draft.event.seed, at, answer.attempt));
    let pause_ms = retry::backoff_ms(policy, answer.attempt, random);
    let next = now + pause_ms.max(i64::from(answer.retry_after_ms.unwrap_or(0)));
    if !answer.uncharged && draft.track(at)?.due.is_some() {
        draft.excuse(at)?;
    }
    let track = draft.track_mut(at)?;
    track.silent = 0;
    if answer.uncharged {
        // Neither the attempt nor its time counts.
        track.charged = track.charged.saturating_sub(1);
        let spent_ms = track.sent_at.map_or(0, |sent_at| next - sent_at);
        track.budget_from = track.budget_from.or(track.first_sent_at).map(|from| from + spent_ms);
    } else if retry::is_spent(policy, track, next) {
        return exhaust(draft, at);
    }
    let track = draft.track_mut(at)?;
    (track.run, track.due) = (Run::Backoff, Some(next));
    Ok(())
}

/// Ends a round whose budget is spent. It still takes a final answer.
pub(super) fn exhaust(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    let step = draft.step(at.step)?;
    let track = draft.track_mut(at)?;
    (track.run, track.due) = (Run::Exhausted, None);
    if step.optional && at.direction == Direction::Execute {
        draft.note(format!("{} has no final answer; it is optional", step.name));
    }
    Ok(())
}

/// Opens an anomaly, once per effect key and kind.
pub(super) fn anomaly(
    draft: &mut Draft<'_>,
    at: CellRef,
    round: u32,
    kind: &'static str,
    output: Option<&Arc<Value>>,
) -> Taken {
    if !report(draft, at, round, kind, output.cloned()) {
        return Taken::Ignored("the anomaly is open already");
    }
    if let Some(output) = output {
        draft.keep_payload(output);
    }
    Taken::Applied
}

/// The same for what has come earlier, and is held already. Returns whether it was not open yet.
pub(super) fn report(
    draft: &mut Draft<'_>,
    at: CellRef,
    round: u32,
    kind: &'static str,
    output: Option<Arc<Value>>,
) -> bool {
    let key = format!("{}{}{round}:{kind}", at.input_key(), at.direction.letter());
    if draft.state.anomalies.contains(&key) {
        return false;
    }
    draft.state.anomalies.push(key);
    draft.effect(Effect::Anomaly(Anomaly { cell: at, round, kind, output }));
    true
}
