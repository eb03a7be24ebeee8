//! Webhooks over real HTTP: kept first, believed never, followed by what the vendor says when asked.
//! And the read API beside them.

use std::collections::HashSet;
use std::net::SocketAddr;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row};
use test_support::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use toss_sandbox::SandboxConfig;
use worker_payment::toss::CancelRequest;
use worker_payment::webhook;

use crate::support::{Toss, commands, input, key, order};
use crate::worker::Shop;

struct Site {
    shop: Shop,
    base: String,
    http: reqwest::Client,
}

impl Site {
    /// The shop with its HTTP surface; the vendor's webhooks reach it.
    async fn open() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let webhook_url = Some(format!("{base}/webhooks/toss"));
        let config = SandboxConfig { webhook_url, webhook_minute_ms: 20, ..SandboxConfig::default() };
        let toss = Toss::start_with(config).await;
        let client = toss.client.clone();
        let shop = Shop::open_with(toss, client).await;
        let app = worker_payment::routes(shop.pool.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { shop, base, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Looks into webhooks until the guard is dropped.
    fn look(&self) -> DropGuard {
        let stop = CancellationToken::new();
        tokio::spawn(webhook::run(self.shop.pool.clone(), self.shop.toss.client.clone(), stop.clone()));
        stop.drop_guard()
    }

    /// Looks once into everything that is open, due or not.
    async fn look_now(&self) {
        sqlx::query("update amends_payment.webhook set next_try_at = now() where outcome is null")
            .execute(&self.shop.pool)
            .await
            .unwrap();
        webhook::look::pass(&self.shop.pool, &self.shop.toss.client).await.unwrap();
    }

    async fn send(&self, id: Option<&str>, body: &str) -> StatusCode {
        let mut request = self.http.post(format!("{}/webhooks/toss", self.base)).body(body.to_owned());
        if let Some(id) = id {
            request = request.header("tosspayments-webhook-transmission-id", id);
        }
        request.send().await.unwrap().status()
    }

    /// The newest webhook that the vendor itself has sent, once it is kept.
    async fn newest(&self, status: &str) -> Value {
        let newest = "select body from amends_payment.webhook where body::jsonb -> 'data' ->> 'status' = $1
            order by received_at desc limit 1";
        let mut body = None;
        eventually("the vendor's webhook", 20_000, async || {
            let kept = sqlx::query_scalar(newest).bind(status).fetch_optional(&self.shop.pool);
            body = kept.await.unwrap().map(|it: String| serde_json::from_str(&it).unwrap());
            body.is_some()
        })
        .await;
        body.unwrap()
    }

    async fn cancel(&self, input: &Value, amount: i64) {
        let by_hand = CancelRequest {
            cancel_reason: "by hand".to_owned(),
            cancel_amount: Some(amount),
            ..CancelRequest::default()
        };
        let key = input["payment_key"].as_str().unwrap();
        self.shop.toss.client.cancel(key, &by_hand, &order(), || true).await.unwrap();
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn paid(&self, fate: &str) -> Value {
        let mut input = input(&key(fate), &order(), 100);
        input["virtual_account"] = json!(true);
        self.shop.settle(&commands(&input).0).await;
        input
    }

    async fn secret(&self, input: &Value) -> String {
        let key = input["payment_key"].as_str().unwrap();
        self.shop.toss.client.payment(key).await.unwrap().unwrap().secret.unwrap()
    }
}

fn changed(payment_key: &Value, secret: &str, status: &str) -> String {
    let data = json!({ "paymentKey": payment_key, "secret": secret, "status": status, "orderId": "claimed",
        "totalAmount": 1, "balanceAmount": 1 });
    json!({ "eventType": "PAYMENT_STATUS_CHANGED", "createdAt": "2026-01-01T00:00:00", "data": data })
        .to_string()
}

async fn outcome(pool: &PgPool, id: &str) -> Option<String> {
    sqlx::query_scalar("select outcome from amends_payment.webhook where transmission_id = $1")
        .bind(id)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// From now on the database refuses what the condition is true for, as it does what breaks a constraint.
async fn refuse(pool: &PgPool, table: &str, condition: &str) {
    for statement in [
        "create or replace function refuse() returns trigger language plpgsql as
         $$ begin raise exception 'refused' using errcode = 'check_violation'; end $$"
            .to_owned(),
        format!(
            "create trigger refuse before insert or update on amends_payment.{table}
             for each row when ({condition}) execute function refuse()"
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(pool).await.unwrap();
    }
}

async fn count(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from amends_payment.webhook").fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_cancels_at_the_vendor_reaches_the_shops_record() {
    let site = Site::open().await;
    let _looking = site.look();
    let input = site.paid("ok").await;
    let payment_key = input["payment_key"].as_str().unwrap();
    site.cancel(&input, 40).await;
    eventually("the record follows", 20_000, async || {
        let row = site.shop.row(&input).await.unwrap();
        (row.refunded_amount, row.status.as_str()) == (40, "PARTIAL_CANCELED")
    })
    .await;
    // Which saga they were about is kept with them.
    eventually("both webhooks are applied", 20_000, async || {
        let applied = sqlx::query(
            "select count(*) from amends_payment.webhook where outcome = 'applied' and saga is not null
             and payment_key = $1 and order_id = $2",
        )
        .bind(payment_key)
        .bind(input["order_id"].as_str().unwrap());
        applied.fetch_one(&site.shop.pool).await.unwrap().get::<i64, _>(0) == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_tells_what_is_recorded_asks_nobody() {
    let site = Site::open().await;
    let (execute, undo) = commands(&input(&key("ok"), &order(), 100));
    let (_, output) = site.shop.settle(&execute).await;
    assert!(output.get("secret").is_none(), "{output}");
    site.newest("DONE").await;
    site.shop.toss.refuse("inquire", "COMMON_ERROR").await;
    site.look_now().await;
    site.shop.settle(&undo).await;
    site.newest("CANCELED").await;
    site.look_now().await;
    let applied: i64 = sqlx::query_scalar(
        "select count(*) from amends_payment.webhook where outcome = 'applied' and saga = $1 and payment_key = $2",
    )
    .bind(execute.saga.0)
    .bind(output["payment_key"].as_str().unwrap())
    .fetch_one(&site.shop.pool)
    .await
    .unwrap();
    assert_eq!(applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_tells_more_or_is_not_known_to_be_the_vendors_is_asked_about() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let told = site.newest("DONE").await;
    site.look_now().await;
    let but = |changes: &[(&str, Value)]| {
        let mut told = told.clone();
        for (name, value) in changes {
            told["data"][name] = value.clone();
        }
        told.to_string()
    };
    let cases = [
        ("secret", but(&[("secret", json!("guess"))])),
        ("no secret", but(&[("secret", Value::Null)])),
        ("status", but(&[("status", json!("CANCELED"))])),
        ("new status", but(&[("status", json!("TOMORROW"))])),
        ("balance", but(&[("balanceAmount", json!(60))])),
        ("no balance", but(&[("balanceAmount", Value::Null)])),
        ("below nothing", but(&[("totalAmount", json!(-1))])),
        ("beyond", but(&[("balanceAmount", json!(i64::MIN))])),
        ("instant", but(&[("approvedAt", json!("2020-01-01T00:00:00+09:00"))])),
        ("order", but(&[("orderId", json!("claimed"))])),
    ];
    site.shop.toss.refuse("inquire", "COMMON_ERROR").await;
    for (id, body) in &cases {
        assert_eq!(site.send(Some(id), body).await, 200);
    }
    site.look_now().await;
    for (id, _) in &cases {
        assert_eq!(outcome(&site.shop.pool, id).await, None, "{id}");
    }
    site.shop.toss.clear_faults().await;
    site.look_now().await;
    for (id, _) in &cases {
        let expected = if id.contains("secret") { "forged" } else { "applied" };
        assert_eq!(outcome(&site.shop.pool, id).await.as_deref(), Some(expected), "{id}");
    }
    // The status stays, and the money does not.
    for (amount, refunded) in [(40, 40), (30, 70)] {
        site.cancel(&input, amount).await;
        eventually("the record follows", 20_000, async || {
            site.look_now().await;
            site.shop.row(&input).await.unwrap().refunded_amount == refunded
        })
        .await;
    }
    // A row of before secrets were kept.
    sqlx::query("update amends_payment.payment set secret = null").execute(&site.shop.pool).await.unwrap();
    let told = site.newest("PARTIAL_CANCELED").await.to_string();
    site.shop.toss.refuse("inquire", "COMMON_ERROR").await;
    assert_eq!(site.send(Some("unknown"), &told).await, 200);
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "unknown").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_and_its_undoing_reach_the_shops_record() {
    let site = Site::open().await;
    let _looking = site.look();
    let input = site.paid("virtual").await;
    let row = site.shop.row(&input).await.unwrap();
    assert_eq!((row.captured_amount, row.status.as_str()), (0, "WAITING_FOR_DEPOSIT"));
    for (undone, captured, status) in [(false, 100, "DONE"), (true, 0, "WAITING_FOR_DEPOSIT")] {
        let body = json!({ "order_id": input["order_id"], "undone": undone });
        site.shop.toss.dev(reqwest::Method::POST, "deposits", Some(body)).await;
        eventually("the record follows", 20_000, async || {
            let row = site.shop.row(&input).await.unwrap();
            (row.captured_amount, row.refunded_amount, row.status.as_str()) == (captured, 0, status)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_callback_is_looked_up_by_its_order() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let body = json!({ "orderId": input["order_id"], "secret": site.secret(&input).await, "status": "DONE" });
    assert_eq!(site.send(Some("t1"), &body.to_string()).await, 200);
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "t1").await.as_deref(), Some("applied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_transmission_is_kept_once() {
    let site = Site::open().await;
    site.shop.toss.fault(json!({ "fault": { "webhook_twice": true } })).await;
    site.paid("ok").await;
    eventually("both deliveries", 20_000, async || {
        let row =
            sqlx::query("select deliveries from amends_payment.webhook").fetch_optional(&site.shop.pool);
        row.await.unwrap().is_some_and(|row| row.get::<i32, _>(0) == 2)
    })
    .await;
    assert_eq!(count(&site.shop.pool).await, 1);
    // Without the vendor's id, the same words are the same transmission.
    for _ in 0..2 {
        assert_eq!(site.send(None, r#"{"orderId":"order-1","secret":"s"}"#).await, 200);
    }
    assert_eq!(count(&site.shop.pool).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_webhook_changes_nothing_and_a_true_one_is_not_believed_either() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let secret = site.secret(&input).await;
    let before = site.shop.row(&input).await.unwrap();
    assert_eq!(site.send(Some("forged"), &changed(&input["payment_key"], "guess", "CANCELED")).await, 200);
    assert_eq!(site.send(Some("lies"), &changed(&input["payment_key"], &secret, "CANCELED")).await, 200);
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "forged").await.as_deref(), Some("forged"));
    assert_eq!(outcome(&site.shop.pool, "lies").await.as_deref(), Some("applied"));
    let after = site.shop.row(&input).await.unwrap();
    let money =
        |it: &worker_payment::store::Payment| (it.captured_amount, it.refunded_amount, it.status.clone());
    assert_eq!(money(&after), money(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_answered_while_the_vendor_cannot_be_asked_and_looked_into_later() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let secret = site.secret(&input).await;
    site.shop.toss.refuse("inquire", "COMMON_ERROR").await;
    assert_eq!(site.send(Some("t1"), &changed(&input["payment_key"], &secret, "DONE")).await, 200);
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "t1").await, None);
    // It is not due before its backoff is over; the sandbox's own webhook may be.
    webhook::look::pass(&site.shop.pool, &site.shop.toss.client).await.unwrap();
    let tries: i32 =
        sqlx::query_scalar("select tries from amends_payment.webhook where transmission_id = 't1'")
            .fetch_one(&site.shop.pool)
            .await
            .unwrap();
    assert_eq!(tries, 1);
    site.shop.toss.clear_faults().await;
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "t1").await.as_deref(), Some("applied"));
}

/// Webhooks about two payments that were given back at the vendor's, and a forged one between them: `bad` is refused.
async fn refused_among_others(table: &str, refused: impl Fn(&Value) -> String) {
    let site = Site::open().await;
    let (bad, good) = (site.paid("ok").await, site.paid("ok").await);
    refuse(&site.shop.pool, table, &refused(&bad)).await;
    assert_eq!(site.send(Some("forged"), &changed(&good["payment_key"], "guess", "DONE")).await, 200);
    for (id, input) in [("bad", &bad), ("good", &good)] {
        site.cancel(input, 100).await;
        let body = changed(&input["payment_key"], &site.secret(input).await, "CANCELED");
        assert_eq!(site.send(Some(id), &body).await, 200);
    }
    site.look_now().await;
    let refunded = async |input: &Value| site.shop.row(input).await.unwrap().refunded_amount;
    for (id, expected) in [("bad", None), ("good", Some("applied")), ("forged", Some("forged"))] {
        assert_eq!(outcome(&site.shop.pool, id).await.as_deref(), expected, "{id}");
    }
    assert_eq!((refunded(&bad).await, refunded(&good).await), (0, 100), "followed and finished, or neither");
    let why: Option<String> =
        sqlx::query_scalar("select detail from amends_payment.webhook where transmission_id = 'bad'")
            .fetch_one(&site.shop.pool)
            .await
            .unwrap();
    assert!(why.as_ref().is_some_and(|it| it.contains("refused")), "{why:?}");
    sqlx::query("drop function refuse cascade").execute(&site.shop.pool).await.unwrap();
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "bad").await.as_deref(), Some("applied"));
    assert_eq!(refunded(&bad).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_followed_holds_up_no_other() {
    refused_among_others("payment", |bad| {
        format!("new.payment_key = '{}'", bad["payment_key"].as_str().unwrap())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_finished_is_not_followed_and_holds_up_no_other() {
    refused_among_others("webhook", |bad| {
        format!("new.outcome = 'applied' and new.payment_key = '{}'", bad["payment_key"].as_str().unwrap())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_finished_one_by_one_when_they_cannot_be_together() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let body = changed(&input["payment_key"], &site.secret(&input).await, "DONE");
    for id in ["bad", "good"] {
        assert_eq!(site.send(Some(id), &body).await, 200);
    }
    refuse(&site.shop.pool, "webhook", "new.transmission_id = 'bad' and new.outcome = 'applied'").await;
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "good").await.as_deref(), Some("applied"));
    assert_eq!(outcome(&site.shop.pool, "bad").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_payment_cannot_be_asked_for_holds_up_no_other() {
    let site = Site::open().await;
    let (silent, good) = (site.paid("ok").await, site.paid("ok").await);
    for (id, input) in [("silent", &silent), ("good", &good)] {
        let body = changed(&input["payment_key"], &site.secret(input).await, "DONE");
        assert_eq!(site.send(Some(id), &body).await, 200);
    }
    let fault = json!({ "lost": "request", "hang": true });
    let rule = json!({ "payment_key": silent["payment_key"], "operation": "inquire", "fault": fault });
    site.shop.toss.fault(rule).await;
    let good_is_finished = eventually("the good one is finished", 20_000, async || {
        outcome(&site.shop.pool, "good").await.as_deref() == Some("applied")
    });
    tokio::select! {
        () = site.look_now() => panic!("the pass has not heard of the silent one"),
        () = good_is_finished => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_overwrite_what_was_recorded_since_it_was_asked_for() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    site.cancel(&input, 40).await;
    let body = changed(&input["payment_key"], &site.secret(&input).await, "PARTIAL_CANCELED");
    assert_eq!(site.send(Some("t1"), &body).await, 200);
    let recorded = async |when: &str| {
        let set = format!("update amends_payment.payment set updated_at = now() + interval '{when}'");
        sqlx::query(AssertSqlSafe(set)).execute(&site.shop.pool).await.unwrap();
    };
    recorded("1 hour").await;
    site.look_now().await;
    assert_eq!(
        (outcome(&site.shop.pool, "t1").await, site.shop.row(&input).await.unwrap().refunded_amount),
        (None, 0)
    );
    recorded("-1 s").await;
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "t1").await.as_deref(), Some("applied"));
    assert_eq!(site.shop.row(&input).await.unwrap().refunded_amount, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_already_is_not_written_again() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let before = site.shop.row(&input).await.unwrap();
    let body = changed(&input["payment_key"], &site.secret(&input).await, "DONE");
    assert_eq!(site.send(Some("t1"), &body).await, 200);
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "t1").await.as_deref(), Some("applied"));
    assert_eq!(site.shop.row(&input).await.unwrap(), before);
}

/// Delivers these at once: whoever comes first waits for a lock, and the others for it.
async fn deliver_together(site: &Site, ids: impl Iterator<Item = String>) -> Vec<(String, StatusCode)> {
    let mut lock = site.shop.pool.begin().await.unwrap();
    sqlx::query("lock table amends_payment.webhook in exclusive mode").execute(&mut *lock).await.unwrap();
    let body = r#"{"orderId":"order-1","secret":"s"}"#;
    let sending = ids.map(async |id| (site.send(Some(&id), body).await, id));
    let releasing = async {
        eventually("somebody waits", 20_000, async || {
            let waiting = "select count(*) from pg_locks where not granted and relation = 'amends_payment.webhook'::regclass";
            sqlx::query_scalar(waiting).fetch_one(&site.shop.pool).await.is_ok_and(|count: i64| count > 0)
        })
        .await;
        lock.commit().await.unwrap();
    };
    let (answers, ()) = tokio::join!(join_all(sending), releasing);
    answers.into_iter().map(|(status, id)| (id, status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_come_together_are_kept_together_each_once() {
    let site = Site::open().await;
    for (id, status) in deliver_together(&site, (0..60).map(|it| format!("t{}", it % 20))).await {
        assert_eq!(status, 200, "{id}");
    }
    let kept: Vec<(i32, String)> =
        sqlx::query_as("select deliveries, xmin::text from amends_payment.webhook")
            .fetch_all(&site.shop.pool)
            .await
            .unwrap();
    assert_eq!(kept.len(), 20);
    assert!(kept.iter().all(|(deliveries, _)| *deliveries == 3), "{kept:?}");
    let commits: HashSet<&String> = kept.iter().map(|(_, transaction)| transaction).collect();
    assert!(commits.len() < 20, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_cannot_be_kept_holds_up_no_other() {
    let site = Site::open().await;
    refuse(&site.shop.pool, "webhook", "new.transmission_id = 't7'").await;
    for (id, status) in deliver_together(&site, (0..20).map(|it| format!("t{it}"))).await {
        assert_eq!(status, if id == "t7" { 503 } else { 200 }, "{id}");
    }
    assert_eq!(count(&site.shop.pool).await, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_nobody_knows_end_their_webhooks() {
    let site = Site::open().await;
    let nobody = changed(&json!("tgen_nobody"), "s", "DONE");
    assert_eq!(site.send(Some("nobody"), &nobody).await, 200);
    let other = r#"{"eventType":"PAYOUT_CHANGED","data":{}}"#;
    assert_eq!(site.send(Some("other"), other).await, 200);
    // The vendor's, but not of this shop's worker: it might be recorded any moment, so it is asked again.
    let request =
        worker_payment::toss::ConfirmRequest { payment_key: key("ok"), order_id: order(), amount: 100 };
    let theirs = site.shop.toss.client.confirm(&request, "x1", || true).await.unwrap();
    let body = changed(&json!(theirs.payment_key), theirs.secret.as_deref().unwrap(), "DONE");
    assert_eq!(site.send(Some("theirs"), &body).await, 200);
    site.look_now().await;
    assert_eq!(outcome(&site.shop.pool, "nobody").await.as_deref(), Some("unknown_payment"));
    assert_eq!(outcome(&site.shop.pool, "other").await.as_deref(), Some("ignored"));
    assert_eq!(outcome(&site.shop.pool, "theirs").await, None);
    for _ in 0..3 {
        site.look_now().await;
    }
    assert_eq!(outcome(&site.shop.pool, "theirs").await.as_deref(), Some("not_ours"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_would_never_send_is_refused_and_not_kept() {
    let site = Site::open().await;
    for body in ["", "no json", "{}", "[]", r#"{"eventType":"PAYMENT_STATUS_CHANGED","data":{}}"#] {
        assert_eq!(site.send(Some("t1"), body).await, 400, "{body}");
    }
    let large = format!(r#"{{"orderId":"order-1","secret":"{}"}}"#, "s".repeat(64 * 1024));
    assert_eq!(site.send(Some("t1"), &large).await, 413);
    assert_eq!(count(&site.shop.pool).await, 0);
    let with_nul = r#"{"orderId":"order-1","secret":"\u0000"}"#;
    assert_eq!(site.send(Some("nul"), with_nul).await, 200);
    site.shop.bench.stop().await;
    site.shop.pool.close().await;
    assert_eq!(site.send(Some("t2"), with_nul).await, 503, "not kept is not taken");
    assert_eq!(site.get("/healthz").await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_read_by_order_and_by_key() {
    let site = Site::open().await;
    let input = site.paid("ok").await;
    let (order_id, payment_key) =
        (input["order_id"].as_str().unwrap(), input["payment_key"].as_str().unwrap());
    let (status, by_key) = site.get(&format!("/payments/key/{payment_key}")).await;
    assert_eq!((status, &by_key["captured_amount"]), (200, &json!(100)));
    let (status, of_order) = site.get(&format!("/payments/{order_id}")).await;
    assert_eq!((status, of_order), (200, json!({ "order_id": order_id, "payments": [by_key] })));
    assert!(by_key.get("secret").is_none());
    for path in ["/payments/order-nobody", "/payments/x", "/payments/key/nobody"] {
        assert_eq!(site.get(path).await.0, 404, "{path}");
    }
    assert_eq!(site.get("/healthz").await, (200, json!({ "status": "ok" })));
}
