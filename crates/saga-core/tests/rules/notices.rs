//! Notices: `on_compensated` and `on_parked`, which hold nothing.

use saga_core::{Run, Status};

use crate::support::{saga, saga_with};

const TOP: &str = "
on_compensated:
  told: {worker: w, action: tell, retry: {attempts: 2}}
  also: {worker: w, action: tell, input: {x: \"${has(steps.a.output) ? 1 : 0}\"}}
on_parked:
  alarm: {worker: w, action: alarm}";

/// `on_compensated` runs after everything is undone, then the saga is compensated.
#[test]
fn notices_of_compensation_run_after_everything_is_undone() {
    let mut s = saga_with("a\nb: after a", TOP);
    s.ok("a:x1:1");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    assert_eq!(s.ok("a:c1:1"), ["told:x1:1", "also:x1:1"]);
    assert_eq!(s.state.status, Status::Running);
    assert!(s.ok("told:x1:1").is_empty());
    assert_eq!(s.ok("also:x1:1"), ["ended compensated"]);
}

/// A notice that fails is a warning.
#[test]
fn a_notice_that_fails_holds_nothing() {
    let mut s = saga_with("a", TOP);
    assert_eq!(s.no("a:x1:1"), ["told:x1:1", "also:x1:1"]);
    s.no("told:x1:1");
    assert_eq!(s.lost("also:x1:1"), ["ended compensated"]);
    let mut s = saga_with("a", TOP);
    s.no("a:x1:1");
    s.later("told:x1:1");
    s.ok("also:x1:1");
    assert_eq!(s.until_due(), ["told:x1:2"]);
    assert_eq!(s.later("told:x1:2"), ["ended compensated"]);
}

/// `on_parked` runs once when the saga parks, and never unparks it.
#[test]
fn a_notice_of_parking_runs_once() {
    let mut s = saga_with("a: on_rejected: park\nb: on_rejected: park", TOP);
    assert_eq!(s.no("a:x1:1"), ["alarm:x1:1"]);
    assert!(s.ok("alarm:x1:1").is_empty());
    assert!(s.parked().is_some());
    s.retry("a:x1");
    assert_eq!(s.state.status, Status::Running);
    assert!(s.no("a:x2:1").is_empty());
    assert!(s.parked().is_some());
}

/// A saga that goes on does not wait for the notice of its parking.
#[test]
fn a_notice_of_parking_holds_nothing() {
    let mut s = saga_with("a: on_rejected: park", TOP);
    s.no("a:x1:1");
    s.retry("a:x1");
    assert_eq!(s.run("alarm"), Run::Sent);
    assert_eq!(s.ok("a:x2:1"), ["ended completed"]);
    assert_eq!(s.due_at(), None);
}

/// A notice is tried again while the saga unwinds.
#[test]
fn a_notice_of_parking_is_tried_again_during_an_unwind() {
    let mut s = saga_with("a\nb: after a; on_rejected: park", TOP);
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.later("alarm:x1:1");
    assert_eq!(s.compensate(), ["a:c1:1"]);
    assert_eq!(s.until_due(), ["alarm:x1:2"]);
}

/// A notice whose input has no value is skipped.
#[test]
fn a_notice_without_an_input_is_skipped() {
    let top = "on_compensated:\n  told: {worker: w, action: tell, input: {x: \"${input.gone}\"}}";
    let mut s = saga_with("a", top);
    assert_eq!(s.no("a:x1:1"), ["ended compensated"]);
    assert!(s.notes().contains("told is skipped"), "{}", s.notes());
    assert_eq!(s.run("told"), Run::Skipped);
}

/// A held notice waits for the hold's end.
#[test]
fn a_held_notice_is_sent_when_the_hold_ends() {
    let mut s = saga_with("a", "on_compensated:\n  told: {worker: w, action: tell}");
    s.hold(&["told"]);
    s.no("a:x1:1");
    assert_eq!((s.run("told"), &s.state.status), (Run::Held, &Status::Running));
    assert_eq!(s.hold(&[]), ["told:x1:1"]);
    assert_eq!(s.ok("told:x1:1"), ["ended compensated"]);
}

/// An operator may skip a notice that takes too long.
#[test]
fn a_notice_can_be_skipped() {
    let mut s = saga_with("a", "on_compensated:\n  told: {worker: w, action: tell}");
    s.no("a:x1:1");
    assert_eq!(s.skip("told:x1", true), ["ended compensated"]);
}

/// Notices are never undone.
#[test]
fn notices_are_not_undone() {
    let mut s = saga("a\nb: after a; on_rejected: park");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    let mut s = saga_with("a\nb: after a; on_rejected: park", TOP);
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.ok("alarm:x1:1");
    assert_eq!(s.compensate(), ["a:c1:1"]);
    assert_eq!(s.ok("a:c1:1"), ["told:x1:1", "also:x1:1"]);
}
