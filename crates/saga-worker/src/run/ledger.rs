//! How far each partition has been read and answered: what may be committed, what may be claimed.
//!
//! Owns no IO. An offset is done when its reply is acknowledged; only an unbroken run of done
//! offsets moves the commit.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use saga_bus::TopicPartition;

use super::job::Slot;

/// Commands of one partition come roughly in the order of their `ce_time`, not exactly: several
/// orchestrators write, each commits between the time and the publishing, and a sweep may publish late.
/// Claims stay this far behind.
const SKEW_MS: i64 = 1_000;

/// The ledger of one consumer.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    partitions: Mutex<HashMap<TopicPartition, Page>>,
    generations: AtomicU64,
}

/// One partition.
#[derive(Debug, Default)]
struct Page {
    /// New at each assignment.
    generation: u64,
    /// Read and not yet committed, in the order of offsets.
    open: VecDeque<Entry>,
    /// The offset that will be read next; unknown until the bus has told it, or a record came.
    position: Option<i64>,
    /// Up to where everything is answered.
    answered: Option<i64>,
    committed: Option<i64>,
    /// The newest `ce_time` among what is answered.
    answered_time_ms: Option<i64>,
    /// When the partition was last found to be read to its end, with nothing open.
    drained_ms: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    /// The command's `ce_time`; a record that is none has no time.
    time_ms: Option<i64>,
    done: bool,
}

impl Ledger {
    /// Begins pages for partitions that were assigned, or read anew.
    pub(crate) fn assign(&self, partitions: &[TopicPartition]) {
        let mut pages = self.partitions.lock();
        for partition in partitions {
            let generation = self.generations.fetch_add(1, Ordering::Relaxed);
            pages.insert(partition.clone(), Page { generation, ..Page::default() });
        }
    }

    /// How many partitions are read.
    pub(crate) fn count(&self) -> usize {
        self.partitions.lock().len()
    }

    /// Under which assignment a partition is read now; `None` when it is not ours.
    pub(crate) fn generation(&self, partition: &TopicPartition) -> Option<u64> {
        self.partitions.lock().get(partition).map(|page| page.generation)
    }

    /// Forgets partitions that went away.
    pub(crate) fn forget(&self, partitions: &[TopicPartition]) {
        let mut pages = self.partitions.lock();
        for partition in partitions {
            pages.remove(partition);
        }
    }

    /// Forgets everything: the membership ended.
    pub(crate) fn clear(&self) {
        self.partitions.lock().clear();
    }

    /// A record was read. `false` when its partition is not ours any more.
    pub(crate) fn read(&self, slot: &Slot, time_ms: Option<i64>) -> bool {
        let mut pages = self.partitions.lock();
        let page = pages.get_mut(&slot.at).filter(|page| page.generation == slot.generation);
        let Some(page) = page else { return false };
        if page.position.is_some_and(|position| slot.offset < position) {
            // Read anew from an earlier point: what was open before it comes again.
            *page = Page { generation: page.generation, ..Page::default() };
        }
        page.position = Some(slot.offset + 1);
        page.open.push_back(Entry { offset: slot.offset, time_ms, done: false });
        true
    }

