//! Fan-out: a step once for each element of a list.

use saga_core::{Run, Why};
use serde_json::{Value, json};

use crate::support::{Saga, definition};

fn fan_out(more: &str, list: Value) -> Saga {
    let steps =
        format!("f: foreach: \"${{input.list}}\"; input: {{n: \"${{item.n}}\", at: \"${{index}}\"}}{more}");
    let output = if more.contains("optional") { "" } else { "output: ${steps.f.output}" };
    let mut s = Saga::new(definition(&steps, output), json!({"list": list}));
    s.start();
    s
}

/// "`foreach` fixes its list when it starts …; the index is part of every key."
#[test]
fn a_fan_out_runs_once_for_each_element() {
    let mut s = fan_out("", json!([{"n": 5}, {"n": 6}]));
    let said: Vec<String> = s.last.clone().unwrap().effects.iter().map(|effect| s.say(effect)).collect();
    assert_eq!(said, ["f.0:x1:1", "f.1:x1:1"]);
    assert_eq!(s.command("f.1:x1").input.get(), r#"{"at":1,"n":6}"#);
    assert_eq!(s.command("f.1:x1").effect_key().to_string(), format!("{}:f.1:x1", s.payloads.saga));
    s.ok_with("f.1:x1:1", json!("second"));
    assert_eq!(s.ok_with("f.0:x1:1", json!("first")), [r#"ended completed ["first","second"]"#]);
}

/// An empty list is nothing to do.
#[test]
fn an_empty_list_is_done() {
    let s = fan_out("\nb: after f", json!([]));
    assert_eq!(s.run("f"), Run::Succeeded);
    assert_eq!(s.run("b"), Run::Sent);
}

/// … and nothing to undo.
#[test]
fn an_empty_list_is_not_compensated() {
    let mut s = fan_out("\nb: after f", json!([]));
    assert_eq!(s.no("b:x1:1"), ["ended compensated"]);
}

/// "At most 100 items; beyond, a child saga an item."
#[test]
fn a_list_of_more_than_a_hundred_parks() {
    let items = |count| Value::Array((0..count).map(|n| json!({"n": n})).collect());
    assert_eq!(fan_out("", items(100)).state.cells.len(), 100);
    let s = fan_out("", items(101));
    assert_eq!(s.parked(), Some((Why::BadExpression, "f:x".to_owned())));
    assert!(s.notes().contains("101"), "{}", s.notes());
}

/// What is not a list, or an element that does not fit, parks before anything was sent.
#[test]
fn a_list_that_does_not_fit_parks_before_anything_is_sent() {
    assert_eq!(fan_out("", json!("no list")).parked().unwrap().0, Why::BadExpression);
    let s = fan_out("", json!([{"n": 1}, {}]));
    assert_eq!(s.parked().unwrap().0, Why::BadExpression);
    assert!(!s.is_touched("f"));
}

/// "… each item's compensation separate": only what may have taken effect.
#[test]
fn each_item_is_compensated_by_itself() {
    let mut s = fan_out("", json!([{"n": 1}, {"n": 2}, {"n": 3}]));
    s.ok("f.0:x1:1");
    assert_eq!(s.no("f.1:x1:1"), ["f.0:c1:1", "f.2:c1:1"]);
    assert_eq!(s.command("f.2:c1").input.get(), r#"{"at":2,"n":3}"#);
    s.ok("f.2:c1:1");
    assert_eq!(s.ok("f.0:c1:1"), ["ended compensated"]);
}

/// Each item has its own rounds and budget.
#[test]
fn each_item_is_retried_by_itself() {
    let mut s = fan_out("; on_rejected: park", json!([{"n": 1}, {"n": 2}]));
    s.no("f.1:x1:1");
    assert_eq!(s.parked(), Some((Why::Rejected, "f.1:x".to_owned())));
    assert_eq!(s.retry("f.1:x1"), ["f.1:x2:1"]);
    assert_eq!(s.command("f.1:x2").input.get(), r#"{"at":1,"n":2}"#);
    s.ok("f.0:x1:1");
    assert_eq!(s.ok("f.1:x2:1"), ["ended completed [null,null]"]);
}

/// Dependents wait for every item.
#[test]
fn dependents_wait_for_every_item() {
    let mut s = fan_out("\nb: after f", json!([{"n": 1}, {"n": 2}]));
    assert!(s.ok("f.1:x1:1").is_empty());
    assert_eq!(s.ok("f.0:x1:1"), ["b:x1:1"]);
}

/// An optional fan-out's items fail one by one.
#[test]
fn an_optional_items_failure_is_a_warning() {
    let mut s = fan_out("; optional\nb: after f", json!([{"n": 1}, {"n": 2}]));
    assert!(s.no("f.0:x1:1").is_empty());
    assert_eq!(s.ok("f.1:x1:1"), ["b:x1:1"]);
}
