//! `amends check`: explores everything that can happen to a saga of a definition, and proves or refutes.
//!
//! Owns the model of the world around [`crate::step`]: workers with their barrier, a channel that loses, repeats and
//! delays, time, signals, an operator's cancel. It must not decide anything that `step` decides: every state that it
//! visits was made by the same function that runs in production. What is modelled and what is not stands in `model`.

mod explore;
mod laws;
mod model;
mod moves;
mod pack;
mod progress;
mod reduce;
mod story;
mod world;

use saga_protocol::StepName;

use crate::definition::graph::Side;
use crate::definition::{Definition, Turn, Work, misfit};
use crate::state::Cell;

pub use self::laws::Property;

/// What exploring a definition came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Proved, refuted or neither.
    pub verdict: Verdict,
    /// Distinct states that were visited.
    pub states: usize,
    /// Transitions that were tried, those that must change nothing included.
    pub transitions: u64,
    /// How much of the world was combined.
    pub depth: Depth,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every property holds in everything that can happen in the model.
    Proved,
    /// A property does not hold, and this is the shortest story that shows it.
    Refuted(Refutation),
    /// There are more states than were allowed, and nothing wrong in those that were visited.
    Unproved,
}

/// How a property is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refutation {
    /// The property.
    pub property: Property,
    /// What is wrong at the story's end.
    pub message: String,
    /// What happens, in order; no story can be told of something that never happens.
    pub story: Vec<Beat>,
}

/// One thing that happens in a story, and what the saga does about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// What happens.
    pub happens: String,
    /// What the saga does.
    pub follows: Vec<String>,
    /// Where its steps stand then, those that were touched.
    pub cells: Vec<Cell>,
}

/// How much of the world is combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything with everything.
    Whole,
    /// For definitions with many parallel branches: branches that share no step are undone one after the other instead
    /// of in every interleaving, and at most this many steps are in trouble (silent, to be retried, stopped) at once.
    Troubles(u8),
}

impl Depth {
    /// How many steps were in trouble at once, at most; `None` when everything was combined.
    pub const fn troubles(self) -> Option<u8> {
        match self {
            Self::Whole => None,
            Self::Troubles(most) => Some(most),
        }
    }
}

/// Bounds on the work.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most states; reaching it leaves the definition unproved.
    pub states_max: usize,
    /// From how many states on the [`Depth`] is reduced for the first time.
    pub whole_max: usize,
    /// From how many states on it is reduced once more.
    pub pairs_max: usize,
    /// The most work at each depth, in transitions times steps that were touched; reaching it counts as too many states.
    pub work_max: u64,
}

impl Limits {
    /// What `amends check` allows.
    pub const DESK: Self =
        Self { states_max: 2_000_000, whole_max: 30_000, pairs_max: 120_000, work_max: u64::MAX };
    /// What publishing allows: it explores in the engine, beside running sagas.
    pub const DOOR: Self =
        Self { states_max: 300_000, whole_max: 30_000, pairs_max: 60_000, work_max: 150_000_000 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DESK
    }
}

/// Steps that stand where the saga may still turn around, with their child sagas, which have a pivot: completed, such a
/// child stands.
pub fn final_children<'d>(
    definition: &'d Definition,
    children: &[&Definition],
) -> Vec<(&'d StepName, &'d str)> {
    let is_final = |name: &str| children.iter().any(|it| it.name == name && it.pivot.is_some());
    let before = definition
        .steps()
        .filter(|(ix, step)| step.turn == Turn::Graph && definition.side(*ix) == Side::Before);
    before
        .filter_map(|(_, step)| match &step.work {
            Work::Child { definition } if is_final(definition) => Some((&step.name, definition.as_str())),
            _ => None,
        })
        .collect()
}

/// Explores a definition. `children` are the definitions that its steps may name: a child saga that is not among them
/// counts as one that can be undone and takes whatever it is given; of several with a name the first is what is started.
pub fn check(definition: &Definition, children: &[&Definition], limits: Limits) -> Report {
    if let Some(message) = misfit(definition, children) {
        let refutation = Refutation { property: Property::Reachable, message, story: Vec::new() };
        let verdict = Verdict::Refuted(refutation);
        return Report { verdict, states: 0, transitions: 0, depth: Depth::Whole };
    }
    let model = model::Model::new(definition, children);
    let tiers = [
        (Depth::Whole, limits.whole_max),
        (Depth::Troubles(2), limits.pairs_max),
        (Depth::Troubles(1), limits.states_max),
    ];
    let mut report = Report { verdict: Verdict::Unproved, states: 0, transitions: 0, depth: Depth::Whole };
    for (depth, states_max) in tiers {
        report = explore::run(&model, depth, states_max.min(limits.states_max), limits.work_max);
        // Less is not tried where more was allowed.
        if report.verdict != Verdict::Unproved || states_max >= limits.states_max {
            break;
        }
    }
    report
}
