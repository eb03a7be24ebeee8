//! Finding among millions of sagas: how long operators wait for each filter while new sagas run.
//!
//! `make finding` runs it on the tests' stack, in a database of its own that is dropped afterwards. It fills the tables,
//! starts an engine with its API, lets sagas run on it, and asks each question of [`ask::QUESTIONS`] again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amends::api::{Api, ApiConfig};
use amends::store::definitions::Definitions;
use ask::{Known, QUESTIONS, Times};
use clap::Parser;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use test_support::{FreshDatabase, fresh_database};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod ask;
mod explain;
mod seed;
#[path = "../../tests/support/mod.rs"]
mod support;

use support::{Stage, Travel, succeeded};

/// How long operators wait for each filter, among so many sagas and while more run
#[derive(Debug, Parser)]
struct Arguments {
    /// Sagas in the tables
    #[arg(long, default_value_t = 10_000_000)]
    sagas: i64,
    /// Sagas that are started a second meanwhile
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// How often each question is asked
    #[arg(long, default_value_t = 40)]
    rounds: u32,
    /// Only the questions that have this in their name
    #[arg(long)]
    only: Option<String>,
    /// A filled database of an earlier run with --keep
    #[arg(long)]
    database: Option<String>,
    /// Leaves the database, and says where it is
    #[arg(long)]
    keep: bool,
    /// Instead of times, how Postgres finds each answer
    #[arg(long)]
    explain: bool,
    /// The longest p95 of a question, in ms; beyond, the exit code is 1
    #[arg(long, default_value_t = 200.0)]
    bound_ms: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let database = match &arguments.database {
        Some(url) => {
            let name = url.rsplit('/').next().and_then(|it| it.split('?').next()).unwrap_or_default();
            FreshDatabase { url: url.clone(), name: name.to_owned() }
        }
        None => fresh_database().await,
    };
    let stage = Stage::on(database, 4).await;
    if arguments.database.is_none() {
        publish(&stage).await?;
        seed::fill(&stage.pool, arguments.sagas).await?;
    }
    let known = known(&stage, arguments.sagas).await?;
    let plans = match arguments.explain {
        true => Some(explain::Plans::listen(&stage.pool, &stage.database.name).await?),
        false => None,
    };
    let node = stage.node("finding").await;
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| Some(succeeded(command)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let closing = CancellationToken::new();
    let api = Api::new(node.engine.clone(), ApiConfig::default(), closing.clone());
    let serving = tokio::spawn(api.serve(listener));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let node = Arc::new(node);
    let started = Arc::new(AtomicU64::new(0));
    let rate = if plans.is_some() { 0 } else { arguments.rate };
    let load = tokio::spawn(load(Arc::clone(&node), rate, Arc::clone(&started), closing.clone()));
    let began = Instant::now();
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let http = reqwest::Client::new();
    let mut all: Vec<(&str, &str, Times)> = QUESTIONS
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, path)| (*name, *path, Times::default()))
        .collect();
    if let Some(plans) = &plans {
        for (name, path, _) in &all {
            let path = known.spell(path, 1);
            // The first time fills caches.
            for _ in 0..2 {
                let _ = plans.longest();
                ask::ask(&http, &url, &path).await?;
            }
            println!("### {name}\n\n`GET {path}`\n\n```text\n{}```\n", plans.longest().unwrap_or_default());
        }
        all.clear();
    }
    for round in 0..i64::from(arguments.rounds) {
        for (_, path, times) in &mut all {
            let (took, rows) = ask::ask(&http, &url, &known.spell(path, round)).await?;
            times.ms.push(took.as_secs_f64() * 1_000.0);
            times.rows = rows;
        }
    }
    let took = began.elapsed().as_secs_f64();
    closing.cancel();
    load.await?;
    serving.await??;
    let (begun, ended): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where status = 2) from saga s join definition d on d.id = s.definition where d.name = 'trip'",
    )
    .fetch_one(&stage.pool)
    .await?;
    if plans.is_none() {
        println!(
            "\n{} sagas in the tables; meanwhile {:.0} were started a second, {ended} of {begun} completed\n",
            arguments.sagas,
            started.load(Ordering::Relaxed) as f64 / took
        );
        println!("| question | p50 ms | p95 ms | most ms | rows |\n|---|---|---|---|---|");
    }
    let mut slow = Vec::new();
    for (name, _, times) in &mut all {
        times.ms.sort_by(f64::total_cmp);
        let [p50, p95, most] = [0.5, 0.95, 1.0].map(|share| times.percentile_ms(share));
        println!("| {name} | {p50:.1} | {p95:.1} | {most:.1} | {} |", times.rows);
        if p95 > arguments.bound_ms {
            slow.push(*name);
        }
    }
    if let Ok(node) = Arc::try_unwrap(node) {
        node.stop().await;
    }
    stage.pool.close().await;
    // Dropping gigabytes takes longer than the end of a process waits.
    let FreshDatabase { url, name } = &stage.database;
    if arguments.keep {
        println!("\nthe database stays: {url}");
    } else {
        let mut server = PgConnection::connect(&test_support::database_url()).await?;
        sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut server).await?;
    }
    std::mem::forget(stage);
    anyhow::ensure!(slow.is_empty(), "over {} ms: {}", arguments.bound_ms, slow.join(", "));
    Ok(())
}

/// Two definitions of two versions each, and a rare one.
async fn publish(stage: &Stage) -> anyhow::Result<()> {
    let store = amends::store::Store::connect(&stage.database.url, 1).await?;
    for (name, versions) in [("found-a", 2), ("found-b", 2), ("found-c", 1)] {
        for version in 1..=versions {
            let source = support::DEFINITION
                .replace("saga: trip", &format!("saga: {name}"))
                .replace("then pays.", &format!("then pays, version {version}."));
            Definitions::default().publish(&store, &source, None).await?;
        }
    }
    Ok(())
}

async fn known(stage: &Stage, sagas: i64) -> anyhow::Result<Known> {
    let (cursor, at, until): (String, String, String) = sqlx::query_as(
        "select id::text, to_char(started_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
            to_char((started_at + interval '1 day') at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
         from saga where id > (select (lpad(to_hex((extract(epoch from now() - interval '15 days') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid)
         order by id limit 1",
    )
    .fetch_one(&stage.pool)
    .await?;
    let failure = sqlx::query_scalar("select id from failure order by count desc limit 1")
        .fetch_one(&stage.pool)
        .await?;
    let version: String =
        sqlx::query_scalar("select version from definition where name = 'found-b' order by id limit 1")
            .fetch_one(&stage.pool)
            .await?;
    Ok(Known { sagas, cursor, failure, version: version[..12].to_owned(), at, until })
}

/// Starts sagas at an even pace, whatever becomes of those before.
async fn load(node: Arc<support::Node>, rate: u32, started: Arc<AtomicU64>, closing: CancellationToken) {
    let began = Instant::now();
    let mut due = 0_u64;
    let mut sent = 0_u64;
    while rate > 0 && !closing.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let now = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        due = due.max(now);
        while sent < due {
            sent += 1;
            let (node, started) = (Arc::clone(&node), Arc::clone(&started));
            tokio::spawn(async move {
                if node.begin(&format!("live-{}", uuid::Uuid::now_v7())).await.is_ok() {
                    started.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}
