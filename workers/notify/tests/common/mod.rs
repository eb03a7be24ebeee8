//! A migrated database, commands as the orchestrator words them, and a reader of event streams.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod proxy;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use saga_protocol::{Direction, SagaId, StepName};
use saga_worker::{Answer, Command, Transactional};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{FreshDatabase, unique_prefix};
use tower::ServiceExt;
use uuid::Uuid;
use worker_notify::feed::redis::RedisFeed;
use worker_notify::feed::{Batch, Feed};
use worker_notify::notice::{Kind, Notice};
use worker_notify::tell::Tell;

pub async fn database() -> (FreshDatabase, PgPool) {
    let database = test_support::fresh_database().await;
    let pool = database.pool(10).await;
    worker_notify::migrate(&pool).await.unwrap();
    (database, pool)
}

/// A feed of its own on the real Redis.
pub fn redis_feed(entries_max: usize) -> Arc<RedisFeed> {
    let stream = unique_prefix("test:events");
    Arc::new(RedisFeed::open(&test_support::redis_url(), &stream, entries_max).unwrap())
}

pub fn completed(input: Value) -> Command {
    let wire = saga_protocol::Command {
        saga: SagaId(Uuid::now_v7()),
        definition: "order-checkout".to_owned(),
        step: StepName::new("notify_customer").unwrap(),
        item: None,
        direction: Direction::Execute,
        round: 1,
        attempt: 1,
        action: "order_completed".to_owned(),
        undoes: None,
        first_sent_at_ms: 0,
        sent_at_ms: 0,
        expires_at_ms: i64::MAX,
        input: serde_json::value::to_raw_value(&input).unwrap(),
        output: None,
    };
    Command { wire, traceparent: None }
}

/// Runs a batch of `order_completed` in a transaction of its own.
pub async fn tell(pool: &PgPool, commands: &[Command]) -> Vec<Answer> {
    let mut tx = pool.begin().await.unwrap();
    let answers = Tell(Kind::OrderCompleted).execute(&mut tx, commands).await.unwrap();
    assert_eq!(answers.len(), commands.len());
    tx.commit().await.unwrap();
    answers
}

/// Accepts notices for orders `order-<from>` and on, and returns their effect keys.
pub async fn tell_some(pool: &PgPool, from: usize, count: usize) -> Vec<String> {
    let commands: Vec<_> = (from..from + count)
        .map(|at| completed(json!({ "order_id": format!("order-{at:05}"), "amount": 12_000 })))
        .collect();
    tell(pool, &commands).await;
    commands.iter().map(|command| command.effect_key().to_string()).collect()
}

pub fn batch(notices: &[Notice]) -> Batch {
    Batch { token: Uuid::now_v7(), notices: notices.to_vec() }
}

/// Notices about orders `order-<from>` and on.
pub fn notices(from: usize, count: usize) -> Vec<Notice> {
    (from..from + count)
        .map(|at| {
            let saga = SagaId(Uuid::now_v7());
            Notice {
                effect_key: format!("{saga}:notify_customer:x1"),
                saga,
                order_id: format!("order-{at:05}"),
                kind: "order_completed".to_owned(),
                noticed_at: "2026-01-01T00:00:00.000Z".to_owned(),
                data: r#"{"amount":12000}"#.to_owned(),
            }
        })
        .collect()
}

/// The effect keys of everything in the feed.
pub async fn keys_in(feed: &dyn Feed) -> Vec<String> {
    let mut keys = Vec::new();
    let mut at = worker_notify::feed::EntryId::ZERO;
    loop {
        let page = feed.after(at, 1_000).await.unwrap();
        keys.extend(page.entries.iter().map(|entry| entry.notice.effect_key.clone()));
        at = page.next;
        if !page.more {
            return keys;
        }
    }
}

/// One frame of an event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
}

impl Frame {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_ref().unwrap()).unwrap()
    }
}

/// An open event stream.
pub struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    /// The next frame; `None` when the stream has ended. Comments are passed over.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let parsed = parse(frame);
                self.text = rest.to_owned();
                if parsed != Frame::default() {
                    return Some(parsed);
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next());
            let chunk = chunk.await.expect("an event, or the end, within 20 s")?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The order ids of the next `count` events.
    pub async fn orders(&mut self, count: usize) -> Vec<String> {
        let mut orders = Vec::new();
        while orders.len() < count {
            let frame = self.next().await.expect("the stream goes on");
            orders.push(frame.json()["order_id"].as_str().unwrap().to_owned());
        }
        orders
    }
}

fn parse(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", value)) => frame.id = Some(value.to_owned()),
            Some(("event", value)) => frame.event = Some(value.to_owned()),
            Some(("data", value)) => frame.data = Some(value.to_owned()),
            _ => {}
        }
    }
    frame
}

/// Opens an event stream and returns it with its first frame (the place, without data).
pub async fn follow(router: &Router, query: &str, last: Option<&str>) -> (Events, Frame) {
    let mut request = Request::get(format!("/events{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = Events { body: response.into_body().into_data_stream(), text: String::new() };
    let first = events.next().await.unwrap();
    assert!(first.id.is_some() && first.data.is_none(), "{first:?}");
    (events, first)
}

pub async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}
