//! The mailbox's front: what comes from outside is committed here before it is acknowledged.

use saga_core::Event;
use saga_protocol::SagaId;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::audit::{self, Actor, Deed};
use super::{Store, StoreError};

/// What became of a piece of mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Kept; the owner takes it in soon.
    Accepted,
    /// The same id was kept before, for the same event.
    Duplicate,
    /// The same id was kept before, for another event: nothing was kept now.
    Reused,
    /// There is no such saga.
    NoSaga,
}

/// What somebody asks of a saga.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The mail's id: makes a repetition harmless.
    pub id: Uuid,
    /// The saga.
    pub saga: SagaId,
    /// The signal, or the operator's action.
    pub event: &'a Event,
    /// Its payload.
    pub payload: Option<&'a Value>,
}

impl Store {
    /// Keeps what somebody asks of a saga, and the deed in the audit, in one transaction. A repetition is no
    /// second deed. Returns the saga's shard, for the nudge.
    ///
    /// # Errors
    /// When the database fails; it may have been kept, and repeating with the same id tells.
    pub async fn ask(
        &self,
        asked: Asked<'_>,
        actor: &Actor,
        deed: Deed<'_>,
    ) -> Result<(Delivery, i32), StoreError> {
        let mut tx = self.hot().begin().await?;
        let Asked { id, saga, event, payload } = asked;
        // A key is one action, also when that one waits for a second person.
        let awaits =
            sqlx::query("select from approval where id = $1").bind(id).fetch_optional(&mut *tx).await?;
        if awaits.is_some() {
            return Ok((Delivery::Reused, 0));
        }
        let (delivery, shard) = post(&mut tx, id, saga, event, payload).await?;
        if delivery == Delivery::Accepted {
            audit::keep(&mut tx, actor, deed).await?;
        }
        tx.commit().await?;
        Ok((delivery, shard))
    }

    /// Keeps an event for a saga: a signal or an operator's action. `id` makes a repetition harmless.
    /// Returns the saga's shard, for the nudge.
    ///
    /// # Errors
    /// When the database fails; it may have been kept, and repeating with the same id tells.
    pub async fn post(
        &self,
        id: Uuid,
        saga: SagaId,
        event: &Event,
        payload: Option<&Value>,
    ) -> Result<(Delivery, i32), StoreError> {
        let mut connection = self.hot().acquire().await?;
        post(&mut connection, id, saga, event, payload).await
    }

    /// What the owner made of a piece of mail: `applied`, or `refused: …`; `None` while it was not taken in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mail_result(&self, id: Uuid) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("select result from mailbox where id = $1 and taken_at is not null")
            .bind(id)
            .fetch_optional(self.reads())
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
    }
}

pub(super) async fn post(
    connection: &mut PgConnection,
    id: Uuid,
    saga: SagaId,
    event: &Event,
    payload: Option<&Value>,
) -> Result<(Delivery, i32), StoreError> {
    let body = serde_json::to_string(event).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    let row = sqlx::query(
        "with target as (select id, shard from saga where id = $2),
         kept as (
            insert into mailbox (id, shard, saga_id, kind, body, payload)
            select $1, shard, id, 'event', $3, $4 from target on conflict do nothing returning 1)
         select (select shard from target), (select count(*) from kept)",
    )
    .bind(id)
    .bind(saga.0)
    .bind(body)
    .bind(payload.map(Value::to_string))
    .fetch_one(&mut *connection)
    .await?;
    let shard: Option<i32> = row.try_get(0)?;
    let kept: i64 = row.try_get(1)?;
    Ok(match shard {
        None => (Delivery::NoSaga, 0),
        // What was kept cannot be seen by the statement that has met it.
        Some(shard) if kept == 0 && is_kept(connection, id, saga, event, payload).await? => {
            (Delivery::Duplicate, shard)
        }
        Some(shard) if kept == 0 => (Delivery::Reused, shard),
        Some(shard) => (Delivery::Accepted, shard),
    })
}

/// Whether the mail of this id holds this event for this saga; time and randomness aside.
async fn is_kept(
    connection: &mut PgConnection,
    id: Uuid,
    saga: SagaId,
    event: &Event,
    payload: Option<&Value>,
) -> Result<bool, StoreError> {
    let row = sqlx::query("select saga_id, body, payload from mailbox where id = $1")
        .bind(id)
        .fetch_one(connection)
        .await?;
    let (owner, body, kept): (Uuid, String, Option<String>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let unreadable = |error: serde_json::Error| StoreError::Unreadable(error.to_string());
    let body: Event = serde_json::from_str(&body).map_err(unreadable)?;
    // By their text: what was parsed once is spelled the same each time.
    Ok(owner == saga.0 && body.what == event.what && kept == payload.map(Value::to_string))
}

/// Gives a piece of mail back its payload, which is kept beside the event.
pub(crate) fn event_of(body: &str, payload: Option<&str>) -> Result<Event, serde_json::Error> {
    let mut event: Event = serde_json::from_str(body)?;
    let value = payload.map(serde_json::from_str::<Value>).transpose()?.map(std::sync::Arc::new);
    event.set_payload(value);
    Ok(event)
}
