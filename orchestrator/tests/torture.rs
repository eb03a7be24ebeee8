//! The engine in simulated worlds. A seed that fails is to be kept here as a test of its own, with what it has found.

use amends::torture;

/// Worlds of one run.
const WORLDS: u64 = 500;

#[test]
fn what_is_accepted_ends_once_whatever_happens() {
    // Others each time: what they find is reproduced by their seed.
    let first = u64::from(rand::random::<u32>());
    let summary = torture::run_many(first, WORLDS, 3, |outcome| {
        eprintln!("seed {}: amends torture --from {} --seeds 1", outcome.seed, outcome.seed);
        outcome.broken.iter().for_each(|it| eprintln!("  {it}"));
    });
    assert!(summary.failed.is_empty(), "{} worlds from seed {first} failed", summary.failed.len());
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
