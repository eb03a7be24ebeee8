//! A small language for tests of the state machine: definitions in a line a step, one saga with a clock of its own,
//! and effects spelled as text (`pay:x1:2` is the second attempt of the first execute round of `pay`).
//!
//! Every event that a test lets happen is also checked for what must hold of all events: an unchanged saga keeps
//! its revision, the recorded event folds to the same transition, and nothing runs without anything to wait for.

#![allow(dead_code, reason = "each test binary uses another part")]

use std::sync::Arc;

use saga_core::event::{ChildEnded, Due, Operator, Signal};
use saga_core::state::Parent;
use saga_core::{
    Answer, Cell, CellRef, Definition, Effect, Event, Millis, OperatorAction, Payloads, Phase, Run, State,
    Status, StepIx, Track, Transition, What, Why, next_due, step,
};
use saga_protocol::{Direction, Fault, Outcome, SagaId, StepName};
use serde_json::{Value, json};

/// When every test's saga starts.
pub(crate) const START_MS: i64 = 1_750_000_000_000;

/// A definition of steps in short: a line a step, `name: part; part`. A part is `after a b`, `pivot`, `optional`,
/// `bare` (no compensation), or any key of the language. Without `bare` a worker's step is undone by `undo`.
pub(crate) fn definition(steps: &str, top: &str) -> Definition {
    let yaml = yaml(steps, top);
    saga_core::definition::load(&yaml).unwrap_or_else(|told| {
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        panic!("{}\n{yaml}", told.join("\n"))
    })
}

pub(crate) fn yaml(steps: &str, top: &str) -> String {
    let mut yaml = format!("saga: test\n{top}\nsteps:\n");
    for line in steps.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, parts) = line.split_once(':').unwrap_or((line, ""));
        yaml.push_str(&format!("  {name}:\n"));
        let parts: Vec<&str> = parts.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
        let has = |key: &str| parts.iter().any(|part| part.starts_with(key));
        for part in &parts {
            let line = match part.split_once(' ') {
                Some(("after", names)) => {
                    format!("after: [{}]", names.split(' ').collect::<Vec<_>>().join(", "))
                }
                _ if ["pivot", "optional"].contains(part) => format!("{part}: true"),
                _ if *part == "bare" => continue,
                _ => (*part).to_owned(),
            };
            yaml.push_str(&format!("    {line}\n"));
        }
        if !has("wait:") && !has("saga:") {
            yaml.push_str("    worker: w\n    action: act\n");
            if !has("bare") && !has("pivot") && !has("compensation:") {
                yaml.push_str("    compensation: undo\n");
            }
        }
    }
    yaml
}

/// One saga, with everything that the engine would keep for it.
pub(crate) struct Saga {
    pub(crate) definition: Definition,
    pub(crate) state: State,
    pub(crate) payloads: Payloads,
    pub(crate) now: i64,
    pub(crate) held: Vec<StepIx>,
    pub(crate) last: Option<Transition>,
    pub(crate) history: Vec<(Event, Transition)>,
}

/// Starts a saga of these steps.
pub(crate) fn saga(steps: &str) -> Saga {
    saga_with(steps, "")
}

/// Starts a saga of these steps, with more keys at the top of its definition.
pub(crate) fn saga_with(steps: &str, top: &str) -> Saga {
    let mut saga = Saga::new(definition(steps, top), json!({}));
    saga.start();
    saga
}

impl Saga {
    pub(crate) fn new(definition: Definition, input: Value) -> Self {
        Self {
            definition,
            state: State::new(Millis(START_MS), None, None),
            payloads: Payloads::new(SagaId(uuid::Uuid::from_u128(7)), Arc::new(input)),
            now: START_MS,
            held: Vec::new(),
            last: None,
            history: Vec::new(),
        }
    }

    pub(crate) fn child_of(mut self, parent: u128) -> Self {
        let saga = SagaId(uuid::Uuid::from_u128(parent));
        self.state.parent = Some(Parent { saga, step: StepIx(3), item: None, round: 1 });
        self
    }

    /// Why it is parked, asked of its state.
    pub(crate) fn explained(&self) -> String {
        let saga = self.payloads.saga;
        saga_core::explain::why_parked(&self.definition, saga, &self.state, &self.payloads)
            .unwrap_or_default()
    }