    /// Records are answered, and the answers acknowledged.
    pub(crate) fn done<'a>(&self, slots: impl Iterator<Item = &'a Slot>) {
        let mut pages = self.partitions.lock();
        for slot in slots {
            let page = pages.get_mut(&slot.at).filter(|page| page.generation == slot.generation);
            let Some(page) = page else { continue };
            let Ok(index) = page.open.binary_search_by_key(&slot.offset, |entry| entry.offset) else {
                continue;
            };
            page.open[index].done = true;
            while let Some(entry) = page.open.front().filter(|entry| entry.done) {
                page.answered = Some(entry.offset + 1);
                page.answered_time_ms = page.answered_time_ms.max(entry.time_ms);
                page.open.pop_front();
            }
        }
    }

    /// The offsets that may be committed and are not.
    pub(crate) fn committable(&self) -> Vec<(TopicPartition, i64)> {
        let pages = self.partitions.lock();
        let due = pages.iter().filter(|(_, page)| page.answered > page.committed);
        due.filter_map(|(partition, page)| Some((partition.clone(), page.answered?))).collect()
    }

    /// These offsets were committed.
    pub(crate) fn committed(&self, offsets: &[(TopicPartition, i64)]) {
        let mut pages = self.partitions.lock();
        for (partition, offset) in offsets {
            if let Some(page) = pages.get_mut(partition) {
                page.committed = page.committed.max(Some(*offset));
            }
        }
    }

    /// Whether nothing of these partitions is open.
    pub(crate) fn is_settled(&self, partitions: &[TopicPartition]) -> bool {
        let pages = self.partitions.lock();
        partitions.iter().all(|partition| pages.get(partition).is_none_or(|page| page.open.is_empty()))
    }

    /// The partitions of which it is not known yet where they are read.
    pub(crate) fn unplaced(&self) -> Vec<TopicPartition> {
        let pages = self.partitions.lock();
        pages.iter().filter(|(_, page)| page.position.is_none()).map(|(at, _)| at.clone()).collect()
    }

    /// The first record of the partition will be this one, or a later one: none of it was handed to us yet.
    pub(crate) fn begins(&self, partition: &TopicPartition, position: i64) {
        if let Some(page) = self.partitions.lock().get_mut(partition) {
            page.position = page.position.or(Some(position));
        }
    }

    /// The partitions of which nothing is open: those that may prove to be drained.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let pages = self.partitions.lock();
        let idle = pages.iter().filter(|(_, page)| page.open.is_empty());
        idle.filter_map(|(at, page)| {
            let (generation, position) = (page.generation, page.position?);
            Some(Idle { at: at.clone(), generation, position })
        })
        .collect()
    }

    /// The partition ended at `high` by a look taken at `at_ms`, after it was found `idle`. Notes it as
    /// drained when we have read as far and nothing is open.
    pub(crate) fn looked(&self, idle: &Idle, high: i64, at_ms: i64) {
        let mut pages = self.partitions.lock();
        let page = pages.get_mut(&idle.at).filter(|page| page.generation == idle.generation);
        let Some(page) = page else { return };
        // A log that ends before what we had read is another one, and its records are still to come.
        let same_log = idle.position <= high;
        let read_to_end = page.position.is_some_and(|position| position >= high);
        if same_log && read_to_end && page.open.is_empty() {
            page.drained_ms = page.drained_ms.max(Some(at_ms));
        }
    }

    /// What may be claimed: for each partition, the instant up to which every command is answered.
    pub(crate) fn reached(&self) -> Vec<(TopicPartition, i64)> {
        let pages = self.partitions.lock();
        pages.iter().filter_map(|(partition, page)| Some((partition.clone(), page.reached_ms()?))).collect()
    }
}

/// A partition of which nothing was open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(crate) at: TopicPartition,
    generation: u64,
    position: i64,
}

