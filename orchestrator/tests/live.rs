//! The shop as a customer and the vendor see it: real Kafka, a process each, and the Toss sandbox over HTTP.

#![allow(clippy::unwrap_used)]

use faults::Shop;
use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::eventually;

const AMENDS: &str = env!("CARGO_BIN_EXE_amends");

fn order(id: &str, key: &str, amount: u64) -> Value {
    json!({
        "order_id": id,
        "customer_id": "customer-1",
        "items": [{ "sku": "apple", "quantity": 2, "unit_price": amount / 2 }],
        "payment": { "payment_key": key, "amount": amount },
    })
}

async fn json_of(response: reqwest::Response) -> Value {
    response.json().await.unwrap()
}

/// The Toss confirm is held in the air; the operator cancels; then the confirm lands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_while_the_confirm_is_in_the_air_ends_with_the_money_back() {
    let _turn = faults::one_at_a_time().await;
    let shop = Shop::open(AMENDS, "in_the_air").await;
    let client = reqwest::Client::new();
    let sandbox = shop.url("sandbox");
    let rule = json!({ "order_id": "held-order-1", "operation": "confirm", "fault": { "hold": true } });
    let set = client.post(format!("{sandbox}/sandbox/faults")).json(&rule).send().await.unwrap();
    assert!(set.status().is_success());
    let started =
        json_of(shop.post("/orders", &order("held-order-1", "tviva_ok_held", 10_000), None).await).await;
    let saga = started["saga"].as_str().unwrap().to_owned();
    let payments = shop.pool("payment").await;
    eventually("the confirm's intent stands", 60_000, async || {
        let open: i64 = sqlx::query_scalar("select count(*) from saga_inbox.barrier where execute = 1")
            .fetch_one(&payments)
            .await
            .unwrap();
        open == 1
    })
    .await;
    let seen = shop.saga(&saga).await;
    let action = json!({ "action": "compensate", "who": "kim", "why": "the customer called", "revision": seen["revision"] });
    let acted = shop.post(&format!("/sagas/{saga}/actions"), &action, None).await;
    assert_eq!(acted.status(), StatusCode::OK, "{}", acted.text().await.unwrap());
    eventually("the compensation is on its way", 60_000, async || {
        shop.saga(&saga).await.to_string().contains("compensat")
    })
    .await;
    client.post(format!("{sandbox}/sandbox/release")).send().await.unwrap().error_for_status().unwrap();
    shop.everything_ends().await;
    assert_eq!(shop.saga(&saga).await["status"], "compensated");
    let ledger = client.get(format!("{sandbox}/sandbox/ledger/orders/held-order-1")).send().await.unwrap();
    let ledger = json_of(ledger).await;
    assert_eq!(ledger["captured"], ledger["refunded"], "{ledger}");
    shop.balance().await;
}

/// Every way in which an answer gets lost ends with the order paid once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_errors_of_the_vendor_charge_once() {
    let _turn = faults::one_at_a_time().await;
    let shop = Shop::open(AMENDS, "lost").await;
    let mut sagas = Vec::new();
    for fate in ["lost_answer", "lost_request", "server_error", "provider_error", "slow", "ok"] {
        let id = format!("order-{}", fate.replace('_', "-"));
        let body = order(&id, &format!("tviva_{fate}_{id}"), 5_000);
        let started = json_of(shop.post("/orders", &body, None).await).await;
        sagas.push((fate, started["saga"].as_str().unwrap().to_owned()));
    }
    shop.everything_ends().await;
    for (fate, saga) in sagas {
        assert_eq!(shop.saga(&saga).await["status"], "completed", "{fate}");
    }
    let report = shop.balance().await;
    assert_eq!(report.captured, 6 * 5_000);
}

