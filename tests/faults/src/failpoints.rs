//! Processes that die at named places under load, and how long it takes until orders come through again.

use std::time::{Duration, Instant};

use failpoint::{ALL, Failpoint};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::shop::Shop;
use crate::traffic::{Traffic, probe};

/// The process that dies comes by its failpoint so often at most.
const TIMES_MAX: u32 = 40;

/// What was tried, and what was seen.
#[derive(Debug)]
pub struct Deaths {
    /// The failpoint.
    pub failpoint: &'static str,
    /// The process that died.
    pub process: String,
    /// From each death until an order that was placed at that instant had ended, restart included; sorted.
    pub recoveries: Vec<Duration>,
}

impl Deaths {
    /// The recovery time that this share of them did not exceed.
    pub fn at(&self, share: f64) -> Duration {
        percentile(&self.recoveries, share)
    }
}

/// The value that this share of sorted ones does not exceed.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).ceil() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// The processes that come by a failpoint.
fn victims(failpoint: &Failpoint) -> &'static [&'static str] {
    match failpoint.process {
        "orchestrator" => &["orchestrator"],
        "payment" => &["payment"],
        _ => &["order", "stock", "notify"],
    }
}

/// Lets processes die `times` times at each of the failpoints that `wanted` picks; `saw` hears of each of them.
/// Afterwards nothing runs, and the books balance.
///
/// # Panics
/// When they do not, or when a process does not die.
pub async fn kill(
    shop: &mut Shop,
    times: u32,
    in_flight: usize,
    seed: u64,
    wanted: impl Fn(&Failpoint) -> bool,
    mut saw: impl FnMut(&Deaths),
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut load = shop.load(0, in_flight);
    load.patience = Duration::from_secs(180);
    load.stem = "traffic".into();
    let traffic = Traffic::start(load.clone());
    traffic.more(20).await;
    load.stem = "probes".into();
    let mut probes = 0;
    for failpoint in ALL.iter().filter(|it| wanted(it)) {
        let mut deaths: Vec<Deaths> = victims(failpoint)
            .iter()
            .map(|it| Deaths { failpoint: failpoint.name, process: (*it).to_owned(), recoveries: Vec::new() })
            .collect();
        let kinds = deaths.len();
        for turn in 0..times as usize {
            let deaths = &mut deaths[turn % kinds];
            // Claims happen once, when the process begins.
            let limit = if failpoint.name.starts_with("lane.claim") { 1 } else { TIMES_MAX };
            let nth = random.random_range(1..=limit);
            shop.stop(&deaths.process).await;
            shop.start_armed(&deaths.process, failpoint.name, nth);
            let status = shop.dies(&deaths.process).await;
            let died = Instant::now();
            assert!(
                !status.success(),
                "{} ended at {} as if it were asked to",
                deaths.process,
                failpoint.name
            );
            let process = deaths.process.clone();
            // Placed at the instant of the death, not when the process is back.
            let number = probes;
            probes += 1;
            let placed = load.clone();
            let probing = tokio::spawn(async move { probe(&placed, number).await });
            shop.start_again(&process).await;
            probing.await.expect("a probe ends");
            deaths.recoveries.push(died.elapsed());
        }
        for mut it in deaths {
            it.recoveries.sort_unstable();
            if !it.recoveries.is_empty() {
                saw(&it);
            }
        }
    }
    let orders = traffic.stop().await + probes;
    shop.everything_ends().await;
    let report = shop.balance().await;
    let sagas: i64 = report.sagas.values().sum();
    assert_eq!(
        sagas,
        i64::try_from(orders).expect("a number of orders"),
        "an order a saga: {:?}",
        report.sagas
    );
}
