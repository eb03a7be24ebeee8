//! On failure: what parks, what a parked saga still does, and what unparks it.

use saga_core::state::Cause;
use saga_core::{Answer, Phase, Run, Status, What, Why};
use saga_protocol::Outcome;
use serde_json::json;

use crate::support::{saga, saga_with};

/// "`on_rejected` and `on_exhausted`: `compensate` (the default before the pivot) …"
#[test]
fn failures_compensate_by_default() {
    let mut s = saga("a\nb: after a; retry: {attempts: 1}");
    s.ok("a:x1:1");
    assert_eq!(s.falls_silent("b"), ["b:c1:1"]);
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
}

/// "… or `park`."
#[test]
fn a_rejection_parks_when_its_policy_says_so() {
    let mut s = saga("a\nb: after a; on_rejected: park");
    s.ok("a:x1:1");
    assert!(s.no("b:x1:1").is_empty());
    assert_eq!(s.parked(), Some((Why::Rejected, "b:x".to_owned())));
    assert_eq!(s.state.phase, Phase::Forward);
}

/// "… or `park`."
#[test]
fn an_exhaustion_parks_when_its_policy_says_so() {
    let mut s = saga("a: retry: {attempts: 1}; on_exhausted: park");
    assert!(s.falls_silent("a").is_empty());
    assert_eq!(s.parked(), Some((Why::Exhausted, "a:x".to_owned())));
}

