//! Bulk jobs: a frozen set of sagas, and what became of each.
//!
//! One process at a time works on a job: the one that holds its lease. Whatever it writes is good to be written twice.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::approvals::OPEN_HOURS;
use super::audit::{self, Actor, Deed};
use super::{Store, StoreError};

/// How long a lease lasts, in s.
const LEASE_S: i32 = 10;
/// Rows of one insert.
const CHUNK: usize = 5_000;

/// A job.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Job {
    pub id: Uuid,
    pub name: Option<String>,
    pub kind: String,
    pub request: Value,
    pub by: String,
    pub roles: Vec<String>,
    pub why: String,
    pub created_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub state: String,
    pub stopped_because: Option<String>,
    pub canary: i32,
    pub rate_per_s: i32,
    pub stop_after_same: i32,
    pub total: i32,
    pub last_reason: Option<String>,
    pub last_count: i32,
    pub approved_by: Option<String>,
    pub asked: Vec<u8>,
    pub amount: Option<String>,
    pub stalled: Option<String>,
    pub canary_tried: i32,
    pub canary_failed: i32,
    pub summary: Option<String>,
}

/// One saga of a frozen set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The saga.
    pub saga: SagaId,
    /// The revision that it had.
    pub revision: u32,
    /// What it is to become, by the status's number.
    pub goal: i16,
}

/// One saga of a job.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Item {
    pub number: i32,
    pub saga: SagaId,
    pub key: Option<String>,
    pub revision: u32,
    pub goal: i16,
    pub outcome: String,
    pub words: Option<String>,
    pub new_saga: Option<SagaId>,
    pub at: Option<DateTime<Utc>>,
}

/// Which items of a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Among<'a> {
    /// With this outcome.
    pub outcome: Option<&'a str>,
    /// For this reason, as [`Store::job_reasons`] has it.
    pub reason: Option<&'a str>,
}

impl<'a> Among<'a> {
    /// Those with this outcome.
    pub const fn outcome(outcome: &'a str) -> Self {
        Self { outcome: Some(outcome), reason: None }
    }
}

/// What came of a job's approval.
#[derive(Debug, PartialEq, Eq)]
pub enum JobApproval {
    /// It stands.
    Now,
    /// There is no such job.
    Nothing,
    /// It cannot be given any more, for this reason.
    Before(String),
    /// Whoever made the job cannot approve it.
    OwnOne,
}

/// What became of an item.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which.
    pub number: i32,
    /// `succeeded`, `failed_again`, `changed`, `refused` or `awaiting_approval`.
    pub outcome: &'static str,
    /// In words.
    pub words: String,
}

const JOB: &str = "id, name, kind, request, by, roles, why, created_at, ended_at, state, stopped_because, canary, rate_per_s,
    stop_after_same, total, last_reason, last_count, approved_by, asked, amount, stalled, canary_tried, canary_failed, summary";

fn job(row: &PgRow) -> Result<Job, StoreError> {
    let request: &str = row.try_get(3)?;
    Ok(Job {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        kind: row.try_get(2)?,
        request: serde_json::from_str(request).map_err(|error| StoreError::Unreadable(error.to_string()))?,
        by: row.try_get(4)?,
        roles: row.try_get(5)?,
        why: row.try_get(6)?,
        created_at: row.try_get(7)?,
        ended_at: row.try_get(8)?,
        state: row.try_get(9)?,
        stopped_because: row.try_get(10)?,
        canary: row.try_get(11)?,
        rate_per_s: row.try_get(12)?,
        stop_after_same: row.try_get(13)?,
        total: row.try_get(14)?,
        last_reason: row.try_get(15)?,
        last_count: row.try_get(16)?,
        approved_by: row.try_get(17)?,
        asked: row.try_get::<Option<Vec<u8>>, _>(18)?.unwrap_or_default(),
        amount: row.try_get(19)?,
        stalled: row.try_get(20)?,
        canary_tried: row.try_get(21)?,
        canary_failed: row.try_get(22)?,
        summary: row.try_get(23)?,
    })
}

const ITEM: &str = "i.number, i.saga_id, s.key, i.revision, i.goal, i.outcome, i.words, i.new_saga, i.at
    from job_item i left join saga s on s.id = i.saga_id";

fn item(row: &PgRow) -> Result<Item, StoreError> {
    let revision: i32 = row.try_get(3)?;
    Ok(Item {
        number: row.try_get(0)?,
        saga: SagaId(row.try_get(1)?),
        key: row.try_get(2)?,
        revision: u32::try_from(revision).unwrap_or_default(),
        goal: row.try_get(4)?,
        outcome: row.try_get(5)?,
        words: row.try_get(6)?,
        new_saga: row.try_get::<Option<Uuid>, _>(7)?.map(SagaId),
        at: row.try_get(8)?,
    })
}

