//! The whole worker on a real Apache Kafka and a real Postgres: crashed in the middle, gone on with
//! by two instances, in both directions and both kinds.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::Shop;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use saga_bus::kafka::{Kafka, KafkaConfig};
use saga_bus::{Bus, From, Outgoing, Pace, Tail, TopicSpec};
use saga_protocol::{Command, Outcome, Reply, ReplyTo, Topics, WorkerRecord};
use saga_worker::testkit::{compensate, execute};
use saga_worker::{CancellationToken, Tuning, WorkerError};
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

const EACH: usize = 200;

async fn bus() -> Arc<dyn Bus> {
    let config = KafkaConfig { bootstrap: test_support::kafka(), ..KafkaConfig::default() };
    Kafka::connect(config).await.unwrap()
}

/// An instance with a Kafka client of its own, as a process has.
async fn start(shop: &Shop, topics: &Topics) -> (JoinHandle<Result<(), WorkerError>>, CancellationToken) {
    let shutdown = CancellationToken::new();
    let tuning = Tuning { progress_ms: 100, ..Tuning::default() };
    let worker = shop.worker().with_tuning(tuning);
    (tokio::spawn(worker.run(bus().await, topics.clone(), shutdown.clone())), shutdown)
}

async fn send(bus: &dyn Bus, topics: &Topics, commands: &[Command]) {
    let reply_to = ReplyTo { topic: topics.inbox(), partition: 0 };
    let records = commands.iter().map(|command| Outgoing {
        topic: topics.commands("shop", command.direction).into(),
        partition: None,
        message: command.encode(&reply_to, None),
    });
    for result in bus.publish(records.collect(), Pace::Batch).await.await {
        result.unwrap();
    }
}

