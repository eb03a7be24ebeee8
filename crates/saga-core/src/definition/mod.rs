//! The definition model: what a saga does, as a graph of steps.
//!
//! Owns the compiled form that [`crate::step`] reads; [`load()`] makes it from YAML. A definition is immutable:
//! its version is a hash of its content.

use std::fmt;

use petgraph::graph::DiGraph;
use saga_protocol::StepName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod approval;
mod check;
mod connect;
mod contract;
mod diagnostic;
pub mod diff;
pub mod door;
mod draft;
mod evaluate;
pub mod expression;
mod facts;
pub(crate) mod fields;
pub mod format;
mod fresh;
pub mod graph;
pub mod http;
mod infer;
mod keywords;
pub mod labels;
pub mod load;
mod number;
pub mod path;
mod personal;
mod program;
mod sample;
pub mod snippet;
pub mod source;
pub mod template;
mod typed;
mod types;

pub use approval::Approval;
pub use contract::misfit;
pub use door::{OutputSchema, validator};
pub use expression::{EvalError, Expression, Scope};
pub use fresh::fresh_pointers;
pub use load::{Diagnostic, RESERVED, ROLES, load, load_published, load_to_explore};
pub use template::Template;

/// A step's place in its definition: the order of the file. It is what states refer to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIx(pub u16);

impl fmt::Debug for StepIx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The hash of a definition's content: SHA-256, 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

/// A named, versioned, immutable saga description.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name: `[a-z][a-z0-9-]*`.
    pub name: String,
    /// The hash of its content.
    pub version: Version,
    /// What it is for, in words.
    pub description: Option<String>,
    /// How HTTP clients start it.
    pub trigger: Option<HttpTrigger>,
    /// The topic whose records start it.
    pub kafka: Option<KafkaTrigger>,
    /// What is unique within the definition, and what signals address.
    pub key: Option<Template>,
    /// How long a saga may take to send its pivot, in ms.
    pub deadline_ms: Option<i64>,
    /// How long an early signal waits for its wait, in ms; [`crate::event::SIGNAL_TTL_MS`] when absent.
    pub signal_ttl_ms: Option<i64>,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// The steps in the order of the file; [`StepIx`] counts here.
    pub steps: Vec<Step>,
    /// An edge from each step to each that comes after it. Node n is step n. Notices are not in it.
    pub graph: DiGraph<StepIx, ()>,
    /// The step after which there is no way back.
    pub pivot: Option<StepIx>,
    /// What a completed saga yields.
    pub output: Option<Template>,
    /// What operators want to know of it.
    pub about: About,
}

/// What a definition tells operators.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The amount at stake.
    pub amount: Option<Template>,
    /// Its currency.
    pub currency: Option<Template>,
    /// The team that owns it.
    pub owner: Option<String>,
    /// Where its runbook is.
    pub runbook: Option<String>,
    /// Which actions need a second person.
    pub approval: Option<Approval>,
    /// What operators find its sagas by, beside the key: names and what each is.
    pub labels: Vec<(String, Template)>,
}

/// A route that starts a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    /// `POST` or `PUT`.
    pub method: String,
    /// The path, such as `/orders`.
    pub path: String,
    /// Who may use it.
    #[serde(default)]
    pub role: Option<String>,
}

/// A topic each of whose records starts a saga; the record's data is the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTrigger {
    /// The topic, with its whole name.
    pub topic: String,
}

/// One unit of work.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// When it has its turn.
    pub turn: Turn,
    /// The steps that must be done before it.
    pub after: Vec<StepIx>,
    /// The steps that name it in their `after`.
    pub dependents: Vec<StepIx>,
    /// Runs only if true.
    pub when: Option<Expression>,
    /// Runs once for each element of this list.
    pub foreach: Option<Expression>,
    /// What it does.
    pub work: Work,
    /// The input of its work.
    pub input: Template,
    /// What its output must be. One that is something else is not used, and parks the saga.
    pub output_schema: Option<OutputSchema>,
    /// What undoes it.
    pub compensation: Option<Compensation>,
    /// `compensation: none`: its author says that it leaves nothing behind.
    pub harmless: bool,
    /// How often to try.
    pub retry: RetryPolicy,
    /// How long to wait for an answer, in ms from its sending.
    pub timeout_ms: i64,
    /// After it there is no way back.
    pub pivot: bool,
    /// Its failure is a warning.
    pub optional: bool,
    /// What a rejection leads to.
    pub on_rejected: OnFailure,
    /// What a spent budget leads to.
    pub on_exhausted: OnFailure,
}

/// When a step has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// In the graph.
    Graph,
    /// After everything is undone (`on_compensated`); always optional, in the order of the file.
    Compensated,
    /// When the saga parks (`on_parked`); always optional.
    Parked,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A command to a worker.
    Action {
        /// The worker.
        worker: String,
        /// The action.
        action: String,
    },
    /// Waits.
    Sleep {
        /// For how long, in ms.
        for_ms: i64,
    },
    /// Waits for a signal, at most the step's timeout; its payload is the output.
    Signal {
        /// The signal's name.
        name: String,
    },
    /// A child saga.
    Child {
        /// The child's definition.
        definition: String,
    },
}

/// What undoes a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Compensation {
    /// The action's name at the same worker.
    pub action: String,
    /// How often to try; long by default.
    pub retry: RetryPolicy,
    /// How long to wait for an answer, in ms.
    pub timeout_ms: i64,
}

/// How often a round is tried, and how long apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Charged attempts, the first included.
    pub attempts_max: u32,
    /// The first pause, in ms; it doubles from there.
    pub initial_ms: i64,
    /// The longest pause, in ms.
    pub cap_ms: i64,
    /// No further try once the round is this old, in ms; none when absent.
    pub budget_ms: Option<i64>,
}

/// What a failure leads to, before the pivot. After it, always `Park`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Undo what was done.
    Compensate,
    /// Wait for a human.
    Park,
}

impl Definition {
    /// The step at `ix`, if there is one.
    pub fn step(&self, ix: StepIx) -> Option<&Step> {
        self.steps.get(usize::from(ix.0))
    }

    /// The step of that name.
    pub fn find(&self, name: &str) -> Option<StepIx> {
        let at = self.steps.iter().position(|step| step.name.as_str() == name)?;
        u16::try_from(at).ok().map(StepIx)
    }

    /// All steps with their places.
    pub fn steps(&self) -> impl Iterator<Item = (StepIx, &Step)> {
        self.steps.iter().zip(0u16..).map(|(step, at)| (StepIx(at), step))
    }
}

/// A step's name as everybody spells it; of a `foreach` one item: `wrap[0]`.
pub fn item_name(step: &str, item: Option<u32>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"))
}
