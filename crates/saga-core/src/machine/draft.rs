//! The transition in the making.
//!
//! Owns the clone of the state that a decision works on, the effects that it collects and the few ways to touch
//! them: every sending goes through [`Draft::send`]. It must not decide anything.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use saga_protocol::{Direction, Outcome};
use serde_json::Value;

use super::{Taken, retry};
use crate::command::Spelled;
use crate::definition::{Definition, RetryPolicy, Step, StepIx, Turn};
use crate::event::{ChildEnded, Event};
use crate::payloads::Payloads;
use crate::state::{Cell, CellRef, Run, State, Status, Track};
use crate::time::Millis;
use crate::transition::{Effect, Illegal, Transition};

pub(super) struct Draft<'a> {
    pub(super) definition: &'a Definition,
    pub(super) event: &'a Event,
    pub(super) state: State,
    /// The revision that the state will have if it changes; its history row holds what is new.
    pub(super) revision: u32,
    payloads: Cow<'a, Payloads>,
    effects: Vec<Effect>,
    payload: Option<Arc<Value>>,
    inputs: BTreeMap<String, Arc<Value>>,
    resolved: Vec<(CellRef, Spelled)>,
    notes: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        definition: &'a Definition,
        state: &State,
        event: &'a Event,
        payloads: &'a Payloads,
    ) -> Self {
        Self {
            definition,
            event,
            state: state.clone(),
            revision: state.revision.saturating_add(1),
            payloads: Cow::Borrowed(payloads),
            effects: Vec::new(),
            payload: None,
            inputs: BTreeMap::new(),
            resolved: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Closes the draft. A state that did not change keeps its revision, and nothing is to be written for it.
    pub(super) fn finish(mut self, before: &State, taken: Taken) -> Transition {
        if self.state == *before {
            let kept = match taken {
                Taken::Refused(reason) => Some(Effect::Refused(reason)),
                Taken::Ignored(reason) => Some(Effect::Ignored(reason)),
                Taken::Applied if self.effects.is_empty() => Some(self.unchanged()),
                Taken::Applied => None,
            };
            self.effects.extend(kept);
            return Transition {
                state: self.state,
                effects: self.effects,
                payload: None,
                inputs: BTreeMap::new(),
                resolved: self.resolved,
                notes: self.notes,
            };
        }
        self.state.revision = self.revision;
        Transition {
            state: self.state,
            effects: self.effects,
            payload: self.payload,
            inputs: self.inputs,
            resolved: self.resolved,
            notes: self.notes,
        }
    }

    fn unchanged(&self) -> Effect {
        match self.event.what {
            crate::event::What::Operator(_) => Effect::Refused("it would change nothing"),
            _ => Effect::Ignored("it changes nothing"),
        }
    }

    pub(super) fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    pub(super) fn now(&self) -> Millis {
        self.event.at
    }

    pub(super) fn step(&self, ix: StepIx) -> Result<&'a Step, Illegal> {
        self.definition.step(ix).ok_or_else(|| Illegal(format!("the definition has no step {ix:?}")))
    }

    pub(super) fn is_graph(&self, ix: StepIx) -> bool {
        self.definition.step(ix).is_some_and(|step| step.turn == Turn::Graph)
    }

    /// The cells of a step: one, or one an item.
    pub(super) fn cells(&self, ix: StepIx) -> &[Cell] {
        let from = self.state.cells.partition_point(|cell| cell.step < ix);
        let rest = self.state.cells.get(from..).unwrap_or_default();
        let len = rest.partition_point(|cell| cell.step == ix);
        rest.get(..len).unwrap_or_default()
    }

    pub(super) fn is_touched(&self, ix: StepIx) -> bool {
        !self.cells(ix).is_empty()
    }

    pub(super) fn cell_mut(&mut self, step: StepIx, item: Option<u32>) -> Result<&mut Cell, Illegal> {
        let found = self.state.cells.iter_mut().find(|cell| cell.step == step && cell.item == item);
        found.ok_or_else(|| Illegal(format!("step {step:?} item {item:?} was not touched")))
    }

    pub(super) fn track_mut(&mut self, at: CellRef) -> Result<&mut Track, Illegal> {
        let cell = self.cell_mut(at.step, at.item)?;
        match at.direction {
            Direction::Execute => Ok(&mut cell.execute),
            Direction::Compensate => {
                cell.undo.as_mut().ok_or_else(|| Illegal(format!("{at:?} was not decided")))
            }
        }
    }

    pub(super) fn track(&self, at: CellRef) -> Result<&Track, Illegal> {
        self.state.track(at).ok_or_else(|| Illegal(format!("{at:?} was not decided")))
    }

    /// Adds a cell, keeping the order of (step, item).
    pub(super) fn insert(&mut self, cell: Cell) {
        let at = self.state.cells.partition_point(|other| (other.step, other.item) < (cell.step, cell.item));
        self.state.cells.insert(at, cell);
    }

    /// Whether an operator holds the track back. Compensations are never held.
    pub(super) fn is_held(&self, at: CellRef) -> bool {
        at.direction == Direction::Execute && self.event.held.contains(&at.step)
    }

    /// How often a track is tried, and how long each attempt may stay silent.
    pub(super) fn patience(&self, at: CellRef) -> Result<(&'a RetryPolicy, i64), Illegal> {
        let step = self.step(at.step)?;
        match (at.direction, &step.compensation) {
            (Direction::Execute, _) => Ok((&step.retry, step.timeout_ms)),
            (Direction::Compensate, Some(undo)) => Ok((&undo.retry, undo.timeout_ms)),
            (Direction::Compensate, None) => Err(Illegal(format!("step {} has no compensation", step.name))),
        }
    }

    /// Sends the next attempt of a track's round, or pauses the round while an operator holds it.
    pub(super) fn send(&mut self, at: CellRef) -> Result<(), Illegal> {
        let (policy, timeout_ms) = self.patience(at)?;
        let (now, seed, held) = (self.now(), self.event.seed, self.is_held(at));
        let track = self.track_mut(at)?;
        if held {
            track.due = None;
            track.run = match track.run {
                Run::Unknown | Run::Backoff => track.run,
                _ if track.attempt == 0 => Run::Held,
                _ => Run::Backoff,
            };
            return Ok(());
        }
        track.attempt = track.attempt.saturating_add(1);
        track.charged = track.charged.saturating_add(1);
        track.first_sent_at.get_or_insert(now);
        track.sent_at = Some(now);
        // Silence makes the next look at it later and later; the first sending again is at once.
        let pause_ms = match track.silent {
            0 => 0,
            silent => retry::backoff_ms(policy, silent, retry::random(seed, at, track.attempt)),
        };
        track.run = if track.silent == 0 { Run::Sent } else { Run::Unknown };
        track.due = Some(now + timeout_ms + pause_ms);
        let (round, attempt) = (track.round, track.attempt);
        self.effects.push(Effect::Send { cell: at, round, attempt });
        Ok(())
    }

    /// Takes time out of a track's budget that was not the worker's: what has passed since it was due is an outage of
    /// ours or a queue, and what has passed in a pause is an operator's hold.
    pub(super) fn excuse(&mut self, at: CellRef) -> Result<(), Illegal> {
        let (policy, _) = self.patience(at)?;
        let now = self.now();
        let track = self.track_mut(at)?;
        let since = track.due.or(track.sent_at).unwrap_or(now);
        if policy.budget_ms.is_some() && now > since {
            track.budget_from = track.budget_from.or(track.first_sent_at).map(|from| from + (now - since));
        }
        Ok(())
    }

    /// Ends a track for good; what only an open round needs is dropped.
    pub(super) fn settle(&mut self, at: CellRef, run: Run) -> Result<&mut Track, Illegal> {
        let track = self.track_mut(at)?;
        track.run = run;
        track.charged = 1;
        track.silent = 0;
        track.due = None;
        track.sent_at = None;
        track.budget_from = None;
        Ok(track)
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Keeps the event's payload in the history row, so that the state can point to it and expressions see it.
    /// Returns the row's revision.
    pub(super) fn keep_payload(&mut self, payload: &Arc<Value>) -> u32 {
        self.payload = Some(Arc::clone(payload));
        self.payloads.to_mut().by_revision.insert(self.revision, Arc::clone(payload));
        self.revision
    }

    /// Keeps an input in the history row. Returns the row's revision.
    pub(super) fn keep_input(&mut self, at: CellRef, input: Arc<Value>) -> u32 {
        self.inputs.insert(at.input_key(), input);
        self.revision
    }

    /// Hands out an input as it was resolved.
    pub(super) fn resolved(&mut self, at: CellRef, input: Spelled) {
        self.resolved.push((at, input));
    }

    /// Ends the saga, and tells its parent.
    pub(super) fn end(&mut self, status: Status, output: Option<Arc<Value>>, told: (Direction, Outcome)) {
        self.state.status = status;
        self.effects.push(Effect::Ended { output: output.clone() });
        self.tell_parent(told, output);
    }

    pub(super) fn tell_parent(
        &mut self,
        (direction, outcome): (Direction, Outcome),
        output: Option<Arc<Value>>,
    ) {
        let Some(parent) = &self.state.parent else { return };
        let cell = CellRef { step: parent.step, item: parent.item, direction };
        let ended = ChildEnded { cell, round: parent.round, outcome, output, error: None };
        self.effects.push(Effect::Tell { parent: parent.saga, ended });
    }
}
