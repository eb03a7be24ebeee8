//! The shard engine on a real Postgres: starts, commits, fences, lost logs, poison and the mailbox.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use amends::start::StartError;
use amends::store::batch::{Batch, Fence};
use amends::store::mail::Delivery;
use saga_bus::in_process::Faults;
use saga_bus::{Bus, InProcess, Outgoing, Pace, TopicPartition};
use saga_core::event::Operator;
use saga_core::{Event, OperatorAction, What};
use saga_protocol::{Direction, Headers, Message, Outcome, Reply, SagaId};
use serde_json::json;
use sqlx::Connection;
use support::{Stage, Travel, rejected, send, succeeded};
use test_support::eventually;
use uuid::Uuid;

const PARKED: i16 = 1;
const COMPLETED: i16 = 2;
const COMPENSATED: i16 = 3;

#[tokio::test]
async fn a_start_is_durable_before_it_is_acknowledged_and_then_completes() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    assert_eq!(stage.count("select count(*) from saga_state").await, 1, "readable at once");
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    let room: String = sqlx::query_scalar("select final_state from saga where id = $1")
        .bind(saga.0)
        .fetch_one(&stage.pool)
        .await
        .unwrap();
    assert!(room.len() <= 400, "a three-step saga's state fits in 400 bytes: {room}");
    eventually("delivered rows go", 5_000, async || stage.count("select count(*) from outbox").await == 0)
        .await;
    assert_eq!(stage.count("select count(*) from saga_state").await, 0, "hot rows are of running sagas only");
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_rejection_unwinds_dependents_first() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let room = travel.expect("book_room").await;
    travel.succeed(&room).await;
    let pay = travel.expect("pay").await;
    travel.answer(&pay, &rejected(&pay.0, "no_money")).await;
    let undo = travel.expect("cancel_room").await;
    assert_eq!(undo.0.input.get(), room.0.input.get(), "a compensation receives the execute's input");
    assert!(undo.0.output.is_some() && undo.0.undoes.is_some_and(|it| it.succeeded && it.round == 1));
    travel.succeed(&undo).await;
    let undo = travel.expect("cancel_car").await;
    travel.succeed(&undo).await;
    stage.ends(saga, COMPENSATED).await;
    node.stop().await;
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_saga() {
    let stage = Stage::new(2).await;
    let node = stage.node("a").await;
    let (input, other) = (json!({ "id": "trip-1" }), json!({ "id": "trip-1", "x": 1 }));
    let starts = (0..20).map(|_| node.begin_with("trip-1", &input, Some("k1"), "ann"));
    let all: Vec<_> = futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.iter().filter(|it| it.fresh).count(), 1);
    assert!(all.iter().all(|it| it.saga == all[0].saga));
    let reused = node.begin_with("trip-1", &other, Some("k1"), "ann").await.unwrap_err();
    assert_eq!(reused, StartError::KeyReused { saga: all[0].saga });
    let foreign = node.begin_with("trip-1", &input, None, "bob").await.unwrap_err();
    assert_eq!(foreign, StartError::KeyOfAnother);
    // A key that is free does not make the other one's owner disappear, nor is it kept by the loser.
    let half = node.begin_with("trip-1", &other, Some("k2"), "ann").await.unwrap_err();
    assert_eq!(half, StartError::KeyReused { saga: all[0].saga });
    let third = json!({ "id": "trip-3" });
    assert!(node.begin_with("trip-3", &third, Some("k2"), "ann").await.unwrap().fresh);
    assert_eq!(stage.count("select count(*) from saga").await, 2);
    assert_eq!(stage.count("select count(*) from start_key").await, 4);
    node.stop().await;
}

