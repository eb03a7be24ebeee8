//! The feed in a Redis stream. Redis need not be up when this starts, and may go away and come back.
//!
//! One connection appends and reads; another waits for what is new and tells all followers of this
//! process, so that the number of followers does not weigh on Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{AsyncConnectionConfig, Client, RedisError, Script, Value, cmd, from_redis_value_ref};
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

use super::{Batch, Bounds, Entry, EntryId, Feed, FeedError, LAG_MAX, Page};
use crate::notice::Notice;

/// The stream's key.
pub const STREAM: &str = "amends:events";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one wait for new entries lasts.
const BLOCK_MS: u64 = 5_000;
/// How long a new follower waits for the first contact with Redis.
const FIRST_CONTACT: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
const READ_COUNT: usize = 256;

/// Appends a batch unless it is the one that was appended last: atomic, so that a batch is in the
/// stream as a whole or not at all. KEYS: stream, token's key. ARGV: token, how many entries to keep
/// about, then six values an entry.
const APPEND: &str = r"
if redis.call('GET', KEYS[2]) == ARGV[1] then return 0 end
for i = 3, #ARGV, 6 do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*',
        'effect_key', ARGV[i], 'saga', ARGV[i + 1], 'order_id', ARGV[i + 2],
        'kind', ARGV[i + 3], 'noticed_at', ARGV[i + 4], 'data', ARGV[i + 5])
end
redis.call('SET', KEYS[2], ARGV[1])
return 1
";

/// The feed in a Redis stream.
#[derive(Debug)]
pub struct RedisFeed {
    stream: String,
    entries_max: usize,
    connection: Connection,
    append: Script,
    live: broadcast::Sender<Arc<Entry>>,
    contact: watch::Receiver<bool>,
    tail: AbortHandle,
}

/// The manager, which has no `Debug` that may be printed (its URL may hold a password).
struct Connection(ConnectionManager);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Drop for RedisFeed {
    fn drop(&mut self) {
        self.tail.abort();
    }
}

impl RedisFeed {
    /// A feed in the stream `stream`, which is trimmed to about `entries_max` entries. Must be called
    /// on a tokio runtime; connects in the background.
    ///
    /// # Errors
    /// [`FeedError::Url`].
    pub fn open(url: &str, stream: &str, entries_max: usize) -> Result<Self, FeedError> {
        // The error's text does not repeat the URL, which may hold a password.
        let client = Client::open(url).map_err(|error| FeedError::Url(error.to_string()))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            // Whoever asks repeats the question; long retries inside would only hide the trouble.
            .set_number_of_retries(1)
            .set_max_delay(RECONNECT_PAUSE);
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        let live = broadcast::Sender::new(LAG_MAX);
        let (told, contact) = watch::channel(false);
        let tail = Tail {
            client,
            stream: stream.to_owned(),
            live: live.clone(),
            contact: told,
            at: None,
            away: false,
        };
        let tail = tokio::spawn(tail.run()).abort_handle();
        Ok(Self {
            stream: stream.to_owned(),
            entries_max,
            connection: Connection(connection),
            append: Script::new(APPEND),
            live,
            contact,
            tail,
        })
    }

    /// The braces make a cluster keep the key where the stream is.
    fn token_key(&self) -> String {
        format!("{{{}}}:batch", self.stream)
    }
}

#[async_trait]
impl Feed for RedisFeed {
    async fn append(&self, batch: &Batch) -> Result<(), FeedError> {
        let mut call = self.append.key(&self.stream);
        call.key(self.token_key()).arg(batch.token.to_string()).arg(self.entries_max);
        for notice in &batch.notices {
            call.arg(&notice.effect_key)
                .arg(notice.saga.to_string())
                .arg(&notice.order_id)
                .arg(&notice.kind)
                .arg(&notice.noticed_at)
                .arg(&notice.data);
        }
        let _: i64 = call.invoke_async(&mut self.connection.0.clone()).await?;
        Ok(())
    }

    async fn after(&self, id: EntryId, count: usize) -> Result<Page, FeedError> {
        let reply: StreamRangeReply = cmd("XRANGE")
            .arg(&self.stream)
            .arg(format!("({id}"))
            .arg("+")
            .arg("COUNT")
            .arg(count)
            .query_async(&mut self.connection.0.clone())
            .await?;
        let more = reply.ids.len() == count;
        let mut page = Page { entries: Vec::with_capacity(reply.ids.len()), next: id, more };
        for raw in reply.ids {
            let Some(id) = place(&raw.id) else { continue };
            page.next = id;
            page.entries.extend(entry(id, &raw.map).map(Arc::new));
        }
        Ok(page)
    }

