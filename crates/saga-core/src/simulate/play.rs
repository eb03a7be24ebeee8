//! Plays a script: a queue of what happens when, in virtual time.
//!
//! Owns the order of things. It must not decide anything: it hands events to `step` and its commands to the barrier.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use saga_protocol::{Command, Direction, Fault, Outcome, SagaId, StepName};
use serde_json::Value;

use super::barrier::Barrier;
use super::script::{Answer, Happening, Script};
use super::{Run, Sent, Taken, tell};
use crate::command::{self, input_of};
use crate::definition::{Definition, OutputSchema, Step, StepIx, Work};
use crate::event::{self, ChildEnded, Due, Event, Operator, Signal, What};
use crate::machine::{next_due, step};
use crate::payloads::Payloads;
use crate::state::{CellRef, Run as TrackRun, State};
use crate::time::Millis;
use crate::transition::{Effect, Illegal};

/// When every run starts: an instant that is easy to read in a dump.
pub(super) const START: Millis = Millis(1_750_000_000_000);
/// How long a message travels, in ms.
pub(super) const TRAVEL_MS: i64 = 1;
/// The most things that may happen in one run.
const HAPPENINGS_MAX: usize = 50_000;

/// Plays one saga to its rest, and to the script's end.
///
/// # Errors
/// [`Illegal`] is a bug of the state machine.
pub fn play(definition: &Definition, input: Value, script: &Script) -> Result<Run, Illegal> {
    let mut player = Player::new(definition, script, input);
    for (at_ms, happening) in &script.events {
        player.later(*at_ms, Thing::Outside(happening.clone()));
    }
    player.happens(What::Start)?;
    player.go_on()?;
    Ok(player.run)
}

/// What waits in the queue.
#[derive(Clone, Debug)]
pub(super) enum Thing {
    /// A command reaches its worker.
    Arrives(CellRef, Box<Command>),
    /// The worker has done what it does with it.
    Handled(CellRef, Box<Command>),
    /// A child saga ends.
    Child(CellRef, u32),
    /// An answer reaches the orchestrator.
    Answer(Box<event::Answer>),
    Outside(Happening),
}

pub(super) struct Player<'a> {
    definition: &'a Definition,
    script: &'a Script,
    pub(super) payloads: Payloads,
    pub(super) now: Millis,
    queue: BinaryHeap<Reverse<(Millis, usize)>>,
    /// Everything that was queued, in order; what has happened is taken out.
    pub(super) things: Vec<Option<Thing>>,
    barrier: Barrier,
    pub(super) run: Run,
    pub(super) taken: Vec<Taken>,
}

impl<'a> Player<'a> {
    pub(super) fn new(definition: &'a Definition, script: &'a Script, input: Value) -> Self {
        let saga = SagaId(uuid::Uuid::from_u128(1));
        Self {
            definition,
            script,
            payloads: Payloads::new(saga, Arc::new(input)),
            now: START,
            queue: BinaryHeap::new(),
            things: Vec::new(),
            barrier: Barrier::default(),
            run: Run {
                state: State::new(START, None, None),
                timeline: Vec::new(),
                sent: Vec::new(),
                output: None,
                faults: Vec::new(),
                anomalies: Vec::new(),
                took_ms: 0,
                silent: Vec::new(),
                cut_off: false,
            },
            taken: Vec::new(),
        }
    }

    fn later(&mut self, ms: i64, thing: Thing) {
        self.queue.push(Reverse((self.now + ms, self.things.len())));
        self.things.push(Some(thing));
    }

    fn go_on(&mut self) -> Result<(), Illegal> {
        for _ in 0..HAPPENINGS_MAX {
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            let due = next_due(&self.run.state);
            match (next, due) {
                (None, None) => return Ok(()),
                (next, Some(due)) if next.is_none_or(|next| due <= next) => {
                    self.now = self.now.max(due);
                    self.happens(What::Due(Due { caught_up: true, queued: Vec::new() }))?;
                }
                _ => {
                    let Some(Reverse((at, nth))) = self.queue.pop() else { return Ok(()) };
                    self.now = self.now.max(at);
                    if let Some(thing) = self.things.get_mut(nth).and_then(Option::take) {
                        self.take(thing)?;
                    }
                }
            }
        }
        self.run.cut_off = true;
        Ok(())
    }

