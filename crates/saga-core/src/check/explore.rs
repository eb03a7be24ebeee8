//! The search: breadth first, so that the first broken law has the shortest story.
//!
//! Owns what was visited, and what only the whole graph can show: that a rest can be reached from everywhere, and that
//! every step is reached by some run.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::laws::{self, Broken, Property};
use super::model::Model;
use super::moves::{self, Idle, Move};
use super::progress::{self, Edges};
use super::world::World;
use super::{Depth, Refutation, Report, Verdict, pack, reduce, story};
use crate::definition::{StepIx, Turn, Work};
use crate::event::Event;
use crate::machine::step;
use crate::state::{CellRef, Run, State, Status};
use crate::transition::Transition;

/// One way in which a move can go.
pub(super) struct Successor {
    pub(super) world: World,
    pub(super) transition: Transition,
    /// What the data turned out to say in this very step.
    pub(super) learned: Vec<(usize, u8)>,
    pub(super) broken: Option<Broken>,
    pub(super) changed: bool,
}

/// Everything that a move can lead to: one world for each way in which the data can decide what is asked of them. They
/// are made one by one: twenty conditions that are asked at once are a million ways.
pub(super) struct Successors<'m> {
    model: &'m Model,
    world: &'m World,
    it: Move,
    state: State,
    event: Event,
    /// What the data say in the ways that are still to be made.
    todo: Vec<Vec<(usize, u8)>>,
}

/// The ways in which a move can go.
pub(super) fn successors<'m>(model: &'m Model, world: &'m World, it: Move) -> Successors<'m> {
    let (state, event) = moves::event(model, world, it);
    Successors { model, world, it, state, event, todo: vec![Vec::new()] }
}

impl Iterator for Successors<'_> {
    type Item = Result<Successor, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let (model, world) = (self.model, self.world);
        while let Some(learned) = self.todo.pop() {
            let mut values = world.values.clone();
            learned.iter().for_each(|&(at, value)| values[at] = Some(value));
            let payloads = model.payloads(&values);
            let transition = match step(&model.definition, &self.state, &self.event, &payloads) {
                Ok(transition) => transition,
                Err(illegal) => {
                    let message = format!("the state machine does not know what to do: {}", illegal.0);
                    return Some(Err(Broken(Property::Legal, message)));
                }
            };
            let changed = transition.changed(&self.state);
            let mut after =
                world.follow(if changed { transition.state.clone() } else { world.state.clone() });
            if let Some(at) = asked(model, world, &after, &values) {
                let max = model.variables.get(at).map_or(0, |it| it.max);
                for value in (0..=max).rev() {
                    let mut learned = learned.clone();
                    learned.push((at, value));
                    self.todo.push(learned);
                }
                continue;
            }
            after.values = values;
            let broken = laws::transition(model, world, self.it, &transition, changed, &mut after).err();
            after.keep_early(&transition);
            after.settle(model);
            return Some(Ok(Successor { world: after, transition, learned, broken, changed }));
        }
        None
    }
}

/// A variable whose value was needed and is not decided yet.
fn asked(model: &Model, before: &World, after: &World, values: &[Option<u8>]) -> Option<usize> {
    let open = |at: &usize| values.get(*at).is_some_and(Option::is_none);
    after.state.cells.iter().find_map(|cell| {
        if before.state.cells.iter().any(|it| it.step == cell.step) {
            return None;
        }
        let facts = model.facts(cell.step)?;
        let skipped = cell.execute.run == Run::Skipped && facts.when.is_some();
        facts.when.filter(open).or_else(|| facts.foreach.filter(|at| !skipped && open(at)))
    })
}

impl Depth {
    /// What need not be told apart at this depth.
    pub(super) fn reduce(self, model: &Model, world: &mut World) {
        if let Self::Troubles(_) = self {
            reduce::forget_undone(model, world);
        }
    }
}

const GOES_ON_AND_ON: &str =
    "it is where it was before, and can go on like this for ever: budgets are spent, and nothing comes of it";

struct Search<'m> {
    model: &'m Model,
    depth: Depth,
    states_max: usize,
    work_left: u64,
    known: HashMap<Box<[u8]>, u32>,
    /// The worlds in the order of their finding, spelled.
    order: Vec<Box<[u8]>>,
    /// From which world, by which of its moves and which of the move's ways.
    parents: Vec<(u32, u16, u16)>,
    edges: Edges,
    rests: Vec<u32>,
    reached: Vec<bool>,
    completed: bool,
    transitions: u64,
    told: HashSet<Shape>,
}

