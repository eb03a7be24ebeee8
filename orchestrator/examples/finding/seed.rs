//! Millions of sagas as rows: where they stand, what went wrong, who looks after them. Owns no measurement.
//!
//! Rows that no list reads (histories, states) are left out.

use std::time::Instant;

use chrono::Utc;
use sqlx::{AssertSqlSafe, PgPool};

/// Sagas of one insert.
const CHUNK: i64 = 250_000;

/// Nine of ten completed; of the others most were undone, and one in twenty each runs, is parked or was given up.
const SAGAS: &str = "
create function seeded(n bigint, total bigint, out id uuid, out at timestamptz, out status smallint, out place integer)
language sql stable as $$
    select (lpad(to_hex((extract(epoch from t.at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n & 4095), 3, '0') || '8'
            || substr(md5(n::text), 1, 15))::uuid, t.at,
        (case when t.lot < 900 then 2 when t.lot < 985 then 3 when t.lot < 990 then 1 when t.lot < 995 then 4 else 0 end)::smallint,
        (case when n % 1000 < 550 then 1 when n % 1000 < 650 then 2 when n % 1000 < 940 then 3 when n % 1000 < 999 then 4 else 5 end)
    from (select BEGAN - (total - n + 1) * interval '30 days' / total as at, (n * 7919) % 1000 as lot) t
$$";

const SAGA: &str = "
insert into saga (id, shard, definition, status, started_at, ended_at, key, principal, amount, currency, final_schema, final_state,
    labels)
select s.id, n % 4, d.ids[s.place], s.status, s.at, case when s.status > 1 then s.at + interval '200 ms' end,
    'order-' || lpad(n::text, 9, '0'), 'shop', 1000 + n % 90000, 'KRW', case when s.status > 1 then 1 end,
    case when s.status > 1 then repeat('x', 120) end, LABELS
from (select array_agg(id order by name, id) as ids from definition where name like 'found-%') d
cross join generate_series($1::bigint, $2::bigint) as n cross join lateral seeded(n, $3::bigint) s";

/// Four of ten have a label; one in ten is of Seoul, and one in ten thousand is of a campaign, too.
const LABELS: &str = "case when abs(hashint8(n)) % 10000 = 17 then array['region:busan', 'campaign:winter']
    when abs(hashint8(n)) % 10 < 4 then array['region:' || (array['seoul', 'busan', 'jeju', 'daegu'])[1 + abs(hashint8(n)) % 10]]
    end";

const SAGA_LABELS: &str = "
insert into saga_label (label, saga_id)
select label, s.id from generate_series($1::bigint, $2::bigint) as n cross join lateral seeded(n, $3::bigint) s
cross join lateral unnest(LABELS) as label";

const KEYS: &str = "
insert into start_key (scope, key, saga_id, body_hash, principal)
select 'key:' || d.names[s.place], 'order-' || lpad(n::text, 9, '0'), s.id, '\\x00'::bytea, 'shop'
from (select array_agg(name order by name, id) as names from definition where name like 'found-%') d
cross join generate_series($1::bigint, $2::bigint) as n cross join lateral seeded(n, $3::bigint) s";

const PROJECTION: &str = "
insert into projection (saga_id, shard, definition, revision, status, run, step, direction, worker, action, sent_ms,
    late_ms, due_ms, since_ms, attempt, attempts_max, topic, partition, why, error_step, error_code, error_message,
    failure, failure_revision, amount, currency)
select s.id, n % 4, d.ids[s.place], 5, s.status, case when s.status = 0 then n % 5 end, p.step, 0,
    p.worker, 'act', m.ms, m.ms + (n % 7) * 86400000, m.ms + 60000, m.ms, 1, 8,
    't.' || p.worker || '.execute', n % 2, case when s.status = 1 then 'rejected' end,
    case when e.code is not null then p.step end, e.code,
    case when e.code is not null then 'order ' || n || ' was refused by the bank after ' || n % 977 || ' ms' end,
    case when e.code is not null then md5(d.ids[s.place] || p.step || e.code) end, 4, 1000 + n % 90000, 'KRW'
from (select array_agg(id order by name, id) as ids from definition where name like 'found-%') d
cross join generate_series($1::bigint, $2::bigint) as n cross join lateral seeded(n, $3::bigint) s
cross join lateral (select (extract(epoch from s.at) * 1000)::bigint as ms) m
cross join lateral (select (array['hold', 'charge', 'charge', 'done'])[1 + n % 4] as step,
    (array['depot', 'bank', 'bank', 'travel'])[1 + n % 4] as worker) p
cross join lateral (select case when s.status in (0, 2) and n % 5 <> 2 then null when n % 100 < 80 then 'PROVIDER_DOWN'
    when n % 100 < 99 then 'CARD_REFUSED' else 'CODE_' || n % 700 end as code) e
where s.status <> 2";

/// What follows from the rows above.
const BESIDE: [(&str, &str); 8] = [
    (
        "groups of failures",
        "insert into failure (id, definition, step, direction, code, message, first_seen, last_seen, count, sample)
         select failure, min(definition), min(step), 0, min(error_code), 'order <n> was refused by the bank after <n> ms',
            now() - interval '30 days', now() - random() * interval '30 days', count(*), (array_agg(saga_id))[1]
         from projection where failure is not null group by failure",
    ),
    (
        "their windows",
        "insert into failure_window (failure, at, count)
         select f.id, date_bin('5 minutes', now(), 'epoch') - g * interval '5 minutes', g from failure f, generate_series(0, 60) g",
    ),
    (
        "who looks after them",
        "insert into care (saga_id, owner, by)
         select saga_id, 'operator-' || (row_number() over ()) % 20, 'lee' from projection where status = 1",
    ),
    (
        "notes",
        "insert into note (saga_id, who, body)
         select saga_id, 'lee', 'asked the bank about receipt ' || substr(md5(saga_id::text), 1, 8) from projection where status in (0, 1)",
    ),
    (
        "anomalies",
        "insert into anomaly (saga_id, effect_key, kind, at_ms, amount, currency)
         select saga_id, 'charge/-/execute/1', 'succeeded_after_skip', since_ms, amount, currency from projection
         where status = 4 limit 5000",
    ),
    (
        "dead letters",
        "insert into dead_letter (source, reason, headers, data, saga_id)
         select 'inbox/0/0/' || n, 'it answers no command that was sent', '{}', '\\x7b7d', p.saga_id
         from (select saga_id, row_number() over () as n from projection where status = 3 limit 20000) p",
    ),
    (
        "the audit",
        "insert into audit (at, who, roles, address, what, target, why, before, after)
         select now() - n * interval '1 minute', 'operator-' || n % 20, '{operator}', '127.0.0.1',
            (array['saga.retry', 'saga.skip', 'hold.place', 'job.create'])[1 + n % 4], 'target-' || n % 50000, 'because', '{}', '{}'
         from generate_series(1, 300000) n",
    ),
    ("statistics", "vacuum analyze"),
];

/// Fills the tables. The definitions, whose names begin with `found-`, are there.
pub(crate) async fn fill(pool: &PgPool, sagas: i64) -> anyhow::Result<()> {
    let began = Instant::now();
    // Every statement must make the same ids of the same numbers.
    let instant = format!("timestamptz '{}'", Utc::now().to_rfc3339());
    sqlx::query(AssertSqlSafe(SAGAS.replace("BEGAN", &instant))).execute(pool).await?;
    let mut connection = pool.acquire().await?;
    sqlx::query("set synchronous_commit = off").execute(&mut *connection).await?;
    let mut from = 1;
    while from <= sagas {
        let to = (from + CHUNK - 1).min(sagas);
        for sql in [SAGA, SAGA_LABELS, KEYS, PROJECTION] {
            sqlx::query(AssertSqlSafe(sql.replace("LABELS", LABELS)))
                .bind(from)
                .bind(to)
                .bind(sagas)
                .execute(&mut *connection)
                .await?;
        }
        println!("{to} sagas after {} s", began.elapsed().as_secs());
        from = to + 1;
    }
    for (what, sql) in BESIDE {
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await?;
        println!("{what} after {} s", began.elapsed().as_secs());
    }
    Ok(())
}
