//! The one statement of a lane's batch: fence, states, history, outbox and everything else, or nothing.
//!
//! Every written row is joined to the shard rows that the fence updated. A shard whose epoch, token or seq
//! has moved writes nothing, and the others commit.

use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::children::{self, ChildStart};
use super::{StoreError, in_time};

/// A shard's claim, as the fence compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The shard.
    pub shard: i32,
    /// The epoch of the claim.
    pub epoch: i64,
    /// The claim's random token.
    pub token: Uuid,
    /// How many batches this claim has committed.
    pub seq: i64,
    /// The offset that is to be read next, once this batch is committed.
    pub next_offset: i64,
}

/// A row of `history`: (shard, saga, revision, event, payload, inputs).
pub type HistoryRow = (i32, Uuid, i32, String, Option<String>, Option<String>);

/// A row of `dead_letter`: (shard, source, reason, headers, data, saga).
pub type DeadLetterRow = (i32, String, String, String, Vec<u8>, Option<Uuid>);

/// A saga that runs again: (shard, saga, revision, due in ms, state, status).
pub type ReopenedRow = (i32, Uuid, i32, Option<i64>, String, i16);

/// What one batch writes, table by table. Each row names its shard first.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The fence of every shard that takes part.
    pub fences: Vec<Fence>,
    /// New states: (shard, saga, revision, due in ms, state).
    pub states: Vec<(i32, Uuid, i32, Option<i64>, String)>,
    /// Sagas that ended, or changed after their end: (shard, saga, status, at in ms, state).
    pub ended: Vec<(i32, Uuid, i16, i64, String)>,
    /// Coarse statuses that changed without an end: (shard, saga, status).
    pub statuses: Vec<(i32, Uuid, i16)>,
    /// Transitions.
    pub history: Vec<HistoryRow>,
    /// Commands to be sent: (shard, saga, command key).
    pub sends: Vec<(i32, Uuid, Arc<str>)>,
    /// Commands that were acknowledged by the bus.
    pub sent: Vec<(i32, Uuid, Arc<str>)>,
    /// Mail that was taken in: (shard, id, result, how the saga stood then).
    pub taken: Vec<(i32, Uuid, String, Option<String>)>,
    /// Records that wait for their definition: (shard, id, saga, kind, body, payload).
    pub mail: Vec<(i32, Uuid, Uuid, String, String, Option<String>)>,
    /// What changed nothing: (shard, saga, at in ms, reason, event).
    pub ignored: Vec<(i32, Uuid, i64, String, String)>,
    /// Anomalies: (shard, saga, effect key, kind, at in ms, amount, currency, output).
    pub anomalies: Vec<AnomalyRow>,
    /// Dead letters.
    pub dead_letters: Vec<DeadLetterRow>,
    /// Child sagas to start.
    pub children: Vec<ChildStart>,
    /// Ended sagas that run again, because their parents have them undone: new states, as in `states`, and the
    /// status. Their old rows are gone.
    pub reopened: Vec<ReopenedRow>,
}

/// A row of `anomaly`.
#[derive(Clone, Debug)]
pub struct AnomalyRow {
    /// The shard.
    pub shard: i32,
    /// The saga.
    pub saga: Uuid,
    /// The effect that nobody undoes.
    pub effect_key: String,
    /// What happened.
    pub kind: String,
    /// When, in ms since 1970 UTC.
    pub at_ms: i64,
    /// The amount at stake, in the currency's smallest unit.
    pub amount: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// The answer's output.
    pub output: Option<String>,
}

