//! The shop's notify worker: `order_completed` and `order_cancelled`, told to whoever follows
//! `GET /events`.
//!
//! Owns the way from a command to a follower: outbox (in the command's transaction), relay, feed
//! (Redis, or this process's memory), server-sent events. It must not hold up an order: when the
//! feed is away, commands are accepted and the relay catches up later.
//!
//! ```text
//! command ─ tell ─► outbox ─ relay ─► feed ─ sse ─► followers
//! ```

pub mod feed;
pub mod notice;
pub mod outbox;
pub mod relay;
pub mod routes;
pub mod sse;
pub mod tell;

use saga_worker::{Worker, WorkerError};
use sqlx::PgPool;

pub use feed::{Feed, FeedError, open as feed};
pub use relay::relay;
pub use routes::routes;

use crate::notice::Kind;
use crate::tell::Tell;

/// The worker's name in definitions and topics.
pub const NAME: &str = "notify";
/// The schema that holds the tables.
pub const SCHEMA: &str = "amends_notify";

/// The worker, with its actions. Nobody hears of what it accepts until [`relay()`] runs too.
pub fn worker(pool: PgPool) -> Worker {
    Worker::builder(NAME, env!("CARGO_PKG_VERSION"), pool)
        .transactional(Kind::OrderCompleted.as_str(), None, Tell(Kind::OrderCompleted))
        .schemas(notice::schema(), None)
        .transactional(Kind::OrderCancelled.as_str(), None, Tell(Kind::OrderCancelled))
        .schemas(notice::schema(), None)
        .build()
}

/// Brings the worker's database (schema `amends_notify`, and the inbox) up to date.
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
