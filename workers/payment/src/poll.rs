//! The pause of whatever watches a table: none while there is something to do.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

const IDLE_WAIT: Duration = Duration::from_millis(500);

/// Rests after a pass over `what`, which says how much it did; at once when there may be more, or at `shutdown`.
pub(crate) async fn rest(what: &str, pass: Result<usize, sqlx::Error>, shutdown: &CancellationToken) {
    match pass {
        Ok(0) => {}
        Ok(_) => return,
        Err(error) => tracing::error!(%error, "{what} cannot be looked into"),
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(IDLE_WAIT) => {}
    }
}
