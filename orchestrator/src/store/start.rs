//! Starting sagas: keys, saga, state, history and first commands of a whole group in one transaction.

use std::collections::{HashMap, HashSet};

use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::{Store, StoreError, in_time};

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
    /// What operators find it by: `name:value` each, a line each.
    pub labels: Option<String>,
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
    /// The saga that it repeats.
    pub replay_of: Option<Uuid>,
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

/// The usual group, in one statement: who meets a key that is taken is left out, the others get theirs. Fails with
/// a division by zero when another node inserts one of the keys at the same time; the long way then decides.
const START: &str = "
with wanted as (
    select * from unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[], $5::text[])
        as n (scope, key, saga, body_hash, principal)
), taken as materialized (
    select distinct w.saga from wanted w join start_key k on k.scope = w.scope and k.key = w.key
), ours as materialized (
    select w.* from wanted w where not exists (select from taken t where t.saga = w.saga)
), keys as (
    insert into start_key (scope, key, saga_id, body_hash, principal)
    select scope, key, saga, body_hash, principal from ours
    order by scope collate \"C\", key collate \"C\"
    on conflict do nothing returning saga_id
), rows as (
    select n.* from unnest($6::uuid[], $7::int[], $8::int[], $9::smallint[], $10::bigint[], $11::text[], $12::text[],
        $13::bigint[], $14::text[], $15::text[], $16::bigint[], $17::text[], $18::text[], $19::text[], $24::text[])
        as n (id, shard, definition, status, started_ms, key, principal, amount, currency, state, due, event, payload,
        inputs, labels)
    where not exists (select from taken t where t.saga = n.id)
), sagas as (
    insert into saga (id, shard, definition, status, started_at, key, principal, amount, currency, labels,
        final_state, final_schema, ended_at)
    select n.id, n.shard, n.definition, n.status, to_timestamp(n.started_ms / 1000.0), n.key, n.principal, n.amount,
        n.currency, string_to_array(n.labels, E'\\n'), case when n.status >= 2 then n.state end, case when n.status >= 2 then $23::smallint end,
        case when n.status >= 2 then to_timestamp(n.started_ms / 1000.0) end
    from rows n
), labels as (
    insert into saga_label (label, saga_id)
    select label, n.id from rows n cross join unnest(string_to_array(n.labels, E'\\n')) as label
    where n.labels is not null
), states as (
    insert into saga_state (shard, id, definition, revision, schema, due, state)
    select n.shard, n.id, n.definition, 1, $23, n.due, n.state from rows n where n.status < 2
), transitions as (
    insert into history (saga_id, revision, event, payload, inputs)
    select n.id, 1, n.event, n.payload, n.inputs from rows n
), commands as (
    insert into outbox (shard, saga_id, command)
    select n.shard, n.saga, n.command from unnest($20::int[], $21::uuid[], $22::text[]) as n (shard, saga, command)
    where not exists (select from taken t where t.saga = n.saga)
)
select (select coalesce(array_agg(saga), '{}') from taken),
    1 / (case when (select count(*) from keys) = (select count(*) from ours) then 1 else 0 end)";

/// What [`START`] fails with when a key was lost.
const DIVISION_BY_ZERO: &str = "22012";

/// Keys with the sagas that want them, in order.
type Keys<'a> = Vec<(&'a (String, String), &'a NewSaga)>;

fn keys_of<'a>(sagas: &[&'a NewSaga]) -> Keys<'a> {
    let mut keys: Keys<'a> =
        sagas.iter().flat_map(|saga| saga.keys.iter().map(move |key| (key, *saga))).collect();
    keys.sort_by(|a, b| a.0.cmp(b.0));
    keys
}

/// Binds what both ways take first: keys and whom they are for.
macro_rules! bind_keys {
    ($query:expr, $keys:expr) => {{
        let keys: &Keys<'_> = &$keys;
        $query
            .bind(keys.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, saga)| saga.id).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, saga)| saga.body_hash.as_slice()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, saga)| saga.principal.as_str()).collect::<Vec<_>>())
    }};
}

/// Binds the sagas themselves and their first commands.
macro_rules! bind_sagas {
    ($query:expr, $sagas:expr) => {{
        let sagas: &[&NewSaga] = $sagas;
        let commands: Vec<(i32, Uuid, &str)> = sagas
            .iter()
            .flat_map(|saga| saga.commands.iter().map(move |it| (saga.shard, saga.id, it.as_str())))
            .collect();
        macro_rules! column {
            ($saga:ident, $value:expr) => {
                sagas.iter().map(|$saga| $value).collect::<Vec<_>>()
            };
        }
        $query
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
            .bind(column!(saga, saga.labels.as_deref()))
    }};
}

