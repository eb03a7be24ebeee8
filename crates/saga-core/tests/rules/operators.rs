//! Operators: what they can do, and when it is refused.

use saga_core::event::Operator;
use saga_core::state::Cause;
use saga_core::{OperatorAction, Phase, Run, Status, What};
use serde_json::json;

use crate::support::{saga, saga_with};

const ACKNOWLEDGE: &str = "refused: it may still take effect: acknowledge that first";

/// "Each … is refused if the revision moved since the operator looked."
#[test]
fn an_action_on_an_old_revision_is_refused() {
    let mut s = saga("a\nb");
    let (who, why) = ("mina".to_owned(), "?".to_owned());
    let looked = Operator { who, why, revision: s.revision(), action: OperatorAction::Compensate };
    s.ok("a:x1:1");
    let before = s.state.clone();
    assert_eq!(s.happens(What::Operator(looked)), ["refused: the saga has moved on since you looked"]);
    assert_eq!(s.state, before);
}

/// "Retry now (from where it stopped)": a pausing round is sent at once.
#[test]
fn retry_now_sends_a_pausing_round_at_once() {
    let mut s = saga("a");
    s.later("a:x1:1");
    assert_eq!(s.retry("a:x1"), ["a:x1:2"]);
    assert_eq!(s.track("a").charged, 1, "the budget is fresh");
}

/// "Retry now": everything that has stopped.
#[test]
fn retry_without_a_cell_retries_everything_that_stopped() {
    let mut s = saga(
        "a: on_rejected: park\nb: on_exhausted: park; retry: {attempts: 1}\nc: optional\nd: timeout: 1h",
    );
    s.no("a:x1:1");
    s.no("c:x1:1");
    s.falls_silent("b");
    assert_eq!(s.operator(OperatorAction::Retry { cell: None }), ["a:x2:1", "b:x1:2"]);
    assert_eq!(s.state.status, Status::Running);
    let mut s = saga("a");
    assert_eq!(s.operator(OperatorAction::Retry { cell: None }), ["refused: nothing has stopped"]);
}

/// An exhausted round is sent again as the same round, with a fresh budget.
#[test]
fn retrying_an_exhausted_round_sends_the_same_round() {
    let mut s = saga("a: on_exhausted: park; retry: {attempts: 2, budget: 1m}");
    s.falls_silent("a");
    s.now += 3_600_000;
    assert_eq!(s.retry("a:x1"), ["a:x1:3"]);
    s.later("a:x1:3");
    assert_eq!(s.run("a"), Run::Backoff);
}

/// What cannot be retried says so.
#[test]
fn retry_is_refused_where_it_makes_no_sense() {
    let mut s = saga("a: wait: {for: 1h}\nb\nc: optional\nd: timeout: 1h");
    s.ok("b:x1:1");
    s.no("c:x1:1");
    assert_eq!(s.retry("a:x1"), ["refused: it waits, and there is nothing to try"]);
    assert_eq!(s.retry("b:x1"), ["refused: the step is done"]);
    assert_eq!(s.retry("c:x1"), ["refused: the step is optional, and the saga has gone on without it"]);
    assert_eq!(s.retry("b:c1"), ["refused: the saga has no such step under way"]);
    assert_eq!(s.retry("nobody:x1"), ["refused: the saga has no such step under way"]);
    s.no("d:x1:1");
    assert_eq!(s.retry("d:x1"), ["refused: the saga is being undone: only compensations are tried again"]);
}

/// "Retry with edited input" of a wait, or without an input.
#[test]
fn an_edited_retry_needs_an_input_and_a_command() {
    let mut s = saga("a: wait: {for: 1h}\nb: on_rejected: park");
    s.no("b:x1:1");
    assert_eq!(s.retry_edited("a:x1", json!({})), ["refused: a wait has no input"]);
    let cell = s.parse("b:x1").0;
    let without = OperatorAction::RetryEdited { cell, input: None };
    assert_eq!(s.operator(without), ["refused: the new input is missing"]);
}

/// "Skip with a given output."
#[test]
fn a_skipped_step_has_the_given_output() {
    let mut s = saga("a: on_rejected: park\nb: after a; input: {x: \"${steps.a.output.x}\"}");
    s.no("a:x1:1");
    assert_eq!(s.skip_with("a:x1", json!({"x": 4})), ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"x":4}"#);
    assert_eq!((s.run("a"), s.track("a").waived), (Run::Skipped, false));
}

/// "Skip and abandon need the step settled, or \"may still take effect\" acknowledged."
#[test]
fn skipping_an_unsettled_step_must_be_acknowledged() {
    let mut s = saga("a\nb: after a");
    assert_eq!(s.skip("a:x1", false), [ACKNOWLEDGE]);
    assert_eq!(s.skip("a:x1", true), ["b:x1:1"]);
    assert!(s.track("a").waived);
}

/// A step that was never sent, or was refused, needs no acknowledgement.
#[test]
fn skipping_a_settled_step_needs_no_acknowledgement() {
    let mut s = saga("a\nb: after a\nc: after b");
    s.hold(&["b"]);
    s.ok("a:x1:1");
    assert_eq!(s.run("b"), Run::Held);
    assert_eq!(s.skip("b:x1", false), ["c:x1:1"]);
}

/// What cannot be skipped says so.
#[test]
fn skip_is_refused_where_it_makes_no_sense() {
    let mut s = saga("a\nb: after a\nc");
    s.ok("c:x1:1");
    assert_eq!(s.skip("b:x1", true), ["refused: the saga has no such step under way"]);
    assert_eq!(s.skip("c:x1", true), ["refused: the step is done"]);
    assert_eq!(s.skip("a:c1", true), ["refused: a compensation is not skipped but marked as done"]);
    s.no("a:x1:1");
    assert_eq!(s.skip("a:x1", true), ["refused: the saga is being undone"]);
}

