//! Keeps what workers could not understand or answer, where operators see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, BusError, Event, Record, Start, Subscription, TopicPartition};
use saga_protocol::{DEAD_REASON, Topics};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::{Store, StoreError};

#[derive(Deserialize)]
struct About {
    saga: Uuid,
}

/// Moves records of the dead letters' topic into the table, until shut down.
pub(crate) async fn keep(store: Store, bus: Arc<dyn Bus>, topics: Topics, shutdown: CancellationToken) {
    let group = format!("{}.engine.dead-letters", topics.prefix());
    while !shutdown.is_cancelled() {
        // The log's id is part of a letter's name: another log has the same offsets.
        let joined = async {
            let log = bus.log_id(&topics.dead_letters()).await?.topic;
            Ok::<_, BusError>((log, bus.subscribe(&group, &[topics.dead_letters()]).await?))
        };
        match joined.await {
            Ok((log, subscription)) => follow(&store, &log, subscription, &shutdown).await,
            Err(error) => tracing::warn!(%error, "cannot follow the dead letters; trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn follow(store: &Store, log: &str, mut subscription: Subscription, shutdown: &CancellationToken) {
    loop {
        let event = tokio::select! {
            event = subscription.events.recv() => event,
            () = shutdown.cancelled() => break,
        };
        match event {
            None => return,
            Some(Event::Assigned { partitions, start }) => {
                let _ = start.send(partitions.into_iter().map(|it| (it, Start::Committed)).collect());
            }
            Some(Event::Revoked { done, .. }) => {
                let _ = done.send(());
            }
            Some(Event::Lost { .. }) => {}
            // Another log, it may be: join again, and ask for its id.
            Some(Event::OutOfRange { .. }) => return,
            Some(Event::Records(records)) => {
                if let Err(error) = store.keep_dead_letters(log, &records).await {
                    tracing::warn!(%error, "dead letters cannot be kept yet; reading them again");
                    return;
                }
                let offsets: BTreeMap<TopicPartition, i64> =
                    records.iter().map(|record| (record.at.clone(), record.offset + 1)).collect();
                if let Err(error) = subscription.control.commit(offsets.into_iter().collect()).await {
                    tracing::debug!(%error, "the dead letters' offset was not committed; they are kept once all the same");
                }
            }
        }
    }
    subscription.control.leave().await;
}

impl Store {
    async fn keep_dead_letters(&self, log: &str, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            let data = record.data.as_deref().unwrap_or_default();
            let reason = record.headers.get(DEAD_REASON).unwrap_or("unknown");
            let saga = serde_json::from_slice::<About>(data).ok().map(|about| about.saga);
            let source = format!("{}/{log}/{}/{}", record.at.topic, record.at.partition, record.offset);
            self.keep_dead_letter(&source, reason, record, saga).await?;
        }
        Ok(())
    }

    /// Keeps a record that nothing can be made of: once, however often it is read.
    pub(crate) async fn keep_dead_letter(
        &self,
        source: &str,
        reason: &str,
        record: &Record,
        saga: Option<Uuid>,
    ) -> Result<(), StoreError> {
        let headers: BTreeMap<&str, String> = record
            .headers
            .0
            .iter()
            .map(|(name, value)| (&**name, String::from_utf8_lossy(value).replace('\0', "\u{fffd}")))
            .collect();
        let kept = sqlx::query(
            "insert into dead_letter (source, reason, headers, data, saga_id) values ($1, $2, $3, $4, $5)
             on conflict do nothing",
        )
        .bind(source)
        .bind(reason.replace('\0', "\u{fffd}"))
        .bind(serde_json::to_string(&headers).unwrap_or_default())
        .bind(record.data.as_deref().unwrap_or_default())
        .bind(saga)
        .execute(self.hot())
        .await?;
        metrics::counter!("amends_dead_letters_total").increment(kept.rows_affected());
        Ok(())
    }
}
