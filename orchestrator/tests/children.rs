//! Child sagas on a real Postgres: started and undone as one, with their parents.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use amends::start::StartRequest;
use saga_bus::in_process::Faults;
use saga_core::event::{Operator, OperatorAction};
use saga_core::state::Parent;
use saga_core::{Event, StepIx, What, child};
use saga_protocol::{Command, Reply, SagaId};
use serde_json::{Value, json};
use support::{Node, Stage, Travel, rejected, succeeded};
use test_support::{eventually, until_some};
use uuid::Uuid;

const PARKED: i16 = 1;
const COMPLETED: i16 = 2;
const COMPENSATED: i16 = 3;

const STAY: &str = r#"
saga: stay
key: ${input.id}
input: { type: object, required: [id], properties: { id: { type: string } } }
steps:
  room: { worker: travel, action: book_room, compensation: cancel_room, input: { id: "${input.id}" } }
output: { room: "${steps.room.output.number}" }
"#;

const JOURNEY: &str = r#"
saga: journey
key: ${input.id}
steps:
  ticket: { worker: travel, action: buy_ticket, compensation: return_ticket, input: { id: "${input.id}" } }
  stay: { after: [ticket], saga: stay, input: { id: "${input.stay}" } }
  board: { after: [stay], worker: travel, action: board, compensation: none, input: { room: "${steps.stay.output.room}" } }
"#;

const WEEK: &str = r#"
saga: week
key: ${input.id}
steps:
  days: { foreach: "${input.days}", saga: journey, input: { id: "${input.id}-${item}", stay: "${input.id}-stay-${item}" } }
"#;

async fn stage() -> (Stage, Node, Travel) {
    let stage = Stage::new(2).await;
    let node = stage.node("a").await;
    for source in [STAY, JOURNEY, WEEK] {
        node.engine.publish(source).await.unwrap();
    }
    let travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    (stage, node, travel)
}

async fn start(node: &Node, definition: &str, input: Value) -> SagaId {
    start_again(node, definition, input, None).await
}

async fn start_again(node: &Node, definition: &str, input: Value, replay_of: Option<SagaId>) -> SagaId {
    let request = StartRequest {
        definition: node.engine.definitions.active(definition).unwrap(),
        input: Arc::new(input),
        body_hash: [1; 32],
        principal: "tester".to_owned(),
        idempotency_key: None,
        replay_of,
    };
    node.engine.starter.start(request).await.unwrap().saga
}

/// The same steps, whose commands are sent again soon where the bus loses them.
fn impatient(definition: &str) -> String {
    let soon = |text: String, undo: &str| {
        let patient = format!("compensation: {undo}");
        text.replace(&patient, &format!("compensation: {{ action: {undo}, timeout: 2s }}, timeout: 2s"))
    };
    soon(soon(definition.to_owned(), "cancel_room"), "return_ticket")
}

fn stay_of(journey: SagaId, round: u32) -> SagaId {
    child::id(&Parent { saga: journey, step: StepIx(1), item: None, round })
}

