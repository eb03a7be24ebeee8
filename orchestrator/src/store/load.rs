//! Loading states with their payloads: one query for all that a batch misses.

use std::collections::HashMap;
use std::sync::Arc;

use saga_core::{Payloads, State};
use saga_protocol::SagaId;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::{Store, StoreError};

/// A saga as it stands in the database.
#[derive(Debug)]
pub struct Loaded {
    /// Its definition's row.
    pub definition: i32,
    /// Its shard.
    pub shard: i32,
    /// Its coarse status, as the table spells it.
    pub status: i16,
    /// It stands in its end.
    pub ended: bool,
    /// Its state; the reason when this build cannot read it.
    pub state: Result<State, String>,
    /// What its history holds.
    pub payloads: Payloads,
}

/// The columns that both queries return: id, shard, definition, schema, state, history's, coarse status.
const RUNNING: &str = "
select s.id, s.shard, s.definition, s.schema, s.state, h.revision, h.payload, h.inputs, g.status
from unnest($1::int[], $2::uuid[]) as k (shard, id)
join saga_state s on s.shard = k.shard and s.id = k.id
join saga g on g.id = k.id
left join history h on h.saga_id = s.id and (h.payload is not null or h.inputs is not null)";

const ENDED: &str = "
select s.id, s.shard, s.definition, s.final_schema, s.final_state, h.revision, h.payload, h.inputs, s.status
from unnest($1::int[], $2::uuid[]) as k (shard, id)
join saga s on s.id = k.id and s.shard = k.shard and s.final_state is not null
left join history h on h.saga_id = s.id and (h.payload is not null or h.inputs is not null)";

/// Loads sagas of the given shards; ended ones too. Ids that are no sagas of their shard are absent.
///
/// # Errors
/// When the database fails. A state that cannot be read is reported in its [`Loaded`].
pub(crate) async fn load(
    connection: &mut PgConnection,
    keys: &[(i32, Uuid)],
) -> Result<HashMap<Uuid, Loaded>, StoreError> {
    let mut found = HashMap::new();
    query(connection, RUNNING, false, keys, &mut found).await?;
    let missing: Vec<_> = keys.iter().copied().filter(|(_, id)| !found.contains_key(id)).collect();
    if !missing.is_empty() {
        query(connection, ENDED, true, &missing, &mut found).await?;
    }
    Ok(found)
}

impl Store {
    /// One saga with its payloads, also an ended one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load_one(&self, saga: SagaId) -> Result<Option<Loaded>, StoreError> {
        let mut connection = self.reads().acquire().await?;
        let row: Option<(i32,)> = sqlx::query_as("select shard from saga where id = $1")
            .bind(saga.0)
            .fetch_optional(&mut *connection)
            .await?;
        let Some((shard,)) = row else { return Ok(None) };
        Ok(load(&mut connection, &[(shard, saga.0)]).await?.remove(&saga.0))
    }
}

async fn query(
    connection: &mut PgConnection,
    sql: &'static str,
    ended: bool,
    keys: &[(i32, Uuid)],
    found: &mut HashMap<Uuid, Loaded>,
) -> Result<(), StoreError> {
    let (shards, ids): (Vec<i32>, Vec<Uuid>) = keys.iter().copied().unzip();
    let rows = sqlx::query(sql).bind(shards).bind(ids).fetch_all(connection).await?;
    for row in &rows {
        let id: Uuid = row.try_get(0)?;
        if let std::collections::hash_map::Entry::Vacant(vacant) = found.entry(id) {
            vacant.insert(Loaded {
                shard: row.try_get(1)?,
                definition: row.try_get(2)?,
                status: row.try_get(8)?,
                ended,
                state: state(row.try_get(3)?, row.try_get(4)?),
                payloads: Payloads::new(SagaId(id), Arc::default()),
            });
        }
        if let Some(loaded) = found.get_mut(&id)
            && let Err(reason) = history(row, &mut loaded.payloads)
        {
            loaded.state = Err(reason);
        }
    }
    Ok(())
}

/// Reads a state of any schema version that this build knows.
pub(crate) fn state(schema: i16, text: &str) -> Result<State, String> {
    if schema != saga_core::state::SCHEMA {
        return Err(format!("state schema {schema}; this build reads {}", saga_core::state::SCHEMA));
    }
    serde_json::from_str(text).map_err(|error| format!("state: {error}"))
}

fn history(found: &PgRow, payloads: &mut Payloads) -> Result<(), String> {
    let get = |error: sqlx::Error| error.to_string();
    let Some(revision) = found.try_get::<Option<i32>, _>(5).map_err(get)? else { return Ok(()) };
    let revision = u32::try_from(revision).map_err(|_| "a negative revision".to_owned())?;
    let payload = found.try_get::<Option<&str>, _>(6).map_err(get)?;
    row(payloads, revision, payload, found.try_get(7).map_err(get)?)
}

/// Takes in what a row of the history holds beside its event.
pub(crate) fn row(
    payloads: &mut Payloads,
    revision: u32,
    payload: Option<&str>,
    inputs: Option<&str>,
) -> Result<(), String> {
    if let Some(text) = payload {
        let value: Arc<Value> = Arc::new(serde_json::from_str(text).map_err(|error| error.to_string())?);
        // The start's row holds the input.
        if revision == 1 {
            payloads.input = value;
        } else {
            payloads.by_revision.insert(revision, value);
        }
    }
    if let Some(text) = inputs {
        let inputs: HashMap<String, Arc<Value>> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        payloads.inputs.extend(inputs.into_iter().map(|(key, input)| ((revision, key), input)));
    }
    Ok(())
}
