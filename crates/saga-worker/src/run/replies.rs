//! Replies on their way out: published at once, waited for apart, done when acknowledged.
//!
//! Owns the rule that an offset moves only after its answer is acknowledged. A publish that fails is
//! tried again for as long as the worker lives; one that can never succeed is a dead letter.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use saga_bus::{Bus, Outgoing, Pace, PublishError, Receipt};
use saga_protocol::{Direction, Topics};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::job::{Job, Letter};
use super::ledger::Ledger;
use super::meters::Meters;
use crate::answer::Answer;
use crate::worker::Shared;

/// A record that needs nothing more than its answer to be acknowledged.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(crate) enum Finished {
    /// A command and its answer.
    Answered(Job, Answer),
    /// A record that could not be understood, and why.
    Poison(Letter, String),
}

/// What waits for one receipt.
struct Parcel {
    finished: Vec<Finished>,
    receipt: Receipt,
}

/// The way out, shared by the lanes of one consumer.
#[derive(Clone)]
pub(crate) struct Replies {
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    dead_letters: Arc<str>,
    meters: Arc<Meters>,
    parcels: mpsc::UnboundedSender<Parcel>,
}

/// The other end: waits for receipts. Run as a task; ends when every [`Replies`] is dropped and
/// every answer is acknowledged.
pub(crate) struct Waiter {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    replies: WeakReplies,
    ledger: Arc<Ledger>,
}

/// What publishing again needs, without holding the channel open.
#[derive(Clone)]
struct WeakReplies {
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    dead_letters: Arc<str>,
}

/// Makes both ends. The channel has no bound of its own: what is in it holds its share of the
/// consumer's room.
pub(crate) fn channel(
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    topics: &Topics,
    meters: Arc<Meters>,
    ledger: Arc<Ledger>,
) -> (Replies, Waiter) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let dead_letters: Arc<str> = topics.dead_letters().into();
    let weak = WeakReplies { shared: shared.clone(), bus: bus.clone(), dead_letters: dead_letters.clone() };
    let replies = Replies { shared, bus, dead_letters, meters, parcels: sender };
    (replies, Waiter { parcels: receiver, replies: weak, ledger })
}

impl Replies {
    /// Publishes answers; returns once the bus has taken them over, not when they are acknowledged.
    pub(crate) async fn send(&self, finished: Vec<Finished>) {
        if finished.is_empty() {
            return;
        }
        let now_ms = self.shared.clock.now_ms();
        let mut records = Vec::with_capacity(finished.len());
        for one in &finished {
            self.measure(one);
            one.encode(&self.shared, &self.dead_letters, now_ms, &mut records);
        }
        let pace = if finished.len() > 8 { Pace::Batch } else { Pace::Now };
        let receipt = self.bus.publish(records, pace).await;
        // The waiter ends before the lanes only when the worker is torn down.
        let _ = self.parcels.send(Parcel { finished, receipt });
    }

    fn measure(&self, one: &Finished) {
        match one {
            Finished::Answered(job, answer) => {
                self.meters.answered(job.meta.action, answer.outcome());
                self.shared.pulse.answered();
                if let Answer::Undecidable(fault) = answer {
                    self.meters.dead.increment(1);
                    tracing::error!(
                        worker = self.shared.name,
                        saga.id = %job.command.saga,
                        step.name = %job.command.step,
                        round = job.command.round,
                        code = fault.code,
                        "no answer can be given with right: the command is kept as a dead letter"
                    );
                }
            }
            Finished::Poison(letter, reason) => {
                self.meters.dead.increment(1);
                tracing::error!(
                    worker = self.shared.name,
                    topic = &*letter.record.at.topic,
                    partition = letter.record.at.partition,
                    offset = letter.record.offset,
                    reason,
                    "a record that cannot be understood is kept as a dead letter"
                );
            }
        }
    }
}

impl Finished {
    fn encode(&self, shared: &Shared, dead_letters: &Arc<str>, now_ms: i64, records: &mut Vec<Outgoing>) {
        match self {
            Self::Answered(job, answer) => {
                let traceparent = job.command.traceparent.as_deref();
                let message = answer.to_reply(&job.command).encode(&shared.name, now_ms, traceparent);
                let reply_to = &job.meta.reply_to;
                records.push(Outgoing {
                    topic: reply_to.topic.as_str().into(),
                    partition: Some(reply_to.partition),
                    message,
                });
                if let Answer::Undecidable(fault) = answer {
                    let reason = format!("{}: {}", fault.code, fault.message);
                    records.push(job.meta.letter.dead(dead_letters, &shared.name, &reason));
                }
            }
            Self::Poison(letter, reason) => records.push(letter.dead(dead_letters, &shared.name, reason)),
        }
    }

