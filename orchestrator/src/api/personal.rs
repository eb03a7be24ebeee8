//! Personal data: what a definition's input schema marks `personal: true` is hidden from who need not know it.

use std::collections::HashSet;

use serde_json::Value;

/// What stands in its place.
pub const MASK: &str = "•••";
/// Numbers of fewer digits and texts of fewer bytes are too common to be looked for elsewhere. A Hangul syllable has
/// three bytes: a name of two is looked for.
const TELLING_MIN: usize = 4;
/// The same, within longer texts.
const TELLING_WITHIN_MIN: usize = 6;

/// One saga's personal data.
#[derive(Debug, Default)]
pub struct Personal {
    pointers: Vec<String>,
    secrets: HashSet<String>,
}

impl Personal {
    /// Finds it in an input.
    pub fn of(schema: &Value, input: &Value) -> Self {
        let mut found = Self::default();
        found.look(schema, &mut HashSet::new(), schema, input, &mut String::new());
        found
    }

    /// Counts what was given to a saga after its start, and stood nowhere in its input: nobody has said what of it is
    /// personal.
    pub fn also(&mut self, given: &Value, input: &Value) {
        let (mut later, mut first) = (Self::default(), Self::default());
        later.remember(given);
        first.remember(input);
        self.secrets.extend(later.secrets.difference(&first.secrets).cloned());
    }

    /// The same, and what another saga of the family keeps: it was copied between them.
    pub fn with(mut self, others: &Self) -> Self {
        self.secrets.extend(others.secrets.iter().cloned());
        self
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// Whether a place of the input is, or lies in, one that holds some.
    pub fn covers(&self, pointer: &str) -> bool {
        let within = |its: &String| {
            pointer.strip_prefix(its.as_str()).is_some_and(|it| it.is_empty() || it.starts_with('/'))
        };
        self.pointers.iter().any(within)
    }

    /// How many places of the input hold some.
    pub fn places(&self) -> usize {
        self.pointers.len()
    }

    /// Looks by one schema at one value, once: references may lead in a circle.
    fn look<'s>(
        &mut self,
        root: &'s Value,
        seen: &mut HashSet<(*const Value, String)>,
        schema: &'s Value,
        value: &Value,
        pointer: &mut String,
    ) {
        if !seen.insert((std::ptr::from_ref(schema), pointer.clone())) {
            return;
        }
        if schema.get("personal") == Some(&Value::Bool(true)) {
            if !self.pointers.contains(pointer) {
                self.pointers.push(pointer.clone());
                self.remember(value);
            }
            return;
        }
        let of_the_same = ["allOf", "anyOf", "oneOf"]
            .iter()
            .filter_map(|keyword| schema.get(keyword)?.as_array())
            .flatten()
            .chain(["if", "then", "else"].iter().filter_map(|keyword| schema.get(keyword)))
            .chain(
                schema
                    .get("dependentSchemas")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(|it| it.values()),
            );
        for schema in of_the_same {
            self.look(root, seen, schema, value, pointer);
        }
        // A pointer below a schema with an `$id` of its own counts from that one; none of ours has one.
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
        if let Some(schema) = reference.and_then(|it| root.pointer(it)) {
            self.look(root, seen, schema, value, pointer);
        }
        let length = pointer.len();
        let named = |keyword: &str| schema.get(keyword).and_then(Value::as_object);
        for (name, value) in value.as_object().into_iter().flatten() {
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            let its = named("properties").and_then(|it| it.get(name));
            let patterns = named("patternProperties").into_iter().flatten();
            let patterns = patterns.filter(|(pattern, _)| fits(pattern, name)).map(|(_, schema)| schema);
            let others = schema.get("additionalProperties").filter(|_| its.is_none());
            for schema in its.into_iter().chain(patterns).chain(others) {
                self.look(root, seen, schema, value, pointer);
            }
            pointer.truncate(length);
        }
        let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, value) in value.as_array().into_iter().flatten().enumerate() {
            pointer.push_str(&format!("/{index}"));
            let its = first.get(index).or_else(|| schema.get("items"));
            for schema in its.into_iter().chain(schema.get("contains")) {
                self.look(root, seen, schema, value, pointer);
            }
            pointer.truncate(length);
        }
    }

    fn remember(&mut self, value: &Value) {
        match value {
            Value::String(text) if text.len() >= TELLING_MIN => {
                self.secrets.insert(text.clone());
            }
            Value::Number(number) if number.to_string().len() >= TELLING_MIN => {
                self.secrets.insert(number.to_string());
            }
            Value::Array(items) => items.iter().for_each(|item| self.remember(item)),
            Value::Object(members) => members.values().for_each(|member| self.remember(member)),
            _ => {}
        }
    }

    /// Hides it in the input that it was found in.
    pub fn hide_in_input(&self, input: &mut Value, by: &Value) {
        for pointer in &self.pointers {
            if let Some(value) = input.pointer_mut(pointer) {
                *value = by.clone();
            }
        }
    }

    /// Hides it in words.
    pub fn hide_in_words(&self, words: &mut String) {
        let mut hidden = Value::from(std::mem::take(words));
        self.hide(&mut hidden, &Value::from(MASK));
        *words = hidden.as_str().unwrap_or(MASK).to_owned();
    }

    /// Hides it wherever else it was copied to.
    pub fn hide(&self, value: &mut Value, by: &Value) {
        match value {
            Value::String(text) if self.secrets.contains(text.as_str()) => *value = by.clone(),
            Value::String(text) => {
                let mask = by.as_str().unwrap_or(MASK);
                let told = |it: &&String| it.len() >= TELLING_WITHIN_MIN && text.contains(it.as_str());
                let told: Vec<&String> = self.secrets.iter().filter(told).collect();
                for secret in told {
                    *text = text.replace(secret.as_str(), mask);
                }
            }
            Value::Number(number) if self.secrets.contains(&number.to_string()) => *value = by.clone(),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item, by)),
            Value::Object(members) => members.values_mut().for_each(|member| self.hide(member, by)),
            _ => {}
        }
    }
}

