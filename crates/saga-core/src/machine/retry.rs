//! How long to wait before the next try, and when no try is left.
//!
//! Owns backoff, jitter and budget as pure arithmetic. It must not touch a state.

use crate::definition::RetryPolicy;
use crate::state::{CellRef, Track};
use crate::time::Millis;

/// A number that looks random and follows from the event's seed alone; different for each track and attempt, so
/// that steps that fail together do not come back together.
pub(super) fn random(seed: u32, at: CellRef, attempt: u32) -> u64 {
    let place = (u64::from(at.step.0) << 33)
        | (u64::from(at.item.map_or(0, |item| item + 1)) << 1)
        | u64::from(at.direction.letter() == 'c');
    mix(mix(u64::from(seed) << 32 | u64::from(attempt)) ^ place)
}

/// SplitMix64's output function.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The pause before try `nth + 1`: exponential, capped, with full jitter (anything from nothing to the whole).
pub(super) fn backoff_ms(policy: &RetryPolicy, nth: u32, random: u64) -> i64 {
    let doubled = 1i64.checked_shl(nth.saturating_sub(1)).filter(|&factor| factor > 0);
    let whole = doubled.and_then(|factor| policy.initial_ms.checked_mul(factor)).unwrap_or(i64::MAX);
    let whole = whole.clamp(0, policy.cap_ms.max(0));
    let range = u128::from(whole.unsigned_abs()) + 1;
    i64::try_from((u128::from(random) * range) >> 64).unwrap_or(whole)
}

/// Whether a track may not be tried again at `next`.
pub(super) fn is_spent(policy: &RetryPolicy, track: &Track, next: Millis) -> bool {
    let since = track.budget_from.or(track.first_sent_at).unwrap_or(next);
    track.charged >= policy.attempts_max || policy.budget_ms.is_some_and(|budget_ms| next - since > budget_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::StepIx;
    use saga_protocol::Direction;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts_max: 5, initial_ms: 200, cap_ms: 10_000, budget_ms: None };

    #[test]
    fn a_pause_doubles_up_to_the_cap() {
        let longest: Vec<i64> = (1..=8).map(|nth| backoff_ms(&POLICY, nth, u64::MAX)).collect();
        assert_eq!(longest, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(backoff_ms(&POLICY, 4_000_000_000, u64::MAX), 10_000);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(backoff_ms(&POLICY, 3, 0), 0);
        let at = CellRef { step: StepIx(0), item: None, direction: Direction::Execute };
        let pauses: Vec<i64> = (0..2_000).map(|seed| backoff_ms(&POLICY, 3, random(seed, at, 3))).collect();
        assert!(pauses.iter().all(|pause| (0..=800).contains(pause)));
        for eighth in 0..8 {
            let within =
                pauses.iter().filter(|&&pause| (eighth * 100..(eighth + 1) * 100).contains(&pause)).count();
            assert!((150..=350).contains(&within), "{within} of 2000 pauses in the {eighth}. eighth");
        }
    }

    #[test]
    fn tracks_that_fail_together_do_not_come_back_together() {
        let at = |step, item, direction| CellRef { step: StepIx(step), item, direction };
        let tracks = [
            at(0, None, Direction::Execute),
            at(0, None, Direction::Compensate),
            at(0, Some(0), Direction::Execute),
            at(1, None, Direction::Execute),
        ];
        let numbers: std::collections::BTreeSet<u64> = tracks.iter().map(|&at| random(7, at, 1)).collect();
        assert_eq!(numbers.len(), tracks.len());
    }
}