    pub(crate) fn start(&mut self) -> Vec<String> {
        self.happens(What::Start)
    }

    /// Lets something happen now; says its effects.
    pub(crate) fn happens(&mut self, what: What) -> Vec<String> {
        let seed = u32::try_from(self.history.len()).unwrap().wrapping_mul(2_654_435_761);
        self.happens_as(Event { at: Millis(self.now), seed, held: self.held.clone(), what })
    }

    pub(crate) fn happens_as(&mut self, event: Event) -> Vec<String> {
        let transition = step(&self.definition, &self.state, &event, &self.payloads).unwrap();
        self.check(&event, &transition);
        self.state = transition.state.clone();
        self.payloads.take_in(&transition);
        self.last = Some(transition.clone());
        let said = transition.effects.iter().map(|effect| self.say(effect)).collect();
        self.history.push((event, transition));
        said
    }

    /// What must hold of every transition.
    fn check(&self, event: &Event, transition: &Transition) {
        let (before, after) = (&self.state, &transition.state);
        if after.revision == before.revision {
            assert_eq!(before, after, "a change without a revision, by {event:?}");
            assert!(transition.payload.is_none() && transition.inputs.is_empty());
            assert!(!transition.effects.is_empty(), "neither a change nor a reason, by {event:?}");
        } else {
            assert_eq!(after.revision, before.revision + 1);
            let refused = |effect: &Effect| matches!(effect, Effect::Ignored(_) | Effect::Refused(_));
            assert!(!transition.effects.iter().any(refused), "a change and a refusal: {transition:?}");
        }
        let text = serde_json::to_string(after).unwrap();
        assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), after, "{text}");
        assert!(after.cells.is_sorted_by_key(|cell| (cell.step, cell.item)));
        // What was recorded folds to the same transition.
        if after.revision != before.revision {
            let mut recorded: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            recorded.set_payload(transition.payload.clone());
            assert_eq!(&step(&self.definition, before, &recorded, &self.payloads).unwrap(), transition);
        }
        assert_not_stuck(&self.definition, after);
    }

    /// Every effect as text.
    pub(crate) fn say(&self, effect: &Effect) -> String {
        match effect {
            Effect::Send { cell, round, attempt } => format!("{}{round}:{attempt}", self.say_cell(*cell)),
            Effect::StartChild { cell, round } => format!("child {}{round}", self.say_cell(*cell)),
            Effect::Tell { ended, .. } => format!("tell {:?} {:?}", ended.cell.direction, ended.outcome),
            Effect::Anomaly(it) => format!("anomaly {}{} {}", self.say_cell(it.cell), it.round, it.kind),
            Effect::Ignored(reason) => format!("ignored: {reason}"),
            Effect::Refused(reason) => format!("refused: {reason}"),
            Effect::Ended { output: None } => format!("ended {}", self.state.status.word()),
            Effect::Ended { output: Some(output) } => format!("ended {} {output}", self.state.status.word()),
        }
    }

    pub(crate) fn say_cell(&self, at: CellRef) -> String {
        let name = &self.definition.step(at.step).unwrap().name;
        let item = at.item.map_or(String::new(), |item| format!(".{item}"));
        format!("{name}{item}:{}", at.direction.letter())
    }

    /// The track, round and attempt that `pay:x1:2` names.
    pub(crate) fn parse(&self, text: &str) -> (CellRef, u32, u32) {
        let mut parts = text.split(':');
        let (name, way) = (parts.next().unwrap(), parts.next().unwrap_or("x1"));
        let (name, item) = match name.split_once('.') {
            Some((name, item)) => (name, Some(item.parse().unwrap())),
            None => (name, None),
        };
        let step = self.definition.find(name).unwrap_or(StepIx(999));
        let direction = if way.starts_with('x') { Direction::Execute } else { Direction::Compensate };
        let round = way[1..].parse().unwrap();
        let attempt = parts.next().map_or(1, |attempt| attempt.parse().unwrap());
        (CellRef { step, item, direction }, round, attempt)
    }

    pub(crate) fn answer(&self, to: &str, outcome: Outcome) -> Answer {
        let (at, round, attempt) = self.parse(to);
        let name = to.split(['.', ':']).next().unwrap();
        Answer {
            step: StepName::new(name).unwrap(),
            item: at.item,
            direction: at.direction,
            round,
            attempt,
            outcome,
            output: None,
            oversized: false,
            error: (outcome != Outcome::Succeeded).then(|| Fault::new("no", "because")),
            uncharged: false,
            retry_after_ms: None,
        }
    }

    /// A worker answers `succeeded`.
    pub(crate) fn ok(&mut self, to: &str) -> Vec<String> {
        let answer = self.answer(to, Outcome::Succeeded);
        self.happens(What::Answer(answer))
    }

    /// A worker answers `succeeded`, with an output.
    pub(crate) fn ok_with(&mut self, to: &str, output: Value) -> Vec<String> {
        let output = Some(Arc::new(output));
        let answer = Answer { output, ..self.answer(to, Outcome::Succeeded) };
        self.happens(What::Answer(answer))
    }

    /// A worker answers `rejected`.
    pub(crate) fn no(&mut self, to: &str) -> Vec<String> {
        let answer = self.answer(to, Outcome::Rejected);
        self.happens(What::Answer(answer))
    }

    /// A worker answers `retryable`.
    pub(crate) fn later(&mut self, to: &str) -> Vec<String> {
        let answer = self.answer(to, Outcome::Retryable);
        self.happens(What::Answer(answer))
    }

    /// A worker answers `retryable`, uncharged.
    pub(crate) fn trouble(&mut self, to: &str) -> Vec<String> {
        let answer = Answer { uncharged: true, ..self.answer(to, Outcome::Retryable) };
        self.happens(What::Answer(answer))
    }

    /// A worker answers `undecidable`.
    pub(crate) fn lost(&mut self, to: &str) -> Vec<String> {
        let answer = self.answer(to, Outcome::Undecidable);
        self.happens(What::Answer(answer))
    }

    /// Time passes, and what fell due is looked at with everything read.
    pub(crate) fn passes(&mut self, ms: i64) -> Vec<String> {
        self.now += ms;
        self.due(true, &[])
    }

    pub(crate) fn due(&mut self, caught_up: bool, queued: &[&str]) -> Vec<String> {
        let queued = queued.iter().map(|text| self.parse(text).0).collect();
        self.happens(What::Due(Due { caught_up, queued }))
    }

    /// Time passes until something falls due.
    pub(crate) fn until_due(&mut self) -> Vec<String> {
        self.now = self.now.max(self.due_at().expect("something falls due"));
        self.due(true, &[])
    }

    pub(crate) fn due_at(&self) -> Option<i64> {
        next_due(&self.state).map(|at| at.0)
    }

    /// Lets a track exhaust its budget by silence.
    pub(crate) fn falls_silent(&mut self, step: &str) -> Vec<String> {
        for _ in 0..200 {
            let effects = self.until_due();
            let (at, ..) = self.parse(step);
            if !self.state.track(at).unwrap().run.is_open() {
                return effects;
            }
        }
        panic!("{step} is never exhausted")
    }

    pub(crate) fn signal(&mut self, name: &str, payload: Value) -> Vec<String> {
        let payload = Some(Arc::new(payload));
        self.happens(What::Signal(Signal { name: name.to_owned(), payload, ttl_ms: 60_000 }))
    }

    pub(crate) fn child_ended(&mut self, to: &str, outcome: Outcome, output: Option<Value>) -> Vec<String> {
        let (cell, round, _) = self.parse(to);
        let output = output.map(Arc::new);
        self.happens(What::ChildEnded(ChildEnded { cell, round, outcome, output, error: None }))
    }

    pub(crate) fn operator(&mut self, action: OperatorAction) -> Vec<String> {
        let (who, why) = ("mina".to_owned(), "it is known".to_owned());
        let revision = self.state.revision;
        self.happens(What::Operator(Operator { who, why, revision, action }))
    }

    pub(crate) fn retry(&mut self, cell: &str) -> Vec<String> {
        let cell = self.parse(cell).0;
        self.operator(OperatorAction::Retry { cell: Some(cell) })
    }

    pub(crate) fn retry_edited(&mut self, cell: &str, input: Value) -> Vec<String> {
        let cell = self.parse(cell).0;
        self.operator(OperatorAction::RetryEdited { cell, input: Some(Arc::new(input)) })
    }

    pub(crate) fn skip(&mut self, cell: &str, acknowledged: bool) -> Vec<String> {
        let cell = self.parse(cell).0;
        self.operator(OperatorAction::Skip { cell, output: None, acknowledged })
    }

    pub(crate) fn skip_with(&mut self, cell: &str, output: Value) -> Vec<String> {
        let cell = self.parse(cell).0;
        self.operator(OperatorAction::Skip { cell, output: Some(Arc::new(output)), acknowledged: false })
    }

    pub(crate) fn compensate(&mut self) -> Vec<String> {
        self.operator(OperatorAction::Compensate)
    }

    pub(crate) fn resume(&mut self) -> Vec<String> {
        self.operator(OperatorAction::ResumeCompensation)
    }

    pub(crate) fn mark(&mut self, cell: &str, acknowledged: bool) -> Vec<String> {
        let cell = self.parse(cell).0;
        let evidence = "receipt 17".to_owned();
        self.operator(OperatorAction::MarkCompensated { cell, evidence, acknowledged })
    }

    pub(crate) fn abandon(&mut self) -> Vec<String> {
        self.operator(OperatorAction::Abandon { acknowledged: true })
    }

    pub(crate) fn hold(&mut self, steps: &[&str]) -> Vec<String> {
        self.held = steps.iter().map(|name| self.definition.find(name).unwrap()).collect();
        self.happens(What::Hold)
    }

    pub(crate) fn cell(&self, name: &str) -> &Cell {
        let (at, ..) = self.parse(name);
        self.state.cell(at.step, at.item).unwrap_or_else(|| panic!("{name} was not touched"))
    }

    pub(crate) fn track(&self, name: &str) -> &Track {
        let (at, ..) = self.parse(name);
        self.state.track(at).unwrap_or_else(|| panic!("{name} was not decided"))
    }

    pub(crate) fn run(&self, name: &str) -> Run {
        self.track(name).run
    }

    pub(crate) fn is_touched(&self, name: &str) -> bool {
        let (at, ..) = self.parse(name);
        self.state.cells.iter().any(|cell| cell.step == at.step)
    }

    /// Why the saga is parked, and at which cell.
    pub(crate) fn parked(&self) -> Option<(Why, String)> {
        match &self.state.status {
            Status::Parked(parked) => {
                let cell = parked.cell.map(|at| self.say_cell(at)).unwrap_or_default();
                Some((parked.why, cell))
            }
            _ => None,
        }
    }

    pub(crate) fn is_unwinding(&self) -> bool {
        matches!(self.state.phase, Phase::Unwinding { .. })
    }

    pub(crate) fn revision(&self) -> u32 {
        self.state.revision
    }

    /// The notes of the newest transition, in one line.
    pub(crate) fn notes(&self) -> String {
        self.last.as_ref().map(|transition| transition.notes.join("; ")).unwrap_or_default()
    }

    /// The newest command of a track, as its worker sees it.
    pub(crate) fn command(&self, text: &str) -> saga_protocol::Command {
        let (at, ..) = self.parse(text);
        saga_core::command::build(&self.definition, self.payloads.saga, &self.state, &self.payloads, at)
            .unwrap()
    }

    /// How many times the saga has turned around.
    pub(crate) fn turns(&self) -> usize {
        let unwinding = |state: &State| matches!(state.phase, Phase::Unwinding { .. });
        let after: Vec<bool> = self.history.iter().map(|(_, it)| unwinding(&it.state)).collect();
        after.windows(2).filter(|pair| !pair[0] && pair[1]).count()
    }
}

/// Whoever runs, waits for something: time, a hold's end or a child saga.
pub(crate) fn assert_not_stuck(definition: &Definition, state: &State) {
    if state.status != Status::Running || state.revision == 0 || next_due(state).is_some() {
        return;
    }
    let waits = |(at, track): (CellRef, &Track)| {
        let child = definition
            .step(at.step)
            .is_some_and(|step| matches!(step.work, saga_core::definition::Work::Child { .. }));
        let held = track.run == Run::Held || (track.run.is_open() && track.due.is_none());
        (child && track.run == Run::Waiting) || held
    };
    assert!(state.tracks().any(waits), "stuck in silence: {state:?}");
}
