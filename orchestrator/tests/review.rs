//! What only shows when things come together badly: rows that nobody publishes, keys that are won and lost
//! in one group, mail that is read twice, timers that cannot be applied.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use amends::start::{StartError, StartRequest, Started};
use saga_bus::in_process::Faults;
use saga_bus::{
    Bus, BusError, From, InProcess, LogId, Outgoing, Pace, Receipt, Subscription, Tail, TopicPartition,
    TopicSpec, Watermarks,
};
use saga_core::event::Signal;
use saga_core::{Event, What};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use support::{Node, Stage, Travel, succeeded};
use test_support::eventually;
use uuid::Uuid;

const PARKED: i16 = 1;
const COMPLETED: i16 = 2;

/// The same signal is waited for twice.
const GATE: &str = r#"
saga: gate
description: Waits for two signals of one name.
key: ${input.id}
input:
  type: object
  required: [id]
  properties: { id: { type: string } }
steps:
  first: { wait: { signal: go, timeout: 1h } }
  second: { after: [first], wait: { signal: go, timeout: 1h } }
"#;

/// Begins without a command.
const NAP: &str = r#"
saga: nap
description: Sleeps.
key: ${input.id}
input:
  type: object
  required: [id]
  properties: { id: { type: string } }
steps:
  sleep: { wait: { for: 100ms } }
"#;

async fn begin(
    node: &Node,
    definition: &str,
    input: Value,
    request: Option<&str>,
) -> Result<Started, StartError> {
    let definition = node.engine.definitions.active(definition).unwrap();
    node.engine
        .starter
        .start(StartRequest {
            definition,
            input: Arc::new(input),
            body_hash: [7; 32],
            principal: "tester".into(),
            idempotency_key: request.map(str::to_owned),
            replay_of: None,
        })
        .await
}

fn go() -> Event {
    let signal = Signal { name: "go".into(), payload: None, ttl_ms: 3_600_000 };
    Event::new(saga_core::Millis(0), 0, What::Signal(signal))
}

#[tokio::test]
async fn a_swept_row_is_published_although_nothing_else_is_to_be_written() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    stage.bus.set_faults(Faults { fail_publish: 1.0, ..Faults::default() });
    let saga = node.begin("trip-1").await.unwrap().saga;
    stage.bus.set_faults(Faults::default());
    // Well before its timeout of 30 s, and as the first attempt.
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let car = travel.expect("book_car").await;
    assert_eq!(car.0.attempt, 1);
    travel.succeed(&car).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    node.stop().await;
}

#[tokio::test]
async fn who_lost_a_key_to_a_loser_is_started_and_not_only_said_to_be() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let taken = node.begin("trip-9").await.unwrap().saga;
    let start = |id: &str, request| begin(&node, "trip", json!({ "id": id }), request);
    // One group: the second loses `k` to the first, which loses `trip-9` to an older saga.
    let (_, first, second) =
        tokio::join!(start("trip-1", None), start("trip-9", Some("k")), start("trip-7", Some("k")));
    assert_eq!(first, Err(StartError::KeyReused { saga: taken }));
    let second = second.unwrap();
    assert!(second.fresh);
    let there: i64 =
        sqlx::query_scalar("select count(*) from saga s join saga_state t on t.id = s.id where s.id = $1")
            .bind(second.saga.0)
            .fetch_one(&stage.pool)
            .await
            .unwrap();
    assert_eq!(there, 1, "a 202 means durable");
    let owner: Uuid = sqlx::query_scalar("select saga_id from start_key where key = 'k'")
        .fetch_one(&stage.pool)
        .await
        .unwrap();
    assert_eq!(owner, second.saga.0);
    node.stop().await;
}

#[tokio::test]
async fn a_storm_of_one_key_is_one_saga_and_one_question() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    // More than would fit on a stack, level by level; the first group may be one alone.
    let storm = (0..1_500).map(|_| begin(&node, "trip", json!({ "id": "trip-1" }), Some("k")));
    let answers: Vec<Started> =
        futures::future::join_all(storm).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|it| it.fresh).count(), 1);
    assert!(answers.iter().all(|it| it.saga == answers[0].saga));
    assert_eq!(stage.count("select count(*) from saga").await, 1);
    node.stop().await;
}

