//! A play by hand as the API tells it: the same words for steps, tracks and history as for a real saga.

use saga_core::definition::Work;
use saga_core::simulate::{Answer, Hand, Happening, Line, Mark, Move as Made, Taken};
use saga_core::state::Status;
use saga_core::{Cell, CellRef, Definition, Effect, Millis, OperatorAction, Run, StepIx, Track};
use saga_protocol::Direction;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::view::{Failure, HistoryEvent, StepView, TrackView};
use super::words;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Move {
    /// A worker answers a command that was sent, the newest or an older one.
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
        /// What it wants to answer; its barrier may know better.
        outcome: MoveOutcome,
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

/// What a worker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoveOutcome {
    /// Done.
    Succeeded,
    /// Business said no.
    Rejected,
    /// Not now.
    Retryable,
    /// The worker has lost its record.
    Undecidable,
}

impl From<Move> for Made {
    fn from(it: Move) -> Self {
        let operator = |action| Self::Outside(Happening::Operator(action, "played by hand".to_owned()));
        match it {
            Move::Answer { step, item, direction, round, attempt, outcome, output, code } => {
                let code = code.unwrap_or_else(|| "BY_HAND".to_owned());
                let answer = match outcome {
                    MoveOutcome::Succeeded => Answer::Succeeded(output.unwrap_or_default()),
                    MoveOutcome::Rejected => Answer::Rejected(code, String::new()),
                    MoveOutcome::Retryable => Answer::Retryable {
                        why: (code, String::new()),
                        uncharged: false,
                        retry_after_ms: None,
                    },
                    MoveOutcome::Undecidable => Answer::Undecidable,
                };
                Self::Answer { step, item, direction, round, attempt, answer }
            }
            Move::Due => Self::Due,
            Move::Signal { name, payload } => Self::Outside(Happening::Signal { name, payload }),
            Move::Crash => Self::Outside(Happening::LogLost),
            Move::Compensate => operator(OperatorAction::Compensate),
            Move::Retry => operator(OperatorAction::Retry { cell: None }),
            Move::ResumeCompensation => operator(OperatorAction::ResumeCompensation),
        }
    }
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
    /// Every step of the definition, in its order.
    pub steps: Vec<StepView>,
    /// What happened, in order, as a saga's history tells it.
    pub history: Vec<HistoryEvent>,
    /// The start and each move, in order: what the engine did about it.
    pub beats: Vec<BeatView>,
    /// Every command that was sent and can be answered, the newest attempt of a step last.
    pub sent: Vec<SentCommand>,
    /// What falls due next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DueView>,
    /// The signals that are waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<String>,
    /// Its output, once it has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// The same run as a file of one scenario, for `amends test`; absent while something goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
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

/// A command that was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SentCommand {
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
    /// It waits for an answer; one that does not can still be answered late.
    pub open: bool,
    /// What the worker is given.
    pub input: Value,
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

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepState {
    /// Its name.
    pub step: String,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Where it stands, as a saga's steps have it.
    pub state: String,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineLine {
    /// Virtual time from the start, in ms.
    pub at_ms: i64,
    /// `good`, `failed`, `again`, `back`, `human` or `note`.
    pub mark: String,
    /// The step, with its item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happens.
    pub text: String,
}

impl From<Line> for TimelineLine {
    fn from(line: Line) -> Self {
        let mark = match line.mark {
            Mark::Good => "good",
            Mark::Failed => "failed",
            Mark::Again => "again",
            Mark::Back => "back",
            Mark::Human => "human",
            Mark::Note => "note",
        };
        Self { at_ms: line.at_ms, mark: mark.to_owned(), step: line.step, text: line.text }
    }
}

/// Where a step stands.
pub fn step_state(definition: &Definition, cell: &Cell) -> Option<StepState> {
    let step = words::step_name(definition, cell.step)?;
    Some(StepState { step, item: cell.item, state: words::cell(cell).to_owned() })
}

impl Played {
    /// Tells a play.
    pub fn of(definition: &Definition, hand: Hand) -> Self {
        let told = Told { definition, hand: &hand };
        let state = &hand.run.state;
        let waits = state.tracks().filter(|(_, track)| track.run == Run::Waiting);
        let awaited = waits.filter_map(|(cell, _)| match &definition.step(cell.step)?.work {
            Work::Signal { name } => Some(name.clone()),
            _ => None,
        });
        Self {
            status: state.status.word().to_owned(),
            phase: words::phase(&state.phase).to_owned(),
            elapsed_ms: hand.elapsed_ms,
            steps: definition.steps().flat_map(|(ix, _)| told.steps(ix)).collect(),
            history: hand.taken.iter().filter(|it| it.changed).map(|it| told.history(it)).collect(),
            beats: hand.taken.iter().map(|it| told.beat(it)).collect(),
            sent: told.sent(),
            due: told.due(),
            awaited: awaited.collect(),
            output: hand.run.output.as_deref().cloned(),
            scenario: hand.scenario.clone(),
        }
    }
}

struct Told<'a> {
    definition: &'a Definition,
    hand: &'a Hand,
}

impl Told<'_> {
    fn history(&self, it: &Taken) -> HistoryEvent {
        let shown = it.payload.as_deref().cloned();
        HistoryEvent {
            revision: it.revision,
            what: words::happening(Some(self.definition), &it.event, shown),
        }
    }

