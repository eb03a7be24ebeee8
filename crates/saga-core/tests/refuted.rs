//! For each property that a definition can break, one that does, and the shortest story that `check` tells of it.
//!
//! The stories stand in docs/check.md, in the order of [`WRONG`]. `AMENDS_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use saga_core::check::{Limits, Property, Refutation, Verdict, check};
use saga_core::definition::{Definition, StepIx, load, load_to_explore};

struct Wrong {
    property: Property,
    title: &'static str,
    /// The diagnostics that refuse it at the door: they are passed over to explore it.
    refused: &'static [&'static str],
    text: &'static str,
    child: Option<&'static str>,
    /// What is explored instead, where the text is refused before there is a definition.
    made: Option<fn() -> Definition>,
}

const PLAIN: Wrong =
    Wrong { property: Property::Reachable, title: "", refused: &[], text: "", child: None, made: None };

const WRONG: [Wrong; 11] = [
    Wrong {
        property: Property::AlwaysEnds,
        title: "Two steps wait for each other",
        refused: &["E007"],
        text: "saga: test
deadline: 10m
steps:
  a: { after: [b], worker: w, action: a, compensation: u }
  b: { after: [a], worker: w, action: a, compensation: u }
",
        made: Some(circle),
        ..PLAIN
    },
    Wrong {
        property: Property::Reachable,
        title: "A condition that is never true",
        text: "saga: test
steps:
  a: { worker: w, action: a, compensation: u }
  b: { after: [a], when: '${1 > 2}', worker: w, action: a, compensation: u }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Reachable,
        title: "A pause longer than the deadline",
        text: "saga: test
deadline: 10m
steps:
  a: { worker: w, action: a, compensation: u }
  b: { after: [a], wait: { for: 15m } }
  c: { after: [b], worker: w, action: a, compensation: u }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Reachable,
        title: "Two pauses longer than the deadline, and nothing behind them",
        text: "saga: test
deadline: 10m
steps:
  a: { worker: w, action: a, compensation: u }
  b: { after: [a], wait: { for: 6m } }
  c: { after: [b], wait: { for: 6m } }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Reachable,
        title: "A child saga that is not given what it takes",
        text: "saga: test
input: { type: object, required: [id], properties: { id: { type: string } } }
steps:
  a: { saga: shipping, input: { oder_id: '${input.id}' } }
",
        child: Some(
            "saga: shipping
input: { type: object, required: [order_id], properties: { order_id: { type: string } } }
steps:
  hand_over: { worker: w, action: a, compensation: u }
",
        ),
        ..PLAIN
    },
    Wrong {
        property: Property::Undone,
        title: "Nothing undoes a step before the pivot",
        refused: &["E011"],
        text: "saga: test
steps:
  a: { worker: w, action: a }
  b: { after: [a], pivot: true, worker: w, action: a }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Undone,
        title: "A child saga that cannot be taken back, where it may have to be",
        text: "saga: test
steps:
  a: { saga: shipping }
  b: { after: [a], worker: w, action: a, compensation: u }
",
        child: Some("saga: shipping\nsteps:\n  hand_over: { pivot: true, worker: w, action: a }\n"),
        ..PLAIN
    },
    Wrong {
        property: Property::Undone,
        title: "A step beside the pivot that nothing undoes",
        refused: &["E010"],
        text: "saga: test
steps:
  a: { worker: w, action: a }
  b: { pivot: true, worker: w, action: a }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Undone,
        title: "A pivot that may be skipped",
        refused: &["E009"],
        text: "saga: test
input: { type: object, required: [x], properties: { x: { type: boolean } } }
steps:
  a: { when: '${input.x}', pivot: true, worker: w, action: a }
  b: { after: [a], worker: w, action: a }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Undone,
        title: "A pivot that may be refused without consequence",
        refused: &["E009"],
        text: "saga: test
steps:
  a: { optional: true, pivot: true, worker: w, action: a }
  b: { after: [a], worker: w, action: a }
",
        ..PLAIN
    },
    Wrong {
        property: Property::Undone,
        title: "A step that counts as before the pivot, and whose refusal parks",
        refused: &["E011"],
        text: "saga: test
deadline: 10m
steps:
  a: { worker: w, action: a, on_rejected: park, on_exhausted: park }
  b: { after: [a], worker: w, action: a, compensation: u }
",
        ..PLAIN
    },
];

