//! The shop as processes on a real Kafka, Postgres and Redis, and what can go wrong with it.
//!
//! - [`shop`]: databases, topics and processes of one run; the books at its end
//! - [`traffic`]: orders without a pause, and how long one takes from now
//! - [`failpoints`]: processes that die at named places
//! - [`backlog`]: a worker that is down, and very many sagas that wait for it
//! - [`incident`]: an outage, and the two bulk jobs that make it good
//! - [`scenarios`]: servers, connections and processes that misbehave, one command each
//! - [`proxy`], [`servers`], [`echo`]: the means
//!
//! Knows the product only as its users do: processes, the API, topics, databases. What is expected is checked by
//! panicking, as in a test; the command line makes an exit code of it.

#![allow(clippy::missing_panics_doc, reason = "what is expected here is asserted")]

pub mod backlog;
pub mod echo;
pub mod failpoints;
pub mod incident;
pub mod proxy;
pub mod scenarios;
pub mod servers;
pub mod shop;
pub mod traffic;

pub use shop::{Shop, one_at_a_time};
