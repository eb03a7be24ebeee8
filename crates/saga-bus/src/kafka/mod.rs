//! The bus on Apache Kafka, by librdkafka.
//!
//! Owns the clients and their lives. No Kafka transactions: they cannot cover Postgres, so receivers
//! are idempotent instead. It must not keep offsets that matter: those are in Postgres with the state.

mod assignment;
mod config;
mod context;
mod control;
mod log_id;
mod member;
mod positions;
mod producer;
mod records;
mod tail;
mod topics;
mod wait;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub use self::config::KafkaConfig;
use self::context::Logged;
use self::producer::Producers;
use crate::{
    Bus, BusError, From, LogId, Outgoing, Pace, PublishError, Receipt, Subscription, Tail, TopicPartition,
    TopicSpec, Watermarks,
};

/// Replicas of a new topic where nothing else is said and there are enough brokers.
const REPLICAS: u16 = 3;

/// How long after a topic was made a broker may not have heard of it yet.
const KNOWN_EVERYWHERE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A Kafka cluster.
pub struct Kafka {
    config: KafkaConfig,
    admin: Arc<AdminClient<Logged>>,
    producers: Arc<Producers>,
    members: Mutex<Vec<control::Handle>>,
    /// Topics that were made or found, and when.
    ensured: Mutex<HashMap<String, Instant>>,
    closed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("bootstrap", &self.config.bootstrap).finish_non_exhaustive()
    }
}

impl Kafka {
    /// Makes the clients and waits for a broker.
    ///
    /// # Errors
    /// When no broker answers within the configuration's `connect_timeout_ms`, or a property is wrong.
    pub async fn connect(config: KafkaConfig) -> Result<Arc<Self>, BusError> {
        let admin: AdminClient<Logged> = config.admin().create_with_context(Logged).map_err(broker)?;
        let admin = Arc::new(admin);
        let producers = Arc::new(Producers::new(&config)?);
        let timeout = Duration::from_millis(config.connect_timeout_ms);
        let asked = admin.clone();
        let found = blocking(move || wait_for_broker(&asked, timeout)).await;
        if let Err(error) = found {
            let (bootstrap, timeout_ms) = (&config.bootstrap, config.connect_timeout_ms);
            return Err(BusError::Broker(format!("no Kafka at {bootstrap} within {timeout_ms} ms: {error}")));
        }
        let closed = Arc::new(AtomicBool::new(false));
        Ok(Arc::new(Self {
            config,
            admin,
            producers,
            members: Mutex::default(),
            ensured: Mutex::default(),
            closed,
        }))
    }

    fn open(&self) -> Result<(), BusError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(BusError::Broker("the bus is closed".to_owned()));
        }
        Ok(())
    }

    /// Asks the cluster, on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&AdminClient<Logged>) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, BusError> {
        self.open()?;
        let admin = self.admin.clone();
        blocking(move || question(&admin)).await
    }

    /// Asks the cluster about a topic. Of one that was made a moment ago, some brokers have not heard yet.
    async fn ask_about<T: Send + 'static>(
        &self,
        topic: &str,
        question: impl Fn(&AdminClient<Logged>) -> Result<T, BusError> + Clone + Send + 'static,
    ) -> Result<T, BusError> {
        loop {
            let answer = self.ask(question.clone()).await;
            let fresh = || self.ensured.lock().get(topic).is_some_and(|at| at.elapsed() < KNOWN_EVERYWHERE);
            if !(matches!(answer, Err(BusError::NoTopic(_))) && fresh()) {
                return answer;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn replicas(&self) -> Result<u16, BusError> {
        if let Some(replicas) = self.config.replication_factor {
            return Ok(replicas);
        }
        let brokers = self.ask(|admin| topics::brokers(admin.inner())).await?;
        Ok(u16::try_from(brokers).unwrap_or(REPLICAS).min(REPLICAS))
    }
}

#[async_trait]
impl Bus for Kafka {
    async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt {
        if let Err(error) = self.open() {
            let failed = PublishError { reason: error.to_string(), permanent: false };
            return futures::future::ready(vec![Err(failed); records.len()]).boxed();
        }
        self.producers.publish(records, pace).await
    }

    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.open()?;
        topics::ensure(&self.admin, topics, self.replicas().await?).await?;
        let names: Vec<String> = topics.iter().map(|it| it.name.clone()).collect();
        self.ask(move |admin| topics::wait_until_ready(admin.inner(), &names)).await?;
        let now = Instant::now();
        self.ensured.lock().extend(topics.iter().map(|it| (it.name.clone(), now)));
        Ok(())
    }

    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        let name = topic.to_owned();
        self.ask_about(topic, move |admin| topics::partitions(admin.inner(), &name)).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        let at = partition.clone();
        let question =
            move |admin: &AdminClient<Logged>| positions::watermarks(admin.inner(), &at).map_err(broker);
        self.ask_about(&partition.topic, question).await
    }

    async fn log_id(&self, topic: &str) -> Result<LogId, BusError> {
        let name = topic.to_owned();
        self.ask_about(topic, move |admin| log_id::log_id(admin, &name)).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Subscription, BusError> {
        self.open()?;
        let (subscription, handle) = member::join(&self.config, group, topics)?;
        let mut members = self.members.lock();
        members.retain(|it| !it.has_ended());
        members.push(handle);
        Ok(subscription)
    }

    async fn tail(&self, topic: &str, from: From) -> Result<Tail, BusError> {
        let partitions = self.partitions(topic).await?;
        let (config, closed, topic) = (self.config.clone(), self.closed.clone(), topic.to_owned());
        blocking(move || tail::start(&config, &topic, partitions, from, closed)).await
    }

    async fn close(&self, timeout_ms: u64) {
        self.closed.store(true, Ordering::Relaxed);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms);
        let members = std::mem::take(&mut *self.members.lock());
        let leaving = futures::future::join_all(members.into_iter().map(control::Handle::leave));
        if tokio::time::timeout_at(deadline, leaving).await.is_err() {
            tracing::warn!(timeout_ms, "members have not left their groups in time");
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let producers = self.producers.clone();
        let flushed = blocking(move || {
            producers.flush(left);
            Ok(())
        });
        if let Err(error) = flushed.await {
            tracing::warn!("closing: {error}");
        }
    }
}

/// Asks until a broker answers. librdkafka connects by itself; what is asked too early just fails.
fn wait_for_broker(admin: &AdminClient<Logged>, timeout: Duration) -> Result<(), BusError> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match topics::reachable(admin.inner(), left) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    tokio::task::spawn_blocking(what)
        .await
        .unwrap_or_else(|error| Err(BusError::Broker(format!("a question to Kafka was abandoned: {error}"))))
}

fn broker(error: KafkaError) -> BusError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition,
        ) => BusError::NoTopic(error.to_string()),
        _ => BusError::Broker(error.to_string()),
    }
}
