//! The one place where the engine reads the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use saga_core::Millis;

static NEWEST: AtomicI64 = AtomicI64::new(0);

/// Now, in ms since 1970 UTC. Never goes back within the process: a saga's events must not either.
pub fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    Millis(NEWEST.fetch_max(now, Ordering::Relaxed).max(now))
}