/// Two steps that wait for each other: refused before there is a definition, and so made by hand.
fn circle() -> Definition {
    let text = "saga: test\ndeadline: 10m\nsteps:\n  a: { worker: w, action: a, compensation: u }\n  b: { after: [a], worker: w, action: a, compensation: u }\n";
    let mut definition = load(text).unwrap();
    definition.steps[0].after.push(StepIx(1));
    definition.steps[1].dependents.push(StepIx(0));
    definition
}

fn refuted(wrong: &Wrong) -> Refutation {
    let codes: Vec<&str> = load(wrong.text).err().unwrap_or_default().iter().map(|it| it.code).collect();
    assert_eq!(codes, wrong.refused, "{}", wrong.title);
    let definition = wrong.made.map_or_else(|| load_to_explore(wrong.text).unwrap(), |made| made());
    let child = wrong.child.map(|it| load(it).unwrap());
    let children: Vec<&Definition> = child.iter().collect();
    match check(&definition, &children, Limits::default()).verdict {
        Verdict::Refuted(it) => it,
        other => panic!("{}: {other:?}", wrong.title),
    }
}

fn told(wrong: &Wrong) -> String {
    let it = refuted(wrong);
    assert_eq!(it.property, wrong.property, "{}: {}", wrong.title, it.message);
    let refused = match wrong.refused {
        [] => "no diagnostic refuses it".to_owned(),
        codes => format!("refused at the door by {}", codes.join(" and ")),
    };
    let child = wrong.child.map(|it| {
        format!("and in a file of its own, for a file holds one definition:\n\n```yaml\n{it}```\n\n")
    });
    let child = child.unwrap_or_default();
    let mut text = format!("### {}: {}\n\n", it.property, wrong.title);
    text.push_str(&format!("{refused}\n\n```yaml\n{}```\n\n{child}```\n", wrong.text));
    for (nth, beat) in (1..).zip(&it.story) {
        text.push_str(&format!("{nth}. {}\n", beat.happens));
        text.extend(beat.follows.iter().map(|it| format!("   → {it}\n")));
    }
    text.push_str(&format!("{}\n```\n\n", it.message));
    text
}

#[test]
fn the_shortest_stories_are_those_of_the_page() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/check.md");
    let text = fs::read_to_string(&page).unwrap();
    let (begin, end) = ("<!-- stories: begin -->\n\n", "<!-- stories: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (stands, after) = rest.split_once(end).unwrap();
    let now: String = WRONG.iter().map(told).collect();
    if std::env::var_os("AMENDS_BLESS").is_some() {
        fs::write(&page, format!("{before}{begin}{now}{end}{after}")).unwrap();
    } else {
        assert!(stands == now, "docs/check.md tells other stories:\n{now}\nAMENDS_BLESS=1 writes them anew");
    }
}

/// What no definition can break is broken by a mutant of the state machine, which the page names.
#[test]
fn every_property_is_shown_to_be_broken_by_a_definition_or_a_mutant() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/check.md")).unwrap();
    for property in Property::ALL {
        let row = page.lines().find(|it| it.starts_with(&format!("| {property} |")));
        let row = row.unwrap_or_else(|| panic!("docs/check.md has no row of {property}"));
        assert!(row.contains(property.says()), "docs/check.md says something else of {property}");
        let mutants: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        for mutant in &mutants {
            let patch = root.join(format!("tests/mutants/step/{mutant}.patch"));
            assert!(patch.is_file(), "{property}: there is no mutant {mutant}");
        }
        let defined = WRONG.iter().any(|it| it.property == property);
        assert!(defined || !mutants.is_empty(), "nothing shows that {property} can be broken");
    }
    for patch in fs::read_dir(root.join("tests/mutants/step")).unwrap() {
        let file = patch.unwrap().file_name().into_string().unwrap();
        let name = file.trim_end_matches(".patch");
        assert!(
            page.contains(&format!("\n| `{name}` | ")),
            "the page's table has no {name}: run tests/mutants/run"
        );
    }
}
