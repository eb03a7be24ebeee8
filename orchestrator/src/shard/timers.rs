//! When each running saga of the lane's shards is due. Loaded with the claim, kept up by every commit.

use std::collections::{BTreeSet, HashMap};

use saga_core::Millis;
use saga_protocol::SagaId;

/// The wheel: every running saga, and those with a due time in order.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Millis, SagaId)>,
    all: HashMap<SagaId, (i32, Option<Millis>)>,
}

impl Timers {
    /// Whether the saga is known to run.
    pub(crate) fn knows(&self, saga: SagaId) -> bool {
        self.all.contains_key(&saga)
    }

    /// Notes when a saga is due; `None` keeps it as running without a time.
    pub(crate) fn set(&mut self, shard: i32, saga: SagaId, due: Option<Millis>) {
        let before = self.all.insert(saga, (shard, due));
        if let Some((_, Some(before))) = before {
            self.due.remove(&(before, saga));
        }
        if let Some(due) = due {
            self.due.insert((due, saga));
        }
    }

    /// The saga ended.
    pub(crate) fn remove(&mut self, saga: SagaId) {
        if let Some((_, Some(due))) = self.all.remove(&saga) {
            self.due.remove(&(due, saga));
        }
    }

    /// The shard is somebody else's now.
    pub(crate) fn remove_shard(&mut self, shard: i32) {
        let Self { due, all } = self;
        all.retain(|saga, (its, at)| {
            let stays = *its != shard;
            if !stays && let Some(at) = at {
                due.remove(&(*at, *saga));
            }
            stays
        });
    }

    /// The next instant at which anything is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Sagas that are due now, at most `max`, the longest overdue first.
    pub(crate) fn due(&self, now: Millis, max: usize) -> Vec<(i32, SagaId)> {
        self.due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(max)
            .filter_map(|(_, saga)| self.all.get(saga).map(|(shard, _)| (*shard, *saga)))
            .collect()
    }

    /// The running sagas of a shard, in order.
    pub(crate) fn of_shard(&self, shard: i32) -> Vec<SagaId> {
        let of_shard = self.all.iter().filter(|(_, (its, _))| *its == shard);
        let mut sagas: Vec<SagaId> = of_shard.map(|(saga, _)| *saga).collect();
        sagas.sort_unstable();
        sagas
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use uuid::Uuid;

    use super::*;

    fn saga(n: u128) -> SagaId {
        SagaId(Uuid::from_u128(n))
    }

    #[test]
    fn a_saga_is_due_once_at_its_newest_time() {
        let mut timers = Timers::default();
        timers.set(0, saga(1), Some(Millis(10)));
        timers.set(0, saga(1), Some(Millis(30)));
        timers.set(0, saga(2), Some(Millis(20)));
        timers.set(1, saga(3), None);
        assert_eq!(timers.next(), Some(Millis(20)));
        assert_eq!(timers.due(Millis(25), 10), vec![(0, saga(2))]);
        assert_eq!(timers.due(Millis(30), 10), vec![(0, saga(2)), (0, saga(1))]);
        timers.remove(saga(2));
        assert_eq!(timers.next(), Some(Millis(30)));
        timers.remove_shard(0);
        assert_eq!((timers.next(), timers.knows(saga(1)), timers.knows(saga(3))), (None, false, true));
    }
}
