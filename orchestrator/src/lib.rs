//! The orchestrator: API, shard engine, store and the `amends` command.

pub mod dev;
