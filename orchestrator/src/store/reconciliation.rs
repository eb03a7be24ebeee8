//! Runs of the reconciliation, and the sagas of business keys.

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use sqlx::Row;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::reconcile::{Finding, Run};

/// Runs that are kept.
const RUNS_MAX: i64 = 200;
/// Findings of one run that are kept.
const FINDINGS_MAX: usize = 10_000;

/// A finding as it is kept.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct FindingRow {
    pub kind: String,
    pub order_id: String,
    pub saga: Option<SagaId>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub words: String,
    pub suggested: String,
    pub since: DateTime<Utc>,
}

impl Store {
    /// Keeps a run with its findings; the oldest runs go.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_reconciliation(&self, run: &Run, findings: &[Finding]) -> Result<(), StoreError> {
        let findings = &findings[..findings.len().min(FINDINGS_MAX)];
        let mut tx = self.reads().begin().await?;
        sqlx::query("insert into reconciliation (id, at, took_ms, orders, findings, error) values ($1, $2, $3, $4, $5, $6)")
            .bind(run.id)
            .bind(run.at)
            .bind(run.took_ms)
            .bind(run.orders)
            .bind(run.findings)
            .bind(&run.error)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "insert into reconciliation_finding (run, number, kind, order_id, saga, amount, currency, words, suggested, since)
             select $1, n.* from unnest($2::int[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::text[],
                $9::text[], $10::timestamptz[]) as n",
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
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "with old as (delete from reconciliation where id in (
                select id from reconciliation order by at desc offset $1) returning id)
             delete from reconciliation_finding where run in (select id from old)",
        )
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

    /// The newest runs, and the findings of the newest one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reconciliations(&self, limit: i64) -> Result<(Vec<Run>, Vec<FindingRow>), StoreError> {
        let rows = sqlx::query(
            "select id, at, took_ms, orders, findings, error from reconciliation order by at desc limit $1",
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
            });
        }
        let Some(newest) = runs.first() else { return Ok((runs, Vec::new())) };
        let rows = sqlx::query(
            "select kind, order_id, saga, amount, currency, words, suggested, since from reconciliation_finding
             where run = $1 order by number limit 1000",
        )
        .bind(newest.id)
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
            });
        }
        Ok((runs, findings))
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
