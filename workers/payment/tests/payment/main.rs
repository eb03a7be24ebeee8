//! The payment worker against a real Postgres and the Toss sandbox over real HTTP.
#![allow(clippy::unwrap_used)]

mod client;
mod conformance;
mod decide;
mod deposits;
mod handler;
mod refund;
mod support;
mod webhooks;
mod worker;
