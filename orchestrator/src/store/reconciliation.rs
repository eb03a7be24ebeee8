//! Runs of the reconciliation, and the sagas of business keys.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::projection::before;
use super::{Store, StoreError};
use crate::reconcile::{Before, Finding, Kind, Run, Standing};

/// Runs that are kept.
const RUNS_MAX: i64 = 200;
/// Findings of one run that are kept.
const FINDINGS_MAX: usize = 100_000;

/// A finding as it is kept.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct FindingRow {
    pub number: i32,
    pub kind: String,
    pub order_id: String,
    pub saga: Option<SagaId>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub words: String,
    pub suggested: String,
    pub since: DateTime<Utc>,
}

/// The last run that could read the books.
const LAST_GOOD: &str = "(select id from reconciliation where error is null order by at desc limit 1)";
/// Of a finding `f`: nobody has settled it.
const OPEN: &str = "not exists (select from reconciliation_settled s
    where s.kind = f.kind and s.order_id = f.order_id and s.amount = coalesce(f.amount, 0)
        and (f.amount is not null or s.at >= f.since))";
const LOCK: i64 = 0x616d_656e_6473_0005;

/// The turn to compare the books.
pub(crate) struct Turn(PgConnection);

impl Turn {
    /// Ends it.
    pub(crate) async fn end(mut self) -> Result<(), StoreError> {
        // A connection that is closed keeps its lock for a moment, and the next one to come would be told that it runs.
        sqlx::query("select pg_advisory_unlock($1)").bind(LOCK).execute(&mut self.0).await?;
        Ok(self.0.close().await?)
    }
}

