//! Times in buckets of a quarter of a power of two: 19 % wide, which is enough to tell late from slow.

/// How many buckets: the last one begins at 12 days.
pub const BUCKETS: usize = 120;

/// Counts by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(Vec<i64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Histogram {
    /// What was written before; too many or too few buckets are put right.
    pub fn from_buckets(mut buckets: Vec<i64>) -> Self {
        buckets.resize(BUCKETS, 0);
        Self(buckets)
    }

    /// The counts.
    pub fn buckets(&self) -> &[i64] {
        &self.0
    }

    /// Counts a time, in ms.
    pub fn add(&mut self, ms: i64) {
        self.0[bucket(ms)] += 1;
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, its) in self.0.iter_mut().zip(&other.0) {
            *mine += its;
        }
    }

    /// How many were counted.
    pub fn count(&self) -> i64 {
        self.0.iter().sum()
    }

    /// The time that `share` of them do not exceed, in ms: a bucket's upper end.
    pub fn quantile_ms(&self, share: f64) -> Option<i64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a rank among counts"
        )]
        let rank = ((count as f64 * share).ceil() as i64).clamp(1, count);
        let mut seen = 0;
        let at = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(upper_ms(at))
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded"
)]
fn bucket(ms: i64) -> usize {
    let at = (4.0 * (ms.max(0) as f64 + 1.0).log2()).floor();
    (at as usize).min(BUCKETS - 1)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded")]
fn upper_ms(bucket: usize) -> i64 {
    (((bucket + 1) as f64 / 4.0).exp2() - 1.0).floor() as i64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn quantiles_are_at_most_a_fifth_too_large_and_never_too_small() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|ms| histogram.add(ms));
        for (share, exact) in [(0.5, 500), (0.99, 990), (1.0, 1_000)] {
            let ms = histogram.quantile_ms(share).unwrap();
            assert!(ms >= exact && ms <= exact * 12 / 10, "{share}: {ms}");
        }
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
        let mut long = Histogram::default();
        long.add(i64::MAX);
        assert!(long.quantile_ms(0.5).unwrap() > 10 * 86_400_000);
    }
}
