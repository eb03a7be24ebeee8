//! Backward: what is undone, in which order, and what when that fails.

use saga_core::state::Cause;
use saga_core::{Phase, Run, Status, StepIx, Why};
use serde_json::json;

use crate::support::{saga, saga_with};

/// "When a step fails before the pivot: no new step starts …"
#[test]
fn no_new_step_starts_after_a_failure() {
    let mut s = saga("a\nb\nc: after a\nd: after b");
    s.no("b:x1:1");
    assert_eq!(s.ok("a:x1:1"), Vec::<String>::new());
    assert!(!s.is_touched("c") && !s.is_touched("d"));
}

/// "… every step that succeeded … is compensated …"
#[test]
fn every_step_that_succeeded_is_compensated() {
    let mut s = saga("a\nb: after a\nc: after b");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    assert_eq!(s.no("c:x1:1"), ["b:c1:1"]);
    assert_eq!(s.ok("b:c1:1"), ["a:c1:1"]);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// "… *or whose outcome is unknown or still in flight* …": at once, without waiting for its answer.
#[test]
fn steps_unknown_or_in_flight_are_compensated_at_once() {
    let mut s = saga("a: timeout: 1s\nb: timeout: 1m\nc: timeout: 1m\nd: timeout: 1m");
    s.until_due();
    s.later("b:x1:1");
    assert_eq!((s.run("a"), s.run("b"), s.run("c")), (Run::Unknown, Run::Backoff, Run::Sent));
    assert_eq!(s.no("d:x1:1"), ["a:c1:1", "b:c1:1", "c:c1:1"]);
    assert!(!s.command("a:c1").undoes.unwrap().succeeded);
    // Nothing more is sent of what is left behind.
    s.ok("a:c1:1");
    s.ok("b:c1:1");
    assert_eq!(s.ok("c:c1:1"), ["ended compensated"]);
}

/// "… a step that was definitely rejected, skipped or never sent is not."
#[test]
fn rejected_skipped_and_never_sent_steps_are_not_compensated() {
    let mut s = saga("a\nb: when: ${1 > 2}\nc: wait: {for: 1h}\nd: after c");
    assert_eq!(s.no("a:x1:1"), ["ended compensated"]);
    assert!(s.cell("a").undo.is_none() && s.cell("b").undo.is_none() && !s.is_touched("d"));
}

/// A held step was never sent.
#[test]
fn a_held_step_is_not_compensated() {
    let mut s = saga("a\nb: after a\nc");
    s.hold(&["b"]);
    s.ok("a:x1:1");
    assert_eq!(s.run("b"), Run::Held);
    assert_eq!(s.no("c:x1:1"), ["a:c1:1"]);
}

/// "A step is compensated only when all its dependents are …"
#[test]
fn a_step_is_compensated_only_when_all_its_dependents_are() {
    let mut s = saga("a\nb: after a\nc: after a\nd: after b c");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    s.ok("c:x1:1");
    assert_eq!(s.no("d:x1:1"), ["b:c1:1", "c:c1:1"]);
    assert!(s.ok("b:c1:1").is_empty());
    assert_eq!(s.ok("c:c1:1"), ["a:c1:1"]);
}

/// "… all its dependents …": also through one that was skipped.
#[test]
fn the_order_reaches_through_skipped_steps() {
    let skipped = "when: ${1 > 2}";
    let steps = format!(
        "a\nb: after a; {skipped}\nc: after b; {skipped}\nd: after c; {skipped}\ne: after d\nf: after e"
    );
    let mut s = saga(&steps);
    s.ok("a:x1:1");
    s.ok("e:x1:1");
    assert_eq!(s.no("f:x1:1"), ["e:c1:1"]);
    assert_eq!(s.ok("e:c1:1"), ["a:c1:1"]);
}

/// "… independent branches unwind in parallel."
#[test]
fn independent_branches_unwind_in_parallel() {
    let mut s = saga("a\nb: after a\nc\nd: after c\ne: after b d");
    for step in ["a:x1:1", "b:x1:1", "c:x1:1", "d:x1:1"] {
        s.ok(step);
    }
    assert_eq!(s.no("e:x1:1"), ["b:c1:1", "d:c1:1"]);
    assert_eq!(s.ok("d:c1:1"), ["c:c1:1"]);
    assert_eq!(s.ok("b:c1:1"), ["a:c1:1"]);
}

/// "Two simultaneous failures give one unwind."
#[test]
fn two_simultaneous_failures_give_one_unwind() {
    let mut s = saga("z\na: after z\nb: after z\nc: after z");
    s.ok("z:x1:1");
    assert_eq!(s.no("a:x1:1"), ["b:c1:1", "c:c1:1"]);
    assert!(s.no("b:x1:1").is_empty());
    assert_eq!(s.state.phase, Phase::Unwinding { cause: Cause::Rejected(StepIx(1)) });
    s.ok("b:c1:1");
    assert_eq!(s.ok("c:c1:1"), ["z:c1:1"]);
    assert_eq!(s.ok("z:c1:1"), ["ended compensated"]);
    assert_eq!(s.turns(), 1);
}

/// "A compensation receives the execute's input, and its output if known."
#[test]
fn a_compensation_receives_the_executes_input_and_output() {
    let mut s = saga("a: input: {order: 5, at: \"${1 + 1}\"}\nb: after a");
    s.ok_with("a:x1:1", json!({"reservation": "r1"}));
    s.no("b:x1:1");
    let command = s.command("a:c1");
    assert_eq!(command.action, "undo");
    assert_eq!(command.input.get(), r#"{"at":2,"order":5}"#);
    assert_eq!(command.output.unwrap().get(), r#"{"reservation":"r1"}"#);
    assert!(command.undoes.unwrap().succeeded);
}

/// A success that shows up while its step is being undone is known from then on, and is no second turn.
#[test]
fn a_success_during_the_unwind_is_known_to_later_attempts() {
    let mut s = saga("a\nb");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    assert!(s.ok_with("a:x1:1", json!({"id": 3})).is_empty());
    assert_eq!(s.run("a"), Run::Succeeded);
    assert_eq!(s.until_due(), ["a:c1:2"]);
    let command = s.command("a:c1");
    assert!(command.undoes.unwrap().succeeded);
    assert_eq!(command.output.unwrap().get(), r#"{"id":3}"#);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// A rejection that shows up before its compensation was sent makes it needless.
#[test]
fn a_rejection_during_the_unwind_drops_what_was_not_sent() {
    let mut s = saga("a\nb: after a; optional; retry: {attempts: 1}\nc: after b\nd: after c");
    s.ok("a:x1:1");
    s.falls_silent("b");
    s.ok("c:x1:1");
    assert_eq!(s.no("d:x1:1"), ["c:c1:1"]);
    assert!(s.no("b:x1:1").is_empty());
    assert_eq!(s.ok("c:c1:1"), ["a:c1:1"]);
    assert!(s.cell("b").undo.is_none());
}

/// A rejection that shows up while its compensation is in the air leaves that to its end.
#[test]
fn a_rejection_during_the_unwind_leaves_what_was_sent() {
    let mut s = saga("a\nb: after a\nc: after a");
    s.ok("a:x1:1");
    assert_eq!(s.no("c:x1:1"), ["b:c1:1"]);
    assert!(s.no("b:x1:1").is_empty());
    assert_eq!((s.run("b"), s.run("b:c1")), (Run::Rejected, Run::Sent));
    assert_eq!(s.ok("b:c1:1"), ["a:c1:1"]);
}

/// A compensation that stopped is not needed any more when its execute turns out to have been refused.
#[test]
fn a_rejection_settles_a_compensation_that_stopped() {
    let mut s = saga("a: compensation: {action: undo, retry: {attempts: 1}}\nb");
    s.no("b:x1:1");
    s.falls_silent("a:c1");
    assert_eq!(s.parked().unwrap().0, Why::CompensationFailed);
    assert_eq!(s.no("a:x1:1"), ["ended compensated"]);
}

/// A `retryable` of an execute that is left behind is not followed.
#[test]
fn what_is_left_behind_is_not_tried_again() {
    let mut s = saga("a\nb");
    s.no("b:x1:1");
    assert_eq!(s.later("a:x1:1"), ["ignored: the saga unwinds: it is not tried again"]);
}

/// Steps that cannot be undone are passed over.
#[test]
fn steps_without_compensation_are_passed_over() {
    let mut s =
        saga("a\nb: after a; compensation: none\nc: after b; optional; compensation: none\nd: after b");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    assert_eq!(s.no("d:x1:1"), ["a:c1:1"]);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// "Before the pivot, a passed deadline equals a cancel."
#[test]
fn a_passed_deadline_turns_the_saga_around() {
    let mut s = saga_with("a\nb: after a; timeout: 1h", "deadline: 10m");
    s.ok("a:x1:1");
    assert_eq!(s.passes(599_999), ["ignored: nothing is due"]);
    assert_eq!(s.passes(1), ["b:c1:1"]);
    assert_eq!(s.state.phase, Phase::Unwinding { cause: Cause::Deadline });
    assert_eq!(s.ok("b:c1:1"), ["a:c1:1"]);
}

/// Nothing is sent for a saga in the moment in which it is turned around.
#[test]
fn the_deadline_comes_before_what_falls_due_with_it() {
    let mut s = saga_with("a: timeout: 10m", "deadline: 10m");
    assert_eq!(s.passes(600_000), ["a:c1:1"]);
}

/// "Compensation fails. Retry with its own (long) policy, then the saga is *parked* …"
#[test]
fn a_failed_compensation_parks() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    for attempt in 1..100 {
        s.later(&format!("a:c1:{attempt}"));
        s.until_due();
    }
    assert_eq!(s.state.status, Status::Running);
    s.later("a:c1:100");
    assert_eq!(s.parked(), Some((Why::CompensationFailed, "a:c".to_owned())));
    assert_eq!(s.due_at(), None);
}

/// "… sibling compensations finish first …"
#[test]
fn sibling_compensations_finish_before_a_failed_one_parks() {
    let mut s = saga("z\na: after z\nb: after z\nc: after b\nd: after a c");
    for step in ["z:x1:1", "a:x1:1", "b:x1:1", "c:x1:1"] {
        s.ok(step);
    }
    assert_eq!(s.no("d:x1:1"), ["a:c1:1", "c:c1:1"]);
    assert!(s.no("a:c1:1").is_empty());
    assert_eq!(s.state.status, Status::Running);
    assert_eq!(s.ok("c:c1:1"), ["b:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
    assert!(s.ok("b:c1:1").is_empty());
    assert_eq!(s.parked(), Some((Why::CompensationFailed, "a:c".to_owned())));
    assert!(s.cell("z").undo.is_none());
}

/// "… resuming runs only what remains."
#[test]
fn resuming_runs_only_what_remains() {
    let mut s = saga("z\na: after z\nb: after z\nd: after a b");
    for step in ["z:x1:1", "a:x1:1", "b:x1:1"] {
        s.ok(step);
    }
    s.no("d:x1:1");
    s.no("a:c1:1");
    s.ok("b:c1:1");
    // Rejected: a new round.
    assert_eq!(s.resume(), ["a:c2:1"]);
    assert_eq!(s.ok("a:c2:1"), ["z:c1:1"]);
    assert_eq!(s.ok("z:c1:1"), ["ended compensated"]);
}

/// A compensation that ran out of budget goes on with the same round and a fresh budget.
#[test]
fn resuming_an_exhausted_compensation_sends_the_same_round() {
    let mut s = saga("a: compensation: {action: undo, retry: {attempts: 2, budget: 1h}}\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.falls_silent("a:c1");
    assert_eq!(s.parked().unwrap().0, Why::CompensationFailed);
    s.now += 10 * 3_600_000;
    assert_eq!(s.resume(), ["a:c1:3"]);
    assert_eq!(s.state.status, Status::Running);
    s.later("a:c1:3");
    assert_eq!(s.run("a:c1"), Run::Backoff, "the budget is fresh, in attempts and in time");
    assert_eq!(s.until_due(), ["a:c1:4"]);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// An answer that comes after all settles a failed compensation and unparks the saga.
#[test]
fn a_late_answer_settles_a_failed_compensation() {
    let mut s = saga("z\na: after z; compensation: {action: undo, retry: {attempts: 1}}\nb: after a");
    s.ok("z:x1:1");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.falls_silent("a:c1");
    assert!(s.parked().is_some());
    assert_eq!(s.ok("a:c1:1"), ["z:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
}

/// A compensation that nobody answers is unknown and sent again.
#[test]
fn an_unknown_compensation_is_sent_again() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    assert_eq!(s.passes(60_000), ["a:c1:2"]);
    assert_eq!(s.run("a:c1"), Run::Unknown);
}
