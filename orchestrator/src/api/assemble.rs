//! One saga's page: state, definition and history put together.
//!
//! It reads and never decides: what a saga does is `saga_core`'s alone.

use std::collections::HashMap;
use std::sync::Arc;

use saga_core::definition::Work;
use saga_core::explain;
use saga_core::state::Parent;
use saga_core::{
    Cell, CellRef, Definition, Event, Millis, Payloads, Phase, Run, State, Status, StepIx, Track, What, child,
};
use saga_protocol::{Direction, SagaId};
use serde_json::Value;

use super::problem::Problem;
use super::view::{
    AnomalyView, Failure, Links, Next, ParkedView, SagaSummary, SagaView, StepView, TrackView,
};
use super::words;
use crate::engine::Engine;
use crate::hints::Ended;
use crate::shard::children::NOT_STARTED;
use crate::store::StoreError;
use crate::store::read::{AnomalyRead, HistoryRow, Summary, Whole};

/// The newest transitions that are read for a saga's page; older ones are in its history.
const NEWEST: u16 = 500;

/// Assembles a saga's page.
///
/// # Errors
/// 404 when there is no such saga, 503 when the database fails or its state cannot be read.
pub async fn saga(engine: &Engine, id: SagaId) -> Result<SagaView, Problem> {
    view(engine, engine.store.whole(id).await?.ok_or_else(Problem::no_saga)?).await
}

/// Assembles the page of a saga that was read.
///
/// # Errors
/// 503 when the database fails or its state cannot be read.
pub async fn view(engine: &Engine, Whole { summary, state }: Whole) -> Result<SagaView, Problem> {
    let id = summary.saga;
    let state = state.map_err(StoreError::Unreadable)?;
    let published = engine.definitions.get(&engine.store, summary.definition_id).await?;
    let published =
        published.ok_or_else(|| StoreError::Unreadable(format!("the definition of saga {id} is missing")))?;
    let history = engine.store.highlights(id, &revisions(&state), NEWEST).await?;
    let anomalies = engine.store.anomalies(id).await?;
    let definition = &published.definition;
    Ok(Page { id, definition, state: &state, told: Told::new(definition, events(&history)) }
        .view(summary, history, anomalies))
}

/// The revisions whose rows the state points to.
fn revisions(state: &State) -> Vec<u32> {
    let parked = match &state.status {
        Status::Parked(parked) => Some(parked.revision),
        _ => None,
    };
    state.tracks().filter_map(|(_, track)| track.output).chain(parked).collect()
}

/// Why a saga did not complete, of a saga whose end is at hand.
///
/// # Errors
/// 503 when the database fails.
pub async fn why_not(engine: &Engine, id: SagaId, ended: &Ended) -> Result<Option<Failure>, Problem> {
    let Ended { definition, state, answers, .. } = ended;
    if state.status == Status::Completed {
        return Ok(None);
    }
    let definition = &definition.definition;
    let told = match answers {
        Some(answers) => Told::new(definition, answers),
        None => {
            let history = engine.store.highlights(id, &revisions(state), NEWEST).await?;
            Told::new(definition, events(&history))
        }
    };
    Ok(Page { id, definition, state, told }.error(None))
}

/// The events of rows that this build can read.
fn events(history: &[HistoryRow]) -> impl Iterator<Item = &Event> {
    history.iter().filter_map(|row| row.event.as_ref().ok())
}

/// What a completed saga yields.
pub fn output(definition: &Definition, id: SagaId, state: &State, payloads: &Payloads) -> Option<Value> {
    let template = definition.output.as_ref().filter(|_| state.status == Status::Completed)?;
    let value = saga_core::command::resolve(template, definition, id, state, payloads, None).ok()?;
    Some(Arc::unwrap_or_clone(value))
}

/// The summary as the API shows it.
pub fn summary(row: Summary) -> SagaSummary {
    SagaSummary {
        saga: row.saga,
        definition: row.definition,
        version: row.version,
        status: row.status.to_owned(),
        key: row.key,
        amount: row.amount,
        currency: row.currency,
        labels: row
            .labels
            .iter()
            .filter_map(|it| it.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        started_at: row.started_at,
        ended_at: row.ended_at,
        parent: row.parent,
        replay_of: row.replay_of,
        health: None,
        step: None,
        item: None,
        direction: None,
        worker: None,
        held: false,
        error: None,
        failure: None,
        since: None,
        next_at: None,
        attempt: None,
        attempts_max: None,
        owner: None,
        note: None,
        open_anomalies: 0,
    }
}

type Place = (String, Option<u32>, Direction);

/// What the history says of each track: its newest answer.
struct Told {
    answers: HashMap<Place, (Millis, Option<Failure>)>,
}

impl Told {
    fn new<'a>(definition: &Definition, events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut answers = HashMap::new();
        for event in events {
            let (place, error) = match &event.what {
                What::Answer(answer) => {
                    ((answer.step.as_str().to_owned(), answer.item, answer.direction), &answer.error)
                }
                What::ChildEnded(child) => {
                    let CellRef { step, item, direction } = child.cell;
                    let Some(step) = words::step_name(definition, step) else { continue };
                    ((step, item, direction), &child.error)
                }
                _ => continue,
            };
            answers.insert(place, (event.at, error.as_ref().map(|fault| words::failure(None, fault))));
        }
        Self { answers }
    }
}

