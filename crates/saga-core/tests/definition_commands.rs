//! Commands are rebuilt from definition, state and payloads alone, the same bytes every time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use saga_core::command::{BuildError, EXPIRY_MS, UNDO_EXPIRY_MS, build, input_hash, output_of};
use saga_core::definition::load;
use saga_core::{Cell, CellRef, Definition, Millis, Payloads, Run, State, StepIx, Track};
use saga_protocol::{Direction, SagaId};
use serde_json::{Value, json};

const SAGA: SagaId = SagaId(uuid::Uuid::from_u128(9));

fn definition() -> Definition {
    load(
        "saga: s\nsteps:\n  \
         pay: { worker: w, action: confirm, compensation: cancel, input: { amount: '${input.amount}' } }\n  \
         each: { after: [pay], worker: w, action: a, compensation: b, foreach: '${input.items}', input: { i: '${item}' } }\n  \
         book: { after: [each], worker: w, action: book, compensation: none, input: { r: '${steps.pay.output.r}', e: '${steps.each.output}' } }\n  \
         pause: { after: [book], wait: { for: 1s } }\n",
    )
    .unwrap()
}

fn sent(run: Run) -> Track {
    Track {
        run,
        attempt: 3,
        first_sent_at: Some(Millis(1_000)),
        sent_at: Some(Millis(5_000)),
        ..Track::held(2)
    }
}

fn done(output: Option<u32>) -> Track {
    Track { output, ..sent(Run::Succeeded) }
}

fn cell(step: u16, item: Option<u32>, execute: Track) -> Cell {
    Cell { step: StepIx(step), item, execute, undo: None }
}

fn at(step: u16, item: Option<u32>, direction: Direction) -> CellRef {
    CellRef { step: StepIx(step), item, direction }
}

fn payloads() -> Payloads {
    let mut payloads = Payloads::new(SAGA, Arc::new(json!({"amount": 5, "items": ["a", "b"]})));
    payloads.by_revision.insert(2, Arc::new(json!({"r": "receipt"})));
    payloads.by_revision.insert(3, Arc::new(json!(30)));
    payloads.by_revision.insert(4, Arc::new(json!(31)));
    payloads.inputs.insert((2, "1.1".to_owned()), Arc::new(json!({"i": "b"})));
    payloads
}

fn state(cells: Vec<Cell>) -> State {
    State { cells, ..State::new(Millis(0), None, None) }
}

#[test]
fn an_execute_is_the_newest_attempt_with_the_rounds_input() {
    let mut track = sent(Run::Unknown);
    track.input_hash = Some(input_hash(&json!({"amount": 5})));
    let command = build(
        &definition(),
        SAGA,
        &state(vec![cell(0, None, track)]),
        &payloads(),
        at(0, None, Direction::Execute),
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(&command).unwrap(),
        json!({
            "saga": SAGA, "definition": "s", "step": "pay", "direction": "execute", "round": 2, "attempt": 3, "action": "confirm",
            "first_sent_at_ms": 1_000, "sent_at_ms": 5_000, "expires_at_ms": 1_000 + EXPIRY_MS, "input": {"amount": 5},
        })
    );
}

#[test]
fn a_compensate_has_its_executes_input_round_and_output() {
    let mut pay = cell(0, None, done(Some(2)));
    pay.undo = Some(Track { round: 1, attempt: 7, ..sent(Run::Sent) });
    let at = at(0, None, Direction::Compensate);
    let command = build(&definition(), SAGA, &state(vec![pay.clone()]), &payloads(), at).unwrap();
    assert_eq!(
        serde_json::to_value(&command).unwrap(),
        json!({
            "saga": SAGA, "definition": "s", "step": "pay", "direction": "compensate", "round": 1, "attempt": 7, "action": "cancel",
            "undoes": {"round": 2, "succeeded": true}, "first_sent_at_ms": 1_000, "sent_at_ms": 5_000,
            "expires_at_ms": 1_000 + UNDO_EXPIRY_MS, "input": {"amount": 5}, "output": {"r": "receipt"},
        })
    );
    pay.execute = sent(Run::Unknown);
    let command = build(&definition(), SAGA, &state(vec![pay]), &payloads(), at).unwrap();
    assert!(!command.undoes.unwrap().succeeded && command.output.is_none());
}

