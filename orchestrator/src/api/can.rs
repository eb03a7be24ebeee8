//! What can be done to a saga now: every action tried against the state machine, nothing changed.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::{Extension, Json};
use saga_core::definition::{Definition, Work};
use saga_core::event::Operator;
use saga_core::{
    CellRef, Effect, Event, OperatorAction, Payloads, Run, State as Saga, Status, Transition, What,
};
use saga_protocol::{Direction, SagaId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Api, sagas, words};
use crate::auth::Caller;
use crate::clock;

/// What can be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionList {
    /// The revision that this was tried at: to be given back with the action.
    pub revision: u32,
    /// The saga's status.
    pub status: String,
    /// Every action that there is, those that are refused with the reason.
    pub actions: Vec<ActionOption>,
}

/// One thing that can be done, or why not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionOption {
    /// The action.
    pub action: String,
    /// The step that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Whether it would be taken in.
    pub allowed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What it would do, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consequence: Option<String>,
    /// What must be given with it: `why`, `input`, `output`, `evidence` or `acknowledged`.
    pub needs: Vec<String>,
    /// The input of the round, for `retry_edited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// It waits for a second person first.
    #[serde(default)]
    pub approval: bool,
    /// What would stay undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncompensated: Vec<String>,
    /// What may still take effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_take_effect: Vec<String>,
}

/// What can be done to a saga now
#[utoipa::path(
    get, path = "/sagas/{id}/actions", operation_id = "list_actions", tag = "operators",
    params(("id" = uuid::Uuid, Path, description = "The saga")),
    responses(
        (status = 200, description = "Every action, with its consequence or why it is refused", body = ActionList),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn actions(
    axum::extract::State(api): axum::extract::State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<SagaId>, PathRejection>,
) -> Result<Json<ActionList>, Problem> {
    let id = sagas::id(path)?;
    let engine = api.engine();
    let whole = sagas::whole(&api, &caller, id).await?;
    let published = engine.definitions.get(&engine.store, whole.summary.definition_id).await?;
    let published = published.ok_or_else(Problem::unavailable)?;
    let loaded = engine.store.load_one(id).await?.ok_or_else(Problem::no_saga)?;
    let state = loaded
        .state
        .map_err(|reason| Problem::conflict(format!("The saga's state cannot be read: {reason}.")))?;
    let held = engine.holds.steps(&published.definition);
    let trial =
        Trial { id, definition: &published.definition, state: &state, payloads: &loaded.payloads, held };
    let mut actions = trial.all();
    if let Some(approval) = &published.definition.about.approval {
        for it in &mut actions {
            // An edited input may be about any amount.
            let amount = whole.summary.amount.filter(|_| it.action != "retry_edited");
            it.approval = approval.needed(&it.action, amount);
        }
    }
    if caller.masked() {
        actions.iter_mut().for_each(|it| it.input = None);
    }
    Ok(Json(ActionList { revision: state.revision, status: state.status.word().to_owned(), actions }))
}

struct Trial<'a> {
    id: SagaId,
    definition: &'a Definition,
    state: &'a Saga,
    payloads: &'a Payloads,
    held: Vec<saga_core::StepIx>,
}