struct Page<'a> {
    id: SagaId,
    definition: &'a Definition,
    state: &'a State,
    told: Told,
}

impl Page<'_> {
    fn view(self, row: Summary, history: Vec<HistoryRow>, anomalies: Vec<AnomalyRead>) -> SagaView {
        let id = self.id;
        let mut parked = self.parked(&history);
        let mut payloads = Payloads::new(id, Arc::new(Value::Null));
        for HistoryRow { revision, payload, .. } in history {
            match payload.map(Arc::new) {
                Some(input) if revision == 1 => payloads.input = input,
                Some(payload) => drop(payloads.by_revision.insert(revision, payload)),
                None => {}
            }
        }
        if let Some(parked) = &mut parked
            && let Some(why) = explain::why_parked(self.definition, id, self.state, &payloads)
        {
            parked.message = format!("{} {why}", parked.message);
        }
        let mut summary = summary(row);
        // The coarse row and the state are written together, but for a state that cannot be changed any more.
        if summary.status != "parked" {
            self.state.status.word().clone_into(&mut summary.status);
        }
        summary.error = self.error(parked.as_ref());
        let cause = match self.state.phase {
            Phase::Unwinding { cause } => Some(cause),
            _ => None,
        };
        SagaView {
            phase: words::phase(&self.state.phase).to_owned(),
            cause: cause.map(|cause| words::cause(self.definition, cause)),
            revision: self.state.revision,
            deadline: self.state.deadline.map(words::instant),
            parked,
            next: self.next(),
            steps: self.steps(&payloads),
            anomalies: anomalies.into_iter().map(anomaly).collect(),
            output: output(self.definition, id, self.state, &payloads),
            input: Value::clone(&payloads.input),
            team: self.definition.about.owner.clone(),
            runbook: self.definition.about.runbook.clone(),
            notes: Vec::new(),
            replays: Vec::new(),
            approvals: Vec::new(),
            dead_letters: 0,
            masked: false,
            links: Links::of(id),
            summary,
        }
    }

    fn steps(&self, payloads: &Payloads) -> Vec<StepView> {
        let mut views = Vec::with_capacity(self.definition.steps.len());
        for (ix, _) in self.definition.steps() {
            let mut touched = self.state.cells.iter().filter(|cell| cell.step == ix).peekable();
            if touched.peek().is_none() {
                views.extend(self.step(ix, None, payloads));
            }
            for cell in touched {
                views.extend(self.step(ix, Some(cell), payloads));
            }
        }
        views
    }

    fn step(&self, ix: StepIx, cell: Option<&Cell>, payloads: &Payloads) -> Option<StepView> {
        let step = self.definition.step(ix)?;
        let (worker, action) = words::work(&step.work);
        let undo_max = step.compensation.as_ref().map(|it| it.retry.attempts_max);
        let track = |track: &Track, direction, attempts_max| {
            self.track(
                step.name.as_str(),
                cell.and_then(|cell| cell.item),
                track,
                direction,
                attempts_max,
                payloads,
            )
        };
        Some(StepView {
            step: step.name.as_str().to_owned(),
            item: cell.and_then(|cell| cell.item),
            state: cell.map_or("pending", words::cell).to_owned(),
            worker,
            action,
            compensation: step.compensation.as_ref().map(|it| it.action.clone()),
            after: step.after.iter().filter_map(|ix| words::step_name(self.definition, *ix)).collect(),
            pivot: step.pivot,
            optional: step.optional,
            turn: words::turn(step.turn).map(str::to_owned),
            child: cell.filter(|_| matches!(step.work, Work::Child { .. })).and_then(|it| self.child(it)),
            execute: cell.map(|it| track(&it.execute, Direction::Execute, Some(step.retry.attempts_max))),
            compensate: cell
                .and_then(|it| it.undo.as_ref())
                .map(|it| track(it, Direction::Compensate, undo_max)),
        })
    }

    fn child(&self, cell: &Cell) -> Option<SagaId> {
        let Cell { step, item, execute, .. } = cell;
        let place = CellRef { step: *step, item: *item, direction: Direction::Execute };
        let refused = execute.run == Run::Rejected
            && self.failure_of(place).is_some_and(|failure| failure.code == NOT_STARTED);
        let parent = Parent { saga: self.id, step: *step, item: *item, round: execute.round };
        execute.first_sent_at.filter(|_| !refused).map(|_| child::id(&parent))
    }

    fn track(
        &self,
        step: &str,
        item: Option<u32>,
        track: &Track,
        direction: Direction,
        attempts_max: Option<u32>,
        payloads: &Payloads,
    ) -> TrackView {
        let told = self.told.answers.get(&(step.to_owned(), item, direction));
        // Skipped and waiting steps are not tried: a budget would only confuse.
        let tried = track.first_sent_at.is_some();
        TrackView {
            state: words::run(track.run).to_owned(),
            round: track.round,
            attempt: track.attempt,
            charged: track.charged,
            attempts_max: attempts_max.filter(|_| tried),
            first_sent_at: track.first_sent_at.map(words::instant),
            last_sent_at: track.sent_at.map(words::instant),
            due_at: track.due.filter(|_| !self.state.status.is_end()).map(words::instant),
            answered_at: told.map(|(at, _)| words::instant(*at)),
            output: track.output.and_then(|revision| payloads.at(revision)).map(|it| Value::clone(it)),
            error: told.and_then(|(_, failure)| failure.clone()),
        }
    }

    fn failure_of(&self, cell: CellRef) -> Option<Failure> {
        let step = words::step_name(self.definition, cell.step)?;
        let place = (step.clone(), cell.item, cell.direction);
        let (_, failure) = self.told.answers.get(&place)?;
        failure.clone().map(|failure| Failure { step: Some(step), ..failure })
    }

    /// Why the saga did not complete: what parked it, else what turned it around.
    fn error(&self, parked: Option<&ParkedView>) -> Option<Failure> {
        if let Some(parked) = parked {
            let (step, code) = (parked.step.clone(), parked.why.clone());
            return Some(Failure { step, code, message: parked.message.clone() });
        }
        let Phase::Unwinding { cause } = self.state.phase else { return None };
        let failed = words::cause_step(cause).and_then(|step| {
            let of_step = self.state.cells.iter().filter(|cell| cell.step == step);
            of_step
                .map(|cell| CellRef { step, item: cell.item, direction: Direction::Execute })
                .find_map(|cell| self.failure_of(cell))
        });
        failed.or_else(|| {
            let view = words::cause(self.definition, cause);
            let message = match view.kind.as_str() {
                "deadline" => "The deadline passed before the pivot was sent.",
                "operator" => "An operator had it undone.",
                "parent" => "The parent saga had it undone.",
                _ => "The step's budget is spent without a final answer.",
            };
            Some(Failure { step: view.step, code: view.kind, message: message.to_owned() })
        })
    }

    fn parked(&self, history: &[HistoryRow]) -> Option<ParkedView> {
        let Status::Parked(parked) = &self.state.status else { return None };
        let row = history.iter().find(|row| row.revision == parked.revision);
        let event = row.and_then(|row| row.event.as_ref().ok());
        let (why, general) = words::why(parked.why);
        let said = event.and_then(|event| match &event.what {
            What::Answer(answer) => {
                answer.error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message))
            }
            What::Poison(reason) | What::Illegal(reason) => Some(reason.clone()),
            _ => None,
        });
        let said = said.or_else(|| {
            let failure = self.failure_of(parked.cell?)?;
            Some(format!("{}: {}", failure.code, failure.message))
        });
        Some(ParkedView {
            why: why.to_owned(),
            step: parked.cell.and_then(|cell| words::step_name(self.definition, cell.step)),
            item: parked.cell.and_then(|cell| cell.item),
            direction: parked.cell.map(|cell| words::direction(cell.direction).to_owned()),
            message: said.map_or_else(|| general.to_owned(), |said| format!("{general} {said}")),
            since: event.map(|event| words::instant(event.at)),
        })
    }

    /// What is due first.
    fn next(&self) -> Option<Next> {
        if self.state.status.is_end() {
            return None;
        }
        let tracks = self.state.tracks().filter_map(|(cell, track)| {
            let what = match track.run {
                Run::Backoff => "retry",
                Run::Sent | Run::Unknown => "timeout",
                Run::Waiting => "wait_ends",
                _ => return None,
            };
            Some((track.due?, what, words::step_name(self.definition, cell.step), cell.item))
        });
        let obeys = match &self.state.status {
            Status::Parked(parked) => parked.why.obeys_deadline(),
            _ => true,
        };
        let deadline = self.state.deadline.filter(|_| obeys && self.state.phase == Phase::Forward);
        let (at, what, step, item) =
            tracks.chain(deadline.map(|at| (at, "deadline", None, None))).min_by_key(|(at, ..)| *at)?;
        Some(Next { what: what.to_owned(), step, item, at: words::instant(at) })
    }
}

pub(super) fn anomaly(row: AnomalyRead) -> AnomalyView {
    AnomalyView {
        effect_key: row.effect_key,
        kind: row.kind,
        at: words::instant(Millis(row.at_ms)),
        amount: row.amount,
        currency: row.currency,
        output: row.output,
        resolved_at: row.resolved_at,
    }
}
