//! What must hold: of every transition, of every end, of everything that was visited.
//!
//! Owns the properties. They go by what workers were asked and what they have answered, not by what the saga's state
//! claims about it.

use std::fmt;

use saga_protocol::{Direction, Outcome};

use super::model::Model;
use super::moves::{Move, Reply};
use super::progress;
use super::world::{Final, Row, World};
use crate::definition::{StepIx, Turn, Work};
use crate::state::{Cell, CellRef, Phase, Run, Status};
use crate::transition::{Effect, Transition};

/// What `check` proves or refutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// From wherever it gets, it ends or is parked; nothing waits for ever.
    AlwaysEnds,
    /// Every step is reached by some run, and some run completes.
    Reachable,
    /// What took effect, or may have, is undone when the saga is.
    Undone,
    /// A saga that completes has done all its steps, and undid nothing.
    Done,
    /// Nothing is undone before what depends on it, and nothing runs before what it depends on.
    InOrder,
    /// Nothing is begun or undone twice; an unwind starts nothing new.
    Once,
    /// Nothing is undone once the pivot has taken effect, or may have.
    Pivot,
    /// Duplicates, late copies and our own outages change nothing.
    Ignored,
    /// A signal that comes is used, kept or reported, never just dropped.
    Heard,
    /// A parked saga has a reason that a human can act on.
    Legal,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AlwaysEnds,
        Self::Reachable,
        Self::Undone,
        Self::Done,
        Self::InOrder,
        Self::Once,
        Self::Pivot,
        Self::Ignored,
        Self::Heard,
        Self::Legal,
    ];

    /// Its stable name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AlwaysEnds => "always-ends",
            Self::Reachable => "reachable",
            Self::Undone => "undone",
            Self::Done => "done",
            Self::InOrder => "in-order",
            Self::Once => "once",
            Self::Pivot => "pivot",
            Self::Ignored => "ignored",
            Self::Heard => "heard",
            Self::Legal => "legal",
        }
    }

    /// What it says.
    pub const fn says(self) -> &'static str {
        match self {
            Self::AlwaysEnds => "it always ends or is parked: nothing waits for ever",
            Self::Reachable => "every step is reached, and so is the end",
            Self::Undone => "what took effect, or may have, is undone when the saga is",
            Self::Done => "what completes has done all its steps and undone none",
            Self::InOrder => "steps run after what they depend on, and are undone before it",
            Self::Once => "nothing is begun or undone twice, and an unwind starts nothing new",
            Self::Pivot => "nothing is undone once the pivot has taken effect, or may have",
            Self::Ignored => "duplicates, late copies and our own outages change nothing",
            Self::Heard => "a signal is used, kept or reported",
            Self::Legal => {
                "every event can be applied, and nobody is left with a step that nobody can settle"
            }
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Property, pub(super) String);

