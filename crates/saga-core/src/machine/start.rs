//! Starting a step: deciding what it does with the data at hand, then doing it.
//!
//! Owns the two halves of a start. A [`Plan`] changes nothing, so that an expression without a value stops a
//! saga before anything of the step has happened; carrying it out cannot fail for the outside's sake.

use std::sync::Arc;

use saga_protocol::Direction;
use serde_json::Value;

use super::draft::Draft;
use super::output;
use super::resolve::BadExpression;
use crate::command;
use crate::definition::{Step, StepIx, Work};
use crate::state::{Cell, CellRef, EarlySignal, Phase, Run, Track};
use crate::transition::{Effect, Illegal};

/// The longest list that a `foreach` takes; beyond, a child saga an item.
pub const ITEMS_MAX: usize = 100;

/// What a step does once it starts.
pub(super) enum Plan {
    /// Its `when` is false.
    Skip,
    /// Its list is empty: there is nothing to do.
    Nothing,
    /// One cell.
    One(Input),
    /// A cell an item.
    Items(Vec<Input>),
}

/// A round's input.
pub(super) enum Input {
    /// It can be resolved again from what is held anyway.
    Plain(command::Spelled),
    /// It cannot: the history row keeps it.
    Kept(Arc<Value>),
    /// A wait has none.
    None,
}

/// Decides what a step does with the data at hand.
pub(super) fn plan(draft: &Draft<'_>, step: &Step) -> Result<Plan, BadExpression> {
    if let Some(when) = &step.when
        && !draft.truth(when)?
    {
        return Ok(Plan::Skip);
    }
    let input = |item| {
        Ok(match step.work {
            Work::Action { .. } | Work::Child { .. } if step.input.is_plain() => {
                Input::Plain(draft.spell(&step.input, item)?)
            }
            Work::Action { .. } | Work::Child { .. } => Input::Kept(draft.resolve(&step.input, item)?),
            Work::Sleep { .. } | Work::Signal { .. } => Input::None,
        })
    };
    let Some(foreach) = &step.foreach else { return input(None).map(Plan::One) };
    let items = draft.list(foreach)?;
    if items.is_empty() {
        return Ok(Plan::Nothing);
    }
    if items.len() > ITEMS_MAX {
        let found = items.len();
        return Err(BadExpression(format!(
            "`{foreach}` has {found} elements, and a foreach takes at most {ITEMS_MAX}"
        )));
    }
    let inputs = (0..).zip(items).map(|(index, item)| input(Some((index, Arc::new(item)))));
    inputs.collect::<Result<_, _>>().map(Plan::Items)
}

/// Carries out a plan.
pub(super) fn carry_out(draft: &mut Draft<'_>, ix: StepIx, plan: Plan) -> Result<(), Illegal> {
    match plan {
        Plan::Skip => touch(draft, ix, Run::Skipped),
        Plan::Nothing => touch(draft, ix, Run::Succeeded),
        Plan::One(input) => begin(draft, ix, None, input)?,
        Plan::Items(inputs) => {
            for (item, input) in (0..).zip(inputs) {
                begin(draft, ix, Some(item), input)?;
            }
        }
    }
    Ok(())
}

/// Marks a step that is done without having begun.
pub(super) fn touch(draft: &mut Draft<'_>, ix: StepIx, run: Run) {
    let execute = Track { run, ..Track::held(1) };
    draft.insert(Cell { step: ix, item: None, execute, undo: None });
}

/// Begins a step with an input that an operator wrote.
pub(super) fn begin_edited(draft: &mut Draft<'_>, ix: StepIx, value: Arc<Value>) -> Result<(), Illegal> {
    begin(draft, ix, None, Input::Kept(value))
}

fn begin(draft: &mut Draft<'_>, ix: StepIx, item: Option<u32>, input: Input) -> Result<(), Illegal> {
    let at = CellRef { step: ix, item, direction: Direction::Execute };
    let mut execute = Track::held(1);
    let spelled = match input {
        Input::None => None,
        Input::Plain(spelled) => Some(spelled),
        Input::Kept(value) => {
            let spelled = command::Spelled::of(&value);
            execute.input = Some(draft.keep_input(at, value));
            Some(spelled)
        }
    };
    if let Some(spelled) = spelled {
        execute.input_hash = Some(spelled.hash());
        draft.resolved(at, spelled);
    }
    draft.insert(Cell { step: ix, item, execute, undo: None });
    open_round(draft, at)
}

