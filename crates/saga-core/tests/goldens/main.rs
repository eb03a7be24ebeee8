//! Goldens: the timelines of typical sagas, event by event. They are compared exactly; after a wanted change,
//! `AMENDS_GOLDENS=write cargo test -p saga-core --test goldens` writes them anew.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::Path;

use saga_core::{Event, OperatorAction, Phase, State, Status, What};
use serde_json::{Value, json};

use crate::support::{START_MS, Saga, definition};

/// An order from placed to paid, in the shape of the shop's own definition.
const CHECKOUT: &str = "
    create_order: input: {order: \"${input.order}\"}
    reserve_stock: after create_order; input: {order: \"${input.order}\", items: \"${input.items}\"}; timeout: 5s
    pay: after reserve_stock; input: {amount: \"${input.amount}\"}; timeout: 1m
    complete_order: after pay; pivot; retry: {attempts: 2}; timeout: 5s
    commit_stock: after complete_order; bare
    notify_customer: after complete_order; optional; bare";
const TOP: &str = "deadline: 10m
output: {receipt: \"${steps.pay.output.receipt}\"}
on_compensated:
  notify_cancelled: {worker: notify, action: order_cancelled, input: {order: \"${input.order}\"}}";

fn order() -> Saga {
    let input = json!({"order": "o-1001", "items": [{"sku": "tea", "quantity": 2}], "amount": 12_000});
    let mut saga = Saga::new(definition(CHECKOUT, TOP), input);
    saga.start();
    saga
}

fn soon(saga: &mut Saga) -> &mut Saga {
    saga.now += 40;
    saga
}

fn reserved() -> Saga {
    let mut s = order();
    soon(&mut s).ok("create_order:x1:1");
    soon(&mut s).ok_with("reserve_stock:x1:1", json!({"reservation": "r-1"}));
    s
}

fn paid() -> Saga {
    let mut s = reserved();
    soon(&mut s).ok_with("pay:x1:1", json!({"receipt": "https://receipt/1"}));
    s
}

#[test]
fn happy_path() {
    let mut s = paid();
    soon(&mut s).ok("complete_order:x1:1");
    soon(&mut s).ok("notify_customer:x1:1");
    soon(&mut s).ok("commit_stock:x1:1");
    compare("happy_path", &s);
}

#[test]
fn card_rejected() {
    let mut s = reserved();
    soon(&mut s).no("pay:x1:1");
    soon(&mut s).ok("reserve_stock:c1:1");
    soon(&mut s).ok("create_order:c1:1");
    soon(&mut s).ok("notify_cancelled:x1:1");
    compare("card_rejected", &s);
}

#[test]
fn out_of_stock() {
    let mut s = order();
    soon(&mut s).ok("create_order:x1:1");
    soon(&mut s).later("reserve_stock:x1:1");
    s.until_due();
    soon(&mut s).no("reserve_stock:x1:2");
    soon(&mut s).ok("create_order:c1:1");
    soon(&mut s).ok("notify_cancelled:x1:1");
    compare("out_of_stock", &s);
}

#[test]
fn unknown_then_late_success() {
    let mut s = reserved();
    s.passes(60_000);
    soon(&mut s).later("pay:x1:1");
    soon(&mut s).ok_with("pay:x1:1", json!({"receipt": "https://receipt/1"}));
    soon(&mut s).ok_with("pay:x1:2", json!({"receipt": "https://receipt/1"}));
    soon(&mut s).ok("complete_order:x1:1");
    soon(&mut s).ok("commit_stock:x1:1");
    soon(&mut s).no("notify_customer:x1:1");
    compare("unknown_then_late_success", &s);
}

#[test]
fn pivot_exhausted_then_answered() {
    let mut s = paid();
    s.falls_silent("complete_order");
    soon(&mut s).compensate();
    soon(&mut s).ok("complete_order:x1:1");
    soon(&mut s).compensate();
    soon(&mut s).ok("commit_stock:x1:1");
    soon(&mut s).ok("notify_customer:x1:1");
    compare("pivot_exhausted_then_answered", &s);
}

#[test]
fn compensation_failed_then_resumed() {
    let mut s = paid();
    s.now += 600_000;
    s.no("complete_order:x1:1");
    soon(&mut s).no("pay:c1:1");
    soon(&mut s).operator(OperatorAction::Abandon { acknowledged: false });
    soon(&mut s).resume();
    soon(&mut s).ok("pay:c2:1");
    soon(&mut s).ok("reserve_stock:c1:1");
    soon(&mut s).ok("create_order:c1:1");
    soon(&mut s).ok("notify_cancelled:x1:1");
    soon(&mut s).ok("pay:c2:1");
    compare("compensation_failed_then_resumed", &s);
}

fn compare(name: &str, saga: &Saga) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(format!("{name}.txt"));
    let found = timeline(saga);
    if std::env::var_os("AMENDS_GOLDENS").is_some_and(|value| value == "write") {
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, golden, "\n{name} has another timeline:\n\n{found}");
}

/// The history of a saga as text: when, the revision, what happened, what came of it; then the last state.
fn timeline(saga: &Saga) -> String {
    let mut text = String::new();
    for (event, transition) in &saga.history {
        let at = event.at.0 - START_MS;
        let revision = transition.state.revision;
        let stands = stands(saga, &transition.state);
        writeln!(text, "{at:>7} ms  v{revision:<2} {:<46} {stands}", happened(event)).unwrap();
        let effects = transition.effects.iter().map(|effect| saga.say(effect));
        for line in effects.chain(transition.notes.iter().map(|note| format!("note: {note}"))) {
            writeln!(text, "{:>18}{line}", "").unwrap();
        }
    }
    writeln!(text, "\n{}", serde_json::to_string(&saga.state).unwrap()).unwrap();
    text
}

fn happened(event: &Event) -> String {
    match &event.what {
        What::Answer(answer) => {
            let outcome: Value = serde_json::to_value(answer.outcome).unwrap();
            let letter = answer.direction.letter();
            let (step, round, attempt) = (&answer.step, answer.round, answer.attempt);
            format!("{step}:{letter}{round}:{attempt} {}", outcome.as_str().unwrap())
        }
        What::Operator(operator) => {
            let action = serde_json::to_value(&operator.action).unwrap();
            let word = action.as_str().map(str::to_owned);
            let word = word.or_else(|| action.as_object()?.keys().next().cloned()).unwrap();
            format!("{} {word}", operator.who)
        }
        What::Start => "start".to_owned(),
        What::Due(_) => "due".to_owned(),
        other => format!("{other:?}"),
    }
}

fn stands(saga: &Saga, state: &State) -> String {
    let phase = match &state.phase {
        Phase::Forward => "forward".to_owned(),
        Phase::PivotOpen { stop: None } => "pivot open".to_owned(),
        Phase::PivotOpen { stop: Some(cause) } => format!("pivot open, then {cause:?}"),
        Phase::Committed => "committed".to_owned(),
        Phase::Unwinding { cause } => format!("unwinding, {cause:?}"),
    };
    match &state.status {
        Status::Running => phase,
        Status::Parked(parked) => {
            let cell = parked.cell.map(|at| saga.say_cell(at)).unwrap_or_default();
            format!("{phase}, parked: {:?} {cell}", parked.why)
        }
        status => status.word().to_owned(),
    }
}
