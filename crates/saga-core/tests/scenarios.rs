//! The scenarios of `tests/sagas/`, in memory; and that a scenario that is wrong fails, and says how.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use saga_core::definition::{Definition, load};
use saga_core::simulate::{Coverage, ScenarioFile, Script, play, verify};
use saga_core::state::Status;
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn definition(name: &str) -> Definition {
    let path = root().join("saga-defs").join(format!("{name}.yaml"));
    load(&fs::read_to_string(path).unwrap()).unwrap()
}

fn yaml_in(folder: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect()
}

#[test]
fn every_definition_has_scenarios() {
    for path in yaml_in("saga-defs") {
        let of = root().join("tests/sagas").join(path.file_name().unwrap());
        assert!(of.is_file(), "{} has no scenarios", path.display());
    }
}

#[test]
fn every_scenario_comes_out_as_it_says() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for path in yaml_in("tests/sagas") {
        let file = ScenarioFile::parse(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let definition = definition(&file.definition);
        let door = saga_core::definition::validator(&definition).unwrap();
        let mut coverage = Coverage::of(&definition);
        for scenario in &file.scenarios {
            let input = scenario.input(&file);
            assert!(
                door.is_valid(&input),
                "{}: {}: the input is refused at the door",
                path.display(),
                scenario.name
            );
            assert_eq!(scenario.in_vain(&definition), [""; 0], "{}: {}", path.display(), scenario.name);
            let run = play(&definition, input, &scenario.script().unwrap()).unwrap();
            coverage.take_in(&definition, &run);
            let told = verify(&definition, &run, &scenario.expect);
            wrong.extend(told.into_iter().map(|it| format!("{}: {}: {it}", file.definition, scenario.name)));
            count += 1;
        }
        assert!(coverage.missing().count() < coverage.total());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 50, "{count} scenarios");
}

const RIGHT: &str = "
definition: order-checkout
input: { order_id: order-0001, customer_id: kim, items: [{ sku: mug, quantity: 2, unit_price: 9000 }], payment: { payment_key: k, amount: 18000 } }
scenarios:
  - scenario: one
    workers: { pay: { execute: { rejected: NO } } }
    expect: { ends: compensated, because: { pay: NO }, compensated: [reserve_stock, create_order] }
";

fn told(text: &str) -> Vec<String> {
    let file = ScenarioFile::parse(text).unwrap();
    let definition = definition(&file.definition);
    let scenario = &file.scenarios[0];
    let run = play(&definition, scenario.input(&file), &scenario.script().unwrap()).unwrap();
    verify(&definition, &run, &scenario.expect)
}

#[test]
fn a_scenario_that_is_wrong_says_what_it_found() {
    assert_eq!(told(RIGHT), Vec::<String>::new());
    let wrong = [
        ("ends: compensated", "ends: completed", "ends: expected completed, found compensated"),
        (
            "[reserve_stock, create_order]",
            "[create_order, reserve_stock]",
            "compensated: expected [create_order, reserve_stock], found [reserve_stock, create_order]",
        ),
        ("because: { pay: NO }", "because: { pay: YES }", "why pay failed: expected YES, found NO"),
        (
            "because: { pay: NO }",
            "steps: [pay]",
            "steps: expected [pay], found [create_order, reserve_stock, pay, notify_cancelled]",
        ),
        ("because: { pay: NO }", "at_most: 1ms", "time: expected at most 1ms, found 72 ms"),
        (
            "because: { pay: NO }",
            "inputs: { pay: { amount: 1 } }",
            "input of pay: expected {\"amount\":1}, found",
        ),
        ("because: { pay: NO }", "anomalies: [x]", "anomalies: expected [x], found []"),
        (
            "because: { pay: NO }",
            "parked: { pay: rejected }",
            "parked: expected pay: rejected, found nothing",
        ),
    ];
    for (from, to, says) in wrong {
        let told = told(&RIGHT.replace(from, to));
        assert!(told.len() == 1 && told[0].starts_with(says), "{to}: {told:?}");
    }
}

