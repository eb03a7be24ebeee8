//! Poison in every topic that the engine reads, before, while and after sagas run: each record is a dead letter
//! with a reason or is passed over, and the shard goes on.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use saga_bus::{Bus, Outgoing, Pace, RECORD_BYTES_MAX};
use saga_protocol::{Direction, Headers, Message, Outcome, Progress, Reply, SagaId, WorkerRecord};
use serde_json::{Value, json};
use support::{Stage, Travel, rejected, send, succeeded};
use test_support::eventually;
use uuid::Uuid;

const COMPLETED: i16 = 2;

fn record(topic: &str, headers: &[(&str, &[u8])], data: impl Into<bytes::Bytes>) -> Outgoing {
    let mut all = Headers::default();
    for (name, value) in headers {
        all.push((*name).to_owned(), value.to_vec());
    }
    let message = Message { key: "k".into(), headers: all, data: data.into() };
    Outgoing { topic: topic.into(), partition: Some(0), message }
}

/// What is no record of ours, under the type of one.
fn poison(topic: &str, kind: &[u8]) -> Vec<Outgoing> {
    let typed: &[(&str, &[u8])] = &[("ce_type", kind)];
    vec![
        record(topic, &[], &b"\0\xff not json"[..]),
        record(topic, &[("ce_type", &[0, 159, 146, 150])], "{}"),
        record(topic, &[("ce_type", b"\0"), ("\0", b"\0")], "\0"),
        record(topic, typed, Vec::new()),
        record(topic, typed, "{\"saga\": 12}"),
        record(topic, typed, "{\"saga\": \"\\u0000\", \"step\": \"\\u0000\"}"),
        record(topic, typed, "[".repeat(100_000)),
        record(topic, typed, vec![b'9'; RECORD_BYTES_MAX - 100]),
    ]
}

