//! A value that fits a schema, as far as the schema says enough: what a simulated worker answers when nobody says what.
//!
//! Owns how far JSON Schema is followed. Nothing depends on it being right: who needs to know asks the validator.

use serde_json::{Map, Value};

/// How deep a schema is followed.
const DEPTH_MAX: usize = 8;
/// The most elements that are made for a list.
const ELEMENTS_MAX: u64 = 100;

/// A small value that should fit: what the schema names first, and of an object only what it requires.
pub(super) fn sample(schema: &Value) -> Value {
    of(schema, schema, 0)
}

fn of(schema: &Value, root: &Value, depth: usize) -> Value {
    let first = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|all| all.first());
    let named = schema.get("const").or_else(|| schema.get("default"));
    if let Some(value) = named.or_else(|| first("examples")).or_else(|| first("enum")) {
        return value.clone();
    }
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let elsewhere = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
    let elsewhere = elsewhere.and_then(|pointer| root.pointer(pointer));
    if let Some(part) =
        elsewhere.or_else(|| first("oneOf")).or_else(|| first("anyOf")).or_else(|| first("allOf"))
    {
        return of(part, root, depth + 1);
    }
    let kind = schema.get("type").and_then(|it| it.as_str().or_else(|| it.get(0)?.as_str()));
    let kind = kind.unwrap_or(if schema.get("items").is_some() { "array" } else { "object" });
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    let size = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0).min(ELEMENTS_MAX);
    match kind {
        "object" => object(schema, root, depth),
        "array" => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            (0..size("minItems")).map(|_| of(items, root, depth + 1)).collect()
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

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let members = required.iter().filter_map(Value::as_str).map(|name| {
        let member = schema.get("properties").and_then(|it| it.get(name)).unwrap_or(&Value::Null);
        (name.to_owned(), of(member, root, depth + 1))
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
}
