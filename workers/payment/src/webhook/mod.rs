//! The vendor's webhooks: kept before they are answered, looked into afterwards.
//!
//! `receive` stores, `look` asks the vendor and acts on what *it* says: a webhook carries no
//! signature, so it is only ever a reason to ask.

pub mod look;
pub mod notice;
pub mod receive;

pub use look::run;
