//! That nothing waits for ever: what no single transition shows.
//!
//! Owns the edges between the worlds that were visited, and the two questions that only all of them answer: whether a
//! rest can be reached from everywhere, and whether a saga can go in a circle.

use super::model::Model;
use super::moves::{Move, Reply};
use super::world::World;
use crate::definition::Work;
use crate::state::{CellRef, Run, Status, Track};
use saga_protocol::Direction;

/// Whether a track is going to end, whatever anybody does: an answer or its time is awaited. Only a child saga that is
/// being undone is waited for as long as it takes.
pub(super) fn is_awaited(model: &Model, at: CellRef, track: &Track) -> bool {
    let child = model.step(at.step).is_some_and(|it| matches!(it.work, Work::Child { .. }));
    track.due.is_some() || (child && at.direction == Direction::Compensate && track.run == Run::Waiting)
}

/// Whether a move happens by itself: time passes, or somebody answers who was asked and is waited for. An answer that
/// nobody waits for any more may still come, and nothing may depend on it.
fn comes_by_itself(model: &Model, world: &World, it: Move) -> bool {
    match it {
        Move::Start | Move::Due { .. } | Move::Deadline => true,
        Move::Answer(at, _) => world.state.track(at).is_some_and(|track| is_awaited(model, at, track)),
        _ => false,
    }
}

/// Whether a move uses something up, so that it cannot happen again and again: a try of a budget, a wait, an answer. What
/// leaves the budget as it was may: the explorer decides by itself when a budget is spent.
pub(super) fn uses_up(world: &World, it: Move) -> bool {
    let silent = |at| world.state.track(at).is_some_and(|it| matches!(it.run, Run::Sent | Run::Unknown));
    match it {
        Move::Answer(_, Reply::Retryable { spent: false } | Reply::Uncharged) => false,
        Move::Due { at, spent: false } => !silent(at),
        Move::AllDue { spent: false } | Move::LogLost | Move::Idle(_) => false,
        _ => true,
    }
}

/// One world leads to another.
#[derive(Clone, Copy)]
struct Edge {
    to: u32,
    from: u32,
    by_itself: bool,
    uses_up: bool,
}

/// All that leads from one world to another and counts as progress in one of the two ways.
#[derive(Default)]
pub(super) struct Edges(Vec<Edge>);

impl Edges {
    pub(super) fn note(&mut self, model: &Model, before: &World, it: Move, (from, to): (u32, u32)) {
        let edge = Edge {
            to,
            from,
            by_itself: comes_by_itself(model, before, it),
            uses_up: before.state.status == Status::Running && uses_up(before, it),
        };
        if from != to && (edge.by_itself || edge.uses_up) {
            self.0.push(edge);
        }
    }

    /// In the order in which [`Edges::into`] finds them.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable_by_key(|edge| (edge.to, edge.from));
    }

    fn into(&self, to: u32) -> impl Iterator<Item = &Edge> {
        let first = self.0.partition_point(|edge| edge.to < to);
        self.0[first..].iter().take_while(move |edge| edge.to == to)
    }

    /// The first world from which no rest can be reached by what happens by itself.
    pub(super) fn stuck(&self, worlds: usize, rests: &[u32]) -> Option<u32> {
        let mut reaches = vec![false; worlds];
        let mut todo = rests.to_vec();
        todo.iter().for_each(|&at| reaches[at as usize] = true);
        while let Some(to) = todo.pop() {
            for edge in self.into(to).filter(|edge| edge.by_itself) {
                if !std::mem::replace(&mut reaches[edge.from as usize], true) {
                    todo.push(edge.from);
                }
            }
        }
        first(&reaches, false)
    }

    /// The worlds of a circle in which every move uses something up: what was used up has come back.
    pub(super) fn circle(&self, worlds: usize) -> Option<Vec<u32>> {
        // Whatever leads nowhere is taken away, until nothing is left but circles and what leads to them.
        let mut out = vec![0u32; worlds];
        self.0.iter().filter(|edge| edge.uses_up).for_each(|edge| out[edge.from as usize] += 1);
        let mut todo: Vec<u32> = (0..).zip(&out).filter(|&(_, &out)| out == 0).map(|(at, _)| at).collect();
        while let Some(to) = todo.pop() {
            for edge in self.into(to).filter(|edge| edge.uses_up) {
                let left = &mut out[edge.from as usize];
                *left -= 1;
                if *left == 0 {
                    todo.push(edge.from);
                }
            }
        }
        let leads: Vec<bool> = out.iter().map(|&left| left > 0).collect();
        // Backward along what is left: each has one before it, or is where the walk has to begin anew.
        let mut next = vec![u32::MAX; worlds];
        for edge in self.0.iter().filter(|it| it.uses_up && leads[it.from as usize] && leads[it.to as usize])
        {
            next[edge.from as usize] = edge.to;
        }
        let mut walk = Vec::new();
        let mut at = first(&leads, true)?;
        while !walk.contains(&at) {
            walk.push(at);
            at = next[at as usize];
        }
        let begin = walk.iter().position(|&it| it == at)?;
        walk.drain(..begin);
        Some(walk)
    }
}

fn first(all: &[bool], wanted: bool) -> Option<u32> {
    all.iter().position(|&it| it == wanted).and_then(|at| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(all: &[(u32, u32)]) -> Edges {
        let mut edges =
            Edges(all.iter().map(|&(from, to)| Edge { to, from, by_itself: true, uses_up: true }).collect());
        edges.sort();
        edges
    }

    #[test]
    fn a_world_that_leads_to_no_rest_is_stuck() {
        let all = edges(&[(0, 1), (0, 2), (2, 3)]);
        assert_eq!(all.stuck(4, &[1]), Some(2));
        assert_eq!(all.stuck(4, &[1, 3]), None);
    }

    #[test]
    fn a_circle_is_found_without_what_leads_to_it_and_from_it() {
        assert_eq!(edges(&[(0, 1), (1, 2), (0, 2), (2, 3)]).circle(4), None);
        let all = edges(&[(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (0, 4)]);
        assert_eq!(all.circle(5), Some(vec![1, 2, 3]));
    }
}
