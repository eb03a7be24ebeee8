//! Misspelt keywords of a JSON Schema. The validator takes a word that it does not know for a note of somebody's, so
//! that a misspelt one lets everything in, and a misspelt `personal` masks nothing.
//!
//! Owns where in a schema keywords stand. What they want of a value is the validator's.

use super::diagnostic::{Code, Diagnostics};
use super::fields::distance;
use super::source::{Kind, Node};

/// Keywords with one schema, or a list of schemas.
const OF_SCHEMAS: [&str; 17] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
    "extends",
];

/// Keywords with a schema for each name: the names are the author's.
const BY_NAME: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// The other keywords of draft 2020-12, those of earlier drafts and of OpenAPI that mean something to many readers,
/// and our own two.
const OTHERS: [&str; 51] = [
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "discriminator",
    "disallow",
    "divisibleBy",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "format",
    "formatMaximum",
    "formatMinimum",
    "fresh",
    "id",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "nullable",
    "pattern",
    "personal",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

/// Tells each key at a keyword's place that is probably a known keyword, misspelt.
pub(super) fn misspelt(schema: &Node, told: &mut Diagnostics) {
    let Kind::Map(members) = &schema.kind else { return };
    for (key, node) in members {
        let word = key.text.as_str();
        if OF_SCHEMAS.contains(&word) {
            match &node.kind {
                Kind::List(nodes) => nodes.iter().for_each(|it| misspelt(it, told)),
                _ => misspelt(node, told),
            }
        } else if BY_NAME.contains(&word) {
            if let Kind::Map(named) = &node.kind {
                named.iter().for_each(|(_, it)| misspelt(it, told));
            }
        } else if let Some(meant) = meant(word) {
            // What is published with it goes on; only who publishes is asked.
            told.add_new(
                key.at,
                Code::UnknownKey,
                format!("JSON Schema has no keyword `{word}`"),
                format!("write `{meant}`; a word of your own begins with `x-`"),
            );
        }
    }
}

/// The keyword that was probably meant; none when the word is known, or a word of its own.
fn meant(word: &str) -> Option<&'static str> {
    let known = || OF_SCHEMAS.iter().chain(&BY_NAME).chain(&OTHERS).copied();
    if word.starts_with("x-") || known().any(|it| it == word) {
        return None;
    }
    let nearest =
        known().map(|it| (distance(it, word), it)).filter(|(away, it)| is_near(*away, it, word)).min();
    nearest.map(|(_, it)| it)
}

/// Near `if` and `not` stand words that are no slips, such as `of`, `note` and `unit`; near `type` and `title`, such as
/// `time` and `table`. Of short keywords, less is a slip: one letter, or letters in another order.
fn is_near(away: usize, known: &str, word: &str) -> bool {
    match known.len() {
        ..4 => false,
        4..6 => away == 1 || (away == 2 && letters(known) == letters(word)),
        _ => away <= 2,
    }
}

fn letters(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().collect();
    letters.sort_unstable();
    letters
}
