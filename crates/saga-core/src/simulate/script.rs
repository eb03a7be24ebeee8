//! The format of scenarios, read with all that serde can say about mistakes.
//!
//! Owns what a scenario may say. It must not play anything.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::expect::Expect;
use crate::definition::fields::parse_duration;
use crate::definition::graph::Side;
use crate::definition::{Definition, Step, StepIx, Work, item_name};
use crate::event::OperatorAction;

/// A file of scenarios of one definition.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// The name of the definition.
    pub definition: String,
    /// What every scenario's input begins with.
    #[serde(default)]
    pub input: Value,
    /// What is to have happened on the real stack before each scenario.
    #[serde(default)]
    pub first: Option<First>,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
}

/// A saga that completes before a scenario begins: an order that is to be sent back has to be paid.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct First {
    /// The name of its definition.
    pub definition: String,
    /// Its input.
    pub input: Value,
}

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about.
    #[serde(rename = "scenario")]
    pub name: String,
    /// What its input has otherwise than the file's; `null` takes a member away.
    #[serde(default)]
    pub input: Value,
    /// How workers behave, by step; who is not named succeeds at once.
    #[serde(default)]
    workers: BTreeMap<String, Behaviour>,
    /// What happens beside them.
    #[serde(default)]
    events: Vec<EventText>,
    /// What must come of it.
    pub expect: Expect,
    /// How the same is brought about with real workers, or why it cannot be.
    #[serde(default)]
    pub live: Option<Live>,
}

/// A scenario on the real stack.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "`live` is either a text that says why not, or { input, first }"
)]
pub enum Live {
    /// Why it cannot be brought about.
    No(String),
    /// By this input on top of the scenario's.
    By {
        /// What steers the real workers.
        input: Value,
        /// What the saga before it has otherwise than the file's `first`.
        #[serde(default)]
        first: Value,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behaviour {
    #[serde(default)]
    execute: Value,
    #[serde(default)]
    compensate: Value,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventText {
    at: String,
    #[serde(default)]
    signal: Option<String>,
    #[serde(default)]
    payload: Option<Value>,
    #[serde(default)]
    cancel: Option<String>,
    #[serde(default)]
    retry: Option<String>,
    #[serde(default)]
    resume: Option<String>,
    #[serde(default)]
    log_lost: bool,
}

/// What workers and the outside do in one run.
#[derive(Clone, Debug, Default)]
pub struct Script {
    execute: HashMap<String, Rounds>,
    compensate: HashMap<String, Rounds>,
    /// What happens beside the workers, with its time from the start in ms.
    pub events: Vec<(i64, Happening)>,
    /// See [`Script::that_makes_up`].
    pub(super) makes_up: bool,
}

impl Script {
    /// Whether it says what some worker yields: a real one yields its own.
    pub fn says_outputs(&self) -> bool {
        let tries = self.execute.values().flatten().flatten();
        tries.into_iter().any(|it| matches!(&it.answer, Answer::Succeeded(output) if !output.is_null()))
    }
}

/// The tries of each round; the last round stands for all later ones.
type Rounds = Vec<Vec<Try>>;

/// What happens beside the workers.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A signal comes.
    Signal {
        /// Its name.
        name: String,
        /// Its payload.
        payload: Option<Value>,
    },
    /// An operator acts, for this reason.
    Operator(OperatorAction, String),
    /// The log loses what is in flight.
    LogLost,
}

/// How a worker treats one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    /// What it answers.
    pub answer: Answer,
    /// How long it takes, in ms.
    pub after_ms: i64,
    /// The answer is lost; what took effect stays.
    pub lost: bool,
    /// The answer arrives twice.
    pub twice: bool,
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done, with this output; `null` when nobody says which.
    Succeeded(Value),
    /// Business said no: code and words.
    Rejected(String, String),
    /// Not now.
    Retryable {
        /// Why: code and words.
        why: (String, String),
        /// The worker's own trouble.
        uncharged: bool,
        /// Not sooner than this, in ms.
        retry_after_ms: Option<u32>,
    },
    /// Nothing, and nothing took effect.
    Silent,
    /// The worker has lost its record.
    Undecidable,
}

/// Why a file of scenarios cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(pub String);

/// The time that a worker takes when the script does not say.
pub(super) const PACE_MS: i64 = 10;

impl ScenarioFile {
    /// Reads a file of scenarios.
    ///
    /// # Errors
    /// When it is not YAML, or not of this format.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        // As in definitions: `no` is a text.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ScenarioError(error.to_string()))
    }
}

