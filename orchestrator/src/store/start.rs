//! Starting sagas: keys, saga, state, history and first commands of a whole group in one transaction.

use std::collections::{HashMap, HashSet};

use sqlx::Row;
use uuid::Uuid;

use super::{Store, StoreError};

/// One saga to start, as rows.
#[derive(Clone, Debug)]
pub struct NewSaga {
    /// Its id.
    pub id: Uuid,
    /// Its shard.
    pub shard: i32,
    /// Its definition's row.
    pub definition: i32,
    /// Its business key.
    pub key: Option<String>,
    /// Who started it.
    pub principal: String,
    /// The amount at stake.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// When, in ms since 1970 UTC.
    pub started_ms: i64,
    /// Its state at revision 1.
    pub state: String,
    /// 0 running, else as in the table: a saga without steps may have ended at once.
    pub status: i16,
    /// When its timer is due, in ms.
    pub due: Option<i64>,
    /// The start's event.
    pub event: String,
    /// The input.
    pub payload: String,
    /// Computed inputs.
    pub inputs: Option<String>,
    /// The keys of its first commands.
    pub commands: Vec<String>,
    /// The keys that name it: (scope, key). All of them, or none, become its own.
    pub keys: Vec<(String, String)>,
    /// The hash of the request's body.
    pub body_hash: Vec<u8>,
}

/// Whom a key belongs to already.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The newest saga of the key.
    pub saga: Uuid,
    /// The hash of the body that it was started with.
    pub body_hash: Vec<u8>,
    /// Who started it.
    pub principal: String,
}

/// What became of each saga of a group.
#[derive(Debug, Default)]
pub struct Started {
    /// Those that were started: durable.
    pub fresh: HashSet<Uuid>,
    /// Whose key was taken, by whom. Who is in neither has lost a key to one that then lost another: nobody
    /// has it any more, and it is to be tried again.
    pub taken: HashMap<Uuid, Taken>,
}

const KEYS: &str = "
insert into start_key (scope, key, saga_id, body_hash, principal)
select * from unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[], $5::text[])
on conflict do nothing returning saga_id";

const OWNERS: &str = "
select n.id, k.saga_id, k.body_hash, k.principal
from unnest($1::uuid[], $2::text[], $3::text[]) as n (id, scope, key)
join start_key k on k.scope = n.scope and k.key = n.key";

const SAGAS: &str = "
with sagas as (
    insert into saga (id, shard, definition, status, started_at, key, principal, amount, currency,
        final_state, final_schema, ended_at)
    select n.id, n.shard, n.definition, n.status, to_timestamp(n.started_ms / 1000.0), n.key, n.principal, n.amount,
        n.currency, case when n.status >= 2 then n.state end, case when n.status >= 2 then $18::smallint end,
        case when n.status >= 2 then to_timestamp(n.started_ms / 1000.0) end
    from unnest($1::uuid[], $2::int[], $3::int[], $4::smallint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
        $9::text[], $10::text[]) as n (id, shard, definition, status, started_ms, key, principal, amount, currency, state)
), states as (
    insert into saga_state (shard, id, definition, revision, schema, due, state)
    select n.shard, n.id, n.definition, 1, $18, n.due, n.state
    from unnest($1::uuid[], $2::int[], $3::int[], $4::smallint[], $11::bigint[], $10::text[])
        as n (id, shard, definition, status, due, state)
    where n.status < 2
), transitions as (
    insert into history (saga_id, revision, event, payload, inputs)
    select n.id, 1, n.event, n.payload, n.inputs
    from unnest($1::uuid[], $12::text[], $13::text[], $14::text[]) as n (id, event, payload, inputs)
)
insert into outbox (shard, saga_id, command)
select * from unnest($15::int[], $16::uuid[], $17::text[]) as n (shard, saga, command)";

