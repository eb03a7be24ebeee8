//! Reads for people: one saga whole, its history, and lists.
//!
//! Owns the queries of the API's `GET`s, on the pool with ordinary plans. Each is bounded and keyset-paged;
//! none of them may be needed by the engine.

use chrono::{DateTime, Utc};
use saga_core::{Event, State};
use saga_protocol::SagaId;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Store, StoreError, load};

/// The words of the coarse status, by their number in the table.
pub const STATUS_WORDS: [&str; 5] = ["running", "parked", "completed", "compensated", "abandoned"];

/// The coarse row of a saga.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its id.
    pub saga: SagaId,
    /// The row of its definition's version.
    pub definition_id: i32,
    /// Its definition's name.
    pub definition: String,
    /// The version, a hash.
    pub version: String,
    /// Its coarse status, in words.
    pub status: &'static str,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its business key.
    pub key: Option<String>,
    /// The amount at stake, in the currency's smallest unit.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// The saga that it is a step of.
    pub parent: Option<SagaId>,
    /// The saga that it repeats.
    pub replay_of: Option<SagaId>,
    /// Who started it.
    pub principal: Option<String>,
    /// What it is found by: `name:value` each.
    pub labels: Vec<String>,
}

/// A saga with its state.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The coarse row.
    pub summary: Summary,
    /// The state, or why this build cannot read it.
    pub state: Result<State, String>,
}

/// One transition.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    /// The revision that it made.
    pub revision: u32,
    /// What happened; an error when this build cannot read it.
    pub event: Result<Event, String>,
    /// What the event brought: an input, an output, a signal's payload.
    pub payload: Option<Value>,
}

/// Something that changed nothing.
#[derive(Clone, Debug)]
pub struct IgnoredRow {
    /// Orders the log; what the next page begins after.
    pub id: i64,
    /// When it was taken in, in ms since 1970 UTC.
    pub at_ms: i64,
    /// Why it changed nothing.
    pub reason: String,
    /// What it was.
    pub event: Value,
}

/// Proof of an effect that nobody undoes.
#[derive(Clone, Debug)]
pub struct AnomalyRead {
    /// The effect.
    pub effect_key: String,
    /// What happened, such as `succeeded_after_skip`.
    pub kind: String,
    /// When it was found, in ms since 1970 UTC.
    pub at_ms: i64,
    /// The amount at stake, in the currency's smallest unit.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// The answer's output.
    pub output: Option<Value>,
    /// When somebody settled it.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// The columns that a [`Summary`] is read from.
pub(super) const SUMMARY: &str =
    "s.id, s.definition, d.name, d.version, s.status, s.started_at, s.ended_at, s.key, s.amount,
    s.currency, s.parent, s.replay_of, s.principal, s.labels";

impl Store {
    /// A saga with its state.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn whole(&self, saga: SagaId) -> Result<Option<Whole>, StoreError> {
        let sql = format!(
            "select {SUMMARY}, coalesce(s.final_schema, t.schema), coalesce(s.final_state, t.state)
             from saga s join definition d on d.id = s.definition
             left join saga_state t on t.shard = s.shard and t.id = s.id
             where s.id = $1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(saga.0).fetch_optional(self.reads()).await?;
        let Some(row) = row else { return Ok(None) };
        let schema: Option<i16> = row.try_get(14)?;
        let text: Option<&str> = row.try_get(15)?;
        let state = match schema.zip(text) {
            Some((schema, text)) => load::state(schema, text),
            None => Err("the saga's state is missing".to_owned()),
        };
        Ok(Some(Whole { summary: summary(&row)?, state }))
    }

    /// The coarse status of a saga: what a waiter asks at its end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn status_of(&self, saga: SagaId) -> Result<Option<&'static str>, StoreError> {
        let row = sqlx::query("select status from saga where id = $1")
            .bind(saga.0)
            .fetch_optional(self.reads())
            .await?;
        row.map(|row| status_word(row.try_get(0)?)).transpose()
    }

    /// A page of history, oldest first, beginning after a revision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(&self, saga: SagaId, after: u32, limit: u16) -> Result<Vec<HistoryRow>, StoreError> {
        let rows = sqlx::query(
            "select revision, event, payload from history where saga_id = $1 and revision > $2
             order by revision limit $3",
        )
        .bind(saga.0)
        .bind(i32::try_from(after).unwrap_or(i32::MAX))
        .bind(i64::from(limit))
        .fetch_all(self.reads())
        .await?;
        rows.iter().map(history_row).collect()
    }

    /// The start, the given revisions and the newest ones, in order: what a saga's page needs of a history
    /// of any length.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn highlights(
        &self,
        saga: SagaId,
        revisions: &[u32],
        newest: u16,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let revisions: Vec<i32> = revisions.iter().filter_map(|it| i32::try_from(*it).ok()).collect();
        let rows = sqlx::query(
            "select revision, event, payload from history
             where saga_id = $1 and (revision = 1 or revision = any($2) or revision in (
                 select revision from history where saga_id = $1 order by revision desc limit $3))
             order by revision",
        )
        .bind(saga.0)
        .bind(revisions)
        .bind(i64::from(newest))
        .fetch_all(self.reads())
        .await?;
        rows.iter().map(history_row).collect()
    }

    /// A page of what changed nothing, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ignored(&self, saga: SagaId, after: i64, limit: u16) -> Result<Vec<IgnoredRow>, StoreError> {
        let rows = sqlx::query(
            "select id, at_ms, reason, event from ignored where saga_id = $1 and id > $2 order by id limit $3",
        )
        .bind(saga.0)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reads())
        .await?;
        rows.iter()
            .map(|row| {
                let event: &str = row.try_get(3)?;
                Ok(IgnoredRow {
                    id: row.try_get(0)?,
                    at_ms: row.try_get(1)?,
                    reason: row.try_get(2)?,
                    event: serde_json::from_str(event).unwrap_or(Value::Null),
                })
            })
            .collect()
    }

    /// A saga's anomalies, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn anomalies(&self, saga: SagaId) -> Result<Vec<AnomalyRead>, StoreError> {
        let rows = sqlx::query(
            "select effect_key, kind, at_ms, amount, currency, output, resolved_at from anomaly
             where saga_id = $1 order by at_ms, effect_key, kind",
        )
        .bind(saga.0)
        .fetch_all(self.reads())
        .await?;
        rows.iter()
            .map(|row| {
                let output: Option<&str> = row.try_get(5)?;
                Ok(AnomalyRead {
                    effect_key: row.try_get(0)?,
                    kind: row.try_get(1)?,
                    at_ms: row.try_get(2)?,
                    amount: row.try_get(3)?,
                    currency: row.try_get(4)?,
                    output: output.and_then(|text| serde_json::from_str(text).ok()),
                    resolved_at: row.try_get(6)?,
                })
            })
            .collect()
    }
}

