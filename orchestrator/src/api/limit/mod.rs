//! How fast one may ask: a token bucket for each address at the door, and one for each principal behind it.
//!
//! Buckets are this process's own, so that a request waits for nobody. Where Redis is configured, [`shared`] tells
//! the processes what the others have let through; without it each counts for itself.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;
use parking_lot::Mutex;

pub mod shared;

/// How many are remembered; the one that was quiet the longest is forgotten first.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How fast, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second in the long run; 0 for no limit.
    pub per_s: f64,
    /// Requests at once, after a pause.
    pub burst: f64,
}

impl Rate {
    /// So many a second, and those of two seconds at once.
    pub fn per_s(per_s: u32) -> Self {
        Self { per_s: f64::from(per_s), burst: 2.0 * f64::from(per_s) }
    }
}

#[derive(Debug)]
struct Bucket {
    /// Below nothing while others' requests are paid for.
    tokens: f64,
    filled: Instant,
    /// What ran over since the last exchange: others may have used it.
    spilled: f64,
    /// Taken here since the last exchange.
    taken: u64,
    /// Taken everywhere, as of the last exchange.
    total: Option<u64>,
}

/// The buckets.
#[derive(Debug)]
pub struct Limiter<K: Eq + Hash> {
    rate: Rate,
    buckets: Mutex<LruCache<K, Bucket>>,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// Buckets that fill at `rate`.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::new(LruCache::new(REMEMBERED_MAX)) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When there is none: the seconds until there is one, rounded up.
    pub fn take(&self, who: &K, now: Instant) -> Result<(), u32> {
        if self.rate.per_s <= 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        let burst = self.burst();
        let bucket = buckets.get_or_insert_mut(who.clone(), || Bucket {
            tokens: burst,
            filled: now,
            spilled: 0.0,
            taken: 0,
            total: None,
        });
        bucket.fill(self.rate.per_s, burst, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            bucket.taken += 1;
            return Ok(());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 3,600")]
        let wait_s = ((1.0 - bucket.tokens) / self.rate.per_s).ceil().clamp(1.0, 3_600.0) as u32;
        Err(wait_s)
    }

    fn burst(&self) -> f64 {
        self.rate.burst.max(1.0)
    }

    /// What was taken here since the last time, of those who took anything.
    fn report(&self) -> Vec<(K, u64)> {
        let mut buckets = self.buckets.lock();
        buckets
            .iter_mut()
            .filter(|(_, bucket)| bucket.taken > 0)
            .map(|(who, bucket)| (who.clone(), std::mem::take(&mut bucket.taken)))
            .collect()
    }

    /// Learns that `total` were taken everywhere, `own` of the newest ones here: the others' are paid for by this
    /// bucket, too. A total that is smaller than the one before has begun anew.
    fn learn(&self, who: &K, own: u64, total: u64, now: Instant) {
        let mut buckets = self.buckets.lock();
        let Some(bucket) = buckets.peek_mut(who) else { return };
        bucket.fill(self.rate.per_s, self.burst(), now);
        // Whoever is new here does not pay for what was before.
        let before =
            bucket.total.replace(total).map_or(total - own.min(total), |it| if it > total { 0 } else { it });
        #[allow(clippy::cast_precision_loss, reason = "requests of a moment")]
        let others = (total - before).saturating_sub(own) as f64;
        bucket.tokens = (bucket.tokens - (others - bucket.spilled).max(0.0)).max(-self.burst());
        bucket.spilled = 0.0;
    }
}

impl Bucket {
    fn fill(&mut self, per_s: f64, burst: f64, now: Instant) {
        let filled = self.tokens + now.saturating_duration_since(self.filled).as_secs_f64() * per_s;
        self.filled = now;
        self.tokens = filled.min(burst);
        self.spilled += filled - self.tokens;
    }
}

/// One client has a whole /64 of IPv6.
pub fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(it) => match it.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() >> 64 << 64)),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_fills_and_is_ones_own() {
        let limiter = Limiter::new(Rate { per_s: 2.0, burst: 3.0 });
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take(&"kim", start), Ok(()));
        }
        assert_eq!(limiter.take(&"kim", start), Err(1));
        assert_eq!(limiter.take(&"lee", start), Ok(()), "another one");
        let later = start + Duration::from_millis(500);
        assert_eq!(limiter.take(&"kim", later), Ok(()), "half a second gives one");
        assert_eq!(limiter.take(&"kim", later), Err(1));
        let rested = start + Duration::from_secs(60);
        let taken = (0..9).filter(|_| limiter.take(&"kim", rested).is_ok()).count();
        assert_eq!(taken, 3, "never more than the burst");
    }

    #[test]
    fn one_ipv6_client_has_one_bucket() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let limiter = Limiter::new(Rate { per_s: 0.0, burst: 0.0 });
        assert!((0..1_000).all(|_| limiter.take(&"kim", Instant::now()).is_ok()));
    }

    /// Processes that exchange each 100 ms, each asked `wanted` times between; how many were let through in 10 s.
    fn together(processes: usize, wanted: usize) -> usize {
        let limiters: Vec<_> =
            (0..processes).map(|_| Limiter::new(Rate { per_s: 100.0, burst: 20.0 })).collect();
        let (start, mut total, mut let_through) = (Instant::now(), 0, 0);
        for turn in 0..100 {
            let now = start + Duration::from_millis(100 * turn);
            for limiter in &limiters {
                let_through += (0..wanted).filter(|_| limiter.take(&"kim", now).is_ok()).count();
            }
            for limiter in &limiters {
                for (who, own) in limiter.report() {
                    total += own;
                    limiter.learn(&who, own, total, now);
                }
            }
        }
        let_through
    }

    #[test]
    fn processes_that_tell_each_other_let_through_what_one_does() {
        let alone = together(1, 50);
        assert!((1_000..=1_030).contains(&alone), "{alone}");
        let three = together(3, 50);
        assert!((900..=1_200).contains(&three), "three let through {three}, one {alone}");
        // What is within the limit is not refused, however it is spread.
        assert_eq!(together(3, 3), 900);
    }

    #[test]
    fn a_total_that_begins_anew_is_no_debt() {
        let limiter = Limiter::new(Rate { per_s: 0.001, burst: 10.0 });
        let now = Instant::now();
        assert_eq!(limiter.take(&"kim", now), Ok(()));
        assert_eq!(limiter.report(), [("kim", 1)]);
        limiter.learn(&"kim", 1, 1_000_000, now);
        assert_eq!(limiter.take(&"kim", now), Ok(()), "what was before is not ours");
        limiter.learn(&"kim", 1, 1, now);
        assert_eq!((0..20).filter(|_| limiter.take(&"kim", now).is_ok()).count(), 8);
    }
}
