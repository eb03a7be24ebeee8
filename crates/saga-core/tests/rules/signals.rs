//! Waits: time and signals.

use saga_core::{OperatorAction, Run, Status, Why};
use serde_json::json;

use crate::support::{saga, saga_with};

const PAID: &str =
    "a\nw: after a; wait: {signal: paid, timeout: 1h}\nb: after w; input: {by: \"${steps.w.output.by}\"}";

/// "`wait: {for: 30s}`."
#[test]
fn a_wait_for_time_ends_by_itself() {
    let mut s = saga("a\nw: after a; wait: {for: 30s}\nb: after w");
    s.ok("a:x1:1");
    assert_eq!(s.run("w"), Run::Waiting);
    assert_eq!(s.passes(29_999), ["ignored: nothing is due"]);
    assert_eq!(s.passes(1), ["b:x1:1"]);
}

/// "One signal satisfies one wait."
#[test]
fn one_signal_satisfies_one_wait() {
    let mut s = saga(
        "v: wait: {signal: go, timeout: 1h}\nw: wait: {signal: go, timeout: 1h}\nb: after v; input: {n: \"${steps.v.output}\"}",
    );
    assert_eq!(s.signal("go", json!(1)), ["b:x1:1"]);
    assert_eq!((s.run("v"), s.run("w")), (Run::Succeeded, Run::Waiting));
    assert_eq!(s.command("b:x1").input.get(), r#"{"n":1}"#);
    s.signal("go", json!(2));
    assert_eq!(s.run("w"), Run::Succeeded);
}

/// "… and waits itself up to `signal_ttl` when it is early."
#[test]
fn an_early_signal_waits() {
    let mut s = saga(PAID);
    assert!(s.signal("paid", json!({"by": "card"})).is_empty());
    s.now += 30_000;
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"by":"card"}"#);
    assert!(s.state.early_signals.is_empty());
}

/// "… up to `signal_ttl` …"
#[test]
fn an_early_signal_waits_no_longer_than_its_time() {
    let mut s = saga(PAID);
    s.signal("paid", json!({"by": "card"}));
    s.now += 60_000;
    assert_eq!(s.ok("a:x1:1"), ["anomaly w:x1 signal_expired"]);
    assert_eq!((s.run("w"), s.state.early_signals.len()), (Run::Waiting, 0));
    assert_eq!(s.signal("paid", json!({"by": "card"})), ["b:x1:1"]);
}

/// How long is the definition's to say.
#[test]
fn a_definition_says_how_long_early_signals_wait() {
    let mut s = saga_with(PAID, "signal_ttl: 2h");
    s.signal("paid", json!({"by": "card"}));
    s.now += 7_199_999;
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
    let mut s = saga_with(PAID, "signal_ttl: 1s");
    s.signal("paid", json!({"by": "card"}));
    s.now += 1_000;
    assert_eq!(s.ok("a:x1:1"), ["anomaly w:x1 signal_expired"]);
}

/// "Late truth is never just ignored": what came early reports it too, when the saga turns around before its wait.
#[test]
fn an_early_signal_of_a_saga_that_unwinds_is_an_anomaly() {
    let mut s = saga(PAID);
    s.signal("paid", json!({"amount": 5}));
    assert_eq!(s.compensate(), ["anomaly w:x1 signal_after_wait", "a:c1:1"]);
    assert_eq!(anomaly_output(&s), Some(json!({"amount": 5})));
    assert_eq!(s.signal("paid", json!({"amount": 5})), ["ignored: the anomaly is open already"]);
    let mut s = saga(PAID);
    s.signal("paid", json!({"amount": 5}));
    assert_eq!(s.abandon(), ["ended abandoned", "anomaly w:x1 signal_after_wait"]);
}

/// The second of two that came early is a repetition, if only one was waited for.
#[test]
fn a_second_early_signal_is_no_anomaly() {
    let mut s = saga(PAID);
    s.signal("paid", json!({"by": "card"}));
    s.signal("paid", json!({"by": "cash"}));
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"by":"card"}"#);
    assert_eq!(s.ok("b:x1:1"), ["ended completed"]);
    assert!(s.state.early_signals.is_empty());
}

fn anomaly_output(s: &crate::support::Saga) -> Option<serde_json::Value> {
    let effects = &s.last.as_ref().unwrap().effects;
    effects.iter().find_map(|effect| match effect {
        saga_core::Effect::Anomaly(it) => it.output.as_deref().cloned(),
        _ => None,
    })
}

/// Early signals are bounded.
#[test]
fn early_signals_are_bounded() {
    let mut s = saga(PAID);
    for _ in 0..saga_core::machine::EARLY_SIGNALS_MAX {
        assert!(s.signal("paid", json!(null)).is_empty());
    }
    assert_eq!(s.signal("paid", json!(null)), ["ignored: too many signals wait already"]);
}

