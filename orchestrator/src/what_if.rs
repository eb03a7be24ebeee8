//! What if: past sagas run against another definition, in virtual time, with the answers that history has.
//!
//! Pure, but for reading. Every answer to an attempt that history knows is given as it was; where history ends, a
//! final answer is repeated, and so is "try again". What history says nothing of is taken as succeeded, and told.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use saga_core::definition::Turn;
use saga_core::event::{ChildEnded, Due, Signal};
use saga_core::{
    Answer, CellRef, Definition, Effect, Event, Millis, Payloads, Run, State, Status, Transition, What,
};
use saga_protocol::{Direction, Outcome, SagaId, StepName};
use serde_json::Value;

use crate::api::personal::{MASK, Personal};
use crate::api::words;
use crate::store::read::HistoryRow;

/// Events of one simulated saga, at most.
const EVENTS_MAX: usize = 5_000;

/// A saga's past, as far as another definition can be asked about it.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its id.
    pub saga: SagaId,
    /// Its input.
    pub input: Arc<Value>,
    /// When it started.
    pub started: Millis,
    answers: HashMap<(String, Option<u32>, Direction), Vec<Said>>,
    children: HashMap<(String, Option<u32>, Direction), Vec<ChildEnded>>,
    signals: Vec<Signal>,
    /// Tracks that were sent and never answered.
    silent: BTreeSet<(String, Option<u32>, bool)>,
}

#[derive(Clone, Debug)]
struct Said {
    answer: Answer,
    output: Option<Arc<Value>>,
}

/// What would have come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Would {
    /// `completed`, `compensated`, `parked`, or `unknown`.
    pub end: &'static str,
    /// Why, in words.
    pub because: String,
    /// Steps that history says nothing of.
    pub assumed: Vec<String>,
}

impl Past {
    /// What a saga's history tells.
    pub fn of(saga: SagaId, definition: &Definition, state: &State, rows: Vec<HistoryRow>) -> Option<Self> {
        let mut rows = rows.into_iter();
        let first = rows.next()?;
        let mut past = Self {
            saga,
            input: Arc::new(first.payload?),
            started: state.started,
            answers: HashMap::new(),
            children: HashMap::new(),
            signals: Vec::new(),
            silent: BTreeSet::new(),
        };
        for row in rows {
            let Ok(event) = row.event else { continue };
            let output = row.payload.map(Arc::new);
            match event.what {
                What::Answer(answer) => {
                    let key = (answer.step.as_str().to_owned(), answer.item, answer.direction);
                    past.answers.entry(key).or_default().push(Said { answer, output });
                }
                What::ChildEnded(mut child) => {
                    let Some(name) = words::step_name(definition, child.cell.step) else { continue };
                    child.output = output;
                    past.children
                        .entry((name, child.cell.item, child.cell.direction))
                        .or_default()
                        .push(child);
                }
                What::Signal(mut signal) => {
                    signal.payload = output;
                    past.signals.push(signal);
                }
                _ => {}
            }
        }
        for (at, track) in state.tracks() {
            let Some(name) = words::step_name(definition, at.step) else { continue };
            let open = matches!(track.run, Run::Sent | Run::Unknown | Run::Exhausted | Run::Undecidable);
            if open && !past.answers.contains_key(&(name.clone(), at.item, at.direction)) {
                past.silent.insert((name, at.item, at.direction == Direction::Compensate));
            }
        }
        Some(past)
    }

    /// Hides what is personal: whoever may not see it learns nothing of it by what a condition makes of it.
    pub fn hide(&mut self, personal: &Personal) {
        let by = Value::from(MASK);
        let mut input = Value::clone(&self.input);
        personal.hide_in_input(&mut input, &by);
        personal.hide(&mut input, &by);
        self.input = Arc::new(input);
        let outputs = self.answers.values_mut().flatten().map(|it| &mut it.output);
        let children = self.children.values_mut().flatten().map(|it| &mut it.output);
        for output in outputs.chain(children).flatten() {
            personal.hide(Arc::make_mut(output), &by);
        }
        // What others send may hold what the input did not.
        for payload in self.signals.iter_mut().filter_map(|it| it.payload.as_mut()) {
            *payload = Arc::new(by.clone());
        }
    }

    /// What would have come of it with this definition.
    pub fn with(&self, definition: &Definition) -> Would {
        let mut run = Simulation::new(self, definition);
        let end = run.run();
        let assumed: Vec<String> = run.assumed.iter().cloned().collect();
        match end {
            Err(because) => Would { end: "unknown", because, assumed },
            Ok(()) => {
                let end = run.state.status.word();
                let end = if end == "running" { "unknown" } else { end };
                Would { end, because: run.because(), assumed }
            }
        }
    }
}

struct Simulation<'a> {
    past: &'a Past,
    definition: &'a Definition,
    state: State,
    payloads: Payloads,
    now: Millis,
    inbox: VecDeque<What>,
    asked: HashMap<CellRef, usize>,
    assumed: BTreeSet<String>,
    refused: Vec<String>,
}

