//! Requests that are held before they take effect, until somebody lets them go.
//!
//! It must not know what the requests are.

use std::sync::Arc;

use tokio::sync::watch;

/// The place where requests are held.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    releases: u64,
    held: usize,
}

/// A request that was held; counted until it is dropped, that is until its effect has taken place.
#[derive(Debug)]
pub(crate) struct Held {
    state: Arc<watch::Sender<State>>,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Waits for the next release.
    pub(crate) async fn wait(&self) -> Held {
        let mut news = self.state.subscribe();
        let mut before = 0;
        self.state.send_modify(|state| {
            state.held += 1;
            before = state.releases;
        });
        let held = Held { state: Arc::clone(&self.state) };
        // The sender lives in `self`: it cannot be gone.
        let _ = news.wait_for(|state| state.releases != before).await;
        held
    }

    /// How many are held, or were and have not taken effect yet.
    pub(crate) fn held(&self) -> usize {
        self.state.borrow().held
    }

    /// Lets all go and waits until they have taken effect.
    pub(crate) async fn release(&self) {
        let mut news = self.state.subscribe();
        self.state.send_modify(|state| state.releases += 1);
        let _ = news.wait_for(|state| state.held == 0).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.held -= 1);
    }
}
