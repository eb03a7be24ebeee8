//! A sandbox on a free port with a hand on its faults and its ledger, and calls to try handlers with.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::Method;
use saga_worker::testkit;
use saga_worker::{Call, Command, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use toss_sandbox::{DEFAULT_SECRET_KEY, Sandbox, SandboxConfig};
use worker_payment::payments::Payments;
use worker_payment::toss::{Client, Config, SecretKey};

pub(crate) struct Toss {
    pub(crate) base: String,
    pub(crate) client: Client,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// A client with a timeout that tests can wait for.
pub(crate) fn client(base: &str, secret_key: &str, timeout_ms: u64) -> Client {
    let config = Config { timeout_ms, ..Config::new(base, SecretKey::new(secret_key)) };
    Client::new(config).unwrap()
}

/// A payment key that nothing else uses, with a fate.
pub(crate) fn key(fate: &str) -> String {
    format!("tviva_{fate}_{}", uuid::Uuid::now_v7().simple())
}

/// An order id that nothing else uses.
pub(crate) fn order() -> String {
    format!("order-{}", uuid::Uuid::now_v7().simple())
}

impl Toss {
    pub(crate) async fn start() -> Self {
        Self::start_with(SandboxConfig::default()).await
    }

    pub(crate) async fn start_with(config: SandboxConfig) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let client = client(&base, DEFAULT_SECRET_KEY, 10_000);
        let sandbox = Sandbox::open(config).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { sandbox.serve(listener, stopped).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base, client, http, _stop: stop.drop_guard() }
    }

    pub(crate) async fn dev(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}/sandbox/{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// What goes wrong from now on.
    pub(crate) async fn fault(&self, rule: Value) {
        self.dev(Method::POST, "faults", Some(rule)).await;
    }

    /// Every request of this operation is refused with this code, and nothing happens.
    pub(crate) async fn refuse(&self, operation: &str, code: &str) {
        self.fault(json!({ "operation": operation, "fault": { "error": code } })).await;
    }

    pub(crate) async fn clear_faults(&self) {
        self.dev(Method::DELETE, "faults", None).await;
    }

    /// Captured and refunded of an order, by the sandbox's ledger.
    pub(crate) async fn totals(&self, order_id: &str) -> (i64, i64) {
        let totals = self.dev(Method::GET, &format!("ledger/orders/{order_id}"), None).await;
        (totals["captured"].as_i64().unwrap(), totals["refunded"].as_i64().unwrap())
    }

    pub(crate) fn payments(&self) -> Payments {
        Payments::new(self.client.clone())
    }
}

/// An input of `confirm`.
pub(crate) fn input(payment_key: &str, order_id: &str, amount: i64) -> Value {
    json!({ "payment_key": payment_key, "order_id": order_id, "amount": amount })
}

/// The command to confirm, and the one to undo it.
pub(crate) fn commands(input: &Value) -> (saga_protocol::Command, saga_protocol::Command) {
    let execute = testkit::execute("confirm", input);
    let undo = testkit::compensate(&execute, "cancel", true);
    (execute, undo)
}

/// A call that may be sent.
pub(crate) fn call(command: saga_protocol::Command) -> Call {
    Call::for_test(Command { wire: command, traceparent: None }, i64::MAX, Arc::new(SystemClock))
}
