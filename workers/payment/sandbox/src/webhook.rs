//! Webhooks out: a notice a change, repeated by the vendor's schedule until it is answered 200.
//!
//! Notices are kept in memory only: a restart forgets those that were not delivered, as a vendor's
//! seventh failed retry does. It must not know why a payment changed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::payment::{Payment, rfc3339_seoul};

/// The vendor's waits between deliveries, in minutes.
const RETRIES_AFTER_MINUTES: [u64; 7] = [1, 4, 16, 64, 256, 1024, 4096];
/// The vendor gives up on an answer after this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const QUEUED_MAX: usize = 100_000;
const DELIVERIES_MAX: usize = 64;

/// One notice.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    transmission_id: String,
    sent_at: String,
    body: Value,
}

impl Notice {
    /// `PAYMENT_STATUS_CHANGED`: the whole payment, no signature.
    pub(crate) fn status_changed(payment: &Payment, now_ms: i64) -> Self {
        let created = rfc3339_seoul(now_ms);
        Self::new(
            json!({ "eventType": "PAYMENT_STATUS_CHANGED", "createdAt": created, "data": payment.render() }),
            created,
        )
    }

    /// `DEPOSIT_CALLBACK`: flat, and without the payment's key.
    pub(crate) fn deposit(payment: &Payment, now_ms: i64) -> Self {
        let created = rfc3339_seoul(now_ms);
        Self::new(
            json!({ "createdAt": created, "secret": payment.secret, "status": payment.status,
                "orderId": payment.order_id, "transactionKey": payment.transaction_key }),
            created,
        )
    }

    fn new(body: Value, sent_at: String) -> Self {
        Self { transmission_id: format!("whtrans_{}", Uuid::now_v7().simple()), sent_at, body }
    }
}

/// The delivery of notices.
#[derive(Debug)]
pub(crate) struct Webhooks {
    queue: mpsc::Sender<Notice>,
}

impl Webhooks {
    pub(crate) fn start(url: String, minute_ms: u64) -> Result<Self, reqwest::Error> {
        // The client is built without a provider of its own; another part of the process may have
        // installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build()?;
        let (queue, mut notices) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(DELIVERIES_MAX));
            while let Some(notice) = notices.recv().await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let (client, url) = (client.clone(), url.clone());
                tokio::spawn(async move {
                    let delivered = deliver(&client, &url, &notice, 0).await;
                    drop(place);
                    if !delivered {
                        repeat(&client, &url, &notice, minute_ms).await;
                    }
                });
            }
        });
        Ok(Self { queue })
    }

    pub(crate) fn send(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            tracing::warn!("a webhook is dropped: {QUEUED_MAX} wait already");
        }
    }
}

async fn repeat(client: &reqwest::Client, url: &str, notice: &Notice, minute_ms: u64) {
    for (retried, minutes) in (1..).zip(RETRIES_AFTER_MINUTES) {
        tokio::time::sleep(Duration::from_millis(minutes * minute_ms)).await;
        if deliver(client, url, notice, retried).await {
            return;
        }
    }
    tracing::warn!(transmission = notice.transmission_id, "a webhook was not taken in any delivery");
}

async fn deliver(client: &reqwest::Client, url: &str, notice: &Notice, retried: u32) -> bool {
    let request = client
        .post(url)
        .header("tosspayments-webhook-transmission-id", &notice.transmission_id)
        .header("tosspayments-webhook-transmission-time", &notice.sent_at)
        .header("tosspayments-webhook-transmission-retried-count", retried)
        .json(&notice.body);
    match request.send().await {
        Ok(answer) => answer.status() == reqwest::StatusCode::OK,
        Err(error) => {
            tracing::debug!(%error, "a webhook was not delivered");
            false
        }
    }
}
