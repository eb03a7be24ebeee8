//! `amends dev`: everything on one machine, started and stopped together.
//!
//! Owns the servers and processes of a development machine. Nothing in production depends on it.

mod account;
pub mod demo;
pub mod embedded;
pub mod environment;
pub mod examples;
pub mod guard;
pub mod places;
pub mod postgres;
pub mod processes;
pub mod stack;
pub mod supervisor;

pub use account::Account;
pub use postgres::PrivatePostgres;
pub use stack::Stack;
pub use supervisor::{Process, Supervisor};
