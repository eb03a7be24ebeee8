//! The carrier's promises: one pickup a key, called off once, and books that outlive the process.

#![allow(clippy::unwrap_used)]

use carrier_sandbox::{Config, DEFAULT_KEY, routes};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

struct Sandbox {
    base: String,
    client: Client,
}

impl Sandbox {
    async fn start(config: Config) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = routes(config).unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { base, client: Client::new() }
    }

    async fn ask(&self, method: Method, path: &str, key: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request =
            self.client.request(method, format!("{}{path}", self.base)).bearer_auth(DEFAULT_KEY);
        request = request.header("Idempotency-Key", key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    async fn request(&self, key: &str, order: &str, address: &str) -> (StatusCode, Value) {
        let body = json!({ "order_id": order, "address": address });
        self.ask(Method::POST, "/v1/pickups", key, Some(body)).await
    }
}

#[tokio::test]
async fn a_key_is_one_pickup_and_an_order_has_one() {
    let carrier = Sandbox::start(Config::default()).await;
    let (status, first) = carrier.request("k-1", "o-1", "Seoul").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(carrier.request("k-1", "o-1", "Seoul").await, (StatusCode::OK, first.clone()));
    assert_eq!(carrier.request("k-1", "o-1", "Busan").await.0, StatusCode::CONFLICT);
    assert_eq!(carrier.request("k-2", "o-1", "Seoul").await.0, StatusCode::CONFLICT);
    assert_eq!(carrier.request("k-3", "o-3", "nowhere").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let stranger =
        carrier.client.get(format!("{}/v1/pickups/by-order/o-1", carrier.base)).send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);

    let path = format!("/v1/pickups/{}", first["tracking"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(carrier.ask(Method::DELETE, &path, "u-1", None).await.0, StatusCode::NO_CONTENT);
    }
    let look = carrier.ask(Method::GET, "/v1/pickups/by-order/o-1", "", None).await;
    assert_eq!(look.0, StatusCode::NOT_FOUND);
    // A request that comes late is answered as it was, and nobody comes.
    assert_eq!(carrier.request("k-1", "o-1", "Seoul").await.1["status"], "called_off");
}

#[tokio::test]
async fn a_flaky_answer_is_lost_once_and_the_books_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: Some(folder.path().to_owned()), ..Config::default() };
    let carrier = Sandbox::start(config.clone()).await;
    assert_eq!(carrier.request("k-1", "o-1", "flaky").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(carrier.ask(Method::GET, "/v1/pickups/by-order/o-1", "", None).await.0, StatusCode::OK);
    let (status, pickup) = carrier.request("k-1", "o-1", "flaky").await;
    assert_eq!(status, StatusCode::OK);
    assert!(routes(config).unwrap_err().to_string().contains("in use"));

    // What a process that died has left, in another's hands.
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("pickups.jsonl");
    let mut left = std::fs::read(folder.path().join("pickups.jsonl")).unwrap();
    left.extend_from_slice(b"{\"tracking\":\"to");
    std::fs::write(file, left).unwrap();
    let carrier =
        Sandbox::start(Config { data_dir: Some(copy.path().to_owned()), ..Config::default() }).await;
    assert_eq!(
        carrier.request("k-1", "o-1", "flaky").await,
        (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "code": "unavailable", "message": "The request was taken, and this answer lost." })
        )
    );
    assert_eq!(carrier.request("k-1", "o-1", "flaky").await, (StatusCode::OK, pickup));
}
