//! A value that fits a schema, as far as the schema says enough: what a simulated worker answers when nobody says what.
//!
//! Owns how far JSON Schema is followed. Nothing depends on it being right: who needs to know asks the validator.

use serde_json::{Map, Value};

/// How deep a schema is followed.
const DEPTH_MAX: usize = 8;
/// The most elements that are made for a list.
const ELEMENTS_MAX: u64 = 100;
/// The most values that are made in all: lists of lists would be as many as there is memory.
const VALUES_MAX: u32 = 1_000;
/// So many bytes of what a schema gives as an example count as one.
const BYTES_A_VALUE: usize = 1_000;

/// A small value that should fit: what the schema names first, and of an object only what it requires.
pub(super) fn sample(schema: &Value) -> Value {
    of(schema, schema, 0, &mut VALUES_MAX.clone())
}

fn of(schema: &Value, root: &Value, depth: usize, left: &mut u32) -> Value {
    let first = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|all| all.first());
    let named = schema.get("const").or_else(|| schema.get("default"));
    if let Some(value) = named.or_else(|| first("examples")).or_else(|| first("enum")) {
        let cost = u32::try_from(1 + value.to_string().len() / BYTES_A_VALUE).unwrap_or(u32::MAX);
        let rest = left.checked_sub(cost);
        *left = rest.unwrap_or(0);
        return if rest.is_some() { value.clone() } else { Value::Null };
    }
    if depth > DEPTH_MAX || *left == 0 {
        return Value::Null;
    }
    *left -= 1;
    let elsewhere = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
    let elsewhere = elsewhere.and_then(|pointer| root.pointer(pointer));
    if let Some(part) =
        elsewhere.or_else(|| first("oneOf")).or_else(|| first("anyOf")).or_else(|| first("allOf"))
    {
        return of(part, root, depth + 1, left);
    }
    let kind = schema.get("type").and_then(|it| it.as_str().or_else(|| it.get(0)?.as_str()));
    let kind = kind.unwrap_or(if schema.get("items").is_some() { "array" } else { "object" });
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    let size = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0).min(ELEMENTS_MAX);
    match kind {
        "object" => object(schema, root, depth, left),
        "array" => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            (0..size("minItems")).map(|_| of(items, root, depth + 1, left)).collect()
        }
        "integer" | "number" => {
            let least = number("minimum").or_else(|| Some(number("exclusiveMinimum")?.saturating_add(1)));
            Value::from(least.unwrap_or(0))
        }
        "boolean" => Value::Bool(false),
        "null" => Value::Null,
        _ => Value::from("x".repeat(usize::try_from(size("minLength")).unwrap_or(0).max(1))),
    }
}

fn object(schema: &Value, root: &Value, depth: usize, left: &mut u32) -> Value {
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let members = required.iter().filter_map(Value::as_str).map(|name| {
        let member = schema.get("properties").and_then(|it| it.get(name)).unwrap_or(&Value::Null);
        (name.to_owned(), of(member, root, depth + 1, left))
    });
    Value::Object(members.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sample;

    #[test]
    fn what_is_made_fits_what_it_is_made_from() {
        for (schema, made) in [
            (
                json!({ "type": "object", "required": ["id", "n"], "properties": { "id": { "type": "string" }, "n": { "type": "integer", "minimum": 3 }, "more": {} } }),
                json!({ "id": "x", "n": 3 }),
            ),
            (json!({ "type": "array", "minItems": 2, "items": { "enum": ["a", "b"] } }), json!(["a", "a"])),
            (json!({ "$ref": "#/$defs/it", "$defs": { "it": { "const": 7 } } }), json!(7)),
            (json!({ "type": ["null", "string"] }), json!(null)),
            (json!({ "anyOf": [{ "type": "boolean" }, {}] }), json!(false)),
            (json!({ "type": "string", "minLength": 4 }), json!("xxxx")),
            (json!({}), json!({})),
        ] {
            assert_eq!(sample(&schema), made, "{schema}");
            assert!(jsonschema::is_valid(&schema, &made), "{schema}");
        }
        assert!(sample(&json!({ "$ref": "#" })).is_null());
    }

    #[test]
    fn a_schema_of_lists_of_lists_is_not_followed_into_the_last_of_them() {
        let deep = (0..6).fold(
            json!({ "const": 1 }),
            |items, _| json!({ "type": "array", "minItems": 100, "items": items }),
        );
        assert!(sample(&deep).to_string().len() < 100_000);
        let wide = (0..8).fold(json!({}), |it, _| {
            json!({ "type": "object", "required": ["a", "b", "c", "d"], "properties": { "a": it, "b": it, "c": it, "d": it } })
        });
        assert!(sample(&wide).to_string().len() < 100_000);
    }
}