#[tokio::test]
async fn a_fenced_shard_writes_nothing_and_the_others_commit() {
    let stage = Stage::new(2).await;
    let mut connection = sqlx::PgConnection::connect(&stage.database.url).await.unwrap();
    let mine = Uuid::now_v7();
    sqlx::query("update shard set epoch = 1, token = $1").bind(mine).execute(&mut connection).await.unwrap();
    let fence = |shard, token| Fence { shard, epoch: 1, token, seq: 0, next_offset: 7 };
    let (kept, lost) = (Uuid::now_v7(), Uuid::now_v7());
    let row = |shard, id| (shard, id, 1, "{}".to_owned(), None, None);
    let batch = Batch {
        fences: vec![fence(0, mine), fence(1, Uuid::now_v7())],
        history: vec![row(0, kept), row(1, lost)],
        sends: vec![(0, kept, "0x1:1".into()), (1, lost, "0x1:1".into())],
        dead_letters: vec![(1, "s".into(), "r".into(), String::new(), Vec::new(), None)],
        ..Batch::default()
    };
    assert_eq!(batch.commit(&mut connection).await.unwrap(), vec![0]);
    let written: Vec<(Uuid,)> =
        sqlx::query_as("select saga_id from history").fetch_all(&stage.pool).await.unwrap();
    assert_eq!(written, vec![(kept,)]);
    assert_eq!(stage.count("select count(*) from outbox").await, 1);
    assert_eq!(stage.count("select count(*) from dead_letter").await, 0);
    assert_eq!(stage.count("select sum(next_offset)::bigint from shard").await, 7);
    // The same batch once more: its seq has passed.
    assert_eq!(batch.commit(&mut connection).await.unwrap(), Vec::<i32>::new());
    assert_eq!(stage.count("select count(*) from history").await, 1);
}

#[tokio::test]
async fn a_stale_owner_is_fenced_and_claims_again_only_as_the_groups_member() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    // Somebody else claims behind the owner's back.
    sqlx::query("update shard set epoch = epoch + 1, token = gen_random_uuid(), seq = 0, owner = 'ghost'")
        .execute(&stage.pool)
        .await
        .unwrap();
    travel.succeed(&car).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    let owner: String = sqlx::query_scalar("select owner from shard").fetch_one(&stage.pool).await.unwrap();
    assert_eq!(owner, "a", "the group still takes it for the owner");
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_lost_log_sends_everything_in_flight_again() {
    let stage = Stage::new(2).await;
    let node = stage.node("a").await;
    eventually("it has read the log", 10_000, async || node.engine.health.shards() == 2).await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let mut sagas = Vec::new();
    let mut first = Vec::new();
    for n in 0..5 {
        sagas.push(node.begin(&format!("trip-{n}")).await.unwrap().saga);
        first.push(travel.expect("book_car").await.0);
    }
    node.kill();
    // Another bus: what a wiped Kafka, or a restart of the embedded one, is to the engine.
    let bus: Arc<dyn Bus> = InProcess::new();
    let mut travel = Travel::join(Arc::clone(&bus), &stage.topics).await;
    let node = support::Node::start(&stage.database.url, bus, &stage.topics, "b").await;
    for _ in 0..5 {
        let again = travel.expect("book_car").await;
        let before = first.iter().find(|it| it.saga == again.0.saga).unwrap();
        assert_eq!((again.0.attempt, again.0.round), (before.attempt, before.round), "the same attempt");
        assert_eq!(again.0.input.get(), before.input.get());
        travel.succeed(&again).await;
    }
    travel.serve(|command| Some(succeeded(command)));
    for saga in sagas {
        stage.ends(saga, COMPLETED).await;
    }
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_wiped_topic_under_a_running_owner_is_survived() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    travel.expect("book_room").await;
    stage.bus.wipe(&stage.topics.inbox());
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    node.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_a_dead_letter_and_the_shard_goes_on() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    let bus: Arc<dyn Bus> = stage.bus.clone();
    let garbage = |headers: Headers, data: &'static [u8]| Outgoing {
        topic: stage.topics.inbox().into(),
        partition: Some(0),
        message: Message { key: "k".into(), headers, data: data.into() },
    };
    let mut typed = Headers::default();
    typed.push("ce_type", "amends.reply");
    let mut nul = Headers::default();
    nul.push("ce_type", "amends.reply");
    nul.push("evil", vec![0, 159, 146, 150]);
    bus.publish(
        vec![
            garbage(Headers::default(), b"\0\xff not json"),
            garbage(typed, b"{\"saga\": 12}"),
            garbage(nul, b"{}\0"),
        ],
        Pace::Now,
    )
    .await
    .await;
    // A reply of no saga, and one of a step that the saga does not have.
    let mut forged = succeeded(&car.0);
    forged.saga = SagaId(Uuid::now_v7());
    send(&bus, &car.1, &forged).await;
    let mut forged = succeeded(&car.0);
    forged.step = "nonsense".to_owned().try_into().unwrap();
    send(&bus, &car.1, &forged).await;
    // An output with a NUL in it is data like any other.
    let mut reply = succeeded(&car.0);
    let output = json!({ "number": "a\u{0}b" });
    reply.output = Some(serde_json::value::to_raw_value(&output).unwrap());
    travel.answer(&car, &reply).await;
    let room = travel.expect("book_room").await;
    assert!(room.0.input.get().contains("a\\u0000b"), "{}", room.0.input.get());
    travel.succeed(&room).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    assert_eq!(stage.count("select count(*) from dead_letter").await, 4);
    assert_eq!(stage.count("select count(*) from ignored").await, 1, "the forged step, with its reason");
    node.stop().await;
}