    async fn bounds(&self) -> Result<Option<Bounds>, FeedError> {
        let mut connection = self.connection.0.clone();
        let oldest = end(&mut connection, "XRANGE", &self.stream, "-", "+").await?;
        let newest = end(&mut connection, "XREVRANGE", &self.stream, "+", "-").await?;
        Ok(oldest.zip(newest).map(|(oldest, newest)| Bounds { oldest, newest }))
    }

    async fn live(&self) -> Result<broadcast::Receiver<Arc<Entry>>, FeedError> {
        // Before its first contact the tail has no place in the stream: what is appended between a
        // follower's reading and that contact would be missed.
        let mut contact = self.contact.clone();
        match tokio::time::timeout(FIRST_CONTACT, contact.wait_for(|reached| *reached)).await {
            Ok(Ok(_)) => Ok(self.live.subscribe()),
            _ => Err(FeedError::NeverReached),
        }
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

/// Whoever follows the stream for this process.
struct Tail {
    client: Client,
    stream: String,
    live: broadcast::Sender<Arc<Entry>>,
    contact: watch::Sender<bool>,
    /// How far it has read; `None` before the first contact.
    at: Option<EntryId>,
    away: bool,
}

impl Tail {
    /// Follows for as long as the feed lives, over all its outages.
    async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await;
            if !std::mem::replace(&mut self.away, true) {
                tracing::warn!(%error, "feed: Redis is away");
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Follows over one connection, until there is trouble.
    async fn follow(&mut self) -> Result<std::convert::Infallible, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(Duration::from_millis(BLOCK_MS) + ANSWER_TIMEOUT));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let newest =
            end(&mut connection, "XREVRANGE", &self.stream, "+", "-").await?.unwrap_or(EntryId::ZERO);
        let mut at = match self.at {
            None => newest,
            // A stream that ends before our place was wiped: what is written to it now is all new.
            Some(at) if newest < at => EntryId::ZERO,
            Some(at) => at,
        };
        self.at = Some(at);
        self.contact.send_replace(true);
        if std::mem::take(&mut self.away) {
            tracing::info!("feed: Redis is back");
        }
        loop {
            let reply: Option<StreamReadReply> = cmd("XREAD")
                .arg("COUNT")
                .arg(READ_COUNT)
                .arg("BLOCK")
                .arg(BLOCK_MS)
                .arg("STREAMS")
                .arg(&self.stream)
                .arg(at.to_string())
                .query_async(&mut connection)
                .await?;
            for raw in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
                let Some(id) = place(&raw.id) else { continue };
                at = id;
                self.at = Some(at);
                if let Some(entry) = entry(id, &raw.map) {
                    // Nobody listening is fine.
                    let _ = self.live.send(Arc::new(entry));
                }
            }
        }
    }
}

/// The first id of a range.
async fn end(
    connection: &mut impl redis::aio::ConnectionLike,
    command: &str,
    stream: &str,
    from: &str,
    to: &str,
) -> Result<Option<EntryId>, RedisError> {
    let reply: StreamRangeReply =
        cmd(command).arg(stream).arg(from).arg(to).arg("COUNT").arg(1).query_async(connection).await?;
    Ok(reply.ids.first().and_then(|raw| place(&raw.id)))
}

fn place(id: &str) -> Option<EntryId> {
    id.parse().ok()
}

/// The entry's notice; `None` (and a warning) when somebody else wrote it.
fn entry(id: EntryId, fields: &HashMap<String, Value>) -> Option<Entry> {
    let text = |name: &str| -> Option<String> { from_redis_value_ref(fields.get(name)?).ok() };
    let notice = || {
        Some(Notice {
            effect_key: text("effect_key")?,
            saga: text("saga")?.parse().ok()?,
            order_id: text("order_id")?,
            kind: text("kind")?,
            noticed_at: text("noticed_at")?,
            data: text("data")?,
        })
    };
    let read = notice();
    if read.is_none() {
        tracing::warn!(entry.id = %id, "feed: an entry of the stream is not a notice; passed over");
    }
    Some(Entry { id, notice: read? })
}
