//! A run that was played by hand, written as a scenario that plays the same again.
//!
//! Owns how it is written. It is handed out only after the scenario itself was played and came out as it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use saga_protocol::{Direction, Outcome};
use serde_json::{Map, Value, json};

use super::expect::{first_sent, why_word};
use super::play::{TRAVEL_MS, play};
use super::script::PACE_MS;
use super::{Run, ScenarioFile, Taken, tell, verify};
use crate::definition::{Definition, item_name};
use crate::event::{OperatorAction, What};
use crate::state::{CellRef, Status};
use crate::transition::Effect;

/// A sending and its answers, each with its time.
#[derive(Default)]
struct Tried {
    sent_ms: i64,
    answers: Vec<(i64, Value)>,
    child: bool,
}

/// By step and direction, round and attempt.
type Tries = BTreeMap<(String, bool), BTreeMap<u32, BTreeMap<u32, Tried>>>;

/// The run as a file of scenarios, if playing that comes to the same.
pub(super) fn scenario(definition: &Definition, input: &Value, run: &Run, taken: &[Taken]) -> Option<String> {
    if !run.state.status.is_end() && !matches!(run.state.status, Status::Parked(_)) {
        return None;
    }
    let text = text(definition, input, run, taken);
    let file = ScenarioFile::parse(&text).ok()?;
    let scenario = file.scenarios.first()?;
    let again = play(definition, scenario.input(&file), &scenario.script().ok()?).ok()?;
    verify(definition, &again, &scenario.expect).is_empty().then_some(text)
}

fn text(definition: &Definition, input: &Value, run: &Run, taken: &[Taken]) -> String {
    let mut text = format!("definition: {}\ninput: {input}\n\nscenarios:\n", definition.name);
    text.push_str("  - scenario: Played by hand\n");
    let tries = tries(definition, taken);
    let told: Vec<_> = tries.iter().filter_map(|(at, rounds)| Some((at, spoken(rounds)?))).collect();
    if !told.is_empty() {
        text.push_str("    workers:\n");
    }
    let mut of = "";
    for ((step, back), value) in told {
        if step != of {
            line(&mut text, 6, &format!("{step}:"));
            of = step;
        }
        line(&mut text, 8, &format!("{}: {value}", if *back { "compensate" } else { "execute" }));
    }
    let events: Vec<Value> = taken.iter().filter_map(event).collect();
    if !events.is_empty() {
        text.push_str("    events:\n");
        events.iter().for_each(|it| line(&mut text, 6, &format!("- {it}")));
    }
    text.push_str("    expect:\n");
    line(&mut text, 6, &format!("ends: {}", run.state.status.word()));
    if let Status::Parked(it) = &run.state.status
        && let Some(at) = it.cell
    {
        let step = tell::name_of(definition, at.step, at.item);
        line(&mut text, 6, &format!("parked: {}", json!({ step: why_word(it.why) })));
    }
    line(&mut text, 6, &format!("steps: {}", json!(first_sent(definition, run, Direction::Execute))));
    line(
        &mut text,
        6,
        &format!("compensated: {}", json!(first_sent(definition, run, Direction::Compensate))),
    );
    if !run.anomalies.is_empty() {
        line(&mut text, 6, &format!("anomalies: {}", json!(run.anomalies)));
    }
    text.push_str("    live: \"Played by hand: it does not say how real workers are brought to it.\"\n");
    text
}

fn line(text: &mut String, indent: usize, what: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:indent$}{what}", "");
}

