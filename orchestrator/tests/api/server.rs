//! An engine with its API on a port of its own, and a client.

use amends::api::{Api, ApiConfig};
use reqwest::{Method, StatusCode};
use saga_protocol::{Command, Reply, SagaId};
use serde_json::{Value, json};
use test_support::eventually;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Node, Stage, Travel, succeeded};

/// Published over the API: the same steps as the engine's tests have, with a trigger, a strict input and an output.
pub(crate) const TOUR: &str = r#"
saga: tour
description: Books a car, then a room, then pays.
trigger: { http: { method: POST, path: /tours } }
key: ${input.id}
input:
  type: object
  required: [id, guests]
  additionalProperties: false
  properties:
    id: { type: string, minLength: 3 }
    guests:
      type: array
      minItems: 1
      items:
        type: object
        required: [name, age]
        properties: { name: { type: string }, age: { type: integer, minimum: 0 } }
steps:
  car: { worker: travel, action: book_car, compensation: cancel_car, input: { id: "${input.id}" } }
  room:
    after: [car]
    worker: travel
    action: book_room
    compensation: cancel_room
    on_rejected: park
    input: { car: "${steps.car.output.number}" }
  pay: { after: [room], pivot: true, worker: travel, action: pay, input: { id: "${input.id}" } }
output: { room: "${steps.room.output.number}" }
"#;

pub(crate) struct Server {
    pub stage: Stage,
    pub node: Node,
    pub url: String,
    pub http: reqwest::Client,
    pub closing: CancellationToken,
    token: Option<String>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|it| it.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn saga(&self) -> SagaId {
        self.body["saga"].as_str().unwrap().parse().unwrap()
    }

    /// Asserts a problem of this kind.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["type"], format!("/problems/{kind}"), "{}", self.body);
        assert_eq!(self.body["status"], status);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{}", self.body);
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(ApiConfig::default()).await
    }

    /// With the tour published, and no worker.
    pub(crate) async fn with(config: ApiConfig) -> Self {
        Self::make(config, None).await
    }

    /// The same, asked with this token unless a request has another.
    pub(crate) async fn signed_in(config: ApiConfig, token: &str) -> Self {
        Self::make(config, Some(token.to_owned())).await
    }

    async fn make(config: ApiConfig, token: Option<String>) -> Self {
        let server = Self::on(Stage::new(2).await, "a", config, token).await;
        server.publish(TOUR).await;
        server
    }

    /// Another process on the same database and bus.
    pub(crate) async fn on(stage: Stage, name: &str, config: ApiConfig, token: Option<String>) -> Self {
        let node = stage.node(name).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let closing = CancellationToken::new();
        let serving = tokio::spawn(Api::new(node.engine.clone(), config, closing.clone()).serve(listener));
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { stage, node, url, http: reqwest::Client::new(), closing, token, serving }
    }

    /// The process dies: whatever was under way is not finished.
    pub(crate) fn crash(self) -> Stage {
        self.serving.abort();
        self.node.kill();
        self.stage
    }

    pub(crate) async fn publish(&self, source: &str) -> Answer {
        let answer = self
            .request(Method::POST, "/definitions", &[("content-type", "application/yaml")], source.to_owned())
            .await;
        assert!(answer.status.is_success(), "{}", answer.body);
        answer
    }

    /// A worker that does everything, by `decide`.
    pub(crate) async fn travel(&self, decide: impl Fn(&Command) -> Option<Reply> + Send + 'static) {
        Travel::join(self.stage.bus.clone(), &self.stage.topics).await.serve(decide);
    }

    pub(crate) async fn travel_succeeds(&self) {
        self.travel(|command| Some(succeeded(command))).await;
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        self.ask(&self.http, method, path, headers, body).await.unwrap()
    }

    /// The same on a connection of its own; fails when the server closes it before it has taken the body.
    pub(crate) async fn try_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, reqwest::Error> {
        self.ask(&reqwest::Client::new(), method, path, headers, body).await
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = http.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers.iter().filter(|it| **it != ("authorization", "")) {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token
            && !headers.iter().any(|(name, _)| *name == "authorization")
        {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status, headers, body })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.request(Method::POST, path, &all, body.to_string()).await
    }

    /// Posts a tour.
    pub(crate) async fn tour(&self, id: &str, headers: &[(&str, &str)]) -> Answer {
        self.post("/tours", headers, &tour(id)).await
    }

    /// Waits for the saga to have this status, and gives its page.
    pub(crate) async fn until(&self, saga: SagaId, status: &str) -> Value {
        let path = format!("/sagas/{saga}");
        eventually("the saga has its status", 20_000, async || {
            self.get(&path).await.body["status"] == status
        })
        .await;
        self.get(&path).await.body
    }

    /// Nothing of any saga was written.
    pub(crate) async fn nothing_was_written(&self) {
        let sql = "select (select count(*) from saga) + (select count(*) from saga_state) + (select count(*) from history)
             + (select count(*) from outbox) + (select count(*) from start_key) + (select count(*) from mailbox)";
        assert_eq!(self.stage.count(sql).await, 0);
    }

    pub(crate) async fn stop(self) {
        self.closing.cancel();
        self.serving.await.unwrap().unwrap();
        self.node.stop().await;
    }
}

pub(crate) fn tour(id: &str) -> Value {
    json!({ "id": id, "guests": [{ "name": "Kim", "age": 41 }] })
}
