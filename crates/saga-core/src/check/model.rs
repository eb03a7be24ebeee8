//! A definition without its data: what is left decides alone which way a saga goes.
//!
//! Owns what is abstracted away. Each distinct `when` becomes one free boolean and each distinct `foreach` list has
//! none, one or two elements; inputs and outputs are empty, for their values steer nothing else: an output fits its
//! `output_schema` or it does not. A step's budget is spent after any number of tries. Times are gone; only sleeps keep theirs, because a deadline may never let one end.

use std::collections::BTreeSet;
use std::sync::Arc;

use saga_protocol::SagaId;
use serde_json::{Map, Value, json};

use super::world::UNFIT;
use crate::definition::{
    Definition, Expression, OutputSchema, RetryPolicy, Step, StepIx, Template, Turn, Work,
};
use crate::payloads::Payloads;

/// The most elements of a `foreach` list in the model: two show everything that items can do to each other.
const ITEMS_MAX: u8 = 2;

/// A definition prepared for exploration.
pub(super) struct Model {
    /// The definition that is explored.
    pub(super) definition: Definition,
    pub(super) steps: Vec<Facts>,
    pub(super) variables: Vec<Variable>,
    /// The names of signals that anything waits for.
    pub(super) signals: Vec<String>,
}

/// What the laws and moves need to know of a step.
pub(super) struct Facts {
    pub(super) when: Option<usize>,
    pub(super) foreach: Option<usize>,
    /// One try, and no more.
    pub(super) tried_once: bool,
    pub(super) undo_tried_once: bool,
    pub(super) descendants: BTreeSet<StepIx>,
    /// Its child saga cannot be undone once it has completed.
    pub(super) final_child: bool,
}

/// Something that the data decide, and that the model leaves open.
pub(super) struct Variable {
    /// The expression, for stories.
    pub(super) text: String,
    /// It takes the values from 0 up to this.
    pub(super) max: u8,
    is_list: bool,
}

impl Model {
    pub(super) fn new(source: &Definition, children: &[&Definition]) -> Self {
        let mut definition = source.clone();
        let mut variables = Vec::new();
        let mut steps = Vec::new();
        for (ix, step) in source.steps() {
            let descendants = if step.turn == Turn::Graph { source.descendants(ix) } else { BTreeSet::new() };
            let final_child = match &step.work {
                Work::Child { definition } => {
                    children.iter().any(|it| it.name == *definition && it.pivot.is_some())
                }
                _ => false,
            };
            steps.push(Facts {
                when: step.when.as_ref().and_then(|it| variable(&mut variables, it, false)),
                foreach: step.foreach.as_ref().and_then(|it| variable(&mut variables, it, true)),
                tried_once: step.retry.attempts_max <= 1,
                undo_tried_once: step.compensation.as_ref().is_some_and(|it| it.retry.attempts_max <= 1),
                descendants,
                final_child,
            });
        }
        for (step, facts) in definition.steps.iter_mut().zip(&steps) {
            strip(step, facts);
        }
        definition.output = None;
        let mut signals: Vec<String> = Vec::new();
        for step in &source.steps {
            if let Work::Signal { name } = &step.work
                && !signals.contains(name)
            {
                signals.push(name.clone());
            }
        }
        Self { definition, steps, variables, signals }
    }

    pub(super) fn facts(&self, ix: StepIx) -> Option<&Facts> {
        self.steps.get(usize::from(ix.0))
    }

    pub(super) fn step(&self, ix: StepIx) -> Option<&Step> {
        self.definition.step(ix)
    }

    /// The data in which the variables have these values.
    pub(super) fn payloads(&self, values: &[Option<u8>]) -> Payloads {
        let members = self.variables.iter().zip(values).enumerate().map(|(at, (variable, value))| {
            let value = value.unwrap_or(0);
            let value = if variable.is_list {
                Value::Array(vec![Value::Null; usize::from(value)])
            } else {
                Value::Bool(value == 1)
            };
            (name(at), value)
        });
        let input = Value::Object(members.collect::<Map<_, _>>());
        let mut payloads = Payloads::new(SagaId(uuid::Uuid::nil()), Arc::new(input));
        payloads.by_revision.insert(UNFIT, unfit());
        payloads
    }

    /// Whether what a step yields can be other than its `output_schema` promises.
    pub(super) fn may_be_unfit(&self, ix: StepIx) -> bool {
        self.step(ix).is_some_and(|step| step.turn == Turn::Graph && step.output_schema.is_some())
    }

    /// The same of what comes with a signal.
    pub(super) fn signal_may_be_unfit(&self, signal: &str) -> bool {
        let waits = |step: &Step| matches!(&step.work, Work::Signal { name } if name == signal);
        self.definition.steps().any(|(ix, step)| waits(step) && self.may_be_unfit(ix))
    }

    /// Whether it is tried once and no more, in a direction.
    pub(super) fn tried_once(&self, ix: StepIx, direction: saga_protocol::Direction) -> bool {
        self.facts(ix).is_some_and(|facts| match direction {
            saga_protocol::Direction::Execute => facts.tried_once,
            saga_protocol::Direction::Compensate => facts.undo_tried_once,
        })
    }
}

/// An output that fits no schema of the model.
pub(super) fn unfit() -> Arc<Value> {
    Arc::new(Value::Bool(false))
}

/// Takes the data out of a step.
fn strip(step: &mut Step, facts: &Facts) {
    let free = |at: usize| Expression::parse(&format!("input.{}", name(at))).ok();
    if let Some(at) = facts.when {
        step.when = free(at);
    }
    if let Some(at) = facts.foreach {
        step.foreach = free(at);
    }
    step.input = Template::default();
    // What is empty fits, and what `unfit` yields does not.
    step.output_schema = step.output_schema.take().and_then(|_| OutputSchema::new(json!({ "type": "null" })));
    shorten(&mut step.retry);
    if let Some(undo) = &mut step.compensation {
        shorten(&mut undo.retry);
    }
}

/// With two tries a budget can be spent or not, as the explorer likes: it sets what was charged before each event.
fn shorten(policy: &mut RetryPolicy) {
    (policy.attempts_max, policy.budget_ms) = (2, None);
}

fn variable(variables: &mut Vec<Variable>, expression: &Expression, is_list: bool) -> Option<usize> {
    // What reads nothing is not free: it has the value that it has.
    if expression.reads().next().is_none() && !is_list {
        return None;
    }
    let text = expression.text();
    if let Some(known) = variables.iter().position(|it| it.text == text && it.is_list == is_list) {
        return Some(known);
    }
    let max = if is_list { ITEMS_MAX } else { 1 };
    variables.push(Variable { text: text.to_owned(), max, is_list });
    Some(variables.len() - 1)
}

fn name(at: usize) -> String {
    format!("v{at}")
}
