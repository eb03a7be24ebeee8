//! The barrier's weekly partitions: made ahead of time, dropped whole when retention has passed.
//!
//! A row is kept until retention has passed since the newest first sending that it answered. The
//! partition follows the saga's start, which is earlier; rows of an old week that must still be kept
//! move to the default partition before their week is dropped.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
/// Two weeks ahead, so that a worker whose maintenance fails for days loses nothing.
const WEEKS_AHEAD: i64 = 2;
/// One instance at a time; any number that nobody else uses in this database.
const ADVISORY_LOCK: i64 = 0x616d_656e_6473_0001;

/// Makes the partitions that are missing and, given a retention, drops what it has passed.
pub(crate) async fn maintain(
    pool: &PgPool,
    now_ms: i64,
    retention_ms: Option<i64>,
) -> Result<(), sqlx::Error> {
    let week = now_ms.div_euclid(WEEK_MS);
    for week in week - 1..=week + WEEKS_AHEAD {
        in_turn(pool, async |tx| create(tx, week).await).await?;
    }
    let Some(retention_ms) = retention_ms else { return Ok(()) };
    let cut_ms = now_ms.saturating_sub(retention_ms);
    for old in weeks(pool).await?.into_iter().filter(|week| (week + 1) * WEEK_MS <= cut_ms) {
        in_turn(pool, async |tx| drop_week(tx, old, cut_ms).await).await?;
    }
    // Few rows ever: those of sagas that outlived their week.
    sqlx::query("delete from saga_inbox.barrier_rest where kept_from_ms < $1")
        .bind(cut_ms)
        .execute(pool)
        .await?;
    Ok(())
}

/// One transaction, one instance at a time, never waiting long for a lock that commands need.
async fn in_turn(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("set local lock_timeout = '3s'").execute(&mut *tx).await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(ADVISORY_LOCK).execute(&mut *tx).await?;
    work(&mut tx).await?;
    tx.commit().await
}

async fn create(tx: &mut PgConnection, week: i64) -> Result<(), sqlx::Error> {
    let name = name(week);
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("saga_inbox.{name}"))
        .fetch_one(&mut *tx)
        .await?;
    if exists {
        return Ok(());
    }
    let (from, to) = (first_id(week), first_id(week + 1));
    // Attached only after the default partition gave up the rows of its range.
    let statements = [
        format!(
            "create table saga_inbox.{name} (like saga_inbox.barrier including defaults including constraints) \
             with (fillfactor = 90)"
        ),
        format!(
            "with moved as (delete from saga_inbox.barrier_rest where saga >= '{from}' and saga < '{to}' returning *) \
             insert into saga_inbox.{name} select * from moved"
        ),
        format!(
            "alter table saga_inbox.barrier attach partition saga_inbox.{name} for values from ('{from}') to ('{to}')"
        ),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn drop_week(tx: &mut PgConnection, week: i64, cut_ms: i64) -> Result<(), sqlx::Error> {
    let name = name(week);
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("saga_inbox.{name}"))
        .fetch_one(&mut *tx)
        .await?;
    if !exists {
        return Ok(());
    }
    let statements = [
        format!("alter table saga_inbox.barrier detach partition saga_inbox.{name}"),
        format!(
            "insert into saga_inbox.barrier select * from saga_inbox.{name} where kept_from_ms >= {cut_ms}"
        ),
        format!("drop table saga_inbox.{name}"),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
    }
    tracing::info!(week, "dropped a week of the inbox: its retention has passed");
    Ok(())
}

/// The weeks that have a partition.
async fn weeks(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
         where i.inhparent = 'saga_inbox.barrier'::regclass and c.relname like 'barrier\\_w%' \
         order by c.relname",
    )
    .fetch_all(pool)
    .await?;
    Ok(names.iter().filter_map(|name| name.strip_prefix("barrier_w")?.parse().ok()).collect())
}

/// A week's table; weeks count from 1970.
fn name(week: i64) -> String {
    format!("barrier_w{week}")
}

/// The smallest id that a UUIDv7 of this week can have.
fn first_id(week: i64) -> Uuid {
    let millis = u128::try_from(week.max(0) * WEEK_MS).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}
