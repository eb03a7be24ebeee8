//! The client of Toss Payments.
//!
//! Owns requests, answers and the classes of errors. It must not know sagas or databases, nor decide
//! what an error means for a saga; `confirm` and `cancel` do.

pub mod client;
pub mod error;
pub mod types;

pub use client::{Client, Config, SecretKey};
pub use error::{Class, Operation, Refusal, TossError, classify};
pub use types::{CancelRequest, ConfirmRequest, Payment, RefundAccount, Status};
