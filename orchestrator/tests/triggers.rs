//! Kafka triggers on a real Postgres, in process and on a real Kafka: a record is a saga or a dead letter, once.

#![allow(clippy::unwrap_used)]

mod support;

use amends::api::{Api, ApiConfig};
use saga_bus::{Bus, Event, Kafka, KafkaConfig, Outgoing, Pace, Start, TopicSpec};
use saga_protocol::{Headers, Message, Topics};
use serde_json::{Value, json};
use support::{Node, Stage, Travel, succeeded};
use test_support::{eventually, unique_prefix, until_some};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "shop.orders.placed";
const PARCEL: &str = r#"
saga: parcel
trigger: { kafka: { topic: shop.orders.placed } }
key: ${input.id}
input: { type: object, required: [id], properties: { id: { type: string } } }
steps:
  pack: { worker: travel, action: pack, compensation: none, input: { id: "${input.id}" } }
"#;

async fn place(stage: &Stage, data: &str) {
    write(&*stage.bus, TOPIC, data).await;
}

async fn write(bus: &dyn Bus, topic: &str, data: &str) {
    let message =
        Message { key: "k".into(), headers: Headers::default(), data: data.as_bytes().to_vec().into() };
    let record = Outgoing { topic: topic.into(), partition: Some(0), message };
    let receipt = bus.publish(vec![record], Pace::Now).await.await;
    assert!(receipt.iter().all(Result::is_ok), "{receipt:?}");
}

/// The group has read nothing.
async fn forget(stage: &Stage) {
    let group = format!("t.triggers.{TOPIC}");
    let mut subscription = stage.bus.subscribe(&group, &[TOPIC.to_owned()]).await.unwrap();
    while let Some(event) = subscription.events.recv().await {
        if let Event::Assigned { partitions, start } = event {
            start.send(partitions.iter().map(|it| (it.clone(), Start::Committed)).collect()).unwrap();
            subscription.control.commit(partitions.into_iter().map(|it| (it, 0)).collect()).await.unwrap();
            break;
        }
    }
    subscription.control.leave().await;
}

#[tokio::test]
async fn a_record_is_a_saga_or_a_dead_letter_once() {
    let stage = Stage::new(2).await;
    let node = stage.node("a").await;
    node.engine.publish(PARCEL).await.unwrap();
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    eventually("the topic is read", 20_000, async || stage.bus.partitions(TOPIC).await.is_ok()).await;
    let good = |id: &str| json!({ "id": id }).to_string();
    for data in
        [&good("a"), "no json", r#"{ "no": 1 }"#, "", &good("b"), &good("a"), r#"{ "id": "a", "other": 1 }"#]
    {
        place(&stage, data).await;
    }
    let sagas = "select count(*) from saga s join definition d on d.id = s.definition where d.name = 'parcel' and s.status = 2";
    eventually("both complete", 20_000, async || stage.count(sagas).await == 2).await;
    let letters = "select count(*) from dead_letter";
    eventually("the others are kept", 20_000, async || stage.count(letters).await == 3).await;
    let reasons: Vec<String> = sqlx::query_scalar("select reason from dead_letter order by source")
        .fetch_all(&stage.pool)
        .await
        .unwrap();
    for (reason, expected) in reasons.iter().zip(["no JSON", "does not fit `parcel`", "another body"]) {
        assert!(reason.contains(expected), "{reasons:?}");
    }
    node.stop().await;

    // What was read is read again, and starts nothing twice.
    forget(&stage).await;
    let node = stage.node("b").await;
    place(&stage, &good("c")).await;
    eventually("the new one completes", 20_000, async || stage.count(sagas).await == 3).await;
    assert_eq!(stage.count(letters).await, 3);
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_record_waits_for_an_engine() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    node.engine.publish(PARCEL).await.unwrap();
    eventually("the topic is read", 20_000, async || stage.bus.partitions(TOPIC).await.is_ok()).await;
    node.stop().await;
    place(&stage, r#"{ "id": "late" }"#).await;
    let node = stage.node("b").await;
    let sagas =
        "select count(*) from saga s join definition d on d.id = s.definition where d.name = 'parcel'";
    eventually("it starts", 20_000, async || stage.count(sagas).await == 1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_kafka_records_start_sagas_and_dead_letters_are_sent_again() {
    let stage = Stage::new(2).await;
    let bus = Kafka::connect(KafkaConfig {
        bootstrap: test_support::kafka(),
        client_id: "triggers".to_owned(),
        ..KafkaConfig::default()
    })
    .await
    .unwrap();
    let prefix = unique_prefix("triggers");
    let (topics, topic) = (Topics::new(prefix.clone()), format!("{prefix}-shop.orders"));
    // It is there before anybody serves it, with a record that nobody has read.
    let spec = TopicSpec { name: topic.clone(), partitions: 2, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[spec]).await.unwrap();
    write(&*bus, &topic, r#"{ "id": "early" }"#).await;
    let node = Node::start(&stage.database.url, bus.clone(), &topics, "a").await;
    let parcel = PARCEL.replace(TOPIC, &topic);
    node.engine.publish(&parcel).await.unwrap();
    for data in [r#"{ "id": "a" }"#, r#"{ "id": 7 }"#, r#"{ "id": "b" }"#] {
        write(&*bus, &topic, data).await;
    }
    let keys = async || -> Vec<String> {
        let sql = "select s.key from saga s join definition d on d.id = s.definition where d.name = 'parcel' order by 1";
        sqlx::query_scalar(sql).fetch_all(&stage.pool).await.unwrap()
    };
    eventually("three begin", 60_000, async || keys().await == ["a", "b", "early"]).await;
    eventually("one is kept", 60_000, async || stage.count("select count(*) from dead_letter").await == 1)
        .await;
    node.stop().await;

    // Another process goes on behind what was committed.
    let node = Node::start(&stage.database.url, bus.clone(), &topics, "b").await;
    write(&*bus, &topic, r#"{ "id": "c" }"#).await;
    eventually("the new one begins", 60_000, async || keys().await == ["a", "b", "c", "early"]).await;

    // What was refused is taken once the definition takes it, and it is sent again.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/ops/dead-letters", listener.local_addr().unwrap());
    let closing = CancellationToken::new();
    let serving =
        tokio::spawn(Api::new(node.engine.clone(), ApiConfig::default(), closing.clone()).serve(listener));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let page: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    let letter = page["dead_letters"][0].clone();
    assert_eq!(letter["resendable"], true, "{letter}");
    node.engine
        .publish(&parcel.replace("id: { type: string }", "id: { type: [string, integer] }"))
        .await
        .unwrap();
    let resend = format!("{url}/{}/resend", letter["id"]);
    let sent =
        http.post(&resend).json(&json!({ "why": "the definition takes numbers now" })).send().await.unwrap();
    assert_eq!(sent.status(), 200, "{}", sent.text().await.unwrap());
    let seventh = until_some("the letter's record begins", 60_000, async || {
        let keys = keys().await;
        keys.contains(&"7".to_owned()).then_some(keys)
    })
    .await;
    assert_eq!(seventh, ["7", "a", "b", "c", "early"], "once each");
    let again = http.post(&resend).json(&json!({ "why": "twice" })).send().await.unwrap();
    assert_eq!(again.status(), 409);
    closing.cancel();
    serving.await.unwrap().unwrap();
    node.stop().await;
}
