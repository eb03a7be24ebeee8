//! Compensates that ride along: under load a few share the transaction of a batch of executes.
//!
//! A transaction of their own would cost them as much as many executes. They still never queue behind executes: whoever no
//! batch has taken along within [`WAIT`] goes by itself, on another connection, and so does whoever boarded a batch that
//! failed.
//!
//! Handlers lock rows in an order, but one direction's after the other's there is none. So nothing rides unless this
//! instance reads every partition of both topics, and no compensates go by themselves while others ride.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use saga_protocol::Direction;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use super::job::Job;
use super::ledger::Ledger;
use super::transactional::Way;
use crate::inbox::Key;

/// How long a compensate waits to be taken along: a little more than a batch takes under load.
pub(crate) const WAIT: Duration = Duration::from_millis(25);
/// From this many on, compensates are a batch of their own.
pub(crate) const FEW: usize = 64;
/// How long those who go by themselves wait for those who ride. Longer than a transaction takes, unless it hangs.
const TURN: Duration = Duration::from_secs(1);

/// What the lanes of both directions share.
#[derive(Debug, Default)]
pub(crate) struct Ride {
    /// How many partitions the topics have: of executes, of compensates; 0 when that is not known.
    totals: [usize; 2],
    ledgers: [Arc<Ledger>; 2],
    /// The executes come in large batches.
    goes: AtomicBool,
    waiting: Mutex<Waiting>,
    boarded: Notify,
    /// Held by compensates that are in a transaction.
    turn: Arc<AsyncMutex<()>>,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// How they are answered; there as long as somebody waits.
    way: Option<Way>,
}

/// The right of compensates to be in a transaction.
#[derive(Debug)]
pub(crate) struct Turn {
    _held: Option<OwnedMutexGuard<()>>,
}

/// Compensates that were taken along.
#[derive(Debug)]
pub(crate) struct Passengers {
    pub(crate) jobs: Vec<Job>,
    pub(crate) way: Way,
    pub(crate) turn: Turn,
}

impl Ride {
    /// `totals`: the topics' partitions, of executes and of compensates.
    pub(crate) fn new(totals: [usize; 2]) -> Self {
        Self { totals, ..Self::default() }
    }

    /// What a direction has read.
    pub(crate) fn ledger(&self, direction: Direction) -> &Arc<Ledger> {
        match direction {
            Direction::Execute => &self.ledgers[0],
            Direction::Compensate => &self.ledgers[1],
        }
    }

    /// Whether waiting for a batch of executes makes sense.
    pub(crate) fn goes(&self) -> bool {
        let alone =
            self.totals.iter().zip(&self.ledgers).all(|(total, it)| *total > 0 && it.count() == *total);
        alone && self.goes.load(Ordering::Relaxed)
    }

    /// Says whether the executes come in large batches.
    pub(crate) fn set_goes(&self, goes: bool) {
        self.goes.store(goes, Ordering::Relaxed);
    }

    /// Compensates wait to be taken along. Returns how many wait now.
    pub(crate) fn wait(&self, jobs: &mut Vec<Job>, way: &Way) -> usize {
        let mut waiting = self.waiting.lock();
        waiting.jobs.append(jobs);
        waiting.way.get_or_insert_with(|| way.clone());
        waiting.jobs.len()
    }

    /// Takes those along that fit, one a barrier row, unless others go by themselves just now.
    pub(crate) fn board(&self, keys: &mut HashSet<Key>, room: usize) -> Option<Passengers> {
        let mut waiting = self.waiting.lock();
        let way = waiting.way.clone().filter(|_| !waiting.jobs.is_empty())?;
        let turn = Turn { _held: Some(Arc::clone(&self.turn).try_lock_owned().ok()?) };
        let mut jobs = Vec::with_capacity(waiting.jobs.len().min(room));
        for job in std::mem::take(&mut waiting.jobs) {
            if jobs.len() < room && keys.insert(job.meta.key.clone()) {
                jobs.push(job);
            } else {
                waiting.jobs.push(job);
            }
        }
        self.boarded.notify_one();
        Some(Passengers { jobs, way, turn })
    }

    /// Ends when somebody was taken along.
    pub(crate) async fn boarded(&self) {
        self.boarded.notified().await;
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().jobs.is_empty()
    }

    /// Those who were not taken along.
    pub(crate) fn leave(&self) -> Vec<Job> {
        // The way goes as well: it would hold the channel of the answers open.
        std::mem::take(&mut *self.waiting.lock()).jobs
    }

    /// The turn of compensates that go by themselves. Those who ride in a transaction that hangs are not waited for.
    pub(crate) async fn turn(&self) -> Turn {
        Turn { _held: tokio::time::timeout(TURN, Arc::clone(&self.turn).lock_owned()).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use saga_bus::TopicPartition;

    use super::*;

    #[test]
    fn nothing_rides_unless_every_partition_is_read_here() {
        let ride = Ride::new([2, 1]);
        ride.set_goes(true);
        let at = |partition| TopicPartition { topic: "t".into(), partition };
        ride.ledger(Direction::Execute).assign(&[at(0), at(1)]);
        assert!(!ride.goes(), "somebody else may read the compensates");
        ride.ledger(Direction::Compensate).assign(&[at(0)]);
        assert!(ride.goes());
        ride.ledger(Direction::Execute).forget(&[at(1)]);
        assert!(!ride.goes(), "somebody else reads executes");
        assert!(!Ride::new([0, 0]).goes(), "how many there are is not known");
    }
}
