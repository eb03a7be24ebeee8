//! Unknown: silence is neither success nor failure.

use saga_core::{Run, Status, What, Why};
use serde_json::json;

use crate::support::{saga, saga_with};

/// "No reply by the step's timeout (counted from `sent_at`, in the state) means *unknown*: the same round is sent
/// again."
#[test]
fn silence_beyond_the_timeout_is_unknown_and_sent_again() {
    let mut s = saga("a: timeout: 5s");
    assert_eq!(s.passes(4_999), ["ignored: nothing is due"]);
    assert_eq!(s.passes(1), ["a:x1:2"]);
    assert_eq!(s.run("a"), Run::Unknown);
    // From the newest sending.
    assert_eq!(s.passes(4_999), ["ignored: nothing is due"]);
}

/// "… with backoff …"
#[test]
fn an_unknown_round_is_sent_again_with_backoff() {
    let mut s = saga("a: timeout: 1s; retry: {attempts: 50, initial: 10s, max: 1h}");
    let mut gaps = Vec::new();
    for _ in 0..12 {
        let before = s.now;
        s.until_due();
        gaps.push(s.now - before);
    }
    assert_eq!(gaps[0], 1_000);
    assert!(gaps.iter().all(|&gap| (1_000..=3_601_000).contains(&gap)), "{gaps:?}");
    assert!(gaps[6..].iter().max() > gaps[..4].iter().max(), "{gaps:?}");
}

/// Each sending without an answer is charged; then the outcome stays unknown, and an unwind undoes it.
#[test]
fn a_silent_step_is_exhausted_and_compensated() {
    let mut s = saga("a: retry: {attempts: 3}");
    let effects = s.falls_silent("a");
    assert_eq!(s.track("a").attempt, 3);
    assert_eq!(s.run("a"), Run::Exhausted);
    assert_eq!(effects, ["a:c1:1"]);
}

/// "A timeout or deadline fires only once its partition has been read to a high watermark that was fetched after it
/// fell due."
#[test]
fn timeouts_and_deadlines_fire_only_when_everything_was_read() {
    let mut s = saga_with("a: timeout: 5s", "deadline: 1m");
    s.now += 3_600_000;
    assert_eq!(s.due(false, &[]), ["ignored: nothing is due"]);
    assert_eq!(s.run("a"), Run::Sent);
    assert!(!s.is_unwinding());
}

/// "… backoffs and waits fire at once."
#[test]
fn backoffs_and_waits_fire_at_once() {
    let mut s = saga("a\nb: wait: {for: 5s}");
    s.later("a:x1:1");
    s.now += 20_000;
    assert_eq!(s.due(false, &[]), ["a:x1:2"]);
    assert_eq!(s.run("b"), Run::Succeeded);
}

/// "A later command is *queued*, not unknown: neither sent again nor charged …"
#[test]
fn a_queued_command_is_neither_sent_again_nor_charged() {
    let mut s = saga("a: timeout: 5s\nb: timeout: 5s");
    s.now += 5_000;
    assert_eq!(s.due(true, &["a:x1"]), ["b:x1:2"]);
    assert_eq!((s.run("a"), s.track("a").charged), (Run::Sent, 1));
}

/// "… also while its worker is down, until the deadline."
#[test]
fn the_deadline_fires_for_queued_commands_too() {
    let mut s = saga_with("a: timeout: 5s", "deadline: 1m");
    s.now += 60_000;
    assert_eq!(s.due(true, &["a:x1"]), ["a:c1:1"]);
}

/// An answer settles an unknown round as if nothing had been.
#[test]
fn an_unknown_round_takes_every_answer() {
    let mut s = saga("a\nb\nc");
    s.until_due();
    assert_eq!([s.run("a"), s.run("b"), s.run("c")], [Run::Unknown; 3]);
    s.ok("a:x1:1");
    assert_eq!(s.run("a"), Run::Succeeded);
    s.later("b:x1:2");
    assert_eq!((s.run("b"), s.track("b").silent), (Run::Backoff, 0));
    s.no("c:x1:1");
    assert!(s.is_unwinding());
}

