//! Orders that are paid by a transfer, on the real stack: whoever has paid gets the order, or the money back, and
//! nobody sends a signal by hand.

#![allow(clippy::unwrap_used)]

use faults::Shop;
use faults::shop::Plan;
use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::eventually;

const AMENDS: &str = env!("CARGO_BIN_EXE_amends");
/// Longer than the vendor's first webhook, and than the first looks at an account whose webhook got lost.
const PATIENCE_MS: u64 = 120_000;

struct Site {
    shop: Shop,
    payments: sqlx::PgPool,
    http: reqwest::Client,
}

impl Site {
    async fn open(name: &str, webhooks: bool) -> Self {
        let shop = Shop::with(Plan { webhooks, ..Plan::new(AMENDS, name) }).await;
        let url = shop.url("orchestrator");
        let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/../saga-defs/order-virtual-account.yaml");
        let published = shop.amends(&["def", "--url", &url, "publish", definition]).output().unwrap();
        assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
        let payments = shop.pool("payment").await;
        Self { shop, payments, http: reqwest::Client::new() }
    }

    /// Places an order and waits until its account is open.
    async fn order(&self, id: &str) -> String {
        let body = json!({
            "order_id": id,
            "customer_id": "customer-1",
            "items": [{ "sku": "apple", "quantity": 2, "unit_price": 9_000 }],
            "payment": {
                "payment_key": format!("tviva_virtual_{id}"),
                "amount": 18_000,
                "refund_account": { "bank": "88", "account_number": "110123456789", "holder_name": "김철수" },
            },
        });
        let started = self.shop.post("/orders/virtual-account", &body, None).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED, "{}", started.text().await.unwrap());
        let started: Value = started.json().await.unwrap();
        eventually("the account is open", PATIENCE_MS, async || {
            let status: Option<String> =
                sqlx::query_scalar("select status from amends_payment.payment where order_id = $1")
                    .bind(id)
                    .fetch_optional(&self.payments)
                    .await
                    .unwrap();
            status.as_deref() == Some("WAITING_FOR_DEPOSIT")
        })
        .await;
        started["saga"].as_str().unwrap().to_owned()
    }

    async fn sandbox(&self, path: &str, body: &Value) {
        let url = format!("{}/sandbox/{path}", self.shop.url("sandbox"));
        self.http.post(url).json(body).send().await.unwrap().error_for_status().unwrap();
    }

    async fn deposit(&self, id: &str) {
        self.sandbox("deposits", &json!({ "order_id": id })).await;
    }

    async fn ends(&self, saga: &str, how: &str) {
        eventually(&format!("{saga} is {how}"), PATIENCE_MS, async || {
            self.shop.saga(saga).await["status"] == how
        })
        .await;
    }

    async fn deposits(&self, outcome: &str) -> i64 {
        sqlx::query_scalar("select count(*) from amends_payment.deposit where outcome = $1")
            .bind(outcome)
            .fetch_one(&self.payments)
            .await
            .unwrap()
    }

    /// Who has signalled a saga, by the audit.
    async fn signals(&self, saga: &str) -> i64 {
        let engine = self.shop.pool("engine").await;
        sqlx::query_scalar("select count(*) from audit where target = $1 and what = 'saga.signal.deposited'")
            .bind(saga)
            .fetch_one(&engine)
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_paid_gets_the_order() {
    let _turn = faults::one_at_a_time().await;
    let mut site = Site::open("deposits", true).await;
    let saga = site.order("order-paid-1").await;
    site.deposit("order-paid-1").await;
    site.ends(&saga, "completed").await;

    // The engine is away when the money comes, and the worker dies with what it knows.
    let saga = site.order("order-paid-2").await;
    site.shop.kill("orchestrator");
    site.deposit("order-paid-2").await;
    eventually("the engine could not be told", PATIENCE_MS, async || {
        let tries: Option<i32> = sqlx::query_scalar(
            "select tries from amends_payment.deposit where order_id = 'order-paid-2' and detail is not null",
        )
        .fetch_optional(&site.payments)
        .await
        .unwrap();
        tries.is_some()
    })
    .await;
    site.shop.kill("payment");
    site.shop.start_again("orchestrator").await;
    site.shop.start_again("payment").await;
    site.ends(&saga, "completed").await;

    // As if the worker had died between the engine's answer and its note.
    eventually("both are noted", PATIENCE_MS, async || site.deposits("told").await == 2).await;
    sqlx::query("update amends_payment.deposit set outcome = null, finished_at = null, next_try_at = now()")
        .execute(&site.payments)
        .await
        .unwrap();
    eventually("both are told again", PATIENCE_MS, async || site.deposits("told").await == 2).await;
    assert_eq!(site.signals(&saga).await, 1, "a repetition is no second signal");
    site.shop.everything_ends().await;
    let report = site.shop.balance().await;
    assert_eq!((report.captured, report.refunded), (36_000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_webhook_is_only_a_delay_and_what_is_undone_goes_back_to_the_customers_account() {
    let _turn = faults::one_at_a_time().await;
    let site = Site::open("lost_webhooks", false).await;
    let saga = site.order("order-lost-1").await;
    site.deposit("order-lost-1").await;
    site.ends(&saga, "completed").await;

    // The customer has paid, which the shop cannot see, and has the order cancelled.
    let saga = site.order("order-undone-1").await;
    site.sandbox("faults", &json!({ "operation": "inquire", "fault": { "error": "COMMON_ERROR" } })).await;
    site.deposit("order-undone-1").await;
    eventually("it is cancelled", PATIENCE_MS, async || {
        let seen = site.shop.saga(&saga).await;
        let action = json!({ "action": "compensate", "who": "kim", "why": "the customer called", "revision": seen["revision"] });
        let acted = site.shop.post(&format!("/sagas/{saga}/actions"), &action, None).await;
        acted.status() == StatusCode::OK
    })
    .await;
    site.ends(&saga, "compensated").await;
    let url = format!("{}/sandbox/ledger", site.shop.url("sandbox"));
    let ledger: Value = site.http.get(url).send().await.unwrap().json().await.unwrap();
    let movements = ledger["movements"].as_array().unwrap();
    let back = movements.iter().find(|it| it["kind"] == "refunded").unwrap();
    assert_eq!((&back["order_id"], &back["amount"]), (&json!("order-undone-1"), &json!(18_000)));
    assert_eq!(back["refund_account"]["account_number"], "110123456789");
    assert_eq!(site.signals(&saga).await, 0);
    site.shop.everything_ends().await;
    let report = site.shop.balance().await;
    assert_eq!((report.captured, report.refunded), (36_000, 18_000));
}