#[tokio::test]
async fn a_taken_key_is_found_and_given_back_by_the_index() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let first = node.begin("trip-1").await.unwrap();
    let count = async |column: &'static str| {
        let sql =
            format!("select coalesce({column}, 0) from pg_stat_user_tables where relname = 'start_key'");
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.pool).await.unwrap()
    };
    eventually("the insertion is counted", 20_000, async || count("n_tup_ins").await == 1).await;
    let before = count("seq_scan").await;
    let again = begin(&node, "trip", json!({ "id": "trip-1" }), Some("k")).await;
    assert_eq!(again, Err(StartError::KeyReused { saga: first.saga }));
    // Another node takes a key at the same time: whoever comes second gives back what it got.
    let mut elsewhere = stage.pool.begin().await.unwrap();
    let winner = Uuid::now_v7();
    sqlx::query("insert into start_key values ('key:trip', 'trip-2', $1, '\\x00', 'tester')")
        .bind(winner)
        .execute(&mut *elsewhere)
        .await
        .unwrap();
    let late = async {
        eventually("the start waits for it", 20_000, async || {
            stage
                .count("select count(*) from pg_locks where not granted and locktype = 'transactionid'")
                .await
                > 0
        })
        .await;
        elsewhere.commit().await.unwrap();
    };
    let (lost, ()) = tokio::join!(begin(&node, "trip", json!({ "id": "trip-2" }), Some("k")), late);
    assert_eq!(lost, Err(StartError::KeyReused { saga: SagaId(winner) }));
    eventually("the deletion is counted", 20_000, async || count("n_tup_del").await == 1).await;
    assert_eq!(
        count("seq_scan").await,
        before,
        "keys outlive everything; scanning them would stop all starts"
    );
    node.stop().await;
}

#[tokio::test]
async fn a_key_too_long_for_its_index_is_refused_alone() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let long: String = (0..600).map(|n| format!("{:08x}", 2_654_435_761_u32.wrapping_mul(n))).collect();
    let (good, bad) = tokio::join!(node.begin("trip-1"), node.begin(&long));
    assert!(matches!(bad, Err(StartError::BadInput(_))), "{bad:?}");
    assert!(good.unwrap().fresh);
    node.stop().await;
}

#[tokio::test]
async fn one_signal_satisfies_one_wait_however_often_the_mailbox_is_swept() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    node.engine.publish(GATE).await.unwrap();
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    let store = &node.engine.store;
    for n in 0..100 {
        let saga = begin(&node, "gate", json!({ "id": format!("gate-{n}") }), None).await.unwrap().saga;
        let mail = Uuid::now_v7();
        let (_, shard) = store.post(mail, saga, &go(), None).await.unwrap();
        for _ in 0..3 {
            node.engine.nudge(saga, shard, mail).await;
        }
    }
    eventually("all mail is read", 20_000, async || {
        stage.count("select count(*) from mailbox where taken_at is not null").await == 100
    })
    .await;
    // A piece more, without a nudge: when that is read, every sweep of before has been.
    let last = begin(&node, "gate", json!({ "id": "last" }), None).await.unwrap().saga;
    let mail = Uuid::now_v7();
    store.post(mail, last, &go(), None).await.unwrap();
    eventually("the last is read", 20_000, async || store.mail_result(mail).await.unwrap().is_some()).await;
    assert_eq!(
        stage.count("select count(*) from saga where status <> 0").await,
        0,
        "one signal ended two waits"
    );
    assert_eq!(stage.count("select count(*) from history").await, 202, "the start, and one signal each");
    node.stop().await;
}

