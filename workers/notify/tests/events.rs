//! `GET /events`, through its router, on both feeds.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use common::proxy::Proxy;
use common::{batch, database, follow, get, notices, redis_feed};
use saga_worker::CancellationToken;
use serde_json::{Value, json};
use test_support::{FreshDatabase, unique_prefix};
use worker_notify::feed::redis::RedisFeed;
use worker_notify::feed::ring::Ring;
use worker_notify::feed::{Feed, LAG_MAX};

fn feeds() -> [Arc<dyn Feed>; 2] {
    [Arc::new(Ring::new(10_000)), redis_feed(10_000)]
}

async fn router(feed: &Arc<dyn Feed>) -> (FreshDatabase, Router, CancellationToken) {
    let (database, pool) = database().await;
    let shutdown = CancellationToken::new();
    (database, worker_notify::routes(pool, feed.clone(), shutdown.clone()), shutdown)
}

fn orders(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|at| format!("order-{at:05}")).collect()
}

#[tokio::test]
async fn a_follower_sees_what_happens_from_now_on() {
    for feed in feeds() {
        let (_database, router, _) = router(&feed).await;
        feed.append(&batch(&notices(0, 3))).await.unwrap();
        let (mut events, first) = follow(&router, "", None).await;
        assert_eq!(first.id, Some(feed.bounds().await.unwrap().unwrap().newest.to_string()));
        let told = notices(3, 1);
        feed.append(&batch(&told)).await.unwrap();
        let frame = events.next().await.unwrap();
        assert_eq!(frame.event.as_deref(), Some("order_completed"));
        assert_eq!(frame.id, Some(feed.bounds().await.unwrap().unwrap().newest.to_string()));
        assert_eq!(
            frame.json(),
            json!({
                "effect_key": told[0].effect_key,
                "saga": told[0].saga.to_string(),
                "order_id": "order-00003",
                "kind": "order_completed",
                "noticed_at": "2026-01-01T00:00:00.000Z",
                "data": { "amount": 12_000 },
            })
        );
    }
}

#[tokio::test]
async fn a_follower_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    for feed in feeds() {
        let (_database, router, _) = router(&feed).await;
        let (mut events, place) = follow(&router, "", None).await;
        feed.append(&batch(&notices(0, 2))).await.unwrap();
        let seen = events.next().await.unwrap();
        assert_eq!(seen.json()["order_id"], "order-00000");
        drop(events);
        // More than a page while it is away.
        for part in 0..3 {
            feed.append(&batch(&notices(2 + part * 300, 300))).await.unwrap();
        }
        let (mut events, _) = follow(&router, "", seen.id.as_deref()).await;
        assert_eq!(events.orders(901).await, orders(1, 901));
        feed.append(&batch(&notices(902, 1))).await.unwrap();
        assert_eq!(events.orders(1).await, orders(902, 1), "the past leads into the present");
        // One that saw nothing yet comes back to its first place, by the query as well.
        let (mut events, _) = follow(&router, &format!("?last_event_id={}", place.id.unwrap()), None).await;
        assert_eq!(events.orders(903).await, orders(0, 903));
    }
}

#[tokio::test]
async fn a_follower_of_one_order_sees_only_that() {
    for feed in feeds() {
        let (_database, router, _) = router(&feed).await;
        feed.append(&batch(&notices(0, 600))).await.unwrap();
        let (mut events, _) = follow(&router, "?order_id=order-00599", Some("0-0")).await;
        assert_eq!(events.orders(1).await, ["order-00599"]);
        feed.append(&batch(&notices(598, 2))).await.unwrap();
        assert_eq!(events.orders(1).await, ["order-00599"]);
    }
}

