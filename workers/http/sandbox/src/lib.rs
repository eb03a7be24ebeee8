//! A stand-in for a carrier that comes for parcels: the REST API that `saga-defs/order-delivery.yaml` calls.
//!
//! For development and tests. It shares no code with the worker `http`. What it answers follows from the address:
//! one with `nowhere` in it is not served, and one with `flaky` loses the first answer to each request.
//! `GET /sandbox/pickups` shows its books.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;

mod api;
mod books;

pub use books::BooksError;

/// The host that the sandbox stands for.
pub const HOST: &str = "api.carrier.example";
/// The key that a sandbox accepts unless it is told otherwise.
pub const DEFAULT_KEY: &str = "carrier_test_key";

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key that requests must bring.
    pub key: String,
    /// Where the books lie; without it nothing outlives the process.
    pub data_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { key: DEFAULT_KEY.to_owned(), data_dir: None }
    }
}

/// Opens the books and makes the routes.
///
/// # Errors
/// When the books cannot be read, or are in use by another process.
pub fn routes(config: Config) -> Result<Router, BooksError> {
    let books = books::Books::open(config.data_dir.as_deref())?;
    Ok(api::routes(Arc::new(api::Carrier::new(config.key, books))))
}
