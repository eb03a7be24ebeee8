//! Hints that sagas changed: waiters within the process, and the `saga-events` topic between processes.
//!
//! A hint is never the truth: whoever waits registers first, and reads the row at the end. Only what this process
//! has committed itself comes with the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use saga_bus::{Bus, From};
use saga_core::{Event, Payloads, State};
use saga_protocol::{SagaChanged, SagaEvents, SagaId};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::store::definitions::Published;

/// Live pages that fall further behind than this lose hints, and are told so.
const LIVE_BACKLOG: usize = 1_024;

type Waiting = Mutex<HashMap<SagaId, Vec<oneshot::Sender<Option<Arc<Ended>>>>>>;

/// A saga at its end, as it was committed.
#[derive(Debug)]
pub struct Ended {
    /// Its definition.
    pub definition: Arc<Published>,
    /// Its last state.
    pub state: State,
    /// Its input and outputs.
    pub payloads: Payloads,
    /// The answers that changed it, from the first with an error on; `None` when only its history knows them.
    pub answers: Option<Vec<Event>>,
}

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
    ended: oneshot::Receiver<Option<Arc<Ended>>>,
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

    /// Whether somebody waits for the saga.
    pub(crate) fn waits_for(&self, saga: SagaId) -> bool {
        self.waiting.lock().contains_key(&saga)
    }

    /// Passes hints on, and with them the ends that this process has committed.
    pub(crate) fn notify(&self, events: SagaEvents, ended: &HashMap<SagaId, Arc<Ended>>) {
        {
            let mut waiting = self.waiting.lock();
            if !waiting.is_empty() {
                for changed in events.sagas.iter().filter(|it| it.status != "running") {
                    for tell in waiting.remove(&changed.saga).into_iter().flatten() {
                        let _ = tell.send(ended.get(&changed.saga).cloned());
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
                let others = records.into_iter().filter(|record| !SagaEvents::is_of(&record.headers, &node));
                for data in others.filter_map(|record| record.data) {
                    match SagaEvents::decode(&data) {
                        Ok(events) => self.notify(events, &HashMap::new()),
                        Err(error) => tracing::debug!(%error, "a hint cannot be read"),
                    }
                }
            }
        }
    }
}

impl Waiter {
    /// Waits for the hint, at most `timeout`. The saga's end when this process has committed it; otherwise the
    /// row is to be read.
    pub async fn wait(mut self, timeout: Duration) -> Option<Arc<Ended>> {
        tokio::time::timeout(timeout, &mut self.ended).await.ok()?.ok()?
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
    SagaChanged { saga, revision: state.revision, status: state.status.word().into() }
}
