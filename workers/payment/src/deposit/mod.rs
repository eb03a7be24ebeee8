//! Deposits into virtual accounts: found out at the vendor, kept, and told to the engine as the signal
//! [`SIGNAL`], so that the saga that waits for the money goes on.
//!
//! `rows` keeps what is to be told in the transaction that records the vendor's proof; `tell` delivers it
//! through `engine`; `look` asks about accounts whose webhook may have got lost. It must not decide what a
//! deposit means: the saga does.

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub mod engine;
pub mod look;
pub(crate) mod rows;
pub mod tell;

pub use engine::{Engine, EngineConfig};

use crate::poll;
use crate::toss;

/// The signal by which a saga is told that the money has come.
pub const SIGNAL: &str = "deposited";

/// Follows deposits until `shutdown`. Without an `engine` they are kept, and nobody is told.
pub async fn run(pool: PgPool, toss: toss::Client, engine: Option<Engine>, shutdown: CancellationToken) {
    if engine.is_none() {
        tracing::error!(
            "AMENDS_URL is not set: no saga will be told of a deposit, and whoever pays by virtual account is undone \
             when the wait ends. Set AMENDS_URL, and AMENDS_API_KEY to a key with the role `worker`"
        );
    }
    let looking = async {
        while !shutdown.is_cancelled() {
            poll::rest("open virtual accounts", look::pass(&pool, &toss).await, 1, &shutdown).await;
        }
    };
    let telling = async {
        while !shutdown.is_cancelled() {
            poll::rest("deposits", tell::pass(&pool, engine.as_ref()).await, 1, &shutdown).await;
        }
    };
    // Neither waits for the other: an engine that does not answer keeps nobody from asking the vendor.
    tokio::join!(looking, telling);
}
