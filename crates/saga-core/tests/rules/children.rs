//! Children: a saga as a step of another.

use saga_core::{Run, Status, What, Why};
use saga_protocol::Outcome;
use serde_json::json;

use crate::support::{Saga, definition, saga};

const STEPS: &str = "a\nk: after a; saga: kid\nb: after k; input: {x: \"${steps.k.output.x}\"}";

fn with_child() -> Saga {
    let mut s = saga(STEPS);
    assert_eq!(s.ok("a:x1:1"), ["child k:x1"]);
    s
}

/// "A child's start is written in its parent's transaction."
#[test]
fn a_child_is_started_and_waited_for() {
    let mut s = with_child();
    assert_eq!(s.run("k"), Run::Waiting);
    let effects = s.child_ended("k:x1", Outcome::Succeeded, Some(json!({"x": 3})));
    assert_eq!(effects, ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"x":3}"#);
    assert_eq!(s.child_ended("k:x1", Outcome::Succeeded, None), ["ignored: a duplicate"]);
}

/// A child that compensated itself is a rejected step.
#[test]
fn a_child_that_compensated_itself_is_rejected() {
    let mut s = with_child();
    assert_eq!(s.child_ended("k:x1", Outcome::Rejected, None), ["a:c1:1"]);
}

/// "Compensated as one", "compensating a completed child reopens it": for the parent it is one command.
#[test]
fn a_completed_child_is_compensated_as_one() {
    let mut s = with_child();
    s.child_ended("k:x1", Outcome::Succeeded, Some(json!({"x": 3})));
    assert_eq!(s.no("b:x1:1"), ["child k:c1"]);
    assert_eq!(s.child_ended("k:c1", Outcome::Succeeded, None), ["a:c1:1"]);
}

/// A child that still runs is undone as well; whichever end it tells of, it is undone.
#[test]
fn a_running_child_is_compensated_as_well() {
    for told in ["k:c1", "k:x1"] {
        let mut s = with_child();
        assert_eq!(s.compensate(), ["child k:c1"]);
        let outcome = if told == "k:c1" { Outcome::Succeeded } else { Outcome::Rejected };
        assert_eq!(s.child_ended(told, outcome, None), ["a:c1:1"], "{told}");
    }
}

/// "A parked child leaves its parent waiting."
#[test]
fn a_parked_child_leaves_its_parent_waiting() {
    let mut s = with_child();
    assert_eq!(s.state.status, Status::Running);
    s.compensate();
    assert_eq!(s.due_at(), None);
    assert_eq!((&s.state.status, s.run("k:c1")), (&Status::Running, Run::Waiting));
}

/// An abandoned child leaves its parent to a human.
#[test]
fn an_abandoned_child_parks_its_parent() {
    let mut s = with_child();
    s.child_ended("k:x1", Outcome::Undecidable, None);
    assert_eq!(s.parked(), Some((Why::Undecidable, "k:x".to_owned())));
}

/// A retry of a child that compensated itself is a new child.
#[test]
fn a_rejected_child_is_retried_in_a_new_round() {
    let mut s = saga("k: saga: kid; on_rejected: park");
    s.child_ended("k:x1", Outcome::Rejected, None);
    assert_eq!(s.retry("k:x1"), ["child k:x2"]);
    assert_eq!(s.child_ended("k:x1", Outcome::Rejected, None), ["ignored: an older round"]);
    assert_eq!(s.child_ended("k:x2", Outcome::Succeeded, None), ["ended completed"]);
}

/// A retry sends for the same child again, which still runs for all that anybody knows; a hold does not make it one
/// that never was.
#[test]
fn an_undecidable_child_stays_one_that_may_have_run() {
    let mut s = with_child();
    s.child_ended("k:x1", Outcome::Undecidable, None);
    s.held = vec![s.definition.find("k").unwrap()];
    assert_eq!(s.retry("k:x1"), ["child k:x1"]);
    assert_eq!(s.run("k"), Run::Waiting);
    assert_eq!(s.compensate(), ["child k:c1"]);
}

/// A cancel that waits for a child that is the pivot is not forgotten when that is retried.
#[test]
fn a_cancel_that_waits_for_a_child_survives_a_retry() {
    let mut s = saga("a\nk: after a; saga: kid; pivot; on_rejected: park");
    s.ok("a:x1:1");
    s.compensate();
    s.child_ended("k:x1", Outcome::Undecidable, None);
    s.retry("k:x1");
    assert_eq!(s.child_ended("k:x1", Outcome::Rejected, None), ["a:c1:1"]);
}

/// A child that takes too long is exhausted, and undone.
#[test]
fn a_child_beyond_its_timeout_is_exhausted() {
    let mut s = Saga::new(definition("k: saga: kid; timeout: 1h", ""), json!({}));
    s.definition.steps[0].timeout_ms = 3_600_000;
    s.start();
    assert_eq!(s.passes(3_600_000), ["child k:c1"]);
    assert_eq!(s.run("k"), Run::Exhausted);
}