/// The same order twice is one saga; what is refused at the door leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door() {
    let _turn = faults::one_at_a_time().await;
    let shop = Shop::open(AMENDS, "door").await;
    let body = order("door-order-1", "tviva_ok_door", 4_000);
    let first = shop.post("/orders", &body, Some("key-1")).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let first = json_of(first).await;
    let second = shop.post("/orders", &body, Some("key-1")).await;
    assert_eq!(second.status(), StatusCode::OK);
    assert_eq!(json_of(second).await["saga"], first["saga"]);
    let other = shop.post("/orders", &order("door-order-2", "tviva_ok_door2", 6_000), Some("key-1")).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let bad = json!({ "order_id": "x", "items": [{ "sku": "apple", "quantity": 0 }], "payment": { "amount": "much" } });
    let refused = shop.post("/orders", &bad, None).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem = json_of(refused).await;
    let pointers: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    for pointer in ["/order_id", "/items/0/quantity", "/payment/amount"] {
        assert!(pointers.contains(&pointer), "{pointer} in {pointers:?}");
    }
    let huge = json!({ "order_id": "huge-order", "x": "x".repeat(10 * 1024 * 1024) });
    assert_eq!(shop.post("/orders", &huge, None).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    shop.everything_ends().await;
    let report = shop.balance().await;
    assert_eq!(report.sagas.values().sum::<i64>(), 1, "nothing was written for what was refused");
}

fn root() -> &'static std::path::Path {
    std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What is to be typed, block by block.
fn commands(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The scenario files that run in memory run here too; and who follows the guide word by word gets where it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenarios_and_the_guide_hold_with_real_workers() {
    let _turn = faults::one_at_a_time().await;
    let mut shop = Shop::open(AMENDS, "scenarios").await;
    shop.start_again("http").await;
    let coupons: &[&[&str]] = &[&["add", "SPRING-*", "1000"]];
    shop.start_example("coupon", "typescript", "COUPON_DATABASE_URL", coupons).await;
    let points: &[&[&str]] = &[&["credit", "kim", "100000"]];
    shop.start_example("points", "python", "POINTS_DATABASE_URL", points).await;
    let client = reqwest::Client::new();
    for (sku, on_hand) in [("cup-celadon", 10_000), ("moon-jar", 0)] {
        let url = format!("{}/stock/{sku}", shop.url("stock"));
        client
            .put(url)
            .json(&json!({ "on_hand": on_hand }))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }
    let url = shop.url("orchestrator");
    let defs = root().join("saga-defs");
    let files = std::fs::read_dir(&defs).unwrap().map(|it| it.unwrap().path().to_str().unwrap().to_owned());
    let files: Vec<String> = files.collect();
    let mut publish = shop.amends(&["def", "--url", &url, "publish"]);
    let published = publish.args(&files).output().unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));

    let tested = shop.amends(&["test", "--live", "--url", &url]).current_dir(root()).output().unwrap();
    let told = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(tested.status.success(), "{told}\n{}", String::from_utf8_lossy(&tested.stderr));
    let last = told.lines().last().unwrap();
    let passed: u32 = last.split(' ').next().unwrap().parse().unwrap();
    assert!(passed >= 25 && !last.contains("failed"), "{told}");

    let (english, korean) = (commands("first-saga.md"), commands("first-saga.ko.md"));
    assert_eq!(english, korean, "both languages have the same commands");
    assert!(english.len() >= 8);
    let folder = tempfile::tempdir().unwrap();
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_amends")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut printed = String::new();
    for block in english {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &block]).current_dir(folder.path());
        let output = bash.env("PATH", &path).env("AMENDS_URL", &url).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{block}\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
        printed.push_str(&told);
    }
    for wanted in [
        "✓ proved saga-defs/order-gift.yaml",
        "E011: ",
        "exit code 1",
        "4 passed",
        "exit code 4",
        "✓ completed after",
        "  ~ deadline: 10m → 30m",
        "no open sagas",
    ] {
        assert!(printed.contains(wanted), "{wanted} is not in\n{printed}");
    }
}

/// `make incident` with fewer sagas: the real payment worker, Toss's own ledger, and the engine killed in both jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_is_made_good_by_two_bulk_jobs_though_the_engine_dies_in_both() {
    let _turn = faults::one_at_a_time().await;
    let mut shop = Shop::open(AMENDS, "incident").await;
    faults::incident::run(&mut shop, 40).await.unwrap();
}

/// `tests/faults/run backlog` with fewer sagas: a worker is down, they wait for it, and for a new owner as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_that_wait_for_a_worker_that_is_down_end_once_it_is_back() {
    let _turn = faults::one_at_a_time().await;
    let mut shop = Shop::open(AMENDS, "backlog").await;
    faults::backlog::run(&mut shop, 300).await.unwrap();
}
