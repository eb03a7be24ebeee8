//! Waiting for a condition, bounded. It must not be used to let time pass: a wait ends when its
//! condition holds, or fails the test.

use std::time::{Duration, Instant};

const POLL_MS: u64 = 10;

/// Polls until `holds` is true.
///
/// # Panics
/// When it is not within `deadline_ms`; the message says `what` was waited for.
#[track_caller]
pub fn eventually<F>(what: &str, deadline_ms: u64, mut holds: F) -> impl Future<Output = ()>
where
    F: AsyncFnMut() -> bool,
{
    let caller = std::panic::Location::caller();
    async move {
        wait(what, deadline_ms, caller, async || holds().await.then_some(())).await;
    }
}

/// Polls until `find` gives something, and returns it.
///
/// # Panics
/// When it does not within `deadline_ms`; the message says `what` was waited for.
#[track_caller]
pub fn until_some<T, F>(what: &str, deadline_ms: u64, find: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    wait(what, deadline_ms, std::panic::Location::caller(), find)
}

async fn wait<T, F>(
    what: &str,
    deadline_ms: u64,
    caller: &'static std::panic::Location<'static>,
    mut find: F,
) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = Instant::now() + Duration::from_millis(deadline_ms);
    let polling = async {
        loop {
            if let Some(found) = find().await {
                return found;
            }
            // The last poll is after the deadline, so that a starved machine does not fail a test
            // whose condition holds by now.
            assert!(Instant::now() < deadline, "not within {deadline_ms} ms: {what} (at {caller})");
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
    };
    // A poll that hangs must not hang the test.
    match tokio::time::timeout(Duration::from_millis(deadline_ms.saturating_mul(2) + 1_000), polling).await {
        Ok(found) => found,
        Err(_) => panic!("hung while waiting {deadline_ms} ms for: {what} (at {caller})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_once_the_condition_holds() {
        let mut polls = 0;
        eventually("three polls", 5_000, async || {
            polls += 1;
            polls == 3
        })
        .await;
        assert_eq!(polls, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not within 20 ms: never")]
    async fn fails_when_it_never_holds() {
        eventually("never", 20, async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "hung while waiting 20 ms for: a poll that hangs")]
    async fn fails_when_a_poll_hangs() {
        eventually("a poll that hangs", 20, async || std::future::pending().await).await;
    }
}
