//! The worker as a whole, through the SDK: the barrier's rules, and a fight for stock over the bus.
#![allow(clippy::unwrap_used)]

mod common;

use common::{book, database, seed, units};
use saga_protocol::{Command, Outcome, StepName};
use saga_worker::testkit::{Bench, Subject, again, compensate, conformance, execute};
use saga_worker::{Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use worker_stock::books;
use worker_stock::input::Sku;

struct Reserve(PgPool);

#[async_trait]
impl Subject for Reserve {
    fn worker(&self) -> Worker {
        worker_stock::worker(self.0.clone())
    }
    fn action(&self) -> &str {
        "reserve"
    }
    fn compensation(&self) -> Option<&str> {
        Some("release")
    }
    async fn input(&self) -> Value {
        // A SKU an input, so that the books themselves say how often its effect stands.
        let sku = Uuid::now_v7().to_string();
        seed(&self.0, &[(&sku, 100)]).await;
        units("order-1", &[(&sku, 1)])
    }
    async fn standing(&self, input: &Value) -> u32 {
        let (available, reserved, sold) = book(&self.0, input["items"][0]["sku"].as_str().unwrap()).await;
        assert_eq!((available + reserved, sold), (100, 0));
        u32::try_from(reserved).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserve_and_release_conform() {
    let (_database, pool) = database().await;
    conformance(&Reserve(pool)).await;
}

fn commit(reserve: &Command) -> Command {
    let input = json!({ "order_id": "order-1" });
    Command { saga: reserve.saga, step: StepName::new("commit").unwrap(), ..execute("commit", &input) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_stays_refused_also_when_stock_comes_in() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 1)]).await;
    let bench = Bench::new(worker_stock::worker(pool.clone())).await;
    bench.start();
    let reserve = execute("reserve", &units("order-1", &[("tea", 2)]));
    let refused = bench.ask(&reserve).await;
    assert_eq!(refused.outcome, Outcome::Rejected);
    assert_eq!(refused.error.unwrap().message, "tea: 2 asked for, 1 left");
    books::stocktake(&pool, &Sku::new("tea").unwrap(), 10, false).await.unwrap();
    assert_eq!(bench.ask(&again(&reserve)).await.outcome, Outcome::Rejected);
    assert_eq!(book(&pool, "tea").await, (10, 0, 0));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fight_for_stock_over_the_bus_with_crashes_ends_with_balanced_books() {
    const STOCK: i64 = 250;
    let (_database, pool) = database().await;
    seed(&pool, &[("cup", STOCK), ("tea", STOCK)]).await;
    let bench = Bench::new(worker_stock::worker(pool.clone())).await;
    bench.start();
    let reserves: Vec<Command> = (0..600)
        .map(|at| {
            let wanted: &[(&str, i64)] = if at % 2 == 0 { &[("tea", 1), ("cup", 1)] } else { &[("cup", 1)] };
            execute("reserve", &units("order-1", wanted))
        })
        .collect();
    for part in reserves.chunks(200) {
        bench.send(&part.iter().collect::<Vec<_>>()).await;
        bench.reply(&part[0]).await;
        bench.crash().await;
        bench.start();
    }
    let (mut sold, mut released) = ([0, 0], [0, 0]);
    let mut settling = Vec::new();
    for (at, reserve) in reserves.iter().enumerate() {
        let reply = bench.reply(reserve).await;
        if reply.outcome == Outcome::Rejected {
            assert_eq!(reply.error.unwrap().code, "out_of_stock");
            continue;
        }
        let (command, count) = if settling.len() % 2 == 0 {
            (commit(reserve), &mut sold)
        } else {
            (compensate(reserve, "release", true), &mut released)
        };
        count[0] += i64::from(at % 2 == 0);
        count[1] += 1;
        settling.push(command);
    }
    bench.send(&settling.iter().collect::<Vec<_>>()).await;
    bench.reply(&settling[0]).await;
    bench.crash().await;
    bench.start();
    for command in &settling {
        assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(sold[1] + released[1], STOCK, "all cups were given away before any came back");
    assert_eq!(book(&pool, "tea").await, (STOCK - sold[0], 0, sold[0]));
    assert_eq!(book(&pool, "cup").await, (STOCK - sold[1], 0, sold[1]));
    bench.stop().await;
}
