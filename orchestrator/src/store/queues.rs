//! What waits for people: the parked queue, groups of failures, and where work piles up.

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::find::Reached;
use super::projection::WINDOW_MINUTES;
use super::{Store, StoreError};

/// How many windows a trend has.
pub const TREND_WINDOWS: usize = 12;

/// Where a page of the parked queue ended: whoever settles it in the meantime moves nobody past the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The amount of the last one, -1 without one.
    pub amount: i64,
    /// Since when it has waited, in ms.
    pub since_ms: i64,
    /// The saga.
    pub saga: Uuid,
    /// Its effect key; empty for the saga itself.
    pub effect: String,
}

impl Waiting {
    /// Its place in the queue.
    pub fn place(&self) -> Place {
        Place {
            amount: self.amount.unwrap_or(-1),
            since_ms: self.since_ms,
            saga: self.saga.0,
            effect: self
                .anomaly
                .as_ref()
                .map(|(effect, kind)| format!("{effect} {kind}"))
                .unwrap_or_default(),
        }
    }
}

/// How the parked queue is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The largest amount first.
    Amount,
    /// The oldest first.
    Oldest,
    /// The newest first.
    Newest,
}

/// One that waits for a human: a parked saga, or an anomaly.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Waiting {
    pub saga: SagaId,
    pub definition: i32,
    pub key: Option<String>,
    pub status: i16,
    pub why: Option<String>,
    pub step: Option<String>,
    pub item: Option<i32>,
    pub direction: Option<i16>,
    pub message: Option<String>,
    pub code: Option<String>,
    pub failure: Option<String>,
    pub revision: Option<i32>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub since_ms: i64,
    /// Of an anomaly: the effect, and what happened.
    pub anomaly: Option<(String, String)>,
    pub owner: Option<String>,
    pub note: Option<String>,
}

/// Money that is at risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtRisk {
    /// The currency.
    pub currency: Option<String>,
    /// The sum.
    pub amount: i64,
    /// Of how many.
    pub sagas: i64,
}

/// How many sagas there are that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct InAll {
    pub running: i64,
    pub parked: i64,
    pub waiting: i64,
    pub retrying: i64,
}

/// Parked sagas as rows of [`Waiting`], and the columns that they are sorted by.
const PARKED: &str = "
    select p.saga_id, p.definition, p.status, p.why, p.step, p.item, p.direction, p.error_message, p.error_code,
        p.failure, p.revision, p.amount, p.currency, p.since_ms, null::text as effect_key, null::text as kind,
        -coalesce(p.amount, -1) as worth, '' as effect
    from projection p where p.status = 1";
const PARKED_ORDER: [&str; 4] = ["-coalesce(p.amount, -1)", "p.since_ms", "p.saga_id", "''::text"];
/// Open anomalies, and theirs.
const OPEN: &str = "
    select a.saga_id, a.amount, a.currency, a.at_ms, a.effect_key, a.kind, -coalesce(a.amount, -1) as worth,
        a.effect_key || ' ' || a.kind as effect
    from anomaly a where a.resolved_at is null";
const OPEN_ORDER: [&str; 4] =
    ["-coalesce(a.amount, -1)", "a.at_ms", "a.saga_id", "a.effect_key || ' ' || a.kind"];

impl Sort {
    /// The columns in their order, and whether it goes down.
    fn by<'c>(self, columns: &[&'c str; 4]) -> (Vec<&'c str>, bool) {
        match self {
            Self::Amount => (columns.to_vec(), false),
            Self::Oldest => (columns[1..].to_vec(), false),
            Self::Newest => (columns[1..].to_vec(), true),
        }
    }

    fn push_order(self, query: &mut QueryBuilder<Postgres>, columns: &[&str; 4]) {
        let (columns, down) = self.by(columns);
        query.push(" order by ").push(columns.join(if down { " desc, " } else { ", " }));
        query.push(if down { " desc" } else { "" });
    }

    /// What comes after a place.
    fn push_after(self, query: &mut QueryBuilder<Postgres>, columns: &[&str; 4], place: &Place) {
        let (columns, down) = self.by(columns);
        query.push(" and (").push(columns.join(", ")).push(if down { ") < (" } else { ") > (" });
        if self == Self::Amount {
            query.push_bind(-place.amount).push(", ");
        }
        query.push_bind(place.since_ms).push(", ").push_bind(place.saga).push(", ");
        query.push_bind(place.effect.clone()).push(")");
    }
}

