//! `bench`: a closed loop of orders against a running stack, timed from request to outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use futures::StreamExt;
use serde_json::{Value, json};

/// Places orders with N in flight and waits for each saga's outcome
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// The API
    #[arg(long, env = "AMENDS_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The stock worker's API, to fill the shelves
    #[arg(long, default_value = "http://127.0.0.1:8082")]
    stock_url: String,
    /// What is ordered
    #[arg(long, value_enum, default_value = "checkout-bare")]
    workload: Workload,
    /// How many sagas
    #[arg(long, default_value_t = 10_000)]
    sagas: u64,
    /// How many at once
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Runs; the median by throughput is the result
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Order, stock, payment decided in the worker; one in ten is rejected and undone
    CheckoutBare,
    /// The shipped definition, with the Toss sandbox and notices
    OrderCheckout,
}

#[derive(Clone, Debug, Default)]
struct Run {
    sagas_per_s: f64,
    completed: u64,
    compensated: u64,
    other: u64,
    /// Latencies in ms, sorted.
    ms: Vec<f64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    bench::install_tls();
    let client = reqwest::Client::builder().pool_max_idle_per_host(4_096).build()?;
    for sku in SKUS {
        let url = format!("{}/stock/{sku}", arguments.stock_url);
        client.put(url).json(&json!({ "on_hand": 100_000_000 })).send().await?.error_for_status()?;
    }
    let mut runs = Vec::new();
    for number in 1..=arguments.runs.max(1) {
        let run = run(&client, &arguments).await;
        if !arguments.json {
            println!("run {number}: {}", describe(&run));
        }
        runs.push(run);
    }
    runs.sort_by(|a, b| a.sagas_per_s.total_cmp(&b.sagas_per_s));
    let median = runs.swap_remove(runs.len() / 2);
    if arguments.json {
        println!(
            "{}",
            json!({ "sagas_per_s": median.sagas_per_s, "completed": median.completed, "compensated": median.compensated,
                "other": median.other, "p50_ms": at(&median.ms, 0.5), "p90_ms": at(&median.ms, 0.9),
                "p99_ms": at(&median.ms, 0.99), "max_ms": at(&median.ms, 1.0) })
        );
    } else {
        println!("median: {}", describe(&median));
    }
    anyhow::ensure!(
        median.other == 0,
        "{} sagas ended otherwise than completed or compensated",
        median.other
    );
    Ok(())
}

const SKUS: [&str; 10] = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9"];

async fn run(client: &reqwest::Client, arguments: &Arguments) -> Run {
    let stem = Arc::new(format!("b{}", uuid::Uuid::now_v7().simple()));
    let started = Instant::now();
    let outcomes: Vec<(Duration, String)> = futures::stream::iter(0..arguments.sagas)
        .map(|n| {
            let (client, stem) = (client.clone(), Arc::clone(&stem));
            async move {
                let began = Instant::now();
                let word =
                    place(&client, arguments, &stem, n).await.unwrap_or_else(|error| error.to_string());
                (began.elapsed(), word)
            }
        })
        .buffer_unordered(arguments.in_flight.max(1))
        .collect()
        .await;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let mut run =
        Run { sagas_per_s: outcomes.len() as f64 / started.elapsed().as_secs_f64(), ..Run::default() };
    for (took, word) in outcomes {
        run.ms.push(took.as_secs_f64() * 1_000.0);
        match word.as_str() {
            "completed" => run.completed += 1,
            "compensated" => run.compensated += 1,
            other => {
                if run.other == 0 {
                    eprintln!("an unexpected outcome: {other}");
                }
                run.other += 1;
            }
        }
    }
    run.ms.sort_by(f64::total_cmp);
    run
}

async fn place(
    client: &reqwest::Client,
    arguments: &Arguments,
    stem: &str,
    n: u64,
) -> anyhow::Result<String> {
    let id = format!("{stem}-{n}");
    let sku = SKUS[usize::try_from(n % 10)?];
    let rejected = n % 10 == 9;
    let items = json!([{ "sku": sku, "quantity": 1, "unit_price": 1_000 }]);
    let (path, payment) = match arguments.workload {
        Workload::CheckoutBare => ("/sagas/checkout-bare", json!({ "amount": 1_000, "reject": rejected })),
        Workload::OrderCheckout => {
            let fate = if rejected { "reject_card_company" } else { "ok" };
            ("/orders", json!({ "amount": 1_000, "payment_key": format!("tviva_{fate}_{id}") }))
        }
    };
    let body = json!({ "order_id": id, "customer_id": "bench", "items": items, "payment": payment });
    let request = client.post(format!("{}{path}", arguments.url)).header("Prefer", "wait=60").json(&body);
    let answer: Value = request.send().await?.json().await?;
    Ok(answer
        .get("status")
        .map_or_else(|| answer.to_string(), |it| it.as_str().unwrap_or_default().to_owned()))
}

fn at(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

fn describe(run: &Run) -> String {
    format!(
        "{:.0} sagas/s, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {} completed, {} compensated, {} other",
        run.sagas_per_s,
        at(&run.ms, 0.5),
        at(&run.ms, 0.9),
        at(&run.ms, 0.99),
        at(&run.ms, 1.0),
        run.completed,
        run.compensated,
        run.other
    )
}