impl Scenario {
    /// Its input: the file's with its own on top; an empty object where neither says any.
    pub fn input(&self, file: &ScenarioFile) -> Value {
        let mut input = file.input.clone();
        merge(&mut input, &self.input);
        if input.is_null() { Value::Object(Map::new()) } else { input }
    }

    /// Its script.
    ///
    /// # Errors
    /// When a behaviour or an event cannot be understood.
    pub fn script(&self) -> Result<Script, ScenarioError> {
        let mut script = Script::default();
        for (step, behaviour) in &self.workers {
            let told =
                |what: &str, error: String| ScenarioError(format!("{}: {step}.{what}: {error}", self.name));
            let execute = rounds(&behaviour.execute).map_err(|error| told("execute", error))?;
            let compensate = rounds(&behaviour.compensate).map_err(|error| told("compensate", error))?;
            script.execute.insert(step.clone(), execute);
            script.compensate.insert(step.clone(), compensate);
        }
        for event in &self.events {
            let happening =
                event.read().map_err(|error| ScenarioError(format!("{}: events: {error}", self.name)))?;
            script.events.push(happening);
        }
        Ok(script)
    }

    /// What of the script can have no effect on a saga of this definition, each in a line: whoever wrote it meant
    /// something else.
    pub fn in_vain(&self, definition: &Definition) -> Vec<String> {
        let mut wrong = Vec::new();
        for (named, behaviour) in &self.workers {
            let bare = named.split('[').next().unwrap_or(named);
            match definition.find(bare).and_then(|ix| Some((ix, definition.step(ix)?))) {
                None => wrong.push(format!("workers: there is no step `{bare}`")),
                Some((ix, step)) => wrong.extend(behaviour.in_vain(definition, ix, step, named)),
            }
        }
        for name in self.events.iter().filter_map(|it| it.signal.as_ref()) {
            if !definition
                .steps
                .iter()
                .any(|it| matches!(&it.work, Work::Signal { name: own } if own == name))
            {
                wrong.push(format!("events: no step waits for the signal `{name}`"));
            }
        }
        wrong
    }

    /// The steps whose workers the script speaks of.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.workers.keys().map(|it| it.split('[').next().unwrap_or(it))
    }
}

impl Behaviour {
    fn in_vain(&self, definition: &Definition, ix: StepIx, step: &Step, named: &str) -> Option<String> {
        let name = step.name.as_str();
        if matches!(step.work, Work::Sleep { .. } | Work::Signal { .. }) {
            return Some(format!("workers: `{name}` is a wait, and asks no worker"));
        }
        let item = named.strip_prefix(name).filter(|it| !it.is_empty());
        if item.is_some() && step.foreach.is_none() {
            return Some(format!("workers: `{named}` is no item: `{name}` has no `foreach`"));
        }
        let number = |it: &str| it.strip_prefix('[')?.strip_suffix(']')?.parse::<u32>().ok();
        if item.is_some_and(|it| number(it).is_none_or(|nth| item_name(name, Some(nth)) != named)) {
            return Some(format!("workers: `{named}` is no item: write `{name}[0]`"));
        }
        let undone = match step.work {
            // A child saga is undone as one.
            Work::Child { .. } => definition.side(ix) == Side::Before,
            _ => step.compensation.is_some(),
        };
        (!undone && !self.compensate.is_null())
            .then(|| format!("workers: nothing undoes `{name}`: its `compensate` is never asked"))
    }
}

impl EventText {
    fn read(&self) -> Result<(i64, Happening), String> {
        let at = parse_duration(&self.at).ok_or_else(|| format!("`at: {}` is not a duration", self.at))?;
        let all = (&self.signal, &self.cancel, &self.retry, &self.resume, self.log_lost);
        let happening = match all {
            (Some(name), None, None, None, false) => {
                Happening::Signal { name: name.clone(), payload: self.payload.clone() }
            }
            (None, Some(why), None, None, false) => {
                Happening::Operator(OperatorAction::Compensate, why.clone())
            }
            (None, None, Some(why), None, false) => {
                Happening::Operator(OperatorAction::Retry { cell: None }, why.clone())
            }
            (None, None, None, Some(why), false) => {
                Happening::Operator(OperatorAction::ResumeCompensation, why.clone())
            }
            (None, None, None, None, true) => Happening::LogLost,
            _ => {
                let one = "`signal: name`, `cancel: why`, `retry: why`, `resume: why` or `log_lost: true`";
                return Err(format!("an event is one of {one}"));
            }
        };
        Ok((at, happening))
    }
}

