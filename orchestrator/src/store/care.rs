//! What people add to sagas: notes, who looks after one, settled anomalies and dead letters, saved filters.
//!
//! None of it changes a saga. Each deed stands in the audit, in the same transaction.

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::{Store, StoreError};

/// A note.
#[derive(Clone, Debug)]
pub struct Note {
    /// Orders the notes.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// What.
    pub text: String,
}

/// What stands beside a saga.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Notes, newest first, at most 100.
    pub notes: Vec<Note>,
    /// The sagas that repeat it.
    pub replays: Vec<SagaId>,
    /// Its dead letters.
    pub dead_letters: i64,
}

/// A saved filter.
#[derive(Clone, Debug)]
pub struct SavedFilter {
    /// Whose.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// The query.
    pub query: String,
    /// Whether everybody sees it.
    pub shared: bool,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// What came of settling something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<T> {
    /// It is settled now.
    Now(T),
    /// Somebody was faster.
    Before(T),
    /// It could not be done now; nothing has changed.
    Not,
    /// There is no such thing.
    Nothing,
}

impl Store {
    /// What stands beside a saga.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn beside(&self, saga: SagaId) -> Result<Beside, StoreError> {
        let notes: Vec<(i64, DateTime<Utc>, String, String)> = sqlx::query_as(
            "select id, at, who, body from note where saga_id = $1 order by id desc limit 100",
        )
        .bind(saga.0)
        .fetch_all(self.reads())
        .await?;
        let replays: Vec<(Uuid,)> =
            sqlx::query_as("select id from saga where replay_of = $1 order by id limit 100")
                .bind(saga.0)
                .fetch_all(self.reads())
                .await?;
        let row = sqlx::query("select count(*) from dead_letter where saga_id = $1")
            .bind(saga.0)
            .fetch_one(self.reads())
            .await?;
        Ok(Beside {
            notes: notes.into_iter().map(|(id, at, who, text)| Note { id, at, who, text }).collect(),
            replays: replays.into_iter().map(|row| SagaId(row.0)).collect(),
            dead_letters: row.try_get(0)?,
        })
    }

    /// Adds a note.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_note(&self, actor: &Actor, saga: SagaId, text: &str) -> Result<Note, StoreError> {
        let mut tx = self.reads().begin().await?;
        let text = text.replace('\0', "\u{fffd}");
        let row = sqlx::query("insert into note (saga_id, who, body) values ($1, $2, $3) returning id, at")
            .bind(saga.0)
            .bind(&actor.who)
            .bind(&text)
            .fetch_one(&mut *tx)
            .await?;
        let note = Note { id: row.try_get(0)?, at: row.try_get(1)?, who: actor.who.clone(), text };
        // What the audit keeps is never erased: not the words, which may be personal.
        let deed =
            Deed { after: Some(json!({ "note": note.id })), ..Deed::new("saga.note", saga.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(note)
    }

    /// Says who looks after a saga; nobody when `None`. Where somebody else does than `was` says (empty: nobody), nothing
    /// changes, and who does is answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_owner(
        &self,
        actor: &Actor,
        saga: SagaId,
        owner: Option<&str>,
        was: Option<&str>,
        why: &str,
    ) -> Result<Result<(), Option<String>>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let before: Option<String> =
            sqlx::query_scalar("delete from care where saga_id = $1 returning owner")
                .bind(saga.0)
                .fetch_optional(&mut *tx)
                .await?;
        if was.is_some_and(|it| it != before.as_deref().unwrap_or_default()) {
            return Ok(Err(before));
        }
        if let Some(owner) = owner {
            let taken = sqlx::query(
                "insert into care (saga_id, owner, by) values ($1, $2, $3)
                 on conflict on constraint care_pk do update set owner = excluded.owner, by = excluded.by, at = now()
                    where $4",
            )
            .bind(saga.0)
            .bind(owner)
            .bind(&actor.who)
            .bind(was.is_none())
            .execute(&mut *tx)
            .await?;
            // Somebody else was just then quicker.
            if taken.rows_affected() == 0 {
                let theirs = sqlx::query_scalar("select owner from care where saga_id = $1").bind(saga.0);
                return Ok(Err(theirs.fetch_optional(&mut *tx).await?));
            }
        }
        let deed = Deed {
            why: Some(why),
            before: Some(json!({ "owner": before })),
            after: Some(json!({ "owner": owner })),
            ..Deed::new("saga.owner", saga.to_string())
        };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// The filters that somebody sees: their own, and shared ones.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn filters(&self, who: &str) -> Result<Vec<SavedFilter>, StoreError> {
        let rows = sqlx::query(
            "select owner, name, query, shared, at from saved_filter where owner = $1 or shared
             order by name, owner limit 500",
        )
        .bind(who)
        .fetch_all(self.reads())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(SavedFilter {
                    owner: row.try_get(0)?,
                    name: row.try_get(1)?,
                    query: row.try_get(2)?,
                    shared: row.try_get(3)?,
                    at: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// Saves a filter under its owner's name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_filter(
        &self,
        who: &str,
        name: &str,
        query: &str,
        shared: bool,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into saved_filter (owner, name, query, shared) values ($1, $2, $3, $4)
             on conflict on constraint saved_filter_pk do update set query = excluded.query,
                shared = excluded.shared, at = now()",
        )
        .bind(who)
        .bind(name)
        .bind(query)
        .bind(shared)
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Drops one's own filter. `false` when there is none of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn drop_filter(&self, who: &str, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("delete from saved_filter where owner = $1 and name = $2")
            .bind(who)
            .bind(name)
            .execute(self.reads())
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

/// An anomaly in the queue.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct AnomalyRow {
    pub saga: SagaId,
    pub effect_key: String,
    pub kind: String,
    pub at_ms: i64,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub output: Option<Value>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub resolved_by: Option<String>,
    pub resolution: Option<String>,
}

