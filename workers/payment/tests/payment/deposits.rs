//! Deposits: kept with the vendor's proof, found out without a webhook too, and told until the engine has answered.
//!
//! The engine here is one endpoint that answers as it is told; the whole of it is met in the orchestrator's tests.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use parking_lot::Mutex;
use reqwest::Method;
use saga_protocol::Outcome;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use worker_payment::deposit::{Engine, EngineConfig, look, tell};

use crate::support::{commands, input, key, order};
use crate::worker::Shop;

/// What was asked of the engine: path, headers, body.
type Asked = (String, HeaderMap, Value);

#[derive(Clone, Default)]
struct Door {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Door {
    /// Answers with these statuses first, then with 202.
    async fn open(answers: &[u16]) -> (Self, Engine) {
        let door = Self::default();
        door.answers.lock().extend(answers);
        let app = Router::new()
            .route("/sagas/{saga}/signals/{name}", axum::routing::post(take))
            .with_state(door.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (door, Engine::new(EngineConfig { url, api_key: Some("amk_test".to_owned()) }).unwrap())
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

async fn take(
    State(door): State<Door>,
    Path((saga, name)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    door.asked.lock().push((format!("{saga}/{name}"), headers, body));
    let status = StatusCode::from_u16(door.answers.lock().pop_front().unwrap_or(202)).unwrap();
    (status, Json(json!({ "type": "/problems/test", "title": "a problem" }))).into_response()
}

/// An account that was opened for a saga. Without the sandbox's webhooks.
struct Account {
    shop: Shop,
    input: Value,
    execute: saga_protocol::Command,
    undo: saga_protocol::Command,
}

impl Account {
    async fn open(fate: &str) -> Self {
        let mut input = input(&key(fate), &order(), 100);
        input["virtual_account"] = json!(true);
        input["refund_account"] = json!({ "bank": "88", "account_number": "1", "holder_name": "Kim" });
        let shop = Shop::open().await;
        let (execute, undo) = commands(&input);
        assert_eq!(shop.settle(&execute).await.0, Outcome::Succeeded);
        Self { shop, input, execute, undo }
    }

    async fn deposit(&self, undone: bool) {
        let body = json!({ "order_id": self.input["order_id"], "undone": undone });
        self.shop.toss.dev(Method::POST, "deposits", Some(body)).await;
    }

    /// Asks the vendor now, due or not.
    async fn look(&self) -> usize {
        sqlx::query("update amends_payment.payment set next_look_at = now()")
            .execute(&self.shop.pool)
            .await
            .unwrap();
        look::pass(&self.shop.pool, &self.shop.toss.client).await.unwrap()
    }

    /// Tells the engine now, due or not.
    async fn tell(&self, engine: Option<&Engine>) -> usize {
        sqlx::query("update amends_payment.deposit set next_try_at = now() where outcome is null")
            .execute(&self.shop.pool)
            .await
            .unwrap();
        tell::pass(&self.shop.pool, engine).await.unwrap()
    }

    async fn outcomes(&self) -> Vec<Option<String>> {
        sqlx::query_scalar("select outcome from amends_payment.deposit")
            .fetch_all(&self.shop.pool)
            .await
            .unwrap()
    }
}

fn some(outcome: &str) -> Vec<Option<String>> {
    vec![Some(outcome.to_owned())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_whose_webhook_got_lost_is_found_and_told_once() {
    let account = Account::open("virtual").await;
    let (door, engine) = Door::open(&[]).await;
    assert_eq!(look::pass(&account.shop.pool, &account.shop.toss.client).await.unwrap(), 0, "not due yet");
    assert_eq!(account.look().await, 1);
    assert_eq!(account.outcomes().await, [], "no deposit yet");
    account.deposit(false).await;
    assert_eq!(account.look().await, 1);
    assert_eq!(account.shop.row(&account.input).await.unwrap().status, "DONE");
    assert_eq!(account.look().await, 0, "nobody asks any more");
    assert_eq!(account.outcomes().await, [None]);
    assert_eq!(account.tell(Some(&engine)).await, 1);
    assert_eq!(account.outcomes().await, some("told"));
    assert_eq!(account.tell(Some(&engine)).await, 0);

    let [(path, headers, body)] = door.asked().try_into().unwrap();
    assert_eq!(path, format!("{}/deposited", account.execute.saga));
    assert_eq!(headers["authorization"], "Bearer amk_test");
    assert_eq!((&body["amount"], &body["order_id"]), (&json!(100), &account.input["order_id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_at_once_is_told_of_too_and_who_was_offered_no_account_is_not() {
    let account = Account::open("ok").await;
    assert_eq!(account.outcomes().await, [None], "the saga waits for a deposit all the same");
    let card = input(&key("ok"), &order(), 100);
    assert_eq!(account.shop.settle(&commands(&card).0).await.0, Outcome::Succeeded);
    assert_eq!(account.outcomes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_again_under_the_same_key_until_there_is_an_answer() {
    let account = Account::open("virtual").await;
    account.deposit(false).await;
    account.look().await;
    let (door, engine) = Door::open(&[503, 401, 400]).await;
    for _ in 0..3 {
        assert_eq!(account.tell(Some(&engine)).await, 1);
        assert_eq!(account.outcomes().await, [None]);
        assert_eq!(tell::pass(&account.shop.pool, Some(&engine)).await.unwrap(), 0, "not before its pause");
    }
    account.tell(Some(&engine)).await;
    assert_eq!(account.outcomes().await, some("told"));
    // A process that died before its note was written leaves the row as it was.
    sqlx::query("update amends_payment.deposit set outcome = null, finished_at = null")
        .execute(&account.shop.pool)
        .await
        .unwrap();
    account.tell(Some(&engine)).await;
    let asked = door.asked();
    assert_eq!(asked.len(), 5);
    let same = |(path, headers, body): &Asked| {
        let first = &asked[0];
        (path, &headers["idempotency-key"], body) == (&first.0, &first.1["idempotency-key"], &first.2)
    };
    assert!(asked.iter().all(same), "{asked:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_refusal_ends_it_and_an_engine_that_is_away_does_not() {
    let account = Account::open("virtual").await;
    account.deposit(false).await;
    account.look().await;
    let nowhere = EngineConfig { url: "http://127.0.0.1:1".to_owned(), api_key: None };
    account.tell(Some(&Engine::new(nowhere).unwrap())).await;
    assert_eq!(account.outcomes().await, [None]);
    // Nobody is configured: it stays, and is told once somebody is.
    assert_eq!(account.tell(None).await, 0);
    assert_eq!(account.outcomes().await, [None]);
    let (_, engine) = Door::open(&[404]).await;
    account.tell(Some(&engine)).await;
    assert_eq!(account.outcomes().await, some("refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_back_before_it_was_told_is_not_told_and_what_went_back_later_is_noted() {
    let account = Account::open("virtual").await;
    let (door, engine) = Door::open(&[]).await;
    for (undone, expected) in [(false, None), (true, Some("withdrawn")), (false, None)] {
        account.deposit(undone).await;
        if undone {
            // The vendor tells of it by a webhook only, which asks for the payment as this does.
            let key = account.input["payment_key"].as_str().unwrap();
            follow(&account, key).await;
        } else {
            account.look().await;
        }
        assert_eq!(account.outcomes().await, [expected.map(str::to_owned)]);
    }
    account.tell(Some(&engine)).await;
    assert_eq!(account.outcomes().await, some("told"));
    account.deposit(true).await;
    follow(&account, account.input["payment_key"].as_str().unwrap()).await;
    assert_eq!(account.outcomes().await, some("taken_back"));
    assert_eq!(door.asked().len(), 1);
}

/// Follows what the vendor says of a payment, as a webhook makes the worker do.
async fn follow(account: &Account, payment_key: &str) {
    let secret = account.shop.toss.client.payment(payment_key).await.unwrap().unwrap().secret;
    let body = json!({ "eventType": "PAYMENT_STATUS_CHANGED", "data": { "paymentKey": payment_key, "secret": secret } });
    sqlx::query(
        "insert into amends_payment.webhook (transmission_id, body) values (gen_random_uuid()::text, $1)",
    )
    .bind(body.to_string())
    .execute(&account.shop.pool)
    .await
    .unwrap();
    let looked = worker_payment::webhook::look::pass(&account.shop.pool, &account.shop.toss.client).await;
    assert_eq!(looked.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_nobody_has_seen_goes_back_to_the_customers_account() {
    let account = Account::open("virtual").await;
    account.deposit(false).await;
    assert_eq!(account.shop.settle(&account.undo).await.0, Outcome::Succeeded);
    let order_id = account.input["order_id"].as_str().unwrap();
    assert_eq!(account.shop.toss.totals(order_id).await, (100, 100));
    let row = account.shop.row(&account.input).await.unwrap();
    assert_eq!((row.captured_amount, row.refunded_amount), (100, 100), "the refund proves the deposit");
    assert_eq!(account.outcomes().await, [], "and nobody is told");
    let ledger = account.shop.toss.dev(Method::GET, "ledger", None).await;
    let refund = &ledger["movements"][1];
    assert_eq!(refund["kind"], "refunded");
    assert_eq!(
        refund["refund_account"],
        json!({ "bank": "88", "account_number": "1", "holder_name": "Kim" })
    );
}
