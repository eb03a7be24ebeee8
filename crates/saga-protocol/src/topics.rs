//! Topic names. One prefix separates installations on one cluster.

use crate::ids::Direction;

/// For how long a dead letter stays, in ms: as long as the SDK's inbox remembers its command. Whoever makes the
/// topic first makes it so.
pub const DEAD_LETTERS_RETENTION_MS: i64 = 30 * 24 * 3_600_000;

/// The header that says why a record is a dead letter.
pub const DEAD_REASON: &str = "amends_dead_reason";

/// The topics of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self::new("amends")
    }
}

impl Topics {
    /// Topics under `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Everything that can change a saga; a partition is a shard.
    pub fn inbox(&self) -> String {
        format!("{}.inbox", self.prefix)
    }

    /// A worker's commands. The two directions travel apart, so that a refund never queues behind
    /// a backlog.
    pub fn commands(&self, worker: &str, direction: Direction) -> String {
        let direction = match direction {
            Direction::Execute => "execute",
            Direction::Compensate => "compensate",
        };
        format!("{}.{worker}.{direction}", self.prefix)
    }

    /// Announcements and progress of the workers; compacted.
    pub fn workers(&self) -> String {
        format!("{}.workers", self.prefix)
    }

    /// One hint a batch of commits, for waiters and live pages.
    pub fn saga_events(&self) -> String {
        format!("{}.saga-events", self.prefix)
    }

    /// Commands that a worker could not understand or has no right to answer.
    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.prefix)
    }
}
