//! Inputs that a replay must bring anew: what the input's schema marks `fresh: true`.
//!
//! A replay names them by where they are, so they are members of objects, and not elements of lists, nor behind a
//! reference or a condition.

use serde_json::Value;

/// Deeper is no schema that anybody wrote.
const DEPTH_MAX: usize = 32;

/// Where a schema says that an input must be fresh, as JSON pointers into the input.
pub fn fresh_pointers(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(schema, (String::new(), String::new()), &mut found, &mut Vec::new(), DEPTH_MAX);
    found
}

/// Where `fresh` stands in vain, as JSON pointers into the schema.
pub(super) fn in_vain(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(schema, (String::new(), String::new()), &mut Vec::new(), &mut found, DEPTH_MAX);
    found
}

fn look(
    schema: &Value,
    (input, place): (String, String),
    found: &mut Vec<String>,
    in_vain: &mut Vec<String>,
    depth: usize,
) {
    let Some(members) = schema.as_object().filter(|_| depth > 0) else { return };
    if schema.get("fresh") == Some(&Value::Bool(true)) {
        found.push(input);
        return;
    }
    for (keyword, value) in members {
        let place = format!("{place}/{}", escaped(keyword));
        match (keyword.as_str(), value.as_object()) {
            ("properties", Some(properties)) => {
                for (name, schema) in properties {
                    let name = escaped(name);
                    let here = (format!("{input}/{name}"), format!("{place}/{name}"));
                    look(schema, here, found, in_vain, depth - 1);
                }
            }
            // Values, and no schemas.
            ("const" | "enum" | "default" | "examples", _) => {}
            _ => marked(value, &place, in_vain, depth - 1),
        }
    }
}

fn marked(value: &Value, place: &str, found: &mut Vec<String>, depth: usize) {
    if depth == 0 {
        return;
    }
    if value.get("fresh") == Some(&Value::Bool(true)) {
        found.push(format!("{place}/fresh"));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        marked(value, &format!("{place}/{}", escaped(name)), found, depth - 1);
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        marked(value, &format!("{place}/{index}"), found, depth - 1);
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_asked_for_and_nothing_else_is_marked() {
        let schema = json!({
            "properties": {
                "key": { "type": "string", "fresh": true },
                "pay": { "properties": { "a/b": { "fresh": true } } },
                "fresh": { "type": "boolean", "default": { "fresh": true } },
                "cards": { "items": { "properties": { "key": { "fresh": true } } } },
                "other": { "$ref": "#/$defs/other" }
            },
            "allOf": [{ "properties": { "key": { "fresh": true } } }],
            "$defs": { "other": { "fresh": true } }
        });
        let mut found = fresh_pointers(&schema);
        found.sort();
        assert_eq!(found, ["/key", "/pay/a~1b"]);
        let mut vain = in_vain(&schema);
        vain.sort();
        let expected = [
            "/$defs/other/fresh",
            "/allOf/0/properties/key/fresh",
            "/properties/cards/items/properties/key/fresh",
        ];
        assert_eq!(vain, expected);
    }
}
