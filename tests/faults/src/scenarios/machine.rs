//! Faults of the machines: brokers, disks, clocks, and a process that stands still.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bench::load::Load;
use test_support::eventually;

use super::Notes;
use crate::servers::{Brokers, SmallDisk};
use crate::shop::{Shop, WORKERS};
use crate::traffic::{Traffic, probe};

/// The exit code of a process whose lane hangs.
const LANE_HANGS: i32 = 70;

pub(super) async fn lane_hangs(shop: &mut Shop, traffic: &Traffic) -> Notes {
    let places = ["lane.commit", "lane.committed", "lane.published"];
    for place in places {
        shop.kill("orchestrator");
        shop.start_hanging("orchestrator", place, 20, 3);
        let status = shop.dies("orchestrator").await;
        assert_eq!(status.code(), Some(LANE_HANGS), "hanging at {place} it ends by itself");
        shop.start_again("orchestrator").await;
        traffic.more(30).await;
    }
    format!("{} times a lane hung, and its process ended by itself", places.len()).into()
}

/// The library that gives a process another clock.
pub(super) fn fake_clock() -> anyhow::Result<PathBuf> {
    std::fs::read_dir("/usr/lib")?
        .flatten()
        .map(|it| it.path().join("faketime/libfaketime.so.1"))
        .find(|it| it.exists())
        .context("libfaketime is not here: deploy/install test brings it")
}

/// An hour, in s: longer than the deadline of the definition.
const AN_HOUR_S: i64 = 3_600;

pub(super) async fn clock_moved(shop: &Shop, traffic: &Traffic) -> Notes {
    for name in ["orchestrator"].iter().chain(&WORKERS) {
        shop.set_clock(name, AN_HOUR_S);
        traffic.more(30).await;
        shop.set_clock(name, 0);
        traffic.more(30).await;
        if *name == "orchestrator" {
            let ahead = shop.metric(name, "amends_clock_ahead_seconds").await;
            assert!(ahead > 3_000.0, "the metric tells that the clock was set back: {ahead}");
        }
    }
    "an hour ahead and set back: the engine, then each worker".to_owned().into()
}

pub(super) async fn one_of_three(traffic: &Traffic, brokers: Option<&Brokers>) -> Notes {
    let brokers = brokers.expect("they were started");
    for node in 1..=3 {
        brokers.kill(node);
        traffic.more(40).await;
        brokers.start(node);
        traffic.more(20).await;
    }
    "orders came through while each of the three was dead".to_owned().into()
}

pub(super) async fn disk_full(
    shop: &Shop,
    load: &Load,
    traffic: &Traffic,
    disk: Option<&SmallDisk>,
) -> Notes {
    let disk = disk.expect("it was mounted");
    disk.fill();
    if disk.service == "postgres" {
        // Recycled files of the log would last for long.
        let admin = shop.pool("engine").await;
        eventually("Postgres dies of its full disk", 120_000, async || {
            let switched = sqlx::query("select pg_switch_wal(), txid_current()").execute(&admin).await;
            switched.is_err_and(|error| !matches!(error, sqlx::Error::Database(_)))
        })
        .await;
    }
    eventually("the engine says that it is not ready", 120_000, async || !shop.is_ready().await).await;
    // As long as somebody needs to notice.
    tokio::time::sleep(Duration::from_secs(5)).await;
    disk.make_room();
    let mut load = load.clone();
    load.stem = "probes".into();
    let took = probe(&load, 0).await;
    traffic.more(50).await;
    Notes { text: format!("with room again, an order came through after {took:.1?}"), probes: 1 }
}