#[tokio::test]
async fn a_record_that_the_database_refuses_parks_its_saga_alone() {
    let stage = Stage::new(1).await;
    sqlx::query("alter table history add constraint no_evil check (event not like '%EVIL%')")
        .execute(&stage.pool)
        .await
        .unwrap();
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let (mut sagas, mut cars) = (Vec::new(), Vec::new());
    for n in 0..6 {
        sagas.push(node.begin(&format!("trip-{n}")).await.unwrap().saga);
        cars.push(travel.expect("book_car").await);
    }
    let mut records = Vec::new();
    for car in &cars {
        let evil = car.0.saga == sagas[3];
        let reply = if evil { rejected(&car.0, "EVIL") } else { succeeded(&car.0) };
        let message = reply.encode("travel", 0, None);
        records.push(Outgoing { topic: stage.topics.inbox().into(), partition: Some(0), message });
    }
    travel.serve(|command| Some(succeeded(command)));
    stage.bus.publish(records, Pace::Now).await.await;
    for (n, saga) in sagas.iter().enumerate() {
        stage.ends(*saga, if n == 3 { PARKED } else { COMPLETED }).await;
    }
    assert_eq!(stage.count("select count(*) from dead_letter").await, 1);
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_command_without_an_answer_is_sent_again_as_the_same_round() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let first = travel.expect("book_room").await.0;
    let second = travel.expect("book_room").await;
    assert_eq!((second.0.round, second.0.attempt), (first.round, 2));
    assert_eq!(second.0.input.get(), first.input.get(), "byte for byte the same");
    assert_eq!(second.0.first_sent_at_ms, first.first_sent_at_ms);
    travel.succeed(&second).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    node.stop().await;
}

#[tokio::test]
async fn an_exhausted_step_is_compensated_because_it_may_have_taken_effect() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let undone = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = Arc::clone(&undone);
    travel.serve(move |command| {
        if command.direction == Direction::Compensate {
            log.lock().push((command.action.clone(), command.undoes.unwrap().succeeded));
        }
        match command.action.as_str() {
            "book_room" => Some(Reply::to(command, Outcome::Retryable)),
            _ => Some(succeeded(command)),
        }
    });
    stage.ends(saga, COMPENSATED).await;
    assert_eq!(*undone.lock(), vec![("cancel_room".to_owned(), false), ("cancel_car".to_owned(), true)]);
    node.stop().await;
}

