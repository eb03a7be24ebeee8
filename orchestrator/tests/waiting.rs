//! What waits without harm: records of a saga whose definition is missing, a start on a node that owns nothing,
//! a command that its worker has not reached yet.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use amends::start::StartRequest;
use parking_lot::Mutex;
use saga_bus::in_process::Faults;
use saga_bus::{Bus, Outgoing, Pace};
use saga_core::What;
use saga_core::event::Signal;
use saga_protocol::{Direction, Progress, SagaId, WorkerRecord};
use serde_json::{Value, json};
use support::{Node, Stage, Travel, succeeded};
use test_support::eventually;

const PARKED: i16 = 1;
const COMPLETED: i16 = 2;

/// One step of a worker that may take a third of a second, three times.
fn hasty(name: &str, worker: &str) -> String {
    format!(
        "
saga: {name}
key: ${{input.id}}
input: {{ type: object, required: [id], properties: {{ id: {{ type: string }} }} }}
steps:
  room:
    worker: {worker}
    action: book_room
    compensation: cancel_room
    input: {{ id: \"${{input.id}}\" }}
    timeout: 300ms
    retry: {{ attempts: 3, initial: 10ms, max: 20ms }}
    on_exhausted: park
"
    )
}

async fn begin(node: &Node, definition: &str, id: &str) -> SagaId {
    let definition = node.engine.definitions.active(definition).unwrap();
    let input = Arc::new(json!({ "id": id }));
    let mut body_hash = [0; 32];
    body_hash[..id.len()].copy_from_slice(id.as_bytes());
    let request = StartRequest {
        definition,
        input,
        body_hash,
        principal: "tester".into(),
        idempotency_key: None,
        replay_of: None,
    };
    node.engine.starter.start(request).await.unwrap().saga
}

#[tokio::test]
async fn a_missing_definitions_sagas_wait_in_the_mailbox_and_go_on_when_it_is_back() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    node.engine.publish(&hasty("lively", "travel")).await.unwrap();
    node.stop().await;
    let sql = async |text: &'static str| {
        sqlx::raw_sql(text).execute(&stage.pool).await.unwrap();
    };
    sql("create table away as select * from definition where name = 'trip';
         delete from active_definition where name = 'trip';
         delete from definition where name = 'trip'")
    .await;
    let node = stage.node("b").await;
    travel.succeed(&car).await;
    let waits = "select count(*) from mailbox where kind = 'record' and taken_at is null";
    eventually("its answer waits, where it can be seen", 10_000, async || stage.count(waits).await == 1)
        .await;
    // Meanwhile the shard goes on for others.
    let other = begin(&node, "lively", "other").await;
    let room = travel.expect_past("book_car", "book_room").await;
    travel.succeed(&room).await;
    stage.ends(other, COMPLETED).await;
    assert_eq!((stage.status(saga).await, stage.count(waits).await), (0, 1), "it neither parks nor gives up");
    assert_eq!(stage.count("select count(*) from dead_letter").await, 0);
    sql("insert into definition (id, name, version, source, published_at) overriding system value
         select id, name, version, source, published_at from away;
         insert into active_definition (name, definition) select name, id from away")
    .await;
    let room = travel.expect_past("book_car", "book_room").await;
    assert_eq!(room.0.saga, saga);
    travel.succeed(&room).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    assert_eq!(stage.count(waits).await, 0);
    assert_eq!(stage.count("select count(*) from mailbox where result = 'applied'").await, 1);
    stage.histories_are_whole().await;
    node.stop().await;
}

/// A step whose answer must come within the saga's deadline.
const DATED: &str = "
saga: dated
key: ${input.id}
deadline: 1s
input: { type: object, required: [id], properties: { id: { type: string } } }
steps:
  room:
    worker: travel
    action: book_room
    compensation: cancel_room
    input: { id: '${input.id}' }
    timeout: 60s
";
/// Waits for somebody's word.
const PATIENT: &str = "
saga: patient
key: ${input.id}
input: { type: object, required: [id], properties: { id: { type: string } } }
steps:
  word: { wait: { signal: go, timeout: 1s } }
";

/// Until so much later than now, by the database's clock and ours.
async fn time_passes(ms: i64) {
    let until = chrono::Utc::now().timestamp_millis() + ms;
    eventually("time passes", 30_000, async || chrono::Utc::now().timestamp_millis() > until).await;
}

#[tokio::test]
async fn a_signal_that_was_accepted_in_time_is_not_late_for_an_outage_of_ours() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    node.engine.publish(PATIENT).await.unwrap();
    let saga = begin(&node, "patient", "one").await;
    let store = node.engine.store.clone();
    node.stop().await;
    // Accepted while nobody owns the shard; its owner comes when the wait is over.
    let signal = Signal { name: "go".into(), payload: None, ttl_ms: 3_600_000 };
    let event = saga_core::Event::new(saga_core::Millis(0), 0, What::Signal(signal));
    store.post(uuid::Uuid::now_v7(), saga, &event, None).await.unwrap();
    time_passes(1_500).await;
    let node = stage.node("b").await;
    eventually("it ends", 20_000, async || stage.status(saga).await > 1).await;
    assert_eq!(stage.status(saga).await, COMPLETED);
    assert_eq!(stage.count("select count(*) from anomaly").await, 0);
    node.stop().await;
}

#[tokio::test]
async fn an_answer_that_waited_for_its_definition_is_not_late() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    node.engine.publish(DATED).await.unwrap();
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = begin(&node, "dated", "one").await;
    let room = travel.expect("book_room").await;
    node.stop().await;
    let sql = async |text: &'static str| {
        sqlx::raw_sql(text).execute(&stage.pool).await.unwrap();
    };
    sql("create table away as select * from definition where name = 'dated';
         delete from active_definition where name = 'dated'; delete from definition where name = 'dated'")
    .await;
    travel.succeed(&room).await;
    let node = stage.node("b").await;
    let waits = "select count(*) from mailbox where kind = 'record' and taken_at is null";
    eventually("its answer waits", 10_000, async || stage.count(waits).await == 1).await;
    time_passes(1_000).await;
    sql("insert into definition (id, name, version, source, published_at) overriding system value
         select id, name, version, source, published_at from away")
    .await;
    eventually("it ends", 30_000, async || stage.status(saga).await > 1).await;
    assert_eq!(stage.status(saga).await, COMPLETED, "its answer came in time");
    node.stop().await;
}

#[tokio::test]
async fn a_start_on_a_node_that_owns_no_shard_is_driven_by_the_owner() {
    const COUNT: usize = 20;
    let stage = Stage::new(1).await;
    let owner = stage.node("owner").await;
    eventually("it owns the shard", 10_000, async || owner.engine.health.shards() == 1).await;
    let other = stage.node("other").await;
    let attempts = Arc::new(Mutex::new(BTreeMap::<(SagaId, String), u32>::new()));
    let seen = Arc::clone(&attempts);
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(move |command| {
        let mut seen = seen.lock();
        let newest = seen.entry((command.saga, command.action.clone())).or_default();
        *newest = command.attempt.max(*newest);
        Some(succeeded(command))
    });
    let starts: Vec<String> = (0..COUNT).map(|n| format!("trip-{n}")).collect();
    let mut sagas = Vec::new();
    for started in futures::future::join_all(starts.iter().map(|id| other.begin(id))).await {
        sagas.push(started.unwrap().saga);
    }
    assert_eq!((owner.engine.health.shards(), other.engine.health.shards()), (1, 0));
    // What was answered with 202 does not need the node that has answered.
    other.kill();
    for saga in sagas {
        stage.ends(saga, COMPLETED).await;
    }
    assert_eq!(attempts.lock().len(), 3 * COUNT);
    eventually("its rows go", 10_000, async || stage.count("select count(*) from outbox").await == 0).await;
    stage.histories_are_whole().await;
    owner.stop().await;
}

#[tokio::test]
async fn a_started_record_that_gets_lost_strands_no_saga() {
    let stage = Stage::new(1).await;
    let owner = stage.node("owner").await;
    eventually("it owns the shard", 10_000, async || owner.engine.health.shards() == 1).await;
    let other = stage.node("other").await;
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    // A log that loses its end has acknowledged what it loses: the first command, and the word to the owner.
    stage.bus.set_faults(Faults { lose: 1.0, ..Faults::default() });
    let saga = other.begin("trip-1").await.unwrap().saga;
    let rows = "select count(*) from outbox";
    assert_eq!(stage.count(rows).await, 1);
    other.stop().await;
    stage.bus.set_faults(Faults::default());
    stage.ends(saga, COMPLETED).await;
    eventually("its rows go", 10_000, async || stage.count(rows).await == 0).await;
    stage.histories_are_whole().await;
    owner.stop().await;
}

/// The saga's state, as it is kept.
async fn state(stage: &Stage, saga: SagaId) -> Value {
    let state: String = sqlx::query_scalar("select state from saga_state where id = $1")
        .bind(saga.0)
        .fetch_one(&stage.pool)
        .await
        .unwrap();
    serde_json::from_str(&state).unwrap()
}

#[tokio::test]
async fn a_command_that_its_worker_has_not_reached_is_queued_and_not_sent_again() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    for (name, worker) in [("queued", "travel"), ("silent", "deaf")] {
        node.engine.publish(&hasty(name, worker)).await.unwrap();
    }
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let topic = stage.topics.commands("travel", Direction::Execute);
    let says = async |reached_ms: i64| {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let records = (0..2).map(|partition| {
            let progress = Progress { topic: topic.clone(), partition, reached_ms, at_ms: now_ms };
            let message = WorkerRecord::Progress(progress).encode();
            Outgoing { topic: stage.topics.workers().into(), partition: None, message }
        });
        for said in stage.bus.publish(records.collect(), Pace::Now).await.await {
            said.unwrap();
        }
        eventually("the engine has heard it", 10_000, async || {
            let reached = |at| node.engine.workers.reached(&topic, at).is_some_and(|it| it.0 == reached_ms);
            reached(0) && reached(1)
        })
        .await;
    };
    // Busy with what came before.
    says(chrono::Utc::now().timestamp_millis() - 60_000).await;
    let queued = begin(&node, "queued", "one").await;
    let command = travel.expect("book_room").await;
    let before = state(&stage, queued).await;
    // A worker that says nothing has plain timeouts: when its budget is spent, the other one's would be, too.
    let silent = begin(&node, "silent", "two").await;
    stage.ends(silent, PARKED).await;
    assert!(travel.commands.try_recv().is_err(), "sent again");
    assert_eq!(state(&stage, queued).await["cells"], before["cells"], "neither charged nor unknown");
    assert_eq!(stage.status(queued).await, 0);
    // It has gone past it without an answer: now the answer is lost, and asked for again.
    says(command.0.sent_at_ms + 1).await;
    let again = travel.expect("book_room").await;
    assert_eq!((again.0.attempt, again.0.round), (2, 1));
    travel.succeed(&again).await;
    stage.ends(queued, COMPLETED).await;
    node.stop().await;
}
