//! Erasing what is personal, on demand: wherever the engine keeps it, in a saga and its whole family.

use saga_core::{Event, What};
use saga_protocol::SagaId;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::{Store, StoreError};

impl Store {
    /// A saga and those that it started, that started it, and that repeat it or that it repeats, however far; and
    /// whether each has ended, unless its retention is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn family(&self, saga: SagaId, max: usize) -> Result<Vec<(SagaId, Option<bool>)>, StoreError> {
        let rows: Vec<(Uuid, Option<bool>)> = sqlx::query_as(
            "with recursive family as (
                select $1 as id
                union select n.id from family f cross join lateral (
                    select s.parent as id from saga s where s.id = f.id
                    union all select s.replay_of from saga s where s.id = f.id
                    union all select s.id from saga s where s.parent = f.id
                    union all select s.id from saga s where s.replay_of = f.id) n
                where n.id is not null
             ) select f.id, s.status >= 2 from family f left join saga s on s.id = f.id limit $2",
        )
        .bind(saga.0)
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .fetch_all(self.reads())
        .await?;
        Ok(rows.into_iter().map(|(id, ended)| (SagaId(id), ended)).collect())
    }

    /// Replaces a family's personal data, wherever the engine keeps it, by what `hide` makes of each document: told
    /// whose it is, and whether it is the input. Of a saga whose retention is over what is left is deleted. All of it,
    /// or nothing. Returns how many rows were deleted, or a saga that has not ended.
    ///
    /// # Errors
    /// When the database fails; nothing is replaced then.
    pub async fn erase(
        &self,
        actor: &Actor,
        family: &[SagaId],
        why: &str,
        hide: impl Fn(SagaId, bool, &mut Value),
    ) -> Result<Result<u64, SagaId>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let mut gone = 0;
        for &saga in family {
            let ended: Option<bool> = sqlx::query_scalar("select status >= 2 from saga where id = $1")
                .bind(saga.0)
                .fetch_optional(&mut *tx)
                .await?;
            let changed = match ended {
                Some(false) => return Ok(Err(saga)),
                Some(true) => {
                    erase_one(&mut tx, saga, |is_input, value| hide(saga, is_input, value)).await?;
                    true
                }
                None => {
                    let rows = erase_remains(&mut tx, saga).await?;
                    gone += rows;
                    rows > 0
                }
            };
            if changed {
                let deed = Deed { why: Some(why), ..Deed::new("saga.erase", saga.to_string()) };
                audit::keep(&mut tx, actor, deed).await?;
            }
        }
        tx.commit().await?;
        Ok(Ok(gone))
    }
}