pub(super) fn summary(row: &PgRow) -> Result<Summary, StoreError> {
    Ok(Summary {
        saga: SagaId(row.try_get(0)?),
        definition_id: row.try_get(1)?,
        definition: row.try_get(2)?,
        version: row.try_get(3)?,
        status: status_word(row.try_get(4)?)?,
        started_at: row.try_get(5)?,
        ended_at: row.try_get(6)?,
        key: row.try_get(7)?,
        amount: row.try_get(8)?,
        currency: row.try_get(9)?,
        parent: row.try_get::<Option<Uuid>, _>(10)?.map(SagaId),
        replay_of: row.try_get::<Option<Uuid>, _>(11)?.map(SagaId),
        principal: row.try_get(12)?,
        labels: row.try_get::<Option<Vec<String>>, _>(13)?.unwrap_or_default(),
    })
}

fn status_word(status: i16) -> Result<&'static str, StoreError> {
    let word = usize::try_from(status).ok().and_then(|at| STATUS_WORDS.get(at));
    word.copied().ok_or_else(|| StoreError::Unreadable(format!("a saga's status {status}")))
}

fn history_row(row: &PgRow) -> Result<HistoryRow, StoreError> {
    let revision: i32 = row.try_get(0)?;
    let (event, payload): (&str, Option<&str>) = (row.try_get(1)?, row.try_get(2)?);
    Ok(HistoryRow {
        revision: u32::try_from(revision).unwrap_or_default(),
        event: serde_json::from_str(event).map_err(|error| error.to_string()),
        payload: payload.and_then(|text| serde_json::from_str(text).ok()),
    })
}

/// A definition's row, for people.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// The definition's name.
    pub name: String,
    /// The version, a hash.
    pub version: String,
    /// Whether new sagas take it.
    pub active: bool,
    /// When it was published first.
    pub published_at: DateTime<Utc>,
    /// Its text, where it was asked for.
    pub source: Option<String>,
    /// What the check said when it was published.
    pub verdict: Option<String>,
    /// Why it was published although it was not proved.
    pub waiver: Option<String>,
    /// How many of its sagas have not ended.
    pub unfinished: i64,
    /// How many starts of a hundred it takes as a canary.
    pub canary: Option<i16>,
}

impl Store {
    /// The row of a definition's version, by its hash or the beginning of it; the newest when several begin so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn version_id(&self, name: &str, version: &str) -> Result<Option<i32>, StoreError> {
        Ok(sqlx::query_scalar(
            "select id from definition where name = $1 and length($2) >= 8 and starts_with(version, $2)
             order by id desc limit 1",
        )
        .bind(name)
        .bind(version)
        .fetch_optional(self.reads())
        .await?)
    }

    /// What these sagas were started with, each with its definition's row; what retention has taken is absent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn inputs_of(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, i32, Value)>, StoreError> {
        let rows: Vec<(Uuid, i32, Option<String>)> = sqlx::query_as(
            "select s.id, s.definition, h.payload from unnest($1::uuid[]) as k (id) join saga s on s.id = k.id
             join history h on h.saga_id = k.id and h.revision = 1",
        )
        .bind(ids)
        .fetch_all(self.reads())
        .await?;
        let input =
            |text: Option<String>| text.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default();
        Ok(rows.into_iter().map(|(id, definition, text)| (id, definition, input(text))).collect())
    }

    /// The rows of all versions of all definitions, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn version_ids(&self) -> Result<Vec<i32>, StoreError> {
        Ok(sqlx::query_scalar("select id from definition order by id desc").fetch_all(self.reads()).await?)
    }

    /// The versions of one definition with their text, newest first, at most 100.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(&self, name: &str) -> Result<Vec<VersionRow>, StoreError> {
        let rows = sqlx::query(
            "select d.name, d.version, a.definition is not null, d.published_at, d.source, d.verdict, d.waiver,
                coalesce(open.sagas, 0), c.percent
             from definition d left join active_definition a on a.definition = d.id
             left join canary c on c.definition = d.id
             left join (select definition, count(*) as sagas from saga where status in (0, 1) group by 1) open
                on open.definition = d.id
             where d.name = $1 order by d.id desc limit 100",
        )
        .bind(name)
        .fetch_all(self.reads())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(VersionRow {
                    name: row.try_get(0)?,
                    version: row.try_get(1)?,
                    active: row.try_get(2)?,
                    published_at: row.try_get(3)?,
                    source: row.try_get(4)?,
                    verdict: row.try_get(5)?,
                    waiver: row.try_get(6)?,
                    unfinished: row.try_get(7)?,
                    canary: row.try_get(8)?,
                })
            })
            .collect()
    }
}
