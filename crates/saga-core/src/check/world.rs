//! One state of the world: the saga's own, and what its workers know.
//!
//! Owns the canonical form, in which two worlds that differ only in times and counters are one. Workers are modelled
//! by what their barrier makes certain: a final answer is given once and repeated for ever. Whether a worker has
//! handled a command that nobody has heard of again is left open until an answer arrives, so that "it may have taken
//! effect" is one state and not three. What was sent may arrive at any later time, as often as the channel likes.

use saga_protocol::Direction;

use super::model::{self, Model};
use crate::command;
use crate::definition::{StepIx, Turn};
use crate::state::{Cause, CellRef, Phase, Run, State, Status, Track};
use crate::time::Millis;
use crate::transition::Transition;

/// When everything of a canonical world happened.
pub(super) const NOW: Millis = Millis(0);
/// When everything falls due that was not asked to fall due.
pub(super) const LATER: Millis = Millis(1 << 50);
/// Where a canonical state stands, and what its pointers point to.
pub(super) const REVISION: u32 = 1;
/// Where the payload of an early signal stands that does not fit.
pub(super) const UNFIT: u32 = 3;
/// The newest attempt of a canonical track; the first is a stale one.
pub(super) const ATTEMPT: u32 = 2;

/// A final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Final {
    Succeeded,
    /// Succeeded, with an output that the step's `output_schema` rules out.
    Unfit,
    Rejected,
}

/// One direction of a barrier's row, as far as the orchestrator can know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// A command was sent.
    pub(super) sent: bool,
    /// The final answer, once one has arrived.
    pub(super) told: Option<Final>,
}

/// What workers know of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) execute: Entry,
    pub(super) undo: Entry,
}

impl Row {
    pub(super) const fn entry(&self, direction: Direction) -> &Entry {
        match direction {
            Direction::Execute => &self.execute,
            Direction::Compensate => &self.undo,
        }
    }

    pub(super) const fn entry_mut(&mut self, direction: Direction) -> &mut Entry {
        match direction {
            Direction::Execute => &mut self.execute,
            Direction::Compensate => &mut self.undo,
        }
    }

    /// It took effect, or may have.
    pub(super) const fn may_stand(&self) -> bool {
        self.execute.sent
            && !matches!(self.execute.told, Some(Final::Rejected))
            && !matches!(self.undo.told, Some(Final::Succeeded))
    }
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct World {
    pub(super) state: State,
    /// One a cell, in their order.
    pub(super) rows: Vec<Row>,
    /// What the data turned out to say, as far as it still matters.
    pub(super) values: Vec<Option<u8>>,
    /// How often each signal has come.
    pub(super) signals: Vec<u8>,
}

impl World {
    /// Before the start.
    pub(super) fn new(model: &Model) -> Self {
        Self {
            state: State::new(NOW, None, None),
            rows: Vec::new(),
            values: vec![None; model.variables.len()],
            signals: vec![0; model.signals.len()],
        }
    }

    pub(super) fn row(&self, step: StepIx, item: Option<u32>) -> Option<&Row> {
        let at = self.state.cells.binary_search_by_key(&(step, item), |it| (it.step, it.item)).ok()?;
        self.rows.get(at)
    }

    pub(super) fn row_mut(&mut self, step: StepIx, item: Option<u32>) -> Option<&mut Row> {
        let at = self.state.cells.binary_search_by_key(&(step, item), |it| (it.step, it.item)).ok()?;
        self.rows.get_mut(at)
    }

    /// The world after the saga moved to `next`: rows follow their cells.
    pub(super) fn follow(&self, next: State) -> Self {
        let rows = next
            .cells
            .iter()
            .map(|cell| self.row(cell.step, cell.item).copied().unwrap_or_default())
            .collect();
        Self { state: next, rows, values: self.values.clone(), signals: self.signals.clone() }
    }

    /// Remembers of a signal that was just kept whether it is what was promised.
    pub(super) fn keep_early(&mut self, transition: &Transition) {
        let unfit = transition.payload == Some(model::unfit());
        for early in self.state.early_signals.iter_mut().filter(|it| it.revision != UNFIT) {
            let new = early.revision == transition.state.revision;
            early.revision = if new && unfit { UNFIT } else { REVISION };
        }
    }

    /// Whether nothing happens by itself any more, and that is how it should be.
    pub(super) const fn is_rest(&self) -> bool {
        self.state.status.is_end() || matches!(self.state.status, Status::Parked(_))
    }

