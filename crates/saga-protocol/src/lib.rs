//! The wire between the orchestrator and its workers: envelopes, headers and topic names.
//!
//! Owns what travels and how it is spelled (docs/protocol.md says the same in prose). It must not
//! know brokers, databases or the state machine.

pub mod announce;
pub mod command;
pub mod envelope;
pub mod hint;
pub mod ids;
pub mod reply;
pub mod topics;

pub use announce::{ActionInfo, Announcement, BreakerInfo, BreakerState, Progress, WorkerRecord};
pub use command::{Command, Undoes};
pub use envelope::{DecodeError, Headers, Message, ReplyTo};
pub use hint::{InboxRecord, SagaChanged, SagaEvents, Started};
pub use ids::{Direction, EffectKey, SagaId, StepName};
pub use reply::{Fault, Outcome, Reply};
pub use topics::{DEAD_LETTERS_RETENTION_MS, DEAD_REASON, Topics};

/// Largest output that a `succeeded` reply may carry, in bytes of JSON.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Largest sum of input and outputs of one saga, in bytes of JSON.
pub const SAGA_BYTES_MAX: usize = 1024 * 1024;