/// A cell that hears what must change nothing: its place, its tracks, the saga's course, and what it hears.
type Shape = (CellRef, [u8; 7], [u8; 2], std::mem::Discriminant<Idle>);

/// Explores until a law is broken, everything was visited, or there are too many states.
pub(super) fn run(model: &Model, depth: Depth, states_max: usize, work_max: u64) -> Report {
    let mut search = Search {
        model,
        depth,
        states_max,
        work_left: work_max,
        known: HashMap::new(),
        order: Vec::new(),
        parents: Vec::new(),
        edges: Edges::default(),
        rests: Vec::new(),
        reached: vec![false; model.steps.len()],
        completed: false,
        transitions: 0,
        told: HashSet::new(),
    };
    search.insert(&World::new(model), (0, 0, 0));
    let mut at = 0;
    let verdict = loop {
        if at == search.order.len() {
            break search.whole_graph();
        }
        if let Some(verdict) = search.expand(at) {
            break verdict;
        }
        at += 1;
    };
    Report { verdict, states: search.order.len(), transitions: search.transitions, depth }
}

impl Search<'_> {
    fn insert(&mut self, world: &World, parent: (u32, u16, u16)) -> u32 {
        let bytes = pack::pack(world, self.model);
        debug_assert_eq!(&pack::unpack(&bytes, self.model), world, "a world is spelled without loss");
        let next = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        match self.known.entry(bytes) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(slot) => {
                self.order.push(slot.key().clone());
                slot.insert(next);
                self.parents.push(parent);
                self.completed |= world.state.status == Status::Completed;
                if world.is_rest() {
                    self.rests.push(next);
                }
                for cell in world.state.cells.iter().filter(|cell| cell.execute.run != Run::Skipped) {
                    if let Some(reached) = self.reached.get_mut(usize::from(cell.step.0)) {
                        *reached = true;
                    }
                }
                next
            }
        }
    }

    /// Follows every move of a world. Returns the verdict as soon as there is one.
    fn expand(&mut self, at: usize) -> Option<Verdict> {
        let world = pack::unpack(self.order.get(at)?, self.model);
        let from = u32::try_from(at).unwrap_or(u32::MAX);
        let moves = moves::all(self.model, &world);
        let first = if self.depth == Depth::Whole { None } else { reduce::first(self.model, &world) };
        for (nth, &it) in (0..).zip(&moves) {
            if reduce::is_postponed(first, it) || self.is_told_already(&world, it) {
                continue;
            }
            self.transitions += 1;
            self.work_left = self.work_left.saturating_sub(1 + world.state.cells.len() as u64);
            for (way, successor) in successors(self.model, &world, it).enumerate() {
                // One move can go in more ways than there may be states, or than are told apart.
                let within = self.order.len() <= self.states_max && self.work_left > 0;
                let Some(way) = u16::try_from(way).ok().filter(|_| within) else {
                    return Some(Verdict::Unproved);
                };
                let mut successor = match successor {
                    Ok(Successor { broken: Some(broken), .. }) | Err(broken) => {
                        return Some(Verdict::Refuted(self.refutation(from, (nth, way), broken)));
                    }
                    Ok(successor) => successor,
                };
                if let Depth::Troubles(max) = self.depth
                    && reduce::is_too_much(&world, &successor.world, max)
                {
                    continue;
                }
                self.depth.reduce(self.model, &mut successor.world);
                if !successor.changed && successor.world == world {
                    continue;
                }
                let to = self.insert(&successor.world, (from, nth, way));
                let running = world.state.status == Status::Running;
                if to == from && running && progress::uses_up(&world, it) {
                    let broken = Broken(Property::AlwaysEnds, GOES_ON_AND_ON.to_owned());
                    return Some(Verdict::Refuted(self.refutation(from, (nth, way), broken)));
                }
                self.edges.note(self.model, &world, it, (from, to));
            }
        }
        None
    }

    /// What must change nothing is tried once for each shape of the cell that it is about, when branches are many.
    fn is_told_already(&mut self, world: &World, it: Move) -> bool {
        let Move::Idle(idle) = it else { return false };
        let Some(at) = idle.cell().filter(|_| self.depth != Depth::Whole) else { return false };
        let cells = world.state.cells.iter().zip(&world.rows);
        let Some((cell, row)) =
            cells.into_iter().find(|(cell, _)| (cell.step, cell.item) == (at.step, at.item))
        else {
            return false;
        };
        let shape =
            (at, pack::cell_key(cell, row), pack::course(&world.state), std::mem::discriminant(&idle));
        !self.told.insert(shape)
    }

    fn whole_graph(&mut self) -> Verdict {
        self.edges.sort();
        if let Some(refutation) = self.stuck().or_else(|| self.circles()).or_else(|| self.unreached()) {
            return Verdict::Refuted(refutation);
        }
        Verdict::Proved
    }

    fn stuck(&self) -> Option<Refutation> {
        let at = self.edges.stuck(self.order.len(), &self.rests)?;
        let message =
            "from here on it neither ends nor parks, whatever workers answer and time brings".to_owned();
        Some(Refutation {
            property: Property::AlwaysEnds,
            message,
            story: story::tell(self.model, self.depth, &self.path(at)),
        })
    }

    /// A circle that never rests, with the way that leads into it and once around.
    fn circles(&self) -> Option<Refutation> {
        let circle = self.edges.circle(self.order.len())?;
        let shallow = (0..circle.len()).min_by_key(|&at| self.path(circle[at]).len())?;
        let around: Vec<u32> = circle.iter().copied().cycle().skip(shallow).take(circle.len() + 1).collect();
        let mut path = self.path(circle[shallow]);
        path.extend(around.windows(2).filter_map(|pair| self.way(pair[0], pair[1])));
        Some(Refutation {
            property: Property::AlwaysEnds,
            message: GOES_ON_AND_ON.to_owned(),
            story: story::tell(self.model, self.depth, &path),
        })
    }

    /// By which move, and which of its ways, one world leads to another.
    fn way(&self, from: u32, to: u32) -> Option<(u16, u16)> {
        let world = pack::unpack(self.order.get(from as usize)?, self.model);
        let to = self.order.get(to as usize)?;
        for (nth, it) in (0..).zip(moves::all(self.model, &world)) {
            for (way, successor) in (0..).zip(successors(self.model, &world, it)) {
                let mut successor = successor.ok()?;
                self.depth.reduce(self.model, &mut successor.world);
                if progress::uses_up(&world, it) && pack::pack(&successor.world, self.model) == *to {
                    return Some((nth, way));
                }
            }
        }
        None
    }

    fn unreached(&self) -> Option<Refutation> {
        let Some(at) = self.reached.iter().position(|reached| !reached) else {
            return (!self.completed).then(|| self.never_completes());
        };
        let ix = StepIx(u16::try_from(at).ok()?);
        let step = self.model.step(ix)?;
        let name = &step.name;
        let constant = step.when.is_some() && self.model.facts(ix)?.when.is_none();
        let message = if constant {
            format!("no run reaches `{name}`: its `when` reads nothing, and is never true")
        } else if step.turn != Turn::Graph {
            format!("no run reaches `{name}`")
        } else if self.model.definition.deadline_ms.is_some() && self.sleeps_before(ix) {
            format!("no run reaches `{name}`: the deadline passes while the saga waits before it")
        } else {
            format!("no run reaches `{name}`: something before it is never done")
        };
        Some(Refutation { property: Property::Reachable, message, story: Vec::new() })
    }

    /// Every step is begun by some run, and no run ends with all of them done.
    fn never_completes(&self) -> Refutation {
        let sleeps = self.model.definition.steps.iter().any(|step| matches!(step.work, Work::Sleep { .. }));
        let message = if sleeps && self.model.definition.deadline_ms.is_some() {
            "no run completes: the deadline passes while the saga waits".to_owned()
        } else {
            "no run completes: something is never done".to_owned()
        };
        Refutation { property: Property::Reachable, message, story: Vec::new() }
    }

    fn sleeps_before(&self, ix: StepIx) -> bool {
        let sleeps = |ix| self.model.step(ix).is_some_and(|step| matches!(step.work, Work::Sleep { .. }));
        self.model.definition.ancestors(ix).into_iter().any(sleeps)
    }

    fn refutation(&self, from: u32, (nth, way): (u16, u16), Broken(property, message): Broken) -> Refutation {
        let mut path = self.path(from);
        path.push((nth, way));
        Refutation { property, message, story: story::tell(self.model, self.depth, &path) }
    }

    /// The moves that lead to a world, from the start.
    fn path(&self, mut at: u32) -> Vec<(u16, u16)> {
        let mut path = Vec::new();
        while at != 0 {
            let Some(&(parent, nth, way)) = self.parents.get(at as usize) else { break };
            path.push((nth, way));
            at = parent;
        }
        path.reverse();
        path
    }
}
