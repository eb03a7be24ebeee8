//! The built-in worker `http`: makes the REST calls that stand in definitions (`http:` steps), and undoes them by
//! others.
//!
//! Owns requests, secrets and where calls may go. It must not know sagas, nor log what is sent or answered.

mod calls;
pub mod input;
pub mod network;
mod request;
mod routes;
pub mod secrets;
mod verdict;

use saga_worker::{BreakerPolicy, ExternalPolicy, Worker, WorkerError};
use sqlx::PgPool;

pub use calls::{Calls, Config, ConfigError};
pub use routes::routes;

/// The worker's name in topics; definitions do not name it, they write `http:`.
pub const NAME: &str = "http";

/// How long a request's answer may still take effect on the other side after the client has given up, in ms.
pub const WINDOW_MS_DEFAULT: u32 = 2 * 60 * 1000;
/// The longest request that a definition may ask for, and the inquiry that it may need before it.
const CLIENT_TIMEOUT_MS: u32 = 45_000;
/// How long a call may wait for its turn after its intent was recorded.
const QUEUED_MS: u32 = 15_000;

/// The worker, with its action. `window_ms` is how long the other sides may take to act on a request that nobody
/// waits for any more.
pub fn worker(pool: PgPool, calls: Calls, window_ms: u32) -> Worker {
    let policy = ExternalPolicy {
        concurrency: 256,
        client_timeout_ms: CLIENT_TIMEOUT_MS,
        window_ms,
        not_after_ms: CLIENT_TIMEOUT_MS + QUEUED_MS,
        // One action calls many hosts: those that answer must not wait for one that does not.
        breaker: BreakerPolicy { failures: u32::MAX, ..BreakerPolicy::default() },
        ..ExternalPolicy::default()
    };
    Worker::builder(NAME, env!("CARGO_PKG_VERSION"), pool)
        .external("call", Some("undo"), calls, policy)
        .build()
}

/// Brings the worker's database up to date: it holds the inbox and nothing else.
///
/// # Errors
/// When the database cannot be reached.
pub async fn migrate(pool: &PgPool) -> Result<(), WorkerError> {
    saga_worker::migrate(pool).await
}
