//! Identity: rounds, attempts and effect keys.

use saga_core::Run;
use serde_json::json;

use crate::support::{Saga, definition, saga};

/// "A *round* is one try of a step with one input; an *attempt* is one sending of it."
#[test]
fn an_attempt_is_one_sending_of_a_round() {
    let mut s = saga("a");
    s.later("a:x1:1");
    assert_eq!(s.until_due(), ["a:x1:2"]);
    assert_eq!((s.track("a").round, s.track("a").attempt), (1, 2));
}

/// "A *final* answer matches on the effect key, whichever attempt carried it."
#[test]
fn a_final_answer_counts_whichever_attempt_carried_it() {
    for attempt in ["a:x1:1", "a:x1:2", "a:x1:3"] {
        let mut s = saga("a\nb: after a");
        s.until_due();
        s.until_due();
        assert_eq!(s.track("a").attempt, 3);
        assert_eq!(s.ok(attempt), ["b:x1:1"]);
    }
}

/// "`retryable` only on the newest attempt's `ce_id`."
#[test]
fn retryable_counts_only_on_the_newest_attempt() {
    let mut s = saga("a");
    s.until_due();
    assert_eq!(s.later("a:x1:1"), ["ignored: not the newest attempt"]);
    assert_eq!(s.run("a"), Run::Unknown);
    assert!(s.later("a:x1:2").is_empty() || s.run("a") == Run::Backoff);
    assert_eq!(s.run("a"), Run::Backoff);
}

/// A `retryable` that comes twice is one.
#[test]
fn a_second_retryable_changes_nothing() {
    let mut s = saga("a");
    s.later("a:x1:1");
    let due = s.due_at();
    assert_eq!(s.later("a:x1:1"), ["ignored: the round awaits no answer"]);
    assert_eq!(s.due_at(), due);
}

/// An answer to what was never sent is not believed.
#[test]
fn an_answer_to_what_was_never_sent_is_ignored() {
    let mut s = saga("a\nb: after a");
    for key in ["a:x1:2", "a:x2:1", "a:c1:1"] {
        assert!(s.ok(key)[0].starts_with("ignored"), "{key}");
    }
    assert_eq!(s.ok("b:x1:1"), ["ignored: nothing was sent for this step"]);
    assert_eq!(s.ok("nobody:x1:1"), ["ignored: the definition has no such step"]);
    assert_eq!(s.ok("a.3:x1:1"), ["ignored: nothing was sent for this step"]);
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
}

/// "A round's input is the same in every attempt, byte for byte."
#[test]
fn every_attempt_of_a_round_carries_the_same_input() {
    let definition =
        definition("a\nb: after a; input: {plain: \"${steps.a.output.n}\", made: \"${input.x + 1}\"}", "");
    let mut s = Saga::new(definition, json!({"x": 1}));
    s.start();
    s.ok_with("a:x1:1", json!({"n": 5}));
    let first = s.command("b:x1").input.get().to_owned();
    assert_eq!(first, r#"{"made":2,"plain":5}"#);
    for _ in 0..3 {
        s.until_due();
        assert_eq!(s.command("b:x1").input.get(), first);
    }
    s.no("b:x1:1");
    assert_eq!(s.command("a:c1").input.get(), "{}");
}

/// "A retry after a stored `rejected`, edited or not, opens a new round …"
#[test]
fn a_retry_after_rejected_opens_a_new_round() {
    let mut s = saga("a: on_rejected: park");
    s.no("a:x1:1");
    assert_eq!(s.retry("a:x1"), ["a:x2:1"]);
    assert_eq!(s.ok("a:x2:1"), ["ended completed"]);
}

/// "… edited …"
#[test]
fn an_edited_retry_opens_a_new_round_with_the_new_input() {
    let mut s = saga("a: on_rejected: park; input: {n: 1}");
    s.no("a:x1:1");
    assert_eq!(s.retry_edited("a:x1", json!({"n": 2})), ["a:x2:1"]);
    assert_eq!(s.command("a:x2").input.get(), r#"{"n":2}"#);
    s.no("a:x2:1");
    // A plain retry keeps the edited input.
    assert_eq!(s.retry("a:x2"), ["a:x3:1"]);
    assert_eq!(s.command("a:x3").input.get(), r#"{"n":2}"#);
}

/// "… in either direction …"
#[test]
fn a_compensation_counts_rounds_of_its_own() {
    let mut s = saga("a\nb: after a");
    s.ok("a:x1:1");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    s.no("a:c1:1");
    assert_eq!(s.retry_edited("a:c1", json!({"by": "hand"})), ["a:c2:1"]);
    let command = s.command("a:c2");
    assert_eq!(command.input.get(), r#"{"by":"hand"}"#);
    assert_eq!((command.round, command.undoes.unwrap().round), (2, 1));
    assert_eq!(s.ok("a:c2:1"), ["ended compensated"]);
}

/// "… and only once the old round is settled."
#[test]
fn another_input_needs_the_old_round_settled() {
    let mut s = saga("a: on_exhausted: park; retry: {attempts: 1}");
    let refused = "refused: its round is not settled: another input could take effect beside the first";
    assert_eq!(s.retry_edited("a:x1", json!({})), [refused]);
    s.falls_silent("a");
    assert_eq!(s.retry_edited("a:x1", json!({})), [refused]);
}

/// "A compensate names the execute round that it undoes."
#[test]
fn a_compensate_names_the_execute_round() {
    let mut s = saga("a: on_rejected: park\nb: after a");
    s.no("a:x1:1");
    s.retry("a:x1");
    s.ok("a:x2:1");
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    let undoes = s.command("a:c1").undoes.unwrap();
    assert_eq!((undoes.round, undoes.succeeded), (2, true));
}
