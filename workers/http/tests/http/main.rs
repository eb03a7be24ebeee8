//! The worker `http` against a real server, with steps as authors write them.

#![allow(clippy::unwrap_used)]

mod calls;
mod carrier;
mod conformance;
mod support;
