//! What every feed promises, on both implementations: a real Redis and this process's memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::proxy::Proxy;
use common::{batch, keys_in, notices, redis_feed};
use test_support::{eventually, unique_prefix};
use worker_notify::feed::redis::RedisFeed;
use worker_notify::feed::ring::Ring;
use worker_notify::feed::{EntryId, Feed};

fn feeds() -> [Arc<dyn Feed>; 2] {
    [Arc::new(Ring::new(1_000)), redis_feed(1_000)]
}

#[tokio::test]
async fn entries_are_read_in_order_and_from_any_place() {
    for feed in feeds() {
        assert_eq!(feed.bounds().await.unwrap(), None);
        let told = notices(0, 5);
        feed.append(&batch(&told[..3])).await.unwrap();
        feed.append(&batch(&told[3..])).await.unwrap();
        let all = feed.after(EntryId::ZERO, 10).await.unwrap();
        assert!(!all.more);
        assert_eq!(all.entries.iter().map(|entry| entry.notice.clone()).collect::<Vec<_>>(), told);
        assert!(all.entries.is_sorted_by(|one, two| one.id < two.id));

        let part = feed.after(all.entries[1].id, 2).await.unwrap();
        assert_eq!((part.entries.as_slice(), part.more), (&all.entries[2..4], true));
        assert_eq!(part.next, all.entries[3].id);
        let rest = feed.after(part.next, 2).await.unwrap();
        assert_eq!((rest.entries.as_slice(), rest.more), (&all.entries[4..], false));
        let end = feed.after(rest.next, 2).await.unwrap();
        assert_eq!((end.entries.len(), end.more, end.next), (0, false, rest.next));
        let bounds = feed.bounds().await.unwrap().unwrap();
        assert_eq!((bounds.oldest, bounds.newest), (all.entries[0].id, all.entries[4].id));
    }
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_taken_once() {
    for feed in feeds() {
        let (one, two) = (batch(&notices(0, 3)), batch(&notices(3, 2)));
        for sent in [&one, &one, &two, &two] {
            feed.append(sent).await.unwrap();
        }
        assert_eq!(keys_in(&*feed).await.len(), 5, "{}", feed.kind());
    }
}

#[tokio::test]
async fn the_live_end_hears_every_entry_once() {
    for feed in feeds() {
        feed.append(&batch(&notices(0, 2))).await.unwrap();
        let mut live = feed.live().await.unwrap();
        let newest = feed.bounds().await.unwrap().unwrap().newest;
        let told = notices(2, 300);
        for part in told.chunks(100) {
            feed.append(&batch(part)).await.unwrap();
        }
        let mut heard = Vec::new();
        while heard.len() < told.len() {
            let entry = tokio::time::timeout(std::time::Duration::from_secs(10), live.recv());
            let entry = entry.await.expect("entries come").unwrap();
            if entry.id > newest {
                heard.push(entry.notice.clone());
            }
        }
        assert_eq!(heard, told, "{}", feed.kind());
    }
}

#[tokio::test]
async fn a_feed_is_bounded() {
    let ring = Ring::new(10);
    ring.append(&batch(&notices(0, 25))).await.unwrap();
    let kept = ring.after(EntryId::ZERO, 100).await.unwrap().entries;
    assert_eq!(kept.first().unwrap().notice.order_id, "order-00015");
    assert_eq!(kept.len(), 10);
    // Redis trims whole nodes of its tree (100 entries by default), so "about".
    let redis = redis_feed(100);
    for at in 0..10 {
        redis.append(&batch(&notices(at * 100, 100))).await.unwrap();
    }
    let kept = keys_in(&*redis).await.len();
    assert!((100..400).contains(&kept), "{kept}");
}

#[tokio::test]
async fn entries_that_somebody_else_wrote_are_passed_over() {
    let stream = unique_prefix("test:events");
    let feed = RedisFeed::open(&test_support::redis_url(), &stream, 1_000).unwrap();
    let mut live = feed.live().await.unwrap();
    feed.append(&batch(&notices(0, 1))).await.unwrap();
    let client = redis::Client::open(test_support::redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: String = redis::cmd("XADD")
        .arg(&stream)
        .arg("*")
        .arg("hello")
        .arg("world")
        .query_async(&mut connection)
        .await
        .unwrap();
    feed.append(&batch(&notices(1, 1))).await.unwrap();
    assert_eq!(keys_in(&feed).await.len(), 2);
    let page = feed.after(EntryId::ZERO, 2).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (1, true), "the place moves on behind it");
    assert_eq!(live.recv().await.unwrap().notice.order_id, "order-00000");
    assert_eq!(live.recv().await.unwrap().notice.order_id, "order-00001");
}

#[tokio::test]
async fn redis_may_be_away_at_the_start_and_later() {
    let proxy = Proxy::before_redis(false).await;
    let feed = RedisFeed::open(&proxy.url, &unique_prefix("test:events"), 1_000).unwrap();
    let told = batch(&notices(0, 1));
    assert!(feed.append(&told).await.is_err());
    assert!(feed.live().await.is_err(), "a follower is not promised what cannot be kept");

    proxy.restore();
    eventually("an append after Redis came up", 10_000, async || feed.append(&told).await.is_ok()).await;
    let mut live = feed.live().await.unwrap();

    proxy.cut();
    let later = batch(&notices(1, 1));
    assert!(feed.append(&later).await.is_err());
    proxy.restore();
    eventually("an append after Redis came back", 10_000, async || feed.append(&later).await.is_ok()).await;
    assert_eq!(keys_in(&feed).await.len(), 2);
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        loop {
            let entry = live.recv().await.unwrap();
            if entry.notice.order_id == "order-00001" {
                return entry;
            }
        }
    });
    heard.await.expect("the live end goes on where it was");
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_being_repeated() {
    let error = worker_notify::feed(Some("http://:secret@nowhere")).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}