impl Trial<'_> {
    fn all(&self) -> Vec<ActionOption> {
        let mut all = vec![
            self.plain("retry", OperatorAction::Retry { cell: None }),
            self.plain("compensate", OperatorAction::Compensate),
            self.plain("resume_compensation", OperatorAction::ResumeCompensation),
        ];
        for (at, track) in self.state.tracks() {
            let stopped = matches!(
                track.run,
                Run::Unknown | Run::Backoff | Run::Rejected | Run::Exhausted | Run::Undecidable | Run::Held
            );
            let open = stopped || matches!(track.run, Run::Sent | Run::Waiting) || track.unusable;
            if stopped {
                all.push(self.at("retry", at, OperatorAction::Retry { cell: Some(at) }));
            }
            if track.run == Run::Rejected {
                let input =
                    saga_core::command::input_of(self.definition, self.id, self.state, self.payloads, at)
                        .ok();
                let edited =
                    OperatorAction::RetryEdited { cell: at, input: input.clone().or(Some(Arc::default())) };
                let option = self.at("retry_edited", at, edited);
                all.push(ActionOption { input: input.map(|it| Value::clone(&it)), ..option });
            }
            if open && at.direction == Direction::Execute {
                let output = Some(Arc::new(self.sample(at)));
                all.push(self.at("skip", at, OperatorAction::Skip { cell: at, output, acknowledged: true }));
            }
            if open && at.direction == Direction::Compensate {
                let marked =
                    OperatorAction::MarkCompensated { cell: at, evidence: String::new(), acknowledged: true };
                all.push(self.at("mark_compensated", at, marked));
            }
        }
        if let Status::Parked(parked) = &self.state.status
            && let Some(at) = parked.cell
            && self.state.track(at).is_none()
        {
            // A step whose input has no value was never begun.
            let edited = OperatorAction::RetryEdited { cell: at, input: Some(Arc::default()) };
            all.push(self.at("retry_edited", at, edited));
            let output = Some(Arc::new(self.sample(at)));
            all.push(self.at("skip", at, OperatorAction::Skip { cell: at, output, acknowledged: true }));
        }
        let (uncompensated, may_take_effect) =
            (words::uncompensated(self.definition, self.state), self.may_take_effect());
        let mut abandon = self.plain("abandon", OperatorAction::Abandon { acknowledged: true });
        if abandon.allowed {
            let stays =
                if uncompensated.is_empty() { "nothing".to_owned() } else { uncompensated.join(", ") };
            abandon.consequence = Some(format!("Ends it here. Stays undone: {stays}."));
        }
        all.push(ActionOption { uncompensated, may_take_effect, ..abandon });
        all
    }

    /// An output to try a skip with: what it does is the same with any that fits.
    fn sample(&self, at: CellRef) -> Value {
        let step = self.definition.step(at.step);
        let Some(schema) = step.and_then(|it| it.output_schema.as_ref()) else {
            return Value::Object(serde_json::Map::new());
        };
        let whole = at.item.is_none() && step.is_some_and(|it| it.foreach.is_some());
        if whole { Value::Array(Vec::new()) } else { schema.sample() }
    }

    fn plain(&self, word: &str, action: OperatorAction) -> ActionOption {
        let mut option = self.judge(&action);
        word.clone_into(&mut option.action);
        option.needs.push("why".to_owned());
        if word == "abandon" {
            option.needs.push("acknowledged".to_owned());
        }
        option
    }

    fn at(&self, word: &str, at: CellRef, action: OperatorAction) -> ActionOption {
        let mut option = self.plain(word, action);
        option.step = words::step_name(self.definition, at.step);
        option.item = at.item;
        option.direction = Some(words::direction(at.direction).to_owned());
        match word {
            "retry_edited" => option.needs.push("input".to_owned()),
            "skip" => option.needs.push("output".to_owned()),
            "mark_compensated" => option.needs.push("evidence".to_owned()),
            _ => {}
        }
        let open =
            |run| matches!(run, Run::Sent | Run::Unknown | Run::Backoff | Run::Exhausted | Run::Undecidable);
        let may = self.state.cell(at.step, at.item).is_some_and(|cell| {
            open(cell.execute.run) || cell.undo.as_ref().is_some_and(|undo| open(undo.run))
        });
        if may && matches!(word, "skip" | "mark_compensated") {
            option.needs.push("acknowledged".to_owned());
            option.may_take_effect.extend(option.step.clone());
        }
        option
    }

    fn judge(&self, action: &OperatorAction) -> ActionOption {
        let operator = Operator {
            who: String::new(),
            why: String::new(),
            revision: self.state.revision,
            action: action.clone(),
        };
        let mut event = Event::new(clock::now(), 0, What::Operator(operator));
        event.held.clone_from(&self.held);
        let transition = match saga_core::step(self.definition, self.state, &event, self.payloads) {
            Ok(transition) => transition,
            Err(illegal) => {
                return ActionOption { refused: Some(illegal.to_string()), ..ActionOption::default() };
            }
        };
        let refused = transition.effects.iter().find_map(|effect| match effect {
            // Another output will do: this one is ours.
            Effect::Refused(saga_core::event::UNFIT) => None,
            Effect::Refused(reason) | Effect::Ignored(reason) => Some((*reason).to_owned()),
            _ => None,
        });
        let allowed = refused.is_none();
        let consequence = allowed.then(|| self.consequence(&transition));
        ActionOption { allowed, refused, consequence, ..ActionOption::default() }
    }

    fn consequence(&self, transition: &Transition) -> String {
        let mut said = Vec::new();
        for effect in &transition.effects {
            if let Effect::Send { cell, round, .. } = effect
                && let Some(step) = self.definition.step(cell.step)
            {
                let (worker, action) = words::work(&step.work);
                let action = match (&step.compensation, cell.direction) {
                    (Some(undo), Direction::Compensate) => undo.action.clone(),
                    _ => action,
                };
                let worker = worker.map(|it| format!("{it}.")).unwrap_or_default();
                let verb = if cell.direction == Direction::Compensate { "Undoes" } else { "Sends" };
                said.push(format!("{verb} {} ({worker}{action}), round {round}", step.name));
            }
        }
        let undone: Vec<String> = transition
            .state
            .cells
            .iter()
            .filter(|cell| cell.undo.is_none() && cell.execute.run == Run::Succeeded)
            .filter_map(|cell| self.definition.step(cell.step).filter(|step| step.compensation.is_some()))
            .map(|step| step.name.as_str().to_owned())
            .collect();
        let turns = matches!(transition.state.phase, saga_core::Phase::Unwinding { .. })
            && !matches!(self.state.phase, saga_core::Phase::Unwinding { .. });
        if turns && !undone.is_empty() {
            said.push(format!("then undoes {}", undone.join(", ")));
        }
        if transition.state.status.is_end() {
            said.push(format!("the saga ends: {}", transition.state.status.word()));
        }
        if said.is_empty() {
            said.push("the saga goes on".to_owned());
        }
        let text = said.join("; ");
        format!("{}.", super::problem::sentence(&text))
    }

    fn may_take_effect(&self) -> Vec<String> {
        let open =
            |run| matches!(run, Run::Sent | Run::Unknown | Run::Backoff | Run::Exhausted | Run::Undecidable);
        let tracks = self.state.tracks().filter(|(_, track)| open(track.run));
        let acts = |at: &CellRef| {
            self.definition
                .step(at.step)
                .is_some_and(|step| matches!(step.work, Work::Action { .. } | Work::Child { .. }))
        };
        tracks
            .map(|(at, _)| at)
            .filter(acts)
            .filter_map(|at| words::step_name(self.definition, at.step))
            .collect()
    }
}
