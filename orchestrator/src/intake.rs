//! Kafka triggers: each record of a definition's topic starts a saga.
//!
//! A record's place (log, partition, offset) is the start's idempotency key, so that one that is read twice starts one
//! saga. Offsets are committed once everything before them is a saga or a dead letter, durably. It must not decide what
//! a start means: [`crate::start`] does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use saga_bus::{BusError, Event, Record, Start, Subscription, TopicPartition, TopicSpec};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::body;
use crate::engine::{Engine, RETENTION_MS};
use crate::start::{StartError, StartRequest};
use crate::store::StoreError;
use crate::store::definitions::Published;

/// How soon a trigger that was published is served.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(1);
/// Starts that are under way at once, a topic.
const AT_ONCE: usize = 256;
/// The longest pause before a start that was refused for now is tried again, in s.
const PAUSE_MAX_S: u32 = 10;
/// How many mistakes in a record are told.
const MISTAKES_MAX: usize = 5;

/// Serves the topics of the active definitions, until shut down.
pub(crate) async fn run(engine: Engine, shutdown: CancellationToken) {
    let mut served: HashMap<String, CancellationToken> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted: Vec<String> = engine.definitions.all_active().iter().filter_map(topic_of).collect();
        served.retain(|topic, stop| {
            let keep = wanted.contains(topic);
            if !keep {
                stop.cancel();
            }
            keep
        });
        for topic in wanted {
            served.entry(topic.clone()).or_insert_with(|| {
                let stop = shutdown.child_token();
                tasks.spawn(serve(engine.clone(), topic, stop.clone()));
                stop
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            // Only a bug ends one: it begins again.
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a trigger's reader broke; the readers begin again");
                    served.drain().for_each(|(_, stop)| stop.cancel());
                }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

fn topic_of(published: &Arc<Published>) -> Option<String> {
    published.definition.kafka.as_ref().map(|it| it.topic.clone())
}

/// Reads one topic.
async fn serve(engine: Engine, topic: String, stop: CancellationToken) {
    let group = format!("{}.triggers.{topic}", engine.topics.prefix());
    while !stop.is_cancelled() {
        let joined = async {
            // One that is there stays as it is.
            let spec = TopicSpec {
                name: topic.clone(),
                partitions: engine.command_partitions(),
                compacted: false,
                retention_ms: RETENTION_MS,
            };
            engine.bus.ensure_topics(&[spec]).await?;
            // Another log has the same offsets.
            let log = engine.bus.log_id(&topic).await?.topic;
            Ok::<_, BusError>((log, engine.bus.subscribe(&group, std::slice::from_ref(&topic)).await?))
        };
        match joined.await {
            Ok((log, subscription)) => follow(&engine, &topic, &log, subscription, &stop).await,
            Err(error) => tracing::warn!(topic, %error, "a trigger's topic cannot be read; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn follow(
    engine: &Engine,
    topic: &str,
    log: &str,
    mut subscription: Subscription,
    stop: &CancellationToken,
) {
    loop {
        let event = tokio::select! {
            event = subscription.events.recv() => event,
            () = stop.cancelled() => break,
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
            Some(Event::OutOfRange { partition }) => {
                tracing::error!(?partition, "records of a trigger's topic are gone that nobody has read");
                return;
            }
            Some(Event::Records(records)) => {
                for some in records.chunks(AT_ONCE) {
                    let taken = join_all(some.iter().map(|it| take(engine, topic, log, it, stop))).await;
                    if let Err(why) = taken.into_iter().collect::<Result<Vec<()>, NotNow>>() {
                        if let NotNow::Database(error) = why {
                            tracing::warn!(topic, %error, "records cannot be taken in yet; reading them again");
                        }
                        return;
                    }
                    let offsets: BTreeMap<TopicPartition, i64> =
                        some.iter().map(|record| (record.at.clone(), record.offset + 1)).collect();
                    if let Err(error) = subscription.control.commit(offsets.into_iter().collect()).await {
                        tracing::debug!(topic, %error, "an offset was not committed; its records start nothing twice");
                    }
                }
            }
        }
    }
    subscription.control.leave().await;
}

/// Why a record is not taken in, and no offset is committed.
enum NotNow {
    Stopped,
    Database(StoreError),
}

/// Makes a record a saga or a dead letter.
async fn take(
    engine: &Engine,
    topic: &str,
    log: &str,
    record: &Record,
    stop: &CancellationToken,
) -> Result<(), NotNow> {
    // A tombstone says that something is gone.
    let Some(data) = &record.data else { return Ok(()) };
    loop {
        let all = engine.definitions.all_active();
        // Published without its trigger meanwhile: whoever serves the topic next takes the record in.
        let published =
            all.iter().find(|it| topic_of(it).as_deref() == Some(topic)).ok_or(NotNow::Stopped)?;
        let place = format!("{log}/{}/{}", record.at.partition, record.offset);
        let pause_s = match begin(engine, published, topic, &place, data).await {
            Ok(()) => return Ok(()),
            Err(Refused::Now(pause_s)) => pause_s,
            Err(Refused::Forever(reason)) => {
                let source = format!("{topic}/{place}");
                tracing::warn!(topic, place, reason, "a record starts no saga; it is a dead letter");
                return engine
                    .store
                    .keep_dead_letter(&source, &reason, record, None)
                    .await
                    .map_err(NotNow::Database);
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Err(NotNow::Stopped),
            () = tokio::time::sleep(Duration::from_secs(u64::from(pause_s.clamp(1, PAUSE_MAX_S)))) => {}
        }
    }
}

/// Why a record starts nothing.
enum Refused {
    /// To be tried again in so many seconds.
    Now(u32),
    /// It will never do.
    Forever(String),
}

async fn begin(
    engine: &Engine,
    published: &Arc<Published>,
    topic: &str,
    place: &str,
    data: &[u8],
) -> Result<(), Refused> {
    let forever = |reason: String| Refused::Forever(reason);
    if data.len() > saga_protocol::SAGA_BYTES_MAX {
        return Err(forever(format!("it has more than {} bytes", saga_protocol::SAGA_BYTES_MAX)));
    }
    let input: Value =
        serde_json::from_slice(data).map_err(|error| forever(format!("it is no JSON: {error}")))?;
    let body_hash = body::hash(&published.definition.name, &input);
    let published = &engine.definitions.for_start(Arc::clone(published), &body_hash, Some(place));
    let name = &published.definition.name;
    let mistakes: Vec<String> = body::faults(&published.validator, &input)
        .into_iter()
        .take(MISTAKES_MAX)
        .map(|fault| format!("{}: {}", fault.pointer.unwrap_or_default(), fault.detail))
        .collect();
    if !mistakes.is_empty() {
        return Err(forever(format!("it does not fit `{name}`: {}", mistakes.join("; "))));
    }
    let request = StartRequest {
        definition: Arc::clone(published),
        body_hash,
        input: Arc::new(input),
        principal: format!("topic:{topic}"),
        idempotency_key: Some(place.to_owned()),
        replay_of: None,
    };
    match engine.starter.start(request).await {
        Ok(started) => {
            if started.fresh {
                metrics::counter!("amends_trigger_starts_total", "topic" => topic.to_owned()).increment(1);
            }
            Ok(())
        }
        Err(StartError::Busy { retry_after_s }) => Err(Refused::Now(retry_after_s)),
        Err(StartError::Held(_) | StartError::Unavailable(_)) => Err(Refused::Now(1)),
        Err(error @ (StartError::KeyReused { .. } | StartError::KeyOfAnother | StartError::BadInput(_))) => {
            Err(forever(error.to_string()))
        }
    }
}
