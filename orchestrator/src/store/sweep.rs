//! The one poll: what was committed and not published, mail that nobody was nudged for, and whether the
//! claims still hold.

use sqlx::Row;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Store, StoreError};

/// Rows of the outbox younger than this belong to whoever committed them, in ms by the database's clock.
pub(crate) const SWEEP_AGE_MS: i64 = 2_000;
const ROWS_MAX: i64 = 1_000;

/// What a sweep found.
#[derive(Debug)]
pub struct Swept {
    /// Before its first query: what was committed later may or may not be in it.
    pub began: Instant,
    /// Old rows of the outbox, the oldest first: (shard, saga, command key).
    pub outbox: Vec<(i32, Uuid, String)>,
    /// Unread mail, oldest first.
    pub mail: Vec<Mail>,
    /// The claims as they stand: (shard, epoch, token).
    pub claims: Vec<(i32, i64, Option<Uuid>)>,
}

/// A row of the mailbox.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its unique id.
    pub id: Uuid,
    /// The shard of the saga.
    pub shard: i32,
    /// The saga.
    pub saga: Uuid,
    /// `event`, or `record` for a record that waited for its definition.
    pub kind: String,
    /// The event, as JSON.
    pub body: String,
    /// Its payload, as JSON.
    pub payload: Option<String>,
}

impl Store {
    /// Polls for the shards that this lane owns, leaving some sagas out.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn sweep(&self, shards: &[i32], left_out: &[Uuid]) -> Result<Swept, StoreError> {
        let mut swept =
            Swept { began: Instant::now(), outbox: Vec::new(), mail: Vec::new(), claims: Vec::new() };
        let rows = sqlx::query(
            "select shard, saga_id, command from outbox
             where shard = any($1) and created_at < now() - $2 * interval '1 millisecond' and saga_id <> all($4)
             order by created_at limit $3",
        )
        .bind(shards)
        .bind(SWEEP_AGE_MS)
        .bind(ROWS_MAX)
        .bind(left_out)
        .fetch_all(self.hot())
        .await?;
        for row in &rows {
            swept.outbox.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
        let rows = sqlx::query(
            "select id, shard, saga_id, kind, body, payload from mailbox
             where shard = any($1) and taken_at is null and saga_id <> all($3) order by at limit $2",
        )
        .bind(shards)
        .bind(ROWS_MAX)
        .bind(left_out)
        .fetch_all(self.hot())
        .await?;
        for row in &rows {
            swept.mail.push(Mail {
                id: row.try_get(0)?,
                shard: row.try_get(1)?,
                saga: row.try_get(2)?,
                kind: row.try_get(3)?,
                body: row.try_get(4)?,
                payload: row.try_get(5)?,
            });
        }
        swept.claims = sqlx::query_as("select id, epoch, token from shard where id = any($1)")
            .bind(shards)
            .fetch_all(self.hot())
            .await?;
        Ok(swept)
    }

    /// How long the oldest command has waited to be published, in ms, and its saga's definition: of the given
    /// shards, or of all when there are none. Without those of parked sagas, which may be held, without those of
    /// the given definitions, and without those that are younger than a sweep minds.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn backlog(
        &self,
        shards: &[i32],
        without: &[i32],
    ) -> Result<Option<(i32, i64)>, StoreError> {
        let row = sqlx::query_as(
            "select s.definition, (extract(epoch from now() - o.created_at) * 1000)::bigint
             from (select saga_id, created_at from outbox
                   where (cardinality($1::int[]) = 0 or shard = any($1))
                     and created_at < now() - $2 * interval '1 millisecond'
                   order by created_at offset 0) o
             -- Lateral, so that no plan can scan all sagas.
             cross join lateral (select definition, status from saga where id = o.saga_id limit 1) s
             where s.status = 0 and s.definition <> all($3)
             limit 1",
        )
        .bind(shards)
        .bind(SWEEP_AGE_MS)
        .bind(without)
        .fetch_optional(self.hot())
        .await?;
        Ok(row)
    }
}
