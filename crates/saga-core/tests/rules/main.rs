//! The semantics, a test a rule. Each test is named after its rule and quotes it.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod backward;
mod children;
mod fan_out;
mod forward;
mod hold;
mod identity;
mod late;
mod notices;
mod operators;
mod outputs;
mod park;
mod pivot;
mod retry;
mod signals;
mod size;
mod unknown;