#[test]
fn a_stored_input_is_taken_from_its_row_in_both_directions() {
    let mut each = cell(1, Some(1), Track { input: Some(2), ..sent(Run::Sent) });
    each.undo = Some(sent(Run::Sent));
    let state = state(vec![each]);
    for direction in [Direction::Execute, Direction::Compensate] {
        let command = build(&definition(), SAGA, &state, &payloads(), at(1, Some(1), direction)).unwrap();
        assert_eq!((command.input.get(), command.item), (r#"{"i":"b"}"#, Some(1)));
    }
}

#[test]
fn outputs_are_seen_by_later_steps_and_a_list_of_them_after_a_foreach() {
    let items =
        vec![cell(0, None, done(Some(2))), cell(1, Some(0), done(Some(3))), cell(1, Some(1), done(Some(4)))];
    let book = cell(2, None, sent(Run::Sent));
    let state = state([items, vec![book]].concat());
    let command = build(&definition(), SAGA, &state, &payloads(), at(2, None, Direction::Execute)).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(command.input.get()).unwrap(),
        json!({"r": "receipt", "e": [30, 31]})
    );
}

#[test]
fn a_step_has_an_output_only_when_it_is_done() {
    let output = |cells: Vec<Cell>, step: u16| {
        output_of(&definition(), &state(cells), &payloads(), StepIx(step)).map(Arc::unwrap_or_clone)
    };
    let skipped = |output| Track { output, ..Track { run: Run::Skipped, ..Track::held(1) } };
    assert_eq!(output(vec![], 0), None);
    assert_eq!(output(vec![cell(0, None, sent(Run::Sent))], 0), None);
    assert_eq!(output(vec![cell(0, None, Track { output: Some(2), ..sent(Run::Rejected) })], 0), None);
    assert_eq!(output(vec![cell(0, None, done(None))], 0), Some(Value::Null), "done without output");
    assert_eq!(output(vec![cell(0, None, skipped(None))], 0), None);
    assert_eq!(output(vec![cell(0, None, skipped(Some(3)))], 0), Some(json!(30)), "an operator's");
    assert_eq!(output(vec![], 1), None);
    assert_eq!(output(vec![cell(1, None, done(None))], 1), Some(json!([])), "an empty list");
    assert_eq!(output(vec![cell(1, None, skipped(None))], 1), None);
    assert_eq!(output(vec![cell(1, Some(0), done(Some(3))), cell(1, Some(1), sent(Run::Sent))], 1), None);
    assert_eq!(
        output(vec![cell(1, Some(0), done(Some(3))), cell(1, Some(1), done(None))], 1),
        Some(json!([30, null]))
    );
}

#[test]
fn what_cannot_be_rebuilt_is_an_error_and_never_another_command() {
    let execute = |step| at(step, None, Direction::Execute);
    let rebuild = |cells: Vec<Cell>, at: CellRef| {
        build(&definition(), SAGA, &state(cells), &payloads(), at).map(|_| ()).unwrap_err()
    };
    assert_eq!(rebuild(vec![], execute(0)), BuildError::NoTrack);
    assert_eq!(
        rebuild(vec![cell(0, None, sent(Run::Sent))], at(0, None, Direction::Compensate)),
        BuildError::NoTrack
    );
    assert_eq!(rebuild(vec![cell(9, None, sent(Run::Sent))], execute(9)), BuildError::NoTrack);
    assert_eq!(rebuild(vec![cell(0, None, Track::held(1))], execute(0)), BuildError::NeverSent);
    assert_eq!(
        rebuild(vec![cell(3, None, sent(Run::Waiting))], execute(3)),
        BuildError::NoCommand("pause".to_owned())
    );
    let undone = Cell { undo: Some(sent(Run::Sent)), ..cell(2, None, done(None)) };
    assert_eq!(
        rebuild(vec![undone], at(2, None, Direction::Compensate)),
        BuildError::NoCommand("book".to_owned())
    );
    let changed = Track { input_hash: Some(1), ..sent(Run::Sent) };
    assert_eq!(rebuild(vec![cell(0, None, changed)], execute(0)), BuildError::OtherInput);
    let lost = Track { input: Some(77), ..sent(Run::Sent) };
    assert_eq!(rebuild(vec![cell(0, None, lost)], execute(0)), BuildError::NoPayload(77));
    let unread = cell(2, None, sent(Run::Sent));
    assert!(matches!(rebuild(vec![unread], execute(2)), BuildError::Input(_)));
}

#[test]
fn the_hash_is_fnv_1a_of_the_bytes() {
    // "a" as JSON is 22 61 22.
    let by_hand = [0x22_u8, 0x61, 0x22]
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619));
    assert_eq!(input_hash(&json!("a")), by_hand);
    assert_ne!(input_hash(&json!({"a": 1})), input_hash(&json!({"a": 2})));
}
