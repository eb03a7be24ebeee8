//! The conformance kit: a worker's author runs it against the own handlers.
//!
//! [`Bench`] runs a worker on a real Postgres and the in-process bus, stops the world at chosen
//! points and turns the clock; [`conformance()`] is a suite of scenarios that every worker must pass:
//! duplicates, a compensate before its execute, both at once, a crash between commit and reply, an
//! expired command, a second round, and for external actions a compensate and a crash while the
//! call is in the air. For tests only: it panics where a rule is broken.

mod bench;
mod commands;
mod conformance;
mod gate;
mod memory;

pub use bench::{Bench, TestClock};
pub use commands::{again, compensate, execute, round};
pub use conformance::{Air, Subject, conformance};
pub use gate::Gate;
pub use memory::MemoryInbox;