/// A worker cannot answer for a child, nor a child for a worker.
#[test]
fn only_a_child_ends_a_child() {
    let mut s = with_child();
    assert_eq!(s.ok("k:x1:1"), ["ignored: no worker was asked: the step is not a command"]);
    assert_eq!(s.child_ended("a:x1", Outcome::Succeeded, None), ["ignored: the step is not a child saga"]);
    assert_eq!(s.child_ended("k:c1", Outcome::Succeeded, None), ["ignored: no compensation was sent"]);
    s.child_ended("k:x1", Outcome::Succeeded, Some(json!({"x": 1})));
    s.no("b:x1:1");
    assert_eq!(s.child_ended("k:c7", Outcome::Succeeded, None), ["ignored: no such attempt was sent"]);
}

fn child(steps: &str) -> Saga {
    let mut s = Saga::new(definition(steps, ""), json!({})).child_of(12);
    s.start();
    s
}

/// The end of a child is told to its parent.
#[test]
fn a_child_tells_its_parent_how_it_ended() {
    let mut s = child("a");
    assert_eq!(s.ok("a:x1:1"), ["ended completed", "tell Execute Succeeded"]);
    let mut s = child("a");
    assert_eq!(s.no("a:x1:1"), ["ended compensated", "tell Execute Rejected"]);
    let mut s = child("a");
    assert_eq!(s.abandon(), ["ended abandoned", "tell Execute Undecidable"]);
}

/// "Compensating a completed child reopens it."
#[test]
fn a_completed_child_is_reopened() {
    let mut s = child("a\nb: after a");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    assert_eq!(s.happens(What::ParentCompensates), ["b:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
    s.ok("b:c1:1");
    assert_eq!(s.ok("a:c1:1"), ["ended compensated", "tell Compensate Succeeded"]);
    // Told again when asked again.
    assert_eq!(s.happens(What::ParentCompensates), ["tell Compensate Succeeded"]);
}

/// A running child turns around; one that does already remembers whom to tell.
#[test]
fn a_running_child_turns_around_for_its_parent() {
    let mut s = child("a\nb: after a");
    s.ok("a:x1:1");
    assert_eq!(s.happens(What::ParentCompensates), ["b:c1:1"]);
    let mut s = child("a\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.happens(What::ParentCompensates);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated", "tell Compensate Succeeded"]);
}

/// A child that is past its pivot says so instead of leaving its parent to wait.
#[test]
fn a_child_past_its_pivot_cannot_be_undone() {
    let mut s = child("p: pivot");
    s.ok("p:x1:1");
    assert_eq!(s.happens(What::ParentCompensates), ["tell Compensate Undecidable"]);
    let mut s = child("p: pivot");
    assert!(s.happens(What::ParentCompensates).is_empty());
    assert_eq!(s.no("p:x1:1"), ["ended compensated", "tell Compensate Succeeded"]);
}

/// So does one whose pivot was open when its parent asked, however that comes to its end.
#[test]
fn a_child_whose_pivot_succeeds_tells_the_parent_that_waits() {
    let asked = || {
        let mut s = child("p: pivot; retry: {attempts: 1}\nb: after p; bare");
        assert!(s.happens(What::ParentCompensates).is_empty());
        s
    };
    let mut s = asked();
    assert_eq!(s.ok("p:x1:1"), ["tell Compensate Undecidable", "b:x1:1"]);
    assert_eq!(s.ok("b:x1:1"), ["ended completed", "tell Execute Succeeded"]);
    let mut s = asked();
    s.falls_silent("p");
    assert_eq!(s.skip("p:x1", true), ["tell Compensate Undecidable", "b:x1:1"]);
    let mut s = asked();
    s.falls_silent("p");
    assert_eq!(s.abandon(), ["ended abandoned", "tell Compensate Undecidable"]);
    // Nobody waits for a deadline that has passed, or an operator's cancel.
    let mut s = child("p: pivot\nb: after p; bare");
    s.compensate();
    assert_eq!(s.ok("p:x1:1"), ["b:x1:1"]);
}

/// A saga without a parent has nobody to be compensated by.
#[test]
fn only_a_child_has_a_parent() {
    let mut s = saga("a");
    assert_eq!(s.happens(What::ParentCompensates), ["ignored: the saga has no parent"]);
}

/// A poisoned child waits for its human, and then unwinds for its parent.
#[test]
fn a_poisoned_child_unwinds_once_released() {
    let mut s = child("a\nb: after a");
    s.ok("a:x1:1");
    s.happens(What::Poison("x".to_owned()));
    assert!(s.happens(What::ParentCompensates).is_empty());
    assert_eq!(s.resume(), ["b:c1:1"]);
}
