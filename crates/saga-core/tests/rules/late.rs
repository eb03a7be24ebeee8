//! Late and duplicate: what changes nothing, and what must never be just ignored.

use std::sync::Arc;

use saga_core::{Answer, Effect, What};
use saga_protocol::Outcome;
use serde_json::json;

use crate::support::{Saga, saga};

/// "What matches nothing open is recorded as ignored, with the reason, … and does not change the saga's revision."
#[test]
fn duplicates_are_ignored_and_change_no_revision() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    let revision = s.revision();
    assert_eq!(s.ok("a:x1:1"), ["ignored: a duplicate"]);
    assert_eq!(s.no("a:x1:1"), ["ignored: the round is settled"]);
    assert_eq!(s.later("a:x1:1"), ["ignored: the round is settled"]);
    assert_eq!(s.lost("a:x1:1"), ["ignored: the round is settled"]);
    assert_eq!(s.revision(), revision);
    s.no("b:x1:1");
    assert_eq!(s.no("b:x1:1"), ["ignored: the round is settled"]);
    s.ok("a:c1:1");
    assert_eq!(s.ok("a:c1:1"), ["ignored: a duplicate"]);
}

/// An older round's answers are late.
#[test]
fn an_older_rounds_rejection_is_ignored() {
    let mut s = saga("a: on_rejected: park");
    s.no("a:x1:1");
    s.retry("a:x1");
    assert_eq!(s.no("a:x1:1"), ["ignored: an older round"]);
    assert_eq!(s.later("a:x1:1"), ["ignored: an older round"]);
}

/// An older round of a compensation, too.
#[test]
fn an_older_compensation_round_is_ignored() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.no("a:c1:1");
    s.resume();
    assert_eq!(s.no("a:c1:1"), ["ignored: an older round"]);
    assert_eq!(s.ok("a:c2:1"), ["ended compensated"]);
}

/// "**Late truth is never just ignored**: … success after skip …"
#[test]
fn a_success_after_skip_is_an_anomaly() {
    let mut s = saga("a: on_exhausted: park; retry: {attempts: 1}\nb: after a");
    s.falls_silent("a");
    s.skip("a:x1", true);
    let revision = s.revision();
    let effects = s.ok_with("a:x1:1", json!({"amount": 12_000}));
    assert_eq!(effects, ["anomaly a:x1 succeeded_after_skip"]);
    assert_eq!(s.revision(), revision + 1);
    assert_eq!(s.payloads.at(revision + 1), Some(&Arc::new(json!({"amount": 12_000}))));
}

/// "… abandon …"; "… also on an ended one …"
#[test]
fn a_success_after_abandon_is_an_anomaly_on_an_ended_saga() {
    let mut s = saga("a");
    assert_eq!(s.abandon(), ["ended abandoned"]);
    assert_eq!(s.ok("a:x1:1"), ["anomaly a:x1 succeeded_after_abandon"]);
    assert_eq!(s.state.status.word(), "abandoned");
    assert_eq!(s.no("a:x1:1"), ["ignored: the round is settled"]);
}

fn marked() -> Saga {
    let mut s = saga("a: compensation: {action: undo, retry: {attempts: 1}}\nb");
    s.no("b:x1:1");
    s.falls_silent("a:c1");
    assert_eq!(s.mark("a:c1", true), ["ended compensated"]);
    s
}

/// "… or mark-compensated …"
#[test]
fn a_success_after_mark_compensated_is_an_anomaly() {
    let mut s = marked();
    assert_eq!(s.ok("a:x1:1"), ["anomaly a:x1 succeeded_after_mark"]);
}

/// What a human paid back and the worker pays back after all is paid back twice.
#[test]
fn a_compensation_after_mark_compensated_is_an_anomaly() {
    let mut s = marked();
    assert_eq!(s.ok("a:c1:1"), ["anomaly a:c1 compensated_after_mark"]);
}

/// "… once per effect key and kind …"
#[test]
fn an_anomaly_is_opened_once_per_effect_key_and_kind() {
    let mut s = marked();
    s.ok("a:x1:1");
    assert_eq!(s.ok("a:x1:1"), ["ignored: the anomaly is open already"]);
    assert_eq!(s.ok("a:c1:1"), ["anomaly a:c1 compensated_after_mark"]);
    assert_eq!(s.ok("a:c1:1"), ["ignored: the anomaly is open already"]);
}

/// "… with the amount …": the output is part of it.
#[test]
fn an_anomaly_carries_the_output() {
    let mut s = saga("a");
    s.abandon();
    let output = Some(Arc::new(json!({"amount": 5})));
    let answer = Answer { output: output.clone(), ..s.answer("a:x1:1", Outcome::Succeeded) };
    s.happens(What::Answer(answer));
    let effects = &s.last.as_ref().unwrap().effects;
    assert!(matches!(&effects[..], [Effect::Anomaly(it)] if it.output == output));
}

/// A success for a round that was settled as rejected is an effect that nobody undoes.
#[test]
fn a_success_of_a_rejected_round_is_an_anomaly() {
    let mut s = saga("a: on_rejected: park");
    s.no("a:x1:1");
    assert_eq!(s.ok("a:x1:1"), ["anomaly a:x1 succeeded_after_rejected"]);
    s.retry("a:x1");
    assert_eq!(s.ok("a:x1:1"), ["ignored: the anomaly is open already"]);
    assert_eq!(s.ok("a:x2:1"), ["ended completed"]);
}

/// A success whose compensation has covered it is no anomaly.
#[test]
fn a_success_that_was_undone_is_no_anomaly() {
    let mut s = saga("a\nb");
    s.no("b:x1:1");
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
    assert_eq!(s.ok("a:x1:1"), ["ignored: the saga has ended"]);
}

/// An optional step that was given up on, and has taken effect after all: the saga has completed as if it had not.
#[test]
fn a_success_after_the_end_is_an_anomaly_where_it_can_be_undone() {
    let mut s = saga("a: optional; retry: {attempts: 1}; compensation: undo\nb: after a");
    s.falls_silent("a");
    assert_eq!(s.ok("b:x1:1"), ["ended completed"]);
    assert_eq!(s.ok("a:x1:1"), ["anomaly a:x1 succeeded_after_end"]);
    assert_eq!(s.ok("a:x1:1"), ["ignored: the anomaly is open already"]);
    assert_eq!(s.no("a:x1:1"), ["ignored: the saga has ended"]);
    assert_eq!(s.state.status.word(), "completed");
}

/// What leaves nothing behind is none: there is nothing that anybody had to undo.
#[test]
fn a_success_after_the_end_that_leaves_nothing_is_ignored() {
    let mut s = saga("a: optional; retry: {attempts: 1}; compensation: none\nb: after a");
    s.falls_silent("a");
    s.ok("b:x1:1");
    assert_eq!(s.ok("a:x1:1"), ["ignored: the saga has ended"]);
}

/// An ended saga takes nothing else.
#[test]
fn an_ended_saga_ignores_the_rest() {
    let mut s = saga("a");
    s.ok("a:x1:1");
    let ended = ["ignored: the saga has ended"];
    assert_eq!(s.passes(1_000_000), ended);
    assert_eq!(s.happens(What::LogLost), ended);
    assert_eq!(s.happens(What::Hold), ended);
    assert_eq!(s.happens(What::Poison("x".to_owned())), ended);
    assert_eq!(s.happens(What::Illegal("x".to_owned())), ended);
    assert_eq!(s.compensate(), ["refused: the saga has ended"]);
}
