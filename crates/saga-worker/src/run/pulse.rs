//! What a worker does now, for its announcements: how much it answered lately, and how its circuit breakers stand.
//!
//! Counts and looks only; it must not slow a command.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use saga_protocol::BreakerInfo;

use super::breaker::Breaker;

const MINUTE_MS: i64 = 60_000;

/// Of one run of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    answered: AtomicU64,
    /// The count at each look of the last minute, and at the one before.
    looks: Mutex<VecDeque<(i64, u64)>>,
    breakers: Mutex<Vec<Arc<Breaker>>>,
}

impl Pulse {
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Commands answered in the minute before, or since the beginning.
    pub(crate) fn per_minute(&self, now_ms: i64) -> u64 {
        let total = self.answered.load(Ordering::Relaxed);
        let mut looks = self.looks.lock();
        looks.push_back((now_ms, total));
        while looks.get(1).is_some_and(|(at_ms, _)| *at_ms <= now_ms - MINUTE_MS) {
            looks.pop_front();
        }
        // What came before the first look came since the beginning.
        let (at_ms, before) = looks.front().copied().unwrap_or_default();
        if at_ms > now_ms - MINUTE_MS { total } else { total - before }
    }

    /// Keeps an eye on a breaker. A lane that begins anew has a new one in its place.
    pub(crate) fn watch(&self, breaker: Arc<Breaker>) {
        let mut all = self.breakers.lock();
        all.retain(|it| !it.is_of(&breaker));
        all.push(breaker);
    }

    pub(crate) fn breakers(&self) -> Vec<BreakerInfo> {
        let mut all: Vec<_> = self.breakers.lock().iter().map(|it| it.info()).collect();
        all.sort_by(|a, b| a.action.cmp(&b.action));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_counted_from_its_beginning() {
        let pulse = Pulse::default();
        pulse.answered();
        assert_eq!(pulse.per_minute(0), 1);
        pulse.answered();
        assert_eq!(pulse.per_minute(5_000), 2, "younger than a minute: all of it");
        pulse.answered();
        assert_eq!(pulse.per_minute(60_000), 2, "since the first look");
        assert_eq!(pulse.per_minute(65_000), 1);
        assert_eq!(pulse.per_minute(500_000), 0);
    }
}
