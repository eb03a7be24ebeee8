//! Outputs against their `output_schema`: what does not fit has taken effect, is used by nobody, and parks.

use saga_core::{OperatorAction, Run, Status, Why};
use saga_protocol::Outcome;
use serde_json::json;

use crate::support::{Saga, saga, saga_with};

const CARD: &str = "{type: object, required: [card], properties: {card: {type: string}}}";

fn pay(more: &str) -> Saga {
    saga(&format!(
        "a: output_schema: {CARD}{more}\nb: after a; input: {{card: \"${{steps.a.output.card}}\"}}\n"
    ))
}

/// A success with another output than promised is a success: it is neither tried again nor passed on.
#[test]
fn an_output_that_does_not_fit_parks() {
    let mut s = pay("");
    assert!(s.ok_with("a:x1:1", json!({"card": 4_111})).is_empty());
    assert_eq!((s.run("a"), s.parked()), (Run::Succeeded, Some((Why::OutputUnfit, "a:x".to_owned()))));
    assert_eq!(
        s.notes(),
        "the output of a does not fit its output_schema: it is not of type \"string\" at /card"
    );
    assert_eq!(s.explained(), "it is not of type \"string\" at /card");
    assert_eq!(s.ok_with("a:x1:1", json!({"card": "blue"})), ["ignored: a duplicate"]);
    assert_eq!(s.retry("a:x1"), ["refused: the step is done"]);
    assert_eq!(s.operator(OperatorAction::Retry { cell: None }), ["refused: it would change nothing"]);
}

/// An operator gives what it should have been; another one that does not fit is refused.
#[test]
fn an_operator_gives_the_output_that_fits() {
    let mut s = pay("");
    s.ok_with("a:x1:1", json!({}));
    let refused = ["refused: that output does not fit the step's output_schema"];
    assert_eq!(s.skip_with("a:x1", json!({"card": false})), refused);
    let none = ["refused: its output does not fit its output_schema: give one that does"];
    assert_eq!(s.skip("a:x1", true), none);
    assert_eq!(s.skip_with("a:x1", json!({"card": "blue"})), ["b:x1:1"]);
    assert_eq!((s.run("a"), s.command("b:x1").input.get()), (Run::Succeeded, r#"{"card":"blue"}"#));
}

/// The compensation gets what the worker said, for the worker knows what it means.
#[test]
fn an_output_that_does_not_fit_is_undone_with_what_it_is() {
    let mut s = pay("");
    s.ok_with("a:x1:1", json!({"cart": "blue"}));
    assert_eq!(s.compensate(), ["a:c1:1"]);
    assert_eq!(s.command("a:c1").output.unwrap().get(), r#"{"cart":"blue"}"#);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}

/// The schema is the action's: a compensation yields what it likes, and nobody is told that it does not fit.
#[test]
fn what_a_compensation_yields_is_asked_for_nothing() {
    for yields in [None, Some(json!({"card": 7}))] {
        let mut s = pay("");
        s.ok_with("a:x1:1", json!({}));
        assert_eq!(s.compensate(), ["a:c1:1"]);
        let ended = match yields {
            None => s.ok("a:c1:1"),
            Some(yields) => s.ok_with("a:c1:1", yields),
        };
        assert_eq!((ended, s.notes()), (vec!["ended compensated".to_owned()], String::new()));
    }
}

/// A saga that is parked for it before its pivot still obeys its deadline.
#[test]
fn the_deadline_counts_while_an_output_does_not_fit() {
    let mut s = saga_with(&format!("a: output_schema: {CARD}\nb: after a"), "deadline: 10m");
    s.ok_with("a:x1:1", json!([]));
    assert_eq!(s.due_at(), s.state.deadline.map(|at| at.0));
    assert_eq!(s.passes(600_000), ["a:c1:1"]);
}

/// Success without an output is `null`.
#[test]
fn no_output_is_one_that_does_not_fit() {
    let mut s = pay("");
    s.ok("a:x1:1");
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "a:x".to_owned())));
    let mut s = saga("a: output_schema: {type: [object, \"null\"]}\nb: after a");
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
}

/// After the pivot, and of the pivot itself, there is no way back: it parks too.
#[test]
fn a_pivot_whose_output_does_not_fit_has_succeeded() {
    let mut s = saga(&format!("a\np: after a; pivot; output_schema: {CARD}\nb: after p; bare"));
    s.ok("a:x1:1");
    s.ok_with("p:x1:1", json!({"card": 1}));
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "p:x".to_owned())));
    assert_eq!(s.compensate(), ["refused: the pivot has succeeded: it only goes forward"]);
    assert_eq!(s.skip_with("p:x1", json!({"card": "blue"})), ["b:x1:1"]);
}

