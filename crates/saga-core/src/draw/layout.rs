//! Where the boxes of a picture stand: in layers from left to right, with few crossings.
//!
//! Owns the places, in steps of a grid. An arrow over several layers goes through a place in each of them, so that it
//! does not run behind boxes.

use super::Picture;
use crate::definition::Turn;

/// A picture on a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// Layer and row of each box of the graph; rows may be halves.
    pub(super) cards: Vec<Option<(usize, f64)>>,
    /// The places that each arrow goes through, its ends included.
    pub(super) arrows: Vec<Vec<(usize, f64)>>,
    /// How many layers there are.
    pub(super) layers: usize,
    /// How many rows there are.
    pub(super) rows: usize,
}

/// How often layers are put in order, there and back.
const SWEEPS: usize = 8;

/// One place: a box, or an arrow that passes.
#[derive(Clone, Debug)]
struct Spot {
    layer: usize,
    before: Vec<usize>,
    after: Vec<usize>,
}

pub(super) fn layout(picture: &Picture) -> Layout {
    let count = picture.cards.len();
    let depths = depths(picture);
    let mut spots: Vec<Spot> =
        depths.iter().map(|&layer| Spot { layer, before: Vec::new(), after: Vec::new() }).collect();
    let mut ways = Vec::new();
    for arrow in &picture.arrows {
        let mut way = vec![arrow.from];
        for layer in depths[arrow.from] + 1..depths[arrow.to] {
            way.push(spots.len());
            spots.push(Spot { layer, before: Vec::new(), after: Vec::new() });
        }
        way.push(arrow.to);
        for pair in way.windows(2) {
            if let &[from, to] = pair {
                spots[from].after.push(to);
                spots[to].before.push(from);
            }
        }
        ways.push(way);
    }
    let shown = |at: usize| picture.cards.get(at).is_none_or(|card| card.turn == Turn::Graph);
    let layers = spots.iter().map(|spot| spot.layer + 1).max().unwrap_or(0);
    let mut order: Vec<Vec<usize>> = (0..layers)
        .map(|layer| (0..spots.len()).filter(|&at| spots[at].layer == layer && shown(at)).collect())
        .collect();
    for sweep in 0..SWEEPS {
        let forward = sweep % 2 == 0;
        let all: Vec<usize> = if forward { (0..layers).collect() } else { (0..layers).rev().collect() };
        for layer in all {
            let places = rows(&order, spots.len());
            let wish = |at: usize| {
                let near = if forward { &spots[at].before } else { &spots[at].after };
                let sum: f64 = near.iter().map(|&it| places[it]).sum();
                if near.is_empty() { places[at] } else { sum / as_f64(near.len()) }
            };
            order[layer].sort_by(|&a, &b| wish(a).total_cmp(&wish(b)));
        }
    }
    let places = rows(&order, spots.len());
    let place = |at: usize| (spots[at].layer, places[at]);
    Layout {
        cards: (0..count).map(|at| shown(at).then(|| place(at))).collect(),
        arrows: ways.iter().map(|way| way.iter().map(|&at| place(at)).collect()).collect(),
        layers,
        rows: order.iter().map(Vec::len).max().unwrap_or(0),
    }
}

/// The row of each place: layers are centred.
fn rows(order: &[Vec<usize>], count: usize) -> Vec<f64> {
    let most = order.iter().map(Vec::len).max().unwrap_or(0);
    let mut places = vec![0.0; count];
    for layer in order {
        let top = as_f64(most - layer.len()) / 2.0;
        for (row, &at) in layer.iter().enumerate() {
            places[at] = top + as_f64(row);
        }
    }
    places
}

/// How many arrows lead to each box at most. The union of two versions may run in a circle: then each box is looked
/// at as often as there are boxes, and no more.
fn depths(picture: &Picture) -> Vec<usize> {
    let mut depths = vec![0; picture.cards.len()];
    for _ in 0..picture.cards.len() {
        let mut moved = false;
        for arrow in &picture.arrows {
            let wanted = (depths[arrow.from] + 1).min(picture.cards.len());
            if depths[arrow.to] < wanted {
                (depths[arrow.to], moved) = (wanted, true);
            }
        }
        if !moved {
            break;
        }
    }
    depths
}

pub(super) fn as_f64(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
