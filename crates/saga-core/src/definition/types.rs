//! What is known of a value before any saga runs: of which kinds it can be, and which schemas hold for it.
//!
//! Owns how far JSON Schema is understood. Every keyword that is read here only ever takes values away, and what is
//! not read takes none away: a type never excludes a value that the schema lets in.

use std::fmt;
use std::rc::Rc;

use serde_json::Value;

/// The most schemas that are followed for one value.
const SCHEMAS_MAX: usize = 32;
/// The most parts of schemas that are searched for marks.
const MARKS_MAX: usize = 10_000;

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOL: Self = Self(2);
    pub(super) const WHOLE: Self = Self(4);
    pub(super) const FRACTION: Self = Self(64);
    pub(super) const NUMBER: Self = Self::WHOLE.or(Self::FRACTION);
    pub(super) const TEXT: Self = Self(8);
    pub(super) const LIST: Self = Self(16);
    pub(super) const OBJECT: Self = Self(32);
    pub(super) const ANY: Self = Self(127);
    const NONE: Self = Self(0);

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether some kind is in both.
    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Number(number) if number.is_f64() => Self::FRACTION,
            Value::Number(_) => Self::WHOLE,
            Value::String(_) => Self::TEXT,
            Value::Array(_) => Self::LIST,
            Value::Object(_) => Self::OBJECT,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOL,
            // One that is written `1.0` is let in as well, and is nothing to rely on.
            "integer" => Self::WHOLE,
            "number" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::LIST,
            "object" => Self::OBJECT,
            _ => Self::ANY,
        }
    }

    /// The same where it does not matter which kind of number it is: numbers are compared by their value.
    pub(super) const fn by_value(self) -> Self {
        if self.meets(Self::NUMBER) { self.or(Self::NUMBER) } else { self }
    }

    /// Without the others.
    pub(super) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    fn any_of(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::NONE, Self::or)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (Self::BOOL, "a boolean"),
            (Self::NUMBER, "a number"),
            (Self::TEXT, "a string"),
            (Self::LIST, "a list"),
            (Self::OBJECT, "an object"),
            (Self::NULL, "null"),
        ];
        let words: Vec<&str> =
            words.iter().filter(|(kind, _)| self.meets(*kind)).map(|(_, word)| *word).collect();
        f.write_str(&words.join(" or "))
    }
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub(super) struct Type<'s> {
    kinds: Kinds,
    inside: Inside<'s>,
}

