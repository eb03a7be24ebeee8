//! Child sagas as rows: started, and reopened, in the transaction of their parent's batch.
//!
//! Both run behind the fence of [`super::batch`], with the locks of the shard rows that passed it.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::batch::ReopenedRow;
use super::start::NewSaga;

/// A child saga to start. It has one key at most.
#[derive(Clone, Debug)]
pub struct ChildStart {
    /// Its rows.
    pub row: NewSaga,
    /// Its parent, in the same shard.
    pub parent: Uuid,
    /// The parent's mail when the child starts and has ended with that: (id, event), payload.
    pub told: Option<((Uuid, String), Option<String>)>,
    /// The parent's mail when another saga has the child's key: (id, event).
    pub refused: (Uuid, String),
    /// The parent's mail when there is the child already, and it was abandoned: (id, event).
    pub abandoned: (Uuid, String),
}

/// A child that there is already is left as it is. A key goes over from an earlier round of the same step, which has
/// the same principal, and from a child, however deep, that has ended, of a saga that the one at the child's top
/// replays; any other saga keeps its key, and the child is not started.
const START: &str = "
with recursive wanted as materialized (
    select * from unnest($1::int[], $2::uuid[], $3::int[], $4::smallint[], $5::bigint[], $6::text[], $7::text[],
        $8::text[], $9::bigint[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[],
        $16::bytea[], $17::uuid[], $18::uuid[], $19::text[], $20::uuid[], $21::text[],
        $27::uuid[], $28::text[], $29::text[], $30::text[])
        as n (shard, id, definition, status, started_ms, scope, key, principal, amount, currency, state, due, event,
        payload, inputs, body_hash, parent, refused_id, refused, abandoned_id, abandoned,
        told_id, told, told_payload, labels)
    where n.shard = any($22)
), line as (
    -- Read only where a key is taken: who is above a child, and before them the sagas that are replayed.
    select w.id as child, w.parent as saga, false as before from wanted w
    union
    select l.child, n.id, l.before or n.before from line l join saga s on s.id = l.saga
    cross join lateral (values (s.parent, false), (s.replay_of, true)) as n (id, before)
    where n.id is not null
), keys as (
    insert into start_key as k (scope, key, saga_id, body_hash, principal)
    select distinct on (scope collate \"C\", key collate \"C\") scope, key, id, body_hash, principal
    from wanted where scope is not null
    order by scope collate \"C\", key collate \"C\", id
    on conflict on constraint start_key_pk do update
        set saga_id = excluded.saga_id, body_hash = excluded.body_hash, principal = excluded.principal
        where k.principal = excluded.principal or not exists (
            select from saga s where s.id = k.saga_id and s.status < 2
        ) and exists (
            with recursive above as (
                select substring(k.principal from '^saga:([0-9a-f-]{36})/')::uuid as id
                union
                select s.parent from above a join saga s on s.id = a.id where s.parent is not null
            )
            select from above a join line l on l.saga = a.id where l.child = excluded.saga_id and l.before)
    returning saga_id
), ours as materialized (
    select w.* from wanted w where w.scope is null or exists (select from keys k where k.saga_id = w.id)
), sagas as (
    insert into saga (id, shard, definition, status, started_at, key, principal, amount, currency, labels, parent,
        final_state, final_schema, ended_at)
    select n.id, n.shard, n.definition, n.status, to_timestamp(n.started_ms / 1000.0), n.key, n.principal, n.amount,
        n.currency, string_to_array(n.labels, E'\\n'), n.parent, case when n.status >= 2 then n.state end, case when n.status >= 2 then $23::smallint end,
        case when n.status >= 2 then to_timestamp(n.started_ms / 1000.0) end
    from ours n
    on conflict do nothing returning id
), labels as (
    insert into saga_label (label, saga_id)
    select label, n.id from ours n join sagas s on s.id = n.id
    cross join unnest(string_to_array(n.labels, E'\\n')) as label
), states as (
    insert into saga_state (shard, id, definition, revision, schema, due, state)
    select n.shard, n.id, n.definition, 1, $23, n.due, n.state from ours n join sagas s on s.id = n.id
    where n.status < 2
), transitions as (
    insert into history (saga_id, revision, event, payload, inputs)
    select n.id, 1, n.event, n.payload, n.inputs from ours n join sagas s on s.id = n.id
), commands as (
    insert into outbox (shard, saga_id, command)
    select n.shard, n.saga, n.command from unnest($24::int[], $25::uuid[], $26::text[]) as n (shard, saga, command)
    join sagas s on s.id = n.saga
), told as (
    insert into mailbox (id, shard, saga_id, kind, body, payload)
    select n.told_id, n.shard, n.parent, 'event', n.told, n.told_payload from ours n join sagas s on s.id = n.id
    where n.told_id is not null
), refused as (
    insert into mailbox (id, shard, saga_id, kind, body)
    select n.refused_id, n.shard, n.parent, 'event', n.refused from wanted n
    where not exists (select from ours o where o.id = n.id)
)
insert into mailbox (id, shard, saga_id, kind, body)
select n.abandoned_id, n.shard, n.parent, 'event', n.abandoned from ours n join saga s on s.id = n.id
where s.status = 4";

const REOPEN: &str = "
with wanted as (
    select * from unnest($1::int[], $2::uuid[], $3::int[], $4::bigint[], $5::text[], $6::smallint[])
        as n (shard, id, revision, due, state, status)
    where n.shard = any($7)
), back as (
    update saga s set status = n.status, final_state = null, final_schema = null, ended_at = null
    from wanted n where s.id = n.id
    returning s.id, s.definition
)
insert into saga_state (shard, id, definition, revision, schema, due, state)
select n.shard, n.id, b.definition, n.revision, $8, n.due, n.state from wanted n join back b on b.id = n.id";

/// Starts child sagas of the shards that passed the fence.
pub(super) async fn start(
    connection: &mut PgConnection,
    children: &[ChildStart],
    passed: &[i32],
) -> Result<(), StoreError> {
    if children.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($child:ident, $value:expr) => {
            children.iter().map(|$child| $value).collect::<Vec<_>>()
        };
    }
    let commands: Vec<(i32, Uuid, &str)> = children
        .iter()
        .flat_map(|it| it.row.commands.iter().map(|command| (it.row.shard, it.row.id, command.as_str())))
        .collect();
    sqlx::query(START)
        .bind(column!(it, it.row.shard))
        .bind(column!(it, it.row.id))
        .bind(column!(it, it.row.definition))
        .bind(column!(it, it.row.status))
        .bind(column!(it, it.row.started_ms))
        .bind(column!(it, it.row.keys.first().map(|key| key.0.as_str())))
        .bind(column!(it, it.row.keys.first().map(|key| key.1.as_str())))
        .bind(column!(it, it.row.principal.as_str()))
        .bind(column!(it, it.row.amount))
        .bind(column!(it, it.row.currency.as_deref()))
        .bind(column!(it, it.row.state.as_str()))
        .bind(column!(it, it.row.due))
        .bind(column!(it, it.row.event.as_str()))
        .bind(column!(it, it.row.payload.as_str()))
        .bind(column!(it, it.row.inputs.as_deref()))
        .bind(column!(it, it.row.body_hash.as_slice()))
        .bind(column!(it, it.parent))
        .bind(column!(it, it.refused.0))
        .bind(column!(it, it.refused.1.as_str()))
        .bind(column!(it, it.abandoned.0))
        .bind(column!(it, it.abandoned.1.as_str()))
        .bind(passed)
        .bind(saga_core::state::SCHEMA)
        .bind(commands.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(commands.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(commands.iter().map(|row| row.2).collect::<Vec<_>>())
        .bind(column!(it, it.told.as_ref().map(|told| told.0.0)))
        .bind(column!(it, it.told.as_ref().map(|told| told.0.1.as_str())))
        .bind(column!(it, it.told.as_ref().and_then(|told| told.1.as_deref())))
        .bind(column!(it, it.row.labels.as_deref()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives ended sagas of the shards that passed the fence their states back.
pub(super) async fn reopen(
    connection: &mut PgConnection,
    sagas: &[ReopenedRow],
    passed: &[i32],
) -> Result<(), StoreError> {
    if sagas.is_empty() {
        return Ok(());
    }
    sqlx::query(REOPEN)
        .bind(sagas.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(sagas.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(sagas.iter().map(|row| row.2).collect::<Vec<_>>())
        .bind(sagas.iter().map(|row| row.3).collect::<Vec<_>>())
        .bind(sagas.iter().map(|row| row.4.as_str()).collect::<Vec<_>>())
        .bind(sagas.iter().map(|row| row.5).collect::<Vec<_>>())
        .bind(passed)
        .bind(saga_core::state::SCHEMA)
        .execute(connection)
        .await?;
    Ok(())
}
