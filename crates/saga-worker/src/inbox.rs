//! The inbox: the barrier's rows in the worker's own database.

use sqlx::PgPool;

use crate::worker::WorkerError;

/// Makes or updates the inbox tables (schema `saga_inbox`) in the worker's database. To be called
/// with the worker's own migrations, before [`crate::Worker::run`].
///
/// # Errors
/// When the database cannot be reached or the role may not create a schema.
pub async fn migrate(pool: &PgPool) -> Result<(), WorkerError> {
    sqlx::query("create schema if not exists saga_inbox").execute(pool).await?;
    Ok(())
}
