//! A picture as a Mermaid flowchart.

use std::fmt::Write as _;

use super::{Card, Change, Picture, heading};
use crate::definition::Turn;

/// Writes a picture as a Mermaid flowchart.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    for turn in [Turn::Graph, Turn::Compensated, Turn::Parked] {
        let cards: Vec<(usize, &Card)> =
            picture.cards.iter().enumerate().filter(|(_, card)| card.turn == turn).collect();
        if cards.is_empty() {
            continue;
        }
        if let Some(heading) = heading(turn) {
            let _ = writeln!(out, "  subgraph {heading}");
        }
        for (at, card) in cards {
            let (open, close) = if card.pivot { ("{{", "}}") } else { ("[", "]") };
            let _ = writeln!(out, "  s{at}{open}\"{}\"{close}", label(card));
            if let Some(class) = class(card.change, card.dashed, card.pivot) {
                let _ = writeln!(out, "  class s{at} {class}");
            }
        }
        if heading(turn).is_some() {
            out.push_str("  end\n");
        }
    }
    for arrow in &picture.arrows {
        let line = match arrow.change {
            Change::Same | Change::Changed => "-->",
            Change::Added => "== new ==>",
            Change::Removed => "-. gone .->",
        };
        let _ = writeln!(out, "  s{} {line} s{}", arrow.from, arrow.to);
    }
    out.push_str("  classDef pivot stroke-width:3px\n  classDef dashed stroke-dasharray:4 3\n");
    if picture.cards.iter().any(|card| card.change != Change::Same) {
        out.push_str("  classDef added fill:#dcfce7,stroke:#15803d\n");
        out.push_str("  classDef removed fill:#fee2e2,stroke:#b91c1c,stroke-dasharray:4 3\n");
        out.push_str("  classDef changed fill:#fef9c3,stroke:#a16207\n");
    }
    out
}

fn class(change: Change, dashed: bool, pivot: bool) -> Option<&'static str> {
    match change {
        Change::Added => Some("added"),
        Change::Removed => Some("removed"),
        Change::Changed => Some("changed"),
        Change::Same if pivot => Some("pivot"),
        Change::Same if dashed => Some("dashed"),
        Change::Same => None,
    }
}

/// The text of a box, in which only what Mermaid itself writes is markup.
fn label(card: &Card) -> String {
    let mut lines = vec![format!("<b>{}</b>", card.name)];
    lines.extend(card.lines.iter().map(|line| escape(line)));
    lines.join("<br/>")
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            '`' => out.push_str("#96;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}
