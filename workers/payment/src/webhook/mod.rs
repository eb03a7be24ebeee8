//! The vendor's webhooks: kept before they are answered, looked into afterwards.
//!
//! `receive` stores, `look` asks the vendor and acts on what *it* says: a webhook carries no
//! signature, so it is only ever a reason to ask, and not even that where it tells what is recorded.

pub mod look;
pub mod notice;
pub mod receive;

pub use look::run;

/// Whether the database refuses what it was given, whoever gives it how often: then the others of a group are tried
/// by themselves. Source: PostgreSQL 15, appendix A, error codes.
fn is_of_data(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    state.is_some_and(|it| ["21", "22", "23", "44", "54", "P0"].iter().any(|class| it.starts_with(class)))
}
