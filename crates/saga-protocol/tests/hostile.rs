//! Whatever arrives is decoded or refused with a reason: decoding never panics, and what it accepts it spells
//! the same way again.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use saga_protocol::{Command, Headers, InboxRecord, Reply, ReplyTo, SagaEvents, WorkerRecord};
use serde_json::{Value, json};

const TYPES: [&str; 6] =
    ["amends.command", "amends.reply", "amends.started", "amends.nudge", "amends.saga-events", "evil"];

/// Values that a parser meets and a programmer does not think of.
fn evil() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just(0u64), Just(u64::MAX), Just(u64::from(u32::MAX)), Just(1 << 31)]
            .prop_map(Value::from),
        prop_oneof![Just(1e308), Just(-0.5), Just(1.0)].prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("\u{0}"), Just("execute"), Just("../../etc"), Just("a\u{202e}b")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn command() -> Value {
    json!({
        "saga": "019aa000-0000-7000-8000-000000000001", "definition": "trip", "step": "pay", "item": 3,
        "direction": "compensate", "round": 1, "attempt": 2, "action": "refund",
        "undoes": { "round": 1, "succeeded": true }, "first_sent_at_ms": 1, "sent_at_ms": 2, "expires_at_ms": 3,
        "input": { "amount": 1 }, "output": null
    })
}

fn reply() -> Value {
    json!({
        "saga": "019aa000-0000-7000-8000-000000000001", "step": "pay", "direction": "execute", "round": 1,
        "attempt": 2, "outcome": "rejected", "output": { "a": [1, 2] }, "error": { "code": "no", "message": "no" },
        "uncharged": true, "retry_after_ms": 5
    })
}

/// A good document with one field replaced, removed or added; or cut short; or no document at all.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let changed = (any::<bool>(), any::<prop::sample::Index>(), prop::option::of(evil())).prop_map(
        |(is_command, field, evil)| {
            let mut document = if is_command { command() } else { reply() };
            let object = document.as_object_mut().unwrap();
            let name = object.keys().nth(field.index(object.len())).unwrap().clone();
            match evil {
                Some(evil) => drop(object.insert(name, evil)),
                None => drop(object.remove(&name)),
            }
            document.to_string().into_bytes()
        },
    );
    let cut = (any::<bool>(), any::<prop::sample::Index>()).prop_map(|(is_command, at)| {
        let text = if is_command { command() } else { reply() }.to_string();
        text.as_bytes()[..at.index(text.len())].to_vec()
    });
    prop_oneof![
        6 => changed,
        1 => cut,
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => evil().prop_map(|it| it.to_string().into_bytes()),
        1 => (1usize..2_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    let value = prop_oneof![
        4 => prop::sample::select(&TYPES[..]).prop_map(|it| it.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    let reply_to =
        prop_oneof![Just("t/0".to_owned()), ".{0,8}", Just("t/-1".to_owned()), Just("/9".to_owned())];
    (value, prop::option::of(reply_to)).prop_map(|(kind, reply_to)| {
        let mut headers = Headers::default();
        headers.push("ce_type", kind);
        if let Some(reply_to) = reply_to {
            headers.push("ce_replyto", reply_to);
        }
        headers
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn decoding_never_panics_and_keeps_what_it_accepts(headers in headers(), data in data()) {
        if let Ok((command, reply_to)) = Command::decode(&headers, &data) {
            let message = command.encode(&reply_to, None);
            let (again, to) = Command::decode(&message.headers, &message.data).unwrap();
            prop_assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&command).unwrap());
            prop_assert_eq!(to, reply_to);
        }
        match InboxRecord::decode(&headers, &data) {
            Ok(InboxRecord::Reply(reply)) => {
                let message = reply.encode("w", i64::MIN, None);
                let again = Reply::decode(&message.headers, &message.data).unwrap();
                prop_assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&reply).unwrap());
            }
            Ok(InboxRecord::Started(_) | InboxRecord::Nudge(_)) => {}
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        let _ = WorkerRecord::decode(&data);
        let _ = SagaEvents::decode(&data);
        let _ = std::str::from_utf8(&data).map(str::parse::<ReplyTo>);
    }
}

#[test]
fn the_documents_that_are_damaged_are_good_ones() {
    let mut headers = Headers::default();
    headers.push("ce_type", "amends.command");
    headers.push("ce_replyto", "t/0");
    Command::decode(&headers, command().to_string().as_bytes()).unwrap();
    let mut headers = Headers::default();
    headers.push("ce_type", "amends.reply");
    Reply::decode(&headers, reply().to_string().as_bytes()).unwrap();
}
