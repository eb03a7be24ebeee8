//! The shop's order worker: `create` (undone by `cancel`), `complete`, the actions of returns, and a small read API.
//!
//! Owns the orders and nothing else: it must not know stock, payments or the orchestrator. What an
//! order id is follows Toss Payments' rule for `orderId`, because payments carry it.

pub mod complete;
pub mod create;
pub mod input;
pub mod returns;
pub mod routes;
pub mod store;

use saga_worker::{Worker, WorkerError};
use sqlx::PgPool;

pub use routes::routes;

/// The worker's name in definitions and topics.
pub const NAME: &str = "order";

/// The worker, with its actions.
pub fn worker(pool: PgPool) -> Worker {
    Worker::builder(NAME, env!("CARGO_PKG_VERSION"), pool)
        .transactional("create", Some("cancel"), create::Create)
        .schemas(input::create_schema(), None)
        .transactional("complete", None, complete::Complete)
        .schemas(input::complete_schema(), None)
        .transactional("open_return", Some("close_return"), returns::Open)
        .schemas(returns::open_schema(), None)
        .transactional("decide_return", None, returns::Decide)
        .schemas(returns::decide_schema(), None)
        .build()
}

/// Brings the worker's database (schema `amends_order`, and the inbox) up to date.
///
/// # Errors
/// When the database cannot be reached, or an applied migration was changed afterwards.
pub async fn migrate(pool: &PgPool) -> Result<(), WorkerError> {
    let mut migrator = sqlx::migrate!();
    // While an upgrade rolls, a process of the old version may start again on a database of the new one.
    migrator.set_ignore_missing(true);
    // A schema and a ledger of its own, so that the SDK's migrations can live in the same database.
    migrator.create_schema(store::SCHEMA);
    migrator.dangerous_set_table_name(format!("{}.migrations", store::SCHEMA));
    migrator.run(pool).await?;
    saga_worker::migrate(pool).await
}
