//! Publishing. Owns the producers and what they say of each record; it must not send again by itself
//! (whoever published decides), except what librdkafka retries within the delivery timeout.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::{Mutex, RwLock};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;

use super::config::KafkaConfig;
use super::{broker, context};
use crate::{BusError, Outgoing, Pace, PublishError, RECORD_BYTES_MAX, Receipt};

/// How long company is waited for under load.
const LINGER_MS: u32 = 2;
/// How long to wait for room in the local queue before trying again.
const FULL_BACKOFF: Duration = Duration::from_millis(2);

/// The two producers. Order is kept within each.
pub(super) struct Producers {
    now: Slot,
    batch: Slot,
}

impl Producers {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, BusError> {
        Ok(Self { now: Slot::new(config.producer(0))?, batch: Slot::new(config.producer(LINGER_MS))? })
    }

    /// Hands the records over, in order; waits while the local queue is full.
    pub(super) async fn publish(&self, records: Vec<Outgoing>, pace: Pace) -> Receipt {
        let slot = match pace {
            Pace::Now => &self.now,
            Pace::Batch => &self.batch,
        };
        let count = records.len();
        if count == 0 {
            return futures::future::ready(Vec::new()).boxed();
        }
        let producer = match slot.healthy() {
            Ok(producer) => producer,
            Err(error) => {
                let failed = PublishError { reason: error.to_string(), permanent: false };
                return futures::future::ready(vec![Err(failed); count]).boxed();
            }
        };
        let (batch, receipt) = Batch::new(count);
        for (index, outgoing) in records.iter().enumerate() {
            hand_over(&producer, outgoing, Box::new(Delivery { batch: batch.clone(), index })).await;
        }
        async move { receipt.await.unwrap_or_else(|_| vec![Err(gone()); count]) }.boxed()
    }

    /// Sends what is queued; blocks until that is done or the time is over.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        for slot in [&self.now, &self.batch] {
            let producer = slot.current.read().clone();
            if let Err(error) = producer.flush(deadline.saturating_duration_since(Instant::now())) {
                tracing::warn!(
                    left = producer.in_flight_count(),
                    "records were not acknowledged before closing: {error}"
                );
            }
        }
    }
}

async fn hand_over(producer: &BaseProducer<Deliveries>, outgoing: &Outgoing, mut delivery: Box<Delivery>) {
    let message = &outgoing.message;
    if message.key.len() + message.data.len() > RECORD_BYTES_MAX {
        let reason = format!("larger than {RECORD_BYTES_MAX} bytes");
        delivery.settle(Err(PublishError { reason, permanent: true }));
        return;
    }
    loop {
        match send(producer, outgoing, delivery) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                delivery = back;
                tokio::time::sleep(FULL_BACKOFF).await;
            }
            Err((error, back)) => {
                back.settle(Err(failure(&error)));
                return;
            }
        }
    }
}

fn send(
    producer: &BaseProducer<Deliveries>,
    outgoing: &Outgoing,
    delivery: Box<Delivery>,
) -> Result<(), (KafkaError, Box<Delivery>)> {
    let message = &outgoing.message;
    let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&outgoing.topic, delivery);
    record.partition = outgoing.partition;
    record.key = (!message.key.is_empty()).then_some(&message.key[..]);
    record.payload = (!message.data.is_empty()).then_some(&message.data[..]);
    if !message.headers.0.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.0.len());
        for (key, value) in &message.headers.0 {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        record.headers = Some(headers);
    }
    producer.send(record).map_err(|(error, record)| (error, record.delivery_opaque))
}

/// One producer, replaced when it has failed for good.
struct Slot {
    config: ClientConfig,
    current: RwLock<Arc<Polled>>,
}

impl Slot {
    fn new(config: ClientConfig) -> Result<Self, BusError> {
        let producer = Polled::new(&config)?;
        Ok(Self { config, current: RwLock::new(Arc::new(producer)) })
    }

    /// The producer, or its successor: an idempotent one that meets a log which contradicts it (a
    /// broker that lost its disk) refuses everything from then on.
    fn healthy(&self) -> Result<Arc<Polled>, BusError> {
        let current = self.current.read().clone();
        let Some((_, reason)) = current.client().fatal_error() else { return Ok(current) };
        let mut slot = self.current.write();
        if Arc::ptr_eq(&slot, &current) {
            tracing::error!("a producer failed for good and is replaced: {reason}");
            let failed = std::mem::replace(&mut *slot, Arc::new(Polled::new(&self.config)?));
            // Dropping waits for its thread.
            std::thread::spawn(move || drop((failed, current)));
        }
        Ok(slot.clone())
    }
}

/// How long the thread of a producer waits for acknowledgements at a time; as late it notices that the producer is gone.
/// The binding's own thread waits for 100 ms, and spins through the last one of each wait: a hundredth of a processor, for
/// each producer of each process.
const POLL: Duration = Duration::from_millis(250);

/// A producer with a thread that hears of acknowledgements.
struct Polled {
    producer: Arc<BaseProducer<Deliveries>>,
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Polled {
    fn new(config: &ClientConfig) -> Result<Self, BusError> {
        let producer: Arc<BaseProducer<_>> =
            Arc::new(config.create_with_context(Deliveries).map_err(broker)?);
        let gone = Arc::new(AtomicBool::new(false));
        let of_thread = (Arc::clone(&producer), Arc::clone(&gone));
        let thread = std::thread::Builder::new()
            .name("kafka receipts".to_owned())
            .spawn(move || {
                let (producer, gone) = of_thread;
                while !gone.load(Ordering::Relaxed) {
                    producer.poll(POLL);
                }
            })
            .map_err(|error| BusError::Broker(format!("no thread for a producer: {error}")))?;
        Ok(Self { producer, gone, thread: Some(thread) })
    }
}

impl Deref for Polled {
    type Target = BaseProducer<Deliveries>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        // Only a panic ends it otherwise, and that has been told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::log_error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Self::DeliveryOpaque) {
        delivery.settle(match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(failure(error)),
        });
    }
}

/// One record of a batch.
struct Delivery {
    batch: Arc<Batch>,
    index: usize,
}

impl Delivery {
    fn settle(&self, result: Result<(), PublishError>) {
        self.batch.settle(self.index, result);
    }
}

/// The records of one publish: one answer for all of them.
struct Batch(Mutex<Results>);

struct Results {
    results: Vec<Result<(), PublishError>>,
    left: usize,
    done: Option<oneshot::Sender<Vec<Result<(), PublishError>>>>,
}

impl Batch {
    fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<Result<(), PublishError>>>) {
        let (done, receipt) = oneshot::channel();
        let results = Results { results: vec![Ok(()); count], left: count, done: Some(done) };
        (Arc::new(Self(Mutex::new(results))), receipt)
    }

    fn settle(&self, index: usize, result: Result<(), PublishError>) {
        let mut batch = self.0.lock();
        batch.results[index] = result;
        batch.left -= 1;
        if batch.left == 0
            && let Some(done) = batch.done.take()
        {
            // Nobody may be waiting.
            let _ = done.send(std::mem::take(&mut batch.results));
        }
    }
}

fn gone() -> PublishError {
    PublishError {
        reason: "the bus was closed before the record was acknowledged".to_owned(),
        permanent: false,
    }
}

fn failure(error: &KafkaError) -> PublishError {
    let permanent = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
        )
    );
    PublishError { reason: error.to_string(), permanent }
}