#[tokio::test]
async fn a_saga_that_begins_by_waiting_is_armed_although_its_hand_over_is_lost() {
    let stage = Stage::new(1).await;
    let owner = stage.node("owner").await;
    owner.engine.publish(NAP).await.unwrap();
    eventually("it owns the shard", 10_000, async || owner.engine.health.shards() == 1).await;
    let other = stage.node("other").await;
    assert_eq!(other.engine.health.shards(), 0);
    // The other node's record for the owner is lost.
    stage.bus.set_faults(Faults { fail_publish: 1.0, ..Faults::default() });
    let saga = begin(&other, "nap", json!({ "id": "nap-1" }), None).await.unwrap().saga;
    stage.ends(saga, COMPLETED).await;
    stage.bus.set_faults(Faults::default());
    eventually("its row goes", 5_000, async || stage.count("select count(*) from outbox").await == 0).await;
    other.stop().await;
    owner.stop().await;
}

#[tokio::test]
async fn a_timer_that_cannot_be_applied_parks_its_saga_and_does_not_spin() {
    let stage = Stage::new(1).await;
    sqlx::query("alter table history add constraint no_timers check (event not like '%\"due\"%')")
        .execute(&stage.pool)
        .await
        .unwrap();
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    travel.expect("book_room").await;
    stage.ends(saga, PARKED).await;
    let commits = "select sum(seq)::bigint from shard";
    let before = stage.count(commits).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let spun = stage.count(commits).await - before;
    assert!(spun <= 5, "{spun} commits for a saga that waits for a human");
    assert_eq!(stage.count("select count(*) from ignored").await, 0);
    node.stop().await;
}

#[tokio::test]
async fn an_ended_saga_that_cannot_be_read_stays_ended() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    node.stop().await;
    sqlx::query("update saga set final_schema = 99").execute(&stage.pool).await.unwrap();
    let node = stage.node("b").await;
    let bus: Arc<dyn saga_bus::Bus> = stage.bus.clone();
    support::send(&bus, &car.1, &succeeded(&car.0)).await;
    eventually("the duplicate is a dead letter", 10_000, async || {
        stage
            .count("select count(*) from dead_letter where reason = 'the saga''s state cannot be read'")
            .await
            == 1
    })
    .await;
    assert_eq!(stage.status(saga).await, COMPLETED);
    node.stop().await;
}

#[tokio::test]
async fn mail_for_a_saga_that_cannot_be_read_waits() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    node.engine.publish(GATE).await.unwrap();
    let saga: SagaId = begin(&node, "gate", json!({ "id": "gate-1" }), None).await.unwrap().saga;
    node.stop().await;
    sqlx::query("update saga_state set schema = 99").execute(&stage.pool).await.unwrap();
    let node = stage.node("b").await;
    let mail = Uuid::now_v7();
    node.engine.store.post(mail, saga, &go(), None).await.unwrap();
    stage.ends(saga, PARKED).await;
    assert_eq!(node.engine.store.mail_result(mail).await.unwrap(), None, "it was accepted");
    node.stop().await;
    sqlx::query("update saga_state set schema = 1").execute(&stage.pool).await.unwrap();
    let node = stage.node("c").await;
    eventually("it is taken in", 10_000, async || {
        node.engine.store.mail_result(mail).await.unwrap().as_deref() == Some("applied")
    })
    .await;
    eventually("it is not said to be parked any more", 10_000, async || stage.status(saga).await == 0).await;
    node.stop().await;
}

/// A bus that takes commands and never says what became of them, as a Kafka that cannot be reached.
#[derive(Debug)]
struct Unreachable(Arc<InProcess>, String);

#[async_trait::async_trait]
impl Bus for Unreachable {
    async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt {
        if records.iter().any(|it| *it.topic == *self.1) {
            return Box::pin(futures::future::pending());
        }
        self.0.publish(records, pace).await
    }
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.0.ensure_topics(topics).await
    }
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.0.partitions(topic).await
    }
    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        self.0.watermarks(partition).await
    }
    async fn log_id(&self, topic: &str) -> Result<LogId, BusError> {
        self.0.log_id(topic).await
    }
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Subscription, BusError> {
        self.0.subscribe(group, topics).await
    }
    async fn tail(&self, topic: &str, from: From) -> Result<Tail, BusError> {
        self.0.tail(topic, from).await
    }
    async fn close(&self, timeout_ms: u64) {
        self.0.close(timeout_ms).await;
    }
}