    fn take(&mut self, thing: Thing) -> Result<(), Illegal> {
        match thing {
            Thing::Arrives(at, command) => {
                let it = self.try_of(at, command.round, command.attempt);
                self.later(it.after_ms, Thing::Handled(at, command));
                Ok(())
            }
            Thing::Handled(at, command) => {
                self.handle(at, &command);
                Ok(())
            }
            Thing::Child(at, round) => self.child_ends(at, round),
            Thing::Answer(answer) => self.happens(What::Answer(*answer)),
            Thing::Outside(happening) => self.outside(happening),
        }
    }

    fn try_of(&self, at: CellRef, round: u32, attempt: u32) -> super::script::Try {
        let name = self.definition.step(at.step).map(|it| it.name.as_str()).unwrap_or_default();
        let said = self.script.try_of(name, at.item, at.direction == Direction::Compensate, round, attempt);
        said.unwrap_or_else(|| super::script::Try::of(Answer::Succeeded(Value::Null)))
    }

    /// What a step yields when nobody says what: nothing in particular, or what its schema asks for.
    fn output_of(&self, at: CellRef, said: Value) -> Value {
        if !said.is_null() {
            return said;
        }
        let schema = self.definition.step(at.step).and_then(|it| it.output_schema.as_ref());
        schema.map_or_else(|| Value::Object(serde_json::Map::new()), OutputSchema::sample)
    }

    fn handle(&mut self, at: CellRef, command: &Command) {
        let it = self.try_of(at, command.round, command.attempt);
        let Some(answer) = self.answered(at, command, it.answer).filter(|_| !it.lost) else { return };
        if it.twice {
            self.later(TRAVEL_MS, Thing::Answer(Box::new(answer.clone())));
        }
        self.later(TRAVEL_MS, Thing::Answer(Box::new(answer)));
    }

    /// What the worker's barrier lets it answer, if it wants to answer this.
    pub(super) fn answered(
        &mut self,
        at: CellRef,
        command: &Command,
        wanted: Answer,
    ) -> Option<event::Answer> {
        let given = self.barrier.handle(at, command, wanted);
        let (outcome, output, error) = match given.clone() {
            Answer::Silent => return None,
            Answer::Succeeded(output) => {
                (Outcome::Succeeded, Some(Arc::new(self.output_of(at, output))), None)
            }
            Answer::Rejected(code, words) => (Outcome::Rejected, None, Some(Fault::new(&code, &words))),
            Answer::Retryable { why: (code, words), .. } => {
                (Outcome::Retryable, None, Some(Fault::new(&code, &words)))
            }
            Answer::Undecidable => (
                Outcome::Undecidable,
                None,
                Some(Fault::new("record_lost", "the worker has lost its record")),
            ),
        };
        let (uncharged, retry_after_ms) = match given {
            Answer::Retryable { uncharged, retry_after_ms, .. } => (uncharged, retry_after_ms),
            _ => (false, None),
        };
        Some(event::Answer {
            step: command.step.clone(),
            item: command.item,
            direction: command.direction,
            round: command.round,
            attempt: command.attempt,
            outcome,
            output: output.filter(|_| at.direction == Direction::Execute),
            oversized: false,
            error,
            uncharged,
            retry_after_ms,
        })
    }

    fn child_ends(&mut self, at: CellRef, round: u32) -> Result<(), Illegal> {
        let it = self.try_of(at, round, 1);
        self.child_ended(at, round, it.answer)
    }

    pub(super) fn child_ended(&mut self, at: CellRef, round: u32, answer: Answer) -> Result<(), Illegal> {
        let (outcome, output) = match answer {
            Answer::Succeeded(output) => (Outcome::Succeeded, Some(Arc::new(self.output_of(at, output)))),
            Answer::Rejected(..) => (Outcome::Rejected, None),
            Answer::Undecidable => (Outcome::Undecidable, None),
            Answer::Silent | Answer::Retryable { .. } => return Ok(()),
        };
        self.happens(What::ChildEnded(ChildEnded { cell: at, round, outcome, output, error: None }))
    }

    pub(super) fn outside(&mut self, happening: Happening) -> Result<(), Illegal> {
        let what = match happening {
            Happening::Signal { name, payload } => {
                let payload = payload.or_else(|| self.made_up(&name).filter(|_| self.script.makes_up));
                What::Signal(Signal { name, payload: payload.map(Arc::new), ttl_ms: event::SIGNAL_TTL_MS })
            }
            Happening::Operator(action, why) => {
                let (who, revision) = ("operator".to_owned(), self.run.state.revision);
                What::Operator(Operator { who, why, revision, action })
            }
            Happening::LogLost => What::LogLost,
        };
        self.happens(what)
    }

