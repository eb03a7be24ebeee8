//! Hints that sagas changed: waiters within the process, and the `saga-events` topic between processes.
//!
//! A hint is never the truth: whoever waits registers first, and reads the row at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use saga_bus::{Bus, From};
use saga_protocol::{SagaChanged, SagaEvents, SagaId};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

/// Live pages that fall further behind than this lose hints, and are told so.
const LIVE_BACKLOG: usize = 1_024;

type Waiting = Mutex<HashMap<SagaId, Vec<oneshot::Sender<()>>>>;

/// Those who wait for sagas to end, and those who watch all changes.
#[derive(Clone, Debug)]
pub struct Waiters {
    waiting: Arc<Waiting>,
    live: broadcast::Sender<Arc<SagaEvents>>,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { waiting: Arc::default(), live: broadcast::Sender::new(LIVE_BACKLOG) }
    }
}

/// A registration for the end of one saga; dropping it takes it back.
#[derive(Debug)]
pub struct Waiter {
    saga: SagaId,
    waiting: Arc<Waiting>,
    ended: oneshot::Receiver<()>,
}

impl Waiters {
    /// Registers for the end (or the parking) of a saga. Read the saga's row after this: it may have ended before.
    pub fn register(&self, saga: SagaId) -> Waiter {
        let (tell, ended) = oneshot::channel();
        self.waiting.lock().entry(saga).or_default().push(tell);
        Waiter { saga, waiting: Arc::clone(&self.waiting), ended }
    }

    /// Every change, as hints.
    pub fn live(&self) -> broadcast::Receiver<Arc<SagaEvents>> {
        self.live.subscribe()
    }

    /// Passes hints on.
    pub(crate) fn notify(&self, events: SagaEvents) {
        {
            let mut waiting = self.waiting.lock();
            if !waiting.is_empty() {
                for changed in events.sagas.iter().filter(|it| it.status != "running") {
                    for tell in waiting.remove(&changed.saga).into_iter().flatten() {
                        let _ = tell.send(());
                    }
                }
            }
        }
        if self.live.receiver_count() > 0 {
            let _ = self.live.send(Arc::new(events));
        }
    }

    /// Follows what other nodes commit, until shut down.
    pub(crate) async fn follow(
        self,
        bus: Arc<dyn Bus>,
        topic: String,
        node: String,
        shutdown: CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            let mut tail = match bus.tail(&topic, From::Latest).await {
                Ok(tail) => tail,
                Err(error) => {
                    tracing::warn!(%error, "cannot follow other nodes' hints; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                        () = shutdown.cancelled() => return,
                    }
                }
            };
            loop {
                let records = tokio::select! {
                    records = tail.records.recv() => records,
                    () = shutdown.cancelled() => return,
                };
                let Some(records) = records else { break };
                for data in records.into_iter().filter_map(|record| record.data) {
                    match SagaEvents::decode(&data) {
                        Ok(events) if events.node != node => self.notify(events),
                        Ok(_) => {}
                        Err(error) => tracing::debug!(%error, "a hint cannot be read"),
                    }
                }
            }
        }
    }
}

impl Waiter {
    /// Waits for the hint, at most `timeout`. `true` when it came.
    pub async fn wait(mut self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, &mut self.ended).await.is_ok_and(|it| it.is_ok())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(tells) = waiting.get_mut(&self.saga) {
            self.ended.close();
            tells.retain(|tell| !tell.is_closed());
            if tells.is_empty() {
                waiting.remove(&self.saga);
            }
        }
    }
}

/// What the status is called in hints.
pub(crate) fn changed(saga: SagaId, state: &saga_core::State) -> SagaChanged {
    SagaChanged { saga, revision: state.revision, status: state.status.word().to_owned() }
}
