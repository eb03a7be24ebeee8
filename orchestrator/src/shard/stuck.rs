//! The sagas that cannot be served now, because their definition or their state cannot be read.
//!
//! Their rows stay where they are, and each sweep would find them again before anybody else's: the sweep leaves
//! them out for a while. It must not forget them: each comes back until it can be served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use saga_protocol::SagaId;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a sweep leaves a saga out.
const LEFT_OUT: Duration = Duration::from_secs(60);
/// Sagas that are left out at a time, at most; each is a parameter of the sweep's queries.
const SAGAS_MAX: usize = 100_000;

/// Written by the lane, read by the sweep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stuck(Arc<RwLock<HashMap<SagaId, Instant>>>);

impl Stuck {
    /// It cannot be served: the coming sweeps leave it out.
    pub(crate) fn insert(&self, saga: SagaId) {
        let mut stuck = self.0.write();
        if stuck.len() < SAGAS_MAX || stuck.contains_key(&saga) {
            stuck.insert(saga, Instant::now() + LEFT_OUT);
        }
    }

    /// It can be served: the next sweep brings what has waited for it. Says whether it was left out.
    pub(crate) fn remove(&self, saga: SagaId) -> bool {
        // Almost always there is nothing to remove.
        !self.0.read().is_empty() && self.0.write().remove(&saga).is_some()
    }

    /// The sagas that a sweep leaves out now; those whose time is over are tried again.
    pub(crate) fn left_out(&self) -> Vec<Uuid> {
        if self.0.read().is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let mut stuck = self.0.write();
        stuck.retain(|_, until| *until > now);
        stuck.keys().map(|saga| saga.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_served_again_is_left_out_no_more() {
        let stuck = Stuck::default();
        let saga = SagaId(Uuid::from_u128(7));
        assert!(stuck.left_out().is_empty());
        stuck.insert(saga);
        assert_eq!(stuck.left_out(), [saga.0]);
        stuck.remove(saga);
        assert!(stuck.left_out().is_empty());
    }
}
