//! `bench-compare`: two sets of runs beside each other, figure by figure.
//!
//! Reads what `bench --json` printed, a run a line; it must not run anything itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bench::run::percentile;
use clap::Parser;
use serde_json::Value;

/// Compares two sets of runs of `bench --json`, by the median of each figure
#[derive(Debug, Parser)]
#[command(name = "bench-compare", version)]
struct Arguments {
    /// Runs of what it is compared with, a JSON document a line
    base: PathBuf,
    /// Runs of what is compared
    new: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (base, new) = (figures(&arguments.base)?, figures(&arguments.new)?);
    let width = base.keys().map(String::len).max().unwrap_or(0);
    println!("{:<width$} {:>10} {:>10} {:>8}", "median", "base", "new", "new/base");
    for (name, before) in &base {
        let Some(after) = new.get(name) else { continue };
        let (before, after) = (median(before), median(after));
        let ratio = if before > 0.0 { format!("{:.2}", after / before) } else { "–".to_owned() };
        println!("{name:<width$} {before:>10.2} {after:>10.2} {ratio:>8}");
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 0.5)
}

/// Each figure with its values, a run a value.
fn figures(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<f64>>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in text.lines().filter(|it| !it.trim().is_empty()) {
        let run: Value = serde_json::from_str(line)
            .with_context(|| format!("{} has a line that is no run", path.display()))?;
        for (name, value) in of_run(&run) {
            figures.entry(name).or_default().push(value);
        }
    }
    anyhow::ensure!(!figures.is_empty(), "{} has no runs", path.display());
    Ok(figures)
}

fn of_run(run: &Value) -> Vec<(String, f64)> {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let sagas = number(&run["sagas"]).max(1.0);
    let mut found: Vec<(String, f64)> = ["sagas_per_s", "p50_ms", "p90_ms", "p99_ms", "max_ms"]
        .into_iter()
        .map(|name| (name.to_owned(), number(&run[name])))
        .collect();
    let parts = |name: &str| run[name].as_object().into_iter().flatten();
    let cpu_s: f64 = parts("cpu_s").map(|(_, spent)| number(spent)).sum();
    found.push(("processor ms a saga".to_owned(), cpu_s / sagas * 1_000.0));
    for (part, spent) in parts("cpu_s") {
        found.push((format!("processor ms a saga, {part}"), number(spent) / sagas * 1_000.0));
    }
    for (database, commits) in parts("commits") {
        found.push((format!("commits a saga, {database}"), number(commits) / sagas));
    }
    found.push(("bytes of log a saga".to_owned(), number(&run["wal_bytes"]) / sagas));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_by_saga_and_medians_of_their_runs() {
        let run = json!({
            "sagas": 100, "sagas_per_s": 50.0, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3, "max_ms": 4,
            "cpu_s": { "client": 0.1, "Kafka": 0.3 }, "commits": { "amends": 25 }, "wal_bytes": 4_000,
        });
        let figures: BTreeMap<_, _> = of_run(&run).into_iter().collect();
        assert!((figures["processor ms a saga"] - 4.0).abs() < 1e-9);
        assert!((figures["processor ms a saga, Kafka"] - 3.0).abs() < 1e-9);
        assert!((figures["commits a saga, amends"] - 0.25).abs() < 1e-9);
        assert!((figures["bytes of log a saga"] - 40.0).abs() < 1e-9);
        assert!((median(&[5.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
    }
}
