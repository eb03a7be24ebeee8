//! A picture as SVG: no scripts, no fonts of its own, light and dark.

use std::fmt::Write as _;

use super::layout::{Layout, as_f64, layout};
use super::{Card, Change, Picture, heading};
use crate::definition::Turn;

const LINE: f64 = 16.0;
const PADDING: f64 = 12.0;
const GAP_X: f64 = 56.0;
const GAP_Y: f64 = 22.0;
const MARGIN: f64 = 20.0;
/// The width of a character; what is wider takes two.
const CHARACTER: f64 = 7.3;
/// The most characters of a line.
const CHARACTERS_MAX: usize = 44;

const STYLE: &str = "
  text { font: 12px ui-monospace, monospace; fill: #1f2937 } .name { font-weight: bold } .faint { fill: #6b7280 }
  rect { fill: #f9fafb; stroke: #6b7280 } .pivot { stroke-width: 3 } .dashed { stroke-dasharray: 4 3 }
  path { fill: none; stroke: #6b7280 } marker path { fill: #6b7280; stroke: none }
  .added { fill: #dcfce7; stroke: #15803d } .removed { fill: #fee2e2; stroke: #b91c1c; stroke-dasharray: 4 3 }
  .changed { fill: #fef9c3; stroke: #a16207 } path.added, path.removed { fill: none }
  @media (prefers-color-scheme: dark) {
    rect.plain { fill: #1f2937; stroke: #9ca3af } .plain + g text { fill: #f3f4f6 } .plain + g .faint { fill: #9ca3af }
    text.faint { fill: #9ca3af } }
";

/// Writes a picture as SVG. `title` says what it is to who cannot see it.
pub fn svg(picture: &Picture, title: &str) -> String {
    let layout = layout(picture);
    let grid = Grid::of(picture, &layout);
    let notices = notices(picture);
    let height = grid.height + as_f64(notices.len()) * (grid.card.1 + GAP_Y + LINE * 1.5);
    let most = notices.iter().map(|(_, cards)| cards.len()).max().unwrap_or(0);
    let width = grid.width.max(MARGIN + as_f64(most) * (grid.card.0 + GAP_X));
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\"><title>{}</title><style>{STYLE}</style>",
        escape(title)
    );
    out.push_str(
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n",
    );
    for (way, arrow) in layout.arrows.iter().zip(&picture.arrows) {
        let class = change(arrow.change).map(|it| format!(" class=\"{it}\"")).unwrap_or_default();
        let _ = writeln!(out, "<path{class} marker-end=\"url(#tip)\" d=\"{}\"/>", grid.way(way));
    }
    for (card, place) in picture.cards.iter().zip(&layout.cards) {
        if let Some(place) = place {
            draw(&mut out, card, grid.corner(*place), grid.card);
        }
    }
    let mut y = grid.height;
    for (heading, cards) in notices {
        let _ = writeln!(out, "<text class=\"faint\" x=\"{MARGIN}\" y=\"{y:.1}\">{heading}</text>");
        for (nth, card) in cards.into_iter().enumerate() {
            let x = MARGIN + as_f64(nth) * (grid.card.0 + GAP_X);
            draw(&mut out, card, (x, y + LINE / 2.0), grid.card);
        }
        y += grid.card.1 + GAP_Y + LINE * 1.5;
    }
    out.push_str("</svg>\n");
    out
}

fn notices(picture: &Picture) -> Vec<(&'static str, Vec<&Card>)> {
    [Turn::Compensated, Turn::Parked]
        .into_iter()
        .filter_map(|turn| {
            let cards: Vec<&Card> = picture.cards.iter().filter(|card| card.turn == turn).collect();
            heading(turn).filter(|_| !cards.is_empty()).map(|heading| (heading, cards))
        })
        .collect()
}

/// Where the grid's places are, in pixels. All boxes are alike.
struct Grid {
    card: (f64, f64),
    width: f64,
    height: f64,
}

impl Grid {
    fn of(picture: &Picture, layout: &Layout) -> Self {
        let lines = picture.cards.iter().flat_map(|card| card.lines.iter().cloned().chain([word(card)]));
        let widest = lines.map(|line| columns(&shorten(&line))).max().unwrap_or(0);
        let most = picture.cards.iter().map(|card| card.lines.len() + 1).max().unwrap_or(1);
        let card = (as_f64(widest) * CHARACTER + PADDING * 2.0, as_f64(most) * LINE + PADDING * 1.25);
        let width = MARGIN * 2.0 + as_f64(layout.layers) * (card.0 + GAP_X) - GAP_X;
        let height = MARGIN * 2.0 + as_f64(layout.rows) * (card.1 + GAP_Y) - GAP_Y;
        Self { card, width: width.max(MARGIN * 2.0), height: height.max(MARGIN * 2.0) }
    }

    fn corner(&self, (layer, row): (usize, f64)) -> (f64, f64) {
        (MARGIN + as_f64(layer) * (self.card.0 + GAP_X), MARGIN + row * (self.card.1 + GAP_Y))
    }

    /// A line from the right side of the first place to the left side of the last, through those between.
    fn way(&self, places: &[(usize, f64)]) -> String {
        let middle = |place| self.corner(place).1 + self.card.1 / 2.0;
        let left = |place| self.corner(place).0;
        let mut path = String::new();
        for pair in places.windows(2) {
            let &[from, to] = pair else { continue };
            let (x0, y0, x1, y1) = (left(from) + self.card.0, middle(from), left(to), middle(to));
            if path.is_empty() {
                let _ = write!(path, "M{x0:.1} {y0:.1}");
            } else {
                let _ = write!(path, "H{x0:.1}");
            }
            let bend = (x0 + x1) / 2.0;
            let _ = write!(path, "C{bend:.1} {y0:.1} {bend:.1} {y1:.1} {x1:.1} {y1:.1}");
        }
        path
    }
}

fn draw(out: &mut String, card: &Card, (x, y): (f64, f64), (width, height): (f64, f64)) {
    let mut class = vec![change(card.change).unwrap_or("plain")];
    class.extend(card.pivot.then_some("pivot"));
    class.extend(card.dashed.then_some("dashed"));
    let _ = write!(
        out,
        "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/><g>",
        class.join(" ")
    );
    for (nth, line) in std::iter::once(&word(card)).chain(&card.lines).enumerate() {
        let class = if nth == 0 { "name" } else { "faint" };
        let (x, y) = (x + PADDING, y + PADDING + LINE * (as_f64(nth) + 0.6));
        let _ = write!(
            out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(&shorten(line))
        );
    }
    out.push_str("</g>\n");
}

fn word(card: &Card) -> String {
    if card.pivot { format!("{} (pivot)", card.name) } else { card.name.clone() }
}

const fn change(change: Change) -> Option<&'static str> {
    match change {
        Change::Same => None,
        Change::Added => Some("added"),
        Change::Removed => Some("removed"),
        Change::Changed => Some("changed"),
    }
}

fn shorten(line: &str) -> String {
    if line.chars().count() <= CHARACTERS_MAX {
        return line.to_owned();
    }
    line.chars().take(CHARACTERS_MAX - 1).chain(['…']).collect()
}

fn columns(line: &str) -> usize {
    line.chars().map(crate::definition::snippet::width).sum()
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}
