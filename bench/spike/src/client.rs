//! The load: that of `bench`, in its words, and the spike's books afterwards.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::cost::Stack;
use bench::measure::Series;
use bench::run::Workload;

use crate::{books, variable};

/// How long the engine may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Puts the load on, and fails when the books do not balance.
pub(crate) async fn run(series: &Series) -> anyhow::Result<()> {
    bench::install_tls();
    let api_url = variable("AMENDS_URL")?;
    let stack = Stack {
        dir: variable("AMENDS_DIR")?.into(),
        // It has started everything else as well.
        pid: i32::try_from(std::os::unix::process::parent_id())?,
        engine_url: variable("AMENDS_DATABASE_URL")?,
    };
    let client = reqwest::Client::builder().pool_max_idle_per_host(4_096).build()?;
    let until = Instant::now() + START_TIMEOUT;
    while let Err(error) = client.get(format!("{api_url}/ready")).send().await {
        anyhow::ensure!(Instant::now() < until, "the engine does not answer: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let measured = series.measure(&client, &api_url, Workload::CheckoutBare, &stack, async || Ok(())).await?;
    let report = bench::books::settled(async || books::verify(&measured).await).await;
    measured.conclude(series.json, &report.context("the books")?)
}
