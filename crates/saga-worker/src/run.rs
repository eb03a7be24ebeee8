//! A worker at work: consumers, pipelines and announcements, from start to drain.

use std::sync::Arc;

use saga_bus::Bus;
use saga_protocol::Topics;
use tokio_util::sync::CancellationToken;

use crate::worker::{Shared, WorkerError};

/// Runs a worker until `shutdown`.
pub(crate) async fn run(
    shared: Arc<Shared>,
    _bus: Arc<dyn Bus>,
    _topics: Topics,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    tracing::info!(worker = shared.name, "worker started");
    shutdown.cancelled().await;
    Ok(())
}
