//! Loading definitions: the shipped ones, the version, and goldens of what is told about mistakes.
//!
//! A golden is a pair in `definitions/`: `NAME.yaml` and `NAME.txt`. `AMENDS_BLESS=1` writes the latter anew.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use saga_core::StepIx;
use saga_core::definition::graph::Side;
use saga_core::definition::{Definition, OnFailure, RetryPolicy, Turn, Work, load, validator};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped(name: &str) -> Definition {
    let text = fs::read_to_string(root().join("saga-defs").join(name)).unwrap();
    must_load(&text)
}

fn must_load(text: &str) -> Definition {
    load(text).unwrap_or_else(|told| {
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        panic!("{}", told.join("\n"))
    })
}

fn told(text: &str) -> Vec<String> {
    load(text).map(|it| it.name).unwrap_err().iter().map(ToString::to_string).collect()
}

fn names(definition: &Definition, steps: impl IntoIterator<Item = StepIx>) -> Vec<String> {
    steps.into_iter().map(|ix| definition.step(ix).unwrap().name.to_string()).collect()
}

fn order() -> Value {
    json!({
        "order_id": "order-0001", "customer_id": "kim", "items": [{"sku": "mug", "quantity": 2, "unit_price": 9_000}],
        "payment": {"payment_key": "tgen_1", "amount": 18_000}
    })
}

#[test]
fn the_order_saga_is_what_the_design_says() {
    let checkout = shipped("order-checkout.yaml");
    let all = [
        "create_order",
        "reserve_stock",
        "pay",
        "complete_order",
        "commit_stock",
        "notify_customer",
        "notify_cancelled",
    ];
    assert_eq!(names(&checkout, checkout.steps().map(|(ix, _)| ix)), all);
    assert_eq!((checkout.name.as_str(), checkout.deadline_ms), ("order-checkout", Some(600_000)));
    let trigger = checkout.trigger.as_ref().unwrap();
    assert_eq!(
        (trigger.method.as_str(), trigger.path.as_str(), trigger.role.as_deref()),
        ("POST", "/orders", Some("customer"))
    );
    let pivot = checkout.pivot.unwrap();
    assert_eq!(names(&checkout, [pivot]), ["complete_order"]);
    assert_eq!(names(&checkout, checkout.ancestors(pivot)), all[..3]);
    assert_eq!(names(&checkout, checkout.descendants(pivot)), all[4..6]);
    assert_eq!(names(&checkout, checkout.roots()), ["create_order"]);
    assert_eq!(names(&checkout, checkout.topological())[..4], all[..4]);
    assert_eq!(names(&checkout, checkout.notices(Turn::Compensated)), ["notify_cancelled"]);
    let sides: Vec<Side> = checkout.steps().map(|(ix, _)| checkout.side(ix)).collect();
    use Side::{After, Before, Pivot};
    assert_eq!(sides, [Before, Before, Before, Pivot, After, After, Before]);
    let pay = checkout.step(StepIx(2)).unwrap();
    assert_eq!(pay.work, Work::Action { worker: "payment".to_owned(), action: "confirm".to_owned() });
    let undo = pay.compensation.as_ref().unwrap();
    assert_eq!(
        (undo.action.as_str(), undo.timeout_ms, undo.retry.budget_ms),
        ("cancel", 90_000, Some(259_200_000))
    );
    let release = checkout.step(StepIx(1)).unwrap().compensation.as_ref().unwrap();
    assert_eq!(
        (release.action.as_str(), release.retry.attempts_max),
        ("release", 1_000),
        "the merge key works"
    );
    for (_, step) in checkout.steps() {
        assert!(step.input.is_plain(), "the input of {} would be stored again", step.name);
        assert_eq!(
            step.after.iter().flat_map(|ix| names(&checkout, [*ix])).collect::<Vec<_>>(),
            match step.name.as_str() {
                "reserve_stock" => vec!["create_order"],
                "pay" => vec!["reserve_stock"],
                "complete_order" => vec!["pay"],
                "commit_stock" | "notify_customer" => vec!["complete_order"],
                _ => vec![],
            }
        );
    }
    assert_eq!(names(&checkout, checkout.step(pivot).unwrap().dependents.clone()), all[4..6]);
}

