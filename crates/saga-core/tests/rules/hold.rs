//! Hold: an operator pauses an action "while compensations flow".

use saga_core::{Run, Status};

use crate::support::{Saga, definition, saga};
use serde_json::json;

/// A held step is ready and not sent, until the hold ends.
#[test]
fn a_held_step_is_sent_when_the_hold_ends() {
    let mut s = Saga::new(definition("a\nb: after a", ""), json!({}));
    s.held = vec![saga_core::StepIx(0)];
    assert!(s.start().is_empty());
    assert_eq!((s.run("a"), s.track("a").attempt), (Run::Held, 0));
    assert_eq!(s.due_at(), None);
    assert_eq!(s.hold(&["a"]), ["ignored: it changes nothing"]);
    assert_eq!(s.hold(&[]), ["a:x1:1"]);
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
}

/// A round that is open pauses as well: neither sent again nor charged.
#[test]
fn an_open_round_pauses_while_it_is_held() {
    let mut s = saga("a: retry: {attempts: 2}; on_exhausted: park\nb: timeout: 5s; retry: {attempts: 2}");
    s.later("a:x1:1");
    s.held = vec![saga_core::StepIx(0), saga_core::StepIx(1)];
    s.passes(20_000);
    assert_eq!((s.run("a"), s.run("b")), (Run::Backoff, Run::Unknown));
    assert_eq!(s.due_at(), None);
    assert_eq!(s.passes(3_600_000), ["ignored: nothing is due"]);
    assert_eq!(s.hold(&[]), ["a:x1:2", "b:x1:2"]);
}

/// A paused round still takes its answer.
#[test]
fn a_paused_round_takes_its_answer() {
    let mut s = saga("a: timeout: 5s\nb: after a");
    s.held = vec![saga_core::StepIx(0)];
    s.passes(5_000);
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
}

/// "… while compensations flow."
#[test]
fn compensations_flow_while_their_step_is_held() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    s.hold(&["a", "b"]);
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    assert_eq!(s.until_due(), ["a:c1:2"]);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// A parked saga starts nothing when a hold ends.
#[test]
fn the_end_of_a_hold_starts_nothing_in_a_parked_saga() {
    let mut s = saga("a\nb: after a\nc: on_rejected: park");
    s.hold(&["b"]);
    s.ok("a:x1:1");
    s.no("c:x1:1");
    assert_eq!(s.hold(&[]), ["ignored: it changes nothing"]);
    assert_eq!(s.run("b"), Run::Held);
    assert_eq!(s.retry("c:x1"), ["c:x2:1", "b:x1:1"]);
    assert_eq!(s.state.status, Status::Running);
}

/// A retry of a held step waits for the hold's end.
#[test]
fn a_retry_of_a_held_step_waits() {
    let mut s = saga("a: on_rejected: park");
    s.no("a:x1:1");
    s.held = vec![saga_core::StepIx(0)];
    assert!(s.retry("a:x1").is_empty());
    assert_eq!((s.run("a"), s.track("a").round), (Run::Held, 2));
    assert_eq!(s.retry("a:x2"), ["refused: it is held: end the hold"]);
    assert_eq!(s.hold(&[]), ["a:x2:1"]);
}

/// A held wait whose signal came early is over when the hold ends.
#[test]
fn a_held_wait_takes_its_early_signal_when_the_hold_ends() {
    let mut s = saga("a\nw: after a; wait: {signal: go, timeout: 1h}");
    s.hold(&["w"]);
    s.ok("a:x1:1");
    assert!(s.signal("go", json!(1)).is_empty());
    assert_eq!(s.run("w"), Run::Held);
    assert_eq!(s.hold(&[]), ["ended completed"]);
}
