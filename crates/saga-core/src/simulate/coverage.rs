//! What the scenarios of a definition reach, and what none of them does.

use std::collections::BTreeSet;

use saga_protocol::Direction;

use super::Run;
use crate::definition::{Definition, Turn, Work};
use crate::state::{Run as TrackRun, Status};

/// What there is to reach, and what was reached.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    all: Vec<String>,
    reached: BTreeSet<String>,
}

impl Coverage {
    /// Everything that scenarios of a definition can reach.
    pub fn of(definition: &Definition) -> Self {
        let mut all = Vec::new();
        for step in &definition.steps {
            let mut add = |what: &str| all.push(format!("{} {what}", step.name));
            match &step.work {
                Work::Action { .. } => {
                    add("succeeds");
                    add("is rejected");
                    add("stays silent");
                }
                Work::Child { .. } => {
                    add("succeeds");
                    add("is rejected");
                }
                Work::Sleep { .. } => add("ends"),
                Work::Signal { .. } => {
                    add("gets its signal");
                    add("gets none in time");
                }
            }
            if step.when.is_some() {
                add("is skipped");
            }
            let child = matches!(step.work, Work::Child { .. });
            if step.turn == Turn::Graph && (step.compensation.is_some() || child) {
                add("is undone");
                add("cannot be undone");
            }
        }
        all.push("the saga completes".to_owned());
        all.push("the saga is compensated".to_owned());
        Self { all, reached: BTreeSet::new() }
    }

    /// Takes in a run.
    pub fn take_in(&mut self, definition: &Definition, run: &Run) {
        for cell in &run.state.cells {
            let Some(step) = definition.step(cell.step) else { continue };
            let mut reach = |what: &str| self.reached.insert(format!("{} {what}", step.name));
            match (&step.work, cell.execute.run) {
                (Work::Sleep { .. }, TrackRun::Succeeded) => drop(reach("ends")),
                (Work::Signal { .. }, TrackRun::Succeeded) => drop(reach("gets its signal")),
                (Work::Signal { .. }, TrackRun::Exhausted) => drop(reach("gets none in time")),
                (_, TrackRun::Succeeded) => drop(reach("succeeds")),
                (_, TrackRun::Rejected) => drop(reach("is rejected")),
                (_, TrackRun::Skipped) => drop(reach("is skipped")),
                _ => {}
            }
            match cell.undo.as_ref().map(|it| it.run) {
                Some(TrackRun::Succeeded) => drop(reach("is undone")),
                Some(TrackRun::Rejected | TrackRun::Exhausted | TrackRun::Undecidable) => {
                    reach("cannot be undone");
                }
                _ => {}
            }
        }
        for at in run.silent.iter().filter(|at| at.direction == Direction::Execute) {
            if let Some(step) = definition.step(at.step) {
                self.reached.insert(format!("{} stays silent", step.name));
            }
        }
        match run.state.status {
            Status::Completed => drop(self.reached.insert("the saga completes".to_owned())),
            Status::Compensated => drop(self.reached.insert("the saga is compensated".to_owned())),
            _ => {}
        }
    }

    /// How many there are to reach.
    pub fn total(&self) -> usize {
        self.all.len()
    }

    /// What no run reached, in the order of the definition.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|it| !self.reached.contains(*it)).map(String::as_str)
    }
}
