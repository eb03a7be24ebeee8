//! Processes that die at each named place, on the real stack and under load: each failpoint once, which is what a
//! test has time for. `make faults` kills each of them again and again.

#![allow(clippy::unwrap_used)]

use faults::{Shop, failpoints, one_at_a_time};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_of_the_failpoints_loses_nothing() {
    let _turn = one_at_a_time().await;
    let mut shop = Shop::open(env!("CARGO_BIN_EXE_amends"), "failpoints").await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut seen = 0;
    failpoints::kill(
        &mut shop,
        1,
        8,
        seed,
        |_| true,
        |deaths| {
            println!("{} {}: {:.1?}", deaths.failpoint, deaths.process, deaths.at(1.0));
            seen += 1;
        },
    )
    .await;
    assert_eq!(seen, failpoint::ALL.len());
}
