//! Steps as authors write them, and calls to try the handler with.

use std::sync::Arc;

use saga_core::definition::{Scope, load};
use saga_protocol::SagaId;
use saga_worker::testkit;
use saga_worker::{Call, CallResult, Command, Inquiry, SystemClock};
use serde_json::Value;
use uuid::Uuid;
use worker_http::network::Allowed;
use worker_http::secrets::Secrets;
use worker_http::{Calls, Config};

use crate::carrier::Carrier;

/// The input that the worker gets for a step with these lines, in a saga with `input`.
pub(crate) fn step(lines: &str, input: &Value) -> Value {
    let definition = load(&format!("saga: t\nsteps:\n  a:\n{lines}\n")).unwrap();
    let none = |_: &str| None;
    let scope = Scope { input, steps: &none, item: None, saga: SagaId(Uuid::nil()) };
    Arc::unwrap_or_clone(definition.steps[0].input.resolve(&scope).unwrap())
}

/// A step that calls `path` of the carrier and leaves nothing behind.
pub(crate) fn plain(carrier: &Carrier, path: &str) -> Value {
    let url = format!("{}{path}", carrier.base);
    step(
        &format!("    http: {{ method: POST, url: '{url}', timeout: 1s }}\n    compensation: none"),
        &Value::Null,
    )
}

/// A step that requests a pickup, and one that calls it off.
pub(crate) fn pickup(carrier: &Carrier, input: &Value) -> Value {
    let base = &carrier.base;
    let lines = format!(
        "    http:
      method: POST
      url: {base}/pickups
      body: {{ order: \"${{input.order}}\" }}
      timeout: 20s
      check: {{ url: \"{base}/pickups/${{input.order}}\" }}
    compensation:
      http: {{ method: DELETE, url: \"{base}/pickups/${{output.pickup.id}}\" }}"
    );
    step(&lines, input)
}

/// A handler that may call the carrier.
pub(crate) fn calls(carrier: &Carrier, variables: &[(&str, &str)]) -> Calls {
    let allowed = Allowed::parse(carrier.host()).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let secrets = Secrets::from_variables(variables).unwrap();
    Calls::new(Config { allowed, secrets, ..Config::default() }).unwrap()
}

/// The command to do it, and the one to undo it.
pub(crate) fn commands(input: &Value) -> (saga_protocol::Command, saga_protocol::Command) {
    let execute = testkit::execute("call", input);
    let undo = testkit::compensate(&execute, "undo", true);
    (execute, undo)
}

/// A call that may be sent.
pub(crate) fn call(command: &saga_protocol::Command) -> Call {
    let command = Command { wire: command.clone(), traceparent: None };
    Call::for_test(command, i64::MAX, Arc::new(SystemClock))
}

/// A result's kind, and the fault's code or the output.
pub(crate) fn kind(result: &CallResult) -> String {
    match result {
        CallResult::Done(output) => format!("done {}", output.as_ref().map_or("-", |it| it.get())),
        CallResult::Declined(fault) => format!("declined {}", fault.code),
        CallResult::Unknown(fault) => format!("unknown {}", fault.code),
        CallResult::NotSent(fault) => format!("not sent {}", fault.code),
        CallResult::OwnTrouble(fault) => format!("own {}", fault.code),
    }
}

/// The same of an inquiry.
pub(crate) fn found(inquiry: &Inquiry) -> String {
    match inquiry {
        Inquiry::Found(output) => format!("found {}", output.as_ref().map_or("-", |it| it.get())),
        Inquiry::NotFound => "not found".to_owned(),
        Inquiry::Impossible(fault) => format!("impossible {}", fault.code),
        Inquiry::Unknown(fault) => format!("unknown {}", fault.code),
    }
}
