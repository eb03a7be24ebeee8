//! Returns on a real Postgres: what may come back, once, and what is granted for it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{command, database, execute, fault, new_saga, order, run, summary};
use saga_protocol::{Direction, SagaId};
use saga_worker::testkit::{Subject, conformance};
use saga_worker::{Command, Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use worker_order::complete::Complete;
use worker_order::create::Create;
use worker_order::returns::{Decide, Open};

async fn completed(pool: &PgPool, order_id: &str, due: Option<i64>) {
    let saga = new_saga();
    assert_eq!(summary(&run(pool, &Create, &[execute(saga, "create", order(order_id))]).await), ["ok"]);
    let complete = execute(saga, "complete", json!({ "order_id": order_id, "due": due }));
    assert_eq!(summary(&run(pool, &Complete, &[complete]).await), ["ok"]);
}

fn open(saga: SagaId, return_id: &str, order_id: &str, items: &[(&str, i64)]) -> Command {
    execute(saga, "open_return", asked(return_id, order_id, items))
}

fn asked(return_id: &str, order_id: &str, items: &[(&str, i64)]) -> Value {
    let items: Vec<Value> = items.iter().map(|(sku, n)| json!({ "sku": sku, "quantity": n })).collect();
    json!({ "return_id": return_id, "order_id": order_id, "items": items })
}

fn close(saga: SagaId, return_id: &str) -> Command {
    let input = asked(return_id, "order-1", &[("tea", 1)]);
    command(saga, "open_return", "close_return", Direction::Compensate, input)
}

fn decide(saga: SagaId, return_id: &str, refund_amount: i64) -> Command {
    execute(saga, "decide_return", json!({ "return_id": return_id, "refund_amount": refund_amount }))
}

async fn told(pool: &PgPool, handler: &dyn saga_worker::Transactional, it: Command) -> String {
    summary(&run(pool, handler, &[it]).await).remove(0)
}

#[tokio::test]
async fn no_more_comes_back_than_was_ordered() {
    let (_database, pool) = database().await;
    completed(&pool, "order-1", None).await;
    let batch = [
        open(new_saga(), "return-1", "order-1", &[("tea", 1)]),
        open(new_saga(), "return-2", "order-1", &[("tea", 1), ("cup", 1)]),
        open(new_saga(), "return-3", "order-1", &[("tea", 1)]),
        open(new_saga(), "return-4", "order-1", &[("moon", 1)]),
        open(new_saga(), "return-1", "order-1", &[("cup", 1)]),
        open(new_saga(), "return-5", "order-9", &[("tea", 1)]),
        open(new_saga(), "short", "order-1", &[("tea", 1)]),
        open(new_saga(), "return-6", "order-1", &[]),
    ];
    let answers = run(&pool, &Open, &batch).await;
    assert_eq!(
        summary(&answers),
        [
            "ok",
            "ok",
            "rejected not_ordered",
            "rejected not_ordered",
            "rejected not_ordered",
            "rejected order_not_completed",
            "rejected invalid_return",
            "rejected invalid_return",
        ]
    );
    assert_eq!(fault(&answers[2]).message, "1 of tea cannot come back: of the order, 0 can");
    assert_eq!(fault(&answers[6]).message, "return_id must be 6 to 64 of A-Z, a-z, 0-9, - and _");
}

#[tokio::test]
async fn an_order_that_is_not_completed_has_no_returns() {
    let (_database, pool) = database().await;
    run(&pool, &Create, &[execute(new_saga(), "create", order("order-1"))]).await;
    let it = open(new_saga(), "return-1", "order-1", &[("tea", 1)]);
    assert_eq!(told(&pool, &Open, it).await, "rejected order_not_completed");
}

#[tokio::test]
async fn what_was_closed_can_be_opened_again_by_another_saga() {
    let (_database, pool) = database().await;
    completed(&pool, "order-1", None).await;
    let (first, second) = (new_saga(), new_saga());
    assert_eq!(told(&pool, &Open, open(first, "return-1", "order-1", &[("tea", 2)])).await, "ok");
    let taken = open(second, "return-1", "order-1", &[("cup", 1)]);
    assert_eq!(told(&pool, &Open, taken).await, "rejected return_exists");
    for _ in 0..2 {
        assert_eq!(told(&pool, &Open, close(first, "return-1")).await, "ok");
    }
    assert_eq!(told(&pool, &Open, close(second, "return-1")).await, "undecidable return_missing");
    assert_eq!(told(&pool, &Open, open(second, "return-1", "order-1", &[("tea", 2)])).await, "ok");
    assert_eq!(told(&pool, &Decide, decide(first, "return-1", 0)).await, "rejected return_unknown");
    assert_eq!(told(&pool, &Decide, decide(second, "return-1", 3_000)).await, "ok");
    assert_eq!(told(&pool, &Open, close(second, "return-1")).await, "rejected return_decided");
}

#[tokio::test]
async fn no_more_is_granted_than_was_paid_by_money() {
    let (_database, pool) = database().await;
    completed(&pool, "order-1", Some(10_000)).await;
    let sagas = [new_saga(), new_saga(), new_saga()];
    for (nth, saga) in (1..).zip(sagas) {
        let sku = if nth == 3 { "cup" } else { "tea" };
        assert_eq!(
            told(&pool, &Open, open(saga, &format!("return-{nth}"), "order-1", &[(sku, 1)])).await,
            "ok"
        );
    }
    let batch = [
        decide(sagas[0], "return-1", 6_000),
        decide(sagas[1], "return-2", 4_001),
        decide(sagas[2], "return-3", -1),
    ];
    let answers = run(&pool, &Decide, &batch).await;
    assert_eq!(summary(&answers), ["ok", "rejected refund_too_large", "rejected invalid_decision"]);
    assert_eq!(fault(&answers[1]).message, "4001 cannot be granted: of what the order cost, 4000 is left");
    assert_eq!(told(&pool, &Decide, decide(sagas[1], "return-2", 4_000)).await, "ok");
    assert_eq!(told(&pool, &Decide, decide(sagas[2], "return-3", 0)).await, "ok");
    assert_eq!(told(&pool, &Decide, decide(sagas[2], "return-3", 0)).await, "rejected return_decided");
}

#[tokio::test]
async fn no_more_is_due_than_an_order_costs() {
    let (_database, pool) = database().await;
    let saga = new_saga();
    run(&pool, &Create, &[execute(saga, "create", order("order-1"))]).await;
    let complete = |due| execute(saga, "complete", json!({ "order_id": "order-1", "due": due }));
    assert_eq!(told(&pool, &Complete, complete(12_001)).await, "rejected invalid_order");
    assert_eq!(told(&pool, &Complete, complete(-1)).await, "rejected invalid_order");
    assert_eq!(told(&pool, &Complete, complete(12_000)).await, "ok");
}

struct Return(PgPool);

#[async_trait]
impl Subject for Return {
    fn worker(&self) -> Worker {
        worker_order::worker(self.0.clone())
    }
    fn action(&self) -> &str {
        "open_return"
    }
    fn compensation(&self) -> Option<&str> {
        Some("close_return")
    }
    async fn input(&self) -> Value {
        let order_id = format!("order-{}", Uuid::now_v7());
        completed(&self.0, &order_id, None).await;
        asked(&format!("return-{}", Uuid::now_v7()), &order_id, &[("tea", 1)])
    }
    async fn standing(&self, input: &Value) -> u32 {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from amends_order.returns where return_id = $1 and status <> 'closed'",
        )
        .bind(input["return_id"].as_str().unwrap())
        .fetch_one(&self.0)
        .await
        .unwrap();
        u32::try_from(count).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_and_close_conform() {
    let (_database, pool) = database().await;
    conformance(&Return(pool)).await;
}