    /// The command's direction; `None` of what is none.
    pub(crate) fn direction(&self) -> Option<Direction> {
        match self {
            Self::Answered(job, _) => Some(job.command.direction),
            Self::Poison(..) => None,
        }
    }

    /// How many records [`Self::encode`] makes.
    fn records(&self) -> usize {
        match self {
            Self::Answered(_, Answer::Undecidable(_)) => 2,
            Self::Answered(..) | Self::Poison(..) => 1,
        }
    }

    fn letter(&self) -> &Letter {
        match self {
            Self::Answered(job, _) => &job.meta.letter,
            Self::Poison(letter, _) => letter,
        }
    }
}

impl Waiter {
    /// Waits for receipts until all senders are gone and all answers acknowledged.
    pub(crate) async fn run(mut self) {
        let mut waiting = FuturesUnordered::new();
        let mut open = true;
        while open || !waiting.is_empty() {
            tokio::select! {
                parcel = self.parcels.recv(), if open => match parcel {
                    Some(parcel) => waiting.push(self.replies.clone().deliver(parcel)),
                    None => open = false,
                },
                Some(finished) = waiting.next(), if !waiting.is_empty() => {
                    let finished: Vec<Finished> = finished;
                    let slots: Vec<_> = finished.iter().map(|one| one.letter().slot()).collect();
                    self.ledger.done(slots.iter());
                }
            }
        }
    }
}

impl WeakReplies {
    /// Waits for a receipt, and publishes again what failed.
    async fn deliver(self, parcel: Parcel) -> Vec<Finished> {
        let Parcel { finished, receipt } = parcel;
        let mut failed = failures(&finished, (0..finished.len()).collect(), &receipt.await);
        let mut backoff = Backoff::default();
        while !failed.is_empty() {
            let mut records = Vec::new();
            let now_ms = self.shared.clock.now_ms();
            let mut again = Vec::new();
            for (index, error) in failed {
                let one = &finished[index];
                if error.permanent {
                    self.give_up(one, &error).await;
                } else {
                    one.encode(&self.shared, &self.dead_letters, now_ms, &mut records);
                    again.push(index);
                }
            }
            if again.is_empty() {
                break;
            }
            tracing::warn!(worker = self.shared.name, replies = again.len(), "replies are published again");
            backoff.wait().await;
            let results = self.bus.publish(records, Pace::Batch).await.await;
            failed = failures(&finished, again, &results);
        }
        finished
    }

    /// The bus will never take this answer: keep the command as a dead letter and go on, or one
    /// record would hold its partition for ever. Its saga times out and asks again.
    async fn give_up(&self, one: &Finished, error: &PublishError) {
        let reason = format!("its reply could not be published: {error}");
        tracing::error!(worker = self.shared.name, reason, "an answer is given up");
        let letter = one.letter().dead(&self.dead_letters, &self.shared.name, &reason);
        for result in self.bus.publish(vec![letter], Pace::Now).await.await {
            if let Err(error) = result {
                tracing::error!(worker = self.shared.name, %error, "the dead letter could not be published");
            }
        }
    }
}

/// Which of the `indices` failed, by the results of their records.
fn failures(
    finished: &[Finished],
    indices: Vec<usize>,
    results: &[Result<(), PublishError>],
) -> Vec<(usize, PublishError)> {
    let lost = PublishError { reason: "the bus gave no receipt".to_owned(), permanent: false };
    let mut results = results.iter();
    let mut failed = Vec::new();
    for index in indices {
        let count = finished[index].records();
        let errors: Vec<PublishError> = (0..count)
            .filter_map(|_| results.next().cloned().unwrap_or_else(|| Err(lost.clone())).err())
            .collect();
        // A passing failure is worth another try even if its companion failed for good.
        let worst = errors.iter().find(|error| !error.permanent).or(errors.first());
        if let Some(error) = worst {
            failed.push((index, error.clone()));
        }
    }
    failed
}
