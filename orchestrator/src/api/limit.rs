//! How fast one client may ask: a token bucket an address, in this process.
//!
//! A fence against runaway clients, not a quota: each orchestrator counts for itself.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;
use parking_lot::Mutex;

/// How many clients are remembered; the one that was quiet the longest is forgotten first.
const CLIENTS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How fast, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second in the long run; 0 for no limit.
    pub per_s: f64,
    /// Requests at once, after a pause.
    pub burst: f64,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    buckets: Mutex<LruCache<IpAddr, Bucket>>,
}

impl Limiter {
    /// Buckets that fill at `rate`.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::new(LruCache::new(CLIENTS_MAX)) }
    }

    /// Takes a token of the client's.
    ///
    /// # Errors
    /// When there is none: the seconds until there is one, rounded up.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), u32> {
        if self.rate.per_s <= 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        let burst = self.rate.burst.max(1.0);
        let bucket = buckets.get_or_insert_mut(network(client), || Bucket { tokens: burst, filled: now });
        let filled = now.saturating_duration_since(bucket.filled).as_secs_f64() * self.rate.per_s;
        bucket.tokens = (bucket.tokens + filled).min(burst);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 3,600")]
        let wait_s = ((1.0 - bucket.tokens) / self.rate.per_s).ceil().clamp(1.0, 3_600.0) as u32;
        Err(wait_s)
    }
}

/// One client has a whole /64 of IPv6.
fn network(client: IpAddr) -> IpAddr {
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
    fn a_bucket_empties_fills_and_is_the_clients_own() {
        let limiter = Limiter::new(Rate { per_s: 2.0, burst: 3.0 });
        let (one, two): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take(one, start), Ok(()));
        }
        assert_eq!(limiter.take(one, start), Err(1));
        assert_eq!(limiter.take(two, start), Ok(()), "another client");
        let later = start + Duration::from_millis(500);
        assert_eq!(limiter.take(one, later), Ok(()), "half a second gives one");
        assert_eq!(limiter.take(one, later), Err(1));
        let rested = start + Duration::from_secs(60);
        assert_eq!(
            (0..9).filter(|_| limiter.take(one, rested).is_ok()).count(),
            3,
            "never more than the burst"
        );
    }

    #[test]
    fn one_ipv6_client_has_one_bucket() {
        let limiter = Limiter::new(Rate { per_s: 1.0, burst: 1.0 });
        let now = Instant::now();
        assert_eq!(limiter.take("2001:db8::1".parse().unwrap(), now), Ok(()));
        assert_eq!(limiter.take("2001:db8::2".parse().unwrap(), now), Err(1));
        assert_eq!(limiter.take("2001:db8:0:1::1".parse().unwrap(), now), Ok(()));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let limiter = Limiter::new(Rate { per_s: 0.0, burst: 0.0 });
        assert!((0..1_000).all(|_| limiter.take("::1".parse().unwrap(), Instant::now()).is_ok()));
    }
}
