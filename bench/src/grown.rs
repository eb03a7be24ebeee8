//! Tables as they are after years: sagas that have ended, and sagas that wait, by the million.
//!
//! They are copies of real ones, row by row in every table that has rows of a saga, under ids of the last thirty days.
//! Copies belong to [`NOBODY`], whose sagas the books leave out: no worker has ever heard of them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// The principal of the copies.
pub const NOBODY: &str = "copied by bench";
/// Copies of one statement.
const CHUNK: u64 = 50_000;
/// How long a saga may take to end, or to come to its wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A saga that waits for a day.
const WAITS: &str = "
saga: bench-waits
description: Waits for a day, as an order waits for its payment by bank transfer.
owner: bench
input: { type: object, required: [order_id], properties: { order_id: { type: string } } }
key: ${input.order_id}
steps:
  a_day: { wait: { for: 24h } }
";

const COMPLETED: &str = "select s.id from saga s join definition d on d.id = s.definition
    where d.name = 'checkout-bare' and s.status = 2 order by 1 desc limit 1";
const COMPENSATED: &str = "select p.saga_id from projection p join definition d on d.id = p.definition
    where d.name = 'checkout-bare' and p.status = 3 order by 1 desc limit 1";
const WAITING: &str = "select p.saga_id from projection p join definition d on d.id = p.definition
    where d.name = 'bench-waits' and p.run = 3 order by 1 desc limit 1";

/// The tables with rows of a saga, and what names it there.
///
/// Those that operators search come first: the engine itself adds what it misses there.
const TABLES: [(&str, &str); 6] = [
    ("projection", "saga_id"),
    ("saga", "id"),
    ("saga_state", "id"),
    ("history", "saga_id"),
    ("start_key", "saga_id"),
    ("saga_label", "saga_id"),
];

/// Adds so many sagas that have ended, and so many that wait.
///
/// # Errors
/// When there is nothing to copy: no saga of `checkout-bare` has completed, or the API does not start one that waits.
pub async fn fill(engine_url: &str, api_url: &str, ended: u64, waiting: u64) -> anyhow::Result<()> {
    let options: sqlx::postgres::PgConnectOptions = engine_url.parse()?;
    let mut connection = options.connect().await.context("the engine's database")?;
    // What is generated need not survive.
    sqlx::query("set synchronous_commit = off").execute(&mut connection).await?;
    // As the load leaves them: one in ten was undone.
    let undone = ended / 10;
    for (kind, query, count) in
        [("completed", COMPLETED, ended - undone), ("compensated", COMPENSATED, undone)]
    {
        if count > 0 {
            let template = until(&mut connection, query).await;
            let template = template.with_context(|| format!("to copy: a saga of checkout-bare, {kind}"))?;
            copies(&mut connection, template, kind, count).await?;
        }
    }
    if waiting > 0 {
        start_one_that_waits(api_url).await?;
        let template = until(&mut connection, WAITING).await.context("to copy: a saga that waits")?;
        copies(&mut connection, template, "waiting", waiting).await?;
    }
    sqlx::query("vacuum analyze").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

async fn start_one_that_waits(api_url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let publish = client.post(format!("{api_url}/definitions")).header("Content-Type", "application/yaml");
    publish.body(WAITS).send().await?.error_for_status()?;
    let id = uuid::Uuid::now_v7().simple().to_string();
    let start = client.post(format!("{api_url}/sagas/bench-waits")).json(&json!({ "order_id": id }));
    let _: Value = start.send().await?.error_for_status()?.json().await?;
    Ok(())
}

/// The saga that a query finds, once the projection knows it.
async fn until(connection: &mut PgConnection, query: &'static str) -> anyhow::Result<uuid::Uuid> {
    let began = Instant::now();
    loop {
        if let Some(found) = sqlx::query_scalar(query).fetch_optional(&mut *connection).await? {
            return Ok(found);
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "not within {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn copies(
    connection: &mut PgConnection,
    template: uuid::Uuid,
    kind: &str,
    count: u64,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut statements = Vec::new();
    for (table, id) in TABLES {
        statements.push(copy_of(connection, table, id).await?);
    }
    let run = uuid::Uuid::now_v7().simple().to_string();
    let now_ms =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let mut from = 1;
    while from <= count {
        let to = (from + CHUNK - 1).min(count);
        for sql in &statements {
            sqlx::query(AssertSqlSafe(sql.as_str()))
                .bind(i64::try_from(from)?)
                .bind(i64::try_from(to)?)
                .bind(i64::try_from(count)?)
                .bind(now_ms)
                .bind(format!("{kind}-{run}"))
                .bind(template)
                .execute(&mut *connection)
                .await?;
        }
        eprintln!("{to} of {count} {kind} after {} s", began.elapsed().as_secs());
        from = to + 1;
    }
    Ok(())
}

/// The statement that copies the template's rows of a table: $1 to $2 of $3 copies, of the thirty days before $4 (ms),
/// whose keys begin with $5.
async fn copy_of(connection: &mut PgConnection, table: &str, id: &str) -> anyhow::Result<String> {
    let columns: Vec<String> = sqlx::query_scalar(
        "select column_name::text from information_schema.columns
         where table_schema = current_schema() and table_name = $1 and is_generated = 'NEVER' and is_identity = 'NO'
         order by ordinal_position",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    let value = |column: &String| match column.as_str() {
        it if it == id => "made.id".to_owned(),
        "key" => "$5 || '-' || made.n".to_owned(),
        "principal" => format!("'{NOBODY}'"),
        "started_at" => "to_timestamp(made.ms / 1000.0)".to_owned(),
        "ended_at" => "to_timestamp(made.ms / 1000.0) + (t.ended_at - t.started_at)".to_owned(),
        other => format!("t.{other}"),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    Ok(format!(
        "with made as materialized (
             select n, ms, (lpad(to_hex(ms), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid as id
             from (select n, $4::bigint - 2592000000 + n * 2592000000 / $3::bigint as ms, md5($5::text || n) as h
                   from generate_series($1::bigint, $2::bigint) as n) as made
         )
         insert into {table} ({}) select {} from made, {table} t where t.{id} = $6::uuid",
        columns.join(", "),
        values.join(", ")
    ))
}
