//! Reconciliation: one planted case of each kind is found in the real books, and nothing else.

use amends::api::ApiConfig;
use amends::reconcile::Reconciler;
use amends::reconcile::books::Sources;
use saga_protocol::SagaId;
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{eventually, fresh_database};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use toss_sandbox::{DEFAULT_SECRET_KEY, Sandbox, SandboxConfig};
use uuid::Uuid;
use worker_payment::toss::{CancelRequest, Client, Config, ConfirmRequest, SecretKey};

use crate::server::Server;

struct Vendor {
    url: String,
    client: Client,
    http: reqwest::Client,
}

impl Vendor {
    async fn charge(&self, order: &str, amount: i64) -> String {
        let session = self.http.post(format!("{}/sandbox/sessions", self.url));
        let session: Value = session
            .json(&json!({ "order_id": order, "amount": amount }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let payment_key = session["payment_key"].as_str().unwrap().to_owned();
        let request = ConfirmRequest { payment_key: payment_key.clone(), order_id: order.to_owned(), amount };
        self.client.confirm(&request, &Uuid::now_v7().to_string(), || true).await.unwrap();
        payment_key
    }

    async fn refund(&self, key: &str, amount: i64) {
        let request = CancelRequest {
            cancel_reason: "test".to_owned(),
            cancel_amount: Some(amount),
            ..CancelRequest::default()
        };
        self.client.cancel(key, &request, &Uuid::now_v7().to_string(), || true).await.unwrap();
    }
}

async fn order(pool: &PgPool, id: &str, status: &str) {
    sqlx::query(
        "insert into amends_order.orders (order_id, saga, customer_id, amount, currency, status, created_at, completed_at)
         values ($1, $2, 'kim', 10000, 'KRW', 'created', now() - interval '1 hour', null)",
    )
    .bind(id)
    .bind(Uuid::now_v7())
    .execute(pool)
    .await
    .unwrap();
    let sql = match status {
        "completed" => {
            "update amends_order.orders set status = 'completed', completed_at = now() - interval '30 minutes' where order_id = $1 and status = 'created'"
        }
        "cancelled" => {
            "update amends_order.orders set status = 'cancelled', voided = id, cancelled_at = now() - interval '30 minutes' where order_id = $1 and status = 'created'"
        }
        _ => return,
    };
    sqlx::query(sql).bind(id).execute(pool).await.unwrap();
}

async fn goods(pool: &PgPool, id: &str, status: &str) {
    sqlx::query(
        "insert into amends_stock.reservations (saga, step, item, round, order_id, status, reserved_at, settled_at)
         values ($1, 'reserve_stock', -1, 1, $2, $3, now() - interval '1 hour', case when $3 <> 'reserved' then now() - interval '30 minutes' end)",
    )
    .bind(Uuid::now_v7())
    .bind(id)
    .bind(status)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planted_case_is_found_and_what_fits_is_not() {
    let (orders, stock) = (fresh_database().await, fresh_database().await);
    let (order_pool, stock_pool) = (orders.pool(2).await, stock.pool(2).await);
    worker_order::migrate(&order_pool).await.unwrap();
    worker_stock::migrate(&stock_pool).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let sandbox = Sandbox::open(SandboxConfig::default()).unwrap();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move { sandbox.serve(listener, stopped).await.unwrap() });
    let toss = Config::new(url.clone(), SecretKey::new(DEFAULT_SECRET_KEY));
    let vendor = Vendor { url, client: Client::new(toss.clone()).unwrap(), http: reqwest::Client::new() };
    let sources = Sources { order_url: orders.url.clone(), stock_url: stock.url.clone(), toss };
    // The vendor's clock is now: the grace is none, and what has just moved counts.
    let reconciler = Reconciler::new(sources, Some(0));
    let config = ApiConfig { reconciler: Some(reconciler.clone()), ..ApiConfig::default() };
    let server = Server::with(config).await;

    // What fits: sold, undone, never paid and cancelled, partly given back after a cancel of one of two.
    order(&order_pool, "fits-sold", "completed").await;
    vendor.charge("fits-sold", 10_000).await;
    goods(&stock_pool, "fits-sold", "sold").await;
    order(&order_pool, "fits-undone", "cancelled").await;
    let key = vendor.charge("fits-undone", 10_000).await;
    vendor.refund(&key, 10_000).await;
    goods(&stock_pool, "fits-undone", "released").await;
    order(&order_pool, "fits-unpaid", "cancelled").await;
    // A saga that is on its way has the last word on its order.
    let running: SagaId = server.tour("fits-running", &[]).await.saga();
    vendor.charge("fits-running", 10_000).await;

    let run = async || server.post("/ops/reconciliation", &[], &json!({})).await;
    let clean = run().await;
    assert_eq!((clean.status.as_u16(), &clean.body["findings"]), (200, &json!([])), "{}", clean.body);
    assert_eq!(clean.body["configured"], true);

    // Given up with the money kept: nothing moves in the other books, and the saga is named.
    let given_up = server.tour("bad-kept", &[]).await.saga();
    let abandon = json!({ "action": "abandon", "why": "test", "acknowledged": true, "revision": 1 });
    let done = server.post(&format!("/sagas/{given_up}/actions"), &[], &abandon).await;
    assert_eq!(done.body["result"], "applied", "{}", done.body);
    server.until(given_up, "abandoned").await;
    order(&order_pool, "bad-kept", "cancelled").await;
    vendor.charge("bad-kept", 10_000).await;
    order(&order_pool, "bad-unpaid", "completed").await;
    order(&order_pool, "bad-twice", "completed").await;
    let key = vendor.charge("bad-twice", 10_000).await;
    vendor.refund(&key, 3_000).await;
    vendor.refund(&key, 3_000).await;
    order(&order_pool, "bad-goods", "cancelled").await;
    goods(&stock_pool, "bad-goods", "reserved").await;
    eventually("the vendor's seconds are over", 10_000, async || {
        run().await.body["findings"].as_array().is_some_and(|it| it.len() >= 4)
    })
    .await;
    let found = run().await.body;
    let mut kinds: Vec<(&str, &str, Option<i64>)> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["kind"].as_str().unwrap(), it["order_id"].as_str().unwrap(), it["amount"].as_i64()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            ("completed_but_unpaid", "bad-unpaid", Some(10_000)),
            ("paid_but_cancelled", "bad-kept", Some(10_000)),
            ("refunded_twice", "bad-twice", Some(3_000)),
            ("stock_without_order", "bad-goods", None),
        ]
    );
    for finding in found["findings"].as_array().unwrap() {
        let its = if finding["order_id"] == "bad-kept" { json!(given_up) } else { Value::Null };
        assert_eq!(finding["saga"], its, "{finding}");
        assert!(finding["suggested"].as_str().is_some_and(|it| it.len() > 10), "{finding}");
    }
    assert_eq!(server.get("/ops/reconciliation").await.body["run"], found["run"]);
    let metrics = server.get("/metrics").await;
    let line = "amends_reconciliation_findings{kind=\"refunded_twice\"} 1";
    assert!(metrics.body.as_str().unwrap().contains(line), "{}", metrics.body);
    // What is not put right stays found, however old it gets.
    let orders_of = |body: &Value| -> Vec<String> {
        let mut all: Vec<String> = body["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["order_id"].as_str().unwrap().to_owned())
            .collect();
        all.sort_unstable();
        all
    };
    for sql in ["update amends_order.orders set created_at = created_at - interval '5 days',
            completed_at = completed_at - interval '5 days', cancelled_at = cancelled_at - interval '5 days'"]
    {
        sqlx::query(sql).execute(&order_pool).await.unwrap();
    }
    assert_eq!(orders_of(&run().await.body), ["bad-goods", "bad-kept", "bad-twice", "bad-unpaid"]);
    // Put right, it is gone by itself.
    vendor.charge("bad-unpaid", 10_000).await;
    eventually("the vendor's seconds are over", 10_000, async || {
        orders_of(&run().await.body) == ["bad-goods", "bad-kept", "bad-twice"]
    })
    .await;
    // What stays as it is, somebody settles by hand.
    let settle = async |order: &str, why: &str| {
        let body = json!({ "kind": "stock_without_order", "order_id": order, "why": why });
        server.post("/ops/reconciliation/settle", &[], &body).await
    };
    settle("bad-kept", "another kind").await.is_problem(404, "not-found");
    settle("bad-goods", " ").await.is_problem(422, "invalid-input");
    let settled = settle("bad-goods", "the goods were lost; written off, receipt 17").await;
    assert_eq!(orders_of(&settled.body), ["bad-kept", "bad-twice"]);
    assert_eq!(orders_of(&run().await.body), ["bad-kept", "bad-twice"]);
    let audit = server.get("/ops/audit?what=finding.settle").await.body;
    assert_eq!(audit["entries"][0]["target"], "bad-goods", "{audit}");
    // The same once more is another one, and can be settled again.
    let again = "update amends_stock.reservations set reserved_at = now() where order_id = 'bad-goods'";
    sqlx::query(again).execute(&stock_pool).await.unwrap();
    eventually("it is found again", 10_000, async || {
        orders_of(&run().await.body) == ["bad-goods", "bad-kept", "bad-twice"]
    })
    .await;
    let settled = settle("bad-goods", "lost once more, receipt 18").await;
    assert_eq!(orders_of(&settled.body), ["bad-kept", "bad-twice"]);
    let audit = server.get("/ops/audit?what=finding.settle").await.body;
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(2), "{audit}");
    // By itself it looks at what has come of age: also at an order in which nothing has moved for days, when its saga
    // ends.
    order(&order_pool, "old-quiet", "completed").await;
    let old = "update amends_order.orders set created_at = created_at - interval '5 days',
            completed_at = completed_at - interval '5 days' where order_id = 'old-quiet'";
    sqlx::query(old).execute(&order_pool).await.unwrap();
    let alone = async || reconciler.run(&server.node.engine, None).await.unwrap().unwrap();
    assert_eq!(alone().await.findings, 2, "its saga has not ended");
    for sql in [
        "insert into saga select (jsonb_populate_record(s, jsonb_build_object('id', '01900000-0000-7000-8000-000000000001',
            'key', 'old-quiet', 'ended_at', now()))).* from saga s where s.id = $1",
        "insert into start_key select scope, 'old-quiet', '01900000-0000-7000-8000-000000000001', body_hash, principal
         from start_key where saga_id = $1 limit 1",
    ] {
        sqlx::query(sql).bind(given_up.0).execute(&server.stage.pool).await.unwrap();
    }
    assert_eq!(alone().await.findings, 3);
    assert_eq!(
        orders_of(&server.get("/ops/reconciliation").await.body),
        ["bad-kept", "bad-twice", "old-quiet"]
    );
    // A second try of an order does not hide what the first one kept.
    vendor.charge("old-quiet", 10_000).await;
    order(&order_pool, "bad-kept", "completed").await;
    vendor.charge("bad-kept", 10_000).await;
    eventually("the vendor's seconds are over", 10_000, async || {
        alone().await;
        let open = server.get("/ops/reconciliation").await.body;
        let kinds: Vec<(&str, &str)> = open["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["order_id"].as_str().unwrap(), it["kind"].as_str().unwrap()))
            .collect();
        kinds == [("bad-kept", "charged_too_much"), ("bad-twice", "refunded_twice")]
    })
    .await;
    // Books that cannot be read are said, not taken for balanced; what was found before stands.
    order_pool.close().await;
    sqlx::query("alter schema amends_order rename to gone").execute(&orders.pool(1).await).await.unwrap();
    let broken = run().await.body;
    assert!(broken["run"]["error"].as_str().is_some_and(|it| it.contains("the orders")), "{broken}");
    assert_eq!(orders_of(&broken), ["bad-kept", "bad-twice"]);
    let metrics = server.get("/metrics").await;
    let metrics = metrics.body.as_str().unwrap();
    assert!(metrics.contains("amends_reconciliation_failed 1") && metrics.contains(line), "{metrics}");
    let _ = running;
    stop.cancel();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_know_the_books_says_how_to_tell_it() {
    let server = Server::start().await;
    let answer = server.post("/ops/reconciliation", &[], &json!({})).await;
    answer.is_problem(422, "not-configured");
    assert!(answer.body["detail"].as_str().unwrap().contains("AMENDS_RECONCILE_ORDER_URL"));
    assert_eq!(server.get("/ops/reconciliation").await.body["configured"], false);
    server.stop().await;
}
