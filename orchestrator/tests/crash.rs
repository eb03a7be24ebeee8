//! `kill -9` on the real stack: Apache Kafka, Postgres, a process each for the orchestrator, the workers and
//! the Toss sandbox. After each run no saga is left running, and the books balance.

#![allow(clippy::unwrap_used)]

use faults::Shop;

const AMENDS: &str = env!("CARGO_BIN_EXE_amends");
/// Orders of one run.
const ORDERS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_orchestrator_loses_nothing() {
    kill_under_load("orchestrator").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_order_worker_loses_nothing() {
    kill_under_load("order").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_stock_worker_loses_nothing() {
    kill_under_load("stock").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_payment_worker_loses_nothing() {
    kill_under_load("payment").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_notify_worker_loses_nothing() {
    kill_under_load("notify").await;
}

/// One of two orchestrators dies; the other one takes its shards over and finishes its sagas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_surviving_orchestrator_takes_over() {
    let _turn = faults::one_at_a_time().await;
    let mut shop = Shop::open(AMENDS, "takeover").await;
    shop.start_again("second").await;
    shop.owners_are(&["orchestrator", "second"]).await;
    let load = shop.load(400, 100);
    let placing = tokio::spawn(async move { bench::load::place(&load).await });
    shop.orders_reach(100).await;
    // The client talks to the other one.
    shop.kill("second");
    let placed = placing.await.unwrap();
    assert!(placed.refused.is_empty(), "{:?}", placed.refused);
    shop.owners_are(&["orchestrator"]).await;
    shop.everything_ends().await;
    shop.books_balance(400).await;
}

async fn kill_under_load(victim: &str) {
    let _turn = faults::one_at_a_time().await;
    let mut shop = Shop::open(AMENDS, victim).await;
    // With one worker frozen, all orders are in flight at once.
    let frozen = if victim == "payment" { "stock" } else { "payment" };
    shop.signal(frozen, "STOP");
    let load = shop.load(ORDERS, 1_000);
    let placing = tokio::spawn(async move { bench::load::place(&load).await });
    shop.are_running(ORDERS).await;
    shop.kill(victim);
    shop.start_again(victim).await;
    shop.signal(frozen, "CONT");
    // And again while they are worked off.
    shop.orders_end(ORDERS / 4).await;
    shop.kill(victim);
    shop.start_again(victim).await;
    let placed = placing.await.unwrap();
    assert!(placed.refused.is_empty(), "orders were never acknowledged: {:?}", placed.refused);
    shop.everything_ends().await;
    shop.books_balance(ORDERS).await;
}
