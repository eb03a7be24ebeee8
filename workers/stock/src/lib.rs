//! The shop's stock worker: `reserve` (undone by `release`), `commit` and `restock`, and a small API.
//!
//! Owns what lies on the shelf, what is promised and what was sold. It must not know prices, orders'
//! contents or the orchestrator.
//!
//! It never oversells: a batch first locks the rows of all its SKUs, in the SKUs' order, then decides
//! in memory, command by command in their order of arrival, and then changes each row once. The
//! tables' constraints hold the same books again.

pub mod allocate;
pub mod books;
pub mod commit;
pub mod input;
pub mod reservations;
pub mod reserve;
pub mod restock;
pub mod routes;

use saga_worker::{Worker, WorkerError};
use sqlx::PgPool;

pub use routes::routes;

/// The worker's name in definitions and topics.
pub const NAME: &str = "stock";
/// The schema that holds the tables.
pub const SCHEMA: &str = "amends_stock";

/// The worker, with its actions.
pub fn worker(pool: PgPool) -> Worker {
    Worker::builder(NAME, env!("CARGO_PKG_VERSION"), pool)
        .transactional("reserve", Some("release"), reserve::Reserve)
        .schemas(input::reserve_schema(), None)
        .transactional("commit", None, commit::Commit)
        .schemas(input::commit_schema(), None)
        .transactional("restock", None, restock::Restock)
        .schemas(input::restock_schema(), None)
        .build()
}

/// Brings the worker's database (schema `amends_stock`, and the inbox) up to date.
///
/// # Errors
/// When the database cannot be reached, or an applied migration was changed afterwards.
pub async fn migrate(pool: &PgPool) -> Result<(), WorkerError> {
    let mut migrator = sqlx::migrate!();
    // While an upgrade rolls, a process of the old version may start again on a database of the new one.
    migrator.set_ignore_missing(true);
    // A schema and a ledger of its own, so that the SDK's migrations can live in the same database.
    migrator.create_schema(SCHEMA);
    migrator.dangerous_set_table_name(format!("{SCHEMA}.migrations"));
    migrator.run(pool).await?;
    saga_worker::migrate(pool).await
}
