//! The outbox's statements. Owns what is kept until the feed has it; sending is the relay's affair.

use chrono::{DateTime, SecondsFormat, Utc};
use saga_protocol::{EffectKey, SagaId};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::feed::Batch;
use crate::notice::{Kind, Notice, OrderId};

/// Most notices in one hand-over.
pub const BATCH_MAX: i64 = 500;

/// A notice that a command asks for.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The command's effect key.
    pub effect_key: EffectKey,
    /// What happened.
    pub kind: Kind,
    /// To which order.
    pub order_id: OrderId,
    /// The rest of the input, as JSON.
    pub data: String,
}

/// Writes notices down, in the command's transaction.
///
/// # Errors
/// The database's.
pub async fn insert(tx: &mut PgConnection, accepted: &[Accepted]) -> Result<(), sqlx::Error> {
    if accepted.is_empty() {
        return Ok(());
    }
    let effect_keys: Vec<String> = accepted.iter().map(|it| it.effect_key.to_string()).collect();
    let sagas: Vec<Uuid> = accepted.iter().map(|it| it.effect_key.saga.0).collect();
    let order_ids: Vec<&str> = accepted.iter().map(|it| it.order_id.as_str()).collect();
    let kinds: Vec<&str> = accepted.iter().map(|it| it.kind.as_str()).collect();
    let data: Vec<&str> = accepted.iter().map(|it| it.data.as_str()).collect();
    sqlx::query(
        "insert into amends_notify.outbox (effect_key, saga, order_id, kind, data)
         select effect_key, saga, order_id, kind, data
         from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[]) with ordinality
             as a (effect_key, saga, order_id, kind, data, at)
         order by at
         on conflict on constraint outbox_effect_key do nothing",
    )
    .bind(effect_keys)
    .bind(sagas)
    .bind(order_ids)
    .bind(kinds)
    .bind(data)
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether anything waits for the feed.
///
/// # Errors
/// The database's.
pub async fn is_empty(db: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select not exists (select from amends_notify.outbox)").fetch_one(db).await
}

/// What the relay is at.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Another relay works.
    Busy,
    /// No batch is under way.
    Free,
    /// A batch is under way: it was sent, perhaps.
    Under(Batch, Vec<i64>),
}

/// Takes the relay's row, until the transaction ends, and says what it is at.
///
/// # Errors
/// The database's.
pub async fn turn(tx: &mut PgConnection) -> Result<Turn, sqlx::Error> {
    let row: Option<(Option<Uuid>, Vec<i64>)> =
        sqlx::query_as("select token, taken from amends_notify.relay for update skip locked")
            .fetch_optional(&mut *tx)
            .await?;
    let Some((token, taken)) = row else { return Ok(Turn::Busy) };
    let Some(token) = token else { return Ok(Turn::Free) };
    let rows: Vec<(String, Uuid, String, String, DateTime<Utc>, String)> = sqlx::query_as(
        "select effect_key, saga, order_id, kind, noticed_at, data
         from amends_notify.outbox where seq = any ($1) order by seq",
    )
    .bind(&taken)
    .fetch_all(tx)
    .await?;
    let notices = rows
        .into_iter()
        .map(|(effect_key, saga, order_id, kind, noticed_at, data)| Notice {
            effect_key,
            saga: SagaId(saga),
            order_id,
            kind,
            noticed_at: noticed_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            data,
        })
        .collect();
    Ok(Turn::Under(Batch { token, notices }, taken))
}

/// Fixes the next batch, under the relay's row; returns whether there is anything in it.
///
/// # Errors
/// The database's.
pub async fn take(tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let taken: Vec<i64> = sqlx::query_scalar("select seq from amends_notify.outbox order by seq limit $1")
        .bind(BATCH_MAX)
        .fetch_all(&mut *tx)
        .await?;
    if taken.is_empty() {
        return Ok(false);
    }
    sqlx::query("update amends_notify.relay set token = $1, taken = $2")
        .bind(Uuid::now_v7())
        .bind(taken)
        .execute(tx)
        .await?;
    Ok(true)
}

/// Forgets a batch that the feed has, under the relay's row.
///
/// # Errors
/// The database's.
pub async fn handed_over(tx: &mut PgConnection, taken: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from amends_notify.outbox where seq = any ($1)")
        .bind(taken)
        .execute(&mut *tx)
        .await?;
    sqlx::query("update amends_notify.relay set token = null, taken = '{}'").execute(tx).await?;
    Ok(())
}
