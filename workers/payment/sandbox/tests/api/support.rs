//! A sandbox on a free port, and a client that speaks to it.

use std::net::SocketAddr;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use toss_sandbox::{DEFAULT_SECRET_KEY, Sandbox, SandboxConfig};

pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    served: tokio::task::JoinHandle<()>,
    stop: DropGuard,
}

/// Status and body of an answer.
pub(crate) type Reply = (u16, Value);

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(SandboxConfig::default()).await
    }

    pub(crate) async fn start_with(config: SandboxConfig) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let sandbox = Sandbox::open(config).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let served = tokio::spawn(async move { sandbox.serve(listener, stopped).await.unwrap() });
        // No idle connections: a graceful stop then waits for nobody.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { base, http, served, stop: stop.drop_guard() }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.served.await.unwrap();
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).basic_auth(DEFAULT_SECRET_KEY, Some(""))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        reply(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        reply(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) fn confirming(&self, key: &str, order_id: &str, amount: i64) -> RequestBuilder {
        let body = json!({ "paymentKey": key, "orderId": order_id, "amount": amount });
        self.request(Method::POST, "/v1/payments/confirm").json(&body)
    }

    pub(crate) async fn confirm(&self, key: &str, order_id: &str, amount: i64) -> Reply {
        reply(self.confirming(key, order_id, amount)).await
    }

    pub(crate) fn cancelling(&self, key: &str, body: Value) -> RequestBuilder {
        self.request(Method::POST, &format!("/v1/payments/{key}/cancel")).json(&body)
    }

    pub(crate) async fn cancel(&self, key: &str, body: Value) -> Reply {
        reply(self.cancelling(key, body)).await
    }

    pub(crate) async fn inquire(&self, key: &str) -> Reply {
        self.get(&format!("/v1/payments/{key}")).await
    }

    pub(crate) async fn fault(&self, rule: Value) {
        let answer = self.request(Method::POST, "/sandbox/faults").json(&rule).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    pub(crate) async fn advance_clock(&self, advance_ms: i64) {
        assert_eq!(self.post("/sandbox/clock", json!({ "advance_ms": advance_ms })).await.0, 200);
    }

    /// Captured and refunded of an order.
    pub(crate) async fn totals(&self, order_id: &str) -> (i64, i64) {
        let (_, totals) = self.get(&format!("/sandbox/ledger/orders/{order_id}")).await;
        (totals["captured"].as_i64().unwrap(), totals["refunded"].as_i64().unwrap())
    }
}

pub(crate) async fn reply(request: RequestBuilder) -> Reply {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

/// Status and code of a refusal.
pub(crate) fn refusal((status, body): &Reply) -> (u16, &str) {
    (*status, body["code"].as_str().unwrap_or("none"))
}
