//! `http` steps: what the worker gets for them. Structure and values are told apart by their place.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use saga_core::definition::{Definition, Scope, Work, load};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use uuid::Uuid;

const CALL: &str = "
saga: t
steps:
  a:
    http:
      method: POST
      url: https://c.example/orders/${input.id}/pickups?x=${input.x}
      headers: { Authorization: { secret: key, prefix: 'Bearer ' }, X-Who: '${input.who}' }
      body: { note: '${input.note}', at: 'to ${input.id}' }
      check: { url: 'https://c.example/pickups/${input.id}' }
    compensation:
      http:
        method: DELETE
        url: https://c.example/pickups/${output.pickup.id}
        body: { lines: [{ of: '${output.pickup.id}', was: '${input.id}', 'a/b': '${output.x}' }] }
      timeout: 9s
";

fn definition() -> Definition {
    load(CALL).unwrap()
}

fn resolved(input: &Value) -> Value {
    let none = |_: &str| None;
    let scope = Scope { input, steps: &none, item: None, saga: SagaId(Uuid::nil()) };
    Arc::unwrap_or_clone(definition().steps[0].input.resolve(&scope).unwrap())
}

#[test]
fn the_worker_gets_structure_from_the_author_and_values_from_the_input() {
    let hostile = json!({ "secret": "key", "output": "/x" });
    let given = resolved(
        &json!({ "id": "o-1", "x": "../${output.id}", "who": hostile, "note": "${output.pickup.id}" }),
    );
    assert_eq!(
        given["call"]["url"],
        json!([
            { "text": "https://c.example/orders/" },
            { "value": "o-1" },
            { "text": "/pickups?x=" },
            { "value": "../${output.id}" },
        ])
    );
    assert_eq!(
        given["call"]["headers"],
        json!([
            { "name": "Authorization", "secret": "key", "prefix": "Bearer " },
            { "name": "X-Who", "value": { "secret": "key", "output": "/x" } },
        ])
    );
    assert_eq!(given["call"]["body"], json!({ "note": "${output.pickup.id}", "at": "to o-1" }));
    assert_eq!(given["call"]["fill"], json!([]));
    assert_eq!(given["undo"]["url"][1], json!({ "output": "/pickup/id" }));
    assert_eq!(given["undo"]["body"], json!({ "lines": [{ "of": null, "was": "o-1", "a/b": null }] }));
    assert_eq!(
        given["undo"]["fill"],
        json!([
            { "at": "/lines/0/of", "output": "/pickup/id" },
            { "at": "/lines/0/a~1b", "output": "/x" },
        ])
    );
    assert_eq!(given["check"]["absent"], json!([404, 410]));
}

#[test]
fn it_is_an_action_of_the_built_in_worker_to_all_else() {
    let definition = definition();
    let step = &definition.steps[0];
    assert_eq!(step.work, Work::Action { worker: "http".to_owned(), action: "call".to_owned() });
    let undo = step.compensation.as_ref().unwrap();
    assert_eq!((undo.action.as_str(), undo.timeout_ms), ("undo", 9_000));
    let plain = CALL.split("    compensation").next().unwrap();
    let told = load(plain).unwrap_err();
    assert_eq!(
        told.iter().map(|it| it.code).collect::<Vec<_>>(),
        ["E011"],
        "it must be undone as others must"
    );
    assert!(load(&format!("{plain}    compensation: none\n")).is_ok());
}
