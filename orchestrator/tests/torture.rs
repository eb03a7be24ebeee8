//! The engine in simulated worlds; `amends torture` looks for more. What a seed finds gets a test of its own: the world
//! of a seed is another one as soon as the engine takes another way, and reaches what it had found no more.

use amends::torture::{self, Outcome, Summary};

/// Worlds of one run. The same each time: a change is judged by what it breaks, not by the dice.
const WORLDS: u64 = 500;

fn say(_: &Summary, outcome: &Outcome) {
    if outcome.broken.is_empty() {
        return;
    }
    eprintln!("seed {}: amends torture --from {} --seeds 1", outcome.seed, outcome.seed);
    outcome.broken.iter().for_each(|it| eprintln!("  {it}"));
}

#[test]
fn what_is_accepted_ends_once_whatever_happens() {
    let summary = torture::run_many(0, WORLDS, 3, say);
    assert!(summary.failed.is_empty(), "{} worlds failed", summary.failed.len());
    assert_eq!(summary.seeds, WORLDS);
    // The storm has raged: sagas of both ends, and owners who came too late.
    assert!(summary.sagas[&2] > WORLDS && summary.sagas[&3] > WORLDS, "{:?}", summary.sagas);
    assert!(summary.commits.1 > WORLDS / 100, "{:?}", summary.commits);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..10 {
        assert_eq!(torture::run(seed), torture::run(seed), "seed {seed}");
    }
}
