//! Pivot: the step after which there is no way back.

use saga_core::state::Cause;
use saga_core::{Phase, Run, Status, StepIx, Why};

use crate::support::{Saga, saga, saga_with};

const STEPS: &str =
    "a\np: after a; pivot; retry: {attempts: 2}; timeout: 5s\nz: after p; bare; retry: {attempts: 1}";

fn at_pivot() -> Saga {
    let mut s = saga_with(STEPS, "deadline: 10m");
    assert_eq!(s.ok("a:x1:1"), ["p:x1:1"]);
    assert_eq!(s.state.phase, Phase::PivotOpen { stop: None });
    s
}

/// "From the moment it is sent, cancel … wait for its outcome."
#[test]
fn a_cancel_waits_for_the_pivots_outcome() {
    let mut s = at_pivot();
    assert!(s.compensate().is_empty());
    assert_eq!(s.state.phase, Phase::PivotOpen { stop: Some(Cause::Operator) });
    assert_eq!(s.compensate(), ["refused: it waits for the pivot's outcome already"]);
    assert_eq!(s.no("p:x1:1"), ["a:c1:1"]);
}

/// "… deadline … wait for its outcome."
#[test]
fn a_deadline_waits_for_the_pivots_outcome() {
    let mut s = at_pivot();
    s.now += 600_000;
    assert!(s.due(true, &["p:x1"]).is_empty());
    assert_eq!(s.state.phase, Phase::PivotOpen { stop: Some(Cause::Deadline) });
    // It is remembered once.
    assert_eq!(s.due(true, &["p:x1"]), ["ignored: nothing is due"]);
    assert_eq!(s.ok("p:x1:1"), ["z:x1:1"]);
    assert_eq!(s.state.phase, Phase::Committed);
}

/// Before it is sent, nothing waits for it.
#[test]
fn a_held_pivot_was_not_sent() {
    let mut s = saga(STEPS);
    s.hold(&["p"]);
    s.ok("a:x1:1");
    assert_eq!((s.run("p"), &s.state.phase), (Run::Held, &Phase::Forward));
    assert_eq!(s.compensate(), ["a:c1:1"]);
}

/// "Definitely rejected: unwind."
#[test]
fn a_rejected_pivot_unwinds() {
    let mut s = at_pivot();
    assert_eq!(s.no("p:x1:1"), ["a:c1:1"]);
    assert_eq!(s.state.phase, Phase::Unwinding { cause: Cause::Rejected(StepIx(1)) });
}

/// A rejected pivot whose policy says park is before the pivot again, and obeys what has waited for its outcome.
#[test]
fn a_rejected_pivot_that_parks_is_before_the_pivot() {
    let steps = "a\np: after a; pivot; on_rejected: park";
    let mut s = saga_with(steps, "deadline: 10m");
    s.ok("a:x1:1");
    s.no("p:x1:1");
    assert_eq!(s.parked(), Some((Why::Rejected, "p:x".to_owned())));
    assert_eq!(s.state.phase, Phase::Forward);
    assert_eq!(s.retry("p:x1"), ["p:x2:1"]);
    assert_eq!(s.state.phase, Phase::PivotOpen { stop: None });
    s.compensate();
    assert_eq!(s.no("p:x2:1"), ["a:c1:1"]);
    assert_eq!(s.state.phase, Phase::Unwinding { cause: Cause::Operator });

    let mut s = saga_with(steps, "deadline: 10m");
    s.ok("a:x1:1");
    s.no("p:x1:1");
    assert_eq!(s.passes(600_000), ["a:c1:1"]);
}

/// "Exhausted without a final answer: parked, because nobody knows which side of it the saga is on."
#[test]
fn exhausted_pivot_parks() {
    let mut s = at_pivot();
    s.falls_silent("p");
    assert_eq!(s.parked(), Some((Why::PivotUnsettled, "p:x".to_owned())));
    assert_eq!(
        s.compensate(),
        ["refused: nobody knows on which side of its pivot the saga is: settle that first"]
    );
    // "Parked by … an unsettled pivot … it waits for a human."
    assert_eq!(s.due_at(), None);
    assert_eq!(s.passes(3_600_000), ["ignored: nothing is due"]);
}

