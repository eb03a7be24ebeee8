//! Faults on demand: loss, duplicates, reordering, delay, refused publishes. Owns the dice and the
//! records that are on their way; it must not know who reads them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::{Record, TopicPartition};

/// What goes wrong, and how often. Probabilities are between 0 and 1, a record each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// The dice's seed: the same seed and the same publishes give the same faults.
    pub seed: u64,
    /// Acknowledged, but never delivered (a log that lost its end).
    pub lose: f64,
    /// Delivered twice, the second copy later.
    pub duplicate: f64,
    /// Overtaken by records that were published later.
    pub reorder: f64,
    /// Reported as not published; half of them are delivered all the same (an answer was lost).
    pub fail_publish: f64,
    /// Every record is delivered up to this much later, in its partition's order.
    pub delay_max_ms: u64,
}

/// How far behind an overtaken or repeated record comes, at most, beyond the delay.
const BEHIND_MAX_MS: u64 = 20;

/// What the dice decided for one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// When its copies arrive; none when it is lost.
    pub(super) arrivals: Vec<Instant>,
    /// Whether its publisher is told that it failed.
    pub(super) reported_failed: bool,
}

#[derive(Debug)]
pub(super) struct Dice {
    faults: Faults,
    random: StdRng,
    /// Delay keeps a partition's order: nothing arrives before what was published earlier.
    not_before: HashMap<TopicPartition, Instant>,
}

impl Dice {
    pub(super) fn new(faults: Faults) -> Self {
        let random = StdRng::seed_from_u64(faults.seed);
        Self { faults, random, not_before: HashMap::new() }
    }

    /// Other faults from now on; delays that were thrown keep their partitions' order.
    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.random = StdRng::seed_from_u64(faults.seed);
        self.faults = faults;
    }

    /// Whether every record arrives at once, once and in order.
    pub(super) fn is_fair(&self) -> bool {
        let Faults { seed: _, lose, duplicate, reorder, fail_publish, delay_max_ms } = self.faults;
        lose == 0.0 && duplicate == 0.0 && reorder == 0.0 && fail_publish == 0.0 && delay_max_ms == 0
    }

    pub(super) fn throw(&mut self, at: &TopicPartition, now: Instant) -> Fate {
        let mut arrival = now + self.up_to_ms(self.faults.delay_max_ms);
        if let Some(floor) = self.not_before.get(at) {
            arrival = arrival.max(*floor);
        }
        if self.hit(self.faults.reorder) {
            // Leaves the floor where it was, so that later ones overtake it.
            arrival += Duration::from_millis(1) + self.up_to_ms(BEHIND_MAX_MS);
        } else {
            self.not_before.insert(at.clone(), arrival);
        }
        let mut arrivals = vec![arrival];
        if self.hit(self.faults.duplicate) {
            arrivals.push(arrival + self.up_to_ms(BEHIND_MAX_MS));
        }
        let reported_failed = self.hit(self.faults.fail_publish);
        let lost = if reported_failed { self.hit(0.5) } else { self.hit(self.faults.lose) };
        if lost {
            arrivals.clear();
        }
        Fate { arrivals, reported_failed }
    }

    fn hit(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability.clamp(0.0, 1.0))
    }

    fn up_to_ms(&mut self, ms_max: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..=ms_max))
    }
}

/// Records on their way, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    heap: BinaryHeap<Reverse<Travelling>>,
    count: u64,
}

#[derive(Debug)]
struct Travelling {
    arrival: Instant,
    /// Breaks ties by the order of publishing.
    number: u64,
    record: Record,
}

impl InFlight {
    pub(super) fn push(&mut self, arrival: Instant, record: Record) {
        self.count += 1;
        self.heap.push(Reverse(Travelling { arrival, number: self.count, record }));
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(it)| it.arrival)
    }

    /// The next record that has arrived by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Record> {
        if self.next_arrival()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(it)| it.record)
    }

    pub(super) fn forget(&mut self, gone: impl Fn(&Record) -> bool) {
        self.heap.retain(|Reverse(it)| !gone(&it.record));
    }
}

impl PartialEq for Travelling {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Travelling {}

impl PartialOrd for Travelling {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Travelling {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrival, self.number).cmp(&(other.arrival, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(faults: Faults) -> Vec<Fate> {
        let mut dice = Dice::new(faults);
        let at = TopicPartition { topic: "t".into(), partition: 0 };
        let now = Instant::now();
        (0..1_000).map(|n| dice.throw(&at, now + Duration::from_millis(n))).collect()
    }

    #[test]
    fn delay_alone_keeps_the_order() {
        let fates = fates(Faults { delay_max_ms: 50, ..Faults::default() });
        assert!(fates.is_sorted_by_key(|it| it.arrivals[0]));
        assert!(
            fates.windows(2).any(|pair| pair[0].arrivals[0] == pair[1].arrivals[0]),
            "nothing was delayed"
        );
    }

    #[test]
    fn each_fault_happens_about_as_often_as_asked() {
        let count = |faults, what: fn(&Fate) -> bool| fates(faults).iter().filter(|it| what(it)).count();
        let lost = count(Faults { lose: 0.2, ..Faults::default() }, |it| it.arrivals.is_empty());
        let twice = count(Faults { duplicate: 0.2, ..Faults::default() }, |it| it.arrivals.len() == 2);
        let failed = count(Faults { fail_publish: 0.2, ..Faults::default() }, |it| it.reported_failed);
        let landed = count(Faults { fail_publish: 1.0, ..Faults::default() }, |it| !it.arrivals.is_empty());
        for seen in [lost, twice, failed, landed / 2] {
            assert!((130..270).contains(&seen), "{seen} of 1000");
        }
        let fates = fates(Faults { reorder: 0.2, ..Faults::default() });
        assert!(!fates.is_sorted_by_key(|it| it.arrivals[0]));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let faults = Faults { seed: 7, lose: 0.3, duplicate: 0.3, reorder: 0.3, ..Faults::default() };
        let shape = |faults| fates(faults).iter().map(|it| it.arrivals.len()).collect::<Vec<_>>();
        assert_eq!(shape(faults.clone()), shape(faults.clone()));
        assert_ne!(shape(faults.clone()), shape(Faults { seed: 8, ..faults }));
    }
}