#[test]
fn the_door_knows_key_amount_and_validity() {
    for (name, order) in [
        ("order-checkout.yaml", order()),
        ("checkout-bare.yaml", {
            let mut order = order();
            order["payment"] = json!({"amount": 18_000, "reject": false});
            order
        }),
    ] {
        let definition = shipped(name);
        let valid = validator(&definition).unwrap();
        assert!(
            valid.is_valid(&order),
            "{:?}",
            valid.iter_errors(&order).map(|it| it.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(definition.key_of(&order).unwrap().as_deref(), Some("order-0001"));
        assert_eq!(definition.amount_of(&order).unwrap(), Some(18_000));
        assert_eq!(definition.currency_of(&order).unwrap().as_deref(), Some("KRW"));
        let mut bad = order.clone();
        bad["order_id"] = json!("short");
        bad["items"][0]["quantity"] = json!(1_000);
        bad["payment"]["amount"] = json!(0);
        bad["surprise"] = json!(1);
        assert_eq!(valid.iter_errors(&bad).count(), 4, "all faults at once");
    }
    let checkout = shipped("order-checkout.yaml");
    let valid = validator(&checkout).unwrap();
    for (pointer, value) in [
        ("/order_id", json!("order/0001")),
        ("/order_id", json!("order-0001\n")),
        ("/customer_id", json!("")),
        ("/customer_id", json!("a\u{0}b")),
        ("/items", json!([])),
        ("/items/0/sku", json!("a b")),
        ("/items/0/quantity", json!(0)),
        ("/items/0/quantity", json!(1.5)),
        ("/items/0/unit_price", json!(-1)),
        ("/payment/payment_key", json!("a b")),
        ("/payment/payment_key", json!("..")),
        ("/payment/amount", json!("1")),
    ] {
        let mut bad = order();
        *bad.pointer_mut(pointer).unwrap() = value.clone();
        assert!(!valid.is_valid(&bad), "{pointer} {value}");
    }
    let mut foreign = order();
    foreign["currency"] = json!("USD");
    assert!(!valid.is_valid(&foreign));
    foreign["currency"] = json!("KRW");
    assert!(valid.is_valid(&foreign));
}

#[test]
fn keys_and_amounts_of_other_kinds_are_refused() {
    let definition = must_load(
        "saga: s\nkey: ${input.key}\namount: ${input.amount}\ncurrency: ${input.currency}\n\
         steps: { a: { worker: w, action: a, compensation: b } }",
    );
    let with = |key: Value, amount: Value, currency: Value| json!({"key": key, "amount": amount, "currency": currency});
    let good = with(json!(42), json!("1200"), json!("KRW"));
    assert_eq!(definition.key_of(&good).unwrap().as_deref(), Some("42"));
    assert_eq!(definition.amount_of(&good).unwrap(), Some(1_200));
    for bad in [json!(null), json!(""), json!(1.5), json!([1]), json!("x".repeat(201)), json!("a\u{0}")] {
        assert!(definition.key_of(&with(bad.clone(), json!(1), json!("KRW"))).is_err(), "{bad}");
    }
    for bad in [json!(null), json!(1.5), json!("1.5"), json!(u64::MAX), json!(true)] {
        assert!(definition.amount_of(&with(json!("k"), bad.clone(), json!("KRW"))).is_err(), "{bad}");
    }
    assert!(definition.currency_of(&with(json!("k"), json!(1), json!("won"))).is_err());
    assert!(definition.key_of(&json!({})).is_err(), "missing");
    let keyless = must_load("saga: s\nsteps: { a: { worker: w, action: a, compensation: b } }");
    assert_eq!((keyless.key_of(&json!({})).unwrap(), keyless.amount_of(&json!({})).unwrap()), (None, None));
}

#[test]
fn defaults_are_filled_in() {
    let definition = must_load(
        "saga: s\nsteps:\n  a: { worker: w, action: a, compensation: b }\n  p: { after: [a], worker: w, action: p, pivot: true }",
    );
    let (a, p) = (&definition.steps[0], &definition.steps[1]);
    assert_eq!(a.retry, RetryPolicy { attempts_max: 5, initial_ms: 200, cap_ms: 10_000, budget_ms: None });
    assert_eq!((a.timeout_ms, a.optional, a.pivot), (30_000, false, false));
    let undo = a.compensation.as_ref().unwrap();
    let long =
        RetryPolicy { attempts_max: 100, initial_ms: 500, cap_ms: 300_000, budget_ms: Some(259_200_000) };
    assert_eq!((&undo.retry, undo.timeout_ms), (&long, 60_000));
    assert_eq!((a.on_rejected, a.on_exhausted), (OnFailure::Compensate, OnFailure::Compensate));
    assert_eq!(
        (p.on_rejected, p.on_exhausted),
        (OnFailure::Compensate, OnFailure::Park),
        "an exhausted pivot parks"
    );
    assert!(
        a.input.is_plain()
            && definition.deadline_ms.is_none()
            && definition.input_schema == json!({"type": "object"})
    );
}

#[test]
fn every_kind_of_step_is_read() {
    let definition = must_load(&fs::read_to_string(goldens().join("good_everything.yaml")).unwrap());
    let work: Vec<&Work> = definition.steps.iter().map(|step| &step.work).collect();
    assert_eq!(*work[1], Work::Sleep { for_ms: 30_000 });
    assert_eq!(*work[2], Work::Signal { name: "approved".to_owned() });
    assert_eq!(definition.steps[2].timeout_ms, 86_400_000);
    assert_eq!(*work[3], Work::Child { definition: "shipping".to_owned() });
    assert_eq!(definition.steps[3].timeout_ms, 7 * 86_400_000);
    let check = &definition.steps[0];
    assert!(check.when.is_some() && check.foreach.is_some() && check.compensation.is_none());
    assert_eq!((check.on_rejected, check.on_exhausted), (OnFailure::Park, OnFailure::Compensate));
    let call = Work::Action { worker: "http".to_owned(), action: "call".to_owned() };
    assert_eq!((work[4], work[8]), (&call, &call));
    let undo = definition.steps[4].compensation.as_ref().unwrap();
    assert_eq!((undo.action.as_str(), undo.retry.attempts_max, undo.timeout_ms), ("undo", 50, 20_000));
    assert_eq!(definition.steps[6].turn, Turn::Compensated);
    for parked in &definition.steps[7..] {
        assert_eq!((parked.turn, parked.optional), (Turn::Parked, true));
    }
    assert_eq!(definition.about.owner.as_deref(), Some("team"));
}

#[test]
fn a_trigger_is_a_route_a_topic_or_both() {
    let both = "trigger: { http: { method: POST, path: /a }, kafka: { topic: shop.orders.placed } }\n";
    let definition =
        must_load(&format!("saga: t\n{both}steps:\n  a: {{ worker: w, action: a, compensation: b }}\n"));
    assert_eq!(definition.trigger.unwrap().path, "/a");
    assert_eq!(definition.kafka.unwrap().topic, "shop.orders.placed");
}

#[test]
fn the_version_is_the_content_and_nothing_else() {
    let text = "saga: s\nowner: me\nsteps:\n  a: { worker: w, action: a, compensation: b }\n  c: { worker: w, action: c, compensation: d }\n";
    let version = |text: &str| must_load(text).version.to_string();
    let original = version(text);
    assert!(original.len() == 64 && original.bytes().all(|it| it.is_ascii_hexdigit()));
    assert_eq!(
        original,
        version(&format!("# a comment\n{}", text.replace("owner: me", "owner:   \"me\" # whose")))
    );
    assert_eq!(
        original,
        version(&text.replace("saga: s\nowner: me\n", "owner: me\nsaga: s\n")),
        "the order of keys"
    );
    assert_eq!(original, version(&text.replace("action: a, compensation: b", "compensation: b, action: a")));
    assert_ne!(original, version(&text.replace("owner: me", "owner: you")));
    assert_ne!(original, version(&text.replace("compensation: b", "compensation: b2")));
    let swapped = "saga: s\nowner: me\nsteps:\n  c: { worker: w, action: c, compensation: d }\n  a: { worker: w, action: a, compensation: b }\n";
    assert_ne!(original, version(swapped), "states refer to steps by their order");
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions")
}

#[test]
fn mistakes_are_told_all_at_once_where_they_are() {
    let bless = std::env::var_os("AMENDS_BLESS").is_some();
    let mut seen = 0;
    let mut codes = std::collections::BTreeSet::new();
    for entry in fs::read_dir(goldens()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = match load(&fs::read_to_string(&path).unwrap()) {
            Ok(definition) => format!("{}: {} steps, no mistake\n", definition.name, definition.steps.len()),
            Err(told) => {
                codes.extend(told.iter().map(|it| it.code));
                told.iter().map(|it| format!("{it}\n")).collect()
            }
        };
        let golden = path.with_extension("txt");
        if bless {
            fs::write(&golden, &text).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, expected, "{} differs; AMENDS_BLESS=1 writes it anew", golden.display());
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} goldens");
    let all: Vec<String> = (1..=25).map(|code| format!("E{code:03}")).collect();
    assert!(codes.iter().copied().eq(all.iter().map(String::as_str)), "not every code is shown: {codes:?}");
}

#[test]
fn bombs_are_refused_and_quickly() {
    let began = std::time::Instant::now();
    let mut laughs = "saga: s\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        laughs.push_str(&format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(", ")));
    }
    assert!(told(&laughs)[0].contains("E001"));
    assert!(told(&format!("saga: {}", "[".repeat(10_000)))[0].contains("E001"));
    assert!(told(&format!("a: {}", "{a: ".repeat(200) + &"}".repeat(200)))[0].contains("E001"));
    assert!(told(&"x".repeat(300_000))[0].contains("E016"));
    assert!(
        told(&format!("saga: s\nsteps:\n{}", (0..60_000).map(|n| format!("  a: {n}\n")).collect::<String>()))
            [0]
        .contains("E0")
    );
    let values = told(&format!("saga: s\nx: [{}a]\n", "a,".repeat(50_100)));
    assert!(values[0].contains("this is more than a definition may hold"), "{values:?}");
    let many: String =
        (0..201).map(|n| format!("  s{n}: {{ worker: w, action: a, compensation: b }}\n")).collect();
    assert!(told(&format!("saga: s\nsteps:\n{many}"))[0].contains("more than 200 steps"));
    let mistakes: String = (0..190).map(|n| format!("  s{n}: {{ worker: W, action: A }}\n")).collect();
    assert_eq!(told(&format!("saga: s\nsteps:\n{mistakes}")).len(), 100, "what is told is bounded too");
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_makes_the_loader_panic(text in "[ \\n{}\\[\\]:,&*!|>'\"%@`a-z0-9#?$.-]{0,200}") {
        let _ = load(&text);
    }

    #[test]
    fn no_mutation_makes_the_loader_panic(
        source in prop::sample::select(vec!["order-checkout.yaml", "checkout-bare.yaml"]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "[ \\n:{}\\[\\]a-z$&*<]{1,3}"), 1..5),
    ) {
        let text = fs::read_to_string(root().join("saga-defs").join(source)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, kind, piece) in edits {
            let at = at.index(lines.len());
            match kind {
                0 => { lines.remove(at); }
                1 => lines[at].push_str(&piece),
                2 => lines[at] = lines[at].replacen(": ", &piece, 1),
                _ => { let line = lines[at].clone(); lines.insert(at, format!("{piece}{line}")); }
            }
        }
        if let Err(told) = load(&lines.join("\n")) {
            prop_assert!(!told.is_empty());
            prop_assert!(told.iter().all(|it| it.line >= 1 && it.column >= 1 && !it.remedy.is_empty()), "{told:?}");
        }
    }
}

