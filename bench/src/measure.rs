//! Several runs of a load and their median: what each costs, and what is said of it.
//!
//! Owns the options and the words that all load generators share. It must not know what serves the load.

use clap::Args;
use serde_json::{Value, json};

use crate::books::Report;
use crate::cost::{Cost, Stack};
use crate::run::{Pace, Run, Workload, run};

/// How much load, and how it is told.
#[derive(Clone, Copy, Debug, Args)]
pub struct Series {
    /// How many sagas a run
    #[arg(long, default_value_t = 10_000)]
    pub sagas: u64,
    /// Closed loop: how many at once
    #[arg(long, default_value_t = 256)]
    pub in_flight: usize,
    /// Open loop instead: how many a second, each timed from the instant at which it was to be placed
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Runs; the median by throughput is the result
    #[arg(long, default_value_t = 5)]
    pub runs: u32,
    /// Sagas before the first run, so that nothing that is measured runs for the first time; the broker's compiler
    /// takes that long
    #[arg(long, default_value_t = 40_000)]
    pub warm_up: u64,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of all runs.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The run in the middle, by throughput.
    pub median: Run,
    /// What that run cost.
    pub cost: Cost,
    /// Sagas that completed, in all runs and the warm-up.
    pub completed: u64,
    /// Those that were undone.
    pub compensated: u64,
    /// Everything else, without the warm-up.
    pub other: u64,
}

impl Series {
    /// Warms up, lets `before` happen, and puts the load on as often as asked; says how each run went unless it is to be
    /// JSON.
    ///
    /// # Errors
    /// When the rate is none, the stack's counters cannot be read, or `before` fails.
    pub async fn measure(
        &self,
        client: &reqwest::Client,
        api_url: &str,
        workload: Workload,
        stack: &Stack,
        before: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Measured> {
        let pace = match self.rate {
            Some(per_s) if per_s > 0.0 => Pace::Open { per_s },
            Some(_) => anyhow::bail!("--rate is how many a second: more than 0"),
            None => Pace::Closed { in_flight: self.in_flight },
        };
        let mut warm_up = Run::default();
        if self.warm_up > 0 {
            warm_up = run(client, api_url, workload, self.warm_up, pace).await;
        }
        before().await?;
        let mut runs = Vec::new();
        for number in 1..=self.runs.max(1) {
            let begin = stack.counters().await?;
            let run = run(client, api_url, workload, self.sagas, pace).await;
            let cost = stack.counters().await?.since(&begin);
            if !self.json {
                println!("run {number}: {run}");
            }
            runs.push((run, cost));
        }
        let sum = |of: fn(&Run) -> u64| runs.iter().map(|(run, _)| of(run)).sum::<u64>();
        let completed = warm_up.completed + sum(|run| run.completed);
        let compensated = warm_up.compensated + sum(|run| run.compensated);
        let other = sum(|run| run.other);
        runs.sort_by(|a, b| a.0.sagas_per_s.total_cmp(&b.0.sagas_per_s));
        let (median, cost) = runs.swap_remove(runs.len() / 2);
        Ok(Measured { median, cost, completed, compensated, other })
    }
}

impl Measured {
    /// Prints the median, what it cost, and what the books say.
    ///
    /// # Errors
    /// When the books do not balance, or a saga ended otherwise than completed or compensated.
    pub fn conclude(&self, json: bool, report: &Report) -> anyhow::Result<()> {
        if json {
            println!("{}", self.as_json(report));
        } else {
            println!("median: {}", self.median);
            print!("{}", self.describe());
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
        anyhow::ensure!(
            self.other == 0,
            "{} sagas ended otherwise than completed or compensated",
            self.other
        );
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "figures")]
    fn describe(&self) -> String {
        let (cost, sagas) = (&self.cost, self.median.ms.len().max(1) as f64);
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

    fn as_json(&self, report: &Report) -> Value {
        let (run, cost) = (&self.median, &self.cost);
        json!({
            "sagas": run.ms.len(), "sagas_per_s": run.sagas_per_s,
            "completed": run.completed, "compensated": run.compensated, "other": run.other,
            "p50_ms": run.percentile_ms(0.5), "p90_ms": run.percentile_ms(0.9),
            "p99_ms": run.percentile_ms(0.99), "max_ms": run.percentile_ms(1.0),
            "cpu_s": cost.cpu_s, "commits": cost.commits, "wal_bytes": cost.wal_bytes,
            "books": { "sagas": report.sagas, "orders": report.orders, "findings": report.findings },
        })
    }
}
