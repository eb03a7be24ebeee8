//! Definitions as pictures: Mermaid for pages that render it, SVG for everything else.
//!
//! Owns what a picture shows of a step, and what a difference of two versions looks like. It must not decide anything.

mod layout;
mod mermaid;
mod svg;

pub use self::mermaid::mermaid;
pub use self::svg::svg;

use crate::definition::{Definition, Step, Turn, Work};

/// What a picture shows: boxes, and arrows from what is done before to what comes after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The boxes, in the order of the file.
    pub cards: Vec<Card>,
    /// Arrows between boxes, by their places.
    pub arrows: Vec<Arrow>,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The step's name.
    pub name: String,
    /// What it does, a line each.
    pub lines: Vec<String>,
    /// When it has its turn.
    pub turn: Turn,
    /// There is no way back after it.
    pub pivot: bool,
    /// It may be skipped, or fail without harm.
    pub dashed: bool,
    /// What became of it between two versions.
    pub change: Change,
}

/// An arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// What is done before.
    pub from: usize,
    /// What comes after.
    pub to: usize,
    /// What became of it between two versions.
    pub change: Change,
}

/// What became of something between two versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing; also where there is one version only.
    #[default]
    Same,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// A definition as a picture.
pub fn picture(definition: &Definition) -> Picture {
    let cards = definition.steps.iter().map(card).collect();
    let arrows = definition.steps().flat_map(|(ix, step)| {
        let to = usize::from(ix.0);
        step.after.iter().map(move |from| Arrow { from: usize::from(from.0), to, change: Change::Same })
    });
    Picture { cards, arrows: arrows.collect() }
}

/// Two versions as one picture: what is gone is still in it, and marked.
pub fn difference(old: &Definition, new: &Definition) -> Picture {
    let mut union = picture(new);
    let before = picture(old);
    let mut places = Vec::new();
    for (was, step) in before.cards.into_iter().zip(&old.steps) {
        let known = union.cards.iter().position(|card| (card.turn, &card.name) == (was.turn, &was.name));
        places.push(known.unwrap_or(union.cards.len()));
        match known {
            Some(at) if same(step, new.steps.get(at)) => {}
            Some(at) => union.cards[at].change = Change::Changed,
            None => union.cards.push(Card { change: Change::Removed, ..was }),
        }
    }
    for (at, card) in union.cards.iter_mut().enumerate().take(new.steps.len()) {
        if !places.contains(&at) {
            card.change = Change::Added;
        }
    }
    let was: Vec<(usize, usize)> =
        before.arrows.iter().map(|arrow| (places[arrow.from], places[arrow.to])).collect();
    for arrow in &mut union.arrows {
        if !was.contains(&(arrow.from, arrow.to)) {
            arrow.change = Change::Added;
        }
    }
    for (from, to) in was {
        if !union.arrows.iter().any(|arrow| (arrow.from, arrow.to) == (from, to)) {
            union.arrows.push(Arrow { from, to, change: Change::Removed });
        }
    }
    union
}

/// Whether a step does the same in both versions. Its place and its neighbours are the arrows' business.
fn same(old: &Step, new: Option<&Step>) -> bool {
    let bare = |step: &Step| {
        let mut step = step.clone();
        (step.after, step.dependents) = (Vec::new(), Vec::new());
        format!("{step:?}")
    };
    new.is_some_and(|new| bare(old) == bare(new))
}

fn card(step: &Step) -> Card {
    let mut lines = vec![work(&step.work, step.timeout_ms)];
    if let Some(when) = &step.when {
        lines.push(format!("when {when}"));
    }
    if let Some(list) = &step.foreach {
        lines.push(format!("for each of {list}"));
    }
    if let Some(compensation) = &step.compensation {
        lines.push(format!("⤺ {}", compensation.action));
    }
    Card {
        name: step.name.as_str().to_owned(),
        lines,
        turn: step.turn,
        pivot: step.pivot,
        dashed: step.turn == Turn::Graph && (step.optional || step.when.is_some()),
        change: Change::Same,
    }
}

fn work(work: &Work, timeout_ms: i64) -> String {
    match work {
        Work::Action { worker, action } => format!("{worker}.{action}"),
        Work::Sleep { for_ms } => format!("waits {}", span(*for_ms)),
        Work::Signal { name } => format!("waits for `{name}`, {} at most", span(timeout_ms)),
        Work::Child { definition } => format!("saga {definition}"),
    }
}

/// A duration in the greatest unit that divides it.
fn span(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, word)| ms >= unit * if *word == "d" { 2 } else { 1 } && ms % unit == 0) {
        Some((unit, word)) => format!("{}{word}", ms / unit),
        None => format!("{ms}ms"),
    }
}

/// What the steps of a turn are called in a picture; nothing for those of the graph.
const fn heading(turn: Turn) -> Option<&'static str> {
    match turn {
        Turn::Graph => None,
        Turn::Compensated => Some("on_compensated"),
        Turn::Parked => Some("on_parked"),
    }
}
