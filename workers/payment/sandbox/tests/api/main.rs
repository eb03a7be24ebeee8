//! The sandbox over real HTTP: every fact about the vendor that the payment worker stands on.
#![allow(clippy::unwrap_used)]

mod cancel;
mod confirm;
mod durable;
mod faults;
mod idempotency;
mod support;
mod webhooks;