/// Whether a name fits a pattern of JSON Schema; one that cannot be read fits all: hidden too much is better than too little.
fn fits(pattern: &str, name: &str) -> bool {
    let schema = serde_json::json!({ "pattern": pattern });
    jsonschema::validator_for(&schema).map_or(true, |it| it.is_valid(&Value::from(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_marked_is_hidden_where_it_is_and_where_it_was_copied_to() {
        let schema = json!({ "properties": {
            "name": { "personal": true }, "id": {},
            "guests": { "items": { "properties": { "phone": { "personal": true }, "age": {} } } },
        } });
        let mut input =
            json!({ "id": "order-1", "name": "Kim Minsu", "guests": [{ "phone": "010-1234", "age": 41 }] });
        let personal = Personal::of(&schema, &input);
        let by = json!(MASK);
        personal.hide_in_input(&mut input, &by);
        assert_eq!(input, json!({ "id": "order-1", "name": MASK, "guests": [{ "phone": MASK, "age": 41 }] }));
        let mut output = json!({ "sent_to": ["010-1234"], "order": "order-1" });
        personal.hide(&mut output, &by);
        assert_eq!(output, json!({ "sent_to": [MASK], "order": "order-1" }));
        assert!(Personal::of(&json!({}), &input).is_empty());
    }

    #[test]
    fn a_korean_name_is_hidden_also_within_a_text() {
        let schema = json!({ "properties": { "name": { "personal": true } } });
        let personal = Personal::of(&schema, &json!({ "name": "김민수" }));
        let mut output = json!({ "who": "김민수", "greeting": "주문자 김민수 님" });
        personal.hide(&mut output, &json!(MASK));
        assert_eq!(output, json!({ "who": MASK, "greeting": format!("주문자 {MASK} 님") }));
    }

    #[test]
    fn a_mark_below_other_keywords_of_a_schema_counts() {
        let schema = json!({
            "allOf": [{ "properties": { "nick": { "personal": true } } }],
            "anyOf": [{ "properties": { "phone": { "personal": true } } }],
            "properties": { "id": {} },
            "additionalProperties": { "anyOf": [{ "personal": true }] },
        });
        let mut input = json!({ "nick": "mango", "phone": "010-1234", "id": 7, "other": "sesame" });
        let personal = Personal::of(&schema, &input);
        personal.hide_in_input(&mut input, &json!(MASK));
        assert_eq!(input, json!({ "nick": MASK, "phone": MASK, "id": 7, "other": MASK }));
    }

    #[test]
    fn a_mark_behind_a_reference_counts_also_in_a_circle() {
        let schema = json!({
            "$ref": "#/$defs/guest",
            "$defs": { "guest": {
                "allOf": [{ "$ref": "#" }, { "$ref": "#/$defs/guest" }],
                "properties": { "name": { "personal": true }, "friends": { "items": { "$ref": "#/$defs/guest" } } },
                "patternProperties": { "^phone": { "personal": true } },
            } },
        });
        let mut input = json!({ "name": "kim", "age": 7, "friends": [{ "name": "lee", "phone2": "010" }] });
        let personal = Personal::of(&schema, &input);
        assert_eq!(personal.places(), 3);
        personal.hide_in_input(&mut input, &json!(MASK));
        assert_eq!(input, json!({ "name": MASK, "age": 7, "friends": [{ "name": MASK, "phone2": MASK }] }));
    }
}