/// A signal that no step waits for is ignored.
#[test]
fn an_unknown_signal_is_ignored() {
    let mut s = saga(PAID);
    assert_eq!(s.signal("else", json!(1)), ["ignored: nothing in the definition waits for this signal"]);
}

/// A second signal after the only wait was satisfied finds no wait.
#[test]
fn a_signal_without_a_wait_left_is_ignored() {
    let mut s = saga(PAID);
    s.ok("a:x1:1");
    s.signal("paid", json!({"by": "card"}));
    assert_eq!(s.signal("paid", json!({"by": "card"})), ["ignored: no wait is left for this signal"]);
}

/// A wait that ends without its signal follows `on_exhausted`.
#[test]
fn a_wait_without_its_signal_is_exhausted() {
    let mut s = saga(PAID);
    s.ok("a:x1:1");
    s.now += 3_600_000;
    // The signal may be among what was not read yet.
    assert_eq!(s.due(false, &[]), ["ignored: nothing is due"]);
    assert_eq!(s.due(true, &[]), ["a:c1:1"]);
    assert_eq!(s.run("w"), Run::Exhausted);
}

/// A parked wait takes its signal after all, or is begun anew.
#[test]
fn a_parked_wait_takes_its_signal() {
    let steps = "w: wait: {signal: go, timeout: 1h}; on_exhausted: park\nb: after w";
    let mut s = saga(steps);
    s.passes(3_600_000);
    assert_eq!(s.parked(), Some((Why::Exhausted, "w:x".to_owned())));
    assert_eq!(s.signal("go", json!(1)), ["b:x1:1"]);
    let mut s = saga(steps);
    s.passes(3_600_000);
    assert!(s.operator(OperatorAction::Retry { cell: None }).is_empty());
    assert_eq!((s.run("w"), &s.state.status), (Run::Waiting, &Status::Running));
    assert_eq!(s.due_at(), Some(s.now + 3_600_000));
}

/// "A deposit after the wait ended … opens an *anomaly*."
#[test]
fn a_signal_after_its_wait_ended_is_an_anomaly() {
    let mut s = saga(PAID);
    s.ok("a:x1:1");
    s.passes(3_600_000);
    assert_eq!(s.signal("paid", json!({"amount": 5})), ["anomaly w:x1 signal_after_wait"]);
    assert_eq!(s.signal("paid", json!({"amount": 5})), ["ignored: the anomaly is open already"]);
    let mut s = saga(PAID);
    s.ok("a:x1:1");
    s.passes(3_600_000);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
    assert_eq!(s.signal("paid", json!({"amount": 5})), ["anomaly w:x1 signal_after_wait"]);
}

/// Also when the saga turned around while it waited, or before.
#[test]
fn a_signal_to_a_saga_that_unwinds_is_an_anomaly() {
    let mut s = saga(PAID);
    s.ok("a:x1:1");
    s.compensate();
    assert_eq!(s.signal("paid", json!(1)), ["anomaly w:x1 signal_after_wait"]);
    let mut s = saga(PAID);
    s.no("a:x1:1");
    assert_eq!(s.signal("paid", json!(1)), ["anomaly w:x1 signal_after_wait"]);
}

/// An optional wait that ended leaves nobody to look at the signal.
#[test]
fn a_signal_after_an_optional_wait_is_an_anomaly() {
    let mut s = saga("w: wait: {signal: go, timeout: 1h}; optional\nb: after w");
    assert_eq!(s.passes(3_600_000), ["b:x1:1"]);
    assert_eq!(s.signal("go", json!(1)), ["anomaly w:x1 signal_after_wait"]);
}

/// A wait that was skipped by its `when` was never asked for.
#[test]
fn a_signal_for_a_wait_that_never_began_is_ignored() {
    let mut s = saga("w: wait: {signal: go, timeout: 1h}; when: ${1 > 2}\nb: after w");
    assert_eq!(s.signal("go", json!(1)), ["ignored: no wait is left for this signal"]);
}

/// A signal may still come to a wait that an operator skips.
#[test]
fn skipping_a_wait_for_a_signal_must_be_acknowledged() {
    let mut s = saga("w: wait: {signal: go, timeout: 1h}\nv: wait: {for: 1h}\nb: after w v");
    assert!(s.skip("w:x1", false)[0].starts_with("refused: it may still take effect"));
    s.skip("w:x1", true);
    assert_eq!(s.skip("v:x1", false), ["b:x1:1"]);
    assert_eq!(s.signal("go", json!(1)), ["anomaly w:x1 signal_after_wait"]);
}

/// A wait leaves nothing to undo.
#[test]
fn waits_are_passed_over_by_an_unwind() {
    let mut s = saga("a\nw: after a; wait: {for: 1h}\nb");
    s.ok("a:x1:1");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    assert_eq!(s.due_at(), Some(s.now + 60_000), "only the compensation's timeout");
}
