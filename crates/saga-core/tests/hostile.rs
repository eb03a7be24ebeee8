//! Whatever text is published as a definition is compiled or refused with its mistakes; it never panics, and it
//! does not take long.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use saga_core::definition::{load, validator};

const GOOD: [&str; 2] = [
    include_str!("../../../saga-defs/order-checkout.yaml"),
    include_str!("../../../saga-defs/checkout-bare.yaml"),
];

/// Pieces of text that mean something to YAML, to CEL or to the language.
const PIECES: [&str; 34] = [
    "steps:",
    "\n  ",
    ": ",
    "- ",
    "${",
    "}",
    "${input",
    "${steps.",
    "after: [",
    "]",
    "pivot: true",
    "&a ",
    "*a ",
    "!!binary ",
    "<<: ",
    "|\n",
    "\t",
    "\u{0}",
    "\u{feff}",
    "foreach: ",
    "when: ",
    "9999999999999999999999s",
    "-1ms",
    "1e400",
    "''",
    "\"",
    "{",
    "? ",
    "---\n",
    "...",
    "item",
    ".map(x, x)",
    "((((((((",
    "%",
];

fn damaged() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        prop::sample::select(&PIECES[..]),
        0u8..4,
    );
    (prop::sample::select(&GOOD[..]), prop::collection::vec(edit, 1..6)).prop_map(|(good, edits)| {
        let mut text: Vec<char> = good.chars().collect();
        for (from, to, piece, kind) in edits {
            let (a, b) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 200));
            match kind {
                0 => drop(text.splice(from..from, piece.chars())),
                1 => drop(text.drain(from..to)),
                2 => drop(text.splice(from..to, piece.chars())),
                // Twice: a second step, a second pivot, a second key.
                _ => {
                    let copy: Vec<char> = text[from..to].to_vec();
                    drop(text.splice(to..to, copy));
                }
            }
        }
        text.into_iter().collect()
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => damaged(),
        1 => ".{0,200}",
        1 => prop::collection::vec(prop::sample::select(&PIECES[..]), 0..30).prop_map(|it| it.concat()),
    ]
}

fn compile(text: &str) {
    let began = Instant::now();
    match load(text) {
        Ok(definition) => {
            let again = load(text).unwrap();
            assert_eq!(definition.version.0, again.version.0, "one text, one version");
            let _ = validator(&definition);
        }
        Err(mistakes) => assert!(!mistakes.is_empty(), "refused without a reason"),
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{} bytes took {:?}", text.len(), began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn loading_never_panics(text in text()) {
        compile(&text);
    }
}

#[test]
fn what_grows_when_it_is_parsed_is_bounded() {
    // Anchors that multiply, nesting without end, and one very long line.
    let laughs: String =
        (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    compile(&format!("a0: &a0 lol\n{laughs}"));
    compile(&"[".repeat(100_000));
    compile(&"{a: ".repeat(100_000));
    compile(&"a".repeat(1_000_000));
    compile(&format!(
        "saga: x\nsteps:\n  a: {{ worker: w, action: a, when: \"${{{}true}}\" }}\n",
        "!".repeat(50_000)
    ));
    compile(&format!(
        "saga: x\nsteps:\n  a: {{ worker: w, action: a, input: {{ b: \"${{{}1{}}}\" }} }}\n",
        "(".repeat(20_000),
        ")".repeat(20_000)
    ));
}