fn tries(definition: &Definition, taken: &[Taken]) -> Tries {
    let mut all = Tries::new();
    let name =
        |at: &CellRef| (tell::name_of(definition, at.step, at.item), at.direction == Direction::Compensate);
    for it in taken {
        match &it.event.what {
            What::Answer(answer) => {
                let step = item_name(answer.step.as_str(), answer.item);
                let key = (step, answer.direction == Direction::Compensate);
                let rounds = all.entry(key).or_default();
                let tried = rounds.entry(answer.round).or_default().entry(answer.attempt).or_default();
                let error = answer.error.as_ref().map(|fault| (fault.code.as_str(), fault.message.as_str()));
                let mut with = match answer.outcome {
                    Outcome::Succeeded => answer.output.as_deref().cloned().unwrap_or(Value::Null),
                    Outcome::Rejected | Outcome::Retryable => {
                        let (code, message) = error.unwrap_or_default();
                        json!({ "code": code, "message": message })
                    }
                    Outcome::Undecidable => Value::Null,
                };
                if answer.uncharged {
                    with["uncharged"] = Value::Bool(true);
                }
                tried.answers.push((it.at_ms, json!({ word(answer.outcome): with })));
            }
            What::ChildEnded(child) => {
                let rounds = all.entry(name(&child.cell)).or_default();
                let tried = rounds.entry(child.round).or_default().entry(1).or_default();
                let with = child.output.as_deref().cloned().unwrap_or(Value::Null);
                tried.answers.push((it.at_ms, json!({ word(child.outcome): with })));
            }
            _ => {}
        }
        for effect in &it.effects {
            let (cell, round, attempt, child) = match effect {
                Effect::Send { cell, round, attempt } => (cell, *round, *attempt, false),
                Effect::StartChild { cell, round } => (cell, *round, 1, true),
                _ => continue,
            };
            let rounds = all.entry(name(cell)).or_default();
            // Sent once more after a lost log: what counts is the first time.
            let tried = rounds.entry(round).or_default().entry(attempt);
            tried.or_insert_with(|| Tried { sent_ms: it.at_ms, child, answers: Vec::new() });
        }
    }
    all
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Rejected => "rejected",
        Outcome::Retryable => "retryable",
        Outcome::Undecidable => "undecidable",
    }
}

/// The tries of all rounds as a scenario says them; nothing when they are what it would be without a word.
fn spoken(rounds: &BTreeMap<u32, BTreeMap<u32, Tried>>) -> Option<Value> {
    let last = rounds.keys().next_back().copied()?;
    let mut all: Vec<Value> = (1..=last).map(|round| round_of(rounds.get(&round))).collect();
    if all.iter().all(|it| it == "succeeded") {
        return None;
    }
    if all.len() == 1 {
        return all.pop();
    }
    Some(Value::Object((1..).map(|nth: u32| nth.to_string()).zip(all).collect::<Map<_, _>>()))
}

fn round_of(attempts: Option<&BTreeMap<u32, Tried>>) -> Value {
    let silent = Tried::default();
    let Some(attempts) = attempts else { return one(&silent) };
    let last = attempts.keys().next_back().copied().unwrap_or(1);
    let mut all: Vec<Value> = (1..=last).map(|it| one(attempts.get(&it).unwrap_or(&silent))).collect();
    if all.len() == 1 { all.pop().unwrap_or_default() } else { Value::Array(all) }
}

fn one(tried: &Tried) -> Value {
    let Some((at_ms, answer)) = tried.answers.first() else { return Value::from("silent") };
    let travelled = if tried.child { 0 } else { 2 * TRAVEL_MS };
    let after_ms = (at_ms - tried.sent_ms - travelled).max(0);
    let twice = tried.answers.len() > 1;
    let plain = answer.get("succeeded").is_some_and(|it| it.is_null() || it == &json!({}));
    if plain && after_ms == PACE_MS && !twice {
        return Value::from("succeeded");
    }
    let mut value = answer.clone();
    if after_ms != PACE_MS {
        value["after"] = Value::from(format!("{after_ms}ms"));
    }
    if twice {
        value["twice"] = Value::Bool(true);
    }
    value
}

fn event(it: &Taken) -> Option<Value> {
    let at = format!("{}ms", it.at_ms);
    Some(match &it.event.what {
        What::Signal(signal) => match it.payload.as_deref().or(signal.payload.as_deref()) {
            Some(payload) => json!({ "at": at, "signal": signal.name, "payload": payload }),
            None => json!({ "at": at, "signal": signal.name }),
        },
        What::Operator(operator) => match &operator.action {
            OperatorAction::Compensate => json!({ "at": at, "cancel": operator.why }),
            OperatorAction::Retry { .. } => json!({ "at": at, "retry": operator.why }),
            OperatorAction::ResumeCompensation => json!({ "at": at, "resume": operator.why }),
            _ => return None,
        },
        What::LogLost => json!({ "at": at, "log_lost": true }),
        _ => return None,
    })
}