#[tokio::test]
async fn starts_are_refused_for_as_long_as_commands_do_not_leave() {
    let stage = Stage::new(1).await;
    let commands = stage.topics.commands("travel", saga_protocol::Direction::Execute);
    let bus: Arc<dyn Bus> = Arc::new(Unreachable(stage.bus.clone(), commands));
    let node = Node::start(&stage.database.url, bus, &stage.topics, "a").await;
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    node.begin("trip-1").await.unwrap();
    sqlx::query("update outbox set created_at = now() - interval '1 minute'")
        .execute(&stage.pool)
        .await
        .unwrap();
    eventually("starts are refused", 10_000, async || !node.engine.health.accepts_starts()).await;
    // Also while every row is in the bus's hands.
    for _ in 0..60 {
        assert!(!node.engine.health.accepts_starts(), "accepted again, and nothing has left");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(matches!(node.begin("trip-2").await, Err(StartError::Busy { .. })));
    node.stop().await;
}

#[tokio::test]
async fn a_crash_before_a_lost_log_was_made_good_makes_it_good_again() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    node.begin("trip-1").await.unwrap();
    let first = travel.expect("book_car").await.0;
    node.kill();
    // It had begun with another log, and died before everything was sent again.
    sqlx::query("update shard set cluster_id = null, topic_id = null").execute(&stage.pool).await.unwrap();
    let bus: Arc<dyn Bus> = InProcess::new();
    let mut travel = Travel::join(Arc::clone(&bus), &stage.topics).await;
    let node = Node::start(&stage.database.url, bus, &stage.topics, "b").await;
    let again = travel.expect("book_car").await.0;
    assert_eq!((again.saga, again.attempt), (first.saga, first.attempt));
    eventually("the log is known", 10_000, async || {
        stage.count("select count(*) from shard where topic_id is not null").await == 1
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn a_shard_without_a_partition_is_refused_at_the_start() {
    let stage = Stage::new(4).await;
    let spec =
        TopicSpec { name: stage.topics.inbox(), partitions: 2, compacted: false, retention_ms: 60_000 };
    stage.bus.ensure_topics(&[spec]).await.unwrap();
    let store = amends::store::Store::connect(&stage.database.url, 2).await.unwrap();
    let config = amends::EngineConfig { node: "a".into(), command_partitions: 2 };
    let refused =
        amends::Engine::start(config, store, stage.bus.clone(), stage.topics.clone(), Default::default())
            .await;
    assert!(refused.unwrap_err().to_string().contains("2 partitions"));
}

/// The same, and the group takes the shards away, as librdkafka does once the session has timed out.
#[derive(Debug)]
struct Lost {
    bus: Unreachable,
    lose: Arc<tokio::sync::Notify>,
}

#[async_trait::async_trait]
impl Bus for Lost {
    async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt {
        self.bus.publish(records, pace).await
    }
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.bus.ensure_topics(topics).await
    }
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.bus.partitions(topic).await
    }
    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        self.bus.watermarks(partition).await
    }
    async fn log_id(&self, topic: &str) -> Result<LogId, BusError> {
        self.bus.log_id(topic).await
    }
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Subscription, BusError> {
        let Subscription { mut events, control } = self.bus.subscribe(group, topics).await?;
        let (forward, forwarded) = tokio::sync::mpsc::channel(100);
        let (lose, inbox) = (Arc::clone(&self.lose), topics[0].clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = lose.notified() => break,
                    event = events.recv() => {
                        let Some(event) = event else { return };
                        if forward.send(event).await.is_err() {
                            return;
                        }
                    }
                }
            }
            let partitions = vec![TopicPartition { topic: inbox.into(), partition: 0 }];
            let _ = forward.send(saga_bus::Event::Lost { partitions }).await;
            forward.closed().await;
        });
        Ok(Subscription { events: forwarded, control })
    }
    async fn tail(&self, topic: &str, from: From) -> Result<Tail, BusError> {
        self.bus.tail(topic, from).await
    }
    async fn close(&self, timeout_ms: u64) {
        self.bus.close(timeout_ms).await;
    }
}

