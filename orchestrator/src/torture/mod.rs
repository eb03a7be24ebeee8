//! The deterministic simulator: the engine's own lane, starts, outbox and timers in virtual time, on the in-process
//! bus and a simulated database, and everything that can go wrong, drawn from one seed.
//!
//! - `world`: the nodes, the storm and the calm after it
//! - `database`: what stands in for Postgres
//! - `shop`: what stands in for workers, with the SDK's own barrier
//! - `verdict`: what must hold
//!
//! The same seed is the same run. docs/adr/0011-a-simulator-below-the-database.md says what is simulated and what is not.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::clock;
use crate::store::definitions::Definitions;

#[cfg(test)]
mod conformance;
mod database;
mod shop;
mod verdict;
mod world;

/// The definitions of every world. Nothing in them parks: what does not end is a bug.
const DEFINITIONS: [&str; 4] = [
    r#"
saga: line
description: One step after another.
key: ${input.id}
input: { type: object, required: [id] }
steps:
  first:
    worker: shop
    action: first
    compensation: { action: undo_first, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 20, initial: 100ms, max: 1s }
    timeout: 2s
  second:
    after: [first]
    worker: shop
    action: second
    compensation: { action: undo_second, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}", first: "${steps.first.output.number}" }
    retry: { attempts: 3, initial: 50ms, max: 1s }
    timeout: 500ms
  turn:
    after: [second]
    pivot: true
    worker: shop
    action: turn
    input: { id: "${input.id}" }
    retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }
    timeout: 2s
  last:
    after: [turn]
    worker: shop
    action: after_last
    input: { id: "${input.id}" }
    retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }
    timeout: 2s
"#,
    r#"
saga: fork
description: Branches, a fan-out, a wait, a deadline, and a step that may fail.
key: ${input.id}
deadline: 30s
input: { type: object, required: [id, items] }
steps:
  left:
    worker: shop
    action: left
    compensation: { action: undo_left, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 20, initial: 100ms, max: 1s }
    timeout: 2s
  right:
    worker: shop
    action: right
    compensation: { action: undo_right, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 2, initial: 100ms, max: 1s }
    timeout: 700ms
  each:
    after: [left]
    foreach: ${input.items}
    worker: shop
    action: each
    compensation: { action: undo_each, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { item: "${item}", left: "${steps.left.output.number}" }
    retry: { attempts: 10, initial: 100ms, max: 1s }
    timeout: 2s
  nap:
    after: [right]
    wait: { for: 400ms }
  turn:
    after: [each, nap]
    pivot: true
    worker: shop
    action: turn
    input: { id: "${input.id}" }
    retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }
    timeout: 2s
  tell:
    after: [turn]
    optional: true
    worker: shop
    action: tell
    input: { id: "${input.id}" }
    retry: { attempts: 3, initial: 100ms, max: 1s }
    timeout: 1s
  last:
    after: [turn]
    worker: shop
    action: after_last
    input: { id: "${input.id}" }
    retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }
    timeout: 2s
"#,
    r#"
saga: undo
description: No way is barred until its end.
key: ${input.id}
input: { type: object, required: [id] }
steps:
  sleep: { wait: { for: 300ms } }
  one:
    after: [sleep]
    worker: shop
    action: one
    compensation: { action: undo_one, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 4, initial: 100ms, max: 1s }
    timeout: 1s
  two:
    after: [one]
    worker: shop
    action: two
    compensation: { action: undo_two, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 4, initial: 100ms, max: 1s }
    timeout: 1s
"#,
    r#"
saga: mother
description: Children from the first step on, one an item, a step of its own beside them, and a way back.
key: ${input.id}
deadline: 40s
input: { type: object, required: [id, items] }
steps:
  eldest: { saga: undo, input: { id: "${input.id}-eldest" } }
  own:
    after: [eldest]
    worker: shop
    action: own
    compensation: { action: undo_own, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 4, initial: 100ms, max: 1s }
    timeout: 1s
  others:
    after: [eldest]
    foreach: ${input.items}
    saga: undo
    input: { id: "${input.id}-${item}" }
  end:
    after: [own, others]
    worker: shop
    action: end
    compensation: { action: undo_end, retry: { attempts: 1000, initial: 100ms, max: 2s, budget: 72h }, timeout: 2s }
    input: { id: "${input.id}" }
    retry: { attempts: 4, initial: 100ms, max: 1s }
    timeout: 1s
"#,
];

/// What came of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Sagas by status, as the table spells it.
    pub sagas: BTreeMap<i16, u64>,
    /// Batches that were committed, and those of them that a fence kept out of a shard.
    pub commits: (u64, u64),
    /// A hash of everything that was committed, in order: the same seed gives the same.
    pub trace: u64,
    /// What does not hold, in words; empty when all is well.
    pub broken: Vec<String>,
}

/// What came of many.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// Sagas by status.
    pub sagas: BTreeMap<i16, u64>,
    /// Batches, and those that a fence kept out of a shard.
    pub commits: (u64, u64),
    /// The seeds after which something did not hold.
    pub failed: Vec<Outcome>,
}

/// Runs the world of one seed.
///
/// # Panics
/// When the runtime cannot be made.
pub fn run(seed: u64) -> Outcome {
    run_with(seed, &definitions())
}

fn definitions() -> Arc<Definitions> {
    let definitions = Definitions::default();
    for (id, source) in (1..).zip(DEFINITIONS) {
        definitions.keep(id, source).expect("the simulator's definitions are right");
    }
    Arc::new(definitions)
}

fn run_with(seed: u64, definitions: &Arc<Definitions>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let end = runtime.expect("a runtime without IO can be made").block_on(async {
        clock::simulate(seed);
        let end = world::run(seed, Arc::clone(definitions)).await;
        clock::stop_simulating();
        end
    });
    Outcome { seed, sagas: end.sagas, commits: end.commits, trace: end.trace, broken: end.broken }
}

/// Runs `count` seeds from `first` on, on as many threads as there are cores; `saw` hears of each, with what there was so
/// far, and `stop_at` ends it after so many that failed.
///
/// # Panics
/// When a thread does.
pub fn run_many(first: u64, count: u64, stop_at: usize, saw: impl Fn(&Summary, &Outcome) + Sync) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (next, stop, summary) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Summary::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let definitions = definitions();
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let outcome = run_with(first.wrapping_add(n), &definitions);
                    let mut summary = summary.lock();
                    summary.seeds += 1;
                    summary.commits.0 += outcome.commits.0;
                    summary.commits.1 += outcome.commits.1;
                    for (status, sagas) in &outcome.sagas {
                        *summary.sagas.entry(*status).or_default() += sagas;
                    }
                    saw(&summary, &outcome);
                    if !outcome.broken.is_empty() {
                        summary.failed.push(outcome);
                        stop.store(summary.failed.len() >= stop_at, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    summary.into_inner()
}
