//! Retention: ended sagas go by age; and erasing what is personal.
//!
//! History goes by whole weeks: a partition is detached and dropped once everything in it may go, and what must stay
//! moves to the default one first. The coarse rows of sagas go in small batches. Keys stay: they outlive archiving.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use saga_protocol::SagaId;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::projection::before;
use super::{Store, StoreError};

/// The least days: workers' inboxes remember for so long, and history must be there to be compared with.
pub const DAYS_MIN: i32 = 14;
/// The most.
pub const DAYS_MAX: i32 = 36_500;
/// Rows of coarse sagas that go at once.
const BATCH: i64 = 500;
/// A partition is dropped only when so few rows of it must stay.
const STRAGGLERS_MAX: i64 = 100_000;
/// Whether a saga `s` stands below one that has not ended, however far up: it may have to be undone with that one.
const BELOW_OPEN: &str = "exists (
    with recursive above as (
        select s.parent as id union select p.parent from above a join saga p on p.id = a.id where p.parent is not null
    ) select from above a join saga p on p.id = a.id where p.status < 2)";
const LOCK: i64 = 0x616d_656e_6473_0003;

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
        let rules = self.retention().await?;
        let all = rules.iter().find(|rule| rule.definition == "*");
        let longest = all.and_then(|_| rules.iter().map(|rule| rule.days).max());
        Ok(rows
            .into_iter()
            .filter_map(|(name, bytes)| {
                let monday = NaiveDate::parse_from_str(name.strip_prefix("history_")?, "%Y_%m_%d").ok()?;
                let end = (monday + Days::new(7)).and_hms_opt(0, 0, 0)?.and_utc();
                let droppable_at = longest.map(|days| end + TimeDelta::days(i64::from(days)));
                Some(Week { monday, bytes, droppable_at })
            })
            .collect())
    }

    /// Drops the weeks of history that may go, and a batch of coarse rows. Returns how many of each went. One
    /// process at a time.
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
        let mut weeks = 0;
        for week in self.history_weeks().await? {
            if week.droppable_at.is_some_and(|at| at <= now) && self.drop_week(week.monday).await? {
                weeks += 1;
            }
        }
        let rules = self.retention().await?;
        let mut sagas = 0;
        for rule in &rules {
            let cutoff = before(now - TimeDelta::days(i64::from(rule.days)));
            // Children stay as long as their root may need them; whoever is replayed stays with the replay.
            let gone = sqlx::query(AssertSqlSafe(format!(
                "with old as (
                    select l.id, l.labels from definition d
                    cross join unnest('{{2,3,4}}'::smallint[]) as w (status)
                    cross join lateral (
                        select s.id, s.labels from saga s where s.definition = d.id and s.status = w.status and s.id < $1
                            and not {BELOW_OPEN}
                        order by s.id limit $2) l
                    where ($3 <> '*' and d.name = $3) or ($3 = '*' and d.name not in (select definition from retention))
                    limit $2
                 ), notes as (delete from note n using old where n.saga_id = old.id),
                 cares as (delete from care c using old where c.saga_id = old.id),
                 rows as (delete from projection p using old where p.saga_id = old.id),
                 ignoreds as (delete from ignored i using old where i.saga_id = old.id),
                 labels as (
                    delete from saga_label l using old, unnest(old.labels) as had (label)
                    where l.label = had.label and l.saga_id = old.id)
                 delete from saga s using old where s.id = old.id"
            )))
            .bind(cutoff)
            .bind(BATCH)
            .bind(&rule.definition)
            .execute(self.reads())
            .await?;
            sagas += gone.rows_affected();
        }
        // What was taken in long ago is not repeated by anybody.
        if let Some(days) = rules.iter().map(|rule| rule.days).max() {
            sqlx::query(
                "delete from mailbox where id in (select id from mailbox where taken_at < now() - make_interval(days => $1) limit $2)",
            )
            .bind(days)
            .bind(BATCH)
            .execute(self.reads())
            .await?;
        }
        Ok((weeks, sagas))
    }

    /// Drops a week's partition. What belongs to sagas that have not ended, or whose root has not, moves out before.
    async fn drop_week(&self, monday: NaiveDate) -> Result<bool, StoreError> {
        let name = format!("history_{}", monday.format("%Y_%m_%d"));
        let (from, to) = (
            before(monday.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc()),
            before((monday + Days::new(7)).and_hms_opt(0, 0, 0).unwrap_or_default().and_utc()),
        );
        let staying = format!(
            "select h.* from {name} h where exists (
                select from saga s where s.id = h.saga_id and s.id >= '{from}' and s.id < '{to}'
                    and (s.status < 2 or {BELOW_OPEN}))"
        );
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "select count(*) from (select from ({staying}) it limit {}) it",
            STRAGGLERS_MAX + 1
        )))
        .fetch_one(self.reads())
        .await?;
        if count > STRAGGLERS_MAX {
            tracing::warn!(%monday, "a week of history may go, but too many of its sagas have not ended");
            return Ok(false);
        }
        let mut tx = self.reads().begin().await?;
        sqlx::query("set local lock_timeout = '2s'").execute(&mut *tx).await?;
        for statement in [
            format!("alter table history detach partition {name}"),
            format!("insert into history_default {staying}"),
            format!("drop table {name}"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        tracing::info!(%monday, stayed = count, "a week of history is dropped");
        Ok(true)
    }

    /// Deletes what is left of a saga whose retention is over, whose week of history has not gone yet. Returns how
    /// many rows.
    ///
    /// # Errors
    /// When the database fails; nothing is deleted then.
    pub async fn erase_remains(&self, actor: &Actor, saga: SagaId, why: &str) -> Result<u64, StoreError> {
        let mut tx = self.reads().begin().await?;
        let mut rows = 0;
        for table in ["history", "ignored", "mailbox", "approval", "anomaly", "dead_letter"] {
            let sql = format!(
                "delete from {table} where saga_id = $1 and not exists (select from saga where id = $1)"
            );
            rows += sqlx::query(AssertSqlSafe(sql)).bind(saga.0).execute(&mut *tx).await?.rows_affected();
        }
        if rows > 0 {
            let deed = Deed { why: Some(why), ..Deed::new("saga.erase", saga.to_string()) };
            audit::keep(&mut tx, actor, deed).await?;
        }
        tx.commit().await?;
        Ok(rows)
    }

    /// Replaces a saga's personal data, wherever the engine keeps it, by what `hide` makes of each document. The
    /// first argument says whether it is the input. `false` when it has not ended.
    ///
    /// # Errors
    /// When the database fails; nothing is replaced then.
    pub async fn erase(
        &self,
        actor: &Actor,
        saga: SagaId,
        why: &str,
        hide: impl Fn(bool, &mut Value),
    ) -> Result<bool, StoreError> {
        let mut tx = self.reads().begin().await?;
        let ended: Option<(bool,)> = sqlx::query_as("select status >= 2 from saga where id = $1")
            .bind(saga.0)
            .fetch_optional(&mut *tx)
            .await?;
        if ended != Some((true,)) {
            return Ok(false);
        }
        let erased = |text: Option<String>, input: bool| -> Option<String> {
            let text = text?;
            let Ok(mut value) = serde_json::from_str::<Value>(&text) else { return Some(text) };
            hide(input, &mut value);
            Some(value.to_string())
        };
        let rows = sqlx::query("select revision, event, payload, inputs from history where saga_id = $1")
            .bind(saga.0)
            .fetch_all(&mut *tx)
            .await?;
        for row in &rows {
            let revision: i32 = row.try_get(0)?;
            sqlx::query("update history set event = $3, payload = $4, inputs = $5 where saga_id = $1 and revision = $2")
                .bind(saga.0)
                .bind(revision)
                .bind(erased(row.try_get(1)?, false))
                .bind(erased(row.try_get(2)?, revision == 1))
                .bind(erased(row.try_get(3)?, false))
                .execute(&mut *tx)
                .await?;
        }
        for (select, update) in [
            (
                "select id::text, event, null from ignored where saga_id = $1",
                "update ignored set event = $2 where id = $1::bigint",
            ),
            (
                "select id::text, body, payload from mailbox where saga_id = $1",
                "update mailbox set body = $2, payload = $3 where id = $1::uuid",
            ),
            (
                "select id::text, event, payload from approval where saga_id = $1",
                "update approval set event = $2, payload = $3 where id = $1::uuid",
            ),
            (
                "select id::text, request, null from approval where saga_id = $1",
                "update approval set request = $2 where id = $1::uuid",
            ),
        ] {
            let rows: Vec<(String, Option<String>, Option<String>)> =
                sqlx::query_as(select).bind(saga.0).fetch_all(&mut *tx).await?;
            for (id, event, payload) in rows {
                let query = sqlx::query(update).bind(id).bind(erased(event, false));
                let query = if update.contains("$3") { query.bind(erased(payload, false)) } else { query };
                query.execute(&mut *tx).await?;
            }
        }
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as("select effect_key, kind, output from anomaly where saga_id = $1")
                .bind(saga.0)
                .fetch_all(&mut *tx)
                .await?;
        for (key, kind, output) in rows {
            sqlx::query(
                "update anomaly set output = $4 where saga_id = $1 and effect_key = $2 and kind = $3",
            )
            .bind(saga.0)
            .bind(key)
            .bind(kind)
            .bind(erased(output, false))
            .execute(&mut *tx)
            .await?;
        }
        let notes: Vec<(i64, String)> = sqlx::query_as("select id, body from note where saga_id = $1")
            .bind(saga.0)
            .fetch_all(&mut *tx)
            .await?;
        for (id, body) in notes {
            let mut body = Value::String(body);
            hide(false, &mut body);
            sqlx::query("update note set body = $2 where id = $1")
                .bind(id)
                .bind(body.as_str().unwrap_or_default())
                .execute(&mut *tx)
                .await?;
        }
        // What a job was told for this saga alone.
        let jobs: Vec<(Uuid, String)> = sqlx::query_as(
            "select distinct j.id, j.request from job_item i join job j on j.id = i.job where i.saga_id = $1",
        )
        .bind(saga.0)
        .fetch_all(&mut *tx)
        .await?;
        for (id, request) in jobs {
            let Ok(mut request) = serde_json::from_str::<Value>(&request) else { continue };
            if let Some(fresh) = request.get_mut("fresh").and_then(Value::as_object_mut) {
                fresh.remove(&saga.to_string());
            }
            if let Some(merge) = request.get_mut("merge") {
                hide(true, merge);
            }
            sqlx::query("update job set request = $2 where id = $1")
                .bind(id)
                .bind(request.to_string())
                .execute(&mut *tx)
                .await?;
        }
        // Nobody could read them: what is in there is not known, and the saga has ended without it.
        sqlx::query("update dead_letter set data = null where saga_id = $1")
            .bind(saga.0)
            .execute(&mut *tx)
            .await?;
        // A message may quote anything.
        sqlx::query("update projection set error_message = null where saga_id = $1")
            .bind(saga.0)
            .execute(&mut *tx)
            .await?;
        let deed = Deed { why: Some(why), ..Deed::new("saga.erase", saga.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(true)
    }
}