    fn beat(&self, it: &Taken) -> BeatView {
        let effects = it.effects.iter().filter_map(|effect| self.effect(effect)).collect();
        BeatView { at_ms: it.at_ms, changed: it.changed, effects }
    }

    fn effect(&self, effect: &Effect) -> Option<EffectView> {
        let of = |kind: &str, cell: Option<CellRef>, attempt, words: Option<&str>| EffectView {
            kind: kind.to_owned(),
            step: cell.and_then(|cell| words::step_name(self.definition, cell.step)),
            direction: cell.map(|cell| words::direction(cell.direction).to_owned()),
            attempt,
            words: words.map(str::to_owned),
        };
        Some(match effect {
            Effect::Send { cell, attempt, .. } => of("send", Some(*cell), Some(*attempt), None),
            Effect::StartChild { cell, .. } => of("start_child", Some(*cell), None, None),
            Effect::Anomaly(it) => of("anomaly", Some(it.cell), None, Some(it.kind)),
            Effect::Ignored(why) => of("ignored", None, None, Some(why)),
            Effect::Refused(why) => of("refused", None, None, Some(why)),
            Effect::Ended { .. } => of("ended", None, None, None),
            Effect::Tell { .. } => return None,
        })
    }

    fn sent(&self) -> Vec<SentCommand> {
        let run = &self.hand.run;
        let mut all: Vec<SentCommand> = Vec::new();
        for it in &run.sent {
            let Some(step) = words::step_name(self.definition, it.at.step) else { continue };
            let track = run.state.track(it.at);
            let waits = track.is_some_and(|track| {
                matches!(track.run, Run::Sent | Run::Unknown | Run::Backoff)
                    && (track.round, track.attempt) == (it.round, it.attempt)
            });
            let command = SentCommand {
                step,
                item: it.at.item,
                direction: words::direction(it.at.direction).to_owned(),
                round: it.round,
                attempt: it.attempt,
                work: it.action.clone(),
                open: waits && !run.state.status.is_end(),
                input: it.input.clone(),
            };
            // Sent once more after a lost log: the same command.
            if !all.contains(&command) {
                all.push(command);
            }
        }
        all
    }

    fn due(&self) -> Option<DueView> {
        let in_ms = self.hand.due_in_ms?;
        let state = &self.hand.run.state;
        let at: Millis = saga_core::next_due(state)?;
        let track = state.tracks().find(|(_, track)| track.due == Some(at));
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
        Some(DueView { in_ms, what: what.to_owned(), step })
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
            child: None,
            execute: None,
            compensate: None,
        };
        let undo_max = step.compensation.as_ref().map(|it| it.retry.attempts_max);
        let cells = self.hand.run.state.cells.iter().filter(|cell| cell.step == ix);
        let touched: Vec<StepView> = cells
            .map(|cell| StepView {
                item: cell.item,
                state: words::cell(cell).to_owned(),
                execute: Some(self.track(&cell.execute, Some(step.retry.attempts_max))),
                compensate: cell.undo.as_ref().map(|undo| self.track(undo, undo_max)),
                ..untouched.clone()
            })
            .collect();
        if touched.is_empty() { vec![untouched] } else { touched }
    }

    fn track(&self, track: &Track, attempts_max: Option<u32>) -> TrackView {
        let status = &self.hand.run.state.status;
        let open = !status.is_end() && !matches!(status, Status::Abandoned);
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
            output: track
                .output
                .and_then(|revision| self.hand.payloads.at(revision))
                .map(|it| Value::clone(it)),
            error: None::<Failure>,
        }
    }
}
