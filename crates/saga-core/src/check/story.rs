//! A counter-example in words: what happens, and what the saga does about it.
//!
//! Owns the wording. It plays the moves again, so that a story is what `step` did and nothing else.

use saga_protocol::Direction;

use super::explore::{Successor, successors};
use super::model::Model;
use super::moves::{self, Idle, Move, Reply};
use super::world::{Final, World};
use super::{Beat, Depth};
use crate::definition::{StepIx, Work, item_name};
use crate::state::{CellRef, Phase, Run, Status, Why};
use crate::transition::Effect;

/// Tells the story of a path through the moves.
pub(super) fn tell(model: &Model, depth: Depth, path: &[(u16, u16)]) -> Vec<Beat> {
    let mut world = World::new(model);
    let mut story = Vec::new();
    for &(nth, way) in path {
        let Some(&it) = moves::all(model, &world).get(usize::from(nth)) else { break };
        let happens = happens(model, &world, it);
        let Some(successor) = successors(model, &world, it).nth(usize::from(way)) else { break };
        let Ok(successor) = successor else {
            story.push(Beat { happens, follows: Vec::new(), cells: world.state.cells });
            break;
        };
        let cells = successor.transition.state.cells.clone();
        story.push(Beat { happens, follows: follows(model, &world, &successor), cells });
        world = successor.world;
        depth.reduce(model, &mut world);
    }
    story
}

fn name(model: &Model, ix: StepIx, item: Option<u32>) -> String {
    item_name(model.step(ix).map(|it| it.name.as_str()).unwrap_or_default(), item)
}

/// A track in words: `pay (payment.confirm)`.
fn work(model: &Model, at: CellRef) -> String {
    let name = name(model, at.step, at.item);
    let Some(step) = model.step(at.step) else { return name };
    match (&step.work, at.direction, &step.compensation) {
        (Work::Action { worker, action }, Direction::Execute, _) => format!("{name} ({worker}.{action})"),
        (Work::Action { worker, .. }, Direction::Compensate, Some(undo)) => {
            format!("{name} ({worker}.{})", undo.action)
        }
        (Work::Child { definition }, Direction::Execute, _) => format!("{name} (saga {definition})"),
        (Work::Child { definition }, Direction::Compensate, _) => format!("{name} (undo saga {definition})"),
        _ => name,
    }
}

fn happens(model: &Model, world: &World, it: Move) -> String {
    let run = |at: CellRef| world.state.track(at).map(|track| track.run);
    match it {
        Move::Start => "the saga starts".to_owned(),
        Move::Answer(at, reply) => format!("{} {}", work(model, at), answered(reply)),
        Move::Due { at, spent } => match (run(at), spent) {
            (Some(Run::Backoff), _) => format!("{} is due to be tried again", work(model, at)),
            (Some(Run::Waiting), _) => format!("the wait of {} is over", work(model, at)),
            (_, true) => format!("{} stays silent, and its budget is spent", work(model, at)),
            (_, false) => format!("{} stays silent beyond its timeout", work(model, at)),
        },
        Move::Deadline => "the deadline passes".to_owned(),
        Move::AllDue { spent: false } => "everything that waits for time falls due at once".to_owned(),
        Move::AllDue { spent: true } => {
            "everything that waits for time falls due at once, and budgets are spent".to_owned()
        }
        Move::Signal { at, unfit } => {
            let name = model.signals.get(at).map_or("", |it| it);
            if unfit {
                format!("the signal `{name}` comes with what its output_schema rules out")
            } else {
                format!("the signal `{name}` comes")
            }
        }
        Move::Cancel => "an operator cancels".to_owned(),
        Move::ParentUndoes => "the saga is a child, and its parent has it undone".to_owned(),
        Move::LogLost => "the log loses records, and what is in flight is sent again".to_owned(),
        Move::Idle(Idle::Again(at, told)) => {
            format!("the answer of {} arrives once more: {}", work(model, at), final_word(told))
        }
        Move::Idle(Idle::Stale(at)) => format!("{} answers an older attempt: try again", work(model, at)),
        Move::Idle(Idle::StaleUndecidable(at)) => {
            format!("{} answers an older attempt: I have lost my record of it", work(model, at))
        }
        Move::Idle(Idle::Unsent(at)) => format!("{} answers an attempt that was never sent", work(model, at)),
        Move::Idle(Idle::OtherRound(at)) => {
            format!("{} answers a round that was never opened", work(model, at))
        }
        Move::Idle(Idle::NotCaughtUp) => "timeouts are due, and the log is not read that far yet".to_owned(),
        Move::Idle(Idle::DeadlineOver) => "the deadline passes, and has no say any more".to_owned(),
        Move::Idle(Idle::Queued) => "timeouts are due, and the commands are still queued".to_owned(),
    }
}

