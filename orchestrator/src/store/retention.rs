//! Retention: ended sagas go by age.
//!
//! History goes by whole weeks: a partition is detached and dropped once everything in it may go by the longest rule,
//! and what must stay moves to the default one first. The coarse rows of its sagas go then, in small batches. Where a
//! definition's rule is shorter, its sagas' history goes with their rows. Keys stay: they outlive archiving. Age is
//! counted from a saga's end.

use std::time::{Duration, Instant};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc, Weekday};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::projection::before;
use super::{Store, StoreError};

/// The least days: workers' inboxes remember for so long, and history must be there to be compared with.
pub const DAYS_MIN: i32 = 14;
/// The most.
pub const DAYS_MAX: i32 = 36_500;
/// Rows of coarse sagas that go at once.
pub(crate) const BATCH: u32 = 500;
/// For how long one turn deletes: more than 500 a second end on a busy day, and as many must be able to go.
const TURN: Duration = Duration::from_millis(500);
/// A partition is dropped only when so few of its sagas stay.
const STAYING_MAX: i64 = 2_000;
/// Whether a saga `s` stands below one that has not ended, however far up: it may have to be undone with that one.
const BELOW_OPEN: &str = "exists (
    with recursive above as (
        select s.parent as id union select p.parent from above a join saga p on p.id = a.id where p.parent is not null
    ) select from above a join saga p on p.id = a.id where p.status < 2)";
/// Whether an effect of a saga `s` stands that nobody undoes and nobody has settled.
const HAS_ANOMALY: &str = "exists (select from anomaly a where a.saga_id = s.id and a.resolved_at is null)";
const LOCK: i64 = 0x616d_656e_6473_0003;

/// What goes by the longest rule, in days, and belongs to no saga, a batch at a time.
const LEFTOVERS: [(&str, &str); 4] = [
    // What was taken in long ago is not repeated by anybody. The audit shows what came of it.
    (
        "mail",
        "with old as materialized (
            select m.id, exists (select from audit a where a.mail = m.id) as audited from mailbox m
            where m.taken_at < now() - make_interval(days => $1) and m.taken_at is not null
                and (m.body <> '{}' or m.payload is not null)
            order by m.taken_at limit $2
         ), gone as (delete from mailbox m using old where m.id = old.id and not old.audited)
         update mailbox m set body = '{}', payload = null from old where m.id = old.id and old.audited",
    ),
    (
        "dead letters",
        "delete from dead_letter where id in (
            select d.id from dead_letter d where d.at < now() - make_interval(days => $1)
                and not exists (select from saga s where s.id = d.saga_id) order by d.at limit $2)",
    ),
    // Its message is that of a saga that has gone.
    (
        "failure groups",
        "with old as (
            delete from failure where id in (
                select id from failure where last_seen < now() - make_interval(days => $1) order by last_seen limit $2)
            returning id)
         delete from failure_window w using old where w.failure = old.id",
    ),
    // One at a time: it may have a hundred thousand items.
    (
        "a bulk job",
        "with old as (
            delete from job where id in (
                select id from job where coalesce(ended_at, created_at) < now() - make_interval(days => $1)
                    and (ended_at is not null or state in ('stopped', 'paused')) order by id limit least(1, $2))
            returning id)
         delete from job_item i using old where i.job = old.id",
    ),
];

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The definition; `*` for every other one.
    pub definition: String,
    /// For how many days its ended sagas stay.
    pub days: i32,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A week of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Week {
    /// Its Monday.
    pub monday: NaiveDate,
    /// How large it is.
    pub bytes: i64,
    /// When it may go, by the rules.
    pub droppable_at: Option<DateTime<Utc>>,
}

/// The Monday of the week that an instant is in.
fn monday_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().week(Weekday::Mon).first_day().and_time(NaiveTime::MIN).and_utc()
}

fn week_end(monday: NaiveDate) -> DateTime<Utc> {
    (monday + Days::new(7)).and_time(NaiveTime::MIN).and_utc()
}

/// The days after which nothing of a week of history is needed by any rule. Without a rule for every definition there
/// are none.
fn longest(rules: &[Rule]) -> Option<i32> {
    rules.iter().find(|rule| rule.definition == "*")?;
    rules.iter().map(|rule| rule.days).max()
}