/// A group of failures.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Group {
    pub id: String,
    pub definition: i32,
    pub step: Option<String>,
    pub direction: Option<i16>,
    /// None in a group that was last seen by a build that did not know it.
    pub kind: Option<String>,
    pub code: String,
    pub message: String,
    pub first_seen: DateTime<Utc>,
    /// Since when it fails without a break.
    pub since: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub count: i64,
    pub recovered: i64,
    pub sample: Uuid,
    pub retrying: i64,
    pub parked: i64,
    pub compensated: i64,
    pub trend: Vec<i64>,
    /// The newest bulk job over it.
    pub job: Option<Uuid>,
}

/// Where work piles up.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Pile {
    pub definition: String,
    pub step: String,
    pub direction: i16,
    pub worker: Option<String>,
    pub count: i64,
    pub late: i64,
    pub retrying: i64,
    pub parked: i64,
    pub queued: i64,
    pub waiting: i64,
    pub oldest_ms: i64,
}

impl Store {
    /// A page of what waits for a human.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting(
        &self,
        sort: Sort,
        definition: Option<&str>,
        owner: Option<&str>,
        after: Option<&Place>,
        limit: u16,
    ) -> Result<Vec<Waiting>, StoreError> {
        let versions: Option<Vec<i32>> = match definition {
            None => None,
            Some(name) => {
                let ids = sqlx::query_scalar("select id from definition where name = $1").bind(name);
                Some(ids.fetch_all(self.reads()).await?)
            }
        };
        let owned = |query: &mut QueryBuilder<Postgres>, id: &str| {
            if let Some(owner) = owner {
                query.push(" and ").push(id).push(" in (select saga_id from care where owner = ");
                query.push_bind(owner.to_owned()).push(")");
            }
        };
        // A page of each kind by its index, then a page of both; what is beside a row is read for that alone.
        let mut query = QueryBuilder::new("select w.saga_id, w.definition, w.status, w.why, w.step, w.item, w.direction, w.error_message,
            w.error_code, w.failure, w.revision, w.amount, w.currency, w.since_ms, w.effect_key, w.kind, s.key, c.owner,
            (select n.body from note n where n.saga_id = w.saga_id order by n.id desc limit 1)
            from ((");
        query.push(PARKED);
        if let Some(versions) = &versions {
            query.push(" and p.definition = any(").push_bind(versions.clone()).push(")");
        }
        owned(&mut query, "p.saga_id");
        if let Some(place) = after {
            sort.push_after(&mut query, &PARKED_ORDER, place);
        }
        sort.push_order(&mut query, &PARKED_ORDER);
        query.push(" limit ").push_bind(i64::from(limit));
        query.push(
            ") union all (
            select o.saga_id, s.definition, s.status, null, null, null, null, null, null, null, null, o.amount, o.currency,
                o.at_ms, o.effect_key, o.kind, o.worth, o.effect from (",
        );
        query.push(OPEN);
        if let Some(versions) = &versions {
            query.push(" and exists (select from saga s where s.id = a.saga_id and s.definition = any(");
            query.push_bind(versions.clone()).push("))");
        }
        owned(&mut query, "a.saga_id");
        if let Some(place) = after {
            sort.push_after(&mut query, &OPEN_ORDER, place);
        }
        sort.push_order(&mut query, &OPEN_ORDER);
        query.push(" limit ").push_bind(i64::from(limit)).push(") o join saga s on s.id = o.saga_id)) w");
        query.push(" join saga s on s.id = w.saga_id left join care c on c.saga_id = w.saga_id");
        sort.push_order(&mut query, &["w.worth", "w.since_ms", "w.saga_id", "w.effect"]);
        query.push(" limit ").push_bind(i64::from(limit));
        let rows = query.build().fetch_all(self.reads()).await?;
        rows.iter().map(waiting).collect()
    }

    /// The money behind what waits for a human, by currency.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn at_risk(&self) -> Result<Vec<AtRisk>, StoreError> {
        let rows: Vec<(Option<String>, i64, i64)> = sqlx::query_as(
            "select currency, least(greatest(coalesce(sum(amount), 0), -9223372036854775808), 9223372036854775807)::bigint,
                sum(sagas)::bigint from (
                select currency, amount, sagas from standing_now where status = 1
                union all select currency, amount, 1 from anomaly where resolved_at is null) w
             group by 1 having sum(sagas) > 0 order by 2 desc",
        )
        .fetch_all(self.reads())
        .await?;
        Ok(rows.into_iter().map(|(currency, amount, sagas)| AtRisk { currency, amount, sagas }).collect())
    }

    /// Groups of failures, those seen last first; `open` leaves out those without a saga that still fails. `refused`: only
    /// those that a worker's answer says no to, as the business has it, or only the others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn groups(
        &self,
        id: Option<&str>,
        open: bool,
        refused: Option<bool>,
        definition: Option<&str>,
        after: Option<(DateTime<Utc>, String)>,
        limit: u16,
    ) -> Result<Vec<Group>, StoreError> {
        let mut query = QueryBuilder::new(
            "select f.id, f.definition, f.step, f.direction, f.code, f.message, f.first_seen, f.last_seen, f.count,
                f.recovered, f.sample, coalesce(n.retrying, 0), coalesce(n.parked, 0), coalesce(n.compensated, 0),
                array(select coalesce(w.count, 0) from generate_series(0, ",
        );
        let windows = i32::try_from(TREND_WINDOWS).unwrap_or(12) - 1;
        query
            .push_bind(windows)
            .push(") as g (ago) left join failure_window w on w.failure = f.id and w.at = date_bin(");
        query.push_bind(WINDOW_MINUTES).push(" * interval '1 minute', now(), 'epoch') - g.ago * ");
        query.push_bind(WINDOW_MINUTES).push(
            " * interval '1 minute' order by g.ago desc),
                (select j.id from job j where j.failure = f.id order by j.created_at desc limit 1),
                coalesce(f.since, f.first_seen) as since, f.kind
             from failure f left join (
                select failure, sum(sagas) as sagas, coalesce(sum(sagas) filter (where status = 0), 0)::bigint as retrying,
                    coalesce(sum(sagas) filter (where status = 1), 0)::bigint as parked,
                    coalesce(sum(sagas) filter (where status = 3), 0)::bigint as compensated
                from standing_now where failure is not null group by 1) n on n.failure = f.id where true",
        );
        if let Some(id) = id {
            query.push(" and f.id = ").push_bind(id);
        }
        if open {
            query.push(" and n.sagas > 0");
        }
        if let Some(refused) = refused {
            // An undoing that is refused is trouble.
            query.push(" and (f.kind = 'rejected' and f.direction = 0) is ").push(if refused {
                "true"
            } else {
                "not true"
            });
        }
        if let Some(definition) = definition {
            query
                .push(" and f.definition in (select id from definition where name = ")
                .push_bind(definition)
                .push(")");
        }
        if let Some((at, id)) = after {
            query.push(" and (f.last_seen, f.id) < (").push_bind(at).push(", ").push_bind(id).push(")");
        }
        query.push(" order by f.last_seen desc, f.id desc limit ").push_bind(i64::from(limit));
        let rows = query.build().fetch_all(self.reads()).await?;
        rows.iter().map(group).collect()
    }

    /// How many sagas run and are parked, wherever they stand, and how many of those that run wait and retry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn in_all(&self) -> Result<InAll, StoreError> {
        let (running, parked, waiting, retrying) = sqlx::query_as(
            "select coalesce(sum(sagas) filter (where status = 0), 0)::bigint,
                coalesce(sum(sagas) filter (where status = 1), 0)::bigint,
                coalesce(sum(sagas) filter (where status = 0 and run in (3, 4)), 0)::bigint,
                coalesce(sum(sagas) filter (where status = 0 and run in (1, 2)), 0)::bigint
             from standing_now where status < 2",
        )
        .fetch_one(self.reads())
        .await?;
        Ok(InAll { running, parked, waiting, retrying })
    }

    /// Where the running and parked sagas stand, the largest piles first; at most 200.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn piles(&self, reached: &[Reached]) -> Result<Vec<Pile>, StoreError> {
        let rows = sqlx::query(
            "with reached as (select * from unnest($1::text[], $2::int[], $3::bigint[]) as r (topic, partition, ms))
             , sent as (
                select p.definition, p.step, p.direction, count(*) filter (where p.sent_ms > r.ms) as queued,
                    count(*) filter (where p.late_ms < (extract(epoch from now()) * 1000)::bigint
                        and not coalesce(p.sent_ms > r.ms, false)) as late
                from projection p left join reached r on r.topic = p.topic and r.partition = p.partition
                where p.status = 0 and coalesce(p.run, 0) = 0 group by 1, 2, 3
             ), stood as (
                select definition, step, direction, min(worker) as worker, sum(sagas) as sagas,
                    sum(sagas) filter (where status = 0 and run in (1, 2)) as retrying,
                    sum(sagas) filter (where status = 1) as parked,
                    sum(sagas) filter (where status = 0 and run in (3, 4)) as waiting
                from standing_now where status < 2 and step is not null and direction is not null
                group by 1, 2, 3 having sum(sagas) > 0
             )
             select d.name, t.step, t.direction, min(t.worker), sum(t.sagas)::bigint, coalesce(sum(s.late), 0)::bigint,
                coalesce(sum(t.retrying), 0)::bigint, coalesce(sum(t.parked), 0)::bigint,
                coalesce(sum(s.queued), 0)::bigint, coalesce(sum(t.waiting), 0)::bigint, coalesce(min(o.since_ms), 0)
             from stood t join definition d on d.id = t.definition
             left join sent s using (definition, step, direction)
             cross join lateral (
                select min(p.since_ms) as since_ms from projection p
                where p.definition = t.definition and p.step = t.step and p.direction = t.direction and p.status < 2) o
             group by 1, 2, 3 order by 5 desc limit 200",
        )
        .bind(reached.iter().map(|it| it.topic.as_str()).collect::<Vec<_>>())
        .bind(reached.iter().map(|it| it.partition).collect::<Vec<_>>())
        .bind(reached.iter().map(|it| it.ms).collect::<Vec<_>>())
        .fetch_all(self.reads())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Pile {
                    definition: row.try_get(0)?,
                    step: row.try_get(1)?,
                    direction: row.try_get(2)?,
                    worker: row.try_get(3)?,
                    count: row.try_get(4)?,
                    late: row.try_get(5)?,
                    retrying: row.try_get(6)?,
                    parked: row.try_get(7)?,
                    queued: row.try_get(8)?,
                    waiting: row.try_get(9)?,
                    oldest_ms: row.try_get(10)?,
                })
            })
            .collect()
    }

    /// Open anomalies, and dead letters that nobody settled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn loose_ends(&self) -> Result<(i64, i64), StoreError> {
        Ok(sqlx::query_as(
            "select (select count(*) from anomaly where resolved_at is null),
                (select count(*) from dead_letter where settled_at is null)",
        )
        .fetch_one(self.reads())
        .await?)
    }

    /// The age of the oldest sent command per worker and the number of its open ones.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_by_worker(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(sqlx::query_as(
            "select worker, sum(sagas)::bigint from standing_now where status = 0 and worker is not null
             group by 1 having sum(sagas) > 0 order by 1",
        )
        .fetch_all(self.reads())
        .await?)
    }
}

