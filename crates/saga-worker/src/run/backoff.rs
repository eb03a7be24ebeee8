//! Waiting between tries of what must succeed in the end.

use std::time::Duration;

use rand::Rng;

/// Exponential, with jitter, from 20 ms to 5 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Waits a little longer than the last time.
    pub(crate) async fn wait(&mut self) {
        let cap_ms = (20_u64 << self.tries.min(8)).min(5_000);
        self.tries += 1;
        let wait_ms = rand::rng().random_range(cap_ms / 2..=cap_ms);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}