async fn publish(bus: &Arc<dyn Bus>, records: Vec<Outgoing>) {
    for result in bus.publish(records, Pace::Now).await.await {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_in_every_topic_stops_nothing() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let bus: Arc<dyn Bus> = stage.bus.clone();
    let travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let topics = &stage.topics;
    let all = [
        (topics.inbox(), "amends.reply"),
        (topics.saga_events(), "amends.saga-events"),
        (topics.workers(), "amends.worker"),
        (topics.dead_letters(), "amends.command"),
    ];
    let before = node.begin("before").await.unwrap().saga;
    for (topic, kind) in &all {
        publish(&bus, poison(topic, kind.as_bytes())).await;
    }
    let between = node.begin("between").await.unwrap().saga;
    travel.serve(|command| Some(succeeded(command)));
    for (topic, kind) in &all {
        publish(&bus, poison(topic, kind.as_bytes())).await;
    }
    let after = node.begin("after").await.unwrap().saga;
    for saga in [before, between, after] {
        stage.ends(saga, COMPLETED).await;
    }
    let inbox = "select count(*) from dead_letter where source like '%inbox%'";
    eventually("the inbox's poison is kept", 20_000, async || stage.count(inbox).await == 16).await;
    let kept = "select count(*) from dead_letter where source like '%dead-letters%'";
    eventually("what others could not read is kept", 20_000, async || stage.count(kept).await == 16).await;
    let silent = "select count(*) from dead_letter where reason = '' or length(data) > 2 * 1024 * 1024";
    assert_eq!(stage.count(silent).await, 0, "each with its reason, none without bound");
    assert!(!node.shutdown.is_cancelled(), "a task has ended");
    node.engine.health.ready().unwrap();
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_answers_change_nothing() {
    let stage = Stage::new(2).await;
    let node = stage.node("a").await;
    let bus: Arc<dyn Bus> = stage.bus.clone();
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    let forge = |change: &dyn Fn(&mut Reply)| {
        let mut reply = succeeded(&car.0);
        change(&mut reply);
        reply
    };
    let ignored = [
        forge(&|it| it.round = 2),
        forge(&|it| it.round = 0),
        forge(&|it| it.round = u32::MAX),
        forge(&|it| it.direction = Direction::Compensate),
        forge(&|it| it.item = Some(0)),
        forge(&|it| it.item = Some(u32::MAX)),
        forge(&|it| it.step = "room".to_owned().try_into().unwrap()),
        forge(&|it| it.step = "pay".to_owned().try_into().unwrap()),
        forge(&|it| it.step = "nonsense".to_owned().try_into().unwrap()),
        // `retryable` only counts for the newest attempt.
        forge(&|it| (it.outcome, it.attempt) = (Outcome::Retryable, 7)),
    ];
    for reply in &ignored {
        send(&bus, &car.1, reply).await;
    }
    // No saga, and a saga of another shard.
    send(&bus, &car.1, &forge(&|it| it.saga = SagaId(Uuid::now_v7()))).await;
    let mut elsewhere = car.1.clone();
    elsewhere.partition = 1 - elsewhere.partition;
    send(&bus, &elsewhere, &succeeded(&car.0)).await;

    let reasons = "select count(*) from ignored where reason <> ''";
    eventually("each forgery is kept with its reason", 20_000, async || {
        stage.count(reasons).await == i64::try_from(ignored.len()).unwrap()
    })
    .await;
    eventually("so are those of no saga", 20_000, async || {
        stage.count("select count(*) from dead_letter where reason = 'no such saga in this shard'").await == 2
    })
    .await;
    assert_eq!(stage.count("select max(revision)::bigint from history").await, 1, "nothing has changed it");
    // What it truly waits for still counts.
    travel.succeed(&car).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    stage.histories_are_whole().await;
    node.stop().await;
}

/// A worker's word about how far it has come keeps timeouts from firing; a forged one must not do so for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_word_of_a_worker_holds_nothing_up() {
    let stage = Stage::new(1).await;
    let bus: Arc<dyn Bus> = stage.bus.clone();
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let forged = (0..2).flat_map(|partition| {
        [(i64::MIN, i64::MAX), (i64::MIN, i64::MIN), (0, i64::MAX)].map(|(reached_ms, at_ms)| {
            WorkerRecord::Progress(Progress {
                topic: stage.topics.commands("travel", Direction::Execute),
                partition,
                reached_ms,
                at_ms,
            })
            .encode()
        })
    });
    let forged =
        forged.map(|message| Outgoing { topic: stage.topics.workers().into(), partition: Some(0), message });
    publish(&bus, forged.collect()).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let room = travel.expect("book_room").await.0;
    // It has a timeout of 300 ms, and nobody says with right that it is still queued.
    let again = travel.expect("book_room").await;
    assert_eq!((again.0.round, again.0.attempt), (room.round, 2));
    travel.succeed(&again).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_at_the_edges_of_what_is_allowed_end_or_park() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let edges = |n: usize, command: &saga_protocol::Command| -> Reply {
        let mut reply = succeeded(command);
        let raw = |value: &Value| Some(serde_json::value::to_raw_value(value).unwrap());
        match n {
            0 => reply.output = raw(&json!({ "number": "\u{0}".repeat(10_000) })),
            1 => reply.output = raw(&json!({ "number": 1e308 })),
            2 => reply.output = raw(&json!({ "number": { "a": [null, -0.0, u64::MAX] } })),
            3 => reply.output = Some(serde_json::value::RawValue::from_string("1e999".to_owned()).unwrap()),
            4 => reply.output = raw(&Value::String("x".repeat(saga_protocol::OUTPUT_BYTES_MAX * 2))),
            5 => {
                reply = rejected(command, &"\u{0}".repeat(100_000));
                reply.retry_after_ms = Some(u32::MAX);
            }
            6 => {
                reply = Reply::to(command, Outcome::Retryable);
                reply.uncharged = true;
                reply.retry_after_ms = Some(0);
            }
            _ => {
                let nested = format!("{}1{}", "[".repeat(100), "]".repeat(100));
                reply.output = Some(serde_json::value::RawValue::from_string(nested).unwrap());
            }
        }
        reply
    };
    let mut sagas = Vec::new();
    for n in 0..8 {
        sagas.push(node.begin(&format!("trip-{n}")).await.unwrap().saga);
    }
    let known = sagas.clone();
    let tried = parking_lot::Mutex::new(std::collections::HashSet::new());
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(move |command| {
        let first = tried.lock().insert((command.saga, command.step.clone(), command.direction));
        let n = known.iter().position(|it| *it == command.saga).unwrap_or(0);
        Some(if first && command.action == "book_car" { edges(n, command) } else { succeeded(command) })
    });
    for saga in &sagas {
        eventually("it has ended, or says that it needs a human", 30_000, async || {
            stage.status(*saga).await != 0
        })
        .await;
    }
    let last = node.begin("last").await.unwrap().saga;
    stage.ends(last, COMPLETED).await;
    stage.histories_are_whole().await;
    node.stop().await;
}