#[tokio::test]
async fn starts_are_refused_also_once_the_shards_are_lost_and_by_whoever_owns_none() {
    let stage = Stage::new(1).await;
    let commands = stage.topics.commands("travel", saga_protocol::Direction::Execute);
    let lose = Arc::new(tokio::sync::Notify::new());
    let bus: Arc<dyn Bus> =
        Arc::new(Lost { bus: Unreachable(stage.bus.clone(), commands.clone()), lose: Arc::clone(&lose) });
    let node = Node::start(&stage.database.url, bus, &stage.topics, "a").await;
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    let other: Arc<dyn Bus> = Arc::new(Unreachable(stage.bus.clone(), commands));
    let other = Node::start(&stage.database.url, other, &stage.topics, "b").await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    lose.notify_one();
    eventually("it has lost the shard", 10_000, async || node.engine.health.shards() == 0).await;
    sqlx::query("update outbox set created_at = now() - interval '1 minute'")
        .execute(&stage.pool)
        .await
        .unwrap();
    let refuses = |it: &Node| !it.engine.health.accepts_starts() && it.engine.health.ready().is_err();
    eventually("both refuse starts", 10_000, async || refuses(&node) && refuses(&other)).await;
    for _ in 0..60 {
        assert!(refuses(&node) && refuses(&other), "accepted again, and nothing has left");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // What the bus is not to blame for refuses nothing.
    sqlx::query("update saga set status = 1 where id = $1").bind(saga.0).execute(&stage.pool).await.unwrap();
    eventually("starts are taken", 10_000, async || !refuses(&node) && !refuses(&other)).await;
    node.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_keeps_nobody_elses_mail_waiting() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    node.engine.publish(GATE).await.unwrap();
    let broken = begin(&node, "gate", json!({ "id": "gate-1" }), None).await.unwrap().saga;
    let saga = begin(&node, "gate", json!({ "id": "gate-2" }), None).await.unwrap().saga;
    node.stop().await;
    sqlx::query("update saga_state set schema = 99 where id = $1")
        .bind(broken.0)
        .execute(&stage.pool)
        .await
        .unwrap();
    // More than a sweep takes, and all of it older than what follows.
    sqlx::query(
        "insert into mailbox (id, shard, saga_id, kind, body, at)
         select gen_random_uuid(), 0, $1, 'event', '{}', now() - interval '1 hour' from generate_series(1, 2500)",
    )
    .bind(broken.0)
    .execute(&stage.pool)
    .await
    .unwrap();
    let node = stage.node("b").await;
    for mail in [Uuid::now_v7(), Uuid::now_v7()] {
        node.engine.store.post(mail, saga, &go(), None).await.unwrap();
    }
    stage.ends(saga, COMPLETED).await;
    assert_eq!(stage.count("select count(*) from mailbox where taken_at is null").await, 2_500, "accepted");
    node.stop().await;
}

#[tokio::test]
async fn the_log_of_what_changed_nothing_is_bounded_also_for_a_saga_that_is_loaded_again_and_again() {
    let stage = Stage::new(1).await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let node = stage.node("a").await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    travel.expect("book_room").await;
    node.stop().await;
    sqlx::query(
        "insert into ignored (saga_id, at_ms, reason, event) select $1, 0, 'seen', '{}' from generate_series(1, 49)",
    )
    .bind(saga.0)
    .execute(&stage.pool)
    .await
    .unwrap();
    for name in ["b", "c"] {
        let node = stage.node(name).await;
        let before = stage.count("select sum(next_offset)::bigint from shard").await;
        travel.succeed(&car).await;
        eventually("the duplicate is taken in", 10_000, async || {
            stage.count("select sum(next_offset)::bigint from shard").await > before
        })
        .await;
        node.stop().await;
    }
    assert_eq!(stage.count("select count(*) from ignored").await, 50);
}
