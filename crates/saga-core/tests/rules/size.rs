//! Size: "A three-step saga's state fits in 400 bytes."

use serde_json::json;

use crate::support::{Saga, saga_with};

const STEPS: &str = "a\nb: after a\nc: after b";

fn bytes(s: &Saga) -> usize {
    serde_json::to_string(&s.state).unwrap().len()
}

fn fits(s: &Saga) {
    for (event, transition) in &s.history {
        let text = serde_json::to_string(&transition.state).unwrap();
        assert!(text.len() <= 400, "{} bytes after {event:?}: {text}", text.len());
    }
}

/// On its way forward, with a retry and an unknown.
#[test]
fn a_three_step_saga_that_completes_fits_in_400_bytes() {
    let mut s = saga_with(STEPS, "deadline: 10m");
    s.later("a:x1:1");
    s.until_due();
    s.ok_with("a:x1:2", json!({"id": 1}));
    s.until_due();
    s.ok_with("b:x1:1", json!({"id": 2}));
    s.ok_with("c:x1:1", json!({"id": 3}));
    fits(&s);
    assert!(bytes(&s) <= 300, "{}", bytes(&s));
}

/// Undone, with a retry and an unknown in both directions.
#[test]
fn a_three_step_saga_that_is_undone_fits_in_400_bytes() {
    let mut s = saga_with(STEPS, "deadline: 10m");
    s.ok_with("a:x1:1", json!({"id": 1}));
    s.ok_with("b:x1:1", json!({"id": 2}));
    s.no("c:x1:1");
    s.until_due();
    s.ok("b:c1:2");
    s.later("a:c1:1");
    s.until_due();
    s.ok("a:c1:2");
    fits(&s);
}

/// Parked in the middle of its undoing.
#[test]
fn a_three_step_saga_that_is_parked_fits_in_400_bytes() {
    let mut s = saga_with(
        "a\nb: compensation: {action: undo, retry: {attempts: 3}}; after a\nc: after b",
        "deadline: 10m",
    );
    s.ok_with("a:x1:1", json!({"id": 1}));
    s.ok_with("b:x1:1", json!({"id": 2}));
    s.no("c:x1:1");
    s.falls_silent("b:c1");
    assert!(s.parked().is_some());
    fits(&s);
}
