//! The pause of whatever watches a table: none while there is something to do.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

const IDLE_WAIT: Duration = Duration::from_millis(500);
/// While there is something to do, but less than a pass takes: what comes meanwhile shares the next pass.
const COMPANY_WAIT: Duration = Duration::from_millis(100);

/// Rests after a pass over `what`, which says how much it did; at once when it was `full`, or at `shutdown`.
pub(crate) async fn rest(
    what: &str,
    pass: Result<usize, sqlx::Error>,
    full: usize,
    shutdown: &CancellationToken,
) {
    let wait = match pass {
        Ok(count) if count >= full => return,
        Ok(0) => IDLE_WAIT,
        Ok(_) => COMPANY_WAIT,
        Err(error) => {
            tracing::error!(%error, "{what} cannot be looked into");
            IDLE_WAIT
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}