impl Store {
    /// Starts a group of sagas in one transaction. Keys are inserted in order, so that two groups never wait
    /// for each other in a circle.
    ///
    /// # Errors
    /// [`StoreError::Data`]: nothing was written. [`StoreError::Unknown`]: look the ids up before answering.
    pub(crate) async fn start(&self, sagas: &[NewSaga]) -> Result<Started, StoreError> {
        let mut keys: Vec<(&(String, String), &NewSaga)> =
            sagas.iter().flat_map(|saga| saga.keys.iter().map(move |key| (key, saga))).collect();
        keys.sort_by(|a, b| a.0.cmp(b.0));
        let mut started = Started::default();
        let mut tx = self.hot().begin().await?;
        let rows = sqlx::query(KEYS)
            .bind(keys.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, saga)| saga.id).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, saga)| saga.body_hash.as_slice()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, saga)| saga.principal.as_str()).collect::<Vec<_>>())
            .fetch_all(&mut *tx)
            .await?;
        let mut won: HashMap<Uuid, usize> = HashMap::new();
        for row in &rows {
            *won.entry(row.try_get(0)?).or_default() += 1;
        }
        let (fresh, losers): (Vec<&NewSaga>, Vec<&NewSaga>) =
            sagas.iter().partition(|saga| won.get(&saga.id).copied().unwrap_or(0) == saga.keys.len());
        if !losers.is_empty() {
            started.taken = give_back(&mut tx, &losers).await?;
        }
        if !fresh.is_empty() {
            insert(&mut tx, &fresh).await?;
        }
        tx.commit().await?;
        started.fresh = fresh.iter().map(|saga| saga.id).collect();
        Ok(started)
    }

    /// Which of the ids are sagas: asked after a commit whose outcome is unknown.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let rows: Vec<(Uuid,)> =
            sqlx::query_as("select id from saga where id = any($1)").bind(ids).fetch_all(self.hot()).await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Deletes rows of first commands that another node's start has published: the command and the owner's
    /// `started` record are acknowledged.
    ///
    /// # Errors
    /// When the database fails; the owner's sweep then publishes them again.
    pub(crate) async fn forget_first_commands(&self, rows: &[(i32, Uuid, String)]) -> Result<(), StoreError> {
        sqlx::query(
            "delete from outbox o using unnest($1::int[], $2::uuid[], $3::text[]) as n (shard, saga, command)
             where o.shard = n.shard and o.saga_id = n.saga and o.command = n.command",
        )
        .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.2.as_str()).collect::<Vec<_>>())
        .execute(self.hot())
        .await?;
        Ok(())
    }
}

/// Gives back the keys that losers did get, and says who has the others. A loser within the group finds the
/// group's own winner.
async fn give_back(
    tx: &mut sqlx::PgTransaction<'_>,
    losers: &[&NewSaga],
) -> Result<HashMap<Uuid, Taken>, StoreError> {
    let keys: Vec<(Uuid, &(String, String))> =
        losers.iter().flat_map(|saga| saga.keys.iter().map(move |key| (saga.id, key))).collect();
    // By the key, which has the index.
    sqlx::query(
        "delete from start_key k using unnest($1::uuid[], $2::text[], $3::text[]) as n (id, scope, key)
         where k.scope = n.scope and k.key = n.key and k.saga_id = n.id",
    )
    .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.1.0.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.1.1.as_str()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    let rows = sqlx::query(OWNERS)
        .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.1.0.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.1.1.as_str()).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
    let mut taken: HashMap<Uuid, Taken> = HashMap::new();
    for row in &rows {
        let owner = Taken { saga: row.try_get(1)?, body_hash: row.try_get(2)?, principal: row.try_get(3)? };
        let loser = losers.iter().find(|saga| Some(saga.id) == row.try_get(0).ok());
        // Of several taken keys the one that forbids the most decides.
        let conflicts = |it: &Taken| {
            loser.is_some_and(|saga| it.body_hash != saga.body_hash || it.principal != saga.principal)
        };
        let id: Uuid = row.try_get(0)?;
        match taken.get(&id) {
            Some(known) if conflicts(known) => {}
            _ => {
                taken.insert(id, owner);
            }
        }
    }
    Ok(taken)
}

async fn insert(tx: &mut sqlx::PgTransaction<'_>, sagas: &[&NewSaga]) -> Result<(), StoreError> {
    macro_rules! column {
        ($saga:ident, $value:expr) => {
            sagas.iter().map(|$saga| $value).collect::<Vec<_>>()
        };
    }
    let commands: Vec<(i32, Uuid, &str)> = sagas
        .iter()
        .flat_map(|saga| saga.commands.iter().map(move |command| (saga.shard, saga.id, command.as_str())))
        .collect();
    sqlx::query(SAGAS)
        .bind(column!(saga, saga.id))
        .bind(column!(saga, saga.shard))
        .bind(column!(saga, saga.definition))
        .bind(column!(saga, saga.status))
        .bind(column!(saga, saga.started_ms))
        .bind(column!(saga, saga.key.as_deref()))
        .bind(column!(saga, saga.principal.as_str()))
        .bind(column!(saga, saga.amount))
        .bind(column!(saga, saga.currency.as_deref()))
        .bind(column!(saga, saga.state.as_str()))
        .bind(column!(saga, saga.due))
        .bind(column!(saga, saga.event.as_str()))
        .bind(column!(saga, saga.payload.as_str()))
        .bind(column!(saga, saga.inputs.as_deref()))
        .bind(commands.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(commands.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(commands.iter().map(|row| row.2).collect::<Vec<_>>())
        .bind(saga_core::state::SCHEMA)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
