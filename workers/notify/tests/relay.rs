//! From a command to the feed: one entry a command, over crashes, outages and rival relays.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::proxy::Proxy;
use common::{completed, database, keys_in, redis_feed, tell, tell_some};
use saga_worker::{Answer, CancellationToken, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{eventually, unique_prefix};
use tokio::sync::broadcast;
use worker_notify::feed::redis::RedisFeed;
use worker_notify::feed::ring::Ring;
use worker_notify::feed::{Batch, Bounds, Entry, EntryId, Feed, FeedError, Page};
use worker_notify::outbox;

/// A relay that runs until the end of the test.
struct Relay(CancellationToken);

impl Relay {
    fn start(pool: &PgPool, feed: Arc<dyn Feed>) -> Self {
        let shutdown = CancellationToken::new();
        tokio::spawn(worker_notify::relay(pool.clone(), feed, shutdown.clone()));
        Self(shutdown)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn caught_up(pool: &PgPool) {
    eventually("an empty outbox", 20_000, async || outbox::is_empty(pool).await.unwrap()).await;
}

#[tokio::test]
async fn a_command_is_accepted_once_and_bad_ones_are_refused() {
    let (_database, pool) = database().await;
    let good = completed(json!({ "order_id": "order-1", "note": "a\u{0}b" }));
    let batch = [
        good.clone(),
        completed(json!({ "order_id": "x" })),
        completed(json!({ "amount": 1 })),
        completed(json!({ "order_id": "order-2", "note": "x".repeat(9_000) })),
    ];
    for answer in &tell(&pool, &batch).await[1..] {
        assert!(matches!(answer, Answer::Rejected(fault) if fault.code == "invalid_notice"), "{answer:?}");
    }
    // The barrier would not let it through again; the outbox does not rely on that.
    assert!(matches!(tell(&pool, std::slice::from_ref(&good)).await[..], [Answer::Succeeded(None)]));
    let rows: Vec<(String, String)> =
        sqlx::query_as("select effect_key, data from amends_notify.outbox").fetch_all(&pool).await.unwrap();
    assert_eq!(rows, [(good.effect_key().to_string(), r#"{"note":"a\u0000b"}"#.to_owned())]);
}

#[tokio::test]
async fn every_notice_reaches_the_feed_once_and_in_order() {
    let feeds: [Arc<dyn Feed>; 2] = [Arc::new(Ring::new(10_000)), redis_feed(10_000)];
    for feed in feeds {
        let (_database, pool) = database().await;
        let _relay = Relay::start(&pool, feed.clone());
        let mut told = Vec::new();
        for part in 0..4 {
            told.extend(tell_some(&pool, part * 400, 400).await);
        }
        caught_up(&pool).await;
        assert_eq!(keys_in(&*feed).await, told, "{}", feed.kind());
        let entry = feed.after(EntryId::ZERO, 1).await.unwrap().entries.remove(0);
        let shown: Value = serde_json::from_str(&entry.notice.to_json().unwrap()).unwrap();
        assert_eq!(shown["order_id"], "order-00000");
        assert_eq!(shown["kind"], "order_completed");
        assert_eq!(shown["data"], json!({ "amount": 12_000 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rival_relays_hand_over_nothing_twice() {
    let (_database, pool) = database().await;
    let feed = redis_feed(10_000);
    let _relays: Vec<_> = (0..3).map(|_| Relay::start(&pool, feed.clone())).collect();
    let mut telling = tokio::task::JoinSet::new();
    for part in 0..4 {
        let pool = pool.clone();
        telling.spawn(async move { tell_some(&pool, part * 700, 700).await });
    }
    let told: HashSet<String> = telling.join_all().await.into_iter().flatten().collect();
    caught_up(&pool).await;
    let keys = keys_in(&*feed).await;
    assert_eq!(keys.len(), told.len());
    assert_eq!(keys.into_iter().collect::<HashSet<_>>(), told);
}

/// A real feed whose answers are lost: every batch arrives, and the first `lost` times nobody hears.
#[derive(Debug)]
struct AnswersLost {
    feed: Arc<dyn Feed>,
    lost: AtomicUsize,
}

#[async_trait]
impl Feed for AnswersLost {
    async fn append(&self, batch: &Batch) -> Result<(), FeedError> {
        self.feed.append(batch).await?;
        let lost = self.lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lost.is_ok() { Err(FeedError::NeverReached) } else { Ok(()) }
    }
    async fn after(&self, id: EntryId, count: usize) -> Result<Page, FeedError> {
        self.feed.after(id, count).await
    }
    async fn bounds(&self) -> Result<Option<Bounds>, FeedError> {
        self.feed.bounds().await
    }
    async fn live(&self) -> Result<broadcast::Receiver<Arc<Entry>>, FeedError> {
        self.feed.live().await
    }
    fn kind(&self) -> &'static str {
        self.feed.kind()
    }
}

#[tokio::test]
async fn a_lost_answer_leads_to_no_second_entry() {
    let feeds: [Arc<dyn Feed>; 2] = [Arc::new(Ring::new(10_000)), redis_feed(10_000)];
    for feed in feeds {
        let (_database, pool) = database().await;
        let told = tell_some(&pool, 0, 3).await;
        let lossy = Arc::new(AnswersLost { feed: feed.clone(), lost: AtomicUsize::new(2) });
        let _relay = Relay::start(&pool, lossy.clone());
        caught_up(&pool).await;
        assert_eq!(lossy.lost.load(Ordering::SeqCst), 0, "both answers were lost");
        assert_eq!(keys_in(&*feed).await, told, "{}", feed.kind());
    }
}

#[tokio::test]
async fn an_outage_holds_up_no_command_and_is_made_up_for() {
    let (_database, pool) = database().await;
    let proxy = Proxy::before_redis(false).await;
    let feed = Arc::new(RedisFeed::open(&proxy.url, &unique_prefix("test:events"), 10_000).unwrap());
    let _relay = Relay::start(&pool, feed.clone());
    let mut told = tell_some(&pool, 0, 600).await;
    assert!(!outbox::is_empty(&pool).await.unwrap());
    proxy.restore();
    caught_up(&pool).await;
    proxy.cut();
    told.extend(tell_some(&pool, 600, 600).await);
    proxy.restore();
    caught_up(&pool).await;
    assert_eq!(keys_in(&*feed).await, told);
}