#[tokio::test]
async fn an_operators_action_goes_through_the_mailbox_and_is_answered_with_what_happened() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let action = |revision| {
        let operator = Operator {
            who: "kim".into(),
            why: "the customer called".into(),
            revision,
            action: OperatorAction::Compensate,
        };
        Event::new(saga_core::Millis(0), 0, What::Operator(operator))
    };
    let result = async |id: Uuid| {
        test_support::until_some("the owner takes the mail in", 10_000, async || {
            node.engine.store.mail_result(id).await.unwrap()
        })
        .await
    };
    let (stale, good) = (Uuid::now_v7(), Uuid::now_v7());
    let store = &node.engine.store;
    let (kept, shard) = store.post(stale, saga, &action(9), None).await.unwrap();
    assert_eq!(kept, Delivery::Accepted);
    node.engine.nudge(saga, shard, stale).await;
    assert!(result(stale).await.starts_with("refused"), "the revision is not what the operator saw");
    store.post(good, saga, &action(1), None).await.unwrap();
    assert_eq!(store.post(good, saga, &action(1), None).await.unwrap().0, Delivery::Duplicate);
    // Without a nudge: the sweep finds it.
    assert_eq!(result(good).await, "applied");
    let unknown = SagaId(Uuid::now_v7());
    assert_eq!(store.post(Uuid::now_v7(), unknown, &action(1), None).await.unwrap().0, Delivery::NoSaga);
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPENSATED).await;
    node.stop().await;
}

#[tokio::test]
async fn two_orchestrators_share_four_shards_and_the_survivor_takes_over() {
    let stage = Stage::new(4).await;
    let (first, second) = (stage.node("first").await, stage.node("second").await);
    eventually("both own two shards", 10_000, async || {
        first.engine.health.shards() == 2 && second.engine.health.shards() == 2
    })
    .await;
    let mut sagas = Vec::new();
    for n in 0..40 {
        let node = if n % 2 == 0 { &first } else { &second };
        sagas.push(node.begin(&format!("trip-{n}")).await.unwrap().saga);
    }
    let group = format!("{}.engine", stage.topics.prefix());
    first.kill();
    for shard in 0..4 {
        let partition = TopicPartition { topic: stage.topics.inbox().into(), partition: shard };
        stage.bus.expire(&group, &partition);
    }
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    for saga in sagas {
        stage.ends(saga, COMPLETED).await;
    }
    assert_eq!(second.engine.health.shards(), 4);
    stage.histories_are_whole().await;
    second.stop().await;
}

#[tokio::test]
async fn two_that_both_believe_they_own_a_shard_never_write_the_same_revision() {
    let stage = Stage::new(1).await;
    // Two buses: each group gives its only member the shard.
    let other: Arc<dyn Bus> = InProcess::new();
    let first = stage.node("first").await;
    let second = support::Node::start(&stage.database.url, Arc::clone(&other), &stage.topics, "second").await;
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    Travel::join(other, &stage.topics).await.serve(|command| Some(succeeded(command)));
    let mut sagas = Vec::new();
    for n in 0..30 {
        let node = if n % 2 == 0 { &first } else { &second };
        sagas.push(node.begin(&format!("trip-{n}")).await.unwrap().saga);
    }
    second.stop().await;
    for saga in sagas {
        stage.ends(saga, COMPLETED).await;
    }
    stage.histories_are_whole().await;
    first.stop().await;
}

#[tokio::test]
async fn a_start_whose_owner_died_between_commit_and_publish_is_swept() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    stage.bus.set_faults(Faults { fail_publish: 1.0, ..Faults::default() });
    let saga = node.begin("trip-1").await.unwrap().saga;
    node.kill();
    assert_eq!(stage.count("select count(*) from outbox").await, 1, "what is not acknowledged stays");
    stage.bus.set_faults(Faults::default());
    stage.bus.wipe(&stage.topics.commands("travel", Direction::Execute));
    let node = stage.node("b").await;
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    eventually("the row goes", 5_000, async || stage.count("select count(*) from outbox").await == 0).await;
    node.stop().await;
}
