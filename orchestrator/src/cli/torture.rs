//! `amends torture`: the engine in simulated worlds where everything goes wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;
use serde_json::json;

use super::exit::{Code, Failure};
use super::{Output, say};
use crate::torture::{self, Outcome};

/// How often it is said how far it is.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Runs the engine in simulated worlds where everything goes wrong
///
/// Each seed is a world of its own: nodes that die, a database that loses statements, a bus that loses, repeats and
/// delays, workers that die between their commit and their answer, logs that are wiped. Afterwards every saga must
/// have ended, once, and what was done must balance with what was undone. The same seed is the same run.
#[derive(Clone, Debug, Args)]
pub struct TortureArgs {
    /// How many worlds
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    seeds: u64,
    /// The first seed; the others follow it. A random one when absent
    #[arg(long, value_name = "SEED")]
    from: Option<u64>,
    /// Stops after so many worlds in which something did not hold
    #[arg(long, default_value_t = 1, value_name = "N")]
    failures: usize,
}

/// Runs it.
///
/// # Errors
/// Never; what does not hold is in the exit code.
pub fn run(args: &TortureArgs, output: Output) -> Result<Code, Failure> {
    let first = args.from.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let began = Instant::now();
    let said = Mutex::new(began);
    let summary = torture::run_many(first, args.seeds, args.failures.max(1), |so_far, outcome| {
        if !outcome.broken.is_empty() {
            tell(outcome, output);
        }
        let mut said = said.lock();
        if said.elapsed() >= SAID_EVERY {
            *said = Instant::now();
            eprintln!("{}", progress(so_far.seeds, args.seeds, began.elapsed()));
        }
    });
    let took_s = began.elapsed().as_secs_f64();
    let words: BTreeMap<&str, u64> =
        summary.sagas.iter().map(|(status, count)| (word(*status), *count)).collect();
    if output.json {
        output.print(&json!({
            "seeds": summary.seeds, "from": first, "failed": summary.failed.len(), "sagas": words,
            "commits": summary.commits.0, "fenced": summary.commits.1, "took_s": took_s,
        }));
    } else {
        say(&format!(
            "{} worlds from seed {first} in {took_s:.0} s: {words:?}, {} commits, {} of them fenced; {}",
            summary.seeds,
            summary.commits.0,
            summary.commits.1,
            match summary.failed.len() {
                0 => "everything holds".to_owned(),
                failed => format!("{failed} FAILED"),
            }
        ));
    }
    Ok(if summary.failed.is_empty() { Code::Ok } else { Code::Failed })
}

/// How far it is, and how long the rest will take at this pace.
fn progress(done: u64, all: u64, took: Duration) -> String {
    let left = took.as_secs().saturating_mul(all.saturating_sub(done)) / done.max(1);
    format!("{done} of {all} worlds; about {} min {} s are left", left / 60, left % 60)
}

fn tell(outcome: &Outcome, output: Output) {
    if output.json {
        output.print(&json!({ "seed": outcome.seed, "broken": outcome.broken }));
        return;
    }
    say(&format!("seed {} (again: amends torture --from {} --seeds 1)", outcome.seed, outcome.seed));
    outcome.broken.iter().for_each(|it| say(&format!("  {it}")));
}

const fn word(status: i16) -> &'static str {
    match status {
        0 => "running",
        1 => "parked",
        2 => "completed",
        3 => "compensated",
        _ => "abandoned",
    }
}
