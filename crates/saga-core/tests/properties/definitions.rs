//! Random definitions: graphs of up to seven steps of every kind, with and without a pivot.

use proptest::prelude::*;
use saga_core::Definition;

use crate::support;

#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) steps: Vec<StepSpec>,
    pivot: Option<usize>,
    deadline: bool,
    notices: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct StepSpec {
    /// Which of the steps before it it comes after.
    after: u8,
    kind: Kind,
    optional: bool,
    undoable: bool,
    when: Option<bool>,
    parks: bool,
    attempts: u8,
    undo_attempts: u8,
    computed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Action,
    Sleep,
    Signal,
    FanOut(u8),
}

pub(crate) fn specs() -> impl Strategy<Value = Spec> {
    let steps = prop::collection::vec(step(), 1..=7);
    (steps, prop::option::weighted(0.6, any::<prop::sample::Index>()), any::<bool>(), any::<bool>()).prop_map(
        |(steps, pivot, deadline, notices)| {
            let pivot = pivot.map(|at| at.index(steps.len()));
            Spec { steps, pivot, deadline, notices }
        },
    )
}

fn step() -> impl Strategy<Value = StepSpec> {
    let kind = prop_oneof![
        8 => Just(Kind::Action),
        1 => Just(Kind::Sleep),
        1 => Just(Kind::Signal),
        2 => (0u8..4).prop_map(Kind::FanOut),
    ];
    let flags = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.85),
        prop::option::weighted(0.2, any::<bool>()),
        prop::bool::weighted(0.2),
        any::<bool>(),
    );
    (any::<u8>(), kind, flags, 1u8..=3, 1u8..=3).prop_map(|(after, kind, flags, attempts, undo_attempts)| {
        let (optional, undoable, when, parks, computed) = flags;
        StepSpec { after, kind, optional, undoable, when, parks, attempts, undo_attempts, computed }
    })
}

impl Spec {
    pub(crate) fn definition(&self) -> Definition {
        let lines: Vec<String> = self
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| format!("s{at}: {}", self.line(at, step)))
            .collect();
        let mut top = String::new();
        if self.deadline {
            top.push_str("deadline: 2m\n");
        }
        if self.notices {
            top.push_str("on_compensated:\n  told: {worker: w, action: tell, retry: {attempts: 2}}\n");
            top.push_str("on_parked:\n  alarm: {worker: w, action: tell, retry: {attempts: 2}}\n");
        }
        support::definition(&lines.join("\n"), &top)
    }

    fn line(&self, at: usize, step: &StepSpec) -> String {
        let mut parts = Vec::new();
        let after = self.after(at, step);
        if !after.is_empty() {
            let names: Vec<String> = after.iter().map(|before| format!("s{before}")).collect();
            parts.push(format!("after {}", names.join(" ")));
        }
        let pivot = self.pivot == Some(at);
        let behind = self.pivot.is_some_and(|pivot| at > pivot);
        let kind = if pivot { Kind::Action } else { step.kind };
        let retry = format!("retry: {{attempts: {}, initial: 100ms, max: 2s}}", step.attempts);
        if let Some(yes) = step.when.filter(|_| !pivot) {
            parts.push(format!("when: ${{input.flag == {yes}}}"));
        }
        match kind {
            Kind::Sleep => parts.push("wait: {for: 20s}".to_owned()),
            Kind::Signal => parts.push("wait: {signal: go, timeout: 40s}".to_owned()),
            Kind::Action | Kind::FanOut(_) => {
                parts.push(retry);
                parts.push("timeout: 5s".to_owned());
                let fan_out = matches!(kind, Kind::FanOut(_));
                parts.push(format!("input: {{n: \"{}\"}}", self.input(at, step, fan_out)));
                let undo = format!(
                    "compensation: {{action: undo, timeout: 5s, retry: {{attempts: {}}}}}",
                    step.undo_attempts
                );
                match () {
                    () if pivot || behind => parts.push("bare".to_owned()),
                    () if step.undoable => parts.push(undo),
                    () => parts.push("compensation: none".to_owned()),
                }
            }
        }
        if let Kind::FanOut(items) = kind {
            parts.push(format!("foreach: \"${{input.list{items}}}\""));
        }
        if pivot {
            parts.push("pivot".to_owned());
        } else if step.optional {
            parts.push("optional".to_owned());
        }
        // Nobody rejects a wait, and a pause never fails.
        let fails = !matches!(kind, Kind::Sleep);
        if step.parks && fails && !behind && (pivot || !step.optional) {
            if !matches!(kind, Kind::Signal) {
                parts.push("on_rejected: park".to_owned());
            }
            if !pivot {
                parts.push("on_exhausted: park".to_owned());
            }
        }
        parts.join("; ")
    }

    /// Every step is before the pivot or after it.
    fn after(&self, at: usize, step: &StepSpec) -> Vec<usize> {
        match self.pivot {
            Some(pivot) if at == pivot => (0..at).collect(),
            Some(pivot) if at > pivot => {
                (pivot..at).filter(|&before| before == pivot || step.after >> (before % 8) & 1 == 1).collect()
            }
            _ => (0..at).filter(|&before| step.after >> (before % 8) & 1 == 1).collect(),
        }
    }

    /// Plain or computed, from the input, the element or the output of a step that always has one.
    fn input(&self, at: usize, step: &StepSpec, fan_out: bool) -> String {
        let sure = |&before: &usize| {
            let before_step = &self.steps[before];
            let plain =
                self.pivot == Some(before) || (before_step.kind == Kind::Action && !before_step.optional);
            plain && (self.pivot == Some(before) || before_step.when.is_none())
        };
        let source = self.after(at, step).into_iter().find(sure);
        let path = match (fan_out, source) {
            (true, _) => "item".to_owned(),
            (false, Some(before)) => format!("steps.s{before}.output.v"),
            (false, None) => "input.n".to_owned(),
        };
        if step.computed { format!("${{{path} + 1}}") } else { format!("${{{path}}}") }
    }
}