impl Script {
    /// One whose signals without a payload bring what the step that takes them asks for.
    pub fn that_makes_up() -> Self {
        Self { makes_up: true, ..Self::default() }
    }

    /// Adds how a step's worker behaves in its first round, as `silent` or `{rejected: CODE}`, each for an attempt.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn answer(&mut self, step: &str, compensate: bool, tries: &Value) -> Result<(), ScenarioError> {
        let rounds = rounds(tries).map_err(|error| ScenarioError(format!("{step}: {error}")))?;
        let all = if compensate { &mut self.compensate } else { &mut self.execute };
        all.insert(step.to_owned(), rounds);
        Ok(())
    }

    /// Adds a signal, as `paid@1h` or `paid@1h={"amount": 100}`.
    ///
    /// # Errors
    /// When it cannot be understood, or no step of the definition waits for it.
    pub fn signal(&mut self, given: &str, definition: &Definition) -> Result<(), ScenarioError> {
        let wrong = |what: &str| {
            ScenarioError(format!("`{given}`: {what}write NAME@TIME or NAME@TIME=JSON, such as paid@1h"))
        };
        let (name, rest) = given.split_once('@').ok_or_else(|| wrong(""))?;
        let (at, payload) = rest.split_once('=').map_or((rest, None), |(at, json)| (at, Some(json)));
        let at_ms = parse_duration(at).ok_or_else(|| wrong("the time is not a duration; "))?;
        let named = |it: &Step| matches!(&it.work, Work::Signal { name: own } if own == name);
        if !definition.steps.iter().any(named) {
            return Err(ScenarioError(format!("no step waits for the signal `{name}`")));
        }
        let payload = payload.map(serde_json::from_str).transpose();
        let payload = payload.map_err(|error| wrong(&format!("the payload is not JSON: {error}; ")))?;
        self.events.push((at_ms, Happening::Signal { name: name.to_owned(), payload }));
        Ok(())
    }

    /// How the worker of a step treats an attempt of a round, both from 1, if the script says.
    pub(super) fn try_of(
        &self,
        step: &str,
        item: Option<u32>,
        back: bool,
        round: u32,
        attempt: u32,
    ) -> Option<Try> {
        let all = if back { &self.compensate } else { &self.execute };
        let own = item.and_then(|_| all.get(&item_name(step, item)));
        let nth = |n: u32, len: usize| {
            usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX).min(len.saturating_sub(1))
        };
        let rounds = own.or_else(|| all.get(step));
        let tries = rounds.and_then(|rounds| rounds.get(nth(round, rounds.len())));
        let found = tries.and_then(|tries| tries.get(nth(attempt, tries.len())));
        found.cloned()
    }
}

impl Try {
    /// Answers after the usual time.
    pub(super) fn of(answer: Answer) -> Self {
        Self { answer, after_ms: PACE_MS, lost: false, twice: false }
    }
}

/// Tries of one round (one, or a list), or of each round by its number.
fn rounds(value: &Value) -> Result<Rounds, String> {
    let by_round =
        |map: &Map<String, Value>| map.keys().all(|key| key.parse::<u32>().is_ok()) && !map.is_empty();
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) if by_round(map) => {
            let mut rounds: Vec<(u32, Vec<Try>)> = Vec::new();
            for (key, value) in map {
                rounds.push((key.parse().map_err(|_| "a round is a number".to_owned())?, tries(value)?));
            }
            rounds.sort_by_key(|(round, _)| *round);
            if rounds.iter().map(|(round, _)| *round).ne(1..=u32::try_from(rounds.len()).unwrap_or(0)) {
                return Err("rounds count from 1, without a gap".to_owned());
            }
            Ok(rounds.into_iter().map(|(_, tries)| tries).collect())
        }
        other => Ok(vec![tries(other)?]),
    }
}

