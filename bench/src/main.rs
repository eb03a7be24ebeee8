//! `bench`: orders against a running stack, what they cost, and the books afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bench::books::{self, Sources};
use bench::cost::Stack;
use bench::measure::Series;
use bench::run::{SKUS, Workload};
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
    #[command(flatten)]
    series: Series,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    bench::install_tls();
    let known = environment(&arguments.dir)?;
    let place = |name: &str| {
        known.get(name).cloned().with_context(|| format!("the folder's environment has no {name}"))
    };
    let stack = Stack {
        dir: arguments.dir.canonicalize()?,
        pid: place("AMENDS_DEV_PID")?.parse()?,
        engine_url: place("AMENDS_DATABASE_URL")?,
    };
    let sources = Sources {
        engine_url: place("AMENDS_DATABASE_URL")?,
        order_url: place("AMENDS_ORDER_DATABASE_URL")?,
        stock_url: place("AMENDS_STOCK_DATABASE_URL")?,
        payment_url: place("AMENDS_PAYMENT_DATABASE_URL")?,
        sandbox_url: place("AMENDS_SANDBOX_URL")?,
    };
    let (api_url, stock_url) = (place("AMENDS_URL")?, place("AMENDS_STOCK_URL")?);
    let client = reqwest::Client::builder().pool_max_idle_per_host(4_096).build()?;
    for sku in SKUS {
        let url = format!("{stock_url}/stock/{sku}");
        client.put(url).json(&json!({ "on_hand": 100_000_000 })).send().await?.error_for_status()?;
    }
    let measured = arguments.series.measure(&client, &api_url, arguments.workload, &stack).await?;
    measured.conclude(arguments.series.json, &books::settled(async || books::verify(&sources).await).await?)
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
