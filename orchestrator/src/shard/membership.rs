//! Which shards the lane owns: claims, fences, and what happens when the log lies.

use std::time::Duration;

use saga_bus::{BusError, Start, TopicPartition};
use saga_core::What;
use saga_protocol::SagaId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Input;
use super::lane::{Lane, no_connection};
use super::owned::Owned;
use crate::store::claim::Claimed;
use crate::store::{Purpose, StoreError};

const RECLAIM_PAUSE: Duration = Duration::from_secs(1);
/// How often a claim is tried before the offered shards are declined.
const CLAIM_TRIES: u32 = 5;

/// Why a claim failed.
#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("another owner was faster")]
    Fenced,
}

impl Lane {
    /// The group offers shards: claim them, and say where to read on.
    pub(crate) async fn on_assigned(
        &mut self,
        partitions: Vec<TopicPartition>,
        start: oneshot::Sender<Vec<(TopicPartition, Start)>>,
    ) {
        let shards: Vec<i32> = partitions.iter().map(|it| it.partition).collect();
        for attempt in 1..=CLAIM_TRIES {
            match self.claim(&shards).await {
                Ok(()) => {
                    let answer = partitions.into_iter().filter_map(|it| {
                        let next = self.shards.get(&it.partition)?.next_offset;
                        Some((it, Start::At(next)))
                    });
                    if start.send(answer.collect()).is_err() {
                        tracing::warn!(?shards, "the offer of shards was withdrawn while they were claimed");
                        shards.iter().for_each(|shard| self.drop_shard(*shard));
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(?shards, attempt, %error, "shards cannot be claimed");
                    self.connection = None;
                    shards.iter().for_each(|shard| self.drop_shard(*shard));
                    tokio::time::sleep(Duration::from_millis(200) * attempt).await;
                }
            }
        }
        // Declined by dropping `start`: the member leaves the group and joins again.
        tracing::error!(?shards, "the offered shards are declined");
    }

    /// Another member gets shards. Nothing of them is under way between two batches.
    pub(crate) async fn on_revoked(&mut self, partitions: &[TopicPartition]) {
        let offsets: Vec<_> = partitions
            .iter()
            .filter_map(|it| Some((it.clone(), self.shards.get(&it.partition)?.next_offset)))
            .collect();
        // For lag tools only; the truth is in the shard's row.
        if let Err(error) = self.subscription.control.commit(offsets).await {
            tracing::debug!(%error, "offsets of revoked shards were not committed to the group");
        }
        for it in partitions {
            self.drop_shard(it.partition);
            self.reclaim.remove(&it.partition);
        }
        tracing::info!(shards = ?partitions.iter().map(|it| it.partition).collect::<Vec<_>>(), "shards released");
    }

    /// The lane ends: say how far it came, and leave the group.
    pub(crate) async fn release(mut self) {
        let shards: Vec<TopicPartition> = self.shards.keys().map(|shard| self.partition(*shard)).collect();
        self.on_revoked(&shards).await;
        self.subscription.control.leave().await;
    }

    /// Claims shards and loads what they need to be served.
    async fn claim(&mut self, shards: &[i32]) -> Result<(), ClaimError> {
        if self.connection.is_none() {
            self.connection = Some(self.context.store.session(Purpose::Lane).await?);
        }
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        failpoint::hit("lane.claim");
        let claimed = connection.claim(&self.context.node, shards).await?;
        failpoint::hit("lane.claimed");
        for it in claimed {
            self.drop_shard(it.shard);
            let (next_offset, lost) = self.read_from(&it).await?;
            self.shards.insert(it.shard, Owned::new(it.shard, it.epoch, it.token, next_offset));
            let connection = self.connection.as_mut().ok_or_else(no_connection)?;
            let timers = connection.timers(it.shard).await?;
            for (saga, due) in timers {
                self.timers.set(it.shard, SagaId(saga), due.map(saga_core::Millis));
            }
            if lost {
                for saga in self.timers.of_shard(it.shard) {
                    self.queue.push_back(Input::Tell { shard: it.shard, saga, what: What::LogLost });
                }
            }
            self.context.claims.set(it.shard, Some(it.token));
            tracing::info!(shard = it.shard, epoch = it.epoch, next_offset, "shard claimed");
        }
        Ok(())
    }

    /// Where to read on, and whether the log has lost what it held: another cluster or topic, an offset
    /// before its start or beyond its end.
    async fn read_from(&mut self, claimed: &Claimed) -> Result<(i64, bool), ClaimError> {
        let partition = self.partition(claimed.shard);
        let log = self.context.bus.log_id(&partition.topic).await?;
        let marks = self.context.bus.watermarks(&partition).await?;
        let known = claimed.log.as_ref();
        let same = known.is_some_and(|(cluster, topic)| *cluster == log.cluster && *topic == log.topic);
        if same && (marks.low..=marks.high).contains(&claimed.next_offset) {
            return Ok((claimed.next_offset, false));
        }
        let lost = known.is_some();
        if lost && self.context.bus.outlives_process() {
            metrics::counter!("amends_log_lost_total").increment(1);
            tracing::error!(
                shard = claimed.shard,
                next_offset = claimed.next_offset,
                low = marks.low,
                high = marks.high,
                same_log = same,
                "the log has lost records: everything in flight is sent again"
            );
        } else if lost {
            tracing::info!(
                shard = claimed.shard,
                "a new process has a new log: everything in flight is sent again"
            );
        }
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        if !connection.begin_log(claimed, marks.low).await? {
            return Err(ClaimError::Fenced);
        }
        // Known only once everything in flight is sent again: a crash before that begins anew.
        self.new_logs.insert(claimed.shard, (log.cluster, log.topic));
        Ok((marks.low, lost || claimed.epoch > 1))
    }

    /// Records the logs of shards whose commands in flight have all been sent again.
    pub(crate) async fn know_logs(&mut self) -> Result<(), StoreError> {
        let waits = |shard: i32| {
            let lost = |input: &Input| matches!(input, Input::Tell { shard: its, what: What::LogLost, .. } if *its == shard);
            self.queue.iter().any(lost)
        };
        let ready: Vec<i32> = self.new_logs.keys().copied().filter(|shard| !waits(*shard)).collect();
        for shard in ready {
            let (Some(owned), Some(log)) = (self.shards.get(&shard), self.new_logs.remove(&shard)) else {
                continue;
            };
            let connection = self.connection.as_mut().ok_or_else(no_connection)?;
            connection.know_log((shard, owned.epoch, owned.token), (&log.0, &log.1)).await?;
        }
        Ok(())
    }

    /// Forgets everything of a shard.
    pub(crate) fn drop_shard(&mut self, shard: i32) {
        self.context.claims.set(shard, None);
        if self.shards.remove(&shard).is_none() {
            return;
        }
        self.new_logs.remove(&shard);
        self.statuses.retain(|row| row.0 != shard);
        self.unreadable.retain(|found| found.shard != shard);
        self.sagas.forget_shard(shard);
        self.timers.remove_shard(shard);
        self.queue.retain(|input| input.shard() != shard);
        self.sent.retain(|row| row.shard != shard);
        self.in_flight.retain(|row| row.shard != shard);
    }

    /// The claim does not hold any more, or nobody knows whether it does: drop the states, and claim again as
    /// soon as the group still takes us for the owner.
    pub(crate) fn fenced(&mut self, shard: i32) {
        self.drop_shard(shard);
        self.reclaim.insert(shard, Instant::now());
    }

    /// After a commit whose outcome is unknown: the new token kills a statement that is still on its way.
    pub(crate) fn all_fenced(&mut self) {
        self.connection = None;
        let shards: Vec<i32> = self.shards.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.fenced(shard));
    }