/// Reads replies until each command has one; fails when two contradict each other.
async fn answers(tail: &mut Tail, seen: &mut HashMap<String, Outcome>, commands: &[Command]) {
    let missing = |seen: &HashMap<String, Outcome>| {
        commands.iter().any(|command| !seen.contains_key(&command.effect_key().to_string()))
    };
    while missing(seen) {
        let next = tokio::time::timeout(Duration::from_secs(60), tail.records.recv()).await;
        for record in next.expect("replies keep coming").expect("the bus is open") {
            let reply = Reply::decode(&record.headers, record.data.as_deref().unwrap()).unwrap();
            let outcome = reply.outcome;
            let before = seen.insert(reply.effect_key().to_string(), outcome);
            assert!(before.is_none_or(|before| before == outcome), "two answers to one effect: {reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_on_kafka_loses_and_doubles_nothing() {
    let shop = Shop::open().await;
    let topics = Topics::new(test_support::unique_prefix("worker"));
    let bus = bus().await;
    let inbox = TopicSpec { name: topics.inbox(), partitions: 1, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[inbox]).await.unwrap();
    let mut tail = bus.tail(&topics.inbox(), From::Earliest).await.unwrap();
    let mut seen = HashMap::new();

    let commands = |action: &str| -> Vec<Command> {
        (0..EACH).map(|_| execute(action, &json!({ "id": Uuid::now_v7(), "amount": 1 }))).collect()
    };
    let (bookings, payments) = (commands("book"), commands("pay"));
    let (first, _) = start(&shop, &topics).await;
    topics_exist(&*bus, &topics).await;
    send(&*bus, &topics, &bookings).await;
    send(&*bus, &topics, &payments).await;
    // Somewhere in the middle: some are committed, few of them acknowledged.
    answers(&mut tail, &mut seen, &bookings[..1]).await;
    first.abort();
    let _ = first.await;

    let (second, stop_second) = start(&shop, &topics).await;
    let (third, stop_third) = start(&shop, &topics).await;
    answers(&mut tail, &mut seen, &bookings).await;
    answers(&mut tail, &mut seen, &payments).await;
    assert_eq!(shop.count("select count(*) from booking").await, i64::try_from(EACH).unwrap());
    assert_eq!(shop.count("select count(*) from settled").await, i64::try_from(EACH).unwrap());

    let undo = |commands: &[Command], name: &str| -> Vec<Command> {
        commands.iter().step_by(2).map(|command| compensate(command, name, true)).collect()
    };
    let undone = [undo(&bookings, "unbook"), undo(&payments, "refund")].concat();
    send(&*bus, &topics, &undone).await;
    answers(&mut tail, &mut seen, &undone).await;
    assert!(seen.values().all(|outcome| *outcome == Outcome::Succeeded));
    assert_eq!(shop.count("select count(*) from booking").await, i64::try_from(EACH / 2).unwrap());
    let standing: i64 = payments
        .iter()
        .map(|command| {
            let input: serde_json::Value = serde_json::from_str(command.input.get()).unwrap();
            shop.provider.standing(input["id"].as_str().unwrap().parse().unwrap())
        })
        .sum();
    assert_eq!(standing, i64::try_from(EACH / 2).unwrap());

    for (task, stop) in [(second, stop_second), (third, stop_third)] {
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}

/// Commands can be published once the worker has made its topics.
async fn topics_exist(bus: &dyn Bus, topics: &Topics) {
    test_support::eventually("the command topics", 30_000, async || {
        let mut there = true;
        for direction in [saga_worker::Direction::Execute, saga_worker::Direction::Compensate] {
            there &= bus.partitions(&topics.commands("shop", direction)).await.is_ok();
        }
        there
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_restart_on_kafka_moves_progress_on_also_after_the_topic_was_made_again() {
    let shop = Shop::open().await;
    let topics = Topics::new(test_support::unique_prefix("worker"));
    let bus = bus().await;
    let inbox = TopicSpec { name: topics.inbox(), partitions: 1, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[inbox]).await.unwrap();
    let mut tail = bus.tail(&topics.inbox(), From::Earliest).await.unwrap();
    let mut seen = HashMap::new();
    let bookings = || -> Vec<Command> {
        (0..20).map(|_| execute("book", &json!({ "id": Uuid::now_v7(), "amount": 1 }))).collect()
    };
    let (first, stop_first) = start(&shop, &topics).await;
    topics_exist(&*bus, &topics).await;
    let mut said = bus.tail(&topics.workers(), From::Earliest).await.unwrap();
    let done = bookings();
    send(&*bus, &topics, &done).await;
    answers(&mut tail, &mut seen, &done).await;
    stop_first.cancel();
    first.await.unwrap().unwrap();

    let (second, stop_second) = start(&shop, &topics).await;
    claims_move_on(&mut said, &topics).await;

    let executes = topics.commands("shop", saga_worker::Direction::Execute);
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", test_support::kafka()).create().unwrap();
    for result in admin.delete_topics(&[&executes], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    test_support::eventually("the topic is gone", 20_000, async || bus.partitions(&executes).await.is_err())
        .await;
    let again =
        TopicSpec { name: executes.clone(), partitions: 4, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[again]).await.unwrap();
    let more = bookings();
    send(&*bus, &topics, &more).await;
    answers(&mut tail, &mut seen, &more).await;
    claims_move_on(&mut said, &topics).await;
    assert_eq!(shop.count("select count(*) from booking").await, 40);
    stop_second.cancel();
    second.await.unwrap().unwrap();
}

/// Waits until every partition of both command topics claims an instant after this was called.
async fn claims_move_on(said: &mut Tail, topics: &Topics) {
    let since_ms = saga_worker::Clock::now_ms(&saga_worker::SystemClock);
    let mine = [saga_worker::Direction::Execute, saga_worker::Direction::Compensate]
        .map(|direction| topics.commands("shop", direction));
    let mut moved = std::collections::BTreeSet::new();
    while moved.len() < 8 {
        let next = tokio::time::timeout(Duration::from_secs(60), said.records.recv()).await;
        for record in next.expect("claims keep coming").expect("the bus is open") {
            let record = WorkerRecord::decode(record.data.as_deref().unwrap()).unwrap();
            if let WorkerRecord::Progress(it) = record
                && mine.contains(&it.topic)
                && it.reached_ms > since_ms
            {
                moved.insert((it.topic, it.partition));
            }
        }
    }
}
