//! The projection's statements: what it reads from hot tables, and what it writes.
//!
//! All on the pool with ordinary plans, outside of hot transactions.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use saga_core::{Event, State};
use sqlx::Row as _;
use uuid::Uuid;

use super::{Store, StoreError, load};
use crate::projection::failures::ErrorAt;
use crate::projection::histogram::Histogram;
use crate::projection::row::{Read, Row, may_have_failed, parked_at};
use crate::projection::statistics::{Minute, StepKey};

/// Failures are counted in windows of this many minutes.
pub const WINDOW_MINUTES: i64 = 5;
/// A group that was not seen for so many minutes has stopped failing; the next failure begins anew.
pub const BREAK_MINUTES: i64 = 60;

const PUT: &str = "
with new as (
    select * from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::smallint[], $6::smallint[], $7::text[],
        $8::int[], $9::smallint[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::bigint[], $16::int[], $17::int[], $18::text[], $19::int[], $20::text[], $21::text[], $22::text[],
        $23::text[], $24::text[], $25::int[], $26::bigint[], $27::text[], $28::text[], $31::text[], $32::smallint[])
        as n (saga_id, shard, definition, revision, status, run, step, item, direction, worker, action, sent_ms,
            late_ms, due_ms, since_ms, attempt, attempts_max, topic, partition, why, error_step, error_code,
            error_message, failure, failure_revision, amount, currency, failure_message, failure_kind, failure_direction)
), failed as (
    select n.failure, min(n.definition) as definition, min(n.error_step) as step, min(n.failure_direction) as direction,
        min(n.error_code) as code, min(n.failure_kind) as kind, min(n.failure_message) as message, count(*) as count, min(n.saga_id::text)::uuid as sample
    from new n left join projection p on p.saga_id = n.saga_id
    where n.failure is not null and n.revision >= coalesce(p.revision, 0)
        and (p.failure is distinct from n.failure or n.failure_revision > p.failure_revision)
    group by n.failure order by n.failure
), groups as (
    insert into failure as f (id, definition, step, direction, code, kind, message, first_seen, since, last_seen, count, sample)
    select failure, definition, step, direction, code, kind, message, now(), now(), now(), count, sample from failed
    on conflict on constraint failure_pk do update set last_seen = excluded.last_seen,
        since = case when f.last_seen < now() - $30 * interval '1 minute' then now() else f.since end,
        count = f.count + excluded.count, sample = excluded.sample, kind = excluded.kind, direction = excluded.direction
), windows as (
    insert into failure_window as w (failure, at, count)
    select failure, date_bin($29 * interval '1 minute', now(), 'epoch'), count from failed
    on conflict on constraint failure_window_pk do update set count = w.count + excluded.count
)
insert into projection as p (saga_id, shard, definition, revision, status, run, step, item, direction, worker, action,
    sent_ms, late_ms, due_ms, since_ms, attempt, attempts_max, topic, partition, why, error_step, error_code,
    error_message, failure, failure_revision, amount, currency)
select saga_id, shard, definition, revision, status, run, step, item, direction, worker, action, sent_ms, late_ms,
    due_ms, since_ms, attempt, attempts_max, topic, partition, why, error_step, error_code, error_message, failure,
    failure_revision, amount, currency
from new order by saga_id
on conflict on constraint projection_pk do update set revision = excluded.revision, status = excluded.status,
    run = excluded.run, step = excluded.step, item = excluded.item, direction = excluded.direction,
    worker = excluded.worker, action = excluded.action, sent_ms = excluded.sent_ms, late_ms = excluded.late_ms,
    due_ms = excluded.due_ms, since_ms = excluded.since_ms, attempt = excluded.attempt,
    attempts_max = excluded.attempts_max, topic = excluded.topic, partition = excluded.partition,
    why = excluded.why, error_step = excluded.error_step, error_code = excluded.error_code,
    error_message = excluded.error_message, failure = excluded.failure,
    failure_revision = excluded.failure_revision
where excluded.revision >= p.revision";

macro_rules! bind_columns {
    ($query:expr, $rows:expr, $($field:ident),+) => {{
        $query$(.bind($rows.iter().map(|row| row.$field.clone()).collect::<Vec<_>>()))+
    }};
}

/// What waits for a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WaitingForAHuman {
    /// Parked sagas.
    pub parked: i64,
    /// For how long the oldest of them has waited, in ms.
    pub oldest_ms: i64,
    /// Effects that nobody undoes and nobody has settled.
    pub anomalies: i64,
}

impl WaitingForAHuman {
    /// As gauges: counters of what got stuck say nothing of what still is.
    #[allow(clippy::cast_precision_loss, reason = "gauges")]
    pub(crate) fn tell(self) {
        metrics::gauge!("amends_parked_sagas").set(self.parked as f64);
        metrics::gauge!("amends_parked_oldest_seconds").set(self.oldest_ms as f64 / 1_000.0);
        metrics::gauge!("amends_open_anomalies").set(self.anomalies as f64);
    }
}