/// "A parked saga still takes answers to its open rounds; one that settles the cause unparks it."
#[test]
fn an_answer_settles_an_exhausted_pivot() {
    let mut s = at_pivot();
    s.falls_silent("p");
    assert_eq!(s.ok("p:x1:1"), ["z:x1:1"]);
    assert_eq!((&s.state.status, &s.state.phase), (&Status::Running, &Phase::Committed));

    let mut s = at_pivot();
    s.falls_silent("p");
    assert_eq!(s.no("p:x1:2"), ["a:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
}

/// An operator may have the open round sent again: the same round, so that it cannot take effect twice.
#[test]
fn an_exhausted_pivot_can_be_tried_again() {
    let mut s = at_pivot();
    s.falls_silent("p");
    assert_eq!(s.retry("p:x1"), ["p:x1:3"]);
    assert_eq!((&s.state.status, &s.state.phase), (&Status::Running, &Phase::PivotOpen { stop: None }));
}

/// A pivot whose worker lost its record is settled by nobody but a human or the truth.
#[test]
fn an_undecidable_pivot_parks() {
    let mut s = at_pivot();
    s.lost("p:x1:1");
    assert_eq!(s.parked(), Some((Why::Undecidable, "p:x".to_owned())));
    assert!(s.compensate()[0].starts_with("refused: nobody knows"));
    assert_eq!(s.ok("p:x1:1"), ["z:x1:1"]);
}

/// "Succeeded: forward only; cancel … refused …"
#[test]
fn after_the_pivot_a_cancel_is_refused() {
    let mut s = at_pivot();
    s.ok("p:x1:1");
    assert_eq!(s.compensate(), ["refused: the pivot has succeeded: it only goes forward"]);
}

/// "… and deadline are refused …"
#[test]
fn after_the_pivot_there_is_no_deadline() {
    let mut s = at_pivot();
    s.ok("p:x1:1");
    assert!(s.due_at() < s.state.deadline.map(|at| at.0));
    s.ok("z:x1:1");
    assert_eq!(s.due_at(), None);
}

/// "… failures park." and "After the pivot both mean park."
#[test]
fn after_the_pivot_failures_park() {
    let mut s = at_pivot();
    s.ok("p:x1:1");
    assert!(s.no("z:x1:1").is_empty());
    assert_eq!(s.parked(), Some((Why::Rejected, "z:x".to_owned())));
    assert_eq!(s.retry("z:x1"), ["z:x2:1"]);
    s.falls_silent("z");
    assert_eq!(s.parked(), Some((Why::Exhausted, "z:x".to_owned())));
    // The deadline is long past, and nothing comes of it.
    s.now += 3_600_000;
    assert_eq!(s.due(true, &[]), ["ignored: nothing is due"]);
    assert_eq!(s.ok("z:x2:1"), ["ended completed"]);
}

/// Steps after the pivot start when it has succeeded, not before.
#[test]
fn steps_after_the_pivot_wait_for_its_success() {
    let mut s = at_pivot();
    assert!(!s.is_touched("z"));
    s.until_due();
    assert!(!s.is_touched("z"));
    assert_eq!(s.ok("p:x1:2"), ["z:x1:1"]);
}

/// An operator who skips the pivot takes it as done: there is no way back from there.
#[test]
fn a_skipped_pivot_is_passed() {
    let mut s = at_pivot();
    s.falls_silent("p");
    assert_eq!(s.skip("p:x1", false), ["refused: it may still take effect: acknowledge that first"]);
    assert_eq!(s.skip("p:x1", true), ["z:x1:1"]);
    assert_eq!(s.state.phase, Phase::Committed);
    assert!(s.track("p").waived);
}