#[derive(Clone, Debug)]
enum Inside<'s> {
    Unknown,
    /// All of these hold for it. References within them count from the root.
    Schemas {
        all: Rc<[&'s Value]>,
        root: &'s Value,
    },
    /// It was made as a list of such elements.
    Elements(Rc<Type<'s>>),
}

impl<'s> Type<'s> {
    /// Nothing is known.
    pub(super) const ANY: Self = Self { kinds: Kinds::ANY, inside: Inside::Unknown };

    /// It is of one of these kinds.
    pub(super) const fn kind(kinds: Kinds) -> Self {
        Self { kinds, inside: Inside::Unknown }
    }

    /// A list of such elements.
    pub(super) fn list_of(element: Self) -> Self {
        Self { kinds: Kinds::LIST, inside: Inside::Elements(Rc::new(element)) }
    }

    /// What fits a whole schema.
    pub(super) fn schema(root: &'s Value) -> Self {
        Self::all_of(root, [root]).unwrap_or(Self::ANY)
    }

    /// What fits all of these schemas; nothing if one of them lets nothing in.
    fn all_of(root: &'s Value, schemas: impl IntoIterator<Item = &'s Value>) -> Option<Self> {
        let mut all = Vec::new();
        schemas.into_iter().for_each(|it| gather(it, root, &mut all));
        if all.iter().any(|it| matches!(it, Value::Bool(false))) {
            return None;
        }
        let kinds = all.iter().fold(Kinds::ANY, |kinds, it| kinds.and(kinds_of(it)));
        // Schemas that contradict each other are none of an expression's business.
        let kinds = if kinds == Kinds::NONE { Kinds::ANY } else { kinds };
        Some(Self { kinds, inside: Inside::Schemas { all: all.into(), root } })
    }

    pub(super) const fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Whether it is known to be null at times, and not at others.
    pub(super) fn may_be_null(&self) -> bool {
        self.kinds != Kinds::ANY && self.kinds != Kinds::NULL && self.kinds.meets(Kinds::NULL)
    }

    /// The same where it is not null.
    pub(super) fn not_null(mut self) -> Self {
        let kinds = self.kinds.without(Kinds::NULL);
        self.kinds = if kinds == Kinds::NONE { self.kinds } else { kinds };
        self
    }

    /// Whether a member is named by its schemas, and none of them asks for it: it may be missing. Where members may be
    /// asked for in other ways, nothing is known.
    pub(super) fn may_lack(&self, name: &str) -> bool {
        const OTHERS: [&str; 9] = [
            "anyOf",
            "oneOf",
            "if",
            "not",
            "dependentRequired",
            "dependentSchemas",
            "minProperties",
            "const",
            "enum",
        ];
        let Inside::Schemas { all, .. } = &self.inside else { return false };
        let asks = |schema: &&Value| {
            let required = schema.get("required").and_then(Value::as_array);
            required.is_some_and(|it| it.iter().any(|it| it == name))
                || OTHERS.iter().any(|key| schema.get(key).is_some())
        };
        self.members().contains(&name) && !all.iter().any(asks)
    }

    /// The members that it cannot be without.
    pub(super) fn required(&self) -> Vec<&'s str> {
        let Inside::Schemas { all, .. } = &self.inside else { return Vec::new() };
        let lists = all.iter().filter_map(|it| it.get("required")?.as_array());
        lists.flatten().filter_map(Value::as_str).collect()
    }

    /// What is one of both.
    pub(super) fn or(self, other: Self) -> Self {
        Self::kind(self.kinds.or(other.kinds))
    }

    /// The member of that name, if the value is an object; nothing if it can have none.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        let Inside::Schemas { all, root } = &self.inside else { return Some(Self::ANY) };
        let mut found = Vec::new();
        for schema in all.iter() {
            let patterns = schema.get("patternProperties").is_some();
            match (schema.get("properties").and_then(|it| it.get(name)), schema.get("additionalProperties")) {
                (Some(its), _) => found.push(its),
                (None, Some(others)) if !patterns => found.push(others),
                _ => {}
            }
        }
        Self::all_of(root, found)
    }

    /// The element at a place, or at any, if the value is a list; nothing if it can have none there.
    pub(super) fn element(&self, at: Option<usize>) -> Option<Self> {
        let (all, root) = match &self.inside {
            Inside::Unknown => return Some(Self::ANY),
            Inside::Elements(element) => return Some(Type::clone(element)),
            Inside::Schemas { all, root } => (all, root),
        };
        let mut found = Vec::new();
        for schema in all.iter() {
            let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let longest = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
            if at.is_some_and(|at| at as u64 >= longest) {
                return None;
            }
            match at.and_then(|at| first.get(at)) {
                Some(its) => found.push(its),
                // One that may be among the first ones is not only what `items` says.
                None if at.is_some() || first.is_empty() => found.extend(schema.get("items")),
                None => {}
            }
        }
        Self::all_of(root, found)
    }

    /// Whether its schemas let in a list that has an element at a place. Where lists may be bounded in other ways,
    /// nothing is known.
    pub(super) fn may_reach(&self, at: usize) -> bool {
        const OTHERS: [&str; 10] = [
            "anyOf",
            "oneOf",
            "if",
            "not",
            "const",
            "enum",
            "$dynamicRef",
            "unevaluatedItems",
            "contains",
            "uniqueItems",
        ];
        let Inside::Schemas { all, root } = &self.inside else { return false };
        let unclear = |schema: &&Value| {
            let lost = schema.get("$ref").is_some() && target(schema, root).is_none();
            lost || OTHERS.iter().any(|key| schema.get(key).is_some())
        };
        self.kinds == Kinds::LIST && !all.iter().any(unclear) && self.element(Some(at)).is_some()
    }

    /// Whether a schema's `enum` or `const` leaves room for this text.
    pub(super) fn admits(&self, text: &str) -> bool {
        let Inside::Schemas { all, .. } = &self.inside else { return true };
        all.iter().all(|schema| {
            let listed = schema.get("enum").and_then(Value::as_array);
            listed.is_none_or(|it| it.iter().any(|it| it == text))
                && schema.get("const").is_none_or(|it| it == text)
        })
    }

    /// Whether a schema marks it `personal: true`.
    pub(super) fn personal(&self) -> bool {
        let Inside::Schemas { all, .. } = &self.inside else { return false };
        all.iter().any(|schema| schema.get("personal") == Some(&Value::Bool(true)))
    }

    /// Whether it, or anything that its schemas name within it, is marked so.
    pub(super) fn holds_personal(&self) -> bool {
        let (all, root) = match &self.inside {
            Inside::Unknown => return false,
            Inside::Elements(element) => return element.holds_personal(),
            Inside::Schemas { all, root } => (all, root),
        };
        let mut seen = Vec::new();
        all.iter().any(|schema| marks(schema, root, &mut seen))
    }

    /// The members that its schemas name.
    pub(super) fn members(&self) -> Vec<&'s str> {
        let Inside::Schemas { all, .. } = &self.inside else { return Vec::new() };
        let named = all.iter().filter_map(|it| it.get("properties")?.as_object());
        named.flat_map(|it| it.keys().map(String::as_str)).collect()
    }
}

/// A schema and all that hold with it.
fn gather<'s>(schema: &'s Value, root: &'s Value, all: &mut Vec<&'s Value>) {
    if all.len() >= SCHEMAS_MAX || all.iter().any(|it| std::ptr::eq(*it, schema)) {
        return;
    }
    all.push(schema);
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        parts.iter().for_each(|it| gather(it, root, all));
    }
    if let Some(target) = target(schema, root) {
        gather(target, root, all);
    }
}