#[test]
fn a_scenario_that_cannot_be_read_says_why() {
    for (from, to, says) in [
        (
            "{ rejected: NO }",
            "{ refused: NO }",
            "one: pay.execute: an answer is `succeeded`, `rejected`, `retryable`, `silent` or `undecidable`",
        ),
        (
            "{ rejected: NO }",
            "{ rejected: NO, after: soon }",
            "one: pay.execute: `after: soon` is not a duration",
        ),
        ("{ rejected: NO }", "[]", "one: pay.execute: the list is empty: name at least one answer"),
        (
            "{ rejected: NO }",
            "{ 1: silent, 3: silent }",
            "one: pay.execute: rounds count from 1, without a gap",
        ),
        (
            "    expect:",
            "    events: [{ at: 1s }]\n    expect:",
            "one: events: an event is one of `signal: name`, `cancel: why`, `retry: why`, `resume: why` or `log_lost: true`",
        ),
    ] {
        let file = ScenarioFile::parse(&RIGHT.replace(from, to)).unwrap();
        assert_eq!(file.scenarios[0].script().unwrap_err().to_string(), says);
    }
    let unknown = ScenarioFile::parse(&RIGHT.replace("because", "becuase")).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `becuase`"), "{unknown}");
}

#[test]
fn what_a_live_scenario_says_beyond_its_keys_is_told() {
    let file = |live: &str| {
        format!(
            "definition: t\nscenarios:\n  - scenario: one\n    expect: {{ ends: completed }}\n    live: {live}\n"
        )
    };
    for right in ["no worker does that", "{ input: {} }", "{ input: {}, first: { a: 1 } }"] {
        assert!(ScenarioFile::parse(&file(right)).is_ok(), "{right}");
    }
    for wrong in ["{ input: {}, frist: { a: 1 } }", "{ first: {} }"] {
        let told = ScenarioFile::parse(&file(wrong)).map(|it| it.definition).unwrap_err().to_string();
        assert!(told.contains("`live` is either a text"), "{wrong}: {told}");
    }
}

const ALL_KINDS: &str = "
saga: t
steps:
  a: { worker: w, action: a, compensation: u, foreach: '${input.list}' }
  b: { wait: { signal: go, timeout: 1h } }
  c: { wait: { for: 1m } }
  d: { saga: other }
  e: { worker: w, action: a, compensation: none }
  p: { after: [a, b, c, d, e], pivot: true, worker: w, action: p }
  f: { after: [p], worker: w, action: f }
  g: { after: [p], saga: other }
on_parked:
  n: { worker: w, action: n }
";

fn in_vain(parts: &str) -> Vec<String> {
    let text = format!(
        "definition: t\nscenarios:\n  - {{ scenario: one, {parts}, expect: {{ ends: completed }} }}\n"
    );
    ScenarioFile::parse(&text).unwrap().scenarios[0].in_vain(&load(ALL_KINDS).unwrap())
}

#[test]
fn parts_of_a_scenario_that_can_have_no_effect_are_told() {
    for (parts, says) in [
        ("workers: { zz: { execute: silent } }", "workers: there is no step `zz`"),
        ("workers: { 'zz[0]': { execute: silent } }", "workers: there is no step `zz`"),
        ("workers: { b: { execute: { rejected: NO } } }", "workers: `b` is a wait, and asks no worker"),
        ("workers: { c: { execute: silent } }", "workers: `c` is a wait, and asks no worker"),
        ("workers: { 'e[3]': { execute: silent } }", "workers: `e[3]` is no item: `e` has no `foreach`"),
        ("workers: { 'a[x]': { execute: silent } }", "workers: `a[x]` is no item: write `a[0]`"),
        ("workers: { 'a[01]': { execute: silent } }", "workers: `a[01]` is no item: write `a[0]`"),
        ("workers: { 'a[0': { execute: silent } }", "workers: `a[0` is no item: write `a[0]`"),
        (
            "workers: { p: { compensate: silent } }",
            "workers: nothing undoes `p`: its `compensate` is never asked",
        ),
        (
            "workers: { e: { compensate: silent } }",
            "workers: nothing undoes `e`: its `compensate` is never asked",
        ),
        (
            "workers: { f: { compensate: silent } }",
            "workers: nothing undoes `f`: its `compensate` is never asked",
        ),
        (
            "workers: { g: { compensate: silent } }",
            "workers: nothing undoes `g`: its `compensate` is never asked",
        ),
        (
            "workers: { n: { compensate: silent } }",
            "workers: nothing undoes `n`: its `compensate` is never asked",
        ),
        ("events: [{ at: 1m, signal: gone }]", "events: no step waits for the signal `gone`"),
    ] {
        assert_eq!(in_vain(parts), [says], "{parts}");
    }
    for parts in [
        "workers: { a: { execute: silent, compensate: silent }, 'a[0]': { compensate: silent } }",
        "workers: { d: { compensate: undecidable }, e: { execute: silent }, n: { execute: silent } }",
        "events: [{ at: 1m, signal: go }, { at: 2m, cancel: why }, { at: 3m, log_lost: true }]",
    ] {
        assert_eq!(in_vain(parts), [""; 0], "{parts}");
    }
}

