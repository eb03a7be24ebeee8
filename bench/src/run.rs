//! One run: a workload against the API, closed loop or open, timed from request to outcome.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Order, stock, payment decided in the worker; one in ten is rejected and undone
    CheckoutBare,
    /// The shipped definition, with the Toss sandbox and notices
    OrderCheckout,
}

/// How orders come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As many at once; the next one when one has ended.
    Closed {
        /// How many at once.
        in_flight: usize,
    },
    /// So many a second, however long each takes; timed from the instant at which it was to be placed.
    Open {
        /// How many a second.
        per_s: f64,
    },
}

/// Sagas that are awaited at once in an open loop, at most: beyond, the server has given way long ago.
const OPEN_MAX: usize = 20_000;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Sagas that ended, a second.
    pub sagas_per_s: f64,
    /// Those that completed.
    pub completed: u64,
    /// Those that were undone.
    pub compensated: u64,
    /// Everything else.
    pub other: u64,
    /// Latencies in ms, sorted.
    pub ms: Vec<f64>,
}

/// The value that this share of the sorted ones stays below; 0 of none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

impl Run {
    /// The latency in ms that this share of the sagas stayed below.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        percentile(&self.ms, share)
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} sagas/s, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {} completed, {} compensated, {} other",
            self.sagas_per_s,
            self.percentile_ms(0.5),
            self.percentile_ms(0.9),
            self.percentile_ms(0.99),
            self.percentile_ms(1.0),
            self.completed,
            self.compensated,
            self.other
        )
    }
}

/// The stock-keeping units that are ordered.
pub const SKUS: [&str; 10] = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9"];

/// Places `sagas` orders and waits for each outcome.
pub async fn run(client: &reqwest::Client, api_url: &str, workload: Workload, sagas: u64, pace: Pace) -> Run {
    let stem = Arc::new(format!("b{}", uuid::Uuid::now_v7().simple()));
    let started = Instant::now();
    let at_once = match pace {
        Pace::Closed { in_flight } => in_flight.max(1),
        Pace::Open { .. } => OPEN_MAX,
    };
    let outcomes: Vec<(Duration, String)> = futures::stream::iter(0..sagas)
        .then(|n| async move {
            if let Pace::Open { per_s } = pace {
                #[allow(clippy::cast_precision_loss, reason = "a moment")]
                let due = started + Duration::from_secs_f64(n as f64 / per_s);
                tokio::time::sleep_until(due).await;
                return (n, Some(due));
            }
            (n, None)
        })
        .map(|(n, due)| {
            let (client, stem) = (client.clone(), Arc::clone(&stem));
            async move {
                let began = due.unwrap_or_else(Instant::now);
                let placed = place(&client, api_url, workload, &stem, n).await;
                (began.elapsed(), placed.unwrap_or_else(|error| error.to_string()))
            }
        })
        .buffer_unordered(at_once)
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

/// Places the n-th order of those whose ids begin with `stem`, and waits for its outcome: the word of it, or what the API
/// said instead.
///
/// # Errors
/// When the API cannot be reached, or answers something else than JSON.
pub async fn place(
    client: &reqwest::Client,
    api_url: &str,
    workload: Workload,
    stem: &str,
    n: u64,
) -> anyhow::Result<String> {
    let id = format!("{stem}-{n}");
    let sku = SKUS[usize::try_from(n % 10)?];
    let rejected = n % 10 == 9;
    let items = json!([{ "sku": sku, "quantity": 1, "unit_price": 1_000 }]);
    let (path, payment) = match workload {
        Workload::CheckoutBare => ("/bare-orders", json!({ "amount": 1_000, "reject": rejected })),
        Workload::OrderCheckout => {
            let fate = if rejected { "reject_card_company" } else { "ok" };
            ("/orders", json!({ "amount": 1_000, "payment_key": format!("tviva_{fate}_{id}") }))
        }
    };
    let body = json!({ "order_id": id, "customer_id": "bench", "items": items, "payment": payment });
    let request = client.post(format!("{api_url}{path}")).header("Prefer", "wait=60").json(&body);
    let answer: Value = request.send().await?.json().await?;
    Ok(answer
        .get("status")
        .map_or_else(|| answer.to_string(), |it| it.as_str().unwrap_or_default().to_owned()))
}
