//! Goldens: the OpenAPI document, the command's help, and timelines as people see them.
//!
//! `UPDATE_GOLDENS=1 cargo test -p amends --test goldens` writes them anew; the difference is then reviewed.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use amends::api::view::{HistoryEvent, SagaPage, SagaView};
use amends::cli::saga::table;
use amends::cli::style::Style;
use amends::cli::timeline::Timeline;
use chrono::{DateTime, Utc};
use serde_json::Value;

#[track_caller]
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    let found = format!("{}\n", found.trim_end());
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{name} has changed; it is now:\n{found}\nUPDATE_GOLDENS=1 writes it anew");
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn openapi_with_the_order_sagas_trigger() {
    let source = include_str!("../../saga-defs/order-checkout.yaml");
    let definition = saga_core::definition::load(source).unwrap();
    let mut document = amends::api::openapi::build(std::iter::once(&definition));
    document["info"]["version"] = "VERSION".into();
    golden("openapi.json", &serde_json::to_string_pretty(&document).unwrap());
}

/// Everything that the document refers to is in it.
#[test]
fn openapi_has_no_dangling_reference() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|it| references(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| references(it, found)),
            _ => {}
        }
    }
    let document = amends::api::openapi::build(std::iter::empty());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// The saga's page and history are recorded answers of the API.
fn timeline(name: &str) {
    let recorded = read(&format!("{name}.json"));
    let saga: SagaView = serde_json::from_value(recorded["saga"].clone()).unwrap();
    let history: Vec<HistoryEvent> = serde_json::from_value(recorded["history"].clone()).unwrap();
    let now: DateTime<Utc> = serde_json::from_value(recorded["now"].clone()).unwrap();
    golden(&format!("{name}.txt"), &Timeline::new(&saga, Style::PLAIN).whole(&history, &[], now));
    // What was read can be written: nothing of the API's answer is lost on the way.
    assert_eq!(serde_json::to_value(&saga).unwrap(), recorded["saga"]);
    assert_eq!(serde_json::to_value(&history).unwrap(), recorded["history"]);
}

#[test]
fn timeline_of_a_completed_saga() {
    timeline("completed");
}

#[test]
fn timeline_of_a_compensated_saga() {
    timeline("compensated");
}

#[test]
fn timeline_of_a_parked_saga() {
    timeline("parked");
}

#[test]
fn timeline_of_a_retrying_saga() {
    timeline("retrying");
}

#[test]
fn table_of_sagas() {
    let recorded = read("list.json");
    let page: SagaPage = serde_json::from_value(recorded["page"].clone()).unwrap();
    let now: DateTime<Utc> = serde_json::from_value(recorded["now"].clone()).unwrap();
    golden("list.txt", &table(&page, Style::PLAIN, now));
}

#[test]
fn help() {
    for (name, args) in [
        ("help.txt", &["--help"][..]),
        ("help-saga-start.txt", &["saga", "start", "--help"]),
        ("help-dev.txt", &["dev", "--help"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_amends")).args(args).env_clear().output().unwrap();
        assert!(output.status.success());
        golden(name, &String::from_utf8(output.stdout).unwrap());
    }
}
