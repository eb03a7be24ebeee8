//! A saga played by hand: the engine's own `step` in a time that only moves make pass.
//!
//! Owns what moves there are and how the play is told. It decides nothing that `step` decides, and models no worker:
//! whoever plays answers for them.

use std::sync::Arc;

use saga_core::definition::Work;
use saga_core::event::{Answer, Due, Operator, Signal};
use saga_core::{
    CellRef, Definition, Effect, Event, Illegal, Millis, OperatorAction, Payloads, Run, State, Status,
    StepIx, Track, What,
};
use saga_protocol::{Direction, Fault, Outcome, SagaId, StepName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::view::{Failure, HistoryEvent, StepView, TrackView};
use crate::api::words;

/// When a play begins: any instant will do, and the same one always gives the same play.
const START: Millis = Millis(1_767_225_600_000);
/// How long an answer takes in a play, in ms.
const ANSWER_MS: i64 = 50;
/// For how long an early signal waits, in ms.
const SIGNAL_TTL_MS: i64 = 24 * 3_600_000;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Move {
    /// A worker answers.
    Answer {
        /// The step.
        step: String,
        /// The item of a `foreach`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        /// `execute` or `compensate`.
        #[schema(value_type = String)]
        direction: Direction,
        /// The round that it answers.
        round: u32,
        /// The attempt that it answers.
        attempt: u32,
        /// `succeeded`, `rejected`, `retryable` or `undecidable`.
        #[schema(value_type = String)]
        outcome: Outcome,
        /// What it produced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// Why it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// Time passes until the next thing falls due: a timeout, a next try, the end of a wait, the deadline.
    Due,
    /// A signal arrives.
    Signal {
        /// Its name.
        name: String,
        /// Its payload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    /// The engine crashes and its log is lost: what is in flight is sent again.
    Crash,
    /// An operator has it undone.
    Compensate,
    /// An operator has every stopped step tried again.
    Retry,
    /// An operator has a failed compensation gone on with.
    ResumeCompensation,
}

/// Where a saga stands after some moves.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Played {
    /// `running`, `parked`, `completed`, `compensated` or `abandoned`.
    pub status: String,
    /// `forward`, `pivot_open`, `committed` or `unwinding`.
    pub phase: String,
    /// How long it has run, in ms.
    pub elapsed_ms: i64,
    /// Counts transitions.
    pub revision: u32,
    /// Every step of the definition, in its order.
    pub steps: Vec<StepView>,
    /// What happened, in order, as a saga's history tells it.
    pub history: Vec<HistoryEvent>,
    /// What each happening made the engine do; as many as `beats` has, the start among them.
    pub beats: Vec<BeatView>,
    /// The commands that have no final answer.
    pub open: Vec<OpenCommand>,
    /// What falls due next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DueView>,
    /// The signals that are waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<String>,
    /// Its output, once it has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// One happening of a play.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BeatView {
    /// When, in ms after the start.
    pub at_ms: i64,
    /// Whether it changed the saga.
    pub changed: bool,
    /// What the engine did about it.
    pub effects: Vec<EffectView>,
}

/// Something that the engine did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectView {
    /// `send`, `start_child`, `anomaly`, `ignored`, `refused` or `ended`.
    pub kind: String,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why, or what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// A command without a final answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OpenCommand {
    /// The step.
    pub step: String,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` or `compensate`.
    pub direction: String,
    /// The round.
    pub round: u32,
    /// The attempt.
    pub attempt: u32,
    /// The worker and its action, such as `payment.confirm`; a child saga's name.
    pub work: String,
    /// Where it stands, such as `running`, `unknown` or `retrying`.
    pub state: String,
}

/// What falls due next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DueView {
    /// In how many ms.
    pub in_ms: i64,
    /// `retry`, `timeout`, `wait_ends` or `deadline`.
    pub what: String,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// Plays the moves.
///
/// # Errors
/// The number of the move that cannot be, and why.
pub fn play(definition: &Definition, input: Value, moves: &[Move]) -> Result<Played, (usize, String)> {
    let mut game = Game::new(definition, input);
    game.happen(What::Start, None).map_err(|illegal| (0, illegal.to_string()))?;
    for (number, it) in moves.iter().enumerate() {
        let what = game.what(it).map_err(|why| (number, why))?;
        let payload = match it {
            Move::Answer { output, .. } => output.clone(),
            Move::Signal { payload, .. } => payload.clone(),
            _ => None,
        };
        game.happen(what, payload).map_err(|illegal| (number, illegal.to_string()))?;
    }
    Ok(game.told())
}

struct Game<'a> {
    definition: &'a Definition,
    state: State,
    payloads: Payloads,
    now: Millis,
    history: Vec<HistoryEvent>,
    beats: Vec<BeatView>,
    output: Option<Value>,
}

impl<'a> Game<'a> {
    fn new(definition: &'a Definition, input: Value) -> Self {
        Self {
            definition,
            state: State::new(START, definition.deadline_ms.map(|ms| START + ms), None),
            payloads: Payloads::new(SagaId(Uuid::nil()), Arc::new(input)),
            now: START,
            history: Vec::new(),
            beats: Vec::new(),
            output: None,
        }
    }

    fn what(&mut self, it: &Move) -> Result<What, String> {
        if self.state.status.is_end() && !matches!(it, Move::Answer { .. }) {
            return Err("the saga has ended".to_owned());
        }
        let operator = |action, revision| {
            What::Operator(Operator {
                who: "author".to_owned(),
                why: "simulated".to_owned(),
                revision,
                action,
            })
        };
        let revision = self.state.revision;
        Ok(match it {
            Move::Answer { step, item, direction, round, attempt, outcome, code, .. } => {
                self.now = self.now + ANSWER_MS;
                What::Answer(Answer {
                    step: StepName::new(step).map_err(|error| error.to_string())?,
                    item: *item,
                    direction: *direction,
                    round: *round,
                    attempt: *attempt,
                    outcome: *outcome,
                    output: None,
                    oversized: false,
                    error: code.as_ref().map(|code| Fault::new(code, "simulated")),
                    uncharged: false,
                    retry_after_ms: None,
                })
            }
            Move::Due => {
                let due = saga_core::next_due(&self.state).ok_or("nothing falls due by itself")?;
                self.now = due.max(self.now);
                What::Due(Due { caught_up: true, queued: Vec::new() })
            }
            Move::Signal { name, .. } => {
                self.now = self.now + ANSWER_MS;
                What::Signal(Signal { name: name.clone(), payload: None, ttl_ms: SIGNAL_TTL_MS })
            }
            Move::Crash => What::LogLost,
            Move::Compensate => operator(OperatorAction::Compensate, revision),
            Move::Retry => operator(OperatorAction::Retry { cell: None }, revision),
            Move::ResumeCompensation => operator(OperatorAction::ResumeCompensation, revision),
        })
    }

    fn happen(&mut self, what: What, payload: Option<Value>) -> Result<(), Illegal> {
        let seed = u32::try_from(self.beats.len()).unwrap_or_default();
        let mut event = Event::new(self.now, seed, what);
        event.set_payload(payload.map(Arc::new));
        let transition = saga_core::step(self.definition, &self.state, &event, &self.payloads)?;
        let changed = transition.changed(&self.state);
        let mut effects = Vec::with_capacity(transition.effects.len());
        for effect in &transition.effects {
            if let Effect::Ended { output } = effect {
                self.output = output.as_ref().map(|it| Value::clone(it));
            }
            effects.push(self.effect(effect));
        }
        self.beats.push(BeatView { at_ms: self.now.0 - START.0, changed, effects });
        if changed {
            let shown = transition.payload.as_ref().map(|it| Value::clone(it));
            let happening = words::happening(Some(self.definition), &event, shown);
            self.history.push(HistoryEvent { revision: transition.state.revision, what: happening });
        }
        self.payloads.take_in(&transition);
        self.state = transition.state;
        Ok(())
    }

    fn effect(&self, effect: &Effect) -> EffectView {
        let of = |kind: &str, cell: Option<CellRef>, attempt, words: Option<String>| EffectView {
            kind: kind.to_owned(),
            step: cell.and_then(|cell| words::step_name(self.definition, cell.step)),
            direction: cell.map(|cell| words::direction(cell.direction).to_owned()),
            attempt,
            words,
        };
        match effect {
            Effect::Send { cell, attempt, .. } => of("send", Some(*cell), Some(*attempt), None),
            Effect::StartChild { cell, .. } => of("start_child", Some(*cell), None, None),
            Effect::Tell { .. } => of("tell", None, None, None),
            Effect::Anomaly(it) => of("anomaly", Some(it.cell), None, Some(it.kind.to_owned())),
            Effect::Ignored(why) => of("ignored", None, None, Some((*why).to_owned())),
            Effect::Refused(why) => of("refused", None, None, Some((*why).to_owned())),
            Effect::Ended { .. } => of("ended", None, None, None),
        }
    }

    fn told(self) -> Played {
        let tracks: Vec<(CellRef, &Track)> = self.state.tracks().collect();
        let waits = tracks.iter().filter(|(_, track)| track.run == Run::Waiting);
        let awaited = waits.filter_map(|(cell, _)| match &self.definition.step(cell.step)?.work {
            Work::Signal { name } => Some(name.clone()),
            _ => None,
        });
        Played {
            status: self.state.status.word().to_owned(),
            phase: words::phase(&self.state.phase).to_owned(),
            elapsed_ms: self.now.0 - START.0,
            revision: self.state.revision,
            steps: self.definition.steps().flat_map(|(ix, _)| self.steps(ix)).collect(),
            awaited: awaited.collect(),
            open: tracks.iter().filter_map(|(cell, track)| self.open(*cell, track)).collect(),
            due: self.due(&tracks),
            output: self.output.clone(),
            history: self.history,
            beats: self.beats,
        }
    }

    fn open(&self, cell: CellRef, track: &Track) -> Option<OpenCommand> {
        if !matches!(track.run, Run::Sent | Run::Unknown | Run::Backoff) || self.state.status.is_end() {
            return None;
        }
        let step = self.definition.step(cell.step)?;
        let (worker, action) = words::work(&step.work);
        let action = match cell.direction {
            Direction::Execute => action,
            Direction::Compensate => step.compensation.as_ref().map_or(action, |it| it.action.clone()),
        };
        Some(OpenCommand {
            step: step.name.as_str().to_owned(),
            item: cell.item,
            direction: words::direction(cell.direction).to_owned(),
            round: track.round,
            attempt: track.attempt,
            work: worker.map_or_else(|| action.clone(), |worker| format!("{worker}.{action}")),
            state: words::run(track.run).to_owned(),
        })
    }

    fn due(&self, tracks: &[(CellRef, &Track)]) -> Option<DueView> {
        let at = saga_core::next_due(&self.state)?;
        let track = tracks.iter().find(|(_, track)| track.due == Some(at));
        let (what, step) = match track {
            Some((cell, track)) => {
                let what = match track.run {
                    Run::Backoff => "retry",
                    Run::Waiting => "wait_ends",
                    _ => "timeout",
                };
                (what, words::step_name(self.definition, cell.step))
            }
            None => ("deadline", None),
        };
        Some(DueView { in_ms: (at.0 - self.now.0).max(0), what: what.to_owned(), step })
    }

    fn steps(&self, ix: StepIx) -> Vec<StepView> {
        let Some(step) = self.definition.step(ix) else { return Vec::new() };
        let (worker, action) = words::work(&step.work);
        let untouched = StepView {
            step: step.name.as_str().to_owned(),
            item: None,
            state: "pending".to_owned(),
            worker,
            action,
            compensation: step.compensation.as_ref().map(|it| it.action.clone()),
            after: step.after.iter().filter_map(|ix| words::step_name(self.definition, *ix)).collect(),
            pivot: step.pivot,
            optional: step.optional,
            turn: words::turn(step.turn).map(str::to_owned),
            execute: None,
            compensate: None,
        };
        let undo_max = step.compensation.as_ref().map(|it| it.retry.attempts_max);
        let touched = self.state.cells.iter().filter(|cell| cell.step == ix).map(|cell| StepView {
            item: cell.item,
            state: words::cell(cell).to_owned(),
            execute: Some(self.track(&cell.execute, Some(step.retry.attempts_max))),
            compensate: cell.undo.as_ref().map(|undo| self.track(undo, undo_max)),
            ..untouched.clone()
        });
        let touched: Vec<StepView> = touched.collect();
        if touched.is_empty() { vec![untouched] } else { touched }
    }

    fn track(&self, track: &Track, attempts_max: Option<u32>) -> TrackView {
        let open = !self.state.status.is_end() && !matches!(self.state.status, Status::Abandoned);
        TrackView {
            state: words::run(track.run).to_owned(),
            round: track.round,
            attempt: track.attempt,
            charged: track.charged,
            attempts_max: attempts_max.filter(|_| track.first_sent_at.is_some()),
            first_sent_at: track.first_sent_at.map(words::instant),
            last_sent_at: track.sent_at.map(words::instant),
            due_at: track.due.filter(|_| open).map(words::instant),
            answered_at: None,
            output: track.output.and_then(|revision| self.payloads.at(revision)).map(|it| Value::clone(it)),
            error: None::<Failure>,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn definition() -> Definition {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../saga-defs/order-checkout.yaml");
        saga_core::definition::load(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn input() -> Value {
        json!({
            "order_id": "order-1", "customer_id": "kim", "items": [{ "sku": "cup", "quantity": 1, "unit_price": 39_000 }],
            "payment": { "payment_key": "tk_1", "amount": 39_000 },
        })
    }

    fn answer(step: &str, direction: Direction, outcome: Outcome) -> Move {
        let code = (outcome != Outcome::Succeeded).then(|| "SIMULATED".to_owned());
        Move::Answer {
            step: step.to_owned(),
            item: None,
            direction,
            round: 1,
            attempt: 1,
            outcome,
            output: None,
            code,
        }
    }

    #[test]
    fn a_rejected_payment_goes_back_in_order() {
        use Direction::{Compensate, Execute};
        let moves = [
            answer("create_order", Execute, Outcome::Succeeded),
            answer("reserve_stock", Execute, Outcome::Succeeded),
            answer("pay", Execute, Outcome::Rejected),
            answer("reserve_stock", Compensate, Outcome::Succeeded),
            answer("create_order", Compensate, Outcome::Succeeded),
            answer("notify_cancelled", Execute, Outcome::Succeeded),
        ];
        let begun = play(&definition(), input(), &moves[..3]).unwrap();
        assert_eq!((begun.status.as_str(), begun.phase.as_str()), ("running", "unwinding"));
        assert_eq!(begun.open.iter().map(|it| it.work.as_str()).collect::<Vec<_>>(), ["stock.release"]);
        let ended = play(&definition(), input(), &moves).unwrap();
        assert_eq!(ended.status, "compensated");
        assert!(ended.open.is_empty() && ended.due.is_none());
        let of = |name: &str| ended.steps.iter().find(|it| it.step == name).unwrap().state.clone();
        assert_eq!(
            (of("create_order"), of("pay"), of("complete_order")),
            ("compensated".into(), "rejected".into(), "pending".into())
        );
    }

    #[test]
    fn time_passes_only_by_a_move_and_a_late_answer_still_counts() {
        let late = answer("create_order", Direction::Execute, Outcome::Succeeded);
        let played = play(&definition(), input(), &[Move::Due, late.clone(), late]).unwrap();
        // The first timeout of create_order is after ten seconds; the answer that came late is final all the same.
        assert!(played.elapsed_ms >= 10_000, "{}", played.elapsed_ms);
        assert_eq!(played.beats.len(), 4);
        assert!(!played.beats[3].changed, "the second one changes nothing");
        assert_eq!(played.beats[3].effects[0].kind, "ignored");
        assert_eq!(played.open[0].step, "reserve_stock");
    }

    #[test]
    fn what_cannot_be_names_its_move() {
        let (number, why) = play(
            &definition(),
            input(),
            &[
                Move::Crash,
                Move::Answer {
                    step: "Not a step".to_owned(),
                    item: None,
                    direction: Direction::Execute,
                    round: 1,
                    attempt: 1,
                    outcome: Outcome::Succeeded,
                    output: None,
                    code: None,
                },
            ],
        )
        .unwrap_err();
        assert_eq!(number, 1);
        assert!(!why.is_empty());
    }
}
