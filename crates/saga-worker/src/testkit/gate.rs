//! A bus whose replies can be held back: the window between commit and reply, held open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use saga_bus::in_process::InProcess;
use saga_bus::{
    Bus, BusError, From, LogId, Outgoing, Pace, Receipt, Subscription, Tail, TopicPartition, TopicSpec,
    Watermarks,
};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    Shut,
    Swallowing,
}

/// An in-process bus with a gate before one topic.
#[derive(Debug)]
pub struct Gate {
    inner: Arc<InProcess>,
    topic: String,
    state: watch::Sender<State>,
    held: AtomicUsize,
}

impl Gate {
    /// A gate before `topic`, open.
    pub fn new(inner: Arc<InProcess>, topic: String) -> Arc<Self> {
        Arc::new(Self { inner, topic, state: watch::Sender::new(State::Open), held: AtomicUsize::new(0) })
    }

    /// Holds whatever is published to the topic from now on.
    pub fn shut(&self) {
        self.held.store(0, Ordering::SeqCst);
        self.state.send_replace(State::Shut);
    }

    /// Takes whatever is published to the topic from now on, loses it, and never acknowledges it.
    pub fn swallow(&self) {
        self.held.store(0, Ordering::SeqCst);
        self.state.send_replace(State::Swallowing);
    }

    /// Lets everything through again; what was swallowed stays lost.
    pub fn open(&self) {
        self.state.send_replace(State::Open);
    }

    /// How many publishes were held or swallowed since.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Bus for Gate {
    async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt {
        if records.iter().any(|record| *record.topic == *self.topic) {
            let mut state = self.state.subscribe();
            let now = *state.borrow_and_update();
            if now != State::Open {
                self.held.fetch_add(1, Ordering::SeqCst);
            }
            match now {
                State::Open => {}
                State::Shut => {
                    // The sender lives as long as the gate.
                    let _ = state.wait_for(|state| *state != State::Shut).await;
                }
                State::Swallowing => return futures::future::pending().boxed(),
            }
        }
        self.inner.publish(records, pace).await
    }

    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.inner.ensure_topics(topics).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.inner.partitions(topic).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        self.inner.watermarks(partition).await
    }

    async fn log_id(&self, topic: &str) -> Result<LogId, BusError> {
        self.inner.log_id(topic).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Subscription, BusError> {
        self.inner.subscribe(group, topics).await
    }

    async fn tail(&self, topic: &str, from: From) -> Result<Tail, BusError> {
        self.inner.tail(topic, from).await
    }

    async fn close(&self, timeout_ms: u64) {
        self.inner.close(timeout_ms).await;
    }
}
