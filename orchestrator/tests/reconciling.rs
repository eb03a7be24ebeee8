//! Reconciliation on the real stack while orders run, fail, are held and undone: it reports nothing that is not so. And
//! what is not so, it reports.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bench::load::{Load, place};
use faults::Shop;
use faults::shop::Plan;
use serde_json::{Value, json};
use test_support::{eventually, until_some};

const AMENDS: &str = env!("CARGO_BIN_EXE_amends");
const ORDERS: u64 = 400;
const PATIENCE_MS: u64 = 120_000;

/// A reconciliation now; nothing while the engine's own runs, or when a busy machine could not read the books in time:
/// that is told, and no finding.
async fn reconcile(url: &str) -> Option<Value> {
    let answer = reqwest::Client::new().post(format!("{url}/ops/reconciliation")).send().await.unwrap();
    if answer.status() == 409 {
        return None;
    }
    let body: Value = answer.error_for_status().unwrap().json().await.unwrap();
    assert!(body["run"]["error"].is_null() || body["findings"] == json!([]), "{body}");
    body["run"]["error"].is_null().then_some(body)
}

async fn get(shop: &Shop, path: &str) -> Value {
    let url = format!("{}{path}", shop.url("orchestrator"));
    reqwest::get(url).await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reported_that_is_not_so_while_orders_run_and_what_is_so_is() {
    let _turn = faults::one_at_a_time().await;
    // No grace at all: whatever has ended counts at once.
    let shop = Shop::with(Plan { reconcile_grace_ms: Some(0), ..Plan::new(AMENDS, "reconciling") }).await;
    let (over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let looking = tokio::spawn({
        let (url, over, looks) = (shop.url("orchestrator"), Arc::clone(&over), Arc::clone(&looks));
        async move {
            let mut compared = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let Some(body) = reconcile(&url).await else { continue };
                assert_eq!(body["findings"], json!([]), "nothing is wrong: {body}");
                compared.push(body["run"]["orders"].as_i64().unwrap());
                looks.fetch_add(1, Ordering::SeqCst);
            }
            compared
        }
    });

    // Every third card is rejected. In the middle nobody completes an order: what is paid stays at the pivot.
    let half = |stem: &str| Load { reject_every: 3, stem: stem.to_owned(), ..shop.load(ORDERS / 2, 8) };
    let (first, second) = (half("first"), half("second"));
    let (tell_held, held) = tokio::sync::oneshot::channel();
    let (placed, hold) = tokio::join!(
        async {
            let placed = place(&first).await.acknowledged.len();
            // However fast orders come in, the books are compared before the last one has.
            let seen = looks.load(Ordering::SeqCst);
            eventually("the books are compared while orders run", PATIENCE_MS, async || {
                looks.load(Ordering::SeqCst) > seen
            })
            .await;
            // Enough of them come to the pivot while it is held, however long the hold takes to be made.
            held.await.unwrap();
            placed + place(&second).await.acknowledged.len()
        },
        async {
            shop.orders_reach(ORDERS / 4).await;
            let hold = json!({ "kind": "action", "worker": "order", "action": "complete", "why": "a look at the books" });
            let hold = shop.post("/ops/holds", &hold, None).await.error_for_status().unwrap();
            tell_held.send(()).unwrap();
            hold.json::<Value>().await.unwrap()
        }
    );
    assert_eq!(placed as u64, ORDERS);
    let held = until_some("paid orders are held before the pivot", PATIENCE_MS, async || {
        let page = get(&shop, "/sagas?status=running&step=complete_order&limit=500").await;
        let all = page["sagas"].as_array().unwrap();
        let held: Vec<String> = all
            .iter()
            .filter(|it| it["held"] == true)
            .map(|it| it["saga"].as_str().unwrap().to_owned())
            .collect();
        (held.len() >= 50).then_some(held)
    })
    .await;
    // Half of them are undone: refunds, beside everything else.
    let undo = json!({ "kind": "action", "action": "compensate", "sagas": held[..held.len() / 2], "why": "out of print",
        "canary": 0, "rate_per_s": 1_000 });
    let job = shop.post("/ops/jobs", &undo, None).await.error_for_status().unwrap();
    let job = job.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    eventually("they are undone", PATIENCE_MS, async || {
        get(&shop, &format!("/ops/jobs/{job}")).await["state"] == "done"
    })
    .await;
    let id = hold["id"].as_str().unwrap();
    let release = format!("{}/ops/holds/{id}?why=enough", shop.url("orchestrator"));
    reqwest::Client::new().delete(release).send().await.unwrap().error_for_status().unwrap();
    shop.everything_ends().await;
    over.store(true, Ordering::SeqCst);
    let compared = looking.await.unwrap();
    let partly = compared.iter().filter(|orders| **orders > 0 && **orders < ORDERS.cast_signed()).count();
    assert!(partly > 0, "it looked while orders came in: {compared:?}");
    let report = shop.balance().await;
    assert!(report.captured > report.refunded && report.refunded > 0, "{report:?}");

    // What is so: an order that was completed and paid is said to be cancelled.
    let orders = shop.pool("order").await;
    let forged: String = sqlx::query_scalar(
        "update amends_order.orders set status = 'cancelled', voided = id, cancelled_at = now(), completed_at = null
         where id = (select min(id) from amends_order.orders where status = 'completed') returning order_id",
    )
    .fetch_one(&orders)
    .await
    .unwrap();
    let found =
        until_some("a run of its own", PATIENCE_MS, async || reconcile(&shop.url("orchestrator")).await)
            .await;
    assert_eq!(found["run"]["orders"], json!(ORDERS), "{found}");
    let mut kinds: Vec<(&str, &str)> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["kind"].as_str().unwrap(), it["order_id"].as_str().unwrap()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [("paid_but_cancelled", forged.as_str()), ("stock_without_order", forged.as_str())]);
}
