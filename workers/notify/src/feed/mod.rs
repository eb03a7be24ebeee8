//! The feed: a bounded, ordered record of notices that can be read again from any place in it.
//!
//! Two implementations: Redis Streams, and this process's memory. What they share is here; a feed
//! must not know who follows it.

pub mod redis;
pub mod ring;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::notice::Notice;

/// How many entries a feed keeps, about.
pub const ENTRIES_MAX: usize = 100_000;
/// How many entries a live follower may be behind before it is cut.
pub const LAG_MAX: usize = 1_024;

/// An entry's place: a Redis stream's id, `<ms since 1970>-<number within the ms>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// Ms since 1970 UTC, by the feed's clock.
    pub ms: u64,
    /// The number within the ms.
    pub number: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, number: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

/// Not `<ms>-<number>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is <ms>-<number>")]
pub struct BadEntryId;

impl FromStr for EntryId {
    type Err = BadEntryId;

    fn from_str(text: &str) -> Result<Self, BadEntryId> {
        let (ms, number) = text.split_once('-').unwrap_or((text, "0"));
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse().map_err(|_| BadEntryId) } else { Err(BadEntryId) }
        };
        Ok(Self { ms: digits(ms)?, number: digits(number)? })
    }
}

/// An entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub id: EntryId,
    /// What it says.
    pub notice: Notice,
}

/// Notices that are handed over together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The batch's name: the feed takes the batch that it took last only once.
    pub token: Uuid,
    /// The notices, in order.
    pub notices: Vec<Notice>,
}

/// A piece of the feed.
#[derive(Clone, Debug)]
pub struct Page {
    /// Entries, in order.
    pub entries: Vec<Arc<Entry>>,
    /// Where the next piece begins after.
    pub next: EntryId,
    /// Whether the feed had more when this was read.
    pub more: bool,
}

/// The first and the last entry that the feed still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first.
    pub oldest: EntryId,
    /// The last.
    pub newest: EntryId,
}

/// A feed.
#[async_trait]
pub trait Feed: Send + Sync + fmt::Debug + 'static {
    /// Appends a batch, all of it or nothing; a repetition of the last one changes nothing.
    ///
    /// # Errors
    /// When the feed does not confirm, within seconds; the batch may be in it nevertheless.
    async fn append(&self, batch: &Batch) -> Result<(), FeedError>;

    /// Reads at most `count` entries after `id`.
    ///
    /// # Errors
    /// When the feed does not answer.
    async fn after(&self, id: EntryId, count: usize) -> Result<Page, FeedError>;

    /// What it still has; `None` when it is empty.
    ///
    /// # Errors
    /// When the feed does not answer.
    async fn bounds(&self) -> Result<Option<Bounds>, FeedError>;

    /// What comes from now on (and perhaps some that came before). A receiver that falls behind
    /// [`LAG_MAX`] entries is told so instead.
    ///
    /// # Errors
    /// When the feed has never been reached yet.
    async fn live(&self) -> Result<broadcast::Receiver<Arc<Entry>>, FeedError>;

    /// Which implementation it is: `redis` or `in-process`.
    fn kind(&self) -> &'static str;
}

/// Why a feed did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The URL is not one of a Redis.
    #[error("the Redis URL is not valid: {0}")]
    Url(String),
    /// Redis refuses, or does not answer in time.
    #[error("Redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    /// Redis has not been reached since the process started.
    #[error("Redis has not been reached yet")]
    NeverReached,
}

/// The feed for this configuration: Redis when it has a URL, else this process's memory. Must be
/// called on a tokio runtime. Redis need not be up.
///
/// # Errors
/// [`FeedError::Url`].
pub fn open(redis_url: Option<&str>) -> Result<Arc<dyn Feed>, FeedError> {
    match redis_url {
        Some(url) => Ok(Arc::new(redis::RedisFeed::open(url, redis::STREAM, ENTRIES_MAX)?)),
        None => Ok(Arc::new(ring::Ring::new(ENTRIES_MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_like_redis_writes_them_and_sort_by_number() {
        let id = |text: &str| text.parse::<EntryId>();
        assert_eq!(id("1526919030474-55"), Ok(EntryId { ms: 1_526_919_030_474, number: 55 }));
        assert_eq!(id("0"), Ok(EntryId::ZERO));
        assert!(id("9-0").ok() < id("10-0").ok() && id("10-9").ok() < id("10-10").ok());
        assert_eq!(EntryId { ms: 7, number: 1 }.to_string(), "7-1");
        for bad in ["", "-", "1-", "-1", "+1-0", "a", "1-1-1", "18446744073709551616", "$"] {
            assert_eq!(id(bad), Err(BadEntryId), "{bad}");
        }
    }
}
