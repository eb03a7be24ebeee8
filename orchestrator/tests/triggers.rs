//! Kafka triggers on a real Postgres: a record is a saga or a dead letter, once.

#![allow(clippy::unwrap_used)]

mod support;

use saga_bus::{Bus, Event, Outgoing, Pace, Start};
use saga_protocol::{Headers, Message};
use serde_json::json;
use support::{Stage, Travel, succeeded};
use test_support::eventually;

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
    let message =
        Message { key: "k".into(), headers: Headers::default(), data: data.as_bytes().to_vec().into() };
    let record = Outgoing { topic: TOPIC.into(), partition: Some(0), message };
    let receipt = stage.bus.publish(vec![record], Pace::Now).await.await;
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
