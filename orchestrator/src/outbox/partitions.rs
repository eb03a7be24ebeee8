//! Which partition of a command topic a saga's commands take.
//!
//! The engine chooses it itself, so that it knows which worker's progress speaks for which command.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use saga_bus::Bus;
use saga_protocol::{Direction, SagaId, Topics};

/// The names of topics, by worker and direction.
type Names = HashMap<(String, Direction), Arc<str>>;

/// The topics' partition counts, as far as they are known.
#[derive(Clone, Debug)]
pub struct Partitions {
    bus: Arc<dyn Bus>,
    counts: Arc<RwLock<HashMap<Arc<str>, u32>>>,
    names: Arc<RwLock<Names>>,
}

impl Partitions {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, counts: Arc::default(), names: Arc::default() }
    }

    /// The topic of a worker's commands; its name is made once.
    pub(crate) fn topic(&self, topics: &Topics, worker: &str, direction: Direction) -> Arc<str> {
        let key = (worker.to_owned(), direction);
        if let Some(name) = self.names.read().get(&key) {
            return Arc::clone(name);
        }
        let name: Arc<str> = topics.commands(worker, direction).into();
        self.names.write().insert(key, Arc::clone(&name));
        name
    }

    /// The partition of a saga's commands in a topic. `None` until the topic's size is known: the bus then
    /// takes the key's hash, and the size is asked for.
    pub(crate) fn of(&self, topic: &Arc<str>, saga: SagaId) -> Option<i32> {
        let known = self.counts.read().get(topic).copied();
        let Some(count) = known else {
            let (bus, counts, topic) = (Arc::clone(&self.bus), Arc::clone(&self.counts), Arc::clone(topic));
            tokio::spawn(async move {
                if let Ok(count) = bus.partitions(&topic).await {
                    counts.write().insert(topic, count);
                }
            });
            return None;
        };
        // The low half of a UUIDv7 is random.
        let (_, low) = saga.0.as_u64_pair();
        i32::try_from(low % u64::from(count.max(1))).ok()
    }
}
