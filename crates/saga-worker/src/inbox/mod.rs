//! The inbox: the barrier's rows in the worker's own database.
//!
//! Owns the rows' shape, their statements and their pruning. What a row means for a command is
//! decided in `barrier`, not here.

mod partitions;
mod row;
mod sql;

use sqlx::PgPool;

use crate::clock::{Clock, SystemClock};
use crate::worker::WorkerError;

pub(crate) use partitions::maintain;
pub(crate) use row::{Fate, Key, Row};
pub(crate) use sql::{probe, probe_locked, write};

/// Makes or updates the inbox tables (schema `saga_inbox`) in the worker's database. To be called
/// with the worker's own migrations, before [`crate::Worker::run`].
///
/// # Errors
/// When the database cannot be reached or the role may not create a schema.
pub async fn migrate(pool: &PgPool) -> Result<(), WorkerError> {
    let mut migrator = sqlx::migrate!();
    // While an upgrade rolls, a process of the old version may start again on a database of the new one.
    migrator.set_ignore_missing(true);
    migrator.create_schema("saga_inbox");
    // A table of its own, so that the worker's migrations keep theirs.
    migrator.dangerous_set_table_name("saga_inbox.migrations");
    migrator.run(pool).await?;
    partitions::maintain(pool, SystemClock.now_ms(), None).await?;
    Ok(())
}
