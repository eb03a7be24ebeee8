//! Sagas played by hand: time passes only by moves, and a run can be saved as a scenario that plays the same.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use saga_core::definition::{Definition, load};
use saga_core::simulate::{Answer, Hand, Happening, Move, ScenarioFile, by_hand, play, verify};
use saga_core::{Effect, OperatorAction, Phase};
use saga_protocol::Direction::{self, Compensate, Execute};
use serde_json::{Value, json};

fn definition() -> Definition {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../saga-defs/order-checkout.yaml");
    load(&fs::read_to_string(path).unwrap()).unwrap()
}

fn input() -> Value {
    json!({
        "order_id": "order-1", "customer_id": "kim", "items": [{ "sku": "cup", "quantity": 1, "unit_price": 39_000 }],
        "payment": { "payment_key": "tk_1", "amount": 39_000 },
    })
}

fn says(step: &str, direction: Direction, attempt: u32, answer: Answer) -> Move {
    Move::Answer { step: step.to_owned(), item: None, direction, round: 1, attempt, answer }
}

fn succeeds(step: &str, direction: Direction) -> Move {
    says(step, direction, 1, Answer::Succeeded(json!({})))
}

fn rejects(step: &str, direction: Direction) -> Move {
    says(step, direction, 1, Answer::Rejected("NO".to_owned(), "no".to_owned()))
}

/// The run is saved, and playing what was saved comes to what it says.
fn saved(hand: &Hand) -> String {
    let text = hand.scenario.clone().expect("a run at its rest is saved");
    let file = ScenarioFile::parse(&text).unwrap();
    let scenario = &file.scenarios[0];
    let run = play(&definition(), scenario.input(&file), &scenario.script().unwrap()).unwrap();
    assert_eq!(verify(&definition(), &run, &scenario.expect), Vec::<String>::new(), "{text}");
    assert_eq!(run.state.status, hand.run.state.status);
    text
}

#[test]
fn a_rejected_payment_goes_back_in_order() {
    let moves = [
        succeeds("create_order", Execute),
        succeeds("reserve_stock", Execute),
        rejects("pay", Execute),
        succeeds("reserve_stock", Compensate),
        succeeds("create_order", Compensate),
        succeeds("notify_cancelled", Execute),
    ];
    let begun = by_hand(&definition(), input(), &moves[..3]).unwrap();
    assert!(matches!(begun.run.state.phase, Phase::Unwinding { .. }));
    assert_eq!(begun.run.sent.last().unwrap().action, "stock.release");
    assert!(begun.scenario.is_none(), "it is not at its rest");
    let ended = by_hand(&definition(), input(), &moves).unwrap();
    assert_eq!(ended.run.state.status.word(), "compensated");
    let text = saved(&ended);
    assert!(text.contains("pay:\n        execute: {\"rejected\""), "{text}");
    assert!(!text.contains("create_order:"), "what succeeds at once is not written: {text}");
}

#[test]
fn time_passes_only_by_a_move_and_a_late_answer_still_counts() {
    let late = succeeds("create_order", Execute);
    let played = by_hand(&definition(), input(), &[Move::Due, late.clone(), late]).unwrap();
    assert!(played.elapsed_ms >= 10_000, "its timeout is ten seconds: {}", played.elapsed_ms);
    let [_start, due, first, again] = played.taken.as_slice() else { panic!("{:?}", played.taken) };
    assert!(due.changed && first.changed);
    assert!(!again.changed && matches!(again.effects[0], Effect::Ignored(_)), "{again:?}");
    assert_eq!(played.run.sent.last().unwrap().action, "stock.reserve");
}

#[test]
fn a_silence_a_crash_and_an_operator_are_saved_too() {
    let moves = [
        succeeds("create_order", Execute),
        Move::Outside(Happening::LogLost),
        succeeds("reserve_stock", Execute),
        // The answer is lost, and the second attempt gets it from the barrier.
        Move::Due,
        says(
            "pay",
            Execute,
            2,
            Answer::Retryable {
                why: ("BUSY".to_owned(), String::new()),
                uncharged: false,
                retry_after_ms: None,
            },
        ),
        Move::Outside(Happening::Operator(OperatorAction::Compensate, "the customer called".to_owned())),
        says("pay", Execute, 1, Answer::Succeeded(json!({ "receipt_url": "https://example.com/r/1" }))),
        succeeds("pay", Compensate),
        succeeds("reserve_stock", Compensate),
        succeeds("create_order", Compensate),
        succeeds("notify_cancelled", Execute),
    ];
    let ended = by_hand(&definition(), input(), &moves).unwrap();
    assert_eq!(ended.run.state.status.word(), "compensated");
    let text = saved(&ended);
    assert!(text.contains("log_lost") && text.contains("the customer called"), "{text}");
}

#[test]
fn a_parked_saga_is_at_its_rest() {
    let mut moves =
        vec![succeeds("create_order", Execute), succeeds("reserve_stock", Execute), rejects("pay", Execute)];
    moves.push(rejects("reserve_stock", Compensate));
    let mut played = by_hand(&definition(), input(), &moves).unwrap();
    // Its siblings are undone before it parks.
    while played.run.state.status.word() == "running" {
        let open = played.run.sent.last().unwrap().clone();
        let step = definition().step(open.at.step).unwrap().name.as_str().to_owned();
        moves.push(succeeds(&step, open.at.direction));
        played = by_hand(&definition(), input(), &moves).unwrap();
    }
    assert_eq!(played.run.state.status.word(), "parked");
    let text = saved(&played);
    assert!(text.contains("parked: {\"reserve_stock\":\"compensation_failed\"}"), "{text}");
}

#[test]
fn what_cannot_be_names_its_move() {
    let unsent = by_hand(&definition(), input(), &[Move::Due, succeeds("pay", Execute)]).unwrap_err();
    assert_eq!((unsent.nth, unsent.message.contains("never sent")), (1, true));
    let unknown = by_hand(&definition(), input(), &[succeeds("fly", Execute)]).unwrap_err();
    assert_eq!((unknown.nth, unknown.message.as_str()), (0, "there is no step `fly`"));
}
