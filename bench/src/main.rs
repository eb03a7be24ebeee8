//! `bench`: orders against a running stack, what they cost, and the books afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::books::{self, Sources};
use bench::cost::{Cost, Stack};
use bench::grown;
use bench::run::{Pace, Run, SKUS, Workload, place, run};
use clap::Parser;
use serde_json::{Value, json};

/// Places orders, waits for each saga's outcome, says what that cost, and verifies the books
///
/// The stack is the one of `amends dev --bus kafka`, found by its data's folder; `make bench` starts one. Exit codes: 0
/// all is well, 1 an outcome is none of the two expected or the books do not balance.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// The folder that `amends dev --bus kafka --dir` keeps its data in
    #[arg(long, default_value = ".amends", value_name = "FOLDER")]
    dir: PathBuf,
    /// What is ordered
    #[arg(long, value_enum, default_value = "checkout-bare")]
    workload: Workload,
    /// How many sagas a run
    #[arg(long, default_value_t = 10_000)]
    sagas: u64,
    /// Closed loop: how many at once
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Open loop instead: how many a second, each timed from the instant at which it was to be placed
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Runs; the median by throughput is the result
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Sagas before the first run, so that nothing that is measured runs for the first time; the broker's compiler
    /// takes that long
    #[arg(long, default_value_t = 20_000)]
    warm_up: u64,
    /// First copies ended sagas until so many more are in the tables
    #[arg(long, default_value_t = 0, value_name = "SAGAS")]
    ended: u64,
    /// First copies sagas that wait for a day until so many more are in the tables
    #[arg(long, default_value_t = 0, value_name = "SAGAS")]
    waiting: u64,
    /// Kills the engine with `kill -9` before the first run, and says after how long an order came through again
    #[arg(long)]
    takeover: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// How long a takeover may take before something is wrong.
const TAKEOVER_MAX: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    bench::install_tls();
    let known = environment(&arguments.dir)?;
    let known_as = |name: &str| {
        known.get(name).cloned().with_context(|| format!("the folder's environment has no {name}"))
    };
    let stack = Stack {
        dir: arguments.dir.canonicalize()?,
        pid: known_as("AMENDS_DEV_PID")?.parse()?,
        engine_url: known_as("AMENDS_DATABASE_URL")?,
    };
    let sources = Sources {
        engine_url: known_as("AMENDS_DATABASE_URL")?,
        order_url: known_as("AMENDS_ORDER_DATABASE_URL")?,
        stock_url: known_as("AMENDS_STOCK_DATABASE_URL")?,
        payment_url: known_as("AMENDS_PAYMENT_DATABASE_URL")?,
        sandbox_url: known_as("AMENDS_SANDBOX_URL")?,
    };
    let (api_url, stock_url) = (known_as("AMENDS_URL")?, known_as("AMENDS_STOCK_URL")?);
    let client = reqwest::Client::builder().pool_max_idle_per_host(4_096).build()?;
    for sku in SKUS {
        let url = format!("{stock_url}/stock/{sku}");
        client.put(url).json(&json!({ "on_hand": 100_000_000 })).send().await?.error_for_status()?;
    }
    let pace = match arguments.rate {
        Some(per_s) if per_s > 0.0 => Pace::Open { per_s },
        Some(_) => anyhow::bail!("--rate is how many a second: more than 0"),
        None => Pace::Closed { in_flight: arguments.in_flight },
    };
    if arguments.warm_up > 0 {
        run(&client, &api_url, arguments.workload, arguments.warm_up, pace).await;
    }
    if arguments.ended + arguments.waiting > 0 {
        grown::fill(&stack.engine_url, &api_url, arguments.ended, arguments.waiting).await?;
    }
    // Copies that wait are in nobody's memory before the shards are claimed anew.
    if arguments.takeover || arguments.waiting > 0 {
        let took = take_over(&client, &stack, &api_url, arguments.workload).await?;
        eprintln!("an order came through again {:.1} s after the engine's death", took.as_secs_f64());
    }
    let mut runs = Vec::new();
    for number in 1..=arguments.runs.max(1) {
        let before = stack.counters().await?;
        let run = run(&client, &api_url, arguments.workload, arguments.sagas, pace).await;
        let cost = stack.counters().await?.since(&before);
        if !arguments.json {
            println!("run {number}: {run}");
        }
        runs.push((run, cost));
    }
    let other: u64 = runs.iter().map(|(run, _)| run.other).sum();
    runs.sort_by(|a, b| a.0.sagas_per_s.total_cmp(&b.0.sagas_per_s));
    let (median, cost) = runs.swap_remove(runs.len() / 2);
    // The last commands of sagas that were answered already may still be on their way into the books.
    let report = settled(&sources).await?;
    if arguments.json {
        println!("{}", as_json(&median, &cost, &report));
    } else {
        println!("median: {median}");
        print!("{}", describe(&cost, &median));
        println!("books: {:?} sagas, {:?} orders", report.sagas, report.orders);
    }
    for finding in report.findings.iter().take(20) {
        eprintln!("the books: {finding}");
    }
    anyhow::ensure!(
        report.findings.is_empty(),
        "the books do not balance: {} findings",
        report.findings.len()
    );
    anyhow::ensure!(other == 0, "{other} sagas ended otherwise than completed or compensated");
    Ok(())
}