impl Store {
    /// The rules.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retention(&self) -> Result<Vec<Rule>, StoreError> {
        let rows: Vec<(String, i32, String, DateTime<Utc>)> =
            sqlx::query_as("select definition, days, by, at from retention order by definition")
                .fetch_all(self.reads())
                .await?;
        Ok(rows.into_iter().map(|(definition, days, by, at)| Rule { definition, days, by, at }).collect())
    }

    /// Sets a rule.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_retention(
        &self,
        actor: &Actor,
        definition: &str,
        days: i32,
        why: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.reads().begin().await?;
        let before: Option<i32> = sqlx::query_scalar("select days from retention where definition = $1")
            .bind(definition)
            .fetch_optional(&mut *tx)
            .await?;
        sqlx::query(
            "insert into retention (definition, days, by) values ($1, $2, $3)
             on conflict on constraint retention_pk do update set days = excluded.days, by = excluded.by, at = now()",
        )
        .bind(definition)
        .bind(days)
        .bind(&actor.who)
        .execute(&mut *tx)
        .await?;
        let deed = Deed {
            why: Some(why),
            before: before.map(|days| serde_json::json!({ "days": days })),
            after: Some(serde_json::json!({ "days": days })),
            ..Deed::new("retention.set", definition)
        };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The weeks of history, oldest first. A week may go once the longest rule has passed; without a rule for
    /// every definition none goes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history_weeks(&self) -> Result<Vec<Week>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select c.relname::text, pg_total_relation_size(c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid
             where i.inhparent = 'history'::regclass and c.relname <> 'history_default' order by 1",
        )
        .fetch_all(self.reads())
        .await?;
        let longest = longest(&self.retention().await?);
        Ok(rows
            .into_iter()
            .filter_map(|(name, bytes)| {
                let monday = NaiveDate::parse_from_str(name.strip_prefix("history_")?, "%Y_%m_%d").ok()?;
                let droppable_at = longest.map(|days| week_end(monday) + TimeDelta::days(i64::from(days)));
                Some(Week { monday, bytes, droppable_at })
            })
            .collect())
    }

    /// Drops the weeks of history that may go, and coarse rows in batches, for a moment. Returns how many of each
    /// went: a batch of rows or more says that there may be more. One process at a time.
    ///
    /// # Errors
    /// When the database fails; repeated later.
    pub async fn retire(&self, now: DateTime<Utc>) -> Result<(u64, u64), StoreError> {
        let mut connection = self.reads().acquire().await?;
        let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(LOCK)
            .fetch_one(&mut *connection)
            .await?;
        if !got {
            return Ok((0, 0));
        }
        let retired = self.retire_locked(now).await;
        sqlx::query("select pg_advisory_unlock($1)").bind(LOCK).execute(&mut *connection).await?;
        retired
    }

    async fn retire_locked(&self, now: DateTime<Utc>) -> Result<(u64, u64), StoreError> {
        self.retire_leftovers().await?;
        let (until, mut sagas) = (Instant::now() + TURN, 0);
        loop {
            let gone = self.retire_batch(now).await?;
            sagas += gone;
            if gone >= u64::from(BATCH) && Instant::now() >= until {
                // The weeks wait: what is left of their sagas then is what stays.
                return Ok((0, sagas));
            }
            if gone < u64::from(BATCH) {
                break;
            }
        }
        let mut weeks = 0;
        for week in
            self.history_weeks().await?.iter().filter(|it| it.droppable_at.is_some_and(|at| at <= now))
        {
            match self.drop_week(week.monday).await {
                Ok(dropped) => weeks += u64::from(dropped),
                // The others need not wait for it.
                Err(error) => {
                    tracing::warn!(monday = %week.monday, %error, "a week of history cannot go yet")
                }
            }
        }
        Ok((weeks, sagas))
    }

    /// A batch of coarse rows by each rule.
    async fn retire_batch(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let rules = self.retention().await?;
        let mut sagas = 0;
        for rule in &rules {
            let ended_before = now - TimeDelta::days(i64::from(rule.days));
            // By the longest rule a saga goes when its week does; before, it takes its history along.
            let (history, started_before) = if longest(&rules) == Some(rule.days) {
                ("history_default", monday_of(ended_before))
            } else {
                ("history", ended_before)
            };
            // Children stay as long as their root may need them.
            let gone = sqlx::query(AssertSqlSafe(format!(
                "with old as (
                    select l.id, l.labels from definition d
                    cross join unnest('{{2,3,4}}'::smallint[]) as w (status)
                    cross join lateral (
                        select s.id, s.labels from saga s where s.definition = d.id and s.status = w.status and s.id < $1
                            and s.ended_at < $4 and not {BELOW_OPEN} and not {HAS_ANOMALY}
                        order by s.id limit $2) l
                    where ($3 <> '*' and d.name = $3) or ($3 = '*' and d.name not in (select definition from retention))
                    limit $2
                 ), notes as (delete from note n using old where n.saga_id = old.id),
                 cares as (delete from care c using old where c.saga_id = old.id),
                 rows as (delete from projection p using old where p.saga_id = old.id),
                 told as (delete from {history} h where h.saga_id = any(array(select id from old))),
                 settled as (delete from anomaly a using old where a.saga_id = old.id),
                 decided as (delete from approval a using old where a.saga_id = old.id),
                 dead as (delete from dead_letter d using old where d.saga_id = old.id),
                 mails as (
                    delete from mailbox m using old where m.saga_id = old.id and m.taken_at is not null
                        and not exists (select from audit a where a.mail = m.id)),
                 results as (
                    update mailbox m set body = '{{}}', payload = null from old
                    where m.saga_id = old.id and m.taken_at is not null
                        and exists (select from audit a where a.mail = m.id)),
                 ignoreds as (delete from ignored i using old where i.saga_id = old.id),
                 labels as (
                    delete from saga_label l using old, unnest(old.labels) as had (label)
                    where l.label = had.label and l.saga_id = old.id)
                 delete from saga s using old where s.id = old.id"
            )))
            .bind(before(started_before))
            .bind(i64::from(BATCH))
            .bind(&rule.definition)
            .bind(ended_before)
            .execute(self.reads())
            .await?;
            sagas += gone.rows_affected();
        }
        Ok(sagas)
    }

    /// A batch of each of what belongs to no saga. The weeks need not wait for it.
    async fn retire_leftovers(&self) -> Result<(), StoreError> {
        let Some(days) = self.retention().await?.iter().map(|rule| rule.days).max() else { return Ok(()) };
        for (what, sql) in LEFTOVERS {
            let gone = sqlx::query(sql).bind(days).bind(i64::from(BATCH)).execute(self.reads()).await;
            if let Err(error) = gone {
                tracing::warn!(what, %error, "what belongs to no saga cannot go yet");
            }
        }
        Ok(())
    }

    /// Drops a week's partition. What belongs to sagas whose rows stay (not ended, or only lately, or their root has not)
    /// moves out before, and goes with its saga.
    async fn drop_week(&self, monday: NaiveDate) -> Result<bool, StoreError> {
        let name = format!("history_{}", monday.format("%Y_%m_%d"));
        let (from, to) = (before(monday.and_time(NaiveTime::MIN).and_utc()), before(week_end(monday)));
        // Looked for before anything is locked: nobody is to wait for nothing.
        if staying(&mut *self.reads().acquire().await?, from, to).await?.is_none() {
            tracing::warn!(%monday, "a week of history may go, but too many of its sagas stay");
            return Ok(false);
        }
        let mut tx = self.reads().begin().await?;
        // Everybody waits meanwhile who writes history: also behind who waits for the lock, such as for a backup to end.
        for setting in ["set local lock_timeout = '200ms'", "set local statement_timeout = '2s'"] {
            sqlx::query(setting).execute(&mut *tx).await?;
        }
        sqlx::query(AssertSqlSafe(format!("alter table history detach partition {name}")))
            .execute(&mut *tx)
            .await?;
        // And once more, now that nobody writes: an old saga may have started a child, which is as old as itself.
        let Some(staying) = staying(&mut tx, from, to).await? else { return Ok(false) };
        let moved = format!("insert into history_default select h.* from {name} h where h.saga_id = any($1)");
        sqlx::query(AssertSqlSafe(moved)).bind(&staying).execute(&mut *tx).await?;
        sqlx::query(AssertSqlSafe(format!("drop table {name}"))).execute(&mut *tx).await?;
        tx.commit().await?;
        tracing::info!(%monday, stayed = staying.len(), "a week of history is dropped");
        Ok(true)
    }
}

/// The sagas of a week whose rows are there; none at all when they are too many to be moved.
async fn staying(
    connection: &mut PgConnection,
    from: Uuid,
    to: Uuid,
) -> Result<Option<Vec<Uuid>>, StoreError> {
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from saga where id >= $1 and id < $2 limit $3")
        .bind(from)
        .bind(to)
        .bind(STAYING_MAX + 1)
        .fetch_all(connection)
        .await?;
    Ok(Some(ids).filter(|it| i64::try_from(it.len()).is_ok_and(|count| count <= STAYING_MAX)))
}