/// Each side would excuse the other, and where the value is missing neither has one.
#[test]
fn two_conditions_that_both_need_what_may_be_missing_do_not_excuse_each_other() {
    let optional = "{ properties: { o: { type: object, required: [a, b], properties: { a: { type: boolean }, b: { type: string } } } } }";
    let nullable = "{ required: [o], properties: { o: { type: [object, 'null'], required: [a, b], properties: { a: { type: boolean }, b: { type: boolean } } } } }";
    for (input, when) in [
        (optional, "input.o.a && input.o.b == 'x'"),
        (optional, "has(input.o.b) && input.o.b == 'x'"),
        (nullable, "input.o.a && input.o.b"),
        (nullable, "!input.o.a || !input.o.b"),
    ] {
        let text = format!(
            "saga: t\ninput: {input}\nsteps:\n  a: {{ worker: w, action: a, compensation: u, when: \"${{{when}}}\" }}\n"
        );
        let told = load(&text).map(|it| it.name).unwrap_err();
        assert_eq!(told.iter().map(|it| it.code).collect::<Vec<_>>(), ["E027"], "{when}: {told:?}");
    }
}

/// Each part of the chain would double the work, were each looked at again within each.
#[test]
fn a_long_chain_of_conditions_is_typed_at_once() {
    let left = format!("input.o.a{}", " && has(input.p)".repeat(28));
    let right = format!("{}input.o.a{}", "input.o.a && (".repeat(28), ")".repeat(28));
    for when in [left, right] {
        let text = format!(
            "saga: t\ninput: {{ properties: {{ p: {{}}, o: {{ properties: {{ a: {{ type: boolean }} }} }} }} }}\nsteps:\n  a: {{ worker: w, action: a, compensation: u, when: \"${{{when}}}\" }}\n"
        );
        let told = load(&text).map(|it| it.name).unwrap_err();
        assert!(told.iter().all(|it| it.code == "E027"), "{told:?}");
    }
}

