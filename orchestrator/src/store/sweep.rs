//! The one poll: what was committed and not published, mail that nobody was nudged for, and whether the
//! claims still hold.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use saga_core::Millis;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::clock;
use crate::shard::Claims;
use crate::shard::stuck::Stuck;

/// Rows of the outbox younger than this belong to whoever committed them, in ms by the database's clock.
pub(crate) const SWEEP_AGE_MS: i64 = 2_000;
const ROWS_MAX: i64 = 1_000;

/// What a sweep looks at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Before anything else of it was decided: what was committed later may or may not be found.
    pub began: Instant,
    /// The same instant, by the clock.
    pub began_at: Millis,
    /// The shards that this lane owns.
    pub shards: Vec<i32>,
    /// Sagas that cannot be served now.
    pub left_out: Vec<Uuid>,
    /// Only rows of the outbox behind this one: the last sweep found more than it takes.
    pub rows_from: Option<Place>,
}

/// A row's place among the outbox's rows: when it was written, its shard, its saga, its command.
pub type Place = (DateTime<Utc>, i32, Uuid, String);

impl Look {
    /// Begins a sweep.
    pub(crate) fn begin(claims: &Claims, stuck: &Stuck, rows_from: Option<Place>) -> Self {
        let (began, began_at) = (Instant::now(), clock::now());
        Self { began, began_at, shards: claims.shards(), left_out: stuck.left_out(), rows_from }
    }
}

/// What a sweep found.
#[derive(Debug)]
pub struct Swept {
    /// What it has looked at.
    pub look: Look,
    /// Old rows of the outbox, the oldest first: (shard, saga, command key).
    pub outbox: Vec<(i32, Uuid, Arc<str>)>,
    /// Unread mail, oldest first.
    pub mail: Vec<Mail>,
    /// There is more mail than a sweep takes.
    pub more_mail: bool,
    /// Where the next sweep goes on among the outbox's rows, when there are more of them than one takes: those that
    /// nobody can publish must not hide the others.
    pub rows_to: Option<Place>,
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

fn place(row: &PgRow) -> Result<Place, sqlx::Error> {
    Ok((row.try_get(3)?, row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

impl Store {
    /// Polls for the shards that this lane owns.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn sweep(&self, look: Look) -> Result<Swept, StoreError> {
        let from = look.rows_from.as_ref();
        let rows = sqlx::query(
            "select shard, saga_id, command, created_at from outbox
             where shard = any($1) and created_at < now() - $2 * interval '1 millisecond' and saga_id <> all($4)
               and ($5 is null or (created_at, shard, saga_id, command) > ($5, $6, $7, $8))
             order by created_at, shard, saga_id, command limit $3",
        )
        .bind(&look.shards)
        .bind(SWEEP_AGE_MS)
        .bind(ROWS_MAX)
        .bind(&look.left_out)
        .bind(from.map(|it| it.0))
        .bind(from.map(|it| it.1))
        .bind(from.map(|it| it.2))
        .bind(from.map(|it| it.3.as_str()))
        .fetch_all(self.hot())
        .await?;
        let full = |count: usize| i64::try_from(count) == Ok(ROWS_MAX);
        let last = rows.last().filter(|_| full(rows.len()));
        let mut swept = Swept {
            outbox: Vec::with_capacity(rows.len()),
            mail: Vec::new(),
            more_mail: false,
            rows_to: last.map(place).transpose()?,
            claims: Vec::new(),
            look,
        };
        for row in &rows {
            swept.outbox.push((row.try_get(0)?, row.try_get(1)?, row.try_get::<&str, _>(2)?.into()));
        }
        let rows = sqlx::query(
            "select id, shard, saga_id, kind, body, payload from mailbox
             where shard = any($1) and taken_at is null and saga_id <> all($3) order by at limit $2",
        )
        .bind(&swept.look.shards)
        .bind(ROWS_MAX)
        .bind(&swept.look.left_out)
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
        swept.more_mail = full(rows.len());
        swept.claims = sqlx::query_as("select id, epoch, token from shard where id = any($1)")
            .bind(&swept.look.shards)
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