    /// How many tracks are in trouble.
    pub(super) fn troubles(&self) -> usize {
        let troubled = |run| matches!(run, Run::Unknown | Run::Backoff | Run::Exhausted | Run::Undecidable);
        let unwinding = matches!(self.state.phase, Phase::Unwinding { .. });
        let in_trouble = |(at, track): &(CellRef, &Track)| {
            let back = at.direction == Direction::Compensate;
            (back || !unwinding) && (troubled(track.run) || (back && track.run == Run::Rejected))
        };
        self.state.tracks().filter(in_trouble).count()
    }

    /// Brings the world into its canonical form.
    pub(super) fn settle(&mut self, model: &Model) {
        let state = &mut self.state;
        state.revision = state.revision.min(REVISION);
        state.started = NOW;
        state.parent = None;
        state.deadline = state.deadline.map(|_| LATER);
        match &mut state.phase {
            Phase::Unwinding { cause } | Phase::PivotOpen { stop: Some(cause) } => *cause = Cause::Deadline,
            _ => {}
        }
        if let Status::Parked(parked) = &mut state.status {
            parked.revision = REVISION;
        }
        for early in &mut state.early_signals {
            early.expires = LATER;
        }
        state.early_signals.sort_by(|a, b| (&a.name, a.revision).cmp(&(&b.name, b.revision)));
        state.anomalies.sort();
        let hash = command::input_hash(&serde_json::Value::Null);
        for cell in &mut state.cells {
            settle_track(&mut cell.execute, hash);
            cell.undo.iter_mut().for_each(|undo| settle_track(undo, hash));
        }
        self.sort_items();
        self.forget_values(model);
    }

    /// Items of one step are alike: only how many of them stand where counts. Not where one of them is named: by an
    /// anomaly, or because the saga is parked at it, the first that has stopped.
    fn sort_items(&mut self) {
        if !self.state.anomalies.is_empty() || matches!(self.state.status, Status::Parked(_)) {
            return;
        }
        let mut from = 0;
        while from < self.state.cells.len() {
            let step = self.state.cells[from].step;
            let len = self.state.cells[from..].iter().take_while(|cell| cell.step == step).count();
            let to = from + len;
            if len > 1 {
                self.sort_range(from, to);
            }
            from = to;
        }
    }

    fn sort_range(&mut self, from: usize, to: usize) {
        let mut order: Vec<usize> = (from..to).collect();
        order.sort_by_cached_key(|&at| super::pack::cell_key(&self.state.cells[at], &self.rows[at]));
        let old: Vec<Option<u32>> = self.state.cells[from..to].iter().map(|cell| cell.item).collect();
        let cells: Vec<_> = order.iter().map(|&at| self.state.cells[at].clone()).collect();
        let rows: Vec<Row> = order.iter().map(|&at| self.rows[at]).collect();
        for (at, (mut cell, row)) in cells.into_iter().zip(rows).enumerate() {
            cell.item = old[at];
            (self.state.cells[from + at], self.rows[from + at]) = (cell, row);
        }
    }

    /// What the data say is forgotten once nothing will ask for it.
    fn forget_values(&mut self, model: &Model) {
        let unwinding = matches!(self.state.phase, Phase::Unwinding { .. });
        let touched = |ix| self.state.cells.iter().any(|cell| cell.step == ix);
        let mut used = vec![false; self.values.len()];
        if !self.state.status.is_end() {
            for ((ix, step), facts) in model.definition.steps().zip(&model.steps) {
                let gone = unwinding && step.turn == Turn::Graph;
                if !gone && !touched(ix) {
                    for at in facts.when.into_iter().chain(facts.foreach) {
                        used[at] = true;
                    }
                }
            }
        }
        for (value, used) in self.values.iter_mut().zip(used) {
            *value = value.filter(|_| used);
        }
    }
}

fn settle_track(track: &mut Track, hash: u32) {
    track.attempt = if track.attempt == 0 { 0 } else { ATTEMPT };
    track.charged = 1;
    track.first_sent_at = track.first_sent_at.map(|_| NOW);
    track.sent_at = track.sent_at.map(|_| NOW);
    track.due = track.due.map(|_| LATER);
    track.budget_from = None;
    track.silent = u32::from(track.run == Run::Unknown);
    track.input = track.input.map(|_| REVISION);
    track.input_hash = track.input_hash.map(|_| hash);
    track.output = track.output.map(|_| REVISION);
}
