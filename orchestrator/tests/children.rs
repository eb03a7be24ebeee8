//! Child sagas on a real Postgres: started and undone as one, with their parents.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use amends::start::StartRequest;
use saga_core::StepIx;
use saga_core::child;
use saga_core::state::Parent;
use saga_protocol::{Command, Reply, SagaId};
use serde_json::{Value, json};
use support::{Node, Stage, Travel, rejected, succeeded};
use test_support::eventually;

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
    let request = StartRequest {
        definition: node.engine.definitions.active(definition).unwrap(),
        input: Arc::new(input),
        body_hash: [1; 32],
        principal: "tester".to_owned(),
        idempotency_key: None,
        replay_of: None,
    };
    node.engine.starter.start(request).await.unwrap().saga
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