const COMMIT: &str = "
with claim as (
    select * from unnest($1::int[], $2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[])
        as c (id, epoch, token, seq, next_offset)
), locked as (
    select s.id from shard s join claim c on s.id = c.id and s.epoch = c.epoch and s.token = c.token and s.seq = c.seq
    order by s.id for update of s
), fenced as (
    update shard s set seq = s.seq + 1, next_offset = c.next_offset
    from claim c, locked l where s.id = c.id and l.id = c.id
    returning s.id
), states as (
    update saga_state s set revision = n.revision, due = n.due, state = n.state, schema = $60
    from fenced f, unnest($6::int[], $7::uuid[], $8::int[], $9::bigint[], $10::text[])
        as n (shard, id, revision, due, state)
    where n.shard = f.id and s.shard = n.shard and s.id = n.id
), ended as (
    update saga s set status = n.status, final_state = n.state, final_schema = $60,
        ended_at = coalesce(s.ended_at, to_timestamp(n.at_ms / 1000.0))
    from fenced f, unnest($11::int[], $12::uuid[], $13::smallint[], $14::bigint[], $15::text[])
        as n (shard, id, status, at_ms, state)
    where n.shard = f.id and s.id = n.id
), gone as (
    delete from saga_state s using fenced f, unnest($11::int[], $12::uuid[]) as n (shard, id)
    where n.shard = f.id and s.shard = n.shard and s.id = n.id
), statuses as (
    update saga s set status = n.status
    from fenced f, unnest($16::int[], $17::uuid[], $18::smallint[]) as n (shard, id, status)
    where n.shard = f.id and s.id = n.id and s.status < 2
), transitions as (
    insert into history (saga_id, revision, event, payload, inputs)
    select n.saga, n.revision, n.event, n.payload, n.inputs
    from fenced f, unnest($19::int[], $20::uuid[], $21::int[], $22::text[], $23::text[], $24::text[])
        as n (shard, saga, revision, event, payload, inputs)
    where n.shard = f.id
), sends as (
    insert into outbox (shard, saga_id, command)
    select n.shard, n.saga, n.command
    from fenced f, unnest($25::int[], $26::uuid[], $27::text[]) as n (shard, saga, command)
    where n.shard = f.id
    on conflict do nothing
), sent as (
    delete from outbox o using fenced f, unnest($28::int[], $29::uuid[], $30::text[]) as n (shard, saga, command)
    where n.shard = f.id and o.shard = n.shard and o.saga_id = n.saga and o.command = n.command
), taken as (
    update mailbox m set taken_at = now(), result = n.result, stands = n.stands
    from fenced f, unnest($31::int[], $32::uuid[], $33::text[], $34::text[])
        as n (shard, id, result, stands)
    where n.shard = f.id and m.id = n.id and m.taken_at is null
), mail as (
    insert into mailbox (id, shard, saga_id, kind, body, payload)
    select n.id, n.shard, n.saga, n.kind, n.body, n.payload
    from fenced f, unnest($35::int[], $36::uuid[], $37::uuid[], $38::text[], $39::text[], $40::text[])
        as n (shard, id, saga, kind, body, payload)
    where n.shard = f.id
    on conflict do nothing
), unchanged as (
    insert into ignored (saga_id, at_ms, reason, event)
    select n.saga, n.at_ms, n.reason, n.event
    from fenced f, unnest($41::int[], $42::uuid[], $43::bigint[], $44::text[], $45::text[])
        as n (shard, saga, at_ms, reason, event)
    where n.shard = f.id and (select count(*) from ignored i where i.saga_id = n.saga) < 50
), anomalies as (
    insert into anomaly (saga_id, effect_key, kind, at_ms, amount, currency, output)
    select n.saga, n.effect_key, n.kind, n.at_ms, n.amount, n.currency, n.output
    from fenced f, unnest($46::int[], $47::uuid[], $48::text[], $49::text[], $50::bigint[], $51::bigint[], $52::text[],
        $53::text[]) as n (shard, saga, effect_key, kind, at_ms, amount, currency, output)
    where n.shard = f.id
    on conflict do nothing
), dead as (
    insert into dead_letter (source, reason, headers, data, saga_id)
    select n.source, n.reason, n.headers, n.data, n.saga
    from fenced f, unnest($54::int[], $55::text[], $56::text[], $57::text[], $58::bytea[], $59::uuid[])
        as n (shard, source, reason, headers, data, saga)
    where n.shard = f.id
    on conflict do nothing
)
select coalesce(array_agg(id), '{}') from fenced";

