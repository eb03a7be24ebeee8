//! `bench`: orders against a running stack, what they cost, and the books afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::books::{self, Sources};
use bench::cost::Stack;
use bench::grown;
use bench::measure::Series;
use bench::run::{SKUS, Workload, place};
use clap::Parser;
use serde_json::json;

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
    /// After the warm-up copies sagas that have ended, until so many more are in the tables
    #[arg(long, default_value_t = 0, value_name = "SAGAS")]
    ended: u64,
    /// After the warm-up copies sagas that wait for a day, until so many more are in the tables
    #[arg(long, default_value_t = 0, value_name = "SAGAS")]
    waiting: u64,
    /// Kills the engine with `kill -9` before the first run, and says after how long an order came through again
    #[arg(long)]
    takeover: bool,
    #[command(flatten)]
    series: Series,
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
    let (grow, workload) = (arguments.ended + arguments.waiting > 0, arguments.workload);
    let before = async || {
        if grow {
            grown::fill(&stack.engine_url, &api_url, arguments.ended, arguments.waiting).await?;
        }
        // Copies that wait are in nobody's memory before the shards are claimed anew.
        if arguments.takeover || arguments.waiting > 0 {
            let took = take_over(&client, &stack, &api_url, workload).await?;
            eprintln!("an order came through again {:.1} s after the engine's death", took.as_secs_f64());
        }
        Ok(())
    };
    let measured = arguments.series.measure(&client, &api_url, workload, &stack, before).await?;
    measured.conclude(arguments.series.json, &books::settled(async || books::verify(&sources).await).await?)
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
