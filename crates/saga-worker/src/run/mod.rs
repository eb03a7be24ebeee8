//! A worker at work: two consumers, their lanes, announcements and maintenance, from start to drain.

mod announce;
mod backoff;
mod breaker;
mod calls;
mod consumer;
mod external;
mod failure;
mod job;
mod ledger;
mod meters;
pub(crate) mod pulse;
mod rate;
mod replies;
mod ride;
mod transactional;

use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, TopicSpec};
use saga_protocol::{DEAD_LETTERS_RETENTION_MS, Direction, Topics};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use announce::Announcer;
use backoff::Backoff;
use consumer::Consumer;
use failure::Failure;
use ride::Ride;

use crate::inbox;
use crate::worker::{Shared, WorkerError};

const MAINTENANCE_EVERY: Duration = Duration::from_secs(3_600);
/// How long the last word of a worker is waited for.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(3);
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// Runs a worker until `shutdown`. Dropping the future tears it down at once, as a crash would.
pub(crate) async fn run(
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    topics: Topics,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let shared = Arc::new(Shared { pulse: Arc::default(), ..Shared::clone(&shared) });
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        ready = prepare(&shared, &*bus, &topics) => ready?,
    }
    let stop = CancellationToken::new();
    let mut consumers = JoinSet::new();
    let directions = [Direction::Execute, Direction::Compensate];
    let mut totals = [0; 2];
    for (total, direction) in totals.iter_mut().zip(directions) {
        let topic = topics.commands(&shared.name, direction);
        match bus.partitions(&topic).await {
            Ok(count) => *total = count as usize,
            Err(error) => {
                tracing::warn!(topic, %error, "not counted: compensates take transactions of their own")
            }
        }
    }
    let ride = Arc::new(Ride::new(totals));
    for direction in directions {
        let (shared, bus) = (shared.clone(), bus.clone());
        let consumer = Consumer::new(shared, bus, topics.clone(), direction, stop.clone(), ride.clone());
        consumers.spawn(consumer.run());
    }
    let announcer = Arc::new(Announcer::new(shared.clone(), bus.clone(), &topics));
    let mut background = JoinSet::new();
    background.spawn({
        let announcer = announcer.clone();
        async move { announcer.run().await }
    });
    background.spawn(maintain(shared.clone()));
    tracing::info!(worker = shared.name, version = shared.version, "the worker runs");

    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = consumers.join_next() => return Err(WorkerError::Broken("a consumer ended unasked")),
    }
    stop.cancel();
    let drain = async { while consumers.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(shared.tuning.drain_ms), drain).await.is_err() {
        tracing::warn!(
            worker = shared.name,
            "drained incompletely: what is left is answered after a restart"
        );
    }
    drop(background);
    // A bus that is gone must not keep the process: others will notice its silence.
    let farewell = tokio::time::timeout(FAREWELL_PATIENCE, announcer.announce(true)).await;
    if farewell.is_err() {
        tracing::warn!(worker = shared.name, "could not say that it leaves");
    }
    tracing::info!(worker = shared.name, "the worker has left");
    Ok(())
}

/// Waits for the database and the bus, and makes the topics that do not exist.
async fn prepare(shared: &Shared, bus: &dyn Bus, topics: &Topics) -> Result<(), WorkerError> {
    let mut backoff = Backoff::default();
    // A missing table is a mistake that waiting does not mend; a missing server may come.
    while let Err(error) =
        sqlx::query("select version from saga_inbox.barrier limit 0").execute(&shared.pool).await
    {
        let message = error.to_string();
        match Failure::from(error) {
            Failure::Transient(message) => {
                tracing::warn!(worker = shared.name, error = message, "the database is not there yet");
                backoff.wait().await;
            }
            Failure::Data(_) | Failure::Own(_) => return Err(WorkerError::NoInbox(message)),
        }
    }
    let partitions = shared.tuning.partitions;
    let commands = |direction| TopicSpec {
        name: topics.commands(&shared.name, direction),
        partitions,
        compacted: false,
        retention_ms: 7 * DAY_MS,
    };
    let specs = [
        commands(Direction::Execute),
        commands(Direction::Compensate),
        TopicSpec { name: topics.workers(), partitions: 1, compacted: true, retention_ms: 0 },
        TopicSpec {
            name: topics.dead_letters(),
            partitions: 1,
            compacted: false,
            retention_ms: DEAD_LETTERS_RETENTION_MS,
        },
    ];
    while let Err(error) = bus.ensure_topics(&specs).await {
        tracing::warn!(worker = shared.name, %error, "the bus is not there yet");
        backoff.wait().await;
    }
    Ok(())
}

/// Makes and drops the inbox's partitions, for ever.
async fn maintain(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(MAINTENANCE_EVERY);
    loop {
        every.tick().await;
        let now_ms = shared.clock.now_ms();
        if let Err(error) = inbox::maintain(&shared.pool, now_ms, Some(shared.retention_ms)).await {
            tracing::warn!(worker = shared.name, %error, "the inbox could not be maintained; tried again");
        }
    }
}