/// Answers everything, but rejects this action.
fn all_but(action: &'static str) -> impl Fn(&Command) -> Option<Reply> + Send + 'static {
    move |command| Some(if command.action == action { rejected(command, "no") } else { succeeded(command) })
}

#[tokio::test]
async fn a_child_completes_and_its_parent_goes_on_with_its_output() {
    let (stage, node, mut travel) = stage().await;
    let journey = start(&node, "journey", json!({ "id": "j1", "stay": "s1" })).await;
    let ticket = travel.expect("buy_ticket").await;
    travel.succeed(&ticket).await;
    let room = travel.expect("book_room").await;
    assert_eq!(room.0.saga, stay_of(journey, 1));
    travel.succeed(&room).await;
    let board = travel.expect("board").await;
    assert_eq!(board.0.input.get(), r#"{"room":"book_room-1"}"#);
    travel.succeed(&board).await;
    stage.ends(journey, COMPLETED).await;
    stage.ends(stay_of(journey, 1), COMPLETED).await;
    let parent: uuid::Uuid = sqlx::query_scalar("select parent from saga where id = $1")
        .bind(stay_of(journey, 1).0)
        .fetch_one(&stage.pool)
        .await
        .unwrap();
    assert_eq!(parent, journey.0);
    stage.histories_are_whole().await;
    eventually("delivered rows go", 5_000, async || stage.count("select count(*) from outbox").await == 0)
        .await;
    node.stop().await;
}

#[tokio::test]
async fn a_completed_child_is_reopened_and_undone_before_what_it_came_after() {
    let (stage, node, mut travel) = stage().await;
    let journey = start(&node, "journey", json!({ "id": "j1", "stay": "s1" })).await;
    for action in ["buy_ticket", "book_room"] {
        let command = travel.expect(action).await;
        travel.succeed(&command).await;
    }
    let board = travel.expect("board").await;
    travel.answer(&board, &rejected(&board.0, "full")).await;
    for action in ["cancel_room", "return_ticket"] {
        let command = travel.expect(action).await;
        travel.succeed(&command).await;
    }
    stage.ends(journey, COMPENSATED).await;
    assert_eq!(stage.status(stay_of(journey, 1)).await, COMPENSATED);
    assert_eq!(stage.count("select count(*) from saga_state").await, 0, "what was reopened has ended again");
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_child_that_undoes_itself_is_a_rejected_step() {
    let (stage, node, travel) = stage().await;
    travel.serve(all_but("book_room"));
    let journey = start(&node, "journey", json!({ "id": "j1", "stay": "s1" })).await;
    stage.ends(journey, COMPENSATED).await;
    assert_eq!(stage.status(stay_of(journey, 1)).await, COMPENSATED);
    node.stop().await;
}

/// Children of children, and a saga that begins with them.
#[tokio::test]
async fn a_week_of_journeys_completes_and_one_that_fails_undoes_them_all() {
    let (stage, node, travel) = stage().await;
    // The second saga's tuesday is full.
    travel.serve(|command: &Command| {
        let refused = command.action == "buy_ticket" && command.input.get().contains("w2-tue");
        Some(if refused { rejected(command, "full") } else { succeeded(command) })
    });
    let week = start(&node, "week", json!({ "id": "w1", "days": ["mon", "tue"] })).await;
    stage.ends(week, COMPLETED).await;
    assert_eq!(stage.count("select count(*) from saga where status = 2").await, 5);
    let week = start(&node, "week", json!({ "id": "w2", "days": ["mon", "tue"] })).await;
    stage.ends(week, COMPENSATED).await;
    // How far monday came before it was told is nobody's promise; that nothing of it is left is.
    let open = "select count(*) from saga where status = 2 and id not in (select id from saga where status = 2 order by id limit 5)";
    assert_eq!(stage.count(open).await, 0);
    assert_eq!(stage.count("select count(*) from saga where status < 2").await, 0);
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_child_that_cannot_start_is_a_rejected_step_that_says_why() {
    let (stage, node, travel) = stage().await;
    travel.serve(|command: &Command| Some(succeeded(command)));
    // Another saga has the key; an input that does not fit.
    let first = start(&node, "stay", json!({ "id": "s1" })).await;
    stage.ends(first, COMPLETED).await;
    for (id, stay, expected) in [("j1", json!("s1"), "has the key"), ("j2", json!(7), "does not fit")] {
        let journey = start(&node, "journey", json!({ "id": id, "stay": stay })).await;
        stage.ends(journey, COMPENSATED).await;
        let told: String = sqlx::query_scalar(
            "select string_agg(event, ' ') from history where saga_id = $1 and event like '%child_not_started%'",
        )
        .bind(journey.0)
        .fetch_one(&stage.pool)
        .await
        .unwrap();
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(stage.count("select count(*) from saga where parent is not null").await, 0);
    node.stop().await;
}

#[tokio::test]
async fn nobody_is_a_child_of_itself_or_of_what_is_not_there() {
    let (stage, node, _travel) = stage().await;
    let publish = async |source: &str| node.engine.publish(source).await.map(|_| ()).unwrap_err().to_string();
    let orphan = "saga: a\nsteps: { x: { saga: nowhere } }\n";
    assert!(publish(orphan).await.contains("there is no definition `nowhere`"));
    let circle = STAY.replace("steps:", "steps:\n  again: { saga: week, input: { id: x, days: [] } }");
    assert!(publish(&circle).await.contains("child saga of itself"));
    node.stop().await;
    drop(stage);
}

/// Has an operator's action taken in, and says what came of it.
async fn act(stage: &Stage, node: &Node, saga: SagaId, action: OperatorAction) -> String {
    let revision: i32 = sqlx::query_scalar("select max(revision) from history where saga_id = $1")
        .bind(saga.0)
        .fetch_one(&stage.pool)
        .await
        .unwrap();
    let revision = u32::try_from(revision).unwrap();
    let operator = Operator { who: "kim".into(), why: "a test".into(), revision, action };
    let id = Uuid::now_v7();
    let event = Event::new(saga_core::Millis(0), 0, What::Operator(operator));
    node.engine.store.post(id, saga, &event, None).await.unwrap();
    until_some("the owner takes the mail in", 20_000, async || {
        node.engine.store.mail_result(id).await.unwrap()
    })
    .await
}

#[tokio::test]
async fn a_child_that_was_undone_is_retried_as_another_which_takes_its_key_over() {
    let (stage, node, mut travel) = stage().await;
    let patient = JOURNEY.replace("saga: stay,", "saga: stay, on_rejected: park,");
    node.engine.publish(&patient).await.unwrap();
    let journey = start(&node, "journey", json!({ "id": "j1", "stay": "s1" })).await;
    let ticket = travel.expect("buy_ticket").await;
    travel.succeed(&ticket).await;
    let room = travel.expect("book_room").await;
    travel.answer(&room, &rejected(&room.0, "full")).await;
    stage.ends(journey, PARKED).await;
    assert_eq!(stage.status(stay_of(journey, 1)).await, COMPENSATED);
    assert_eq!(act(&stage, &node, journey, OperatorAction::Retry { cell: None }).await, "applied");
    let room = travel.expect("book_room").await;
    assert_eq!(room.0.saga, stay_of(journey, 2), "another child, of the second round");
    travel.succeed(&room).await;
    let board = travel.expect("board").await;
    let keys = "select count(*) from start_key where key = 's1'";
    assert_eq!(stage.count(keys).await, 1, "the key went over");
    // What is done is not tried again.
    let cell = saga_core::state::CellRef {
        step: StepIx(1),
        item: None,
        direction: saga_protocol::Direction::Execute,
    };
    let refused = act(&stage, &node, journey, OperatorAction::Retry { cell: Some(cell) }).await;
    assert!(refused.contains("the step is done"), "{refused}");
    travel.succeed(&board).await;
    stage.ends(journey, COMPLETED).await;
    assert_eq!(
        (stage.status(stay_of(journey, 1)).await, stage.status(stay_of(journey, 2)).await),
        (COMPENSATED, COMPLETED)
    );
    stage.histories_are_whole().await;
    node.stop().await;
}

/// The keys of its children, and of theirs, go over to those of the saga that replays it.
#[tokio::test]
async fn a_replay_takes_over_the_keys_of_its_children() {
    let (stage, node, travel) = stage().await;
    let full = Arc::new(AtomicBool::new(true));
    let sold_out = full.clone();
    travel.serve(move |command: &Command| {
        let refused = command.action == "board" && sold_out.load(Ordering::Relaxed);
        Some(if refused { rejected(command, "full") } else { succeeded(command) })
    });
    let input = json!({ "id": "w1", "days": ["mon", "tue"] });
    let week = start(&node, "week", input.clone()).await;
    stage.ends(week, COMPENSATED).await;
    // Nobody else gets them, also not a saga that has replayed another one.
    let other = start(&node, "week", json!({ "id": "other", "days": [] })).await;
    stage.ends(other, COMPLETED).await;
    let thief = JOURNEY.replace("saga: journey", "saga: thief");
    node.engine.publish(&thief).await.unwrap();
    let stealing = json!({ "id": "t1", "stay": "w1-stay-mon" });
    let stranger = start_again(&node, "thief", stealing, Some(other)).await;
    stage.ends(stranger, COMPENSATED).await;
    full.store(false, Ordering::Relaxed);
    // Twice: the second replay's are those of the first.
    let again = start_again(&node, "week", input.clone(), Some(week)).await;
    stage.ends(again, COMPLETED).await;
    let third = start_again(&node, "week", input, Some(again)).await;
    stage.ends(third, COMPLETED).await;
    let holders = "select count(*) from start_key k join saga s on s.id = k.saga_id join saga p on p.id = s.parent
        where k.key in ('w1-mon', 'w1-tue') and p.key = 'w1' and p.id = (select id from saga where key = 'w1' order by id desc limit 1)";
    assert_eq!(stage.count(holders).await, 2, "the newest has them");
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_child_that_goes_on_keeps_its_key_whoever_replays_its_parent() {
    let (stage, node, mut travel) = stage().await;
    let input = json!({ "id": "j1", "stay": "s1" });
    let journey = start(&node, "journey", input.clone()).await;
    let ticket = travel.expect("buy_ticket").await;
    travel.succeed(&ticket).await;
    let room = travel.expect("book_room").await;
    let abandon = OperatorAction::Abandon { acknowledged: true };
    assert_eq!(act(&stage, &node, journey, abandon).await, "applied");
    let again = start_again(&node, "journey", input.clone(), Some(journey)).await;
    let ticket = travel.expect("buy_ticket").await;
    travel.succeed(&ticket).await;
    let back = travel.expect("return_ticket").await;
    travel.succeed(&back).await;
    stage.ends(again, COMPENSATED).await;
    assert_eq!(stage.count("select count(*) from history where event like '%has the key%'").await, 1);
    // Once it has ended, its key is free for who replays its parent.
    travel.succeed(&room).await;
    stage.ends(room.0.saga, COMPLETED).await;
    travel.serve(|command: &Command| Some(succeeded(command)));
    let third = start_again(&node, "journey", input, Some(again)).await;
    stage.ends(third, COMPLETED).await;
    node.stop().await;
}

/// Two steps of one saga want the same key: the second is refused, also in a replay.
#[tokio::test]
async fn children_of_one_saga_do_not_take_each_others_keys() {
    let (stage, node, travel) = stage().await;
    travel.serve(|command: &Command| Some(succeeded(command)));
    let twins = "saga: twins\nkey: ${input.id}\nsteps:\n  one: { saga: stay, input: { id: \"${input.id}\" } }\n  two: { after: [one], saga: stay, input: { id: \"${input.id}\" } }\n";
    node.engine.publish(twins).await.unwrap();
    let first = start(&node, "twins", json!({ "id": "x" })).await;
    stage.ends(first, COMPENSATED).await;
    let again = start_again(&node, "twins", json!({ "id": "x" }), Some(first)).await;
    stage.ends(again, COMPENSATED).await;
    let told = "select count(*) from history where event like '%has the key%'";
    assert_eq!(stage.count(told).await, 2);
    node.stop().await;
}

#[tokio::test]
async fn a_retry_of_a_child_that_completes_meanwhile_starts_no_second_one() {
    let (stage, node, mut travel) = stage().await;
    let hasty = JOURNEY.replace("saga: stay,", "saga: stay, timeout: 300ms, on_exhausted: park,");
    node.engine.publish(&hasty).await.unwrap();
    let journey = start(&node, "journey", json!({ "id": "j1", "stay": "s1" })).await;
    let ticket = travel.expect("buy_ticket").await;
    travel.succeed(&ticket).await;
    let room = travel.expect("book_room").await;
    stage.ends(journey, PARKED).await;
    // The child completes while its parent is parked, and an operator tries it again: whichever is first.
    let ((), retried) = tokio::join!(
        travel.succeed(&room),
        act(&stage, &node, journey, OperatorAction::Retry { cell: None }),
    );
    assert!(retried == "applied" || retried.starts_with("refused"), "{retried}");
    let board = travel.expect("board").await;
    travel.succeed(&board).await;
    stage.ends(journey, COMPLETED).await;
    assert_eq!(stage.count("select count(*) from saga where parent is not null").await, 1);
    stage.histories_are_whole().await;
    node.stop().await;
}

#[tokio::test]
async fn a_saga_that_is_cancelled_before_its_childs_order_is_carried_out_leaves_nothing() {
    let (stage, owner, travel) = stage().await;
    for source in [STAY, JOURNEY] {
        owner.engine.publish(&impatient(source)).await.unwrap();
    }
    travel.serve(|command: &Command| Some(succeeded(command)));
    eventually("it owns the shards", 10_000, async || owner.engine.health.shards() == 2).await;
    let other = stage.node("other").await;
    eventually("they share", 10_000, async || other.engine.health.shards() == 1).await;
    // Neither hears of what the other one starts: the order of the child stays in the outbox until the sweep.
    stage.bus.set_faults(Faults { lose: 1.0, ..Faults::default() });
    let mut weeks = Vec::new();
    for n in 0..6 {
        let node = if n % 2 == 0 { &owner } else { &other };
        let week = start(node, "week", json!({ "id": format!("w{n}"), "days": ["mon", "tue"] })).await;
        let operator = Operator {
            who: "kim".into(),
            why: "a mistake".into(),
            revision: 1,
            action: OperatorAction::Compensate,
        };
        let event = Event::new(saga_core::Millis(0), 0, What::Operator(operator));
        node.engine.store.post(Uuid::now_v7(), week, &event, None).await.unwrap();
        weeks.push(week);
    }
    // And the node that has started some of them is gone before it has carried anything out, as far as it goes.
    other.kill();
    stage.bus.set_faults(Faults::default());
    for week in &weeks {
        eventually("it has ended", 60_000, async || stage.status(*week).await >= COMPLETED).await;
    }
    eventually("every child has ended", 60_000, async || {
        stage.count("select count(*) from saga where status < 2").await == 0
    })
    .await;
    for week in &weeks {
        // Cancelled in time, nothing of it stands; too late, all of it does.
        let stands = if stage.status(*week).await == COMPLETED { 2 } else { 0 };
        let completed: i64 = sqlx::query_scalar("select count(*) from saga where parent = $1 and status = 2")
            .bind(week.0)
            .fetch_one(&stage.pool)
            .await
            .unwrap();
        assert_eq!(completed, stands);
    }
    assert!(
        stage.count("select count(*) from saga where status = 3 and parent is null").await > 0,
        "one at least was cancelled"
    );
    eventually("delivered rows go", 20_000, async || stage.count("select count(*) from outbox").await == 0)
        .await;
    stage.histories_are_whole().await;
    owner.stop().await;
}

#[tokio::test]
async fn a_child_whose_time_is_over_before_its_order_is_carried_out_is_undone_all_the_same() {
    let (stage, owner, travel) = stage().await;
    travel.serve(|command: &Command| Some(succeeded(command)));
    let brief = "saga: brief\nkey: ${input.id}\nsteps:\n  stay: { saga: stay, timeout: 1ms, input: { id: \"${input.id}\" } }\n";
    owner.engine.publish(&impatient(STAY)).await.unwrap();
    owner.engine.publish(brief).await.unwrap();
    eventually("it owns the shards", 10_000, async || owner.engine.health.shards() == 2).await;
    let other = stage.node("other").await;
    eventually("they share", 10_000, async || other.engine.health.shards() == 1).await;
    // Neither hears of what the other one starts, and both are gone before they carry out what they have not heard of.
    stage.bus.set_faults(Faults { lose: 1.0, ..Faults::default() });
    let mut sagas = Vec::new();
    for n in 0..6 {
        let node = if n % 2 == 0 { &owner } else { &other };
        sagas.push(start(node, "brief", json!({ "id": format!("b{n}") })).await);
    }
    owner.kill();
    other.kill();
    stage.bus.set_faults(Faults::default());
    let orders = "update outbox set created_at = now() + interval '5 seconds'";
    let left = sqlx::query(orders).execute(&stage.pool).await.unwrap().rows_affected();
    assert!(left > 0, "an order at least is left to the sweep");
    let last = stage.node("last").await;
    for saga in &sagas {
        eventually("it has ended", 60_000, async || stage.status(*saga).await >= COMPLETED).await;
    }
    eventually("every child has ended", 60_000, async || {
        stage.count("select count(*) from saga where status < 2").await == 0
    })
    .await;
    let children = "select count(*) from saga c join saga p on p.id = c.parent where c.status <> p.status";
    assert_eq!(stage.count(children).await, 0, "a child stands as its parent does");
    stage.histories_are_whole().await;
    last.stop().await;
}
