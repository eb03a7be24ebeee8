//! The feed in this process's memory, for installations without Redis: bounded, and gone with the
//! process. With several notify processes each would have its own, so there must be only one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{Batch, Bounds, Entry, EntryId, Feed, FeedError, LAG_MAX, Page};

/// The feed in memory.
#[derive(Debug)]
pub struct Ring {
    entries_max: usize,
    live: broadcast::Sender<Arc<Entry>>,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    entries: VecDeque<Arc<Entry>>,
    last: EntryId,
    token: Option<Uuid>,
}

impl Ring {
    /// An empty feed that keeps the newest `entries_max` entries.
    pub fn new(entries_max: usize) -> Self {
        let inside = Inside { entries: VecDeque::new(), last: EntryId::ZERO, token: None };
        Self { entries_max, live: broadcast::Sender::new(LAG_MAX), inside: Mutex::new(inside) }
    }
}

/// The id after `last` at `now_ms`: never lower, also when the clock was set back.
fn next_id(last: EntryId, now_ms: u64) -> EntryId {
    if now_ms > last.ms {
        EntryId { ms: now_ms, number: 0 }
    } else {
        EntryId { ms: last.ms, number: last.number + 1 }
    }
}

#[async_trait]
impl Feed for Ring {
    async fn append(&self, batch: &Batch) -> Result<(), FeedError> {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let mut inside = self.inside.lock();
        if inside.token == Some(batch.token) {
            return Ok(());
        }
        for notice in &batch.notices {
            inside.last = next_id(inside.last, now_ms);
            let entry = Arc::new(Entry { id: inside.last, notice: notice.clone() });
            inside.entries.push_back(entry.clone());
            if inside.entries.len() > self.entries_max {
                inside.entries.pop_front();
            }
            // Under the lock, so that followers get entries in their order; nobody listening is fine.
            let _ = self.live.send(entry);
        }
        inside.token = Some(batch.token);
        Ok(())
    }

    async fn after(&self, id: EntryId, count: usize) -> Result<Page, FeedError> {
        let inside = self.inside.lock();
        let from = inside.entries.partition_point(|entry| entry.id <= id);
        let entries: Vec<_> = inside.entries.range(from..).take(count).cloned().collect();
        let next = entries.last().map_or(id, |entry| entry.id);
        Ok(Page { more: from + entries.len() < inside.entries.len(), entries, next })
    }

    async fn bounds(&self) -> Result<Option<Bounds>, FeedError> {
        let inside = self.inside.lock();
        let ends = inside.entries.front().zip(inside.entries.back());
        Ok(ends.map(|(oldest, newest)| Bounds { oldest: oldest.id, newest: newest.id }))
    }

    async fn live(&self) -> Result<broadcast::Receiver<Arc<Entry>>, FeedError> {
        Ok(self.live.subscribe())
    }

    fn kind(&self) -> &'static str {
        "in-process"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_when_the_clock_was_set_back() {
        let at = |ms, number| EntryId { ms, number };
        assert_eq!(next_id(EntryId::ZERO, 5), at(5, 0));
        assert_eq!(next_id(at(5, 0), 5), at(5, 1));
        assert_eq!(next_id(at(5, 1), 3), at(5, 2));
        assert_eq!(next_id(at(5, 2), 6), at(6, 0));
    }
}
