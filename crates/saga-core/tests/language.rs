//! The JSON Schema of the language (docs/saga.schema.json) says what the loader says: the same keys, everywhere, and
//! no definition that loads is refused by it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use saga_core::check::{Limits, Verdict, check};
use saga_core::definition::{ROLES, load};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("docs/saga.schema.json")).unwrap()).unwrap()
}

fn value(text: &str) -> Value {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true }).unwrap()
}

/// The keys that the loader knows where `text` has the key `zzzzzzzzzz`: it lists them.
fn known(text: &str) -> BTreeSet<String> {
    let told = load(text).map(|it| it.name).unwrap_err();
    let it = told.iter().find(|it| it.code == "E002" && it.message.contains("zzzzzzzzzz")).unwrap();
    it.remedy.strip_prefix("known are ").unwrap().split(", ").map(str::to_owned).collect()
}

fn keys(schema: &Value, pointer: &str) -> BTreeSet<String> {
    schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_schema_has_the_loaders_keys() {
    let schema = schema();
    let step = |step: &str| known(&format!("saga: t\nsteps:\n  a: {{ {step}, zzzzzzzzzz: 1 }}\n"));
    let of_any: BTreeSet<String> = [step("worker: w, action: a"), step("wait: {for: 1s}"), step("saga: c")]
        .into_iter()
        .flatten()
        .collect();
    let whole = "saga: t\nsteps:\n  a: { worker: w, action: a, compensation: u }\n";
    for (pointer, found) in [
        ("/properties", known(&format!("{whole}zzzzzzzzzz: 1\n"))),
        ("/definitions/step/properties", of_any),
        (
            "/definitions/notice/properties",
            known(&format!("{whole}on_parked: {{ n: {{ worker: w, action: a, zzzzzzzzzz: 1 }} }}\n")),
        ),
        ("/definitions/retry/properties", step("worker: w, action: a, retry: { zzzzzzzzzz: 1 }")),
        (
            "/definitions/step/properties/compensation/oneOf/1/properties",
            step("worker: w, action: a, compensation: { action: u, zzzzzzzzzz: 1 }"),
        ),
        (
            "/properties/approval/properties",
            known(&format!("{whole}approval: {{ actions: [skip], zzzzzzzzzz: 1 }}\n")),
        ),
        ("/definitions/call/properties", step("http: { zzzzzzzzzz: 1 }")),
        ("/definitions/call/properties/check/properties", step("http: { check: { zzzzzzzzzz: 1 } }")),
        (
            "/definitions/headers/additionalProperties/oneOf/1/properties",
            step("http: { method: POST, url: 'https://e.x/', headers: { a: { zzzzzzzzzz: 1 } } }"),
        ),
        (
            "/definitions/request/properties",
            step("http: { method: POST, url: 'https://e.x/' }, compensation: { http: { zzzzzzzzzz: 1 } }"),
        ),
        (
            "/definitions/step/properties/compensation/oneOf/2/properties",
            step("http: { method: POST, url: 'https://e.x/' }, compensation: { zzzzzzzzzz: 1 }"),
        ),
        ("/properties/trigger/properties", known(&format!("{whole}trigger: {{ zzzzzzzzzz: 1 }}\n"))),
        (
            "/properties/trigger/properties/http/properties",
            known(&format!("{whole}trigger: {{ http: {{ method: POST, path: /t, zzzzzzzzzz: 1 }} }}\n")),
        ),
    ] {
        assert_eq!(keys(&schema, pointer), found, "{pointer}");
    }
    let waits = step("wait: { for: 1s, zzzzzzzzzz: 1 }");
    let both: BTreeSet<String> = ["0", "1"]
        .iter()
        .flat_map(|it| keys(&schema, &format!("/definitions/step/properties/wait/oneOf/{it}/properties")))
        .collect();
    assert_eq!(both, waits);
    // Each kind of step refuses what the loader refuses of it.
    for kind in
        ["wait: {for: 1s}", "saga: c", "worker: w, action: a", "http: {method: PUT, url: 'https://e.x/'}"]
    {
        for (key, value) in [
            ("input", "{}"),
            ("retry", "{}"),
            ("compensation", "u"),
            ("pivot", "true"),
            ("after", "[b]"),
            ("timeout", "1s"),
            ("saga", "c"),
            ("wait", "{for: 1s}"),
            ("http", "{method: PUT, url: 'https://e.x/'}"),
        ] {
            if kind.starts_with(key) {
                continue;
            }
            let text = format!(
                "saga: t\nsteps:\n  b: {{worker: w, action: a}}\n  a: {{ {kind}, {key}: {value} }}\n"
            );
            let refused = load(&text).is_err_and(|told| told.iter().any(|it| it.code == "E020"));
            let valid = jsonschema::is_valid(&schema, &self::value(&text));
            assert_eq!(refused, !valid, "{text}");
        }
    }
}

#[test]
fn every_definition_that_loads_is_valid_and_mistakes_of_form_are_not() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut texts = Vec::new();
    for folder in ["saga-defs", "crates/saga-core/tests/definitions/broken"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "yaml") {
                texts.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    for entry in fs::read_dir(root().join("docs/diagnostics")).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        let examples =
            page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        texts.extend(examples.map(|it| (path.display().to_string(), it)));
    }
    let (mut right, mut wrong) = (0, 0);
    for (name, text) in &texts {
        match load(text) {
            Ok(_) => {
                let errors: Vec<String> = validator
                    .iter_errors(&value(text))
                    .map(|it| format!("{}: {it}", it.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{name}: {errors:?}\n{text}");
                right += 1;
            }
            // Keys and kinds of values are a schema's business; the rest is the loader's alone. JSON Schema itself lets
            // every keyword stand.
            Err(told) if told.iter().all(|it| it.code == "E002" && !it.message.contains("JSON Schema")) => {
                assert!(!validator.is_valid(&value(text)), "{name}\n{text}");
                wrong += 1;
            }
            Err(_) => {}
        }
    }
    assert!(right > 20 && wrong > 2, "{right} right, {wrong} wrong");
}

/// What is told of triggers at the desk is what the server goes by.
#[test]
fn roles_are_those_of_the_server() {
    let words = |file: &str, from: &str, to: &str| -> BTreeSet<String> {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let part = source.split(from).nth(1).unwrap().split(to).next().unwrap();
        part.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let ours = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect::<BTreeSet<String>>();
    let roles = words("orchestrator/src/auth/role.rs", "fn word", "impl ");
    assert_eq!(roles, ours(&ROLES));
}

/// The page about the language has a definition with every part of it, which compiles.
#[test]
fn the_page_about_the_language_is_true() {
    let page = fs::read_to_string(root().join("docs/definitions.md")).unwrap();
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let told = load(example).map(|it| it.name);
    assert_eq!(told.as_deref(), Ok("order-gift"), "{told:?}");
    let limits = Limits { whole_max: 0, pairs_max: 0, ..Limits::default() };
    let report = check(&load(example).unwrap(), &[], limits);
    assert_eq!(report.verdict, Verdict::Proved, "{} states", report.states);
    let schema = schema();
    for pointer in ["/properties", "/definitions/step/properties", "/definitions/retry/properties"] {
        for key in keys(&schema, pointer) {
            assert!(
                page.contains(&format!("{key}:")) || page.contains(&format!("`{key}`")),
                "{key} is not on it"
            );
        }
    }
}