/// Replaces the personal data of one ended saga.
async fn erase_one(
    connection: &mut PgConnection,
    saga: SagaId,
    hide: impl Fn(bool, &mut Value),
) -> Result<(), StoreError> {
    let erased = |text: Option<String>, input: bool| -> Option<String> {
        let text = text?;
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else { return Some(text) };
        hide(input, &mut value);
        Some(value.to_string())
    };
    let rows = sqlx::query("select revision, event, payload, inputs from history where saga_id = $1")
        .bind(saga.0)
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let (revision, event, payload): (i32, Option<String>, Option<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        sqlx::query(
            "update history set event = $3, payload = $4, inputs = $5 where saga_id = $1 and revision = $2",
        )
        .bind(saga.0)
        .bind(revision)
        .bind(erased(event.clone(), false))
        .bind(if given(event.as_deref()) {
            payload.map(|_| GONE.to_owned())
        } else {
            erased(payload, revision == 1)
        })
        .bind(erased(row.try_get(3)?, false))
        .execute(&mut *connection)
        .await?;
    }
    for (select, update) in [
        (
            "select id::text, event, null from ignored where saga_id = $1",
            "update ignored set event = $2 where id = $1::bigint and $3::text is null",
        ),
        (
            "select id::text, body, payload from mailbox where saga_id = $1",
            "update mailbox set body = $2, payload = $3 where id = $1::uuid",
        ),
        (
            "select id::text, event, payload from approval where saga_id = $1",
            "update approval set event = $2, payload = $3 where id = $1::uuid",
        ),
    ] {
        let rows: Vec<(String, Option<String>, Option<String>)> =
            sqlx::query_as(select).bind(saga.0).fetch_all(&mut *connection).await?;
        for (id, event, payload) in rows {
            let query = sqlx::query(update).bind(id).bind(erased(event, false));
            // Nobody knows what of it is personal.
            let payload = payload.map(|_| GONE);
            query.bind(payload).execute(&mut *connection).await?;
        }
    }
    let asked: Vec<(Uuid, String)> = sqlx::query_as("select id, request from approval where saga_id = $1")
        .bind(saga.0)
        .fetch_all(&mut *connection)
        .await?;
    for (id, request) in asked {
        let Ok(mut request) = serde_json::from_str::<Value>(&request) else { continue };
        for name in ["input", "output"] {
            if let Some(brought) = request.get_mut(name).filter(|it| !it.is_null()) {
                *brought = crate::api::retention::ERASED.into();
            }
        }
        hide(false, &mut request);
        let update = sqlx::query("update approval set request = $2 where id = $1");
        update.bind(id).bind(request.to_string()).execute(&mut *connection).await?;
    }
    let words = |text: String| {
        let mut text = Value::String(text);
        hide(false, &mut text);
        text.as_str().unwrap_or_default().to_owned()
    };
    let rows: Vec<(String, String, Option<String>, Option<String>)> =
        sqlx::query_as("select effect_key, kind, output, resolution from anomaly where saga_id = $1")
            .bind(saga.0)
            .fetch_all(&mut *connection)
            .await?;
    for (key, kind, output, resolution) in rows {
        // What a signal brought is not known to anybody.
        let output =
            if kind.starts_with("signal_") { output.map(|_| GONE.to_owned()) } else { erased(output, false) };
        let update = "update anomaly set output = $4, resolution = $5 where saga_id = $1 and effect_key = $2 and kind = $3";
        let update = sqlx::query(update).bind(saga.0).bind(key).bind(kind).bind(output);
        update.bind(resolution.map(words)).execute(&mut *connection).await?;
    }
    // What people wrote of it.
    for (select, update) in [
        (
            "select id::text, body from note where saga_id = $1",
            "update note set body = $2 where id = $1::bigint",
        ),
        (
            "select id::text, why from approval where saga_id = $1",
            "update approval set why = $2 where id = $1::uuid",
        ),
        (
            "select id::text, decision_why from approval where saga_id = $1 and decision_why is not null",
            "update approval set decision_why = $2 where id = $1::uuid",
        ),
    ] {
        let rows: Vec<(String, String)> =
            sqlx::query_as(select).bind(saga.0).fetch_all(&mut *connection).await?;
        for (id, text) in rows {
            sqlx::query(update).bind(id).bind(words(text)).execute(&mut *connection).await?;
        }
    }
    erase_in_jobs(connection, saga, |merge| hide(true, merge)).await?;
    // The groups that its failures were counted in show a message, too; it may stand in none by now.
    let groups: Vec<(String, String)> = sqlx::query_as(
        "select id, message from failure where definition = (select definition from saga where id = $1) order by id",
    )
    .bind(saga.0)
    .fetch_all(&mut *connection)
    .await?;
    for (id, message) in groups {
        let mut hidden = Value::String(message.clone());
        hide(false, &mut hidden);
        if hidden.as_str() != Some(&message) {
            sqlx::query("update failure set message = $2 where id = $1")
                .bind(id)
                .bind(hidden.as_str().unwrap_or_default())
                .execute(&mut *connection)
                .await?;
        }
    }
    // Nobody could read them: what is in there is not known, and the saga has ended without it.
    sqlx::query("update dead_letter set data = null where saga_id = $1")
        .bind(saga.0)
        .execute(&mut *connection)
        .await?;
    // A message may quote anything.
    sqlx::query("update projection set error_message = null where saga_id = $1")
        .bind(saga.0)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Deletes what is left of a saga whose retention is over, whose week of history has not gone yet. Returns how many rows.
async fn erase_remains(connection: &mut PgConnection, saga: SagaId) -> Result<u64, StoreError> {
    let mut rows = 0;
    // What came of an action stands in its mail: the audit shows it, without what was said in it.
    let mail = "update mailbox set body = '{}', payload = null where saga_id = $1 and (body <> '{}' or payload is not null)
        and not exists (select from saga where id = $1)";
    rows += sqlx::query(mail).bind(saga.0).execute(&mut *connection).await?.rows_affected();
    for table in ["history", "ignored", "approval", "anomaly", "dead_letter"] {
        let sql =
            format!("delete from {table} where saga_id = $1 and not exists (select from saga where id = $1)");
        rows += sqlx::query(AssertSqlSafe(sql)).bind(saga.0).execute(&mut *connection).await?.rows_affected();
    }
    rows += erase_in_jobs(connection, saga, |merge| *merge = Value::Null).await?;
    Ok(rows)
}

/// Takes what jobs were told for this saga alone out of them, and has `hide` look at what they were told for all of
/// theirs. Of a job that goes on the latter stays: it is needed. Returns how many jobs changed.
async fn erase_in_jobs(
    connection: &mut PgConnection,
    saga: SagaId,
    hide: impl Fn(&mut Value),
) -> Result<u64, StoreError> {
    let jobs: Vec<(Uuid, String, bool)> = sqlx::query_as(
        "select distinct j.id, j.request, j.ended_at is not null from job_item i join job j on j.id = i.job
         where i.saga_id = $1",
    )
    .bind(saga.0)
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = 0;
    for (id, text, ended) in jobs {
        let Ok(mut request) = serde_json::from_str::<Value>(&text) else { continue };
        if let Some(fresh) = request.get_mut("fresh").and_then(Value::as_object_mut) {
            fresh.remove(&saga.to_string());
        }
        if let (Some(merge), true) = (request.get_mut("merge"), ended) {
            hide(merge);
        }
        let erased = request.to_string();
        if erased != text {
            let update = sqlx::query("update job set request = $2 where id = $1");
            changed += update.bind(id).bind(erased).execute(&mut *connection).await?.rows_affected();
        }
    }
    Ok(changed)
}

/// What stands where something was given to a saga later on.
const GONE: &str = "\"[erased]\"";

/// Whether an event brought what people or other systems gave to a saga after its start: nobody knows what of it is
/// personal.
fn given(event: Option<&str>) -> bool {
    let event = event.and_then(|text| serde_json::from_str::<Event>(text).ok());
    event.is_some_and(|it| matches!(it.what, What::Signal(_) | What::Operator(_)))
}