/// Opens a round that was decided, unless an operator holds it.
pub(super) fn open_round(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    if draft.is_held(at) {
        draft.track_mut(at)?.run = Run::Held;
        return Ok(());
    }
    begin_round(draft, at)
}

/// Sends a round's next attempt, or begins its wait.
pub(super) fn begin_round(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    let step = draft.step(at.step)?;
    match &step.work {
        Work::Action { .. } => draft.send(at)?,
        Work::Child { .. } => call_child(draft, at)?,
        Work::Sleep { for_ms } => wait(draft, at, *for_ms)?,
        Work::Signal { name } => match take_early(draft, step, name) {
            Some(revision) => {
                wait(draft, at, step.timeout_ms)?;
                output::succeed_with(draft, at, Some(revision), false)?;
            }
            None => wait(draft, at, step.timeout_ms)?,
        },
    }
    let open = matches!(draft.state.phase, Phase::PivotOpen { .. });
    if step.pivot && at.direction == Direction::Execute && !open {
        draft.state.phase = Phase::PivotOpen { stop: None };
    }
    Ok(())
}

fn wait(draft: &mut Draft<'_>, at: CellRef, for_ms: i64) -> Result<(), Illegal> {
    let now = draft.now();
    let track = draft.track_mut(at)?;
    track.run = Run::Waiting;
    track.first_sent_at = Some(now);
    track.due = Some(now + for_ms);
    Ok(())
}

/// Starts the child saga of a track, or has it undone.
pub(super) fn call_child(draft: &mut Draft<'_>, at: CellRef) -> Result<(), Illegal> {
    let (now, round) = (draft.now(), draft.track(CellRef { direction: Direction::Execute, ..at })?.round);
    // A child that is being undone is waited for as long as it takes.
    let due = (at.direction == Direction::Execute).then_some(now + draft.step(at.step)?.timeout_ms);
    let track = draft.track_mut(at)?;
    track.due = due;
    track.run = Run::Waiting;
    track.attempt = track.attempt.max(1);
    track.charged = 1;
    track.first_sent_at.get_or_insert(now);
    draft.effect(Effect::StartChild { cell: at, round });
    Ok(())
}

/// The revision of an early signal of that name, which is used up by it: the first that brings what was promised, for
/// a sender that has corrected itself; else the first.
fn take_early(draft: &mut Draft<'_>, step: &Step, name: &str) -> Option<u32> {
    let now = draft.now();
    // One whose time is over is left for `signal::give_up_early` to report.
    let takes = |early: &EarlySignal| early.name == name && early.expires > now;
    let fits = |early: &EarlySignal| takes(early) && output::fits(draft, step, Some(early.revision));
    let early = &draft.state.early_signals;
    let at = early.iter().position(fits).or_else(|| early.iter().position(takes))?;
    Some(draft.state.early_signals.remove(at).revision)
}

/// Sends what a hold has paused and no longer holds: rounds that are open, and notices. New rounds of the graph
/// are left to [`super::forward`], because a parked saga starts none.
pub(super) fn release(draft: &mut Draft<'_>) -> Result<(), Illegal> {
    let unwinding = matches!(draft.state.phase, Phase::Unwinding { .. });
    let paused: Vec<CellRef> = draft
        .state
        .tracks()
        .filter(|(at, track)| {
            let graph = draft.is_graph(at.step);
            let open = track.run.is_open() && track.due.is_none();
            let driven = at.direction == Direction::Execute && !(graph && unwinding);
            driven && (open || (!graph && track.run == Run::Held)) && !draft.is_held(*at)
        })
        .map(|(at, _)| at)
        .collect();
    for at in paused {
        draft.excuse(at)?;
        draft.send(at)?;
    }
    Ok(())
}

/// Opens the rounds that a hold kept from beginning and no longer holds. Returns whether there were any: a wait
/// may be over at once.
pub(super) fn open_held(draft: &mut Draft<'_>) -> Result<bool, Illegal> {
    let held = |(at, track): &(CellRef, &Track)| track.run == Run::Held && !draft.is_held(*at);
    let held: Vec<CellRef> = draft.state.tracks().filter(held).map(|(at, _)| at).collect();
    let any = !held.is_empty();
    held.into_iter().try_for_each(|at| open_round(draft, at))?;
    Ok(any)
}
