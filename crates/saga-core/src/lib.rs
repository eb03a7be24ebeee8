//! The pure heart of Amends: definitions, their graph and the state machine.
//!
//! Owns every decision about a saga, in one function, [`step`]. It must not know tokio, sqlx, rdkafka, a
//! clock or a random source: times, ids and randomness arrive in events.

pub mod check;
pub mod child;
pub mod command;
pub mod definition;
pub mod draw;
pub mod event;
pub mod explain;
pub mod machine;
pub mod payloads;
pub mod simulate;
pub mod state;
pub mod time;
pub mod transition;

pub use definition::{Definition, StepIx};
pub use event::{Answer, Event, OperatorAction, What};
pub use machine::{next_due, step};
pub use payloads::Payloads;
pub use state::{Cell, CellRef, Parked, Phase, Run, State, Status, Track, Why};
pub use time::Millis;
pub use transition::{Effect, Illegal, Transition};