/// An optional step holds nobody up: it counts as one without an output.
#[test]
fn an_optional_step_whose_output_does_not_fit_has_none() {
    let steps = format!(
        "a: optional; output_schema: {CARD}\nb: after a; input: {{card: \"${{has(steps.a.output) ? steps.a.output.card : 'none'}}\"}}"
    );
    let mut s = saga(&steps);
    assert_eq!(s.ok_with("a:x1:1", json!({"card": 1})), ["b:x1:1"]);
    assert!(s.notes().ends_with("at /card; it is optional, and counts as having none"), "{}", s.notes());
    assert_eq!(s.command("b:x1").input.get(), r#"{"card":"none"}"#);
    let mut s = saga(&steps);
    assert_eq!(s.ok_with("a:x1:1", json!({"card": "blue"})), ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"card":"blue"}"#);
}

/// Each item of a `foreach` by itself; what an operator gives for the whole step, element by element.
#[test]
fn every_item_is_judged() {
    let steps = format!("a: foreach: ${{[1, 2]}}; output_schema: {CARD}\nb: after a");
    let mut s = saga(&steps);
    s.ok_with("a.0:x1:1", json!({"card": "blue"}));
    s.ok_with("a.1:x1:1", json!("blue"));
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "a.1:x".to_owned())));
    assert_eq!(s.skip_with("a.1:x1", json!([{"card": "red"}]))[0].split(':').next(), Some("refused"));
    assert_eq!(s.skip_with("a.1:x1", json!({"card": "red"})), ["b:x1:1"]);
}

/// Of what came early, the first that fits is taken: whoever has corrected itself in time parks nothing.
#[test]
fn of_early_signals_the_first_that_fits_is_taken() {
    let wait = "a\nw: after a; wait: {signal: paid, timeout: 1h}; output_schema: ";
    let mut s = saga(&format!("{wait}{CARD}\nb: after w; input: {{card: \"${{steps.w.output.card}}\"}}"));
    for card in [json!(7), json!("blue"), json!("red")] {
        s.signal("paid", json!({ "card": card }));
    }
    assert_eq!(s.ok("a:x1:1"), ["b:x1:1"]);
    assert_eq!(s.command("b:x1").input.get(), r#"{"card":"blue"}"#);
    // Nothing fits: the first is taken, and the saga parks.
    let mut s = saga(&format!("{wait}{CARD}"));
    s.signal("paid", json!({ "card": 7 }));
    s.signal("paid", json!({ "card": 8 }));
    assert!(s.ok("a:x1:1").is_empty());
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "w:x".to_owned())));
}

/// Signals and children are steps with outputs, too.
#[test]
fn what_a_signal_or_a_child_brings_is_judged() {
    let mut s = saga(&format!("w: wait: {{signal: paid, timeout: 1h}}; output_schema: {CARD}\nb: after w"));
    assert!(s.signal("paid", json!({"card": 7})).is_empty());
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "w:x".to_owned())));
    assert_eq!(s.signal("paid", json!({"card": 8})), Vec::<String>::new());
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "w:x".to_owned())));
    // Whoever sent it sends it again, as it should be.
    assert_eq!(s.signal("paid", json!({"card": "blue"})), ["b:x1:1"]);
    assert_eq!(s.signal("paid", json!({"card": "red"})), ["ignored: no wait is left for this signal"]);
    // Also one that came early, with nothing to say.
    let mut s = saga(&format!(
        "a\nw: after a; wait: {{signal: paid, timeout: 1h}}; output_schema: {CARD}\nb: after w"
    ));
    s.signal("paid", json!(null));
    assert!(s.ok("a:x1:1").is_empty());
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "w:x".to_owned())));
    let mut s = saga(&format!("c: saga: other; output_schema: {CARD}\nb: after c"));
    s.child_ended("c:x1", Outcome::Succeeded, Some(json!({"card": 7})));
    assert_eq!(s.parked(), Some((Why::OutputUnfit, "c:x".to_owned())));
    assert_eq!(s.compensate(), ["child c:c1"]);
}

/// In an unwind nothing reads it but the compensation; the failure elsewhere is what counts.
#[test]
fn an_unwind_does_not_stop_for_it() {
    let mut s = saga(&format!("a: output_schema: {CARD}\nb"));
    assert_eq!(s.no("b:x1:1"), ["a:c1:1"]);
    s.ok_with("a:x1:1", json!({"card": 7}));
    assert_eq!(s.state.status, Status::Running);
    assert_eq!(s.ok("a:c1:1"), ["ended compensated"]);
}
