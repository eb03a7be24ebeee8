//! Retry: backoff, budget, and whose trouble is charged.

use saga_core::{Answer, Run, What};
use saga_protocol::Outcome;

use crate::support::{Saga, saga};

/// "Retries follow the step's policy (max attempts …)."
#[test]
fn attempts_are_bounded() {
    let mut s = saga("a: retry: {attempts: 3}; on_exhausted: park");
    assert!(s.later("a:x1:1").is_empty());
    assert_eq!(s.until_due(), ["a:x1:2"]);
    assert!(s.later("a:x1:2").is_empty());
    assert_eq!(s.until_due(), ["a:x1:3"]);
    s.later("a:x1:3");
    assert_eq!(s.run("a"), Run::Exhausted);
    assert_eq!(s.due_at(), None);
}

/// "… exponential backoff with cap and full jitter …"
#[test]
fn backoff_is_exponential_with_cap_and_full_jitter() {
    let mut longest = [0; 6];
    for seed in 0..400 {
        let mut s = saga("a: retry: {attempts: 1000, initial: 100ms, max: 1s}");
        for (nth, longest) in (1u32..).zip(&mut longest) {
            let answer = s.answer(&format!("a:x1:{nth}"), Outcome::Retryable);
            let at = saga_core::Millis(s.now);
            let random = seed * 7919 + nth;
            s.happens_as(saga_core::Event::new(at, random, What::Answer(answer)));
            let pause_ms = s.due_at().unwrap() - s.now;
            assert!((0..=(100 << (nth - 1)).min(1_000)).contains(&pause_ms), "{pause_ms} after try {nth}");
            *longest = pause_ms.max(*longest);
            s.until_due();
        }
    }
    for (longest, most) in longest.iter().zip([100, 200, 400, 800, 1_000, 1_000]) {
        assert!(*longest > most * 8 / 10, "{longest} of {most}");
    }
}

/// "… budget in time."
#[test]
fn the_budget_in_time_ends_a_round() {
    let mut s = saga(
        "a: retry: {attempts: 1000, initial: 1s, max: 1s, budget: 10s}; timeout: 4s; on_exhausted: park",
    );
    let start = s.now;
    s.falls_silent("a");
    assert_eq!(s.run("a"), Run::Exhausted);
    assert!((10_000..20_000).contains(&(s.now - start)), "{} ms", s.now - start);
}

/// No try is planned for when the budget is over.
#[test]
fn a_try_beyond_the_budget_is_not_made() {
    let mut s = saga("a: retry: {attempts: 1000, budget: 10s}; on_exhausted: park");
    let answer = Answer { retry_after_ms: Some(10_001), ..s.answer("a:x1:1", Outcome::Retryable) };
    s.happens(What::Answer(answer));
    assert_eq!(s.run("a"), Run::Exhausted);
}

/// "Budget and next try are persisted: a restart neither resets nor burns them."
#[test]
fn budget_and_next_try_survive_a_restart() {
    let mut s = saga("a: retry: {attempts: 3}; on_exhausted: park");
    s.later("a:x1:1");
    s.until_due();
    s.later("a:x1:2");
    let due = s.due_at();
    let text = serde_json::to_string(&s.state).unwrap();
    s.state = serde_json::from_str(&text).unwrap();
    assert_eq!(s.due_at(), due);
    assert_eq!(s.track("a").charged, 2);
    s.until_due();
    s.later("a:x1:3");
    assert_eq!(s.run("a"), Run::Exhausted);
}

fn troubled(budget: &str) -> Saga {
    let mut s = saga(&format!("a: retry: {{attempts: 2{budget}}}; on_exhausted: park"));
    for attempt in 1..=20 {
        s.now += 1_000;
        assert!(s.trouble(&format!("a:x1:{attempt}")).is_empty());
        assert_eq!(s.run("a"), Run::Backoff);
        assert_eq!(s.until_due(), [format!("a:x1:{}", attempt + 1)]);
    }
    s
}