#[test]
fn what_may_go_well_is_no_mistake_and_what_was_published_is_read_again() {
    let of = |input: &str, when: &str| {
        format!(
            "saga: t\ninput: {input}\nsteps:\n  a: {{ worker: w, action: a, compensation: u, when: \"${{{when}}}\" }}\n"
        )
    };
    for (input, when) in [
        ("{ type: object }", "input.any.thing[7] > 3"),
        ("{ required: [a], properties: { a: { type: string } } }", "input.b == 3"),
        (
            "{ required: [a], properties: { a: { type: [string, 'null'] } } }",
            "input.a != null && input.a.startsWith('x')",
        ),
        ("{ type: object }", "input.a != null && input.a == 'x'"),
        (
            "{ required: [a], properties: { a: { type: [string, 'null'] } } }",
            "input.a != null && input.a == 'x'",
        ),
        (
            "{ required: [a], properties: { a: { type: [string, 'null'] } } }",
            "input.a == 'x' && input.a != null",
        ),
        (
            "{ required: [a], properties: { a: { type: [string, 'null'] } } }",
            "input.a == null || input.a != 'x'",
        ),
        (
            "{ required: [a], properties: { a: { type: [object, 'null'], required: [b], properties: { b: { type: boolean } } } } }",
            "input.a.b && input.a != null",
        ),
        ("{ required: [a], properties: { a: { type: [string, integer] } } }", "input.a + 1 > 2"),
        (
            "{ required: [a], properties: { a: { anyOf: [{ type: string }, { type: integer }] } } }",
            "input.a == 3",
        ),
        ("{ patternProperties: { '^x': {} }, additionalProperties: false }", "input.xy == 3"),
        (
            "{ required: [a], properties: { a: { $ref: '#/$defs/a' } }, $defs: { a: { type: integer } } }",
            "input.a % 2 == 0",
        ),
        ("{ required: [a], properties: { a: { enum: [1, 2] } } }", "input.a in [1, 2]"),
        (
            "{ required: [a], properties: { a: { items: { type: string } } } }",
            "input.a.all(it, it != '') || size(input.a) == 0",
        ),
        ("{ type: object }", "has(input.a) ? input.a : true"),
        ("{ type: object }", "{'a': [1, 2]}['a'].exists(it, it == 2) && saga.id != ''"),
    ] {
        must_load(&of(input, when));
    }
    let refused = of("{ properties: { a: { type: string } } }", "input.a > 3");
    assert!(told(&refused)[0].contains("E024"), "{:?}", told(&refused));
    let missing = of("{ properties: { a: { type: integer } } }", "input.a > 3");
    assert!(told(&missing)[0].contains("E027"), "{:?}", told(&missing));
    // An earlier release may have published them: their sagas go on.
    for published in [refused, missing] {
        assert_eq!(saga_core::definition::load_published(&published).unwrap().name, "t");
    }
    assert!(saga_core::definition::load_published("saga: t\nsteps: {}").is_err());
    for (name, code) in [
        ("a_list_without_an_end", "E016"),
        ("triggers_that_nobody_serves", "E004"),
        ("a_role_that_nobody_has", "E004"),
        ("a_wait_longer_than_the_deadline", "E022"),
    ] {
        let path = format!("{}/tests/definitions/broken/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(load(&text).unwrap_err().iter().all(|it| it.code == code), "{name}");
        assert!(saga_core::definition::load_published(&text).is_ok(), "{name}");
    }
}

#[test]
fn words_of_a_schema_that_are_no_slips_are_left_alone() {
    for schema in [
        // Annotations: JSON Schema allows them, and these are near a short keyword.
        "{ id: '#a', note: by hand, unit: KRW, time: local, file: a, of: us, order: 3, label: Phone, nullable: true, example: 1 }",
        "{ x-type: phone, x-personal: no, examples: [{ requird: 1 }], $comment: a, readOnly: true, writeOnly: true }",
        // Names of members, and values.
        "{ properties: { require: { type: string }, frehs: {}, minLenght: {} }, required: [require] }",
        "{ patternProperties: { itmes: {} }, $defs: { tpye: {} }, definitions: { enmu: {} }, dependentSchemas: { typ: {} } }",
        "{ const: { requird: 1 }, default: { propertys: {} } }",
        "{ enum: [{ requird: 1 }, { minLenght: 2 }] }",
        "{ dependencies: { personnal: [a], frehs: { type: object } }, dependentRequired: { titel: [a] } }",
        "{ discriminator: { propertyNam: a }, x-mine: { requird: 1 } }",
        "{ additionalItems: false, divisibleBy: 2, contentSchema: { type: string }, formatMinimum: a }",
    ] {
        let output = format!(
            "saga: t\nsteps: {{ a: {{ worker: w, action: a, compensation: u, output_schema: {schema} }} }}"
        );
        assert_eq!(must_load(&output).name, "t", "{schema}");
        let input =
            format!("saga: t\ninput: {schema}\nsteps: {{ a: {{ worker: w, action: a, compensation: u }} }}");
        assert_eq!(must_load(&input).name, "t", "{schema}");
    }
}

#[test]
fn keys_of_a_wait_that_have_no_effect_keep_nothing_published_waiting() {
    let text = "saga: t\nsteps:\n  a: { wait: { signal: s, timeout: 1h }, timeout: 2h, on_rejected: park }\n  b: { wait: { for: 1h }, timeout: 3s, on_exhausted: park }\n";
    let codes: Vec<&str> = load(text).map(|it| it.name).unwrap_err().iter().map(|it| it.code).collect();
    assert_eq!(codes, ["E020", "E022", "E020", "E022"]);
    let published = saga_core::definition::load_published(text).unwrap();
    assert_eq!(published.steps.iter().map(|it| it.timeout_ms).collect::<Vec<_>>(), [3_600_000, 3_600_000]);
}

#[test]
fn a_misspelt_keyword_that_is_published_keeps_nothing_waiting() {
    let text = "saga: t\ninput: { require: [a] }\nsteps: { a: { worker: w, action: a, compensation: u } }";
    assert_eq!(
        told(text),
        [
            "2:10: E002: JSON Schema has no keyword `require`; write `required`; a word of your own begins with `x-`"
        ]
    );
    assert_eq!(saga_core::definition::load_published(text).unwrap().name, "t");
}

fn with_input(input: &str, value: &str) -> Vec<String> {
    let text = format!(
        "saga: t\ninput: {input}\nsteps:\n  a: {{ worker: w, action: a, compensation: u, input: {{ v: \"${{{value}}}\" }} }}\n"
    );
    match load(&text) {
        Ok(_) => Vec::new(),
        Err(told) => told.iter().map(|it| format!("{}: {}: {}", it.code, it.message, it.remedy)).collect(),
    }
}

/// What a filter lets through has what its condition asks for, by whatever name it goes afterwards; another value of that
/// name has not.
#[test]
fn what_a_filter_has_asked_is_known_of_what_it_lets_through() {
    let input = "{ required: [xs], properties: { m: { type: string }, xs: { type: array, items: { properties: { m: { type: string }, n: { type: [string, 'null'] }, ys: { type: array, items: { properties: { m: { type: string } } } } } } } } }";
    for fine in [
        "input.xs.filter(x, has(x.m)).map(x, x.m)",
        "input.xs.filter(x, has(x.m)).map(y, y.m + '!')",
        "input.xs.filter(x, has(x.m) && has(x.n)).filter(y, y.n != null).map(z, z.m + z.n)",
        "input.xs.filter(x, has(input.m)).map(x, input.m)",
        "input.xs.map(x, has(x.m), x.m)",
    ] {
        assert_eq!(with_input(input, fine), Vec::<String>::new(), "{fine}");
    }
    for wrong in [
        "input.xs.filter(x, !has(x.m)).map(x, x.m)",
        "input.xs.filter(x, has(x.m)).map(y, y.n)",
        "input.xs.filter(x, has(x.m) && has(x.ys)).map(x, x.ys.map(x, x.m))",
        "input.xs.map(y, input.xs.filter(x, has(y.m)).map(y, y.m))",
        "[input.xs.filter(x, has(input.m)).map(x, x), [input.m]]",
    ] {
        let told = with_input(input, wrong);
        assert!(told.len() == 1 && told.iter().all(|it| it.starts_with("E027")), "{wrong}: {told:?}");
    }
}

/// `has` cannot ask for a member whose name is no identifier; `in` can.
#[test]
fn a_member_whose_name_is_no_identifier_is_asked_for_with_in() {
    let input = "{ additionalProperties: false, properties: { user-id: { type: string }, package: { type: string }, a.b: { type: string }, a: { required: [b], properties: { b: { type: string } } }, \"it's\": { type: string } } }";
    for fine in [
        "'user-id' in input ? input['user-id'] : ''",
        "'a.b' in input ? input['a.b'] : ''",
        "'a' in input ? input.a.b : ''",
        "'it\\\\'s' in input ? input['it\\\\'s'] : ''",
        "has(input.package) ? input.package : ''",
    ] {
        assert_eq!(with_input(input, fine), Vec::<String>::new(), "{fine}");
    }
    let remedy = |name: &str, there: &str| {
        format!(
            "E027: `{name}` may be missing: the schema of `input` does not require it: write {there} ? {name} : something else, or make it `required`"
        )
    };
    assert_eq!(with_input(input, "input['user-id']"), [remedy("input['user-id']", "'user-id' in input")]);
    assert_eq!(with_input(input, "'a.b' in input ? input.a.b : ''"), [remedy("input.a", "has(input.a)")]);
    assert_eq!(
        with_input(input, "input.user_id"),
        [
            "E023: there is no `input.user_id`: the schema of `input` rules it out: did you mean `input['user-id']`?"
        ]
    );
    assert_eq!(
        with_input(input, "'a' in input ? input['a.b'] : ''"),
        [remedy("input['a.b']", "'a.b' in input")]
    );
}

/// Steps may be named as CEL's reserved words are.
#[test]
fn a_step_named_by_a_reserved_word_is_asked_for_like_any_other() {
    for (name, output) in
        [("return", "steps.return.output"), ("package", "steps.package.output"), ("in", "steps['in'].output")]
    {
        for value in ["has(O.code) ? O.code : ''", "O.amount != null ? string(O.amount) : ''"] {
            let value = value.replace('O', output);
            let text = format!(
                "saga: t\nsteps:\n  {name}: {{ worker: w, action: a, compensation: u, output_schema: {{ type: object, required: [amount], properties: {{ code: {{ type: string }}, amount: {{ type: [integer, 'null'] }} }} }} }}\n  b: {{ after: [{name}], worker: w, action: a, compensation: u, input: {{ v: \"${{{value}}}\" }} }}\n"
            );
            load(&text).map(|it| it.name).unwrap_or_else(|told| panic!("{value}: {told:?}"));
        }
    }
}

/// In what is null there is nothing to be found: the saga would park.
#[test]
fn what_may_be_null_is_not_looked_into_with_in() {
    let input = "{ required: [o, tags], properties: { o: { type: [object, 'null'], properties: { m: { type: string } } }, tags: { type: [array, 'null'] } } }";
    for (value, name) in
        [("'m' in input.o ? input.o.m : ''", "input.o"), ("'vip' in input.tags", "input.tags")]
    {
        let told = with_input(input, value);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("E027: `{name}` may be null")), "{told:?}");
        assert_eq!(
            with_input(input, &format!("{name} != null && ({value}) == ({value})")),
            Vec::<String>::new()
        );
    }
}

/// The items of a `foreach` over a filter are those that it lets through.
#[test]
fn a_foreach_over_a_filter_knows_what_was_asked() {
    let load_of = |list: &str| {
        load(&format!(
            "saga: t\ninput: {{ required: [xs], properties: {{ xs: {{ type: array, maxItems: 9, items: {{ properties: {{ gift: {{ type: string }} }} }} }} }} }}\nsteps:\n  a: {{ foreach: \"${{{list}}}\", worker: w, action: a, compensation: u, input: {{ v: \"${{item.gift}}\" }} }}\n"
        ))
    };
    assert!(load_of("input.xs.filter(x, has(x.gift))").is_ok());
    assert_eq!(load_of("input.xs.filter(x, !has(x.gift))").map(|it| it.name).unwrap_err()[0].code, "E027");
}
