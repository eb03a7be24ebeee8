//! A stand-in for Toss Payments: the same API, books of its own, and faults on demand.
//!
//! For development and tests. It is the outside world's truth there: its ledger outlives restarts
//! (an append-only journal) and is what the shop's books are compared with. It shares no code with
//! the payment worker, so that a misreading of the vendor's API cannot hide in both.
//!
//! Facts: <https://docs.tosspayments.com/reference>. Two choices are the sandbox's own, because the
//! reference leaves them open: an answer is kept under its idempotency key unless it is passing
//! (5xx, 409, `PROVIDER_ERROR`, `FORBIDDEN_CONSECUTIVE_REQUEST`), and an order may have several
//! payments (a ledger that shows a double charge is worth more than one that refuses it).
//!
//! The surface under `/sandbox/` is not the vendor's: see [`dev`].

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;

mod api;
pub mod book;
mod connection;
pub mod dev;
pub mod errors;
mod exchange;
pub mod faults;
mod hold;
mod journal;
mod operations;
pub mod payment;
mod webhook;

pub use connection::Scissors;
pub use faults::{FATES, Fault, Lost, MAGIC_PREFIX, Rule};
pub use journal::JournalError;
pub use operations::SESSION_MS;

use exchange::Exchange;

/// The secret key that a sandbox accepts unless it is told otherwise.
pub const DEFAULT_SECRET_KEY: &str = "test_sk_amends";

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The secret keys that are accepted; each begins with `test_sk_` or `live_sk_`.
    pub secret_keys: Vec<String>,
    /// Where the journal lies; without it nothing outlives the process.
    pub data_dir: Option<PathBuf>,
    /// Where webhooks go; without it none are sent.
    pub webhook_url: Option<String>,
    /// How long a minute of the vendor's webhook retries lasts here, in ms.
    pub webhook_minute_ms: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            secret_keys: vec![DEFAULT_SECRET_KEY.to_owned()],
            data_dir: None,
            webhook_url: None,
            webhook_minute_ms: 1_000,
        }
    }
}

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its HTTP client for webhooks cannot be made.
    #[error("the webhooks' HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    exchange: Arc<Exchange>,
}

impl Sandbox {
    /// Opens the books and, with a webhook URL, begins to deliver. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// When the journal cannot be read, is damaged, or is in use by another process.
    pub fn open(config: SandboxConfig) -> Result<Self, SandboxError> {
        Ok(Self { exchange: Exchange::open(config)? })
    }

    /// The routes. A lost answer can close its connection only under [`Sandbox::serve`]; elsewhere
    /// it is silence.
    pub fn router(&self) -> Router {
        api::routes(Arc::clone(&self.exchange)).merge(dev::routes(Arc::clone(&self.exchange)))
    }

    /// Serves until `shutdown` resolves. Requests that are held in silence are let go then.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        self.serve_with(Router::new(), listener, shutdown).await
    }

    /// The same, with others' routes beside its own.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_with(
        &self,
        others: Router,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let service = self.router().merge(others).into_make_service_with_connect_info::<Scissors>();
        let silence = self.exchange.closing.clone();
        let shutdown = async move {
            shutdown.await;
            silence.cancel();
        };
        axum::serve(connection::CuttableListener(listener), service).with_graceful_shutdown(shutdown).await
    }
}

/// The routes of a new sandbox, for embedding into another server.
///
/// # Errors
/// As [`Sandbox::open`].
pub fn app(config: SandboxConfig) -> Result<Router, SandboxError> {
    Ok(Sandbox::open(config)?.router())
}
