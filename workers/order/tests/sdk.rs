//! The worker as a whole, through the SDK: the barrier's rules, and an order's way over the bus.
#![allow(clippy::unwrap_used)]

mod common;

use common::{database, order};
use saga_protocol::{Command, Outcome, Reply, StepName};
use saga_worker::testkit::{Bench, Subject, compensate, conformance, execute};
use saga_worker::{Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

struct Create(PgPool);

#[async_trait]
impl Subject for Create {
    fn worker(&self) -> Worker {
        worker_order::worker(self.0.clone())
    }
    fn action(&self) -> &str {
        "create"
    }
    fn compensation(&self) -> Option<&str> {
        Some("cancel")
    }
    async fn input(&self) -> Value {
        order(&format!("order-{}", Uuid::now_v7()))
    }
    async fn standing(&self, input: &Value) -> u32 {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from amends_order.orders where order_id = $1 and status <> 'cancelled'",
        )
        .bind(input["order_id"].as_str().unwrap())
        .fetch_one(&self.0)
        .await
        .unwrap();
        u32::try_from(count).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_and_cancel_conform() {
    let (_database, pool) = database().await;
    conformance(&Create(pool)).await;
}

fn step(name: &str, like: &Command, input: &Value) -> Command {
    Command { saga: like.saga, step: StepName::new(name).unwrap(), ..execute(name, input) }
}

fn outcome(reply: &Reply) -> (Outcome, &str) {
    (reply.outcome, reply.error.as_ref().map_or("", |fault| fault.code.as_str()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_its_way_over_the_bus() {
    let (_database, pool) = database().await;
    let bench = Bench::new(worker_order::worker(pool.clone())).await;
    bench.start();
    let create = execute("create", &order("order-1"));
    assert_eq!(outcome(&bench.ask(&create).await), (Outcome::Succeeded, ""));
    let complete = step("complete", &create, &json!({ "order_id": "order-1" }));
    assert_eq!(outcome(&bench.ask(&complete).await), (Outcome::Succeeded, ""));
    // A rival is refused for good: its answer stays also after the order's end.
    let rival = execute("create", &order("order-1"));
    assert_eq!(outcome(&bench.ask(&rival).await), (Outcome::Rejected, "order_exists"));
    let undo = compensate(&create, "cancel", true);
    assert_eq!(outcome(&bench.ask(&undo).await), (Outcome::Rejected, "order_completed"));
    let status: String =
        sqlx::query_scalar("select status from amends_order.orders").fetch_one(&pool).await.unwrap();
    assert_eq!(status, "completed");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_creates_and_cancels_leaves_each_order_where_it_belongs() {
    let (_database, pool) = database().await;
    let bench = Bench::new(worker_order::worker(pool.clone())).await;
    bench.start();
    let creates: Vec<Command> =
        (0..600).map(|at| execute("create", &order(&format!("order-{at:04}")))).collect();
    bench.send(&creates.iter().collect::<Vec<_>>()).await;
    let cancels: Vec<Command> =
        creates.iter().step_by(3).map(|create| compensate(create, "cancel", false)).collect();
    bench.send(&cancels.iter().collect::<Vec<_>>()).await;
    for (at, create) in creates.iter().enumerate() {
        let reply = bench.reply(create).await;
        // A cancel that was first leaves nothing to do: the create that comes after it is refused.
        assert!(reply.outcome == Outcome::Succeeded || at % 3 == 0, "{reply:?}");
    }
    for cancel in &cancels {
        assert_eq!(bench.settle(cancel).await.outcome, Outcome::Succeeded);
    }
    let standing: Vec<String> = sqlx::query_scalar(
        "select order_id from amends_order.orders where status = 'created' order by order_id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let expected: Vec<String> =
        (0..600).filter(|at| at % 3 != 0).map(|at| format!("order-{at:04}")).collect();
    assert_eq!(standing, expected);
    bench.stop().await;
}