impl Store {
    /// The turn to compare, which one process has at a time; `None` when another one has it. Dropped, it ends with its
    /// connection.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn reconciliation_turn(&self) -> Result<Option<Turn>, StoreError> {
        let mut connection = self.reads().acquire().await?.detach();
        let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(LOCK)
            .fetch_one(&mut connection)
            .await?;
        if got {
            return Ok(Some(Turn(connection)));
        }
        connection.close().await?;
        Ok(None)
    }

    /// What runs before have left to do.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn before_this_run(&self) -> Result<Before, StoreError> {
        let until = sqlx::query_scalar(
            "select until from reconciliation where error is null order by at desc limit 1",
        )
        .fetch_optional(self.reads())
        .await?
        .flatten();
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select f.kind, f.order_id, f.saga, f.amount, f.currency, f.words, f.since, f.payments
             from reconciliation_finding f where f.run = {LAST_GOOD} and {OPEN}"
        )))
        .fetch_all(self.reads())
        .await?;
        let mut findings = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(kind) = Kind::of(row.try_get(0)?) else { continue };
            findings.push(Finding {
                kind,
                order_id: row.try_get(1)?,
                saga: row.try_get::<Option<Uuid>, _>(2)?.map(SagaId),
                amount: row.try_get(3)?,
                currency: row.try_get(4)?,
                words: row.try_get(5)?,
                since: row.try_get(6)?,
                payments: row.try_get(7)?,
            });
        }
        let unasked: Vec<String> =
            sqlx::query_scalar("select order_id from reconciliation_unasked").fetch_all(self.reads()).await?;
        Ok(Before { until, findings, unasked: unasked.into_iter().collect() })
    }

    /// What people have settled by hand, and when: kind, order and amount.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn settled_findings(
        &self,
    ) -> Result<HashMap<(String, String, i64), DateTime<Utc>>, StoreError> {
        let rows: Vec<(String, String, i64, DateTime<Utc>)> =
            sqlx::query_as("select kind, order_id, amount, at from reconciliation_settled")
                .fetch_all(self.reads())
                .await?;
        Ok(rows.into_iter().map(|(kind, order, amount, at)| ((kind, order, amount), at)).collect())
    }

    /// How the books stand.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing_of_books(&self) -> Result<Standing, StoreError> {
        let failed =
            sqlx::query_scalar("select error is not null from reconciliation order by at desc limit 1")
                .fetch_optional(self.reads())
                .await?;
        let findings = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "select f.kind, count(*) from reconciliation_finding f where f.run = {LAST_GOOD} and {OPEN} group by 1"
        )))
        .fetch_all(self.reads())
        .await?;
        Ok(Standing { failed, findings })
    }

    /// Settles a finding of the last run by hand: it was looked into, and the books may differ by it. `None` when
    /// there is no such finding; settling it again changes nothing.
    ///
    /// # Errors
    /// When the database fails; nothing was settled then.
    pub async fn settle_finding(
        &self,
        actor: &Actor,
        kind: &str,
        order_id: &str,
        why: &str,
    ) -> Result<Option<()>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let found: Option<(Option<i64>, DateTime<Utc>)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "select f.amount, f.since from reconciliation_finding f where f.run = {LAST_GOOD} and f.kind = $1 and f.order_id = $2"
        )))
        .bind(kind)
        .bind(order_id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((amount, since)) = found else { return Ok(None) };
        let settled = sqlx::query(
            "insert into reconciliation_settled (kind, order_id, amount, by, why) values ($1, $2, $3, $4, $5)
             on conflict on constraint reconciliation_settled_pk do update set at = now(), by = excluded.by, why = excluded.why
                -- Without an amount, what is found later is another one.
                where reconciliation_settled.amount = 0 and reconciliation_settled.at < $6",
        )
        .bind(kind)
        .bind(order_id)
        .bind(amount.unwrap_or(0))
        .bind(&actor.who)
        .bind(why)
        .bind(since)
        .execute(&mut *tx)
        .await?;
        if settled.rows_affected() > 0 {
            let after = serde_json::json!({ "kind": kind, "amount": amount });
            let deed = Deed { why: Some(why), after: Some(after), ..Deed::new("finding.settle", order_id) };
            audit::keep(&mut tx, actor, deed).await?;
        }
        tx.commit().await?;
        Ok(Some(()))
    }

    /// Keeps a run with its findings; the oldest runs go.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_reconciliation(
        &self,
        run: &Run,
        findings: &[Finding],
        unasked: &BTreeSet<String>,
        asked_by: Option<&Actor>,
    ) -> Result<(), StoreError> {
        let findings = &findings[..findings.len().min(FINDINGS_MAX)];
        let mut tx = self.reads().begin().await?;
        if let Some(actor) = asked_by {
            let after = match &run.error {
                None => serde_json::json!({ "findings": run.findings, "orders": run.orders }),
                Some(error) => serde_json::json!({ "error": error }),
            };
            let deed = Deed { after: Some(after), ..Deed::new("reconciliation.run", run.id.to_string()) };
            audit::keep(&mut tx, actor, deed).await?;
        }
        sqlx::query(
            "insert into reconciliation (id, at, took_ms, orders, findings, error, unasked, until)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(run.id)
        .bind(run.at)
        .bind(run.took_ms)
        .bind(run.orders)
        .bind(run.findings)
        .bind(&run.error)
        .bind(run.unasked)
        .bind(run.until)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "insert into reconciliation_finding (run, number, kind, order_id, saga, amount, currency, words, suggested, since,
                payments)
             select $1, n.*, p.* from unnest($2::int[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::text[],
                $9::text[], $10::timestamptz[]) as n (number) cross join lateral (
                    select array(select jsonb_array_elements_text(($11::text[])[n.number]::jsonb))) p",
        )
        .bind(run.id)
        .bind((1_i32..).take(findings.len()).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.kind.word()).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.order_id.as_str()).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.saga.map(|it| it.0)).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.amount).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.currency.clone()).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.words.as_str()).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.kind.suggested()).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| it.since).collect::<Vec<_>>())
        .bind(findings.iter().map(|it| serde_json::json!(it.payments).to_string()).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        if run.error.is_none() {
            sqlx::query("delete from reconciliation_unasked").execute(&mut *tx).await?;
            sqlx::query("insert into reconciliation_unasked select unnest($1::text[])")
                .bind(unasked.iter().collect::<Vec<_>>())
                .execute(&mut *tx)
                .await?;
        }
        // The run that counts stays, however many have failed since.
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "with old as (delete from reconciliation where id in (
                select id from reconciliation order by at desc offset $1) and id <> {LAST_GOOD} returning id)
             delete from reconciliation_finding where run in (select id from old)"
        )))
        .bind(RUNS_MAX)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// When it ran last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_reconciliation(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(sqlx::query_scalar("select max(at) from reconciliation").fetch_one(self.reads()).await?)
    }

    /// The newest runs, and so many open findings of the newest one that could read the books, after this number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reconciliations(
        &self,
        limit: i64,
        (after, findings): (i32, i64),
    ) -> Result<(Vec<Run>, Vec<FindingRow>), StoreError> {
        let rows = sqlx::query(
            "select id, at, took_ms, orders, findings, error, unasked, until from reconciliation order by at desc limit $1",
        )
        .bind(limit)
        .fetch_all(self.reads())
        .await?;
        let mut runs = Vec::new();
        for row in &rows {
            runs.push(Run {
                id: row.try_get(0)?,
                at: row.try_get(1)?,
                took_ms: row.try_get(2)?,
                orders: row.try_get(3)?,
                findings: row.try_get(4)?,
                error: row.try_get(5)?,
                unasked: row.try_get(6)?,
                until: row.try_get(7)?,
            });
        }
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select kind, order_id, saga, amount, currency, words, suggested, since, number
             from reconciliation_finding f
             where run = {LAST_GOOD} and {OPEN} and number > $1 order by number limit $2"
        )))
        .bind(after)
        .bind(findings)
        .fetch_all(self.reads())
        .await?;
        let mut findings = Vec::new();
        for row in &rows {
            findings.push(FindingRow {
                kind: row.try_get(0)?,
                order_id: row.try_get(1)?,
                saga: row.try_get::<Option<Uuid>, _>(2)?.map(SagaId),
                amount: row.try_get(3)?,
                currency: row.try_get(4)?,
                words: row.try_get(5)?,
                suggested: row.try_get(6)?,
                since: row.try_get(7)?,
                number: row.try_get(8)?,
            });
        }
        Ok((runs, findings))
    }

    /// The business keys of sagas that have ended since, and began before.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn ended_keys(&self, since: DateTime<Utc>) -> Result<BTreeSet<String>, StoreError> {
        let rows: Vec<String> =
            sqlx::query_scalar("select key from saga where ended_at >= $1 and id < $2 and key is not null")
                .bind(since)
                .bind(before(since))
                .fetch_all(self.reads())
                .await?;
        Ok(rows.into_iter().collect())
    }

    /// The newest saga of each of these business keys, of any definition, and when it ended. A key with a saga that
    /// has not ended says so.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn newest_of_keys(
        &self,
        keys: &[String],
    ) -> Result<Vec<(String, SagaId, Option<DateTime<Utc>>)>, StoreError> {
        let rows: Vec<(String, Uuid, Option<DateTime<Utc>>)> = sqlx::query_as(
            "select distinct on (k.key) k.key, s.id, s.ended_at
             from (select distinct 'key:' || name as scope from definition) d
             cross join unnest($1::text[]) as n (key)
             join start_key k on k.scope = d.scope and k.key = n.key join saga s on s.id = k.saga_id
             order by k.key, (s.ended_at is null) desc, s.id desc",
        )
        .bind(keys)
        .fetch_all(self.reads())
        .await?;
        Ok(rows.into_iter().map(|(key, id, ended_at)| (key, SagaId(id), ended_at)).collect())
    }
}
