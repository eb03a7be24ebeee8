//! A migrated database and commands as the orchestrator words them.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use saga_protocol::{Direction, SagaId, StepName, Undoes};
use saga_worker::{Answer, Command, Fault, Transactional};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::FreshDatabase;
use uuid::Uuid;

pub async fn database() -> (FreshDatabase, PgPool) {
    let database = test_support::fresh_database().await;
    let pool = database.pool(10).await;
    worker_order::migrate(&pool).await.unwrap();
    (database, pool)
}

pub fn new_saga() -> SagaId {
    SagaId(Uuid::now_v7())
}

pub fn execute(saga: SagaId, action: &str, input: Value) -> Command {
    command(saga, action, action, Direction::Execute, input)
}

pub fn cancel(saga: SagaId, input: Value) -> Command {
    command(saga, "create", "cancel", Direction::Compensate, input)
}

pub fn command(saga: SagaId, step: &str, action: &str, direction: Direction, input: Value) -> Command {
    let wire = saga_protocol::Command {
        saga,
        definition: "order-checkout".to_owned(),
        step: StepName::new(step).unwrap(),
        item: None,
        direction,
        round: 1,
        attempt: 1,
        action: action.to_owned(),
        undoes: (direction == Direction::Compensate).then_some(Undoes { round: 1, succeeded: true }),
        first_sent_at_ms: 0,
        sent_at_ms: 0,
        expires_at_ms: i64::MAX,
        input: serde_json::value::to_raw_value(&input).unwrap(),
        output: None,
    };
    Command { wire, traceparent: None }
}

pub fn order(order_id: &str) -> Value {
    json!({
        "order_id": order_id,
        "customer_id": "customer-1",
        "items": [
            { "sku": "tea", "quantity": 2, "unit_price": 1_500 },
            { "sku": "cup", "quantity": 1, "unit_price": 9_000 },
        ],
        "amount": 12_000,
        "currency": "KRW",
    })
}

/// Runs a batch in a transaction of its own, in the direction of its first command.
pub async fn run(pool: &PgPool, handler: &dyn Transactional, commands: &[Command]) -> Vec<Answer> {
    let mut tx = pool.begin().await.unwrap();
    let answers = match commands[0].direction {
        Direction::Execute => handler.execute(&mut tx, commands).await.unwrap(),
        Direction::Compensate => handler.compensate(&mut tx, commands).await.unwrap(),
    };
    assert_eq!(answers.len(), commands.len());
    tx.commit().await.unwrap();
    answers
}

/// `ok`, or the outcome with its code.
pub fn summary(answers: &[Answer]) -> Vec<String> {
    answers
        .iter()
        .map(|answer| match answer {
            Answer::Succeeded(_) => "ok".to_owned(),
            Answer::Rejected(fault) => format!("rejected {}", fault.code),
            Answer::Retryable { fault, .. } => format!("retryable {}", fault.code),
            Answer::Undecidable(fault) => format!("undecidable {}", fault.code),
        })
        .collect()
}

pub fn fault(answer: &Answer) -> &Fault {
    match answer {
        Answer::Rejected(fault) | Answer::Retryable { fault, .. } | Answer::Undecidable(fault) => fault,
        Answer::Succeeded(_) => panic!("succeeded"),
    }
}