    /// What the step asks for that takes a signal now, or else the first one that will.
    fn made_up(&self, name: &str) -> Option<Value> {
        let later = |ix: StepIx| {
            let cells = || self.run.state.cells.iter().filter(|it| it.step == ix);
            match cells().any(|it| it.execute.run == TrackRun::Waiting) {
                true => 0,
                false => 1 + cells().count().min(1),
            }
        };
        let named = |step: &Step| matches!(&step.work, Work::Signal { name: own } if own == name);
        let all = self.definition.steps().filter(|(_, step)| named(step));
        let (_, step) = all.min_by_key(|(ix, _)| later(*ix))?;
        step.output_schema.as_ref().map(OutputSchema::sample)
    }

    pub(super) fn happens(&mut self, what: What) -> Result<(), Illegal> {
        // Jitter needs a number that differs from event to event, and is the same in every run.
        let seed = u32::try_from(self.things.len()).unwrap_or(0).wrapping_mul(2_654_435_761);
        if let What::Due(_) = &what {
            let now = self.now;
            let silent = self.run.state.tracks().filter(|(_, track)| {
                matches!(track.run, TrackRun::Sent | TrackRun::Unknown)
                    && track.due.is_some_and(|due| due <= now)
            });
            let silent: Vec<CellRef> = silent.map(|(at, _)| at).collect();
            self.run.silent.extend(silent);
        }
        let event = Event::new(self.now, seed, what);
        let transition = step(self.definition, &self.run.state, &event, &self.payloads)?;
        let at_ms = self.now - START;
        self.run.timeline.extend(tell::lines(self.definition, &self.run.state, &event, &transition, at_ms));
        if let What::Answer(answer) = &event.what
            && let (Some(step), Some(fault)) = (self.definition.find(answer.step.as_str()), &answer.error)
            && transition.changed(&self.run.state)
        {
            let at = CellRef { step, item: answer.item, direction: answer.direction };
            self.run.faults.push((at, fault.clone()));
        }
        if transition.changed(&self.run.state) {
            self.run.took_ms = at_ms;
        }
        self.payloads.take_in(&transition);
        self.taken.push(Taken {
            at_ms,
            revision: transition.state.revision,
            changed: transition.changed(&self.run.state),
            payload: transition.payload.clone(),
            effects: transition.effects.clone(),
            event,
        });
        self.run.state = transition.state;
        for effect in transition.effects {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Illegal> {
        match effect {
            Effect::Send { cell, round, attempt } => {
                let saga = self.payloads.saga;
                let command = command::build(self.definition, saga, &self.run.state, &self.payloads, cell)
                    .map_err(|error| Illegal(format!("a command cannot be built: {error}")))?;
                let input = serde_json::from_str(command.input.get()).unwrap_or(Value::Null);
                self.note(cell, round, attempt, &command.step, &command.action, input);
                self.later(TRAVEL_MS, Thing::Arrives(cell, Box::new(command)));
            }
            Effect::StartChild { cell, round } => {
                let saga = self.payloads.saga;
                let input = input_of(self.definition, saga, &self.run.state, &self.payloads, cell)
                    .map_err(|error| Illegal(format!("a child's input cannot be resolved: {error}")))?;
                let Some(step) = self.definition.step(cell.step) else { return Ok(()) };
                self.note(cell, round, 1, &step.name, "", Value::clone(&input));
                let it = self.try_of(cell, round, 1);
                self.later(it.after_ms, Thing::Child(cell, round));
            }
            Effect::Anomaly(anomaly) => self.run.anomalies.push(anomaly.kind),
            Effect::Ended { output } => self.run.output = output,
            Effect::Ignored(_) | Effect::Refused(_) | Effect::Tell { .. } => {}
        }
        Ok(())
    }

    fn note(&mut self, at: CellRef, round: u32, attempt: u32, step: &StepName, action: &str, input: Value) {
        let work =
            self.definition.find(step.as_str()).and_then(|ix| self.definition.step(ix)).map(|it| &it.work);
        let action = match work {
            Some(Work::Action { worker, .. }) => format!("{worker}.{action}"),
            Some(Work::Child { definition }) => definition.clone(),
            _ => String::new(),
        };
        self.run.sent.push(Sent { at, round, attempt, action, input });
    }
}
