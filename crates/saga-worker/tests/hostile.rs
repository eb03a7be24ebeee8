//! Poison among a worker's commands: each is a dead letter or gets an answer, and the good ones go on.
#![allow(clippy::unwrap_used)]

mod common;

use common::Shop;
use saga_bus::{Outgoing, RECORD_BYTES_MAX};
use saga_protocol::{Command, Direction, Headers, Message, Outcome, ReplyTo, Undoes};
use saga_worker::testkit::{Bench, execute};
use serde_json::json;
use uuid::Uuid;

fn good(action: &str) -> Command {
    execute(action, &json!({ "id": Uuid::now_v7(), "amount": 5 }))
}

#[tokio::test]
async fn what_is_no_command_is_a_dead_letter_with_its_reason() {
    let shop = Shop::open().await;
    let bench = Bench::new(shop.worker()).await;
    bench.start();
    let (first, last) = (good("book"), good("pay"));
    bench.send(&[&first]).await;
    let wire = |change: fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(good("book")).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    };
    let bodies: Vec<Vec<u8>> = vec![
        b"\0\xff".to_vec(),
        b"null".to_vec(),
        vec![b'['; 100_000],
        vec![b' '; RECORD_BYTES_MAX - 200],
        wire(|it| it["step"] = json!("Not A Name")),
        wire(|it| it["step"] = json!("\u{0}")),
        wire(|it| it["round"] = json!(0)),
        wire(|it| it["round"] = json!(-1)),
        wire(|it| it["round"] = json!(u64::MAX)),
        wire(|it| it["round"] = json!(u32::MAX)),
        wire(|it| it["item"] = json!(u32::MAX)),
        wire(|it| it["attempt"] = json!(0)),
        wire(|it| it["saga"] = json!("0")),
        wire(|it| it["direction"] = json!("compensate")),
        wire(|it| it["undoes"] = json!({ "round": 1, "succeeded": true })),
        wire(|it| drop(it.as_object_mut().unwrap().remove("input"))),
    ];
    let count = bodies.len();
    let topic = bench.topics.commands("shop", Direction::Execute);
    let records = bodies.into_iter().map(|data| {
        let mut headers = Headers::default();
        headers.push("ce_type", "amends.command");
        headers.push("ce_replyto", "bench.inbox/0");
        let message = Message { key: "k".into(), headers, data: data.into() };
        Outgoing { topic: topic.as_str().into(), partition: Some(0), message }
    });
    bench.publish(records.collect()).await;
    bench.send(&[&last]).await;
    assert_eq!(bench.reply(&first).await.outcome, Outcome::Succeeded);
    assert_eq!(bench.reply(&last).await.outcome, Outcome::Succeeded);
    let dead = bench
        .until("every dead letter", || {
            let dead = bench.dead_letters();
            (dead.len() >= count).then_some(dead)
        })
        .await;
    assert_eq!(dead.len(), count);
    for letter in &dead {
        assert!(!letter.headers.get(saga_protocol::DEAD_REASON).unwrap().is_empty());
    }
    assert_eq!(shop.count("select count(*) from booking").await, 1, "only the good one was executed");
}

#[tokio::test]
async fn a_command_with_impossible_numbers_is_answered_and_does_nothing_wrong() {
    let shop = Shop::open().await;
    let bench = Bench::new(shop.worker()).await;
    bench.start();
    let numbers = [i64::MIN, -1, 0, i64::MAX];
    let mut commands = Vec::new();
    for (n, ms) in numbers.into_iter().enumerate() {
        for action in ["book", "pay"] {
            let mut command = good(action);
            match n % 2 {
                0 => (command.first_sent_at_ms, command.sent_at_ms) = (ms, ms),
                _ => command.expires_at_ms = ms,
            }
            commands.push(command);
            let mut command = good(action);
            (command.first_sent_at_ms, command.expires_at_ms, command.attempt) = (ms, ms, u32::MAX);
            commands.push(command);
        }
        let mut undo = good("unbook");
        undo.direction = Direction::Compensate;
        undo.undoes = Some(Undoes { round: u32::try_from(i32::MAX).unwrap(), succeeded: n % 2 == 0 });
        undo.first_sent_at_ms = ms;
        commands.push(undo);
    }
    let all: Vec<&Command> = commands.iter().collect();
    bench.send(&all).await;
    for command in &commands {
        bench.reply(command).await;
    }
    let last = good("book");
    assert_eq!(bench.ask(&last).await.outcome, Outcome::Succeeded);
}

/// A reply address is the sender's word: one that leads nowhere must not hold the partition.
#[tokio::test]
async fn a_reply_address_that_leads_nowhere_stops_nothing() {
    let shop = Shop::open().await;
    let bench = Bench::new(shop.worker()).await;
    bench.start();
    let topic = bench.topics.commands("shop", Direction::Execute);
    let lost = [
        ReplyTo { topic: "no.such.topic".into(), partition: 0 },
        ReplyTo { topic: bench.topics.inbox(), partition: 77 },
        ReplyTo { topic: "../../\u{0}".into(), partition: i32::MAX },
    ];
    let records = lost.iter().map(|reply_to| Outgoing {
        topic: topic.as_str().into(),
        partition: Some(0),
        message: good("book").encode(reply_to, None),
    });
    bench.publish(records.collect()).await;
    let last = good("book");
    assert_eq!(bench.ask(&last).await.outcome, Outcome::Succeeded);
    bench.until("three dead letters", || (bench.dead_letters().len() == 3).then_some(())).await;
}