/// Notes what a move and its effects mean to the workers, and checks each of them. `after` has its rows followed but
/// not yet written.
pub(super) fn transition(
    model: &Model,
    before: &World,
    it: Move,
    transition: &Transition,
    changed: bool,
    after: &mut World,
) -> Result<(), Broken> {
    if let Move::Idle(_) | Move::LogLost = it
        && changed
    {
        return Err(Broken(Property::Ignored, "this had to change nothing, and it did".to_owned()));
    }
    if let Move::Due { .. } | Move::AllDue { .. } | Move::Deadline = it
        && !changed
    {
        return Err(Broken(Property::AlwaysEnds, "it falls due, and nothing comes of it".to_owned()));
    }
    // What the saga heard once it had ended it did not note: reopened, it hears that for the first time.
    if it == Move::ParentUndoes && !after.state.status.is_end() {
        for (cell, row) in after.state.cells.iter().zip(&mut after.rows) {
            if cell.execute.run.is_open() || cell.execute.run == Run::Exhausted {
                row.execute.told = None;
            }
        }
    }
    if let Move::Answer(at, Reply::Final(told)) = it
        && let Some(row) = after.row_mut(at.step, at.item)
    {
        row.entry_mut(at.direction).told = Some(told);
    }
    if let Move::Answer(at, Reply::Final(Final::Succeeded | Final::Unfit)) = it {
        late(model, before, at, transition)?;
    }
    if let Move::Signal { at, .. } = it {
        heard(model, before, at, transition)?;
        if let Some(come) = after.signals.get_mut(at) {
            *come = come.saturating_add(1);
        }
    }
    for effect in &transition.effects {
        match effect {
            Effect::Send { cell, attempt, .. } if it == Move::LogLost => again(before, *cell, *attempt)?,
            Effect::Send { cell, attempt, .. } => sent(model, after, *cell, *attempt <= 1)?,
            Effect::StartChild { cell, .. } => {
                let first = after.row(cell.step, cell.item).is_none_or(|row| !row.entry(cell.direction).sent);
                sent(model, after, *cell, first)?;
            }
            // What an optional step does once the saga has completed without it: a human is told.
            Effect::Anomaly(anomaly)
                if anomaly.kind == "succeeded_after_end" && before.state.status == Status::Completed => {}
            Effect::Anomaly(anomaly) if anomaly.kind != "signal_after_wait" => {
                let message = format!("an effect that nobody undoes came to light: {}", anomaly.kind);
                return Err(Broken(Property::Undone, message));
            }
            Effect::Tell { ended, .. }
                if ended.cell.direction == Direction::Compensate && ended.outcome == Outcome::Succeeded =>
            {
                undone(model, after, "the parent hears that its child is undone")?;
            }
            _ => {}
        }
    }
    state(model, before, after)
}

/// What takes effect once the saga has completed without it, and could be undone, is told to a human.
fn late(model: &Model, before: &World, at: CellRef, transition: &Transition) -> Result<(), Broken> {
    let Some(step) = model.step(at.step) else { return Ok(()) };
    let undoable = step.compensation.is_some() || matches!(step.work, Work::Child { .. });
    let reported = transition.effects.iter().any(|effect| matches!(effect, Effect::Anomaly(_)));
    let completed = before.state.status == Status::Completed && at.direction == Direction::Execute;
    if completed && undoable && !reported {
        let name = &step.name;
        let message =
            format!("`{name}` takes effect after the saga has completed without it: nobody learns of it");
        return Err(Broken(Property::Undone, message));
    }
    Ok(())
}

/// A command is sent, the first time in its round or again.
fn sent(model: &Model, after: &mut World, at: CellRef, first: bool) -> Result<(), Broken> {
    let Some(step) = model.step(at.step) else { return Ok(()) };
    let name = &step.name;
    let Some(row) = after.row(at.step, at.item).copied() else {
        return Err(Broken(Property::Legal, format!("a command of `{name}` without a cell")));
    };
    if first && row.entry(at.direction).sent {
        let what = if at.direction == Direction::Execute { "executed" } else { "undone" };
        return Err(Broken(Property::Once, format!("`{name}` is {what} anew, beside what was sent before")));
    }
    match at.direction {
        Direction::Execute if step.turn == Turn::Graph => executes(model, after, at, first)?,
        Direction::Execute => {}
        Direction::Compensate => compensates(model, after, at, &row, first)?,
    }
    if let Some(row) = after.row_mut(at.step, at.item) {
        row.entry_mut(at.direction).sent = true;
    }
    Ok(())
}

fn executes(model: &Model, after: &World, at: CellRef, first: bool) -> Result<(), Broken> {
    let Some(step) = model.step(at.step) else { return Ok(()) };
    let name = &step.name;
    if after.rows.iter().any(|row| row.undo.sent) {
        return Err(Broken(Property::Once, format!("`{name}` is sent after the unwind has begun")));
    }
    if !first {
        return Ok(());
    }
    for &before in &step.after {
        let other = || model.step(before).map(|it| it.name.as_str()).unwrap_or_default();
        if !done(model, after, before) {
            return Err(Broken(Property::InOrder, format!("`{name}` runs before `{}` is done", other())));
        }
        if !usable(model, after, before) {
            let message = format!("`{name}` runs, and the output of `{}` cannot be used", other());
            return Err(Broken(Property::InOrder, message));
        }
    }
    Ok(())
}

