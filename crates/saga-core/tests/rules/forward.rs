//! Forward: what runs when.

use saga_core::{Run, Status};
use serde_json::json;

use crate::support::{Saga, definition, saga, saga_with};

/// "A step runs when all its `after` steps are done."
#[test]
fn a_step_runs_when_all_before_it_are_done() {
    let mut s = saga("a\nb\nc: after a b");
    assert!(s.ok("a:x1:1").is_empty());
    assert!(!s.is_touched("c"));
    assert_eq!(s.ok("b:x1:1"), ["c:x1:1"]);
}

/// "… and its `when` is true; `when` false skips it (its dependents still run)."
#[test]
fn when_false_skips_a_step_and_its_dependents_still_run() {
    let definition = definition("a: when: ${input.yes}\nb: after a; when: ${!input.yes}\nc: after b", "");
    let mut s = Saga::new(definition, json!({"yes": false}));
    assert_eq!(s.start(), ["b:x1:1"]);
    assert_eq!(s.run("a"), Run::Skipped);
    assert_eq!(s.ok("b:x1:1"), ["c:x1:1"]);
}

/// A chain of skipped steps ends at once.
#[test]
fn a_saga_whose_steps_are_all_skipped_completes() {
    let definition = definition("a: when: ${input.yes}\nb: after a; when: ${input.yes}", "");
    let mut s = Saga::new(definition, json!({"yes": false}));
    assert_eq!(s.start(), ["ended completed"]);
}

/// "Independent steps run in parallel."
#[test]
fn independent_steps_run_in_parallel() {
    let mut s = Saga::new(definition("a\nb\nc: after a\nd: after a", ""), json!({}));
    assert_eq!(s.start(), ["a:x1:1", "b:x1:1"]);
    assert_eq!(s.ok("a:x1:1"), ["c:x1:1", "d:x1:1"]);
}

/// "`optional: true`: rejection … ends the step with a warning instead of failing the saga."
#[test]
fn optional_rejection_is_a_warning() {
    let mut s = saga("a: optional\nb: after a");
    assert_eq!(s.no("a:x1:1"), ["b:x1:1"]);
    assert_eq!(s.notes(), "a was rejected; it is optional");
    assert_eq!(s.ok("b:x1:1"), ["ended completed"]);
}

/// "… or exhaustion …"
#[test]
fn optional_exhaustion_is_a_warning() {
    let mut s = saga("a: optional; retry: {attempts: 2}\nb: after a");
    assert_eq!(s.falls_silent("a"), ["b:x1:1"]);
    assert_eq!(s.notes(), "a has no final answer; it is optional");
    assert_eq!(s.run("a"), Run::Exhausted);
}

/// "… an unknown one is still compensated in an unwind."
#[test]
fn an_unknown_optional_step_is_compensated_in_an_unwind() {
    let mut s = saga("a: optional; retry: {attempts: 1}\nb: after a");
    s.falls_silent("a");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    assert!(!s.command("a:c1").undoes.unwrap().succeeded);
}

/// An optional step that answers late has its output, for what comes later.
#[test]
fn an_exhausted_optional_step_still_takes_its_answer() {
    let mut s = saga("a: optional; retry: {attempts: 1}\nb: after a");
    s.falls_silent("a");
    s.ok_with("a:x1:1", json!({"id": 1}));
    assert_eq!(s.run("a"), Run::Succeeded);
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    assert_eq!(s.command("a:c1").output.unwrap().get(), r#"{"id":1}"#);
}

/// A saga is completed when all its steps are done, and yields its output.
#[test]
fn a_saga_completes_when_all_steps_are_done() {
    let mut s = saga_with("a\nb", "output: {id: \"${steps.a.output.id}\"}");
    s.ok_with("a:x1:1", json!({"id": 9}));
    assert_eq!(s.ok("b:x1:1"), ["ended completed {\"id\":9}"]);
    assert_eq!(s.state.status, Status::Completed);
    assert_eq!(s.due_at(), None);
}

/// A start happens once.
#[test]
fn a_second_start_is_ignored() {
    let mut s = saga("a");
    assert_eq!(s.start(), ["ignored: the saga has started already"]);
}

/// Nothing happens to a saga before its start.
#[test]
fn nothing_happens_before_the_start() {
    let mut s = Saga::new(definition("a", ""), json!({}));
    assert_eq!(s.ok("a:x1:1"), ["ignored: the saga has not started"]);
    assert_eq!(s.passes(1_000_000), ["ignored: the saga has not started"]);
}

/// An output reaches the steps that read it.
#[test]
fn outputs_flow_into_later_inputs() {
    let mut s = saga("a\nb: after a; input: {from: \"${steps.a.output.list[1]}\"}");
    s.ok_with("a:x1:1", json!({"list": [1, {"deep": true}]}));
    assert_eq!(s.command("b:x1").input.get(), r#"{"from":{"deep":true}}"#);
    assert!(s.track("b").input.is_none(), "a plain path is not stored again");
    assert!(s.track("b").input_hash.is_some());
}

/// What is computed is stored, because it could not be resolved again for sure.
#[test]
fn computed_inputs_are_stored() {
    let s = saga("a: input: {n: \"${1 + 1}\"}");
    assert_eq!(s.track("a").input, Some(1));
    assert_eq!(s.command("a:x1").input.get(), r#"{"n":2}"#);
}
