//! Processes that die at named places, on the real stack and under load: a few of the failpoints, others each time,
//! which is what a test has time for. `make faults` goes through all of them, again and again.

#![allow(clippy::unwrap_used)]

use faults::{Shop, failpoints, one_at_a_time};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Failpoints of one run.
const PLACES: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_a_failpoint_loses_nothing() {
    let _turn = one_at_a_time().await;
    let mut shop = Shop::open(env!("CARGO_BIN_EXE_amends"), "failpoints").await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut names: Vec<&str> = failpoint::ALL.iter().map(|it| it.name).collect();
    while names.len() > PLACES {
        names.swap_remove(random.random_range(0..names.len()));
    }
    let mut seen = Vec::new();
    failpoints::kill(
        &mut shop,
        1,
        8,
        seed,
        |it| names.contains(&it.name),
        |deaths| {
            println!("{} {}: {:.1?}", deaths.failpoint, deaths.process, deaths.at(1.0));
            seen.push(deaths.failpoint);
        },
    )
    .await;
    seen.sort_unstable();
    names.sort_unstable();
    assert_eq!(seen, names);
}
