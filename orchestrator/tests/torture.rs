//! The engine in simulated worlds. A seed that once failed stands in `KEPT`, with what it had found; `amends torture`
//! looks for more.

use amends::torture::{self, Outcome};

/// Seeds that have found something, each with how many definitions its world had:
/// - 4049719965: a saga of another node, whose first command and `started` record got lost, was never looked at again.
///   (The engine has changed since, and with it what the world of this seed comes by.)
const KEPT: [(u64, usize); 1] = [(4_049_719_965, 3)];
/// Worlds of one run. The same each time: a change is judged by what it breaks, not by the dice.
const WORLDS: u64 = 500;

fn say(outcome: &Outcome) {
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
fn seeds_that_have_found_something_do_so_no_more() {
    for (seed, definitions) in KEPT {
        let outcome = torture::run_among(seed, definitions);
        assert!(outcome.broken.is_empty(), "seed {seed}: {:#?}", outcome.broken);
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..10 {
        assert_eq!(torture::run(seed), torture::run(seed), "seed {seed}");
    }
}
