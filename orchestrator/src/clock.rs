//! The one place where the engine reads the clock and throws dice. In a simulation both are the seed's.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
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

/// A clock that was set back by less waits until it has caught up, in ms.
const STANDS_STILL_MS: i64 = 1_000;

/// Time since the machine's clock was set back, by a clock that cannot be.
struct Slewed {
    at: std::time::Instant,
    newest_ms: i64,
}

static SLEWED: Mutex<Option<Slewed>> = Mutex::new(None);

/// Now, in ms since 1970 UTC. Never goes back within the process: a saga's events must not either. When the machine's
/// clock is set back, time goes on at half its pace until the machine has caught up, so that timers still fire.
pub fn now() -> Millis {
    if let Some(now) =
        simulated(|it| BEGINNING_MS + i64::try_from(it.began.elapsed().as_millis()).unwrap_or(0))
    {
        return Millis(now);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let newest = NEWEST.fetch_max(now, Ordering::Relaxed);
    if newest - now < STANDS_STILL_MS {
        return Millis(newest.max(now));
    }
    let mut slewed = SLEWED.lock();
    let newest = slew(&mut slewed, NEWEST.load(Ordering::Relaxed), std::time::Instant::now());
    NEWEST.fetch_max(newest, Ordering::Relaxed);
    Millis(newest)
}

/// How far this process's time is ahead of the machine's clock, in ms: it was set back.
pub fn ahead_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    (NEWEST.load(Ordering::Relaxed) - i64::try_from(now).unwrap_or(i64::MAX)).max(0)
}

/// Lets time go on at half its pace since the last call, and says when it is.
fn slew(slewed: &mut Option<Slewed>, newest_ms: i64, at: std::time::Instant) -> i64 {
    // Another value than was left here: the machine's clock has moved on its own since then.
    let since = slewed.as_ref().filter(|it| it.newest_ms == newest_ms).map_or(at, |it| it.at);
    let steps = i64::try_from(at.saturating_duration_since(since).as_millis() / 2).unwrap_or(0);
    let newest_ms = newest_ms + steps;
    // The odd millisecond counts the next time.
    let at = since + std::time::Duration::from_millis(u64::try_from(steps).unwrap_or(0) * 2);
    *slewed = Some(Slewed { at, newest_ms });
    newest_ms
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_on_at_half_its_pace_after_the_clock_was_set_back() {
        let began = std::time::Instant::now();
        let mut slewed = None;
        assert_eq!(slew(&mut slewed, 5_000, began), 5_000);
        assert_eq!(slew(&mut slewed, 5_000, began + Duration::from_millis(1_001)), 5_500);
        assert_eq!(slew(&mut slewed, 5_500, began + Duration::from_millis(1_002)), 5_501);
        // Meanwhile the machine's clock has moved on by itself: what was counted before is void.
        let later = began + Duration::from_secs(60);
        assert_eq!(slew(&mut slewed, 9_000, later), 9_000);
        assert_eq!(slew(&mut slewed, 9_000, later + Duration::from_secs(2)), 10_000);
    }
}