/// "A saga parked on its way forward before the pivot still obeys its deadline."
#[test]
fn a_saga_parked_before_the_pivot_obeys_its_deadline() {
    let mut s = saga_with("a\nb: after a; on_rejected: park", "deadline: 10m");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    assert_eq!(s.due_at(), s.state.deadline.map(|at| at.0));
    assert_eq!(s.passes(600_000), ["a:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
    assert_eq!(s.state.phase, Phase::Unwinding { cause: Cause::Deadline });
}

/// "Parked by a failed compensation … it waits for a human."
#[test]
fn a_failed_compensation_has_no_deadline() {
    let mut s = saga_with("a\nb: after a", "deadline: 10m");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.no("a:c1:1");
    assert_eq!(s.due_at(), None);
    assert_eq!(s.passes(600_000), ["ignored: nothing is due"]);
}

/// "Parked by … an `Illegal` or poison, it waits for a human."
#[test]
fn poison_and_illegal_wait_for_a_human() {
    for (what, why) in [
        (What::Poison("no JSON".to_owned()), Why::Poison),
        (What::Illegal("a step that is not there".to_owned()), Why::Illegal),
    ] {
        let mut s = saga_with("a\nb: after a", "deadline: 10m");
        s.happens(what.clone());
        assert_eq!(s.parked(), Some((why, String::new())));
        assert!(!s.notes().is_empty());
        assert_eq!(s.happens(what), ["ignored: the saga waits for a human already"]);
        // It takes answers, and starts nothing.
        assert!(s.ok("a:x1:1").is_empty());
        assert_eq!(s.run("a"), Run::Succeeded);
        assert_eq!(s.passes(600_000), ["ignored: nothing is due"]);
        assert_eq!(s.operator(saga_core::OperatorAction::Retry { cell: None }), ["b:x1:1"]);
        assert_eq!(s.state.status, Status::Running);
    }
}

/// A poisoned saga that unwinds goes on unwinding once a human has looked.
#[test]
fn a_poisoned_unwind_goes_on_when_released() {
    let mut s = saga("a\nb: after a\nc: after b");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    s.no("c:x1:1");
    s.happens(What::Poison("no JSON".to_owned()));
    assert!(s.ok("b:c1:1").is_empty());
    assert_eq!(s.resume(), ["a:c1:1"]);
}

/// "A parked saga still takes answers to its open rounds …": and goes on driving them.
#[test]
fn a_parked_saga_settles_its_open_rounds() {
    let mut s = saga("a: on_rejected: park\nb\nc: after b");
    s.no("a:x1:1");
    s.later("b:x1:1");
    assert_eq!(s.until_due(), ["b:x1:2"]);
    // Nothing new starts.
    assert!(s.ok("b:x1:2").is_empty());
    assert!(!s.is_touched("c"));
    assert_eq!(s.retry("a:x1"), ["c:x1:1", "a:x2:1"].into_iter().rev().collect::<Vec<_>>());
}

/// "… one that settles the cause unparks it."
#[test]
fn an_answer_that_settles_the_cause_unparks() {
    let mut s = saga("a: retry: {attempts: 1}; on_exhausted: park\nb: after a");
    s.falls_silent("a");
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
    assert_eq!(s.state.status, Status::Running);
}

/// One of two causes settled: the other still parks.
#[test]
fn every_cause_must_be_settled() {
    let mut s = saga("a: on_rejected: park\nb: on_rejected: park\nc: after a b");
    s.no("b:x1:1");
    assert_eq!(s.parked(), Some((Why::Rejected, "b:x".to_owned())));
    s.no("a:x1:1");
    s.retry("b:x1");
    assert_eq!(s.parked(), Some((Why::Rejected, "a:x".to_owned())));
    s.ok("b:x2:1");
    assert_eq!(s.retry("a:x1"), ["a:x2:1"]);
    assert_eq!(s.ok("a:x2:1"), ["c:x1:1"]);
}

/// A failure that is to be undone turns a parked saga around.
#[test]
fn a_failure_elsewhere_turns_a_parked_saga_around() {
    let mut s = saga("a: on_rejected: park\nb\nc");
    s.ok("c:x1:1");
    s.no("a:x1:1");
    assert_eq!(s.no("b:x1:1"), ["c:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
}

/// "A `succeeded` that arrives oversized counts as succeeded without output, and parks."
#[test]
fn an_oversized_success_counts_and_parks() {
    let mut s = saga("a\nb: after a; input: {x: \"${steps.a.output}\"}");
    let answer = Answer { oversized: true, ..s.answer("a:x1:1", Outcome::Succeeded) };
    assert!(s.happens(What::Answer(answer.clone())).is_empty());
    assert_eq!((s.run("a"), s.parked()), (Run::Succeeded, Some((Why::OutputTooLarge, "a:x".to_owned()))));
    assert_eq!(s.happens(What::Answer(answer)), ["ignored: a duplicate"]);
    assert_eq!(s.skip_with("a:x1", json!("short")), ["b:x1:1"]);
    assert_eq!(s.run("a"), Run::Succeeded);
    assert_eq!(s.command("b:x1").input.get(), r#"{"x":"short"}"#);
}

/// An oversized success is undone like any other.
#[test]
fn an_oversized_success_can_be_compensated() {
    let mut s = saga("a\nb: after a");
    let answer = Answer { oversized: true, ..s.answer("a:x1:1", Outcome::Succeeded) };
    s.happens(What::Answer(answer));
    assert_eq!(s.compensate(), ["a:c1:1"]);
}

/// An expression without a value parks the saga before the step has begun; nothing else begins either.
#[test]
fn a_bad_expression_parks() {
    let mut s =
        saga_with("a\nb: after a; input: {x: \"${steps.a.output.gone}\"}\nc: after a", "deadline: 10m");
    assert!(s.ok_with("a:x1:1", json!({})).is_empty());
    assert_eq!(s.parked(), Some((Why::BadExpression, "b:x".to_owned())));
    assert!(s.notes().contains("steps.a.output.gone"), "{}", s.notes());
    assert_eq!(s.explained(), "input: there is no `steps.a.output.gone`");
    assert!(!s.is_touched("b") && !s.is_touched("c"));
    let none = saga_core::OperatorAction::Retry { cell: None };
    assert_eq!(s.operator(none), ["refused: it would change nothing"]);
    // The deadline still counts.
    assert_eq!(s.due_at(), s.state.deadline.map(|at| at.0));
    assert_eq!(s.passes(600_000), ["a:c1:1"]);
}

/// An operator gives the input that could not be made, or the output of the whole step.
#[test]
fn an_operator_helps_out_a_bad_expression() {
    let steps = "a\nb: after a; input: {x: \"${steps.a.output.gone}\"}\nc: after b";
    let mut s = saga(steps);
    s.ok("a:x1:1");
    assert_eq!(s.retry_edited("b:x1", json!({"x": 1})), ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"x":1}"#);
    let mut s = saga(steps);
    s.ok("a:x1:1");
    assert_eq!(s.skip_with("b:x1", json!({"y": 2})), ["c:x1:1"]);
}

/// An output without a value parks: the work is done, and must not be lost.
#[test]
fn a_bad_output_parks_instead_of_losing_the_work() {
    let mut s = saga_with("a: pivot", "output: {x: \"${steps.a.output.gone}\"}");
    s.ok("a:x1:1");
    assert_eq!(s.parked(), Some((Why::BadExpression, String::new())));
    assert_eq!(s.skip("a:x1", false), ["refused: the saga's output is missing: give one"]);
    assert_eq!(s.skip_with("a:x1", json!({"x": 0})), ["ended completed {\"x\":0}"]);
}

/// A saga that is parked keeps the revision at which that happened.
#[test]
fn a_parked_saga_keeps_the_revision_of_its_cause() {
    let mut s = saga("a: on_rejected: park\nb");
    s.no("a:x1:1");
    let Status::Parked(before) = s.state.status.clone() else { panic!("not parked") };
    assert_eq!(before.revision, s.revision());
    s.ok("b:x1:1");
    assert_eq!(s.state.status, Status::Parked(before));
}
