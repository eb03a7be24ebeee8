//! Pictures, one spelling, and the JSON Schema of the language.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use saga_core::definition::format::format;
use saga_core::definition::load;
use saga_core::draw::{difference, mermaid, picture, svg};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    if std::env::var_os("AMENDS_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{name} has changed; it is now:\n{found}\nAMENDS_BLESS=1 writes it anew");
}

fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "yaml") {
            all.push((path.clone(), fs::read_to_string(path).unwrap()));
        }
    }
    assert!(!all.is_empty());
    all
}

const OLD: &str = r#"
saga: trip
steps:
  flight: { worker: travel, action: book_flight, compensation: cancel_flight }
  hotel: { after: [flight], worker: travel, action: book_hotel, compensation: cancel_hotel }
  pay: { after: [hotel], pivot: true, worker: payment, action: confirm }
on_compensated:
  sorry: { worker: notify, action: sorry }
"#;
const NEW: &str = r#"
saga: trip
steps:
  flight: { worker: travel, action: book_flight, compensation: cancel_flight }
  car: { when: "${input.name < 'x' && input.car}", worker: travel, action: book_car, compensation: cancel_car }
  pay: { after: [flight, car], pivot: true, worker: payment, action: confirm, timeout: 90s }
  paid: { after: [pay], wait: { signal: paid, timeout: 24h } }
on_compensated:
  sorry: { worker: notify, action: sorry }
"#;

#[test]
fn a_definition_is_drawn() {
    let text = fs::read_to_string(root().join("saga-defs/order-checkout.yaml")).unwrap();
    let picture = picture(&load(&text).unwrap());
    golden("order-checkout.mmd", &mermaid(&picture));
    golden("order-checkout.svg", &svg(&picture, "order-checkout"));
}

#[test]
fn two_versions_are_drawn_as_one() {
    let union = difference(&load(OLD).unwrap(), &load(NEW).unwrap());
    golden("trip-difference.mmd", &mermaid(&union));
    golden("trip-difference.svg", &svg(&union, "trip <old & new>"));
}

#[test]
fn versions_that_turn_the_order_around_are_drawn_all_the_same() {
    let old = "saga: t\nsteps:\n  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], worker: w, action: a, compensation: u}\n";
    let new = "saga: t\nsteps:\n  a: {after: [b], worker: w, action: a, compensation: u}\n  b: {worker: w, action: a, compensation: u}\n";
    let union = difference(&load(old).unwrap(), &load(new).unwrap());
    assert!(svg(&union, "t").matches("<path").count() >= 3);
}

#[test]
fn what_ships_is_spelled_as_all_are() {
    for folder in ["saga-defs", "crates/saga-core/tests/definitions/broken"] {
        for (path, text) in texts(folder) {
            let Some(spelled) = format(&text) else { continue };
            if folder != "crates/saga-core/tests/definitions/broken" {
                assert_eq!(spelled, text, "{}: run `amends def fmt`", path.display());
            }
            assert_eq!(format(&spelled).unwrap(), spelled, "{}: not stable", path.display());
        }
    }
}

#[test]
fn spelling_keeps_the_meaning_and_every_comment() {
    let text = "\n\n# the head\nsteps:\n    # first\n    a:\n        worker: w   \n        # why\n        after:\n        - b\n        - c # last\n        action: a\n        compensation: u\n        input:\n            text: |\n                two\n\n                lines\n            list: [\n                1,\n                2 ]\n            plain: one\n                text\n            quoted: \"a: # no comment\"\n            x: ${input.y}\n\n\n\n    b: { worker: w, action: a, compensation: u } # b\n    c: {worker: w, action: a, compensation: u}\nsaga: t\n# the end";
    let spelled = format(text).unwrap();
    assert_eq!(
        spelled,
        "saga: t\n# the head\nsteps:\n  # first\n  a:\n    # why\n    after:\n      - b\n      - c # last\n    worker: w\n    action: a\n    compensation: u\n    input:\n      text: |\n          two\n\n          lines\n      list: [\n          1,\n          2 ]\n      plain: one\n          text\n      quoted: \"a: # no comment\"\n      x: ${input.y}\n\n  b: { worker: w, action: a, compensation: u } # b\n  c: {worker: w, action: a, compensation: u}\n# the end\n"
    );
    assert_eq!(load(&spelled).unwrap().version, load(text).unwrap().version);
    assert_eq!(format(&spelled).unwrap(), spelled);
    assert_eq!(format("a: ["), None);
}

#[test]
fn an_anchor_stays_above_what_uses_it() {
    let text = "saga: t\nsteps:\n  a:\n    compensation: &undo { action: u, timeout: 1s }\n    worker: w\n    action: a\n  b: { after: [a], worker: w, action: a, compensation: *undo }\n";
    let spelled = format(text).unwrap();
    assert!(spelled.find("compensation: &undo").unwrap() > spelled.find("action: a").unwrap());
    let used_above = "saga: t\nkey: &k \"${input.k}\"\ndescription: hi\namount: *k\nowner: x\nsteps:\n  a: {worker: w, action: a, compensation: u}\n";
    assert_eq!(load(&format(used_above).unwrap()).unwrap().version, load(used_above).unwrap().version);
}
