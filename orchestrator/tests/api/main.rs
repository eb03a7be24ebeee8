//! The API over real HTTP, on a real Postgres and the in-process bus.
//!
//! Runtimes have two threads: dropping a test's database blocks one, and a connection that is just being made
//! must still get its answer, or Postgres waits a minute for it.

#![allow(clippy::unwrap_used, missing_docs)]

mod acting;
mod canary;
mod definitions;
mod edges;
mod finding;
mod holding;
mod hostile;
mod issuer;
mod jobs;
mod looking_back;
mod operators;
mod reads;
mod reconciling;
mod second_person;
mod server;
mod sign_in;
mod starts;
#[path = "../support/mod.rs"]
mod support;
