//! One partition in memory. Owns offsets, bounds, trimming and compaction; it must not know groups
//! or faults.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use crate::{Record, TopicPartition, Watermarks};

/// How many records a partition keeps at most.
pub(super) const RECORDS_MAX: usize = 100_000;
/// How many bytes of records a partition keeps at most.
pub(super) const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Below this, a partition is not trimmed although every group has committed: a test, or a human,
/// can read it again from the start as on a broker.
const TRIM_FROM: usize = 4_096;
/// How many tombstones a compacted partition remembers for readers that are behind.
const TOMBSTONES_MAX: usize = 1_024;

/// The log does not have the offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfRange;

#[derive(Debug)]
pub(super) struct Log {
    at: TopicPartition,
    records: BTreeMap<i64, Record>,
    low: i64,
    high: i64,
    bytes: usize,
    newest: Option<Newest>,
}

/// What compaction needs: where each key's newest record is.
#[derive(Debug, Default)]
struct Newest {
    of_key: HashMap<Bytes, i64>,
    tombstones: VecDeque<i64>,
}

impl Log {
    pub(super) fn new(at: TopicPartition, compacted: bool) -> Self {
        let newest = compacted.then(Newest::default);
        Self { at, records: BTreeMap::new(), low: 0, high: 0, bytes: 0, newest }
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        Watermarks { low: self.low, high: self.high }
    }

    /// Appends a record under the next offset; `at` and `offset` of `record` are set here.
    pub(super) fn append(&mut self, mut record: Record) {
        let offset = self.high;
        self.high += 1;
        record.at = self.at.clone();
        record.offset = offset;
        let key = record.key.clone();
        let tombstone = record.data.is_none();
        self.bytes += size(&record);
        self.records.insert(offset, record);
        if let (Some(newest), Some(key)) = (&mut self.newest, key) {
            let mut gone: Vec<i64> = newest.of_key.insert(key.clone(), offset).into_iter().collect();
            if tombstone {
                newest.tombstones.push_back(offset);
                if newest.tombstones.len() > TOMBSTONES_MAX {
                    gone.extend(newest.tombstones.pop_front());
                }
            }
            for offset in gone {
                self.compact(offset);
            }
        }
        while self.records.len() > RECORDS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.records.keys().next().copied() else { break };
            self.trim_to(oldest + 1);
        }
    }

    /// At most `records_max` records from `from` on, and the offset to go on with.
    pub(super) fn read(&self, from: i64, records_max: usize) -> Result<(Vec<Record>, i64), OutOfRange> {
        if from < self.low || from > self.high {
            return Err(OutOfRange);
        }
        if records_max == 0 {
            return Ok((Vec::new(), from));
        }
        let records: Vec<Record> =
            self.records.range(from..).take(records_max).map(|(_, it)| it.clone()).collect();
        let next =
            if records.len() < records_max { self.high } else { records[records.len() - 1].offset + 1 };
        Ok((records, next))
    }

    /// Removes what stands before `offset`.
    pub(super) fn trim_to(&mut self, offset: i64) {
        let offset = offset.min(self.high);
        if offset <= self.low {
            return;
        }
        let kept = self.records.split_off(&offset);
        let trimmed = std::mem::replace(&mut self.records, kept);
        self.bytes -= trimmed.values().map(size).sum::<usize>();
        self.low = offset;
        if let Some(newest) = &mut self.newest {
            newest.of_key.retain(|_, at| *at >= offset);
            newest.tombstones.retain(|at| *at >= offset);
        }
    }

    /// Removes what every group has committed, once there is enough of it to be worth it.
    pub(super) fn trim_committed(&mut self, committed: i64) {
        if self.newest.is_none() && self.records.len() > TRIM_FROM {
            self.trim_to(committed);
        }
    }

    fn compact(&mut self, offset: i64) {
        let Some(record) = self.records.remove(&offset) else { return };
        self.bytes -= size(&record);
        if let (Some(newest), Some(key)) = (&mut self.newest, &record.key)
            && newest.of_key.get(key) == Some(&offset)
        {
            newest.of_key.remove(key);
        }
    }
}

fn size(record: &Record) -> usize {
    let headers: usize = record.headers.0.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers + record.key.as_ref().map_or(0, Bytes::len) + record.data.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_protocol::Headers;

    fn log(compacted: bool) -> Log {
        Log::new(TopicPartition { topic: "t".into(), partition: 0 }, compacted)
    }

    fn record(key: &str, data: Option<&str>) -> Record {
        Record {
            at: TopicPartition { topic: "".into(), partition: -1 },
            offset: -1,
            key: Some(Bytes::from(key.to_owned())),
            headers: Headers::default(),
            data: data.map(|data| Bytes::from(data.to_owned())),
        }
    }

    fn offsets(log: &Log, from: i64) -> Vec<i64> {
        log.read(from, 1_000_000).expect("in range").0.iter().map(|it| it.offset).collect()
    }

    #[test]
    fn compaction_keeps_the_newest_of_each_key() {
        let mut log = log(true);
        for (key, data) in [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)] {
            log.append(record(key, data));
        }
        assert_eq!(offsets(&log, 0), [2, 3]);
        assert_eq!(log.watermarks(), Watermarks { low: 0, high: 4 });
        log.append(record("b", Some("3")));
        assert_eq!(offsets(&log, 0), [2, 4], "the tombstone goes with the key's next record");
    }

    #[test]
    fn a_compacted_log_is_bounded_by_its_keys() {
        let mut log = log(true);
        for _ in 0..10_000 {
            log.append(record("worker", Some("alive")));
        }
        assert_eq!(offsets(&log, 0), [9_999]);
        for key in 0..10_000 {
            log.append(record(&key.to_string(), None));
        }
        assert_eq!(offsets(&log, 0).len(), 1 + TOMBSTONES_MAX);
    }

    #[test]
    fn memory_is_bounded_and_who_falls_off_learns_it() {
        let mut log = log(false);
        for _ in 0..RECORDS_MAX + 10 {
            log.append(record("k", Some("v")));
        }
        assert_eq!(log.watermarks().low, 10);
        assert_eq!(log.read(9, 1), Err(OutOfRange));
        assert_eq!(log.read(10, 1).expect("in range").1, 11);
        assert_eq!(log.read(log.high, 1).expect("the end is in range"), (vec![], log.high));
        assert_eq!(log.read(log.high + 1, 1), Err(OutOfRange));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut log = log(false);
        let large = "x".repeat(1024 * 1024);
        for _ in 0..100 {
            log.append(record("k", Some(&large)));
        }
        assert!(log.bytes <= BYTES_MAX && log.watermarks().low > 0, "{} bytes", log.bytes);
        log.trim_to(100);
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn what_all_have_committed_goes_once_it_is_much() {
        let mut log = log(false);
        for _ in 0..TRIM_FROM {
            log.append(record("k", Some("v")));
        }
        log.trim_committed(100);
        assert_eq!(log.watermarks().low, 0);
        log.append(record("k", Some("v")));
        log.trim_committed(100);
        assert_eq!(log.watermarks().low, 100);
    }
}