/// "The log can lie … send every in-flight command again (rebuilt from state)": the same attempt.
#[test]
fn a_lost_log_sends_the_same_attempts_again() {
    let mut s = saga("a\nb\nc\nd: wait: {for: 1h}");
    s.ok("b:x1:1");
    s.later("c:x1:1");
    let before = s.state.clone();
    assert_eq!(s.happens(What::LogLost), ["a:x1:1"]);
    assert_eq!(s.state, before);
    s.until_due();
    s.no("c:x1:2");
    // The executes that are left behind are not sent again: their compensations are.
    assert_eq!(s.happens(What::LogLost), ["a:c1:1", "b:c1:1"]);
}

/// With nothing in flight a lost log is no matter.
#[test]
fn a_lost_log_with_nothing_in_flight_is_ignored() {
    let mut s = saga("a: wait: {for: 1h}");
    assert_eq!(s.happens(What::LogLost), ["ignored: nothing is in flight"]);
}

/// "Anything past the inbox's retention gets no final reply in either direction: dead letter, and the saga parks."
#[test]
fn an_undecidable_execute_parks_and_is_not_compensated_blindly() {
    let mut s = saga_with("a\nb: after a", "deadline: 1m");
    s.ok("a:x1:1");
    s.lost("b:x1:1");
    assert_eq!(s.parked(), Some((Why::Undecidable, "b:x".to_owned())));
    // It waits for a human: no deadline.
    s.now += 600_000;
    assert_eq!(s.due(true, &[]), ["ignored: nothing is due"]);
    // The truth settles it.
    assert_eq!(s.ok("b:x1:1"), ["ended completed"]);
}

/// A failure elsewhere turns the saga around; the lost one stops the unwind after its siblings.
#[test]
fn an_undecidable_execute_stops_an_unwind_after_the_siblings() {
    let mut s = saga("a\nb: after a\nc: after a\nd: after a");
    s.ok("a:x1:1");
    s.lost("b:x1:1");
    s.ok("c:x1:1");
    assert_eq!(s.no("d:x1:1"), ["c:c1:1"]);
    assert_eq!(s.state.status, Status::Running);
    s.ok("c:c1:1");
    assert_eq!(s.parked(), Some((Why::Undecidable, "b:x".to_owned())));
    // An operator who knows better has it compensated.
    assert_eq!(s.resume(), ["b:c1:1"]);
    assert_eq!(s.ok("b:c1:1"), ["a:c1:1"]);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// "… in either direction …"
#[test]
fn an_undecidable_compensate_parks() {
    let mut s = saga("a\nb: after a");
    s.ok_with("a:x1:1", json!({}));
    s.no("b:x1:1");
    s.lost("a:c1:1");
    assert_eq!(s.parked(), Some((Why::Undecidable, "a:c".to_owned())));
    assert_eq!(s.resume(), ["a:c1:2"]);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// It counts only for the newest attempt, in both directions: an older one may come from an instance that sees less
/// than the one that is at work now.
#[test]
fn an_undecidable_of_an_older_attempt_parks_nothing() {
    let mut s = saga("a\nb: after a");
    s.until_due();
    assert_eq!(s.lost("a:x1:1"), ["ignored: not the newest attempt"]);
    assert_eq!(s.parked(), None);
    s.later("a:x1:2");
    assert_eq!(s.lost("a:x1:1"), ["ignored: not the newest attempt"], "nor while the next one is awaited");
    assert_eq!(s.until_due(), ["a:x1:3"]);
    assert_eq!(s.ok("a:x1:3"), ["b:x1:1"]);
    s.no("b:x1:1");
    s.until_due();
    assert_eq!(s.lost("a:c1:1"), ["ignored: not the newest attempt"]);
    assert_eq!(s.parked(), None);
    s.lost("a:c1:2");
    assert_eq!(s.parked(), Some((Why::Undecidable, "a:c".to_owned())));
}