impl Store {
    /// Starts a group of sagas in one transaction. Keys are inserted in order, so that two groups never wait
    /// for each other in a circle. Of several with the same key only the first is tried; the others learn whose
    /// it is then.
    ///
    /// # Errors
    /// [`StoreError::Data`]: nothing was written. [`StoreError::Unknown`]: look the ids up before answering, on
    /// another connection.
    pub(crate) async fn start(
        &self,
        connection: &mut PgConnection,
        sagas: &[NewSaga],
    ) -> Result<Started, StoreError> {
        let mut seen = HashSet::new();
        let (group, repeated): (Vec<&NewSaga>, Vec<&NewSaga>) =
            sagas.iter().partition(|saga| saga.keys.iter().all(|key| seen.insert(key)));
        in_time(async {
            let mut started = if group.iter().any(|saga| saga.replay_of.is_some()) {
                start_contended(connection, &group).await?
            } else {
                match start_at_once(connection, &group).await {
                    Err(StoreError::Data(sqlx::Error::Database(error)))
                        if error.code().as_deref() == Some(DIVISION_BY_ZERO) =>
                    {
                        start_contended(connection, &group).await?
                    }
                    outcome => outcome?,
                }
            };
            if !repeated.is_empty() {
                // All at once, however many they are: their keys were won just now, or had been taken before.
                started.taken.extend(owners(connection, &repeated).await?);
            }
            Ok(started)
        })
        .await
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
}

/// The usual way: one statement, one round trip.
async fn start_at_once(connection: &mut PgConnection, sagas: &[&NewSaga]) -> Result<Started, StoreError> {
    let keys = keys_of(sagas);
    let query = bind_keys!(sqlx::query(START), keys);
    let row = bind_sagas!(query, sagas).fetch_one(&mut *connection).await?;
    let blocked: HashSet<Uuid> = row.try_get::<Vec<Uuid>, _>(0)?.into_iter().collect();
    let (losers, fresh): (Vec<&NewSaga>, Vec<&NewSaga>) =
        sagas.iter().partition(|saga| blocked.contains(&saga.id));
    let taken = if losers.is_empty() { HashMap::new() } else { owners(connection, &losers).await? };
    Ok(Started { fresh: fresh.iter().map(|saga| saga.id).collect(), taken })
}

/// The long way, when another node takes the same keys at the same time, and for replays: keys first, then
/// whoever got all of theirs.
async fn start_contended(connection: &mut PgConnection, sagas: &[&NewSaga]) -> Result<Started, StoreError> {
    let (replayed, keys): (Keys<'_>, Keys<'_>) =
        keys_of(sagas).into_iter().partition(|(key, saga)| is_taken_over(saga, key));
    let mut tx = connection.begin().await?;
    let rows = bind_keys!(sqlx::query(KEYS), keys).fetch_all(&mut *tx).await?;
    let mut won: HashMap<Uuid, usize> = HashMap::new();
    for row in &rows {
        *won.entry(row.try_get(0)?).or_default() += 1;
    }
    for (key, saga) in replayed {
        let others = saga.keys.iter().filter(|key| !is_taken_over(saga, key)).count();
        if won.get(&saga.id).copied().unwrap_or(0) >= others && take_over(&mut tx, saga, key).await? {
            *won.entry(saga.id).or_default() += 1;
        }
    }
    let (fresh, losers): (Vec<&NewSaga>, Vec<&NewSaga>) =
        sagas.iter().partition(|saga| won.get(&saga.id).copied().unwrap_or(0) == saga.keys.len());
    let mut started = Started::default();
    if !losers.is_empty() {
        give_back(&mut tx, &losers).await?;
        started.taken = owners(&mut tx, &losers).await?;
    }
    if !fresh.is_empty() {
        let query = bind_keys!(sqlx::query(START), Keys::new());
        bind_sagas!(query, &fresh).fetch_one(&mut *tx).await?;
    }
    for saga in fresh.iter().filter(|saga| saga.replay_of.is_some()) {
        let query = sqlx::query("update saga set replay_of = $2 where id = $1");
        query.bind(saga.id).bind(saga.replay_of).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    started.fresh = fresh.iter().map(|saga| saga.id).collect();
    Ok(started)
}

/// A replay takes its business key over from the saga that it repeats.
fn is_taken_over(saga: &NewSaga, key: &(String, String)) -> bool {
    saga.replay_of.is_some() && key.0.starts_with("key:")
}

/// Makes a key the replay's own that was its old saga's, or nobody's. `false` when it is somebody else's.
async fn take_over(
    tx: &mut PgConnection,
    saga: &NewSaga,
    key: &(String, String),
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into start_key as k (scope, key, saga_id, body_hash, principal) values ($1, $2, $3, $4, $5)
         on conflict on constraint start_key_pk do update set saga_id = excluded.saga_id,
            body_hash = excluded.body_hash, principal = excluded.principal
         where k.saga_id = $6",
    )
    .bind(&key.0)
    .bind(&key.1)
    .bind(saga.id)
    .bind(saga.body_hash.as_slice())
    .bind(&saga.principal)
    .bind(saga.replay_of)
    .execute(&mut *tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives back the keys that losers did get.
async fn give_back(tx: &mut PgConnection, losers: &[&NewSaga]) -> Result<(), StoreError> {
    let keys = keys_of(losers);
    // By the key, which has the index.
    sqlx::query(
        "delete from start_key k using unnest($1::uuid[], $2::text[], $3::text[]) as n (id, scope, key)
         where k.scope = n.scope and k.key = n.key and k.saga_id = n.id",
    )
    .bind(keys.iter().map(|(_, saga)| saga.id).collect::<Vec<_>>())
    .bind(keys.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Whom the losers' keys belong to.
async fn owners(
    connection: &mut PgConnection,
    losers: &[&NewSaga],
) -> Result<HashMap<Uuid, Taken>, StoreError> {
    let keys = keys_of(losers);
    let rows = sqlx::query(OWNERS)
        .bind(keys.iter().map(|(_, saga)| saga.id).collect::<Vec<_>>())
        .bind(keys.iter().map(|(key, _)| key.0.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
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
