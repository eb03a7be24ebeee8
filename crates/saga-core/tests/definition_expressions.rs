//! Expressions and templates: what they yield, what they refuse, and that nothing makes them panic or run away.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use saga_core::definition::expression::Read;
use saga_core::definition::{EvalError, Expression, Scope, Template};
use saga_protocol::SagaId;
use serde_json::{Value, json};

fn input() -> Value {
    json!({
        "order_id": "order-1",
        "items": [{"sku": "a", "quantity": 2, "price": 1.5}, {"sku": "b", "quantity": 3, "price": 10.0}],
        "total": 30, "half": 0.5, "big": 9_223_372_036_854_775_807_i64, "huge": 18_446_744_073_709_551_615_u64,
        "paid": true, "nothing": null, "name": "김밥", "empty": [], "tags": {"b": 1, "a": 2},
    })
}

fn with_scope<R>(f: impl FnOnce(&Scope<'_>) -> R) -> R {
    let input = input();
    let outputs: HashMap<&str, Arc<Value>> = HashMap::from([
        ("pay", Arc::new(json!({"receipt": "r-1", "method": "카드"}))),
        ("quiet", Arc::new(Value::Null)),
    ]);
    let steps = |name: &str| outputs.get(name).cloned();
    let item = Some((4, Arc::new(json!({"sku": "x"}))));
    f(&Scope { input: &input, steps: &steps, item, saga: SagaId(uuid::Uuid::from_u128(7)) })
}

fn eval(text: &str) -> Result<Value, EvalError> {
    let expression = Expression::parse(text).unwrap();
    with_scope(|scope| expression.resolve(scope)).map(Arc::unwrap_or_clone)
}

fn refused(text: &str) -> String {
    Expression::parse(text).map(|it| it.to_string()).unwrap_err().to_string()
}

#[test]
fn a_plain_path_leads_to_its_value() {
    for (text, value) in [
        ("input.order_id", json!("order-1")),
        ("${input.order_id}", json!("order-1")),
        ("input.items[1].sku", json!("b")),
        ("steps.pay.output.receipt", json!("r-1")),
        ("steps.pay.output", json!({"receipt": "r-1", "method": "카드"})),
        ("steps.quiet.output", json!(null)),
        ("input.nothing", json!(null)),
        ("item.sku", json!("x")),
        ("index", json!(4)),
        ("saga.id", json!("00000000-0000-0000-0000-000000000007")),
    ] {
        assert_eq!(eval(text).unwrap(), value, "{text}");
    }
}

#[test]
fn a_whole_output_is_shared_and_not_copied() {
    let output = Arc::new(json!({"large": [1, 2, 3]}));
    let steps = |_: &str| Some(Arc::clone(&output));
    let scope = Scope { input: &Value::Null, steps: &steps, item: None, saga: SagaId(uuid::Uuid::nil()) };
    let expression = Expression::parse("steps.pay.output").unwrap();
    assert!(Arc::ptr_eq(&expression.resolve(&scope).unwrap(), &output));
}

#[test]
fn a_missing_path_is_named() {
    for (text, path) in [
        ("input.payment.key", "input.payment.key"),
        ("input.items[2].sku", "input.items[2].sku"),
        ("steps.ship.output.id", "steps.ship.output.id"),
        ("input.order_id.x", "input.order_id.x"),
    ] {
        assert_eq!(eval(text), Err(EvalError::Missing { path: path.to_owned() }));
    }
    let error = eval("input.coupon == 'x'").unwrap_err().to_string();
    assert!(error.contains("there is no `input.coupon`"), "{error}");
    assert!(eval("input.items.map(i, i.colour)").unwrap_err().to_string().contains("`i.colour`"));
}

#[test]
fn only_paths_into_what_is_held_are_plain() {
    let plain = |text: &str| Expression::parse(text).unwrap().is_plain();
    assert!(plain("input.a.b[0]") && plain("steps.pay.output.x") && plain("saga.id"));
    assert!(!plain("item.sku") && !plain("index") && !plain("input.a + 1") && !plain("size(input.a)"));
    let template = |value: Value| Template::parse(&value).unwrap().is_plain();
    assert!(template(json!({"a": "${input.a}", "b": ["x${saga.id}", 1]})) && template(json!("$${x}")));
    assert!(!template(json!({"a": "${input.a}", "b": ["${input.a + 1}"]})));
}

#[test]
fn what_is_read_is_known() {
    let reads = |text: &str| -> Vec<String> {
        let name = |read: &Read| match read {
            Read::Input(path) => format!("input{path}"),
            Read::Output { step, path } => format!("{step}{path}"),
            Read::Item(path) => format!("item{path}"),
            Read::Index => "index".to_owned(),
            Read::SagaId => "saga".to_owned(),
        };
        Expression::parse(text).unwrap().reads().map(name).collect()
    };
    assert_eq!(reads("steps.pay.output.id"), ["pay.id"]);
    assert_eq!(
        reads("input.a.b + input['c'] + string(index) + saga.id"),
        ["input.a.b", "input.c", "index", "saga"]
    );
    assert_eq!(reads("has(steps.pay.output) ? steps.pay.output.id : steps.x.output"), ["pay", "pay.id", "x"]);
    assert_eq!(reads("input.items.map(input2, input2.sku)"), ["input.items"]);
    assert_eq!(
        reads("input.items.exists(item, item.sku == 'a')"),
        ["input.items"],
        "a variable hides a name"
    );
}

#[test]
fn templates_keep_types_and_interpolate() {
    let resolve = |value: Value| {
        let template = Template::parse(&value).unwrap();
        let spelled = with_scope(|scope| template.spell(scope)).map(|spelled| spelled.get().to_owned());
        let resolved = with_scope(|scope| template.resolve(scope)).map(Arc::unwrap_or_clone);
        assert_eq!(spelled, resolved.clone().map(|value| value.to_string()));
        resolved
    };
    let filled = resolve(json!({
        "whole": "${input.items[0]}", "number": "${input.total}", "text": "no. ${input.total}/${ input.order_id }!",
        "list": ["${input.paid}", 7, null], "escaped": "$${input.total} costs $5 {}", "literal": {"a": [1, "x"]},
        "braces": "${ {'a': '}'}['a'] }${\"}\"}",
    }));
    assert_eq!(
        filled.unwrap(),
        json!({
            "whole": {"sku": "a", "quantity": 2, "price": 1.5}, "number": 30, "text": "no. 30/order-1!",
            "list": [true, 7, null], "escaped": "${input.total} costs $5 {}", "literal": {"a": [1, "x"]},
            "braces": "}}",
        })
    );
    let error = resolve(json!("items: ${input.items}")).unwrap_err().to_string();
    assert!(error.contains("a list cannot stand within a string"), "{error}");
}

#[test]
fn every_bad_expression_of_a_template_is_told_with_its_place() {
    let errors =
        Template::parse(&json!({"a": "${input.}", "b/c": [1, "x ${nope}"], "d": "${input.a"})).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(places, ["/a", "/b~1c/1", "/d"]);
    assert!(errors[2].reason.contains("`}` is missing"));
}

#[test]
fn cel_yields_what_the_specification_says() {
    for (text, value) in [
        ("1 + 2 * 3 - 4 / 2 % 3", json!(5)),
        ("-input.total", json!(-30)),
        ("input.total > 29 && input.half <= 0.5", json!(true)),
        ("1 == 1.0 && input.half < 1 && input.huge > input.big", json!(true)),
        ("input.name + '!'", json!("김밥!")),
        ("size(input.name) + size(input.items) + input.tags.size()", json!(6)),
        ("'a' in input.tags && 3 in [1, 2, 3] && !('z' in input.tags)", json!(true)),
        ("input['items'][1]['sku']", json!("b")),
        ("[1] + [2, 3]", json!([1, 2, 3])),
        ("{'a': input.total, 'b': [input.paid]}", json!({"a": 30, "b": [true]})),
        ("input.items.map(i, i.quantity * 2)", json!([4, 6])),
        ("input.items.map(i, i.quantity > 2, i.sku)", json!(["b"])),
        ("input.items.filter(i, i.price > 2.0).map(i, i.sku)", json!(["b"])),
        ("input.items.all(i, i.quantity > 1)", json!(true)),
        ("input.items.exists(i, i.sku == 'c')", json!(false)),
        ("input.items.exists_one(i, i.sku == 'a')", json!(true)),
        ("input.items.map(i, input.items.map(j, i.sku + j.sku))", json!([["aa", "ab"], ["ba", "bb"]])),
        ("input.empty.all(i, false)", json!(true)),
        ("has(input.coupon) ? input.coupon : 'none'", json!("none")),
        ("has(steps.ship.output) ? steps.ship.output.id : null", json!(null)),
        ("has(steps.pay.output) && has(steps.pay.output.receipt)", json!(true)),
        ("input.paid || input.coupon == 'x'", json!(true)),
        ("input.coupon == 'x' || input.paid", json!(true)),
        ("input.coupon == 'x' && false", json!(false)),
        ("'order-1'.startsWith('ord') && 'order-1'.endsWith('1') && 'order-1'.contains('er-')", json!(true)),
        ("int('42') + int(3.9) + int(-3.9)", json!(42)),
        ("string(input.total) + string(input.half) + string(true)", json!("300.5true")),
        ("double(input.total) * 1.5", json!(45.0)),
        // A whole number that stands in the expression goes with what it is calculated with.
        ("input.half * 2 + 1", json!(2.0)),
        ("1 - input.half", json!(0.5)),
        ("input.total * 2 - 1", json!(59)),
        ("input.items[0] == {'sku': 'a', 'quantity': 2, 'price': 1.5}", json!(true)),
        ("input.tags.map(k, k)", json!(["a", "b"])),
    ] {
        assert_eq!(eval(text).unwrap(), value, "{text}");
    }
}

/// The parts that our evaluator and the `cel` crate's own both have must agree.
#[test]
fn cel_agrees_with_the_reference_evaluator() {
    let operands = [
        "0",
        "1",
        "-7",
        "3",
        "2.5",
        "-0.5",
        "'a'",
        "'b'",
        "true",
        "false",
        "null",
        "[1, 2]",
        "{'k': 1}",
        "9223372036854775807",
    ];
    let operators = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"];
    let mut expressions: Vec<String> = Vec::new();
    for a in operands {
        expressions.extend(["!", "-"].map(|op| format!("{op}({a})")));
        expressions.extend(["size", "string", "int", "double"].map(|function| format!("{function}({a})")));
        for b in operands {
            expressions.extend(operators.map(|op| format!("({a}) {op} ({b})")));
            expressions.push(format!("({a}) == ({b}) ? ({a}) : ({b})"));
            expressions.push(format!("[{a}, {b}].exists(x, x == {b}) && [{a}].all(x, x != {b})"));
            expressions.push(format!("[{a}, {b}].map(x, x).filter(x, x == {a})"));
        }
    }
    let (mut agreed, mut differ) = (0, Vec::new());
    for text in &expressions {
        if text == "([1, 2]) + ({'k': 1})" {
            continue; // The reference appends the keys; the specification knows no such sum.
        }
        let reference =
            cel::Program::compile(text).unwrap().execute(&cel::Context::default()).ok().and_then(json_of);
        // Where the reference has a value that JSON cannot hold (an infinity), we have an error.
        let ours = eval(text).ok();
        if ours != reference {
            differ.push(format!("{text}: {ours:?}, but the reference says {reference:?}"));
        }
        agreed += usize::from(ours.is_some());
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(agreed > 500, "only {agreed} of {} have a value", expressions.len());
}

fn json_of(value: cel::Value) -> Option<Value> {
    match value {
        cel::Value::Null => Some(Value::Null),
        cel::Value::Bool(it) => Some(it.into()),
        cel::Value::Int(it) => Some(it.into()),
        cel::Value::UInt(it) => Some(it.into()),
        cel::Value::Float(it) => serde_json::Number::from_f64(it).map(Value::Number),
        cel::Value::String(it) => Some(it.as_str().into()),
        cel::Value::List(it) => it.iter().cloned().map(json_of).collect(),
        cel::Value::Map(it) => {
            it.map.iter().map(|(key, value)| Some((key.to_string(), json_of(value.clone())?))).collect()
        }
        other => panic!("{other:?} is not of the language"),
    }
}

#[test]
fn data_that_do_not_fit_are_errors() {
    for (text, reason) in [
        ("input.total / 0", "yield no number"),
        ("input.total % 0", "yield no number"),
        ("input.half / 0.0", "yield no number"),
        ("input.big + 1", "yield no number"),
        ("-(-input.big - 1)", "no negative"),
        ("input.huge + 1", "yield no number"),
        ("input.total + input.half", "do not mix"),
        ("input.total * 0.5", "do not mix"),
        ("1 + 2.5", "do not mix"),
        ("input.half + 9007199254740993", "do not mix"),
        ("input.name + 1", "cannot be calculated"),
        ("input.name < 1", "have no order"),
        ("input.items[0.5]", "there is no"),
        ("input.items[-1]", "there is no"),
        ("input.total.size()", "`size` cannot take a number"),
        ("int('x')", "`int` cannot take a string"),
        ("input.total ? 1 : 2", "neither true nor false"),
        ("input.name.map(x, x)", "has no elements"),
        ("{'a': 1, 'a': 2}", "comes twice"),
        ("{1: 2}", "no key"),
        ("has(input.name.x)", "`has` asks a string"),
    ] {
        let error = eval(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let truth = |text: &str| with_scope(|scope| Expression::parse(text).unwrap().truth(scope));
    assert!(truth("input.paid").unwrap() && !truth("input.total > 30").unwrap());
    assert!(truth("input.total").unwrap_err().to_string().contains("neither true nor false"));
}

#[test]
fn what_is_not_of_the_language_is_refused_at_once() {
    for (text, reason) in [
        ("", "empty"),
        ("input.", "Syntax error"),
        ("input.a +", "Syntax error"),
        ("now()", "no function `now`"),
        ("timestamp('2020-01-01T00:00:00Z')", "no function `timestamp`"),
        ("input.a.matches('x')", "no function `matches`"),
        ("payload.a", "no `payload`"),
        ("steps.pay", "`steps.NAME.output`"),
        ("steps.pay.input", "`steps.NAME.output`"),
        ("has(steps.pay)", "`steps`"),
        ("saga.name", "`saga.id`"),
        ("1u", "unsigned"),
        ("b'x'", "bytes"),
        ("Foo{a: 1}", "not part"),
        ("size()", "number of arguments"),
        ("input.a.map(x)", "take a name"),
        ("input.a.map(x.y, 1)", "is a name"),
        ("__comprehension__", "no `__comprehension__`"),
    ] {
        let error = refused(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn nothing_runs_away() {
    let began = Instant::now();
    let double = "['xxxxxxxxxxxxxxxx']".to_owned() + &".map(x, [x, x])".repeat(25);
    let concat = "['xxxxxxxxxxxxxxxx']".to_owned() + &".map(x, x + x)".repeat(30);
    let many = "input.items.map(a, input.list.map(b, b))";
    let large = json!({"list": vec![0; 20_000], "items": vec![0; 20_000], "text": "x".repeat(100_000)});
    for text in [
        double.as_str(),
        &concat,
        many,
        "input.list.all(a, input.list.all(b, input.list.all(c, a == c)))",
        "input.list.map(a, input.text)",
        "input.list.exists(a, input.text.contains('y'))",
    ] {
        let expression = Expression::parse(text).unwrap();
        let scope = Scope { input: &large, steps: &|_| None, item: None, saga: SagaId(uuid::Uuid::nil()) };
        let error = expression.resolve(&scope).unwrap_err().to_string();
        assert!(error.contains("too much work"), "{text}: {error}");
    }
    // Generous: it takes some ten milliseconds, and a runaway would take minutes.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// In a thread of the size that servers use, unoptimized: the worst case for recursion.
#[test]
fn deep_and_long_expressions_neither_overflow_nor_hang() {
    let texts = |n: usize| {
        vec![
            "(".repeat(n) + "1" + &")".repeat(n),
            "[".repeat(n) + &"]".repeat(n),
            "!".repeat(n) + "true",
            "-".repeat(n) + "1",
            "1".to_owned() + &"+1".repeat(n),
            "input".to_owned() + &".a".repeat(n) + "()",
            "input".to_owned() + &"[0]".repeat(n) + " + 1",
            "true".to_owned() + &" && true".repeat(n),
            "true ? ".repeat(n) + "1" + &" : 1".repeat(n),
            "size(".repeat(n) + "1" + &")".repeat(n),
            "{'a':".repeat(n) + "1" + &"}".repeat(n),
            "[1]".to_owned() + &".map(x, x)".repeat(n),
            "[1].map(x, ".repeat(n) + "x" + &")".repeat(n),
            "\"".repeat(n),
            "{".repeat(n),
        ]
    };
    let all = move || {
        let mut accepted = 0;
        for n in [1, 5, 10, 20, 31, 50, 66, 99, 199, 400, 2_000] {
            for text in texts(n) {
                if let Ok(expression) = Expression::parse(&text) {
                    accepted += 1;
                    let _ = with_scope(|scope| expression.resolve(scope));
                }
            }
        }
        accepted
    };
    let accepted =
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(all).unwrap().join().unwrap();
    assert!(accepted > 30, "{accepted}");
}

fn some_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..6)
                .prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

fn some_cel() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("input".to_owned()),
        "input\\.[a-d]",
        "input\\.[a-d]\\.[a-d]",
        "-?[0-9]{1,20}",
        "[0-9]{1,5}\\.[0-9]{1,3}",
        "'[a-z\\\\ ]{0,5}'",
        Just("x".to_owned()),
        Just("item".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operators = "(\\+|-|\\*|/|%|==|!=|<|>=|&&|\\|\\||in)";
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            ("(size|string|int|double|has|nope)", inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), "(map|filter|all|exists|exists_one)", inner.clone())
                .prop_map(|(a, f, b)| format!("{a}.{f}(x, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        let _ = Expression::parse(&text);
        let _ = Template::parse(&Value::from(text));
    }

    #[test]
    fn no_expression_panics_and_each_is_deterministic(text in some_cel(), input in some_json()) {
        if let Ok(expression) = Expression::parse(&text) {
            let run = || {
                let item = Some((0, Arc::new(json!([1, "a"]))));
                let scope = Scope { input: &input, steps: &|_| None, item, saga: SagaId(uuid::Uuid::nil()) };
                expression.resolve(&scope)
            };
            prop_assert_eq!(run(), run());
        }
    }

    #[test]
    fn a_template_is_spelled_as_what_it_resolves_to(text in some_cel(), literal in some_json(), input in some_json()) {
        let path = if input.is_object() { "input.a" } else { "input" };
        let value = json!({
            "path": format!("${{{path}}}"), "computed": format!("${{{text}}}"), "text": format!("it is ${{{text}}}!"),
            "list": [escape(&literal), "${saga.id}", {"\"key\" ${": "${item[1]}"}],
        });
        if let Ok(template) = Template::parse(&value) {
            let item = Some((0, Arc::new(json!([1, "a\u{7}\""]))));
            let scope = Scope { input: &input, steps: &|_| None, item, saga: SagaId(uuid::Uuid::nil()) };
            let resolved = template.resolve(&scope).map(|value| value.to_string());
            prop_assert_eq!(template.spell(&scope).map(|spelled| spelled.get().to_owned()), resolved);
        }
    }

    #[test]
    fn a_literal_template_is_itself(value in some_json()) {
        let escaped = Template::parse(&escape(&value)).unwrap();
        prop_assert!(escaped.is_plain());
        let scope = Scope { input: &Value::Null, steps: &|_| None, item: None, saga: SagaId(uuid::Uuid::nil()) };
        prop_assert_eq!(&*escaped.resolve(&scope).unwrap(), &value);
    }
}

fn escape(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(text.replace("${", "$${")),
        Value::Array(values) => values.iter().map(escape).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), escape(value))).collect(),
        other => other.clone(),
    }
}