/// What a schema refers to, as far as that is followed.
fn target<'s>(schema: &Value, root: &'s Value) -> Option<&'s Value> {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
    // A pointer below a schema with an `$id` counts from that one: such roots are not followed into.
    root.pointer(pointer.filter(|it| !it.contains('%') && !has_id(root))?)
}

/// Whether a schema, or one within it or that it refers to, has the mark.
fn marks<'s>(schema: &'s Value, root: &'s Value, seen: &mut Vec<&'s Value>) -> bool {
    if seen.len() >= MARKS_MAX || seen.iter().any(|it| std::ptr::eq(*it, schema)) {
        return false;
    }
    seen.push(schema);
    match schema {
        Value::Object(members) => {
            let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
            members.get("personal") == Some(&Value::Bool(true))
                || pointer.and_then(|it| root.pointer(it)).is_some_and(|it| marks(it, root, seen))
                || members.iter().any(|(key, it)| key != "$defs" && marks(it, root, seen))
        }
        Value::Array(all) => all.iter().any(|it| marks(it, root, seen)),
        _ => false,
    }
}

fn has_id(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.contains_key("$id") || members.values().any(has_id),
        Value::Array(values) => values.iter().any(has_id),
        _ => false,
    }
}

fn kinds_of(schema: &Value) -> Kinds {
    let by_type = match schema.get("type") {
        Some(Value::String(name)) => Kinds::named(name),
        Some(Value::Array(names)) => {
            Kinds::any_of(names.iter().map(|it| it.as_str().map_or(Kinds::ANY, Kinds::named)))
        }
        _ => Kinds::ANY,
    };
    let listed = schema.get("enum").and_then(Value::as_array);
    // As with `integer`, one of them that comes as `1.0` is nothing to rely on.
    let of = |value| if Kinds::of(value) == Kinds::FRACTION { Kinds::NUMBER } else { Kinds::of(value) };
    let by_enum = listed.map_or(Kinds::ANY, |it| Kinds::any_of(it.iter().map(of)));
    by_type.and(by_enum).and(schema.get("const").map_or(Kinds::ANY, of))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_says_what_can_be_inside() {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "who": { "$ref": "#/$defs/who" },
                "items": { "type": "array", "maxItems": 2, "items": { "type": "integer" } },
                "pair": { "prefixItems": [{ "type": "string" }], "items": false },
                "gone": false,
                "kind": { "enum": ["gift", "plain", null] },
            },
            "$defs": { "who": { "allOf": [{ "type": ["object", "null"] }, { "properties": { "name": { "type": "string" } } }] } },
        });
        let input = Type::schema(&schema);
        assert_eq!(input.kinds(), Kinds::OBJECT);
        let who = input.member("who").unwrap();
        assert_eq!(who.kinds().to_string(), "an object or null");
        assert_eq!(who.member("name").unwrap().kinds(), Kinds::TEXT);
        assert_eq!(who.member("age").unwrap().kinds(), Kinds::ANY, "it is open");
        assert!(input.member("whom").is_none() && input.member("gone").is_none());
        let items = input.member("items").unwrap();
        assert_eq!(items.element(None).unwrap().kinds(), Kinds::WHOLE);
        assert!(items.element(Some(1)).is_some() && items.element(Some(2)).is_none());
        let pair = input.member("pair").unwrap();
        assert_eq!(pair.element(Some(0)).unwrap().kinds(), Kinds::TEXT);
        assert!(pair.element(Some(1)).is_none() && pair.element(None).is_some());
        let kind = input.member("kind").unwrap();
        assert!(kind.kinds() == Kinds::TEXT.or(Kinds::NULL) && kind.admits("gift") && !kind.admits("gfit"));
    }

    #[test]
    fn what_is_not_understood_excludes_nothing() {
        for schema in [
            json!(true),
            json!({ "patternProperties": { "^x": { "type": "string" } }, "additionalProperties": false }),
            json!({ "anyOf": [{ "type": "string" }, { "required": ["x"] }] }),
            json!({ "$ref": "#" }),
            json!({ "$id": "https://e.x/a", "$ref": "#/$defs/a", "$defs": { "a": { "type": "string" } } }),
            json!({ "$ref": "#/$defs/none" }),
            json!({ "type": "soup" }),
            json!({ "allOf": [{ "type": "string" }, { "type": "number" }] }),
            json!({ "unevaluatedProperties": false }),
        ] {
            let input = Type::schema(&schema);
            assert_eq!(input.kinds(), Kinds::ANY, "{schema}");
            assert_eq!(input.member("x").unwrap().kinds(), Kinds::ANY, "{schema}");
            assert_eq!(input.element(Some(7)).unwrap().kinds(), Kinds::ANY, "{schema}");
        }
    }
}
