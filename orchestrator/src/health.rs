//! How the engine is, for probes and for backpressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use saga_core::Millis;

use crate::clock;

/// A lane that has not come round for this long is reported.
const LANE_SILENT: Duration = Duration::from_secs(30);
/// The exit code of a process whose lane hangs: `EX_SOFTWARE` of sysexits.h.
pub const LANE_HANGS: i32 = 70;
/// Starts are refused while the oldest unpublished command is older than this, in ms.
const OUTBOX_AGE_MAX_MS: i64 = 30_000;
/// Not ready while no sweep has succeeded for this long, in ms: timeouts and mail wait for it.
const SWEEP_AGE_MAX_MS: i64 = 30_000;

/// Gauges that the lane writes and others read.
#[derive(Debug)]
pub struct Health {
    /// What `lane_seen_ms` counts from. A clock that cannot be moved: a machine's clock that was set says nothing
    /// about the lane.
    began: Instant,
    /// When the lane came round last, in ms since `began`; 0 before it has started.
    lane_seen_ms: AtomicU64,
    outbox_oldest_ms: AtomicI64,
    /// When the last sweep began that succeeded; 0 before the first one was tried.
    swept_ms: AtomicI64,
    shards: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            lane_seen_ms: AtomicU64::new(0),
            outbox_oldest_ms: AtomicI64::new(0),
            swept_ms: AtomicI64::new(0),
            shards: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// Since when this is kept, in ms; never 0.
    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn lane_came_round(&self, shards: usize) {
        self.lane_seen_ms.store(self.age_ms(), Ordering::Relaxed);
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
        let silent = self.lane_silent();
        if silent > LANE_SILENT {
            return Err(format!("the lane has been silent for {} s", silent.as_secs()));
        }
        Ok(())
    }

    /// For how long the lane has not come round; nothing before it has started.
    fn lane_silent(&self) -> Duration {
        match self.lane_seen_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            seen_ms => Duration::from_millis(self.age_ms().saturating_sub(seen_ms)),
        }
    }

    /// Ends the process when the lane hangs for `longest`. A process whose lane hangs keeps its shards: Kafka's
    /// client answers for it from a thread of its own. Dead, it gives them up, and another one takes over within a
    /// session. A thread of the system's: the runtime may be what hangs.
    pub fn watch(self: &Arc<Self>, longest: Duration) {
        let health = Arc::downgrade(self);
        let watch = move || {
            while let Some(health) = health.upgrade() {
                let silent = health.lane_silent();
                if silent > longest {
                    tracing::error!(
                        silent_s = silent.as_secs(),
                        "the lane hangs; this process ends, so that others take its shards"
                    );
                    std::process::exit(LANE_HANGS);
                }
                drop(health);
                std::thread::sleep(Duration::from_millis(500));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("watchdog".into()).spawn(watch) {
            tracing::error!(%error, "there is no watchdog: the thread could not be started");
        }
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