#[tokio::test]
async fn a_follower_that_cannot_keep_up_is_cut_and_resumes_without_loss() {
    for feed in feeds() {
        let (_database, router, _) = router(&feed).await;
        let (mut events, place) = follow(&router, "", None).await;
        let mut witness = feed.live().await.unwrap();
        let count = LAG_MAX * 3;
        for part in notices(0, count).chunks(512) {
            feed.append(&batch(part)).await.unwrap();
        }
        // The stream is not read meanwhile. Wait until the live end has passed everything.
        let last = feed.bounds().await.unwrap().unwrap().newest;
        let passed = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            loop {
                match witness.recv().await {
                    Ok(entry) if entry.id == last => return,
                    _ => {}
                }
            }
        });
        passed.await.expect("the live end passes all entries");
        let mut seen = Vec::new();
        let mut cursor = place.id.unwrap();
        while let Some(frame) = events.next().await {
            cursor = frame.id.clone().unwrap();
            seen.push(frame.json()["order_id"].as_str().unwrap().to_owned());
        }
        assert!(seen.len() < count, "it was cut, not fed from a buffer");
        let (mut events, _) = follow(&router, "", Some(&cursor)).await;
        seen.extend(events.orders(count - seen.len()).await);
        assert_eq!(seen, orders(0, count), "{}", feed.kind());
    }
}

#[tokio::test]
async fn a_place_that_is_gone_is_told_as_a_gap() {
    let feed: Arc<dyn Feed> = Arc::new(Ring::new(10));
    let (_database, router, _) = router(&feed).await;
    feed.append(&batch(&notices(0, 15))).await.unwrap();
    let (mut events, _) = follow(&router, "", Some("5-0")).await;
    let gap = events.next().await.unwrap();
    assert_eq!(gap.event.as_deref(), Some("gap"));
    assert_eq!(gap.json()["after"], "5-0");
    assert_eq!(gap.json()["oldest"], feed.bounds().await.unwrap().unwrap().oldest.to_string());
    assert_eq!(events.orders(10).await, orders(5, 10));
    // Who asks for everything there is has missed nothing.
    let (mut events, _) = follow(&router, "", Some("0")).await;
    assert_eq!(events.next().await.unwrap().json()["order_id"], "order-00005");
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let feed: Arc<dyn Feed> = Arc::new(Ring::new(10));
    let (_database, router, _) = router(&feed).await;
    for query in ["last_event_id=x", "last_event_id=1-", "order_id=x", "order_id=a%0Ab%0Ac%0A"] {
        assert_eq!(get(&router, &format!("/events?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn a_stopping_process_ends_its_streams() {
    let feed: Arc<dyn Feed> = Arc::new(Ring::new(10));
    let (_database, router, shutdown) = router(&feed).await;
    let (mut events, _) = follow(&router, "", None).await;
    shutdown.cancel();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn without_redis_streams_are_refused_and_health_is_good() {
    let proxy = Proxy::before_redis(false).await;
    let feed: Arc<dyn Feed> =
        Arc::new(RedisFeed::open(&proxy.url, &unique_prefix("test:events"), 1_000).unwrap());
    let (_database, router, _) = router(&feed).await;
    assert_eq!(get(&router, "/events").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, body) = get(&router, "/healthz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, json!({ "status": "ok", "feed": "redis", "caught_up": true }));
}

#[tokio::test]
async fn a_stream_outlives_an_outage_of_redis() {
    let proxy = Proxy::before_redis(true).await;
    let stream = unique_prefix("test:events");
    let feed: Arc<dyn Feed> = Arc::new(RedisFeed::open(&proxy.url, &stream, 1_000).unwrap());
    let other = RedisFeed::open(&test_support::redis_url(), &stream, 1_000).unwrap();
    let (_database, router, _) = router(&feed).await;
    let (mut events, _) = follow(&router, "", None).await;
    proxy.cut();
    // Another process's relay still reaches Redis.
    other.append(&batch(&notices(0, 3))).await.unwrap();
    proxy.restore();
    assert_eq!(events.orders(3).await, orders(0, 3));
    let shown: Value = get(&router, "/healthz").await.1;
    assert_eq!(shown["status"], "ok");
}
