//! The shop's payment worker: `confirm` at Toss Payments (undone by `cancel`), `refund`, `decide` without a
//! vendor (undone by `undo_decide`), the vendor's webhooks, deposits into virtual accounts, and a small read API.
//!
//! Owns the payments and nothing else: it must not know orders or stock, and of the orchestrator only where a
//! signal goes. The vendor's books are the truth; the tables here follow them.

mod cancel;
mod confirm;
pub mod decide;
pub mod deposit;
pub mod input;
pub mod payments;
mod poll;
pub mod refund;
pub mod routes;
mod secrets;
pub mod store;
pub mod toss;
pub mod verdict;
pub mod webhook;

use saga_worker::{ExternalPolicy, Worker, WorkerBuilder, WorkerError};
use sqlx::PgPool;

pub use routes::routes;

/// The worker's name in definitions and topics.
pub const NAME: &str = "payment";

/// For how long after it was sent Toss may still act on a request: a confirm ends with the ten
/// minutes of its session; a cancel is given the same.
const WINDOW_MS: u32 = 10 * 60 * 1000;
/// Two inquiries: one before a call that is older than idempotency keys, one after a doubtful answer.
const INQUIRIES_MS: u32 = 20_000;
/// How long a call may wait for its turn after its intent was recorded.
const QUEUED_MS: u32 = 15_000;

/// The worker, with its actions.
pub fn worker(pool: PgPool, toss: toss::Client) -> Worker {
    let policy = policy(&toss);
    builder(pool, toss, policy).build()
}

/// How Toss is called: a call may take the client's timeout and the inquiries around it.
pub fn policy(toss: &toss::Client) -> ExternalPolicy {
    let timeout_ms = u32::try_from(toss.timeout_ms()).unwrap_or(u32::MAX / 4);
    let client_timeout_ms = timeout_ms.saturating_add(INQUIRIES_MS);
    ExternalPolicy {
        concurrency: 256,
        client_timeout_ms,
        window_ms: WINDOW_MS,
        not_after_ms: client_timeout_ms.saturating_add(QUEUED_MS),
        ..ExternalPolicy::default()
    }
}

/// The worker before it is built, with a policy of the caller's.
pub fn builder(pool: PgPool, toss: toss::Client, policy: ExternalPolicy) -> WorkerBuilder {
    let refunds = refund::Refunds::new(toss.clone(), pool.clone());
    Worker::builder(NAME, env!("CARGO_PKG_VERSION"), pool)
        .external("refund", None, refunds, policy.clone())
        .schemas(refund::schema(), Some(refund::output_schema()))
        .external("confirm", Some("cancel"), payments::Payments::new(toss), policy)
        .schemas(input::payment_schema(), Some(input::confirmed_schema()))
        .transactional("decide", Some("undo_decide"), decide::Decide)
        .schemas(input::decision_schema(), None)
}

/// Brings the worker's database (schema `amends_payment`, and the inbox) up to date.
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
