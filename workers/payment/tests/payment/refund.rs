//! The action `refund`: part of a payment given back once, whatever gets lost on the way.

use saga_protocol::{Command, Outcome};
use saga_worker::testkit::{self, Subject};
use saga_worker::{Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{FreshDatabase, fresh_database};
use toss_sandbox::DEFAULT_SECRET_KEY;

use crate::support::{Toss, client, commands, input, key, order};
use crate::worker::Shop;

fn refund(order_id: &Value, amount: i64) -> Command {
    testkit::execute("refund", &json!({ "order_id": order_id, "amount": amount, "reason": "반품" }))
}

async fn paid(shop: &Shop, fate: &str, amount: i64) -> Value {
    let input = input(&key(fate), &order(), amount);
    assert_eq!(shop.settle(&commands(&input).0).await.0, Outcome::Succeeded);
    input
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_given_back_each_once_and_recorded() {
    let shop = Shop::open().await;
    let payment = paid(&shop, "ok", 15_000).await;
    let order_id = payment["order_id"].as_str().unwrap();
    let (first, second) = (refund(&payment["order_id"], 6_000), refund(&payment["order_id"], 6_000));
    let (outcome, output) = shop.settle(&first).await;
    assert_eq!(outcome, Outcome::Succeeded, "{output}");
    assert_eq!((&output["refunded_amount"], &output["balance_amount"]), (&json!(6_000), &json!(9_000)));
    assert_eq!(shop.settle(&testkit::again(&first)).await, (Outcome::Succeeded, output));
    assert_eq!(shop.toss.totals(order_id).await, (15_000, 6_000));
    // Another return of the same amount is another refund.
    assert_eq!(shop.settle(&second).await.0, Outcome::Succeeded);
    assert_eq!(shop.toss.totals(order_id).await, (15_000, 12_000));
    let row = shop.row(&payment).await.unwrap();
    assert_eq!((row.captured_amount, row.refunded_amount), (15_000, 12_000));
    // More than is left: a human decides what the customer gets.
    let (outcome, code) = shop.settle(&refund(&payment["order_id"], 4_000)).await;
    assert_eq!((outcome, code), (Outcome::Rejected, json!("NOT_CANCELABLE_AMOUNT")));
    assert_eq!(shop.toss.totals(order_id).await, (15_000, 12_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_is_lost_is_found_and_not_repeated() {
    let toss = Toss::start().await;
    let hasty = client(&toss.base, DEFAULT_SECRET_KEY, 1_500);
    let shop = Shop::open_with(toss, hasty).await;
    let payment = paid(&shop, "ok", 9_000).await;
    let order_id = payment["order_id"].as_str().unwrap();
    for (nth, fault) in (1..).zip([json!({ "lost": "answer" }), json!({ "lost": "request" })]) {
        shop.toss.fault(json!({ "operation": "cancel", "times": 1, "fault": fault })).await;
        let command = refund(&payment["order_id"], 2_000);
        assert_eq!(shop.bench.ask(&command).await.outcome, Outcome::Retryable, "{fault}");
        assert_eq!(shop.settle(&testkit::again(&command)).await.0, Outcome::Succeeded, "{fault}");
        assert_eq!(shop.toss.totals(order_id).await, (9_000, nth * 2_000), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_back_is_refused_with_what_to_do() {
    let shop = Shop::open().await;
    let refused = paid(&shop, "refund_refused", 9_000).await;
    let reply = shop.bench.settle(&refund(&refused["order_id"], 1_000)).await;
    let fault = reply.error.unwrap();
    assert_eq!(reply.outcome, Outcome::Rejected);
    assert!(fault.message.contains("What to do: "), "{}", fault.message);
    assert_eq!(shop.row(&refused).await.unwrap().fault_code.as_deref(), Some(fault.code.as_str()));

    let nobody = json!("order-of-nobody");
    assert_eq!(shop.settle(&refund(&nobody, 1)).await, (Outcome::Rejected, json!("no_payment")));
    assert_eq!(shop.settle(&refund(&refused["order_id"], 0)).await, (Outcome::Rejected, json!("bad_input")));

    // Two payments of one order: nobody guesses which; with its key it is the one that is meant.
    let first = paid(&shop, "ok", 5_000).await;
    let second = input(&key("ok"), first["order_id"].as_str().unwrap(), 5_000);
    assert_eq!(shop.settle(&commands(&second).0).await.0, Outcome::Succeeded);
    let told = shop.settle(&refund(&first["order_id"], 1_000)).await;
    assert_eq!(told, (Outcome::Rejected, json!("several_payments")));
    let named =
        json!({ "order_id": first["order_id"], "amount": 1_000, "payment_key": second["payment_key"] });
    assert_eq!(shop.settle(&testkit::execute("refund", &named)).await.0, Outcome::Succeeded);
    assert_eq!(shop.row(&second).await.unwrap().refunded_amount, 1_000);
    assert_eq!(shop.row(&first).await.unwrap().refunded_amount, 0);
}

/// What an earlier try was charged was given back when that was undone: the order stands by the later payment.
#[tokio::test(flavor = "multi_thread")]
async fn the_payment_that_an_order_stands_by_is_the_one_that_holds_money() {
    let shop = Shop::open().await;
    let first = input(&key("ok"), &order(), 9_000);
    let (confirm, cancel) = commands(&first);
    assert_eq!(shop.settle(&confirm).await.0, Outcome::Succeeded);
    assert_eq!(shop.settle(&cancel).await.0, Outcome::Succeeded);
    let order_id = first["order_id"].as_str().unwrap();
    let second = input(&key("ok"), order_id, 9_000);
    assert_eq!(shop.settle(&commands(&second).0).await.0, Outcome::Succeeded);
    let whole = refund(&first["order_id"], 9_000);
    assert_eq!(shop.settle(&whole).await.0, Outcome::Succeeded);
    assert_eq!(shop.row(&second).await.unwrap().refunded_amount, 9_000);
    // Now none holds any: what is asked for once more is the same refund, and another one finds nothing left.
    assert_eq!(shop.settle(&testkit::again(&whole)).await.0, Outcome::Succeeded);
    assert_eq!(shop.settle(&refund(&first["order_id"], 9_000)).await.0, Outcome::Rejected);
    assert_eq!(shop.toss.totals(order_id).await, (18_000, 18_000));
}

struct Refund {
    toss: Toss,
    pool: PgPool,
    _database: FreshDatabase,
}

#[async_trait]
impl Subject for Refund {
    fn worker(&self) -> Worker {
        worker_payment::worker(self.pool.clone(), self.toss.client.clone())
    }

    fn action(&self) -> &str {
        "refund"
    }

    fn compensation(&self) -> Option<&str> {
        None
    }

    /// An order that was paid earlier, by another worker process.
    async fn input(&self) -> Value {
        let payment = input(&key("ok"), &order(), 300);
        let bench = testkit::Bench::new(self.worker()).await;
        bench.start();
        assert_eq!(bench.settle(&commands(&payment).0).await.outcome, Outcome::Succeeded);
        json!({ "order_id": payment["order_id"], "amount": 100 })
    }

    async fn standing(&self, input: &Value) -> u32 {
        let (_, refunded) = self.toss.totals(input["order_id"].as_str().unwrap()).await;
        u32::try_from(refunded / 100).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_conforms() {
    let database = fresh_database().await;
    let pool = database.pool(10).await;
    worker_payment::migrate(&pool).await.unwrap();
    testkit::conformance(&Refund { toss: Toss::start().await, pool, _database: database }).await;
}