impl Page {
    fn reached_ms(&self) -> Option<i64> {
        let known = self.answered_time_ms.max(self.drained_ms)?.saturating_sub(SKEW_MS);
        let oldest_open =
            self.open.iter().filter(|entry| !entry.done).filter_map(|entry| entry.time_ms).min();
        Some(oldest_open.map_or(known, |oldest| known.min(oldest.saturating_sub(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn slot(offset: i64) -> Slot {
        Slot { at: at(0), offset, generation: 0 }
    }

    /// A look at the end of the partition's log.
    fn look(ledger: &Ledger, high: i64, at_ms: i64) {
        for idle in ledger.idle() {
            ledger.looked(&idle, high, at_ms);
        }
    }

    fn ledger(times_ms: &[i64]) -> Ledger {
        let ledger = Ledger::default();
        ledger.assign(&[at(0)]);
        for (offset, time_ms) in (0..).zip(times_ms) {
            assert!(ledger.read(&slot(offset), Some(*time_ms)));
        }
        ledger
    }

    #[test]
    fn only_an_unbroken_run_is_committed() {
        let ledger = ledger(&[10_000, 20_000, 30_000]);
        ledger.done([slot(2), slot(1)].iter());
        assert_eq!(ledger.committable(), []);
        ledger.done([slot(0)].iter());
        assert_eq!(ledger.committable(), [(at(0), 3)]);
        ledger.committed(&[(at(0), 3)]);
        assert_eq!(ledger.committable(), []);
    }

    #[test]
    fn a_claim_never_passes_an_open_command() {
        let ledger = ledger(&[10_000, 20_000, 15_000]);
        assert_eq!(ledger.reached(), []);
        ledger.done([slot(0), slot(1)].iter());
        assert_eq!(ledger.reached(), [(at(0), 14_999)], "the third was sent at 15,000");
        ledger.done([slot(2)].iter());
        assert_eq!(ledger.reached(), [(at(0), 19_000)], "behind the newest, for senders' skew");
    }

    #[test]
    fn drained_is_claimed_only_with_everything_read_and_answered() {
        let ledger = ledger(&[10_000]);
        look(&ledger, 1, 50_000);
        assert_eq!(ledger.reached(), [], "read, but not answered");
        ledger.done([slot(0)].iter());
        look(&ledger, 2, 60_000);
        assert_eq!(ledger.reached(), [(at(0), 9_000)], "there is one more to read");
        look(&ledger, 1, 70_000);
        assert_eq!(ledger.reached(), [(at(0), 69_000)]);
        assert!(ledger.read(&slot(1), Some(68_000)));
        assert_eq!(ledger.reached(), [(at(0), 67_999)], "a late one takes the claim back");
    }

    #[test]
    fn a_partition_without_records_is_drained_once_its_position_is_known() {
        let ledger = ledger(&[]);
        look(&ledger, 5, 1_000);
        assert_eq!(ledger.reached(), [], "it may have records");
        assert_eq!(ledger.unplaced(), [at(0)]);
        ledger.begins(&at(0), 5);
        assert_eq!(ledger.unplaced(), []);
        look(&ledger, 6, 2_000);
        assert_eq!(ledger.reached(), [], "there is one more to read");
        look(&ledger, 5, 3_000);
        assert_eq!(ledger.reached(), [(at(0), 2_000)]);
        assert_eq!(ledger.committable(), [], "nothing was answered");
    }

    #[test]
    fn a_log_that_ends_before_what_was_read_is_not_drained() {
        let ledger = ledger(&[]);
        ledger.begins(&at(0), 100);
        look(&ledger, 5, 1_000);
        assert_eq!(ledger.reached(), [], "five records of another log are unread");
        let idle = ledger.idle();
        ledger.assign(&[at(0)]);
        ledger.begins(&at(0), 5);
        ledger.looked(&idle[0], 100, 2_000);
        assert_eq!(ledger.reached(), [], "a look of before the assignment says nothing");
    }

    #[test]
    fn a_record_without_a_time_claims_nothing_and_holds_nothing_back() {
        let ledger = Ledger::default();
        ledger.assign(&[at(0)]);
        assert!(ledger.read(&slot(0), None));
        assert_eq!(ledger.reached(), []);
        ledger.done([slot(0)].iter());
        assert_eq!((ledger.reached(), ledger.committable()), (vec![], vec![(at(0), 1)]));
        assert!(ledger.read(&slot(1), Some(i64::MIN)));
        look(&ledger, 2, 5_000);
        ledger.done([slot(1)].iter());
        assert_eq!(ledger.reached(), [(at(0), i64::MIN)]);
    }

    #[test]
    fn what_was_read_under_an_earlier_assignment_commits_nothing() {
        let ledger = ledger(&[10_000]);
        ledger.assign(&[at(0)]);
        // The same offset, read again: its old answer must not count for it.
        let again = Slot { generation: 1, ..slot(0) };
        assert!(ledger.read(&again, Some(10_000)));
        ledger.done([slot(0)].iter());
        assert_eq!(ledger.committable(), []);
        ledger.done([again.clone()].iter());
        assert_eq!(ledger.committable(), [(at(0), 1)]);
        ledger.forget(&[at(0)]);
        assert!(!ledger.read(&again, Some(1)));
    }
}
