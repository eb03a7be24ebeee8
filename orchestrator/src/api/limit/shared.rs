//! What the processes tell each other, by Redis: how many requests of a principal each has let through.
//!
//! A counter a principal, to which each process adds its own some times a second, and from which it reads the
//! others'. So a principal may, all over, ask once more than its rate what the processes let through between two
//! exchanges. While Redis is away, each process counts for itself.

use std::time::{Duration, Instant};

use metrics::gauge;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, pipe};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::Limiter;

const EVERY: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// For how long a principal's counter outlives its last request.
const KEPT_S: i64 = 60;

/// The exchange.
pub struct Exchange {
    connection: ConnectionManager,
    prefix: String,
    away: bool,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The connection's URL may hold a password.
        f.debug_struct("Exchange")
            .field("prefix", &self.prefix)
            .field("away", &self.away)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// An exchange at this Redis, of the processes with the same prefix. Connects when it is first needed.
    ///
    /// # Errors
    /// When the URL is no good; the words do not repeat it.
    pub fn open(url: &str, prefix: &str) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            // The next exchange is the repetition.
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?;
        Ok(Self { connection, prefix: format!("{prefix}:rate"), away: false })
    }

    /// Tells what was taken here, and learns what was taken elsewhere.
    ///
    /// # Errors
    /// When Redis does not answer: what was to be told is not told.
    pub async fn turn(&mut self, limiter: &Limiter<String>) -> Result<(), RedisError> {
        let report = limiter.report();
        if report.is_empty() {
            return Ok(());
        }
        let mut all = pipe();
        for (who, own) in &report {
            let key = self.key(who);
            all.incr(&key, *own).expire(&key, KEPT_S).ignore();
        }
        let totals: Vec<u64> = all.query_async(&mut self.connection).await?;
        let now = Instant::now();
        for ((who, own), total) in report.iter().zip(totals) {
            limiter.learn(who, *own, total, now);
        }
        Ok(())
    }

    /// Goes on until shut down.
    pub(crate) async fn follow(mut self, limiter: &Limiter<String>, closing: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = closing.cancelled() => return,
            }
            let failed = self.turn(limiter).await.err();
            if failed.is_some() != self.away {
                self.away = failed.is_some();
                match &failed {
                    Some(error) => tracing::warn!(
                        %error,
                        "Redis does not answer; until it does, each process limits rates for itself"
                    ),
                    None => tracing::info!("Redis answers again; the processes limit rates together"),
                }
            }
            gauge!("amends_rate_limit_shared").set(if self.away { 0.0 } else { 1.0 });
        }
    }

    /// No names where others may read them.
    fn key(&self, who: &str) -> String {
        let hash = Sha256::digest(who);
        let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{hex}", self.prefix)
    }
}
