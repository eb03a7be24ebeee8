//! Taking a shard: a new epoch and token, committed before anything of it is loaded.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// A shard's row after it was claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The shard.
    pub shard: i32,
    /// The new epoch.
    pub epoch: i64,
    /// The new token.
    pub token: Uuid,
    /// Up to where the log was taken in.
    pub next_offset: i64,
    /// The cluster and topic that `next_offset` counts in; none before the first claim.
    pub log: Option<(String, String)>,
}

/// `lock_timeout` ran out: SQLSTATE 55P03.
fn lock_timed_out(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == "55P03")
}

/// Claims shards for `owner` on the lane's own connection, whose backend is recorded. When an old owner
/// holds a row for longer than `lock_timeout`, its recorded backend is terminated: it is frozen, and
/// whatever it was about to commit must not stand in the way.
///
/// # Errors
/// When the database fails; the shards are then not claimed, or claimed under a token that nobody knows.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    owner: &str,
    shards: &[i32],
) -> Result<Vec<Claimed>, StoreError> {
    match try_claim(connection, owner, shards).await {
        Err(error) if lock_timed_out(&error) => {
            tracing::warn!(?shards, "an old owner holds its shards' rows; terminating its session");
            sqlx::query(
                "select pg_terminate_backend(a.pid) from shard s join pg_stat_activity a on a.pid = s.backend_pid
                 where s.id = any($1) and a.pid <> pg_backend_pid() and a.application_name = 'amends lane'",
            )
            .bind(shards)
            .execute(&mut *connection)
            .await?;
            Ok(try_claim(connection, owner, shards).await?)
        }
        other => Ok(other?),
    }
}

async fn try_claim(
    connection: &mut PgConnection,
    owner: &str,
    shards: &[i32],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query(
        "with locked as (select id from shard where id = any($1) order by id for update)
         update shard s set epoch = epoch + 1, token = gen_random_uuid(), seq = 0, owner = $2,
             backend_pid = pg_backend_pid(), claimed_at = now()
         from locked where s.id = locked.id
         returning s.id, s.epoch, s.token, s.next_offset, s.cluster_id, s.topic_id",
    )
    .bind(shards)
    .bind(owner)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let cluster: Option<String> = row.try_get(4)?;
            let topic: Option<String> = row.try_get(5)?;
            Ok(Claimed {
                shard: row.try_get(0)?,
                epoch: row.try_get(1)?,
                token: row.try_get(2)?,
                next_offset: row.try_get(3)?,
                log: cluster.zip(topic),
            })
        })
        .collect()
}

/// Begins another log: from where it is read, but not yet which one it is. Fenced like everything else;
/// `false` when the claim does not hold any more.
///
/// # Errors
/// When the database fails.
pub(crate) async fn begin_log(
    connection: &mut PgConnection,
    claimed: &Claimed,
    next_offset: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "update shard set cluster_id = null, topic_id = null, next_offset = $4
         where id = $1 and epoch = $2 and token = $3",
    )
    .bind(claimed.shard)
    .bind(claimed.epoch)
    .bind(claimed.token)
    .bind(next_offset)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records which log a shard reads, once nothing is missing in it any more. A claim, by shard, epoch and
/// token, that does not hold any more writes nothing.
///
/// # Errors
/// When the database fails.
pub(crate) async fn know_log(
    connection: &mut PgConnection,
    (shard, epoch, token): (i32, i64, Uuid),
    log: (&str, &str),
) -> Result<(), StoreError> {
    sqlx::query(
        "update shard set cluster_id = $4, topic_id = $5 where id = $1 and epoch = $2 and token = $3",
    )
    .bind(shard)
    .bind(epoch)
    .bind(token)
    .bind(log.0)
    .bind(log.1)
    .execute(connection)
    .await?;
    Ok(())
}

/// When each running saga of the shards is due, in ms; `None` when nothing is.
///
/// # Errors
/// When the database fails.
pub(crate) async fn timers(
    connection: &mut PgConnection,
    shards: &[i32],
) -> Result<HashMap<i32, Vec<(Uuid, Option<i64>)>>, StoreError> {
    let mut timers: HashMap<i32, Vec<(Uuid, Option<i64>)>> = HashMap::new();
    let mut rows = sqlx::query("select shard, id, due from saga_state where shard = any($1)")
        .bind(shards)
        .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        timers.entry(row.try_get(0)?).or_default().push((row.try_get(1)?, row.try_get(2)?));
    }
    Ok(timers)
}

impl Store {
    /// The offset that a shard is to be read from.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn next_offset(&self, shard: i32) -> Result<i64, StoreError> {
        let row = sqlx::query("select next_offset from shard where id = $1")
            .bind(shard)
            .fetch_one(self.hot())
            .await?;
        Ok(row.try_get(0)?)
    }

    /// The claims that stand in the database: shard, epoch, token and owner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claims(&self) -> Result<Vec<(i32, i64, Option<Uuid>, Option<String>)>, StoreError> {
        Ok(sqlx::query_as("select id, epoch, token, owner from shard order by id")
            .fetch_all(self.reads())
            .await?)
    }
}
