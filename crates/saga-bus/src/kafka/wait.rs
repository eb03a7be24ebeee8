//! Waiting for a future on a thread that is not a runtime's. It must not need a runtime: librdkafka's
//! callbacks run while runtimes shut down.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the future is ready; `None` when `deadline` comes first.
pub(super) fn block_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[test]
    fn ends_with_the_answer_or_at_the_deadline() {
        let far = || Instant::now() + Duration::from_secs(60);
        let (sender, receiver) = oneshot::channel();
        let answering = thread::spawn(move || sender.send(7));
        assert_eq!(block_until(receiver, far()), Some(Ok(7)));
        assert_eq!(answering.join().expect("no panic"), Ok(()));
        let near = Instant::now() + Duration::from_millis(20);
        assert_eq!(block_until(std::future::pending::<()>(), near), None);
        assert!(Instant::now() >= near);
    }
}
