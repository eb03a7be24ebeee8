//! The sagas that a lane has in memory: loaded on demand, least recently used go.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use saga_core::{Event, Payloads, State, What};
use saga_protocol::SagaId;

use crate::store::definitions::Published;

/// How many sagas a lane keeps.
const SAGAS_MAX: usize = 50_000;
/// How many answers of one saga are kept in memory; beyond, its history is read.
const ANSWERS_MAX: usize = 32;

/// One saga in memory.
#[derive(Clone, Debug)]
pub(crate) struct Saga {
    pub(crate) shard: i32,
    pub(crate) definition: Arc<Published>,
    pub(crate) state: State,
    pub(crate) payloads: Payloads,
    /// How many ignored records were kept for it since it was loaded; the log of them is bounded.
    pub(crate) ignored: u32,
    /// The answers that changed it, from the first with an error on: whoever waits is told what failed without a read.
    /// `None` when its history knows of earlier ones.
    pub(crate) answers: Option<Vec<Event>>,
}

impl Saga {
    /// Notes an event that has changed it.
    pub(crate) fn note(&mut self, event: &Event) {
        let failed = match &event.what {
            What::Answer(answer) => answer.error.is_some(),
            What::ChildEnded(child) => child.error.is_some(),
            _ => return,
        };
        let Some(answers) = &mut self.answers else { return };
        if answers.len() >= ANSWERS_MAX {
            self.answers = None;
        } else if failed || !answers.is_empty() {
            answers.push(event.clone());
        }
    }
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Sagas {
    cached: LruCache<SagaId, Saga>,
    /// Sagas that were loaded or ended lately, in two generations: a start's hand-over that arrives after
    /// that is stale.
    seen: [HashSet<SagaId>; 2],
}

impl Default for Sagas {
    fn default() -> Self {
        let max = const { NonZeroUsize::new(SAGAS_MAX).expect("not zero") };
        Self { cached: LruCache::new(max), seen: Default::default() }
    }
}

impl Sagas {
    pub(crate) fn contains(&self, saga: SagaId) -> bool {
        self.cached.contains(&saga)
    }

    pub(crate) fn get(&mut self, saga: SagaId) -> Option<&mut Saga> {
        self.cached.get_mut(&saga)
    }

    /// Keeps what was read from the database.
    pub(crate) fn loaded(&mut self, id: SagaId, saga: Saga) {
        self.seen[0].insert(id);
        self.cached.put(id, saga);
    }

    /// Keeps what was handed over, unless the saga has been seen under this claim.
    pub(crate) fn hand_over(&mut self, id: SagaId, saga: &Saga) -> bool {
        if self.cached.contains(&id) || self.seen.iter().any(|generation| generation.contains(&id)) {
            return false;
        }
        self.cached.put(id, saga.clone());
        true
    }

    /// Lets go of a saga that ended, or that is to be read again.
    pub(crate) fn forget(&mut self, id: SagaId) -> Option<Saga> {
        self.seen[0].insert(id);
        self.cached.pop(&id)
    }

    /// Lets go of a whole shard.
    pub(crate) fn forget_shard(&mut self, shard: i32) {
        let gone: Vec<SagaId> =
            self.cached.iter().filter(|(_, saga)| saga.shard == shard).map(|(id, _)| *id).collect();
        for id in gone {
            self.cached.pop(&id);
        }
    }

    /// Called once a sweep: what was seen two turns ago cannot meet a hand-over that is still taken.
    pub(crate) fn turn_generation(&mut self) {
        self.seen.swap(0, 1);
        self.seen[0].clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use saga_core::Millis;
    use uuid::Uuid;

    use super::*;
    use crate::store::definitions::Definitions;

    #[test]
    fn a_hand_over_that_comes_after_its_saga_was_loaded_and_went_is_stale() {
        let definitions = Definitions::default();
        definitions.keep(1, "saga: nap\nsteps:\n  sleep: { wait: { for: 1s } }\n").unwrap();
        let (id, definition) = (SagaId(Uuid::from_u128(7)), definitions.active("nap").unwrap());
        let payloads = Payloads::new(id, Arc::default());
        let saga = |revision| {
            let mut state = State::new(Millis(0), None, None);
            state.revision = revision;
            Saga {
                shard: 0,
                definition: Arc::clone(&definition),
                state,
                payloads: payloads.clone(),
                ignored: 0,
                answers: None,
            }
        };
        let mut sagas = Sagas::default();
        sagas.loaded(id, saga(5));
        sagas.forget(id);
        assert!(!sagas.hand_over(id, &saga(1)), "it has moved on since it was started");
        // One sweep later a hand-over of before may still be on its way.
        sagas.turn_generation();
        assert!(!sagas.hand_over(id, &saga(1)));
        // Two sweeps later it is older than what is taken at all.
        sagas.turn_generation();
        assert!(sagas.hand_over(id, &saga(1)));
        assert!(!sagas.hand_over(id, &saga(1)), "it is known by now");
    }
}
