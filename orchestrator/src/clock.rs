//! The one place where the engine reads the clock and throws dice. In a simulation both are the seed's.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use saga_core::Millis;
use tokio::time::Instant;
use uuid::Uuid;

static NEWEST: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// Time and chance of a simulation, which runs on one thread.
struct Simulated {
    began: Instant,
    random: StdRng,
}

/// When every simulation begins, in ms since 1970 UTC.
const BEGINNING_MS: i64 = 1_800_000_000_000;

/// Now, in ms since 1970 UTC. Never goes back within the process: a saga's events must not either.
pub fn now() -> Millis {
    if let Some(now) =
        simulated(|it| BEGINNING_MS + i64::try_from(it.began.elapsed().as_millis()).unwrap_or(0))
    {
        return Millis(now);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    Millis(NEWEST.fetch_max(now, Ordering::Relaxed).max(now))
}

/// A random number: an event's seed.
pub(crate) fn random() -> u32 {
    simulated(|it| it.random.random()).unwrap_or_else(rand::random)
}

/// A new id, a UUIDv7.
pub(crate) fn fresh_id() -> Uuid {
    let now = now();
    let made = simulated(|it| {
        let ms = u64::try_from(now.0).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &it.random.random()).into_uuid()
    });
    made.unwrap_or_else(Uuid::now_v7)
}

fn simulated<T>(ask: impl FnOnce(&mut Simulated) -> T) -> Option<T> {
    SIMULATED.with_borrow_mut(|it| it.as_mut().map(ask))
}

/// From now on, time and chance of this thread are simulated: the runtime's paused clock, and this seed.
pub(crate) fn simulate(seed: u64) {
    let simulated = Simulated { began: Instant::now(), random: StdRng::seed_from_u64(seed) };
    SIMULATED.with_borrow_mut(|it| *it = Some(simulated));
}

/// They are real again.
pub(crate) fn stop_simulating() {
    SIMULATED.with_borrow_mut(|it| *it = None);
}
