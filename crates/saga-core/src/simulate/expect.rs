//! What must come of a scenario, and what of it did not.

use std::collections::BTreeMap;

use saga_protocol::Direction;
use serde::Deserialize;
use serde_json::Value;

use super::{Run, tell};
use crate::definition::Definition;
use crate::definition::fields::parse_duration;
use crate::state::{CellRef, Status, Why};

/// What must come of a scenario. What is left away is not looked at, except that there must be no anomaly.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// `completed`, `compensated`, `parked` or `abandoned`.
    pub ends: String,
    /// Where and why it is parked, such as `pay: compensation_failed`.
    #[serde(default)]
    pub parked: Option<BTreeMap<String, String>>,
    /// The code that a step, or one item of it, failed with last, such as `pay: REJECT_CARD_COMPANY`.
    #[serde(default)]
    pub because: Option<BTreeMap<String, String>>,
    /// The steps that were sent, in the order of their first sending.
    #[serde(default)]
    pub steps: Option<Vec<String>>,
    /// The steps that were undone, in order.
    #[serde(default)]
    pub compensated: Option<Vec<String>>,
    /// Every sending, as `worker.action`, in order.
    #[serde(default)]
    pub commands: Option<Vec<String>>,
    /// What a step's input must have, by step.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    /// What the output must have.
    #[serde(default)]
    pub output: Option<Value>,
    /// The kinds of anomalies.
    #[serde(default)]
    pub anomalies: Vec<String>,
    /// How long it may take at most.
    #[serde(default)]
    pub at_most: Option<String>,
}

/// What is not as expected, each in a line.
pub fn verify(definition: &Definition, run: &Run, expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut differs = |what: &str, wanted: String, found: String| {
        if wanted != found {
            wrong.push(format!("{what}: expected {wanted}, found {found}"));
        }
    };
    if run.cut_off {
        differs("end", expect.ends.clone(), "a saga that goes on and on".to_owned());
    }
    differs("ends", expect.ends.clone(), run.state.status.word().to_owned());
    if let Some(wanted) = &expect.parked {
        let found = match &run.state.status {
            Status::Parked(it) => {
                let at = it.cell.map(|at| tell::name_of(definition, at.step, at.item)).unwrap_or_default();
                format!("{at}: {}", why_word(it.why))
            }
            _ => "nothing".to_owned(),
        };
        differs("parked", pairs(wanted), found);
    }
    for (step, code) in expect.because.iter().flatten() {
        let of_step = |name: &str| {
            run.faults
                .iter()
                .filter(|(at, _)| {
                    [None, at.item].iter().any(|it| tell::name_of(definition, at.step, *it) == name)
                })
                .map(|(_, fault)| fault.code.as_str())
                .next_back()
        };
        differs(&format!("why {step} failed"), code.clone(), of_step(step).unwrap_or("nothing").to_owned());
    }
    if let Some(wanted) = &expect.steps {
        differs("steps", list(wanted), list(&first_sent(definition, run, Direction::Execute)));
    }
    if let Some(wanted) = &expect.compensated {
        differs("compensated", list(wanted), list(&first_sent(definition, run, Direction::Compensate)));
    }
    if let Some(wanted) = &expect.commands {
        let found: Vec<String> = run.sent.iter().map(|it| it.action.clone()).collect();
        differs("commands", list(wanted), list(&found));
    }
    differs("anomalies", list(&expect.anomalies), list(&run.anomalies));
    if let Some(wanted) = &expect.output {
        let found = run.output.as_deref().unwrap_or(&Value::Null);
        if !has(found, wanted) {
            differs("output", wanted.to_string(), found.to_string());
        }
    }
    for (step, wanted) in &expect.inputs {
        let sent = run.sent.iter().find(|it| tell::name_of(definition, it.at.step, it.at.item) == *step);
        let found = sent.map_or(&Value::Null, |it| &it.input);
        if !has(found, wanted) {
            differs(&format!("input of {step}"), wanted.to_string(), found.to_string());
        }
    }
    if let Some(text) = &expect.at_most {
        match parse_duration(text) {
            Some(ms) if run.took_ms <= ms => {}
            Some(_) => differs("time", format!("at most {text}"), format!("{} ms", run.took_ms)),
            None => differs("at_most", "a duration".to_owned(), text.clone()),
        }
    }
    wrong
}

/// The steps that were sent in a direction, in the order of their first sending.
pub(super) fn first_sent(definition: &Definition, run: &Run, direction: Direction) -> Vec<String> {
    let mut seen: Vec<CellRef> = Vec::new();
    for sent in run.sent.iter().filter(|it| it.at.direction == direction) {
        if !seen.contains(&sent.at) {
            seen.push(sent.at);
        }
    }
    seen.into_iter().map(|at| tell::name_of(definition, at.step, at.item)).collect()
}

fn list<T: AsRef<str>>(all: &[T]) -> String {
    let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
    format!("[{}]", all.join(", "))
}

fn pairs(all: &BTreeMap<String, String>) -> String {
    all.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
}

/// Whether a value has everything that is wanted of it.
pub fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).is_some_and(|found| has(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| has(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// The reason for a parked saga, as it is written.
pub(super) fn why_word(why: Why) -> String {
    serde_json::to_value(why).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}
