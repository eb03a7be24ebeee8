//! The step worker `__NAME__`: `book`, undone by `cancel_booking`.
//!
//! Owns its database. It must not know who asks, nor what other steps there are.

pub mod booking;

use saga_worker::{Worker, WorkerError};
use sqlx::PgPool;

/// The worker's name in definitions and topics.
pub const NAME: &str = "__NAME__";

/// The worker, with its actions.
pub fn worker(pool: PgPool) -> Worker {
    Worker::builder(NAME, env!("CARGO_PKG_VERSION"), pool)
        .transactional("book", Some("cancel_booking"), booking::Book)
        .schemas(booking::input_schema(), None)
        .build()
}

/// Brings the worker's tables and the inbox up to date.
///
/// # Errors
/// When the database cannot be reached, or an applied migration was changed afterwards.
pub async fn migrate(pool: &PgPool) -> Result<(), WorkerError> {
    sqlx::migrate!().run(pool).await?;
    saga_worker::migrate(pool).await
}