fn compensates(model: &Model, after: &World, at: CellRef, row: &Row, first: bool) -> Result<(), Broken> {
    let Some(step) = model.step(at.step) else { return Ok(()) };
    let name = &step.name;
    if !row.execute.sent {
        return Err(Broken(Property::Once, format!("`{name}` is undone and was never sent")));
    }
    if first && row.execute.told == Some(Final::Rejected) {
        return Err(Broken(Property::Once, format!("`{name}` is undone and was rejected: it left nothing")));
    }
    if let Some(pivot) = model.definition.pivot
        && let Some(row) = after.row(pivot, None)
        && row.execute.sent
        && row.execute.told != Some(Final::Rejected)
    {
        let pivot = model.step(pivot).map(|it| it.name.as_str()).unwrap_or_default();
        let how = if row.execute.told.is_some() { "has taken effect" } else { "may have taken effect" };
        return Err(Broken(
            Property::Pivot,
            format!("`{name}` is undone although the pivot `{pivot}` {how}"),
        ));
    }
    let Some(facts) = model.facts(at.step) else { return Ok(()) };
    if facts.final_child && matches!(row.execute.told, Some(Final::Succeeded | Final::Unfit)) {
        let message =
            format!("`{name}` is to be undone, and its child saga has a pivot: completed, it stands");
        return Err(Broken(Property::Undone, message));
    }
    for (cell, row) in after.state.cells.iter().zip(&after.rows) {
        let Some(other) = model.step(cell.step) else { continue };
        let undoable = other.compensation.is_some() || matches!(other.work, Work::Child { .. });
        if facts.descendants.contains(&cell.step) && undoable && row.may_stand() {
            let other = &other.name;
            return Err(Broken(
                Property::InOrder,
                format!("`{name}` is undone before `{other}`, which depends on it"),
            ));
        }
    }
    Ok(())
}

/// Whether a step is done, by what its workers have answered.
fn done(model: &Model, world: &World, ix: StepIx) -> bool {
    let Some(step) = model.step(ix) else { return true };
    let mut cells = world.state.cells.iter().zip(&world.rows).filter(|(cell, _)| cell.step == ix).peekable();
    cells.peek().is_some()
        && cells.all(|(cell, row)| {
            let failed = matches!(cell.execute.run, Run::Rejected | Run::Exhausted);
            match (row.execute.sent, row.execute.told) {
                (_, Some(Final::Succeeded | Final::Unfit)) => true,
                (_, Some(Final::Rejected)) => step.optional,
                (true, None) => step.optional && failed,
                (false, None) => {
                    matches!(cell.execute.run, Run::Succeeded | Run::Skipped) || (step.optional && failed)
                }
            }
        })
}

/// Whether a step has yielded what its `output_schema` promises, or nobody relies on it.
fn usable(model: &Model, world: &World, ix: StepIx) -> bool {
    let optional = model.step(ix).is_some_and(|step| step.optional);
    let unfit = |(cell, row): (&Cell, &Row)| {
        cell.step == ix && (cell.execute.unusable || row.execute.told == Some(Final::Unfit))
    };
    optional || !world.state.cells.iter().zip(&world.rows).any(unfit)
}

/// What was lost with the log is sent again as it was.
fn again(before: &World, at: CellRef, attempt: u32) -> Result<(), Broken> {
    let open = before.state.track(at).is_some_and(|track| track.run.is_open() && track.attempt == attempt);
    if open {
        Ok(())
    } else {
        Err(Broken(Property::Once, "a command is sent again that is not in flight".to_owned()))
    }
}

fn heard(model: &Model, before: &World, at: usize, transition: &Transition) -> Result<(), Broken> {
    let ignored = transition.effects.iter().any(|effect| matches!(effect, Effect::Ignored(_)));
    let first = before.signals.get(at).copied() == Some(0);
    let name = model.signals.get(at).map(String::as_str).unwrap_or_default();
    // A wait whose `when` was false never began: nobody asked for the signal.
    let asked = model.definition.steps().any(|(ix, step)| {
        let waits = matches!(&step.work, Work::Signal { name: it } if it == name);
        let skipped = before.state.cell(ix, None).is_some_and(|cell| cell.execute.run == Run::Skipped);
        waits && !skipped && step.foreach.is_none()
    });
    if ignored && first && asked {
        return Err(Broken(
            Property::Heard,
            format!("the signal `{name}` is dropped, and nobody learns of it"),
        ));
    }
    Ok(())
}

