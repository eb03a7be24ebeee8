//! The examples of docs/protocol.md are what the wire's types read and write.
#![allow(clippy::unwrap_used)]

use saga_protocol::{Command, Reply, WorkerRecord};
use serde_json::{Deserializer, Value};

/// Every JSON object of the page, with the words before it on its line.
fn examples() -> Vec<(String, Value)> {
    let page = include_str!("../../../docs/protocol.md");
    let starts = page.match_indices("{\"").filter(|(at, _)| {
        let line = page[..*at].rsplit('\n').next().unwrap_or_default();
        line.is_empty() || line.trim_end() == "value"
    });
    let mut examples = Vec::new();
    for (at, _) in starts {
        let value: Value = Deserializer::from_str(&page[at..]).into_iter().next().unwrap().unwrap();
        let line = page[..at].rsplit('\n').next().unwrap_or_default();
        examples.push((line.trim().to_owned(), value));
    }
    examples
}

#[test]
fn the_pages_examples_are_on_the_wire() {
    let (mut commands, mut replies, mut records) = (0, 0, 0);
    for (before, value) in examples() {
        let text = value.to_string();
        // What the type writes again must be what the page says: a misspelt field would be missing.
        let again = if before == "value" {
            commands += 1;
            serde_json::to_value(serde_json::from_str::<Command>(&text).unwrap()).unwrap()
        } else if value.get("kind").is_some() {
            records += 1;
            serde_json::to_value(WorkerRecord::decode(text.as_bytes()).unwrap()).unwrap()
        } else {
            replies += 1;
            serde_json::to_value(serde_json::from_str::<Reply>(&text).unwrap()).unwrap()
        };
        assert_eq!(again, value);
    }
    assert_eq!((commands, replies, records), (2, 3, 2));
}
