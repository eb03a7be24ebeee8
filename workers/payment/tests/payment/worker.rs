//! The worker on the bench: commands in, replies and money out, and the shop's record of it.

use saga_protocol::{Command, Outcome};
use saga_worker::ExternalPolicy;
use saga_worker::testkit::{self, Bench};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{FreshDatabase, fresh_database};
use toss_sandbox::DEFAULT_SECRET_KEY;
use worker_payment::input::PaymentKey;
use worker_payment::store::{self, Payment};
use worker_payment::toss::Client;

use crate::support::{Toss, client, commands, input, key, order};

pub(crate) struct Shop {
    pub(crate) toss: Toss,
    pub(crate) pool: PgPool,
    pub(crate) bench: Bench,
    _database: FreshDatabase,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let toss = Toss::start().await;
        let client = toss.client.clone();
        Self::open_with(toss, client).await
    }

    pub(crate) async fn open_with(toss: Toss, client: Client) -> Self {
        let database = fresh_database().await;
        let pool = database.pool(10).await;
        worker_payment::migrate(&pool).await.unwrap();
        let policy = ExternalPolicy { recheck_ms: 50, ..worker_payment::policy(&client) };
        let bench = Bench::new(worker_payment::builder(pool.clone(), client, policy).build()).await;
        bench.start();
        Self { toss, pool, bench, _database: database }
    }

    pub(crate) async fn row(&self, input: &Value) -> Option<Payment> {
        let key = PaymentKey::try_from(input["payment_key"].as_str().unwrap().to_owned()).unwrap();
        store::by_key(&self.pool, &key).await.unwrap()
    }

    async fn totals(&self, input: &Value) -> (i64, i64) {
        self.toss.totals(input["order_id"].as_str().unwrap()).await
    }

    /// The command's final outcome and its output, or the fault's code.
    pub(crate) async fn settle(&self, command: &Command) -> (Outcome, Value) {
        let reply = self.bench.settle(command).await;
        let output = reply.output.map(|it| serde_json::from_str(it.get()).unwrap());
        (reply.outcome, output.unwrap_or_else(|| json!(reply.error.map(|it| it.code))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_captured_recorded_and_given_back() {
    let shop = Shop::open().await;
    let input = input(&key("ok"), &order(), 15_000);
    let (execute, undo) = commands(&input);
    let (outcome, output) = shop.settle(&execute).await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!((&output["payment_key"], &output["order_id"]), (&input["payment_key"], &input["order_id"]));
    assert_eq!((&output["amount"], &output["captured_amount"]), (&json!(15_000), &json!(15_000)));
    assert!(output["receipt_url"].is_string() && output["approved_at"].is_string(), "{output}");
    let row = shop.row(&input).await.unwrap();
    assert_eq!((row.captured_amount, row.refunded_amount, row.status.as_str()), (15_000, 0, "DONE"));
    assert_eq!((row.saga, row.step.as_str()), (execute.saga.0, execute.step.as_str()));
    assert!(row.approved_at.is_some());

    let (outcome, output) = shop.settle(&undo).await;
    assert_eq!((outcome, &output["refunded_amount"]), (Outcome::Succeeded, &json!(15_000)));
    let row = shop.row(&input).await.unwrap();
    assert_eq!((row.captured_amount, row.refunded_amount, row.status.as_str()), (15_000, 15_000, "CANCELED"));
    assert_eq!(shop.totals(&input).await, (15_000, 15_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_card_is_rejected_and_recorded() {
    let shop = Shop::open().await;
    let input = input(&key("reject_card"), &order(), 100);
    let (execute, mut undo) = commands(&input);
    assert_eq!(shop.settle(&execute).await, (Outcome::Rejected, json!("REJECT_CARD_COMPANY")));
    let row = shop.row(&input).await.unwrap();
    assert_eq!((row.status.as_str(), row.fault_code.as_deref()), ("REFUSED", Some("REJECT_CARD_COMPANY")));
    undo.undoes.as_mut().unwrap().succeeded = false;
    assert_eq!(shop.settle(&undo).await.0, Outcome::Succeeded);
    assert_eq!(shop.totals(&input).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_ends_in_one_capture() {
    let toss = Toss::start().await;
    let hasty = client(&toss.base, DEFAULT_SECRET_KEY, 1_500);
    let shop = Shop::open_with(toss, hasty).await;
    for (fate, first) in [
        ("lost_answer", "toss_no_answer"),
        ("lost_request", "toss_no_answer"),
        ("hang_answer", "toss_timeout"),
        ("server_error", "FAILED_INTERNAL_SYSTEM_PROCESSING"),
        ("provider_error", "PROVIDER_ERROR"),
    ] {
        let input = input(&key(fate), &order(), 100);
        let (execute, undo) = commands(&input);
        let reply = shop.bench.ask(&execute).await;
        assert_eq!(
            (reply.outcome, reply.error.unwrap().code.as_str()),
            (Outcome::Retryable, first),
            "{fate}"
        );
        assert!(!reply.uncharged, "{fate}");
        assert_eq!(shop.settle(&testkit::again(&execute)).await.0, Outcome::Succeeded, "{fate}");
        assert_eq!(shop.totals(&input).await, (100, 0), "{fate}");
        assert_eq!(shop.row(&input).await.unwrap().captured_amount, 100, "{fate}");
        assert_eq!(shop.settle(&undo).await.0, Outcome::Succeeded, "{fate}");
        assert_eq!(shop.totals(&input).await, (100, 100), "{fate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_key_costs_no_budget_and_moves_nothing() {
    let toss = Toss::start().await;
    let wrong = client(&toss.base, "test_sk_wrong", 10_000);
    let shop = Shop::open_with(toss, wrong).await;
    let input = input(&key("ok"), &order(), 100);
    let reply = shop.bench.ask(&commands(&input).0).await;
    assert_eq!((reply.outcome, reply.uncharged), (Outcome::Retryable, true));
    assert_eq!(reply.error.unwrap().code, "UNAUTHORIZED_KEY");
    assert_eq!(shop.totals(&input).await, (0, 0));
    assert_eq!(shop.row(&input).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_whose_answer_was_lost_is_given_back_by_its_cancel() {
    let shop = Shop::open().await;
    let input = input(&key("lost_answer"), &order(), 100);
    let (execute, mut undo) = commands(&input);
    assert_eq!(shop.bench.ask(&execute).await.outcome, Outcome::Retryable);
    assert_eq!(shop.totals(&input).await, (100, 0));
    undo.undoes.as_mut().unwrap().succeeded = false;
    assert_eq!(shop.settle(&undo).await.0, Outcome::Succeeded);
    assert_eq!(shop.totals(&input).await, (100, 100));
    // Whoever found the capture has recorded it, before it was given back.
    let row = shop.row(&input).await.unwrap();
    assert_eq!((row.captured_amount, row.refunded_amount), (100, 100));
    assert_eq!(shop.settle(&testkit::again(&execute)).await.0, Outcome::Succeeded, "it did take effect");
    assert_eq!(shop.totals(&input).await, (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_left_no_trace_is_open_until_the_horizon() {
    let shop = Shop::open().await;
    let input = input(&key("lost_request"), &order(), 100);
    let (execute, mut undo) = commands(&input);
    assert_eq!(shop.bench.ask(&execute).await.outcome, Outcome::Retryable);
    undo.undoes.as_mut().unwrap().succeeded = false;
    let reply = shop.bench.ask(&undo).await;
    assert_eq!((reply.outcome, reply.uncharged), (Outcome::Retryable, true));
    assert_eq!(reply.error.unwrap().code, "fate_open");
    let policy = worker_payment::policy(&shop.toss.client);
    let horizon_ms = policy.not_after_ms + policy.client_timeout_ms + policy.window_ms;
    assert!(horizon_ms > 600_000, "the vendor's ten minutes are within it");
    shop.bench.clock.advance_ms(i64::from(horizon_ms) + 1);
    assert_eq!(shop.settle(&testkit::again(&undo)).await.0, Outcome::Succeeded);
    assert_eq!(shop.settle(&testkit::again(&execute)).await.0, Outcome::Rejected);
    assert_eq!(shop.totals(&input).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_meets_its_confirm_in_the_air_ends_with_the_money_back() {
    let shop = Shop::open().await;
    shop.toss.fault(json!({ "operation": "confirm", "fault": { "hold": true } })).await;
    let input = input(&key("ok"), &order(), 100);
    let (execute, mut undo) = commands(&input);
    undo.undoes.as_mut().unwrap().succeeded = false;
    shop.bench.send(&[&execute]).await;
    test_support::eventually("the confirm is in the air", 20_000, async || {
        shop.toss.dev(reqwest::Method::GET, "held", None).await["held"] == 1
    })
    .await;
    assert_eq!(shop.bench.ask(&undo).await.outcome, Outcome::Retryable);
    shop.toss.dev(reqwest::Method::POST, "release", None).await;
    assert_eq!(shop.totals(&input).await, (100, 0));
    assert_eq!(shop.settle(&testkit::again(&undo)).await.0, Outcome::Succeeded);
    assert_eq!(shop.totals(&input).await, (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cancel_answer_gives_back_once() {
    let shop = Shop::open().await;
    for cancel_amount in [json!(null), json!(30)] {
        let mut input = input(&key("ok"), &order(), 100);
        input["cancel_amount"] = cancel_amount.clone();
        let (execute, undo) = commands(&input);
        shop.settle(&execute).await;
        shop.toss.fault(json!({ "operation": "cancel", "times": 1, "fault": { "lost": "answer" } })).await;
        assert_eq!(shop.bench.ask(&undo).await.outcome, Outcome::Retryable);
        assert_eq!(shop.settle(&testkit::again(&undo)).await.0, Outcome::Succeeded);
        let given_back = cancel_amount.as_i64().unwrap_or(100);
        assert_eq!(shop.totals(&input).await, (100, given_back));
        assert_eq!(shop.row(&input).await.unwrap().refunded_amount, given_back);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_needs_a_human_is_rejected_and_a_new_round_succeeds() {
    let shop = Shop::open().await;
    let input = input(&key("ok"), &order(), 100);
    let (execute, undo) = commands(&input);
    shop.settle(&execute).await;
    shop.toss.refuse("cancel", "EXCEED_MAX_REFUND_DUE").await;
    let reply = shop.bench.settle(&undo).await;
    let fault = reply.error.unwrap();
    assert_eq!((reply.outcome, fault.code.as_str()), (Outcome::Rejected, "EXCEED_MAX_REFUND_DUE"));
    assert!(fault.message.contains("bank transfer"), "{fault:?}");
    let row = shop.row(&input).await.unwrap();
    assert_eq!((row.refunded_amount, row.fault_code.as_deref()), (0, Some("EXCEED_MAX_REFUND_DUE")));
    shop.toss.clear_faults().await;
    assert_eq!(shop.settle(&testkit::round(&undo, 2)).await.0, Outcome::Succeeded);
    let row = shop.row(&input).await.unwrap();
    assert_eq!((row.refunded_amount, row.fault_code), (100, None));
    assert_eq!(shop.totals(&input).await, (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_stopped_is_sent_again_after_the_vendor_has_forgotten_its_key() {
    const LATE_MS: i64 = 15 * 24 * 3600 * 1000;
    let shop = Shop::open().await;
    for cancel_amount in [json!(null), json!(30)] {
        let mut input = input(&key("ok"), &order(), 100);
        input["cancel_amount"] = cancel_amount.clone();
        let (mut execute, mut undo) = commands(&input);
        // The bench's clock is ahead already in the second turn.
        for command in [&mut execute, &mut undo] {
            let now_ms = saga_worker::Clock::now_ms(&*shop.bench.clock);
            (command.first_sent_at_ms, command.expires_at_ms) = (now_ms, now_ms + LATE_MS / 2);
        }
        shop.settle(&execute).await;
        shop.toss.refuse("cancel", "FAILED_INTERNAL_SYSTEM_PROCESSING").await;
        assert_eq!(shop.bench.ask(&undo).await.outcome, Outcome::Retryable);
        shop.toss.clear_faults().await;
        // Its budget is spent, the saga parks, and its operator is on holiday.
        shop.bench.clock.advance_ms(LATE_MS);
        shop.toss.dev(reqwest::Method::POST, "clock", Some(json!({ "advance_ms": LATE_MS }))).await;
        // Without its key, a refund is not sent on what nobody has looked at: here the SDK's inquiry passes and
        // the worker's own look does not.
        for fault in [json!({}), json!({ "error": "COMMON_ERROR" })] {
            shop.toss.fault(json!({ "operation": "inquire", "times": 1, "fault": fault })).await;
        }
        let reply = shop.bench.ask(&testkit::again(&undo)).await;
        assert_eq!((reply.outcome, reply.error.unwrap().code.as_str()), (Outcome::Retryable, "COMMON_ERROR"));
        assert_eq!(shop.totals(&input).await, (100, 0));
        let again = testkit::again(&testkit::again(&undo));
        assert_eq!(shop.settle(&again).await.0, Outcome::Succeeded);
        assert_eq!(shop.totals(&input).await, (100, cancel_amount.as_i64().unwrap_or(100)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_round_of_a_captured_payment_finds_it_and_charges_once() {
    let shop = Shop::open().await;
    let input = input(&key("ok"), &order(), 100);
    let (execute, _) = commands(&input);
    assert_eq!(shop.settle(&execute).await.0, Outcome::Succeeded);
    assert_eq!(shop.settle(&testkit::round(&execute, 2)).await.0, Outcome::Succeeded);
    assert_eq!(shop.totals(&input).await, (100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_payments_at_once_are_captured_once_each() {
    const COUNT: usize = 100;
    let shop = Shop::open().await;
    let inputs: Vec<_> = (0..COUNT).map(|_| input(&key("ok"), &order(), 100)).collect();
    let executes: Vec<_> = inputs.iter().map(|it| commands(it).0).collect();
    shop.bench.send(&executes.iter().chain(&executes).collect::<Vec<_>>()).await;
    for execute in &executes {
        assert_eq!(shop.bench.reply(execute).await.outcome, Outcome::Succeeded);
    }
    let totals = shop.toss.dev(reqwest::Method::GET, "ledger/totals", None).await;
    assert_eq!(totals["captured"], 100 * COUNT);
    assert_eq!(totals["orders_captured_twice"], 0);
    let rows: i64 = sqlx::query_scalar("select sum(captured_amount)::bigint from amends_payment.payment")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(rows, 100 * COUNT as i64);
}
