//! A bus whose replies can be held back: the window between commit and reply, held open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use saga_bus::in_process::InProcess;
use saga_bus::{
    Bus, BusError, From, LogId, Outgoing, Pace, Receipt, Subscription, Tail, TopicPartition, TopicSpec,
    Watermarks,
};
use tokio::sync::watch;

/// An in-process bus with a gate before one topic.
#[derive(Debug)]
pub struct Gate {
    inner: Arc<InProcess>,
    topic: String,
    shut: watch::Sender<bool>,
    held: AtomicUsize,
}

impl Gate {
    /// A gate before `topic`, open.
    pub fn new(inner: Arc<InProcess>, topic: String) -> Arc<Self> {
        Arc::new(Self { inner, topic, shut: watch::Sender::new(false), held: AtomicUsize::new(0) })
    }

    /// Holds whatever is published to the topic from now on.
    pub fn shut(&self) {
        self.held.store(0, Ordering::SeqCst);
        self.shut.send_replace(true);
    }

    /// Lets everything through again.
    pub fn open(&self) {
        self.shut.send_replace(false);
    }

    /// How many publishes were held since the gate was shut.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Bus for Gate {
    async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt {
        if records.iter().any(|record| *record.topic == *self.topic) {
            let mut shut = self.shut.subscribe();
            if *shut.borrow_and_update() {
                self.held.fetch_add(1, Ordering::SeqCst);
                // The sender lives as long as the gate.
                let _ = shut.wait_for(|shut| !shut).await;
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
