//! The orchestrator: API, shard engine, store and the `amends` command.
//!
//! - [`api`]: HTTP; [`cli`]: the command; [`dev`]: everything in one go
//! - [`start`]: from an accepted request to a durable saga
//! - [`shard`]: the owner of running sagas
//! - [`outbox`]: what is published, and the way back
//! - [`store`]: Postgres
//! - [`engine`] puts these together

pub mod api;
pub mod cli;
pub mod clock;
mod dead_letters;
pub mod dev;
pub mod engine;
pub mod health;
pub mod hints;
pub mod outbox;
pub mod shard;
pub mod start;
pub mod store;
pub mod workers;

pub use engine::{Engine, EngineConfig, Running};
