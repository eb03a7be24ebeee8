//! How many calls of an action may begin in a second: a bucket of tokens that fills with time.
//!
//! Owns the bucket. Who waits for a token, and in what order, is the lane's affair.

use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A bucket of tokens. It holds what a tenth of a second brings, and one at least, so that no second sees more than its
/// rate and a tenth.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    most: f64,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let per_second = f64::from(per_second.get());
        let most = (per_second / 10.0).max(1.0);
        Self { per_second, most, level: Mutex::new(Level { tokens: most, at: Instant::now() }) }
    }

    fn fill(&self, now: Instant) -> parking_lot::MutexGuard<'_, Level> {
        let mut level = self.level.lock();
        let passed_s = now.saturating_duration_since(level.at).as_secs_f64();
        level.tokens = passed_s.mul_add(self.per_second, level.tokens).min(self.most);
        level.at = now;
        level
    }

    /// How many calls may begin now.
    pub(crate) fn available(&self) -> usize {
        // Few and not negative: nothing is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = self.fill(Instant::now()).tokens as usize;
        whole
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&self) -> bool {
        let mut level = self.fill(Instant::now());
        let there = level.tokens >= 1.0;
        if there {
            level.tokens -= 1.0;
        }
        there
    }

    /// When there will be a token.
    pub(crate) fn next(&self) -> Instant {
        let now = Instant::now();
        let missing = (1.0 - self.fill(now).tokens).max(0.0);
        // A little more than exactly: a token that is short of a hair is none.
        now + Duration::from_secs_f64(missing / self.per_second) + Duration::from_micros(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_brings_its_rate_and_no_more() {
        let rate = Rate::new(NonZeroU32::new(50).expect("not 0"));
        let mut taken = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            if rate.take() {
                taken += 1;
            } else {
                assert_eq!(rate.available(), 0);
                tokio::time::sleep_until(rate.next()).await;
                assert_eq!(rate.available(), 1);
            }
        }
        assert!((195..=205).contains(&taken), "{taken} in four seconds");
        // What was not used is not saved up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(rate.available(), 5);
    }
}
