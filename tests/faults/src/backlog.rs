//! A worker that is down for long: very many sagas in flight at once, what the engine needs for them, and how soon another
//! owner has taken them over.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::load::place;
use test_support::eventually;

use crate::shop::Shop;

/// What the orchestrator may need at the most, in bytes.
const MEMORY_MAX: u64 = 512 << 20;
const IN_FLIGHT: usize = 64;

/// Starts so many sagas while the payment worker is down, and lets them end.
///
/// # Errors
/// When the definition or a process's memory cannot be read.
///
/// # Panics
/// When a saga is lost, the orchestrator needs too much memory, or the books do not balance.
pub async fn run(shop: &mut Shop, sagas: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let tell = |what: String| println!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../saga-defs/order-checkout.yaml");
    let checkout = std::fs::read_to_string(source)?;
    anyhow::ensure!(checkout.contains("deadline: 10m"), "{source} has another deadline");
    shop.publish(&checkout.replace("deadline: 10m", "deadline: 24h"));
    shop.kill("payment");
    let placed = place(&shop.load(sagas, IN_FLIGHT)).await;
    assert_eq!((placed.acknowledged.len() as u64, placed.refused.len()), (sagas, 0), "every order is taken");
    tell(format!(
        "{sagas} sagas in flight, the payment worker is down; {} requests were repeated",
        placed.repeats
    ));
    // A millisecond for each on a machine that does other things as well, and then some.
    let patience_ms = 180_000 + 100 * sagas;
    eventually("every payment is asked for", patience_ms, async || {
        shop.count("select count(*) from outbox").await == 0
    })
    .await;
    let peak = memory_peak(shop)?;
    tell(format!("every payment is asked for; the orchestrator has needed {} MB at the most", peak >> 20));
    assert!(peak <= MEMORY_MAX, "{peak} bytes of memory");

    let died = Instant::now();
    shop.kill("orchestrator");
    shop.start_again("orchestrator").await;
    shop.owners_are(&["orchestrator"]).await;
    eventually("it owns what it has claimed", 300_000, async || shop.is_ready().await).await;
    tell(format!(
        "killed, started again, and the owner of all of them after {:.1} s",
        died.elapsed().as_secs_f64()
    ));

    shop.start_again("payment").await;
    let mut told = Instant::now();
    eventually("every saga has ended", patience_ms, async || {
        let left = shop.count("select count(*) from saga where status in (0, 1)").await;
        if told.elapsed() > Duration::from_secs(20) {
            tell(format!("{left} are left"));
            told = Instant::now();
        }
        left == 0
    })
    .await;
    let peak = memory_peak(shop)?;
    tell(format!(
        "the worker is back, and all have ended; the new orchestrator has needed {} MB at the most",
        peak >> 20
    ));
    assert!(peak <= MEMORY_MAX, "{peak} bytes of memory");
    shop.everything_ends().await;
    shop.books_balance(sagas).await;
    tell("the books balance".to_owned());
    Ok(())
}

/// The most memory that the orchestrator's process has held, in bytes (`VmHWM` of proc(5)).
fn memory_peak(shop: &Shop) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", shop.pid("orchestrator")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kb: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kb << 10)
}