/// What comes after a step that has stopped has not had its turn.
#[test]
fn what_comes_after_a_stopped_step_has_not_had_its_turn() {
    let mut s = saga("a: on_rejected: park\nb: after a");
    s.no("a:x1:1");
    assert_eq!(s.skip("b:x1", true), ["refused: the saga has no such step under way"]);
    assert_eq!(s.retry_edited("b:x1", json!({})), ["refused: the saga has no such step under way"]);
}

/// A skipped step is not compensated.
#[test]
fn a_skipped_step_is_not_compensated() {
    let mut s = saga("a: on_rejected: park\nb: after a");
    s.no("a:x1:1");
    s.skip("a:x1", false);
    assert_eq!(s.no("b:x1:1"), ["ended compensated"]);
}

/// "Compensate (cancel)."
#[test]
fn an_operator_turns_a_saga_around() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    assert_eq!(s.compensate(), ["b:c1:1"]);
    assert_eq!(s.state.phase, Phase::Unwinding { cause: Cause::Operator });
    assert_eq!(s.compensate(), ["refused: it is being undone already"]);
}

/// "Compensate" of a parked saga.
#[test]
fn an_operator_turns_a_parked_saga_around() {
    let mut s = saga("a\nb: after a; on_rejected: park");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    assert_eq!(s.compensate(), ["a:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
}

/// "Resume compensation."
#[test]
fn resume_is_refused_when_nothing_has_stopped() {
    let mut s = saga("a\nb: after a");
    assert_eq!(s.resume(), ["refused: the saga is not being undone"]);
    s.ok("a:x1:1");
    s.no("b:x1:1");
    assert_eq!(s.resume(), ["refused: no compensation has stopped"]);
}

/// "Mark compensated with evidence."
#[test]
fn a_marked_compensation_is_done() {
    let mut s = saga("a\nb: after a\nc: after b");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    s.no("c:x1:1");
    s.no("b:c1:1");
    assert_eq!(s.mark("b:c1", false), ["a:c1:1"]);
    // The one in flight may still take effect.
    assert_eq!(s.mark("a:c1", false), [ACKNOWLEDGE]);
    assert_eq!(s.mark("a:c1", true), ["ended compensated"]);
    let OperatorAction::MarkCompensated { evidence, .. } = (match &s.history.last().unwrap().0.what {
        What::Operator(operator) => &operator.action,
        other => panic!("{other:?}"),
    }) else {
        panic!("another action")
    };
    assert_eq!(evidence, "receipt 17");
}

/// A step may be marked before its turn: it is then not undone again.
#[test]
fn a_step_can_be_marked_before_its_compensation_was_sent() {
    let mut s = saga("a\nb: after a\nc: after b");
    s.ok("a:x1:1");
    s.ok("b:x1:1");
    s.no("c:x1:1");
    assert!(s.mark("a:c1", false).is_empty());
    assert_eq!(s.ok("b:c1:1"), ["ended compensated"]);
}

/// A compensation that was refused is settled; its execute may be not.
#[test]
fn marking_must_be_acknowledged_while_the_execute_is_open() {
    let mut s = saga("a\nb");
    s.no("b:x1:1");
    s.no("a:c1:1");
    assert_eq!((s.run("a"), s.run("a:c1")), (Run::Sent, Run::Rejected));
    assert_eq!(s.mark("a:c1", false), [ACKNOWLEDGE]);
    assert_eq!(s.mark("a:c1", true), ["ended compensated"]);
}

/// What cannot be marked says so.
#[test]
fn mark_is_refused_where_it_makes_no_sense() {
    let mut s = saga("a\nb: after a\nc: after b");
    assert_eq!(s.mark("a:c1", true), ["refused: the saga is not being undone"]);
    s.ok("a:x1:1");
    s.no("b:x1:1");
    assert_eq!(s.mark("b:c1", true), ["refused: there is nothing to undo"]);
    assert_eq!(s.mark("c:c1", true), ["refused: the saga has no such step under way"]);
}

/// "Abandon (shows what stays uncompensated, and must be acknowledged)."
#[test]
fn abandon_must_be_acknowledged() {
    let mut s = saga("a\nb: after a\nc: wait: {for: 1h}");
    s.ok("a:x1:1");
    let silently = OperatorAction::Abandon { acknowledged: false };
    assert!(s.operator(silently)[0].starts_with("refused: acknowledge first what stays uncompensated"));
    assert_eq!(s.abandon(), ["ended abandoned"]);
    assert_eq!(s.state.status, Status::Abandoned);
    assert_eq!((s.run("a"), s.run("b"), s.run("c")), (Run::Succeeded, Run::GivenUp, Run::GivenUp));
    assert!(s.track("b").waived && !s.track("c").waived);
    assert_eq!(s.due_at(), None);
}

/// A compensation that shows up after an abandon is good news.
#[test]
fn a_compensation_after_abandon_is_no_anomaly() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.abandon();
    assert_eq!(s.ok("a:c1:1"), ["ignored: the round is settled"]);
}

/// "Each is an event in the saga's history with who, why and when."
#[test]
fn an_action_is_an_event_with_who_why_and_when() {
    let mut s = saga_with("a", "");
    s.now += 5;
    s.compensate();
    let (event, transition) = s.history.last().unwrap();
    let text = serde_json::to_string(event).unwrap();
    assert!(
        text.contains("\"mina\"") && text.contains("it is known") && text.contains("1750000000005"),
        "{text}"
    );
    assert_eq!(transition.state.revision, 2);
}