/// An anomaly's place in the queue: when, saga, effect and kind.
pub type AnomalyPlace = (i64, Uuid, String, String);

const ANOMALY: &str =
    "saga_id, effect_key, kind, at_ms, amount, currency, output, resolved_at, resolved_by, resolution";

fn anomaly(row: &PgRow) -> Result<AnomalyRow, StoreError> {
    let output: Option<&str> = row.try_get(6)?;
    Ok(AnomalyRow {
        saga: SagaId(row.try_get(0)?),
        effect_key: row.try_get(1)?,
        kind: row.try_get(2)?,
        at_ms: row.try_get(3)?,
        amount: row.try_get(4)?,
        currency: row.try_get(5)?,
        output: output.and_then(|text| serde_json::from_str(text).ok()),
        resolved_at: row.try_get(7)?,
        resolved_by: row.try_get(8)?,
        resolution: row.try_get(9)?,
    })
}

impl Store {
    /// Anomalies, newest first, at most `limit`, after a place.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn anomaly_page(
        &self,
        open: bool,
        after: Option<&AnomalyPlace>,
        limit: u16,
    ) -> Result<Vec<AnomalyRow>, StoreError> {
        let sql = format!(
            "select {ANOMALY} from anomaly where (not $1 or resolved_at is null)
             and ($2::bigint is null or (at_ms, saga_id, effect_key, kind) < ($2, $3, $4, $5))
             order by at_ms desc, saga_id desc, effect_key desc, kind desc limit $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(open)
            .bind(after.map(|it| it.0))
            .bind(after.map(|it| it.1))
            .bind(after.map(|it| it.2.as_str()))
            .bind(after.map(|it| it.3.as_str()))
            .bind(i64::from(limit))
            .fetch_all(self.reads())
            .await?;
        rows.iter().map(anomaly).collect()
    }

    /// Settles an anomaly.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resolve_anomaly(
        &self,
        actor: &Actor,
        (saga, effect_key, kind): (SagaId, &str, &str),
        why: &str,
    ) -> Result<Settled<AnomalyRow>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let sql = format!(
            "select {ANOMALY} from anomaly where saga_id = $1 and effect_key = $2 and kind = $3 for update"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(saga.0)
            .bind(effect_key)
            .bind(kind)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(found) = row.as_ref().map(anomaly).transpose()? else { return Ok(Settled::Nothing) };
        if found.resolved_at.is_some() {
            return Ok(Settled::Before(found));
        }
        let sql = format!(
            "update anomaly set resolved_at = now(), resolved_by = $4, resolution = $5
             where saga_id = $1 and effect_key = $2 and kind = $3 returning {ANOMALY}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(saga.0)
            .bind(effect_key)
            .bind(kind)
            .bind(&actor.who)
            .bind(why)
            .fetch_one(&mut *tx)
            .await?;
        let settled = anomaly(&row)?;
        let after = json!({ "effect_key": effect_key, "kind": kind, "amount": settled.amount });
        let deed =
            Deed { why: Some(why), after: Some(after), ..Deed::new("anomaly.resolve", saga.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(Settled::Now(settled))
    }
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct DeadLetter {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub source: String,
    pub reason: String,
    pub saga: Option<SagaId>,
    pub headers: String,
    pub data: Vec<u8>,
    pub settled_at: Option<DateTime<Utc>>,
    pub settled_by: Option<String>,
    pub settled_how: Option<String>,
    pub settled_why: Option<String>,
}

/// Which dead letters.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct DeadLetterFilter {
    pub saga: Option<SagaId>,
    /// `kept`, `sent` or `discarded`.
    pub state: Option<String>,
    pub text: Option<String>,
    pub after: Option<i64>,
}

/// A dead letter without its data.
#[derive(Clone, Debug)]
pub struct LetterRow {
    /// Orders the letters.
    pub id: i64,
    /// When it was kept.
    pub at: DateTime<Utc>,
    /// Where it came from.
    pub source: String,
    /// Why it could not be taken in.
    pub reason: String,
    /// `kept`, `sent` or `discarded`.
    pub state: String,
}

const LETTER: &str =
    "id, at, source, reason, saga_id, headers, data, settled_at, settled_by, settled_how, settled_why";

fn letter(row: &PgRow) -> Result<DeadLetter, StoreError> {
    Ok(DeadLetter {
        id: row.try_get(0)?,
        at: row.try_get(1)?,
        source: row.try_get(2)?,
        reason: row.try_get(3)?,
        saga: row.try_get::<Option<Uuid>, _>(4)?.map(SagaId),
        headers: row.try_get(5)?,
        data: row.try_get::<Option<Vec<u8>>, _>(6)?.unwrap_or_default(),
        settled_at: row.try_get(7)?,
        settled_by: row.try_get(8)?,
        settled_how: row.try_get(9)?,
        settled_why: row.try_get(10)?,
    })
}

impl Store {
    /// Dead letters, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let sql = format!(
            "select {LETTER} from dead_letter where ($1::uuid is null or saga_id = $1)
             and ($2::text is null or coalesce(settled_how, 'kept') = $2)
             and ($3::text is null or position(lower($3) in lower(reason)) > 0)
             and ($4::bigint is null or id < $4) order by id desc limit $5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(filter.saga.map(|it| it.0))
            .bind(&filter.state)
            .bind(&filter.text)
            .bind(filter.after)
            .bind(i64::from(limit))
            .fetch_all(self.reads())
            .await?;
        rows.iter().map(letter).collect()
    }

    /// Dead letters of a saga within a time, without their data, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn letters_between(
        &self,
        saga: SagaId,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        limit: i64,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let rows: Vec<(i64, DateTime<Utc>, String, String, String)> = sqlx::query_as(
            "select id, at, source, reason, coalesce(settled_how, 'kept') from dead_letter
             where saga_id = $1 and ($2::timestamptz is null or at >= $2) and ($3::timestamptz is null or at < $3)
             order by id limit $4",
        )
        .bind(saga.0)
        .bind(from)
        .bind(until)
        .bind(limit)
        .fetch_all(self.reads())
        .await?;
        let row = |(id, at, source, reason, state)| LetterRow { id, at, source, reason, state };
        Ok(rows.into_iter().map(row).collect())
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        let sql = format!("select {LETTER} from dead_letter where id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(self.reads()).await?;
        row.as_ref().map(letter).transpose()
    }

    /// Settles a dead letter as `sent` or `discarded`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_dead_letter(
        &self,
        actor: &Actor,
        id: i64,
        how: &str,
        why: &str,
        send: impl AsyncFnOnce() -> bool,
    ) -> Result<Settled<DeadLetter>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let sql = format!("select {LETTER} from dead_letter where id = $1 for update");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *tx).await?;
        let Some(found) = row.as_ref().map(letter).transpose()? else { return Ok(Settled::Nothing) };
        if found.settled_at.is_some() {
            return Ok(Settled::Before(found));
        }
        if !send().await {
            return Ok(Settled::Not);
        }
        let sql = format!(
            "update dead_letter set settled_at = now(), settled_by = $2, settled_how = $3, settled_why = $4
             where id = $1 returning {LETTER}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(&actor.who)
            .bind(how)
            .bind(why)
            .fetch_one(&mut *tx)
            .await?;
        let settled = letter(&row)?;
        let what = if how == "sent" { "dead_letter.resend" } else { "dead_letter.discard" };
        let before = json!({ "source": settled.source, "reason": settled.reason });
        let deed = Deed { why: Some(why), before: Some(before), ..Deed::new(what, id.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(Settled::Now(settled))
    }
}