/// What must hold of a state.
fn state(model: &Model, before: &World, after: &World) -> Result<(), Broken> {
    let backward = |world: &World| matches!(world.state.phase, Phase::Unwinding { .. });
    if backward(before) && !backward(after) {
        return Err(Broken(Property::Once, "the saga turns forward again".to_owned()));
    }
    kept(model, before, after)?;
    awaits(model, after)?;
    match &after.state.status {
        Status::Completed if before.state.status != Status::Completed => completed(model, after),
        Status::Compensated if before.state.status != Status::Compensated => {
            undone(model, after, "the saga ends compensated")
        }
        _ => Ok(()),
    }
}

/// A saga that runs awaits something that is going to happen. Its deadline is no such thing: it is what ends a saga that
/// takes too long, and not what it is for.
fn awaits(model: &Model, after: &World) -> Result<(), Broken> {
    let awaited = |(at, track)| progress::is_awaited(model, at, track);
    if after.state.status != Status::Running || after.state.tracks().any(awaited) {
        return Ok(());
    }
    let message = "the saga runs, and awaits nothing: no command, wait or child saga of it is going to end";
    Err(Broken(Property::AlwaysEnds, message.to_owned()))
}

/// A signal that was kept is not dropped later on: a wait takes it, or it is reported. One that comes when a wait has
/// had another of its name, or never began, was asked for by nobody.
fn kept(model: &Model, before: &World, after: &World) -> Result<(), Broken> {
    let count = |world: &World, name: &str| {
        world.state.early_signals.iter().filter(|early| early.name == name).count()
    };
    for name in &model.signals {
        if count(after, name) >= count(before, name) {
            continue;
        }
        let heard = model.definition.steps().any(|(ix, step)| {
            let waits = matches!(&step.work, Work::Signal { name: it } if it == name);
            let cells = || after.state.cells.iter().filter(|cell| cell.step == ix);
            let reported = |anomaly: &String| anomaly.ends_with(":signal_after_wait");
            waits
                && (cells().any(|cell| matches!(cell.execute.run, Run::Succeeded | Run::Skipped))
                    || after.state.anomalies.iter().any(reported))
        });
        if !heard {
            let message = format!("the signal `{name}` came early, and is dropped: nobody learns of it");
            return Err(Broken(Property::Heard, message));
        }
    }
    Ok(())
}

fn completed(model: &Model, world: &World) -> Result<(), Broken> {
    if world.rows.iter().any(|row| row.undo.sent) {
        return Err(Broken(Property::Done, "the saga completes, and something was undone".to_owned()));
    }
    for (ix, step) in model.definition.steps().filter(|(_, step)| step.turn == Turn::Graph) {
        if !done(model, world, ix) {
            return Err(Broken(
                Property::Done,
                format!("the saga completes, and `{}` is not done", step.name),
            ));
        }
        if !usable(model, world, ix) {
            let message = format!("the saga completes, and the output of `{}` cannot be used", step.name);
            return Err(Broken(Property::Done, message));
        }
    }
    Ok(())
}

/// What says that it is undone has left nothing.
fn undone(model: &Model, world: &World, said: &str) -> Result<(), Broken> {
    for (cell, row) in world.state.cells.iter().zip(&world.rows) {
        let Some(step) = model.step(cell.step) else { continue };
        if step.turn != Turn::Graph || step.harmless || !row.may_stand() {
            continue;
        }
        let name = &step.name;
        let how = if row.execute.told.is_some() { "took effect" } else { "may have taken effect" };
        return Err(Broken(Property::Undone, format!("{said}, and `{name}` {how} and stands")));
    }
    Ok(())
}
