//! How the engine is, for probes and for backpressure.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use saga_core::Millis;

use crate::clock;

/// A lane that has not come round for this long hangs, in ms.
const LANE_SILENT_MS: i64 = 60_000;
/// Starts are refused while the oldest unpublished command is older than this, in ms.
const OUTBOX_AGE_MAX_MS: i64 = 30_000;

/// Gauges that the lane writes and others read.
#[derive(Debug, Default)]
pub struct Health {
    lane_seen_ms: AtomicI64,
    outbox_oldest_ms: AtomicI64,
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
        Ok(())
    }
}