/// A field of a row as it is bound: text and bytes are borrowed.
trait Field {
    type Bound<'a>
    where
        Self: 'a;

    fn bound(&self) -> Self::Bound<'_>;
}

macro_rules! fields {
    ($($field:ty => $bound:ty: |$it:ident| $value:expr;)+) => {$(
        impl Field for $field {
            type Bound<'a> = $bound;

            fn bound(&self) -> Self::Bound<'_> {
                let $it = self;
                $value
            }
        }
    )+};
}

fields! {
    i16 => i16: |it| *it;
    i32 => i32: |it| *it;
    i64 => i64: |it| *it;
    Uuid => Uuid: |it| *it;
    Option<i64> => Option<i64>: |it| *it;
    Option<Uuid> => Option<Uuid>: |it| *it;
    String => &'a str: |it| it;
    Arc<str> => &'a str: |it| it;
    Option<String> => Option<&'a str>: |it| it.as_deref();
    Vec<u8> => &'a [u8]: |it| it;
}

/// Columns of rows: what `unnest` takes.
macro_rules! columns {
    ($query:expr, $rows:expr, $($field:tt),+) => {{
        let rows = $rows;
        $query$(.bind(rows.iter().map(|row| row.$field.bound()).collect::<Vec<_>>()))+
    }};
}

impl Batch {
    /// A command that is sent again keeps its row, although an earlier sending was acknowledged: which of a
    /// deletion and an insertion of one row comes first within a statement is not defined.
    pub(crate) fn keep_sends(&mut self) {
        if !self.sent.is_empty() && !self.sends.is_empty() {
            let sends: std::collections::HashSet<_> = self.sends.iter().collect();
            self.sent.retain(|row| !sends.contains(row));
        }
    }

    /// Commits the batch in one statement and returns the shards that passed the fence. Child sagas that start or are
    /// reopened take more than one statement: then it is a transaction, and the fence's row locks hold to its end.
    ///
    /// # Errors
    /// [`StoreError::Data`] when a row is refused: nothing was written. [`StoreError::Unknown`] otherwise:
    /// whether it was written is not known, and only a new claim makes it known.
    pub async fn commit(&self, connection: &mut PgConnection) -> Result<Vec<i32>, StoreError> {
        if self.children.is_empty() && self.reopened.is_empty() {
            return self.write(connection).await;
        }
        in_time(async {
            let mut tx = connection.begin().await?;
            let passed = self.write(&mut tx).await?;
            children::start(&mut tx, &self.children, &passed).await?;
            children::reopen(&mut tx, &self.reopened, &passed).await?;
            tx.commit().await?;
            Ok(passed)
        })
        .await
    }

    async fn write(&self, connection: &mut PgConnection) -> Result<Vec<i32>, StoreError> {
        let query = sqlx::query(COMMIT);
        let query = columns!(query, &self.fences, shard, epoch, token, seq, next_offset);
        let query = columns!(query, &self.states, 0, 1, 2, 3, 4);
        let query = columns!(query, &self.ended, 0, 1, 2, 3, 4);
        let query = columns!(query, &self.statuses, 0, 1, 2);
        let query = columns!(query, &self.history, 0, 1, 2, 3, 4, 5);
        let query = columns!(query, &self.sends, 0, 1, 2);
        let query = columns!(query, &self.sent, 0, 1, 2);
        let query = columns!(query, &self.taken, 0, 1, 2, 3);
        let query = columns!(query, &self.mail, 0, 1, 2, 3, 4, 5);
        let query = columns!(query, &self.ignored, 0, 1, 2, 3, 4);
        let query =
            columns!(query, &self.anomalies, shard, saga, effect_key, kind, at_ms, amount, currency, output);
        let query = columns!(query, &self.dead_letters, 0, 1, 2, 3, 4, 5);
        let query = query.bind(saga_core::state::SCHEMA);
        let row = in_time(async { Ok(query.fetch_one(connection).await?) }).await?;
        Ok(row.try_get(0)?)
    }
}