    /// Claims again what was fenced.
    pub(crate) async fn reclaim_due(&mut self) {
        let now = Instant::now();
        let due: Vec<i32> =
            self.reclaim.iter().filter(|(_, at)| **at <= now).map(|(shard, _)| *shard).collect();
        for shard in due {
            match self.claim_again(shard).await {
                Ok(()) => {
                    self.reclaim.remove(&shard);
                }
                Err(ClaimError::Bus(BusError::NotOwner(reason))) => {
                    tracing::info!(shard, reason, "the shard has another owner");
                    self.reclaim.remove(&shard);
                }
                Err(error) => {
                    tracing::warn!(shard, %error, "the shard cannot be claimed again yet");
                    self.drop_shard(shard);
                    self.connection = None;
                    self.reclaim.insert(shard, Instant::now() + RECLAIM_PAUSE);
                }
            }
        }
    }

    async fn claim_again(&mut self, shard: i32) -> Result<(), ClaimError> {
        let partition = self.partition(shard);
        let next_offset = self.context.store.next_offset(shard).await?;
        // The group's answer is the proof that we still own the partition.
        self.subscription.control.commit(vec![(partition.clone(), next_offset)]).await?;
        self.claim(&[shard]).await?;
        let Some(owned) = self.shards.get_mut(&shard) else { return Err(ClaimError::Fenced) };
        owned.seeking = true;
        let next_offset = owned.next_offset;
        self.subscription.control.seek(partition, Start::At(next_offset)).await?;
        Ok(())
    }
}
