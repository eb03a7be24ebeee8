//! Questions about a definition's graph: who comes before whom, and on which side of the pivot a step stands.
//!
//! Owns what follows from the edges alone. It must not know states.

use std::collections::BTreeSet;

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{Definition, StepIx, Turn};

/// Where a step stands relative to the pivot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is done before the pivot is sent, or there is no pivot.
    Before,
    /// It is the pivot.
    Pivot,
    /// It starts when the pivot succeeded.
    After,
    /// Neither before nor after: [`super::load()`] refuses such a definition.
    Beside,
}

impl Definition {
    /// Every step that is done before `step` starts.
    pub fn ancestors(&self, step: StepIx) -> BTreeSet<StepIx> {
        reach(&self.graph, step, Incoming)
    }

    /// Every step that starts only when `step` is done.
    pub fn descendants(&self, step: StepIx) -> BTreeSet<StepIx> {
        reach(&self.graph, step, Outgoing)
    }

    /// Where `step` stands relative to the pivot. A notice stands before it, for it belongs to an unwound saga or
    /// to a parked one.
    pub fn side(&self, step: StepIx) -> Side {
        let Some(pivot) = self.pivot else { return Side::Before };
        if step == pivot {
            Side::Pivot
        } else if self.step(step).is_some_and(|step| step.turn != Turn::Graph)
            || self.ancestors(pivot).contains(&step)
        {
            Side::Before
        } else if self.descendants(pivot).contains(&step) {
            Side::After
        } else {
            Side::Beside
        }
    }

    /// The steps that can start at once.
    pub fn roots(&self) -> impl Iterator<Item = StepIx> {
        self.steps().filter(|(_, step)| step.turn == Turn::Graph && step.after.is_empty()).map(|(ix, _)| ix)
    }

    /// The steps of the graph, each after everything that it comes after.
    pub fn topological(&self) -> Vec<StepIx> {
        let order = toposort(&self.graph, None).unwrap_or_default();
        order.into_iter().filter_map(|node| self.graph.node_weight(node).copied()).collect()
    }

    /// The steps that have their turn outside of the graph, in the order of the file.
    pub fn notices(&self, turn: Turn) -> impl Iterator<Item = StepIx> {
        self.steps().filter(move |(_, step)| step.turn == turn && turn != Turn::Graph).map(|(ix, _)| ix)
    }
}

/// Everything that `from` reaches along the edges in `direction`, itself excluded.
pub(super) fn reach(
    graph: &DiGraph<StepIx, ()>,
    from: StepIx,
    direction: petgraph::Direction,
) -> BTreeSet<StepIx> {
    let mut found = BTreeSet::new();
    let mut todo = vec![NodeIndex::new(usize::from(from.0))];
    while let Some(node) = todo.pop() {
        if graph.node_weight(node).is_none() {
            continue;
        }
        for next in graph.neighbors_directed(node, direction) {
            if graph.node_weight(next).is_some_and(|&step| found.insert(step)) {
                todo.push(next);
            }
        }
    }
    found
}
