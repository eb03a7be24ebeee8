//! How the engine is, for probes and for backpressure.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use saga_core::Millis;

use crate::clock;

/// A lane that has not come round for this long hangs, in ms.
const LANE_SILENT_MS: i64 = 60_000;
/// Starts are refused while the oldest unpublished command is older than this, in ms.
const OUTBOX_AGE_MAX_MS: i64 = 30_000;
/// Not ready while no sweep has succeeded for this long, in ms: timeouts and mail wait for it.
const SWEEP_AGE_MAX_MS: i64 = 30_000;

/// Gauges that the lane writes and others read.
#[derive(Debug, Default)]
pub struct Health {
    lane_seen_ms: AtomicI64,
    outbox_oldest_ms: AtomicI64,
    /// When the last sweep began that succeeded; 0 before the first one was tried.
    swept_ms: AtomicI64,
    shards: AtomicU64,
}

impl Health {
    pub(crate) fn lane_came_round(&self, shards: usize) {
        self.lane_seen_ms.store(clock::now().0, Ordering::Relaxed);
        self.shards.store(shards as u64, Ordering::Relaxed);
    }

    pub(crate) fn outbox_oldest(&self, age_ms: i64) {
        self.outbox_oldest_ms.store(age_ms, Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("amends_outbox_oldest_seconds").set(age_ms as f64 / 1_000.0);
    }

    /// A sweep was tried, which began at `at`.
    pub(crate) fn swept(&self, at: Millis, succeeded: bool) {
        // Before the first one, the age counts from its try.
        let _ = self.swept_ms.compare_exchange(0, at.0, Ordering::Relaxed, Ordering::Relaxed);
        if succeeded {
            self.swept_ms.store(at.0, Ordering::Relaxed);
        }
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("amends_sweep_age_seconds").set(self.sweep_age_ms() as f64 / 1_000.0);
    }

    fn sweep_age_ms(&self) -> i64 {
        match self.swept_ms.load(Ordering::Relaxed) {
            0 => 0,
            swept => clock::now() - Millis(swept),
        }
    }

    /// How many shards this process owns.
    pub fn shards(&self) -> u64 {
        self.shards.load(Ordering::Relaxed)
    }

    /// Whether commands leave in time; a durable start that waits helps nobody.
    pub fn accepts_starts(&self) -> bool {
        self.outbox_oldest_ms.load(Ordering::Relaxed) < OUTBOX_AGE_MAX_MS
    }

    /// Whether the lane comes round.
    ///
    /// # Errors
    /// In words, when it does not.
    pub fn live(&self) -> Result<(), String> {
        let seen = Millis(self.lane_seen_ms.load(Ordering::Relaxed));
        let silent_ms = clock::now() - seen;
        if seen.0 != 0 && silent_ms > LANE_SILENT_MS {
            return Err(format!("the lane has been silent for {} s", silent_ms / 1_000));
        }
        Ok(())
    }

    /// Whether starts can be taken.
    ///
    /// # Errors
    /// In words, when they cannot.
    pub fn ready(&self) -> Result<(), String> {
        self.live()?;
        if self.lane_seen_ms.load(Ordering::Relaxed) == 0 {
            return Err("the lane has not started yet".into());
        }
        if !self.accepts_starts() {
            return Err("commands cannot be published; is Kafka reachable?".into());
        }
        let age_ms = self.sweep_age_ms();
        if age_ms > SWEEP_AGE_MAX_MS {
            return Err(format!(
                "no sweep has succeeded for {} s, timeouts and mail wait for it; is Postgres reachable?",
                age_ms / 1_000
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_swept_for_long_is_not_ready() {
        let health = Health::default();
        health.lane_came_round(1);
        assert_eq!(health.ready(), Ok(()), "nothing was tried yet");
        let long_ago = Millis(clock::now().0 - SWEEP_AGE_MAX_MS - 1_000);
        health.swept(long_ago, false);
        assert!(health.ready().is_err_and(|why| why.contains("no sweep has succeeded")));
        health.swept(clock::now(), false);
        assert!(health.ready().is_err(), "another failure changes nothing");
        health.swept(clock::now(), true);
        assert_eq!(health.ready(), Ok(()));
    }
}