fn tries(value: &Value) -> Result<Vec<Try>, String> {
    match value {
        Value::Array(all) if all.is_empty() => Err("the list is empty: name at least one answer".to_owned()),
        Value::Array(all) => all.iter().map(one_try).collect(),
        one => Ok(vec![one_try(one)?]),
    }
}

const ANSWERS: &str = "`succeeded`, `rejected`, `retryable`, `silent` or `undecidable`";

fn one_try(value: &Value) -> Result<Try, String> {
    let (word, with, rest) = match value {
        Value::String(word) => (word.as_str(), &Value::Null, None),
        Value::Object(map) => {
            let words = ["succeeded", "rejected", "retryable", "silent", "undecidable"];
            let mut named = map.iter().filter(|(key, _)| words.contains(&key.as_str()));
            let (word, with) = named.next().ok_or_else(|| format!("an answer is {ANSWERS}"))?;
            if named.next().is_some() {
                return Err(format!("an answer is one of {ANSWERS}"));
            }
            (word.as_str(), with, Some(map))
        }
        other => return Err(format!("an answer is {ANSWERS}, not {other}")),
    };
    let mut it = Try::of(answer(word, with)?);
    for (key, value) in rest.into_iter().flatten().filter(|(key, _)| *key != word) {
        match (key.as_str(), value) {
            ("after", Value::String(text)) => {
                it.after_ms =
                    parse_duration(text).ok_or_else(|| format!("`after: {text}` is not a duration"))?;
            }
            ("lost", Value::Bool(lost)) => it.lost = *lost,
            ("twice", Value::Bool(twice)) => it.twice = *twice,
            _ => {
                return Err(format!(
                    "`{key}: {value}`: beside its answer a try has `after`, `lost` and `twice`"
                ));
            }
        }
    }
    Ok(it)
}

fn answer(word: &str, with: &Value) -> Result<Answer, String> {
    Ok(match word {
        "succeeded" => Answer::Succeeded(with.clone()),
        "rejected" => {
            let (code, words) = why(with, "rejected")?;
            Answer::Rejected(code, words)
        }
        "retryable" => Answer::Retryable {
            why: why(with, "not_now")?,
            uncharged: with.get("uncharged").and_then(Value::as_bool).unwrap_or(false),
            retry_after_ms: match with.get("retry_after") {
                None => None,
                Some(text) => {
                    let ms = text.as_str().and_then(parse_duration).and_then(|ms| u32::try_from(ms).ok());
                    Some(ms.ok_or_else(|| format!("`retry_after: {text}` is not a duration"))?)
                }
            },
        },
        "silent" => Answer::Silent,
        "undecidable" => Answer::Undecidable,
        other => return Err(format!("`{other}` is no answer: {ANSWERS}")),
    })
}

/// A code alone, or code and message.
fn why(with: &Value, default: &str) -> Result<(String, String), String> {
    match with {
        Value::Null => Ok((default.to_owned(), String::new())),
        Value::String(code) => Ok((code.clone(), String::new())),
        Value::Object(map) => {
            let known = ["code", "message", "uncharged", "retry_after"];
            if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
                return Err(format!("`{key}`: known are {}", known.join(", ")));
            }
            let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
            Ok((text("code").unwrap_or_else(|| default.to_owned()), text("message").unwrap_or_default()))
        }
        other => Err(format!("{other} is not a code")),
    }
}

/// Lays `top` over `base`; `null` takes a member away.
pub(crate) fn merge(base: &mut Value, top: &Value) {
    match (base, top) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(top)) => {
            for (key, value) in top {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, top) => *base = top.clone(),
    }
}

impl Live {
    /// Lays the live input over a scenario's.
    pub fn input(&self, mut input: Value) -> Option<Value> {
        match self {
            Self::No(_) => None,
            Self::By { input: top, .. } => {
                merge(&mut input, top);
                Some(input)
            }
        }
    }

    /// The saga that is to complete before, if there is one.
    pub fn first(&self, file: &ScenarioFile) -> Option<First> {
        let mut first = file.first.clone()?;
        if let Self::By { first: top, .. } = self {
            merge(&mut first.input, top);
        }
        Some(first)
    }
}