impl Store {
    /// Counts what waits for a human, in all shards.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_for_a_human(&self) -> Result<WaitingForAHuman, StoreError> {
        let waiting = sqlx::query_as(
            "select (select coalesce(sum(sagas), 0)::bigint from standing_now where status = 1) as parked,
                coalesce((extract(epoch from now()) * 1000)::bigint - min(since_ms), 0) as oldest_ms,
                (select count(*) from anomaly where resolved_at is null) as anomalies
             from projection where status = 1",
        )
        .fetch_one(self.reads())
        .await?;
        Ok(waiting)
    }

    /// Reads sagas for their rows; ids that are none are absent.
    pub(crate) async fn read_for_projection(&self, ids: &[Uuid]) -> Result<Vec<Read>, StoreError> {
        let rows = sqlx::query(
            "select s.id, s.shard, s.definition, s.status, s.amount, s.currency,
                coalesce(s.final_schema, t.schema), coalesce(s.final_state, t.state), s.parent is not null
             from unnest($1::uuid[]) as k (id) join saga s on s.id = k.id
             left join saga_state t on t.shard = s.shard and t.id = s.id",
        )
        .bind(ids)
        .fetch_all(self.hot())
        .await?;
        let mut read = Vec::with_capacity(rows.len());
        for row in &rows {
            let (schema, text): (Option<i16>, Option<&str>) = (row.try_get(6)?, row.try_get(7)?);
            let state = match schema.zip(text) {
                Some((schema, text)) => load::state(schema, text),
                None => Err("the saga's state is missing".to_owned()),
            };
            read.push(Read {
                id: row.try_get(0)?,
                shard: row.try_get(1)?,
                definition: row.try_get(2)?,
                status: row.try_get(3)?,
                amount: row.try_get(4)?,
                currency: row.try_get(5)?,
                child: row.try_get(8)?,
                state,
            });
        }
        Ok(read)
    }

    /// What these sagas were told that was no success, oldest first, and what parked those that are parked.
    pub(crate) async fn errors_of(&self, read: &[Read]) -> Result<HashMap<Uuid, Vec<ErrorAt>>, StoreError> {
        let mut errors: HashMap<Uuid, Vec<ErrorAt>> = HashMap::new();
        let troubled = read.iter().filter(|it| may_have_failed(it));
        let (ids, parked): (Vec<Uuid>, Vec<Option<i32>>) = troubled.map(|it| (it.id, parked_at(it))).unzip();
        if ids.is_empty() {
            return Ok(errors);
        }
        let rows = sqlx::query(
            "select h.saga_id, h.revision, h.event from unnest($1::uuid[], $2::int[]) as k (id, parked)
             join history h on h.saga_id = k.id and (h.event like '%\"error\":%' or h.revision = k.parked)
             order by h.saga_id, h.revision",
        )
        .bind(&ids)
        .bind(&parked)
        .fetch_all(self.hot())
        .await?;
        for row in &rows {
            let (revision, event): (i32, &str) = (row.try_get(1)?, row.try_get(2)?);
            // One that this build cannot read says nothing about the failure.
            let Ok(event) = serde_json::from_str(event) else { continue };
            let revision = u32::try_from(revision).unwrap_or_default();
            errors.entry(row.try_get(0)?).or_default().push(ErrorAt { revision, event });
        }
        Ok(errors)
    }

    /// Writes rows, and counts the failures that are new in them. An older row never replaces a newer one.
    pub(crate) async fn put_projection(&self, rows: &[Row]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(PUT);
        let query = bind_columns!(
            query,
            rows,
            saga,
            shard,
            definition,
            revision,
            status,
            run,
            step,
            item,
            direction,
            worker,
            action,
            sent_ms,
            late_ms,
            due_ms,
            since_ms,
            attempt,
            attempts_max,
            topic,
            partition,
            why,
            error_step,
            error_code,
            error_message,
            failure,
            failure_revision,
            amount,
            currency,
            failure_message
        );
        let kinds: Vec<_> = rows.iter().map(|row| row.failure_kind.clone()).collect();
        let directions: Vec<_> = rows.iter().map(|row| row.failure_direction).collect();
        let query = query.bind(WINDOW_MINUTES).bind(BREAK_MINUTES).bind(kinds).bind(directions);
        query.execute(self.hot()).await?;
        Ok(())
    }

    /// Drops the rows of sagas that completed, and counts those that had failed before.
    pub(crate) async fn drop_projection(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "with gone as (delete from projection where saga_id = any($1) returning failure),
             recovered as (select failure, count(*) as count from gone where failure is not null group by 1 order by 1)
             update failure f set recovered = f.recovered + r.count from recovered r where f.id = r.failure",
        )
        .bind(ids)
        .execute(self.hot())
        .await?;
        Ok(())
    }

    /// A slice of running states whose rows are missing or behind. Sagas of the last seconds are left to the hints.
    pub(crate) async fn patrol_states(
        &self,
        shards: &[i32],
        after: Option<(i32, Uuid)>,
        slice: i64,
    ) -> Result<(Vec<Uuid>, Option<(i32, Uuid)>), StoreError> {
        let (shard, id) = after.unwrap_or((-1, Uuid::nil()));
        let rows: Vec<(i32, Uuid, bool)> = sqlx::query_as(
            "select t.shard, t.id, p.saga_id is null or p.revision < t.revision
             from (select shard, id, revision from saga_state where shard = any($1) and (shard, id) > ($2, $3)
                   order by shard, id limit $4) t
             left join projection p on p.saga_id = t.id order by 1, 2",
        )
        .bind(shards)
        .bind(shard)
        .bind(id)
        .bind(slice)
        .fetch_all(self.hot())
        .await?;
        let whole = i64::try_from(rows.len()).unwrap_or(i64::MAX) < slice;
        let next = rows.last().filter(|_| !whole).map(|row| (row.0, row.1));
        let settled = before(Utc::now() - TimeDelta::seconds(3));
        Ok((rows.iter().filter(|row| row.2 && row.1 < settled).map(|row| row.1).collect(), next))
    }

    /// A slice of rows that say running or parked, of sagas that have ended.
    pub(crate) async fn patrol_rows(
        &self,
        shards: &[i32],
        after: Option<Uuid>,
        slice: i64,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), StoreError> {
        // A slice is whole by itself, whosever its rows are.
        let rows: Vec<(Uuid, i32, bool)> = sqlx::query_as(
            "select p.saga_id, p.shard, s.status <> p.status from (
                 (select saga_id, shard, status from projection where status = 0 and saga_id > $1 order by saga_id limit $2)
                 union all
                 (select saga_id, shard, status from projection where status = 1 and saga_id > $1 order by saga_id limit $2)
                 order by saga_id limit $2) p
             join saga s on s.id = p.saga_id order by 1",
        )
        .bind(after.unwrap_or_default())
        .bind(slice)
        .fetch_all(self.hot())
        .await?;
        let whole = i64::try_from(rows.len()).unwrap_or(i64::MAX) < slice;
        let next = rows.last().filter(|_| !whole).map(|row| row.0);
        let ours = rows.into_iter().filter(|row| row.2 && shards.contains(&row.1)).map(|row| row.0);
        Ok((ours.collect(), next))
    }

    /// A slice of sagas that ended otherwise than completed and have no row, newest first. It ends where a whole
    /// slice has its rows: what is older was projected before.
    pub(crate) async fn patrol_ended(
        &self,
        shards: &[i32],
        older_than: Uuid,
        slice: i64,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), StoreError> {
        let rows: Vec<(Uuid, i32, bool)> = sqlx::query_as(
            "select s.id, s.shard, p.saga_id is null from (
                 select l.id, l.shard from definition d cross join unnest(array[3, 4]::smallint[]) as w (status)
                 cross join lateral (select id, shard from saga s where s.definition = d.id and s.status = w.status and s.id < $1
                     order by id desc limit $2) l
                 order by l.id desc limit $2) s
             left join projection p on p.saga_id = s.id order by 1 desc",
        )
        .bind(older_than)
        .bind(slice)
        .fetch_all(self.hot())
        .await?;
        let whole = i64::try_from(rows.len()).unwrap_or(i64::MAX) < slice;
        let missing = rows.iter().any(|row| row.2);
        let next = rows.last().filter(|_| !whole && missing).map(|row| row.0);
        let ours = rows.iter().filter(|row| row.2 && shards.contains(&row.1)).map(|row| row.0);
        Ok((ours.collect(), next))
    }

    /// Ended sagas with their histories, for what can be learnt of them.
    pub(crate) async fn ended_with_events(
        &self,
        ids: &[Uuid],
    ) -> Result<Vec<(i32, State, Vec<Event>)>, StoreError> {
        let rows = sqlx::query(
            "select s.id, s.definition, s.final_schema, s.final_state, h.event from unnest($1::uuid[]) as k (id)
             join saga s on s.id = k.id and s.final_state is not null join history h on h.saga_id = s.id
             order by s.id, h.revision",
        )
        .bind(ids)
        .fetch_all(self.hot())
        .await?;
        let mut found: Vec<(Uuid, i32, State, Vec<Event>)> = Vec::new();
        for row in &rows {
            let id: Uuid = row.try_get(0)?;
            if found.last().is_none_or(|it| it.0 != id) {
                let Ok(state) = load::state(row.try_get(2)?, row.try_get(3)?) else { continue };
                found.push((id, row.try_get(1)?, state, Vec::new()));
            }
            let event: &str = row.try_get(4)?;
            if let (Some(last), Ok(event)) = (found.last_mut(), serde_json::from_str(event)) {
                last.3.push(event);
            }
        }
        Ok(found.into_iter().map(|(_, definition, state, events)| (definition, state, events)).collect())
    }

    /// Writes what this process has counted of each minute.
    pub(crate) async fn put_minutes(
        &self,
        node: &str,
        minutes: &BTreeMap<DateTime<Utc>, Minute>,
    ) -> Result<(), StoreError> {
        for (at, minute) in minutes {
            sqlx::query(
                "insert into minute_stat (at, node, started, completed, compensated, parked, abandoned, took)
                 values ($1, $2, $3, $4, $5, $6, $7, $8)
                 on conflict on constraint minute_stat_pk do update set started = excluded.started,
                    completed = excluded.completed, compensated = excluded.compensated, parked = excluded.parked,
                    abandoned = excluded.abandoned, took = excluded.took
                 where (minute_stat.started, minute_stat.completed, minute_stat.compensated, minute_stat.parked,
                        minute_stat.abandoned)
                    is distinct from (excluded.started, excluded.completed, excluded.compensated, excluded.parked,
                        excluded.abandoned)",
            )
            .bind(at)
            .bind(node)
            .bind(minute.started)
            .bind(minute.completed)
            .bind(minute.compensated)
            .bind(minute.parked)
            .bind(minute.abandoned)
            .bind(minute.took.buckets())
            .execute(self.hot())
            .await?;
        }
        Ok(())
    }

    /// Writes what this process has learnt of steps.
    pub(crate) async fn put_step_times(
        &self,
        node: &str,
        steps: &HashMap<(StepKey, DateTime<Utc>), Histogram>,
    ) -> Result<(), StoreError> {
        for (((definition, step, direction), at), took) in steps {
            sqlx::query(
                "insert into step_stat (definition, step, direction, at, node, took) values ($1, $2, $3, $4, $5, $6)
                 on conflict on constraint step_stat_pk do update set took = excluded.took
                 where step_stat.took is distinct from excluded.took",
            )
            .bind(definition)
            .bind(step)
            .bind(direction)
            .bind(at)
            .bind(node)
            .bind(took.buckets())
            .execute(self.hot())
            .await?;
        }
        Ok(())
    }

    /// How long each step took in the last day.
    pub(crate) async fn step_times(&self) -> Result<HashMap<StepKey, Histogram>, StoreError> {
        let rows: Vec<(i32, String, i16, Vec<i64>)> = sqlx::query_as(
            "select definition, step, direction, took from step_stat where at > now() - interval '25 hours'",
        )
        .fetch_all(self.hot())
        .await?;
        let mut times: HashMap<StepKey, Histogram> = HashMap::new();
        for (definition, step, direction, took) in rows {
            times.entry((definition, step, direction)).or_default().merge(&Histogram::from_buckets(took));
        }
        Ok(times)
    }

    /// The counts of the last minutes, oldest first, of all processes together; also of those in which nothing happened.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn minutes(&self, minutes: u16) -> Result<Vec<(DateTime<Utc>, Minute)>, StoreError> {
        let rows = sqlx::query(
            "select m.at, coalesce(s.started, 0), coalesce(s.completed, 0), coalesce(s.compensated, 0),
                coalesce(s.parked, 0), coalesce(s.abandoned, 0), coalesce(s.took, '{}')
             from generate_series(date_trunc('minute', now()) - ($1 - 1) * interval '1 minute',
                date_trunc('minute', now()), interval '1 minute') as m (at)
             left join minute_stat s on s.at = m.at order by m.at",
        )
        .bind(i32::from(minutes))
        .fetch_all(self.hot())
        .await?;
        let mut all: BTreeMap<DateTime<Utc>, Minute> = BTreeMap::new();
        for row in &rows {
            let minute = all.entry(row.try_get(0)?).or_default();
            minute.started += row.try_get::<i64, _>(1)?;
            minute.completed += row.try_get::<i64, _>(2)?;
            minute.compensated += row.try_get::<i64, _>(3)?;
            minute.parked += row.try_get::<i64, _>(4)?;
            minute.abandoned += row.try_get::<i64, _>(5)?;
            minute.took.merge(&Histogram::from_buckets(row.try_get(6)?));
        }
        Ok(all.into_iter().collect())
    }
}

/// The smallest id of a saga that started then.
pub(crate) fn before(at: DateTime<Utc>) -> Uuid {
    // 48 bits, as UUIDs have them.
    let ms = u64::try_from(at.timestamp_millis()).unwrap_or(0).min((1 << 48) - 1);
    Uuid::from_u64_pair(ms << 16, 0)
}
