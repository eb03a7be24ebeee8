//! The relay: hands the outbox over to the feed, in order, batch by batch.
//!
//! A batch is fixed and committed before it is sent, and deleted after the feed has it. A crash
//! between sending and deleting sends the same batch again, under the same token, and the feed
//! knows it: one entry a command. (A feed that has lost its newest data may get it twice; entries
//! carry the effect key.) One relay works at a time; others wait for their turn.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::feed::{Feed, FeedError};
use crate::outbox::{self, Turn};

/// How long the relay rests when there is nothing to hand over.
const REST: Duration = Duration::from_millis(100);
/// The first pause after trouble; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause after trouble.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a batch is still in the outbox.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("outbox: {0}")]
    Outbox(#[from] sqlx::Error),
    #[error("feed: {0}")]
    Feed(#[from] FeedError),
}

/// Relays until `shutdown`; trouble does not end it.
pub async fn relay(pool: PgPool, feed: std::sync::Arc<dyn Feed>, shutdown: CancellationToken) {
    let mut trouble: Option<Duration> = None;
    loop {
        let turned = tokio::select! {
            () = shutdown.cancelled() => return,
            turned = once(&pool, &*feed) => turned,
        };
        let pause = match turned {
            Ok(more) => {
                if trouble.take().is_some() {
                    tracing::info!("relay: the feed has notices again");
                }
                if more { continue } else { REST }
            }
            Err(error) => {
                let pause = trouble.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
                if trouble.replace(pause).is_none() {
                    tracing::warn!(%error, "relay: notices wait in the outbox");
                }
                pause
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One turn; returns whether there may be more to do at once.
async fn once(pool: &PgPool, feed: &dyn Feed) -> Result<bool, RelayError> {
    // Outside a transaction: an idle relay costs one small statement.
    if outbox::is_empty(pool).await? {
        return Ok(false);
    }
    let mut tx = pool.begin().await?;
    match outbox::turn(&mut tx).await? {
        Turn::Busy => Ok(false),
        Turn::Free => {
            let taken = outbox::take(&mut tx).await?;
            tx.commit().await?;
            Ok(taken)
        }
        Turn::Under(batch, taken) => {
            // The row stays locked while the feed is asked (it answers within a bound), so that no
            // other relay can send a later batch in between, which would hide this one's token.
            feed.append(&batch).await?;
            outbox::handed_over(&mut tx, &taken).await?;
            tx.commit().await?;
            Ok(true)
        }
    }
}