impl<'a> Simulation<'a> {
    fn new(past: &'a Past, definition: &'a Definition) -> Self {
        let deadline = definition.deadline_ms.map(|ms| past.started + ms);
        Self {
            past,
            definition,
            state: State::new(past.started, deadline, None),
            payloads: Payloads::new(past.saga, Arc::clone(&past.input)),
            now: past.started,
            inbox: VecDeque::from([What::Start]),
            asked: HashMap::new(),
            assumed: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let mut signals: VecDeque<Signal> = self.past.signals.iter().cloned().collect();
        for _ in 0..EVENTS_MAX {
            if self.state.status.is_end() {
                return Ok(());
            }
            let what = match self.inbox.pop_front() {
                Some(what) => what,
                None => {
                    let waits = |(_, track): (CellRef, &saga_core::Track)| track.run == Run::Waiting;
                    let signal = self.state.tracks().any(waits).then(|| signals.pop_front()).flatten();
                    match (signal, &self.state.status) {
                        (Some(signal), _) => What::Signal(signal),
                        (None, Status::Parked(_)) => return Ok(()),
                        (None, _) => match saga_core::next_due(&self.state) {
                            Some(due) => {
                                self.now = self.now.max(due);
                                What::Due(Due { caught_up: true, queued: Vec::new() })
                            }
                            None => return Err(self.stuck()),
                        },
                    }
                }
            };
            let event = Event::new(self.now, 0, what);
            let transition = saga_core::step(self.definition, &self.state, &event, &self.payloads)
                .map_err(|illegal| illegal.to_string())?;
            self.take_in(transition);
        }
        Err("it does not come to an end in a simulation".to_owned())
    }

    fn take_in(&mut self, transition: Transition) {
        if transition.changed(&self.state) {
            self.payloads.take_in(&transition);
        }
        self.state = transition.state;
        for effect in transition.effects {
            match effect {
                Effect::Send { cell, round, attempt } => {
                    if let Some(answer) = self.answer(cell, round, attempt) {
                        self.inbox.push_back(What::Answer(answer));
                    }
                }
                Effect::StartChild { cell, round } => {
                    let ended = self.child(cell, round);
                    self.inbox.push_back(What::ChildEnded(ended));
                }
                _ => {}
            }
        }
    }

    /// The answer to the attempt, as history has it.
    fn answer(&mut self, cell: CellRef, round: u32, attempt: u32) -> Option<Answer> {
        let name = words::step_name(self.definition, cell.step)?;
        let place = self.asked.entry(cell).or_default();
        let at = *place;
        *place += 1;
        if self.past.silent.contains(&(name.clone(), cell.item, cell.direction == Direction::Compensate)) {
            self.refused.push(format!("{name} was never answered"));
            return None;
        }
        let said = self.past.answers.get(&(name.clone(), cell.item, cell.direction));
        let said = said.and_then(|all| all.get(at).or(all.last()));
        let step: StepName = self.definition.step(cell.step)?.name.clone();
        let Some(said) = said else {
            if cell.direction == Direction::Execute {
                self.assumed.insert(name);
            }
            return Some(blank(step, cell, round, attempt, Outcome::Succeeded));
        };
        if let Some(fault) = &said.answer.error {
            let told = format!("{name}: {}", fault.code);
            if self.refused.last() != Some(&told) {
                self.refused.push(told);
            }
        }
        Some(Answer {
            step,
            item: cell.item,
            round,
            attempt,
            output: said.output.clone(),
            ..said.answer.clone()
        })
    }

    fn child(&mut self, cell: CellRef, round: u32) -> ChildEnded {
        let name = words::step_name(self.definition, cell.step).unwrap_or_default();
        let known = self.past.children.get(&(name.clone(), cell.item, cell.direction));
        match known.and_then(|all| all.last()) {
            Some(ended) => ChildEnded { cell, round, ..ended.clone() },
            None => {
                self.assumed.insert(name);
                ChildEnded { cell, round, outcome: Outcome::Succeeded, output: None, error: None }
            }
        }
    }

    fn stuck(&self) -> String {
        let open = self.state.tracks().find(|(_, track)| matches!(track.run, Run::Waiting | Run::Held));
        match open.and_then(|(at, _)| words::step_name(self.definition, at.step)) {
            Some(step) => format!("{step} would wait for something that history does not have"),
            None => "nothing would move it on".to_owned(),
        }
    }

    fn because(&self) -> String {
        let graph = self.definition.steps().filter(|(_, step)| step.turn == Turn::Graph);
        let left: Vec<String> = graph
            .filter(|(ix, _)| {
                self.state.cells.iter().any(|cell| {
                    cell.step == *ix && matches!(cell.execute.run, Run::Rejected | Run::Exhausted)
                })
            })
            .map(|(_, step)| step.name.as_str().to_owned())
            .collect();
        match &self.state.status {
            Status::Completed if !left.is_empty() => {
                format!("it goes on although this did not succeed: {}", left.join(", "))
            }
            Status::Completed if !self.refused.is_empty() => {
                format!("it gets over {}", self.refused.join(", then "))
            }
            Status::Completed => "nothing of what went wrong happens in it".to_owned(),
            Status::Parked(parked) => {
                let at = parked.cell.and_then(|cell| words::step_name(self.definition, cell.step));
                let said =
                    self.refused.last().cloned().unwrap_or_else(|| words::why(parked.why).1.to_owned());
                at.map_or_else(|| said.clone(), |step| format!("it parks at {step}: {said}"))
            }
            _ => self.refused.last().cloned().unwrap_or_else(|| "it is undone".to_owned()),
        }
    }
}

fn blank(step: StepName, cell: CellRef, round: u32, attempt: u32, outcome: Outcome) -> Answer {
    Answer {
        step,
        item: cell.item,
        direction: cell.direction,
        round,
        attempt,
        outcome,
        output: None,
        oversized: false,
        error: None,
        uncharged: false,
        retry_after_ms: None,
    }
}