/// Kills the engine, which is started again by itself, and places orders until one has come through.
async fn take_over(
    client: &reqwest::Client,
    stack: &Stack,
    api_url: &str,
    workload: Workload,
) -> anyhow::Result<Duration> {
    let engines = stack.pids("engine and API");
    anyhow::ensure!(!engines.is_empty(), "no process of the stack is the engine");
    let pids: Vec<String> = engines.iter().map(i32::to_string).collect();
    let began = Instant::now();
    let killed = std::process::Command::new("kill").arg("-9").args(&pids).status()?;
    anyhow::ensure!(killed.success(), "kill -9 {} failed", pids.join(" "));
    loop {
        let stem = format!("t{}", uuid::Uuid::now_v7().simple());
        if place(client, api_url, workload, &stem, 0).await.is_ok_and(|word| word == "completed") {
            return Ok(began.elapsed());
        }
        anyhow::ensure!(began.elapsed() < TAKEOVER_MAX, "not within {} s", TAKEOVER_MAX.as_secs());
        // Between two connections that are refused.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The variables in the folder's `environment`.
fn environment(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = dir.join("environment");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("no stack serves on {}: start one with `amends dev --bus kafka --dir {0}`", dir.display())
    })?;
    let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect())
}

/// The books, once nothing runs any more.
async fn settled(sources: &Sources) -> anyhow::Result<books::Report> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let report = books::verify(sources).await?;
        if report.findings.is_empty() || Instant::now() > until {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures")]
fn describe(cost: &Cost, run: &Run) -> String {
    let sagas = run.ms.len().max(1) as f64;
    let mut text = String::from("processor seconds a 1,000 sagas:\n");
    let mut parts: Vec<_> = cost.cpu_s.iter().collect();
    parts.sort_by(|a, b| b.1.total_cmp(a.1));
    for (part, cpu_s) in parts {
        text.push_str(&format!("  {:>6.2}  {part}\n", cpu_s / sagas * 1_000.0));
    }
    let all: f64 = cost.cpu_s.values().sum();
    text.push_str(&format!("  {:>6.2}  in all\ncommits a saga:\n", all / sagas * 1_000.0));
    for (database, commits) in &cost.commits {
        text.push_str(&format!("  {:>6.2}  {database}\n", *commits as f64 / sagas));
    }
    text.push_str(&format!("write-ahead log: {:.0} bytes a saga\n", cost.wal_bytes as f64 / sagas));
    text
}

fn as_json(run: &Run, cost: &Cost, report: &books::Report) -> Value {
    json!({
        "sagas": run.ms.len(), "sagas_per_s": run.sagas_per_s,
        "completed": run.completed, "compensated": run.compensated, "other": run.other,
        "p50_ms": run.percentile_ms(0.5), "p90_ms": run.percentile_ms(0.9),
        "p99_ms": run.percentile_ms(0.99), "max_ms": run.percentile_ms(1.0),
        "cpu_s": cost.cpu_s, "commits": cost.commits, "wal_bytes": cost.wal_bytes,
        "books": { "sagas": report.sagas, "orders": report.orders, "findings": report.findings },
    })
}