/// "A worker's own trouble is `retryable` marked *uncharged*: it burns no budget."
#[test]
fn uncharged_trouble_burns_no_attempts() {
    let mut s = troubled("");
    assert_eq!(s.track("a").charged, 1);
    s.later("a:x1:21");
    assert_eq!(s.run("a"), Run::Backoff);
    s.until_due();
    s.later("a:x1:22");
    assert_eq!(s.run("a"), Run::Exhausted);
}

/// "… it burns no budget": in time neither.
#[test]
fn uncharged_trouble_burns_no_time() {
    let mut s = troubled(", budget: 15s");
    s.later("a:x1:21");
    assert_eq!(s.run("a"), Run::Backoff);
}

/// A worker's own trouble is asked less and less often, and never less than at the cap.
#[test]
fn uncharged_trouble_still_backs_off_up_to_the_cap() {
    let mut s = saga("a: retry: {attempts: 2, initial: 100ms, max: 1s}");
    let mut longest = 0;
    for attempt in 1..=60 {
        s.trouble(&format!("a:x1:{attempt}"));
        let pause_ms = s.due_at().unwrap() - s.now;
        assert!(pause_ms <= 1_000);
        longest = pause_ms.max(longest);
        s.until_due();
    }
    assert!(longest > 800, "{longest}");
}

/// A worker that says when to come back is not asked sooner.
#[test]
fn retry_after_is_the_least_pause() {
    let mut s = saga("a: retry: {attempts: 5, initial: 1ms, max: 1ms}");
    let answer = Answer { retry_after_ms: Some(30_000), ..s.answer("a:x1:1", Outcome::Retryable) };
    s.happens(What::Answer(answer));
    assert_eq!(s.due_at(), Some(s.now + 30_000));
}

/// A compensation has a policy of its own.
#[test]
fn a_compensation_follows_its_own_policy() {
    let mut s =
        saga("a: compensation: {action: undo, retry: {attempts: 2}}; retry: {attempts: 1}\nb: after a");
    s.ok("a:x1:1");
    s.no("b:x1:1");
    s.later("a:c1:1");
    assert_eq!(s.until_due(), ["a:c1:2"]);
    s.later("a:c1:2");
    assert_eq!(s.run("a:c1"), Run::Exhausted);
}

const BUDGET: &str =
    "a: retry: {attempts: 1000, initial: 1s, max: 1s, budget: 10s}; timeout: 4s; on_exhausted: park";

/// "… *queued*, not unknown: neither sent again nor charged": in time neither.
#[test]
fn time_in_a_queue_burns_no_budget() {
    let mut s = saga(BUDGET);
    s.now += 3_600_000;
    assert_eq!(s.due(true, &["a:x1"]), ["ignored: nothing is due"]);
    assert_eq!(s.passes(1_000), ["a:x1:2"]);
    let mut s = saga(BUDGET);
    s.now += 3_600_000;
    s.later("a:x1:1");
    assert_eq!(s.run("a"), Run::Backoff);
}

/// "An outage of ours is not a timeout of theirs": in a backoff neither.
#[test]
fn an_outage_of_ours_burns_no_budget() {
    let mut s = saga(BUDGET);
    s.later("a:x1:1");
    assert_eq!(s.passes(3_600_000), ["a:x1:2"]);
    s.later("a:x1:2");
    assert_eq!(s.run("a"), Run::Backoff);
}

/// Nor is an operator's hold.
#[test]
fn a_hold_burns_no_budget() {
    let mut s = saga(BUDGET);
    s.held = vec![saga_core::StepIx(0)];
    s.passes(4_000);
    assert_eq!((s.run("a"), s.due_at()), (Run::Unknown, None));
    s.now += 3_600_000;
    assert_eq!(s.hold(&[]), ["a:x1:2"]);
    assert_eq!(s.passes(5_000), ["a:x1:3"]);
    // Without further hindrance the budget counts.
    s.falls_silent("a");
    assert_eq!(s.run("a"), Run::Exhausted);
}
