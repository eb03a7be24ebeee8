//! Connects the steps of a definition to a graph: who comes after whom, and that nobody waits for oneself.

use std::collections::HashMap;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::diagnostic::{Code, Diagnostics};
use super::draft::Draft;
use super::source::{Kind, Node};
use super::{StepIx, Turn};

/// The names in a map of steps, also of those that could not be read.
pub(super) fn names_in(node: &Node) -> Vec<&str> {
    match &node.kind {
        Kind::Map(members) => members.iter().map(|(key, _)| key.text.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// Connects the steps; nothing when they run in a circle. False when edges had to be left away.
pub(super) fn connect(
    drafts: &mut [Draft<'_>],
    declared: &[&str],
    told: &mut Diagnostics,
) -> Option<(DiGraph<StepIx, ()>, bool)> {
    let mut whole = true;
    let mut graph = DiGraph::new();
    let mut places = HashMap::new();
    for (ix, draft) in (0..).map(StepIx).zip(drafts.iter()) {
        if draft.turn == Turn::Graph {
            places.insert(draft.name.as_str().to_owned(), graph.add_node(ix));
        }
    }
    for draft in drafts.iter_mut() {
        let own = draft.name.as_str().to_owned();
        let mut seen = Vec::new();
        draft.after.retain(|(before, at)| {
            let shown: String = before.chars().take(60).collect();
            let (Some(&from), Some(&to)) = (places.get(*before), places.get(&own)) else {
                whole = false;
                if declared.contains(before) {
                    return false; // What is wrong with that step was told already.
                }
                let others = known(&places, &own);
                let remedy = match others.as_str() {
                    "" => "remove it: there is no other step".to_owned(),
                    others => format!("steps are {others}"),
                };
                told.add(
                    *at,
                    Code::UnknownStep,
                    format!("`{own}` comes after `{shown}`, which is not a step"),
                    remedy,
                );
                return false;
            };
            if seen.contains(before) {
                told.add(
                    *at,
                    Code::UnknownStep,
                    format!("`{own}` comes after `{shown}` twice"),
                    "name it once",
                );
                return false;
            }
            seen.push(*before);
            graph.add_edge(from, to, ());
            true
        });
    }
    let mut circular = false;
    for circle in kosaraju_scc(&graph) {
        let around = |node: NodeIndex| graph.contains_edge(node, node);
        if circle.len() < 2 && !circle.iter().any(|&node| around(node)) {
            continue;
        }
        circular = true;
        tell_circle(&graph, &circle, drafts, told);
    }
    (!circular).then_some((graph, whole))
}

/// Tells one round through a set of steps that all reach each other.
fn tell_circle(
    graph: &DiGraph<StepIx, ()>,
    circle: &[NodeIndex],
    drafts: &[Draft<'_>],
    told: &mut Diagnostics,
) {
    let Some(&start) = circle.iter().min() else { return };
    let mut round = vec![start];
    while let Some(&last) = round.last() {
        let next = graph.neighbors(last).filter(|next| circle.contains(next)).min();
        let Some(next) = next else { return };
        if let Some(from) = round.iter().position(|&node| node == next) {
            round.drain(..from);
            round.push(next);
            break;
        }
        round.push(next);
    }
    let draft = |node: NodeIndex| graph.node_weight(node).and_then(|ix| drafts.get(usize::from(ix.0)));
    let names: Vec<&str> = round.iter().filter_map(|&node| Some(draft(node)?.name.as_str())).collect();
    let at = round.first().and_then(|&node| draft(node)).map(|draft| draft.at).unwrap_or_default();
    told.add(
        at,
        Code::Cycle,
        format!("steps wait for each other: {}", names.join(" → ")),
        "remove one of these `after`",
    );
}

fn known(places: &HashMap<String, NodeIndex>, own: &str) -> String {
    let mut names: Vec<(&NodeIndex, &str)> =
        places.iter().filter(|(name, _)| *name != own).map(|(name, at)| (at, name.as_str())).collect();
    names.sort_unstable();
    names.truncate(20);
    names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}