fn waiting(row: &PgRow) -> Result<Waiting, StoreError> {
    let effect_key: Option<String> = row.try_get(14)?;
    let kind: Option<String> = row.try_get(15)?;
    Ok(Waiting {
        saga: SagaId(row.try_get(0)?),
        definition: row.try_get(1)?,
        status: row.try_get(2)?,
        why: row.try_get(3)?,
        step: row.try_get(4)?,
        item: row.try_get(5)?,
        direction: row.try_get(6)?,
        message: row.try_get(7)?,
        code: row.try_get(8)?,
        failure: row.try_get(9)?,
        revision: row.try_get(10)?,
        amount: row.try_get(11)?,
        currency: row.try_get(12)?,
        since_ms: row.try_get(13)?,
        anomaly: effect_key.zip(kind),
        key: row.try_get(16)?,
        owner: row.try_get(17)?,
        note: row.try_get(18)?,
    })
}

fn group(row: &PgRow) -> Result<Group, StoreError> {
    Ok(Group {
        id: row.try_get(0)?,
        definition: row.try_get(1)?,
        step: row.try_get(2)?,
        direction: row.try_get(3)?,
        code: row.try_get(4)?,
        message: row.try_get(5)?,
        first_seen: row.try_get(6)?,
        since: row.try_get("since")?,
        kind: row.try_get("kind")?,
        last_seen: row.try_get(7)?,
        count: row.try_get(8)?,
        recovered: row.try_get(9)?,
        sample: row.try_get(10)?,
        retrying: row.try_get(11)?,
        parked: row.try_get(12)?,
        compensated: row.try_get(13)?,
        trend: row.try_get(14)?,
        job: row.try_get(15)?,
    })
}
