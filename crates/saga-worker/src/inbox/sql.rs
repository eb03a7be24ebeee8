//! The inbox's statements: each works on a batch.

use std::collections::HashMap;

use saga_protocol::StepName;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};
use uuid::Uuid;

use super::row::{Fate, Key, Row, Track};

/// Binds the rows' columns, as arrays, in the order that both statements share.
macro_rules! bind {
    ($query:expr, $rows:expr) => {{
        let rows: &[&Row] = &$rows;
        $query
            .bind(rows.iter().map(|row| row.key.saga).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.key.step.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.key.item).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.key.round).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.kept_from_ms).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.execute.fate.code()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.execute.reply.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.execute.not_after_ms).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.execute.calls).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.compensate.fate.code()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.compensate.reply.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.compensate.not_after_ms).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.compensate.calls).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.compensate_round).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.marked).collect::<Vec<_>>())
    }};
}

/// The rows that exist, unlocked.
pub(crate) async fn probe(tx: &mut PgConnection, keys: &[&Key]) -> Result<HashMap<Key, Row>, sqlx::Error> {
    fetch(tx, "select * from saga_inbox.probe($1, $2, $3, $4)", keys).await
}

/// The rows that exist, locked until the transaction ends.
pub(crate) async fn probe_locked(
    tx: &mut PgConnection,
    keys: &[&Key],
) -> Result<HashMap<Key, Row>, sqlx::Error> {
    fetch(tx, "select * from saga_inbox.probe_locked($1, $2, $3, $4)", keys).await
}

async fn fetch(
    tx: &mut PgConnection,
    statement: &'static str,
    keys: &[&Key],
) -> Result<HashMap<Key, Row>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(statement)
        .bind(keys.iter().map(|key| key.saga).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.step.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.item).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.round).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(|row| (row.key.clone(), row)).collect())
}

/// Writes rows: new ones (version 0) are inserted, others changed if their version still stands.
/// `false` means that somebody else was faster: the caller rolls back and decides anew.
pub(crate) async fn write(tx: &mut PgConnection, rows: &[&Row]) -> Result<bool, sqlx::Error> {
    let (mut new, mut old): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.version == 0);
    // In the order of the key, so that two writers of the same rows wait and do not deadlock.
    new.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    old.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    if !old.is_empty() {
        let statement = "select saga_inbox.change($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                         $14, $15, $16)";
        let changed: i64 = bind!(sqlx::query_scalar(statement), old).fetch_one(&mut *tx).await?;
        if usize::try_from(changed) != Ok(old.len()) {
            return Ok(false);
        }
    }
    if !new.is_empty() {
        let statement = "insert into saga_inbox.barrier (saga, step, item, round, version, kept_from_ms, \
                         execute, execute_reply, execute_not_after_ms, execute_calls, \
                         compensate, compensate_reply, compensate_not_after_ms, compensate_calls, \
                         compensate_round, marked) \
                         select saga, step, item, round, version + 1, kept_from_ms, \
                         execute, execute_reply, execute_not_after_ms, execute_calls, \
                         compensate, compensate_reply, compensate_not_after_ms, compensate_calls, \
                         compensate_round, marked \
                         from unnest($1::uuid[], $2::text[], $3::int4[], $4::int4[], $5::int4[], $6::int8[], \
                         $7::int2[], $8::text[], $9::int8[], $10::int4[], \
                         $11::int2[], $12::text[], $13::int8[], $14::int4[], $15::int4[], $16::bool[]) \
                         as k (saga, step, item, round, version, kept_from_ms, \
                         execute, execute_reply, execute_not_after_ms, execute_calls, \
                         compensate, compensate_reply, compensate_not_after_ms, compensate_calls, \
                         compensate_round, marked) \
                         on conflict do nothing";
        let inserted = bind!(sqlx::query(statement), new).execute(&mut *tx).await?.rows_affected();
        if usize::try_from(inserted) != Ok(new.len()) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<'r> FromRow<'r, PgRow> for Row {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let step: &str = row.try_get("step")?;
        Ok(Self {
            key: Key {
                saga: row.try_get::<Uuid, _>("saga")?,
                step: StepName::new(step).map_err(|error| sqlx::Error::Decode(error.into()))?,
                item: row.try_get("item")?,
                round: row.try_get("round")?,
            },
            version: row.try_get("version")?,
            kept_from_ms: row.try_get("kept_from_ms")?,
            execute: Track {
                fate: fate(row.try_get("execute")?)?,
                reply: row.try_get("execute_reply")?,
                not_after_ms: row.try_get("execute_not_after_ms")?,
                calls: row.try_get("execute_calls")?,
            },
            compensate: Track {
                fate: fate(row.try_get("compensate")?)?,
                reply: row.try_get("compensate_reply")?,
                not_after_ms: row.try_get("compensate_not_after_ms")?,
                calls: row.try_get("compensate_calls")?,
            },
            compensate_round: row.try_get("compensate_round")?,
            marked: row.try_get("marked")?,
        })
    }
}

fn fate(code: i16) -> Result<Fate, sqlx::Error> {
    Fate::from_code(code).ok_or_else(|| sqlx::Error::Decode(format!("fate {code} is not known").into()))
}