/// The group of failures that a filter names.
fn failure_of(filter: &str) -> Option<&str> {
    filter.split('&').find_map(|pair| pair.strip_prefix("failure="))
}

impl Store {
    /// Makes a job with its frozen set. `false` when there is one of that id.
    ///
    /// # Errors
    /// When the database fails; nothing was made then.
    pub async fn make_job(&self, actor: &Actor, job: &Job, set: &[Frozen]) -> Result<bool, StoreError> {
        let mut tx = self.reads().begin().await?;
        let made = sqlx::query(
            "insert into job (id, name, kind, request, by, roles, why, state, canary, rate_per_s, stop_after_same, total, ended_at,
                asked, amount, failure)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, case when $12 = 0 then now() end, $13, $14, $15)
             on conflict do nothing",
        )
        .bind(job.id)
        .bind(&job.name)
        .bind(&job.kind)
        .bind(job.request.to_string())
        .bind(&job.by)
        .bind(&job.roles)
        .bind(&job.why)
        .bind(&job.state)
        .bind(job.canary)
        .bind(job.rate_per_s)
        .bind(job.stop_after_same)
        .bind(job.total)
        .bind(&job.asked)
        .bind(&job.amount)
        .bind(job.request.get("filter").and_then(Value::as_str).and_then(failure_of))
        .execute(&mut *tx)
        .await?;
        if made.rows_affected() == 0 {
            return Ok(false);
        }
        let mut number = 0;
        for chunk in set.chunks(CHUNK) {
            let numbers: Vec<i32> = chunk
                .iter()
                .map(|_| {
                    number += 1;
                    number
                })
                .collect();
            sqlx::query(
                "insert into job_item (job, number, saga_id, revision, goal)
                 select $1, n.* from unnest($2::int[], $3::uuid[], $4::int[], $5::smallint[]) as n",
            )
            .bind(job.id)
            .bind(numbers)
            .bind(chunk.iter().map(|it| it.saga.0).collect::<Vec<_>>())
            .bind(chunk.iter().map(|it| i32::try_from(it.revision).unwrap_or(i32::MAX)).collect::<Vec<_>>())
            .bind(chunk.iter().map(|it| it.goal).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
        }
        let mut request = job.request.clone();
        if let Some(members) = request.as_object_mut() {
            // Payment keys have no business in the audit.
            members.remove("fresh");
            members.remove("merge");
            members.remove("sagas");
        }
        let deed =
            Deed { why: Some(&job.why), after: Some(request), ..Deed::new("job.create", job.id.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Approves a job as a whole. A repetition changes nothing.
    ///
    /// # Errors
    /// When the database fails; nothing was approved then.
    pub async fn approve_job(
        &self,
        actor: &Actor,
        id: Uuid,
        why: &str,
        people_sign_in: bool,
    ) -> Result<JobApproval, StoreError> {
        let mut tx = self.reads().begin().await?;
        let row: Option<(String, Option<String>, String, bool)> = sqlx::query_as(
            "select by, approved_by, state, created_at < now() - make_interval(hours => $2) from job where id = $1 for update",
        )
        .bind(id)
        .bind(OPEN_HOURS)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((by, approved_by, state, old)) = row else { return Ok(JobApproval::Nothing) };
        match approved_by {
            Some(before) if before == actor.who => return Ok(JobApproval::Now),
            Some(before) => return Ok(JobApproval::Before(format!("{before} has approved it already"))),
            None if super::approvals::same_person(&mut tx, &by, &actor.who, people_sign_in).await? => {
                return Ok(JobApproval::OwnOne);
            }
            None if matches!(state.as_str(), "done" | "cancelled") => {
                return Ok(JobApproval::Before(format!("the job is {state}")));
            }
            None if old => {
                let hours = format!("it was asked for more than {OPEN_HOURS} h ago");
                return Ok(JobApproval::Before(hours));
            }
            None => {}
        }
        sqlx::query("update job set approved_by = $2, approved_at = now(), approval_why = $3 where id = $1")
            .bind(id)
            .bind(&actor.who)
            .bind(why)
            .execute(&mut *tx)
            .await?;
        let after = serde_json::json!({ "asked_by": by });
        let deed = Deed { why: Some(why), after: Some(after), ..Deed::new("job.approve", id.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(JobApproval::Now)
    }

    /// Jobs of which something waits for a second person.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unapproved_jobs(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(
            "select count(*) from job j where ended_at is null and approved_by is null
                and exists (select from job_item i where i.job = j.id and i.outcome = 'awaiting_approval')",
        )
        .fetch_one(self.reads())
        .await?)
    }

    /// What waited for a second person waits for its turn, with a canary of its own: these are the larger amounts.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn release_items(&self, id: Uuid, tried: i64, failed: i64) -> Result<(), StoreError> {
        sqlx::query(
            "with released as (
                update job_item set outcome = 'waiting', words = null, at = null
                where job = $1 and outcome = 'awaiting_approval')
             update job set canary_tried = $2, canary_failed = $3, state = case when canary > 0 then 'canary' else state end
             where id = $1 and state in ('canary', 'running')",
        )
        .bind(id)
        .bind(i32::try_from(tried).unwrap_or(i32::MAX))
        .bind(i32::try_from(failed).unwrap_or(i32::MAX))
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Says why a job does not come along, or that it does.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn stall_job(&self, id: Uuid, why: Option<&str>) -> Result<(), StoreError> {
        sqlx::query("update job set stalled = $2 where id = $1 and stalled is distinct from $2")
            .bind(id)
            .bind(why)
            .execute(self.reads())
            .await?;
        Ok(())
    }

    /// Keeps the counts and reasons of a job of which nothing will change any more.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn sum_up_job(&self, id: Uuid) -> Result<(), StoreError> {
        let all = (self.job_counts(id).await?, self.job_reasons(id).await?);
        let text = serde_json::to_string(&all).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        sqlx::query("update job set summary = $2 where id = $1")
            .bind(id)
            .bind(text)
            .execute(self.reads())
            .await?;
        Ok(())
    }

    /// Refuses what nobody has approved in time.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn expire_job(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query(
            "update job_item i set outcome = 'refused', words = 'nobody has approved it in time', at = now()
             from job j where j.id = $1 and j.approved_by is null and j.created_at < now() - make_interval(hours => $2)
                and i.job = j.id and i.outcome = 'awaiting_approval'",
        )
        .bind(id)
        .bind(OPEN_HOURS)
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Jobs, those that go on before the others, each newest first; at most 200.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        let sql = format!(
            "select {JOB} from job order by state in ('canary', 'running') desc, created_at desc limit 200"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.reads()).await?;
        rows.iter().map(job).collect()
    }

    /// One job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        let sql = format!("select {JOB} from job where id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(self.reads()).await?;
        row.as_ref().map(job).transpose()
    }

    /// How many items of a job have which outcome.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job_counts(&self, id: Uuid) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(sqlx::query_as("select outcome, count(*) from job_item where job = $1 group by 1")
            .bind(id)
            .fetch_all(self.reads())
            .await?)
    }

    /// Why items did not succeed, the most frequent first, at most 20.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job_reasons(&self, id: Uuid) -> Result<Vec<(String, String, i64)>, StoreError> {
        Ok(sqlx::query_as(
            "select outcome, coalesce(words, ''), count(*) from job_item
             where job = $1 and outcome in ('failed_again', 'changed', 'refused', 'awaiting_approval')
             group by 1, 2 order by 3 desc limit 20",
        )
        .bind(id)
        .fetch_all(self.reads())
        .await?)
    }

    /// A page of a job's items, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job_items(
        &self,
        id: Uuid,
        among: Among<'_>,
        after: i32,
        limit: i64,
    ) -> Result<Vec<Item>, StoreError> {
        let sql = format!(
            "select {ITEM} where i.job = $1 and ($2::text is null or i.outcome = $2)
                and ($3::text is null or coalesce(i.words, '') = $3) and i.number > $4
             order by i.number limit $5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(among.outcome)
            .bind(among.reason)
            .bind(after)
            .bind(limit)
            .fetch_all(self.reads())
            .await?;
        rows.iter().map(item).collect()
    }

    /// Moves a job to another state, if it is in one of these. `None` when there is no such job; else whether it moved.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steer_job(
        &self,
        actor: &Actor,
        id: Uuid,
        from: &[&str],
        to: &str,
        what: &str,
        why: &str,
    ) -> Result<Option<bool>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let row: Option<(String,)> = sqlx::query_as("select state from job where id = $1 for update")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some((state,)) = row else { return Ok(None) };
        if !from.contains(&state.as_str()) {
            return Ok(Some(false));
        }
        sqlx::query(
            "update job set state = $2, ended_at = case when $2 = 'cancelled' then now() end, stopped_because = null,
                last_reason = null, last_count = 0, lease_until = null, stalled = null where id = $1",
        )
        .bind(id)
        .bind(to)
        .execute(&mut *tx)
        .await?;
        let before = serde_json::json!({ "state": state });
        let deed = Deed { why: Some(why), before: Some(before), ..Deed::new(what, id.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(Some(true))
    }

    /// The jobs that this process works on now: its own, and those that nobody works on any more, those that were looked at
    /// the longest ago first: however many wait, each comes round. Of a paused or stopped one
    /// what was begun is still looked at.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn lease_jobs(&self, node: &str) -> Result<Vec<Job>, StoreError> {
        let sql = format!(
            "update job set lease_by = $1, lease_until = now() + make_interval(secs => $2) where id in (
                select id from job j where (lease_by = $1 or lease_until is null or lease_until < now())
                    and ((ended_at is null and state in ('canary', 'running')) or (
                        state in ('paused', 'stopped', 'cancelled')
                        and exists (select from job_item i where i.job = j.id and i.outcome = 'acting')))
                order by lease_until nulls first, created_at limit 8 for update skip locked)
             returning {JOB}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(node)
            .bind(f64::from(LEASE_S))
            .fetch_all(self.reads())
            .await?;
        rows.iter().map(job).collect()
    }

    /// Marks items as under way, before anything is done about them; only while the lease is held.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn begin_items(
        &self,
        node: &str,
        id: Uuid,
        count: i64,
    ) -> Result<Vec<Item>, StoreError> {
        let sql = format!(
            "with next as (
                select number from job_item where job = $1 and outcome = 'waiting'
                    and exists (select from job where id = $1 and lease_by = $2 and lease_until > now()
                        and state in ('canary', 'running'))
                order by number limit $3 for update skip locked
             ), begun as (
                update job_item i set outcome = 'acting', acted_at = now() from next n
                where i.job = $1 and i.number = n.number returning i.number
             ) select {ITEM} where i.job = $1 and i.number in (select number from begun) order by i.number"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(node)
            .bind(count)
            .fetch_all(self.reads())
            .await?;
        rows.iter().map(item).collect()
    }

    /// Items that were marked wait again, once no process can be about to begin them that has lost its lease.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn give_back_items(&self, id: Uuid, numbers: &[i32]) -> Result<(), StoreError> {
        if numbers.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "update job_item set outcome = 'waiting', acted_at = null
             where job = $1 and number = any($2) and outcome = 'acting' and new_saga is null
                and acted_at < now() - make_interval(secs => $3)",
        )
        .bind(id)
        .bind(numbers)
        .bind(f64::from(LEASE_S))
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Notes the sagas that replays have started.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn note_new_saga(&self, id: Uuid, number: i32, saga: SagaId) -> Result<(), StoreError> {
        sqlx::query("update job_item set new_saga = $3 where job = $1 and number = $2")
            .bind(id)
            .bind(number)
            .bind(saga.0)
            .execute(self.reads())
            .await?;
        Ok(())
    }

    /// Writes what became of items.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn finish_items(&self, id: Uuid, finished: &[Finished]) -> Result<(), StoreError> {
        if finished.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "update job_item i set outcome = n.outcome, words = n.words, at = now()
             from unnest($2::int[], $3::text[], $4::text[]) as n (number, outcome, words)
             where i.job = $1 and i.number = n.number and i.outcome in ('acting', 'waiting')",
        )
        .bind(id)
        .bind(finished.iter().map(|it| it.number).collect::<Vec<_>>())
        .bind(finished.iter().map(|it| it.outcome).collect::<Vec<_>>())
        .bind(finished.iter().map(|it| it.words.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Moves a job on by itself, while this process holds its lease and nobody has steered it otherwise.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn advance_job(
        &self,
        node: &str,
        job: &Job,
        to: &str,
        because: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update job set state = $3, stopped_because = $4, last_reason = $5, last_count = $6,
                ended_at = case when $3 = 'done' then now() end
             where id = $1 and lease_by = $2 and state = $7",
        )
        .bind(job.id)
        .bind(node)
        .bind(to)
        .bind(because)
        .bind(&job.last_reason)
        .bind(job.last_count)
        .bind(&job.state)
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Which of these pieces of mail there are.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn mail_kept(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let rows: Vec<(Uuid,)> = sqlx::query_as("select id from mailbox where id = any($1)")
            .bind(ids)
            .fetch_all(self.reads())
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Which of these sagas are repeated by another one already.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn replayed(&self, ids: &[Uuid]) -> Result<BTreeSet<Uuid>, StoreError> {
        let rows: Vec<(Uuid,)> =
            sqlx::query_as("select distinct replay_of from saga where replay_of = any($1)")
                .bind(ids)
                .fetch_all(self.reads())
                .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// The saga that a key means.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn saga_of_key(&self, scope: &str, key: &str) -> Result<Option<SagaId>, StoreError> {
        let id: Option<Uuid> =
            sqlx::query_scalar("select saga_id from start_key where scope = $1 and key = $2")
                .bind(scope)
                .bind(key)
                .fetch_optional(self.reads())
                .await?;
        Ok(id.map(SagaId))
    }

    /// What the owners made of these pieces of mail.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn mail_results(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>, StoreError> {
        Ok(sqlx::query_as(
            "select id, coalesce(result, 'applied') from mailbox where id = any($1) and taken_at is not null",
        )
        .bind(ids)
        .fetch_all(self.reads())
        .await?)
    }
}
