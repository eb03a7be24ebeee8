//! The orchestrator: API, shard engine, store and the `amends` command.
//!
//! - [`api`] is HTTP, [`cli`] the command, [`dev`] everything in one go
//! - [`auth`] is sign-in: who asks, and what they may
//! - [`start`] makes a durable saga of an accepted request
//! - [`shard`] owns running sagas
//! - [`outbox`] publishes commands, and hears back
//! - [`projection`] is what operators search by; [`deeds`], [`settle`], [`replay`], [`jobs`], [`what_if`], [`reconcile`] and [`holds`] what they do
//! - [`store`] is Postgres
//! - [`engine`] puts these together

pub mod api;
pub mod auth;
pub mod cli;
pub mod clock;
mod dead_letters;
pub mod deeds;
pub mod dev;
pub mod engine;
pub mod health;
pub mod hints;
pub mod holds;
mod intake;
pub mod jobs;
pub mod outbox;
pub mod projection;
pub mod reconcile;
pub mod replay;
pub mod settle;
pub mod shard;
pub mod start;
pub mod store;
pub mod torture;
pub mod what_if;
pub mod workers;

pub use engine::{Engine, EngineConfig, Running};
