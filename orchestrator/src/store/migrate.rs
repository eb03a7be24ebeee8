//! Migrations, the shards' rows and the history's partitions.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use sqlx::AssertSqlSafe;
use sqlx::migrate::MigrateError;
use uuid::Uuid;

use super::{Store, StoreError};

static MIGRATOR: LazyLock<sqlx::migrate::Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    // While an upgrade rolls, a process of the old version may start again on a database of the new one.
    migrator.set_ignore_missing(true);
    migrator
});

/// How long migrations are tried when others hold what they need: longer than another process migrates.
const MIGRATE_FOR: Duration = Duration::from_secs(1_800);
/// The pause between two tries: whoever waited behind the last one gets on.
const MIGRATE_AGAIN: Duration = Duration::from_secs(1);
/// History partitions are made this many weeks ahead.
const WEEKS_AHEAD: u64 = 4;
/// Rows of the default partition that are moved at a time, at most: well under two seconds' work.
const MOVED_MAX: i64 = 100_000;
/// Held while a partition is made; any number that nobody else uses in this database.
const PARTITIONS_LOCK: i64 = 0x616d_656e_6473_0002;
/// How often a start tries to make the partitions.
const PARTITIONS_TRIES: usize = 3;

impl Store {
    /// Brings the schema up to date and makes what is missing: the shards' rows and the coming weeks'
    /// partitions. An installation keeps the number of shards that it was made with.
    ///
    /// # Errors
    /// When a migration fails; the message names it.
    pub async fn migrate(&self, shards: u32, now: DateTime<Utc>) -> anyhow::Result<u32> {
        self.bring_up_to_date().await?;
        let had = self.shards().await?;
        if had == 0 {
            let last = i32::try_from(shards)? - 1;
            sqlx::query("insert into shard (id) select generate_series(0, $1) on conflict do nothing")
                .bind(last)
                .execute(self.reads())
                .await?;
        } else if had != shards {
            tracing::warn!(
                had,
                asked = shards,
                "the number of shards is fixed when the database is made; keeping it"
            );
        }
        // A busy server may be too slow for the patience that running sagas have. Without them all works, too: they
        // are made within the hour.
        for _ in 0..PARTITIONS_TRIES {
            if self.make_partitions(now).await.is_ok() {
                break;
            }
        }
        Ok(self.shards().await?)
    }

    /// Runs the migrations that are missing, one process at a time. Who waits for the lock of a table is in the way of
    /// everybody behind it, so a migration gives up soon and is tried again: sagas run on meanwhile.
    async fn bring_up_to_date(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut connection = self.reads().acquire().await?;
            // An index on millions of rows takes longer than a question may.
            let timeouts = "set statement_timeout = 0; set lock_timeout = '2s'";
            sqlx::raw_sql(timeouts).execute(&mut *connection).await?;
            let ran = MIGRATOR.run(&mut *connection).await;
            // Its settings and, after a failure, its lock go with it.
            connection.close().await?;
            match ran {
                Err(error) if lock_not_available(&error) && began.elapsed() < MIGRATE_FOR => {
                    tracing::info!(%error, "a migration waits for a lock; tried again");
                    tokio::time::sleep(MIGRATE_AGAIN).await;
                }
                ran => return Ok(ran?),
            }
        }
    }

    /// Makes the history's partitions of this week and the coming ones. Repeated hourly. A week that fails keeps
    /// none of the others from being made: its rows go to the default partition meanwhile, and move when it is.
    ///
    /// # Errors
    /// The first week's that could not be made.
    pub async fn make_partitions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut failed = None;
        for week in 0..=WEEKS_AHEAD {
            let day = now.date_naive() + Days::new(7 * week);
            let monday = day - Days::new(u64::from(day.weekday().num_days_from_monday()));
            if let Err(error) = self.make_partition(monday).await {
                tracing::warn!(%monday, %error, "a week's history partition cannot be made; tried again");
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Makes one week's partition, with what the default one holds of it. One process at a time; whoever waits for
    /// a lock is in the way of the lanes, so it gives up soon.
    async fn make_partition(&self, monday: NaiveDate) -> Result<(), sqlx::Error> {
        let name = format!("history_{}", monday.format("%Y_%m_%d"));
        let (from, to) = (week_start(monday), week_start(monday + Days::new(7)));
        // Asked of the catalog itself: `to_regclass` may answer from what the connection knew before it had the lock.
        let exists = "select exists (select from pg_class where relname = $1 and relkind = 'r'
                      and relnamespace = current_schema()::regnamespace)";
        if sqlx::query_scalar(exists).bind(&name).fetch_one(self.reads()).await? {
            return Ok(());
        }
        // While they move, nobody writes history: it must be over before the lanes' patience is.
        let waiting = "select count(*) from (select from history_default where saga_id >= $1 and saga_id < $2
                       limit $3) as waiting";
        let waiting: i64 = sqlx::query_scalar(waiting)
            .bind(from)
            .bind(to)
            .bind(MOVED_MAX + 1)
            .fetch_one(self.reads())
            .await?;
        if waiting > MOVED_MAX {
            tracing::error!(
                partition = name,
                "more than {MOVED_MAX} rows of this week are in history_default, too many to move while sagas run; \
                 they stay there, where everything finds them, and are not dropped with their week"
            );
            return Ok(());
        }
        let mut tx = self.reads().begin().await?;
        let timeouts = "set local lock_timeout = '2s'; set local statement_timeout = '2s'";
        sqlx::raw_sql(timeouts).execute(&mut *tx).await?;
        sqlx::query("select pg_advisory_xact_lock($1)").bind(PARTITIONS_LOCK).execute(&mut *tx).await?;
        if sqlx::query_scalar(exists).bind(&name).fetch_one(&mut *tx).await? {
            return Ok(());
        }
        for statement in [
            // Nobody may write rows of this week there while they move.
            "lock table history_default in access exclusive mode".to_owned(),
            format!("create table {name} (like history including all)"),
            format!(
                "with moved as (delete from history_default where saga_id >= '{from}' and saga_id < '{to}' returning *)
                 insert into {name} select * from moved"
            ),
            format!("alter table history attach partition {name} for values from ('{from}') to ('{to}')"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
        tx.commit().await
    }
}

/// Whether somebody else held a table, or migrates right now.
fn lock_not_available(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == "55P03")
}

/// The smallest UUIDv7-like id of a day: its first 48 bits are the milliseconds.
fn week_start(day: NaiveDate) -> Uuid {
    let ms = day.and_hms_opt(0, 0, 0).map_or(0, |at| at.and_utc().timestamp_millis());
    let ms = u64::try_from(ms).unwrap_or(0);
    Uuid::from_u64_pair(ms << 16, 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::NaiveDate;
    use uuid::{NoContext, Timestamp, Uuid};

    use super::week_start;

    #[test]
    fn a_uuid_v7_falls_into_the_week_of_its_time() {
        let monday = NaiveDate::from_ymd_opt(2026, 11, 16).unwrap();
        let next = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap();
        let seconds = u64::try_from(monday.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp()).unwrap();
        let first = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0));
        let last = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds + 7 * 86_400 - 1, 999_000_000));
        assert!(week_start(monday) <= first && last < week_start(next));
    }
}