#[test]
fn an_input_that_nobody_says_is_an_empty_object() {
    let input = |file: &str, own: &str| {
        let text = format!(
            "definition: t\n{file}scenarios:\n  - scenario: one\n{own}    expect: {{ ends: completed }}\n"
        );
        let file = ScenarioFile::parse(&text).unwrap();
        file.scenarios[0].input(&file)
    };
    let definition = load("saga: t\nsteps: { a: { worker: w, action: a, compensation: u } }").unwrap();
    let door = saga_core::definition::validator(&definition).unwrap();
    assert_eq!(input("", ""), serde_json::json!({}));
    assert!(door.is_valid(&input("", "")), "what a definition without `input` takes");
    assert_eq!(input("", "    input: { a: 1 }\n"), serde_json::json!({ "a": 1 }));
    assert_eq!(input("input: { a: 1 }\n", "    input: { a: null }\n"), serde_json::json!({}));
}

/// A signal of which only the time is said brings what its wait asks for: every definition has a run that completes.
#[test]
fn a_signal_without_a_payload_brings_what_its_step_asks_for() {
    let ended = |name: &str, signals: &[&str]| {
        let definition = definition(name);
        let mut script = Script::that_makes_up();
        signals.iter().for_each(|it| script.signal(it, &definition).unwrap());
        play(&definition, definition.sample_input(), &script).unwrap()
    };
    let run = ended("order-return", &["inspected@48h"]);
    assert_eq!((run.state.status, &run.output.unwrap()["refunded"]), (Status::Completed, &json!(0)));
    let run = ended("order-return", &["inspected@48h={\"refund_amount\": 9000}"]);
    assert_eq!((run.state.status, &run.output.unwrap()["refunded"]), (Status::Completed, &json!(9000)));
    assert!(matches!(ended("order-return", &["inspected@48h={}"]).state.status, Status::Parked(_)));

    let mut script = Script::default();
    let wrong = [
        ("inspected", "`inspected`: write NAME@TIME or NAME@TIME=JSON, such as paid@1h"),
        (
            "inspected@soon",
            "`inspected@soon`: the time is not a duration; write NAME@TIME or NAME@TIME=JSON, such as paid@1h",
        ),
        ("paid@1h", "no step waits for the signal `paid`"),
    ];
    for (given, told) in wrong {
        assert_eq!(script.signal(given, &definition("order-return")).unwrap_err().to_string(), told);
    }
    let told = script.signal("inspected@1h={", &definition("order-return")).unwrap_err().to_string();
    assert!(told.starts_with("`inspected@1h={`: the payload is not JSON: "), "{told}");
}

/// Two waits for signals of one name, each with its own schema: each gets what it asks for.
#[test]
fn each_wait_for_a_signal_gets_one_that_it_asks_for() {
    let text = "saga: t\nsteps:\n  one: { wait: { signal: approved, timeout: 1h }, output_schema: { type: object, required: [by], properties: { by: { type: string } } } }\n  two: { after: [one], wait: { signal: approved, timeout: 1h }, output_schema: { type: object, required: [level], properties: { level: { type: integer } } } }\noutput: { by: '${steps.one.output.by}', level: '${steps.two.output.level}' }\n";
    let definition = load(text).unwrap();
    let mut script = Script::that_makes_up();
    ["approved@1m", "approved@2m"].iter().for_each(|it| script.signal(it, &definition).unwrap());
    assert_eq!(play(&definition, json!({}), &script).unwrap().state.status, Status::Completed);
}