fn answered(reply: Reply) -> String {
    match reply {
        Reply::Final(told) => final_word(told).to_owned(),
        Reply::Retryable { spent: false } => "answers: try again".to_owned(),
        Reply::Retryable { spent: true } => "answers: try again, and its budget is spent".to_owned(),
        Reply::Uncharged => "answers: try again, the trouble is mine".to_owned(),
        Reply::Undecidable => "answers: I have lost my record of it".to_owned(),
    }
}

const fn final_word(told: Final) -> &'static str {
    match told {
        Final::Succeeded => "succeeded",
        Final::Unfit => "succeeded, with an output that its output_schema rules out",
        Final::Rejected => "is rejected",
    }
}

fn follows(model: &Model, before: &World, successor: &Successor) -> Vec<String> {
    let mut follows = Vec::new();
    for &(at, value) in &successor.learned {
        let text = model.variables.get(at).map_or("", |it| &it.text);
        let max = model.variables.get(at).map_or(1, |it| it.max);
        follows.push(match (max, value) {
            (1, 0) => format!("`{text}` is false"),
            (1, _) => format!("`{text}` is true"),
            (_, n) => format!("`{text}` has {n} elements"),
        });
    }
    let after = &successor.transition.state;
    if matches!(after.phase, Phase::Unwinding { .. })
        && !matches!(before.state.phase, Phase::Unwinding { .. })
    {
        follows.push("the saga turns around".to_owned());
    }
    for cell in &after.cells {
        let new = before.state.cell(cell.step, cell.item).is_none();
        if new && cell.execute.run == Run::Skipped {
            follows.push(format!("{} is skipped", name(model, cell.step, cell.item)));
        } else if new && cell.execute.run == Run::Waiting && cell.execute.attempt == 0 {
            follows.push(format!("{} waits", name(model, cell.step, cell.item)));
        }
    }
    for effect in &successor.transition.effects {
        match effect {
            Effect::Send { cell, attempt, .. } => {
                let verb = match (cell.direction, *attempt > 1) {
                    (Direction::Execute, false) => "sends",
                    (Direction::Execute, true) => "sends again",
                    (Direction::Compensate, false) => "undoes",
                    (Direction::Compensate, true) => "undoes again",
                };
                follows.push(format!("{verb} {}", work(model, *cell)));
            }
            Effect::StartChild { cell, .. } => follows.push(match cell.direction {
                Direction::Execute => format!("starts {}", work(model, *cell)),
                Direction::Compensate => format!("undoes {}", work(model, *cell)),
            }),
            Effect::Anomaly(anomaly) => follows.push(format!("opens an anomaly: {}", anomaly.kind)),
            Effect::Ignored(reason) | Effect::Refused(reason) => follows.push(format!("nothing: {reason}")),
            Effect::Ended { .. } => follows.push(format!("the saga is {}", after.status.word())),
            Effect::Tell { .. } => {}
        }
    }
    if let Status::Parked(parked) = &after.status
        && before.state.status != after.status
    {
        let at = parked.cell.map(|at| format!(" at {}", work(model, at))).unwrap_or_default();
        follows.push(format!("the saga is parked{at}: {}", why(parked.why)));
    }
    follows
}

const fn why(why: Why) -> &'static str {
    match why {
        Why::Rejected => "rejected",
        Why::Exhausted => "its budget is spent",
        Why::PivotUnsettled => "nobody knows whether the pivot took effect",
        Why::CompensationFailed => "the compensation failed",
        Why::Undecidable => "its worker cannot say",
        Why::OutputTooLarge => "its output is too large",
        Why::OutputUnfit => "its output does not fit its schema",
        Why::BadExpression => "an expression has no value",
        Why::Poison => "a record cannot be applied",
        Why::Illegal => "our own bug",
    }
}
