//! A member of a group: the task that tells it what happens, and what it can do. Owns the handshakes
//! (offer and answer, revocation and answer); who should have what is the group's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::group::{MemberId, Membership, Range, Reading};
use super::state::{State, Topics};
use super::{RECORDS_PER_EVENT, Shared};
use crate::{BusError, Control, Event, Record, Start, TopicPartition};

/// How long an answer is waited for before the member counts as one that declined.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a member that declined or was expelled stays away.
const AWAY: Duration = Duration::from_millis(100);

/// Joins a group; the member lives as long as the events are read.
pub(super) fn join(
    shared: &Arc<Shared>,
    group: &str,
    topics: &[String],
    events: mpsc::Sender<Event>,
) -> Result<Arc<dyn Control>, BusError> {
    let topics: Vec<Arc<str>> = topics.iter().map(|topic| topic.as_str().into()).collect();
    let wake = Arc::new(Notify::new());
    let mut state = shared.state.lock();
    state.open()?;
    let id = state.listen(&topics, &wake);
    let members = &mut state.groups.entry(group.to_owned()).or_default().members;
    members.insert(id, Membership::new(topics, wake.clone()));
    state.rebalance(group);
    drop(state);
    let (leaving, leave_asked) = watch::channel(false);
    let (task_lives, ended) = watch::channel(());
    let group: Arc<str> = group.into();
    let seat = Seat { shared: shared.clone(), group: group.clone(), id };
    let task = Task { seat: seat.clone(), events, wake, leave_asked, back_at: None };
    tokio::spawn(async move {
        task.run().await;
        drop(task_lives);
    });
    Ok(Arc::new(InProcessControl { seat, leaving, ended }))
}

/// A member's place in its group.
#[derive(Clone)]
struct Seat {
    shared: Arc<Shared>,
    group: Arc<str>,
    id: MemberId,
}

impl Seat {
    fn with<T>(&self, act: impl FnOnce(&mut Membership) -> T) -> Option<T> {
        let mut state = self.shared.state.lock();
        state.groups.get_mut(&*self.group)?.members.get_mut(&self.id).map(act)
    }

    /// Gives up partitions that others may be waiting for.
    fn release(&self, state: &mut State, partitions: &[TopicPartition]) {
        let Some(group) = state.groups.get_mut(&*self.group) else { return };
        if let Some(member) = group.members.get_mut(&self.id) {
            for at in partitions {
                member.owned.remove(at);
                member.reading.remove(at);
            }
        }
        group.members.values().for_each(|it| it.wake.notify_one());
    }

    fn set_away(&self, away: bool) {
        let mut state = self.shared.state.lock();
        if let Some(member) = state.groups.get_mut(&*self.group).and_then(|it| it.members.get_mut(&self.id)) {
            member.away = away;
        }
        state.rebalance(&self.group);
    }
}

struct Task {
    seat: Seat,
    events: mpsc::Sender<Event>,
    wake: Arc<Notify>,
    leave_asked: watch::Receiver<bool>,
    /// When a member that is away joins again.
    back_at: Option<Instant>,
}

/// What the member has to be told or asked next.
enum Next {
    Lost(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
    Offer(Vec<TopicPartition>),
    OutOfRange(TopicPartition),
    Records(Vec<Record>),
    Away,
    Nothing,
    Closed,
}

/// The member does not listen any more, or wants to leave.
struct Gone;

impl Task {
    async fn run(mut self) {
        while self.turn().await.is_ok() {}
        let mut state = self.seat.shared.state.lock();
        state.stop_listening(self.seat.id);
        if let Some(group) = state.groups.get_mut(&*self.seat.group) {
            group.members.remove(&self.seat.id);
        }
        state.rebalance(&self.seat.group);
    }

    async fn turn(&mut self) -> Result<(), Gone> {
        let next = self.next();
        match next {
            Next::Lost(partitions) => self.tell(Event::Lost { partitions }).await,
            Next::OutOfRange(partition) => self.tell(Event::OutOfRange { partition }).await,
            Next::Records(records) => {
                self.tell(Event::Records(records)).await?;
                self.seat.with(|it| it.reading.values_mut().for_each(|it| it.handed = it.next));
                Ok(())
            }
            Next::Revoke(partitions) => self.revoke(partitions).await,
            Next::Offer(partitions) => self.offer(partitions).await,
            Next::Away => {
                let back_at = *self.back_at.get_or_insert_with(|| Instant::now() + AWAY);
                self.unless_gone(tokio::time::sleep_until(back_at)).await?;
                self.back_at = None;
                self.seat.set_away(false);
                Ok(())
            }
            Next::Nothing => {
                let wake = self.wake.clone();
                self.unless_gone(wake.notified()).await
            }
            Next::Closed => Err(Gone),
        }
    }

    /// What comes next, in this order: bad news, what others wait for, what is new, records.
    fn next(&self) -> Next {
        let mut state = self.seat.shared.state.lock();
        if state.is_closed() {
            return Next::Closed;
        }
        let State { topics, groups, .. } = &mut *state;
        let Some(group) = groups.get_mut(&*self.seat.group) else { return Next::Closed };
        let Some(member) = group.members.get_mut(&self.seat.id) else { return Next::Closed };
        if !member.lost.is_empty() {
            return Next::Lost(std::mem::take(&mut member.lost));
        }
        let revoked: Vec<_> = member.owned.difference(&member.target).cloned().collect();
        if !revoked.is_empty() {
            return Next::Revoke(revoked);
        }
        if member.away {
            return Next::Away;
        }
        let wanted: Vec<_> = member.target.difference(&member.owned).cloned().collect();
        let free: Vec<_> = wanted.into_iter().filter(|at| group.is_free(at)).collect();
        let Some(member) = group.members.get_mut(&self.seat.id) else { return Next::Closed };
        if !free.is_empty() {
            member.owned.extend(free.iter().cloned());
            return Next::Offer(free);
        }
        read(topics, member)
    }

    async fn revoke(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Gone> {
        let accepted = self.seat.with(|it| {
            partitions.iter().filter(|at| it.reading.contains_key(at)).cloned().collect::<Vec<_>>()
        });
        let accepted = accepted.unwrap_or_default();
        if !accepted.is_empty() {
            let (done, answer) = oneshot::channel();
            self.tell(Event::Revoked { partitions: accepted, done }).await?;
            // Dropped, answered or too late: it goes in any case.
            let _ = self.unless_gone(tokio::time::timeout(ANSWER_TIMEOUT, answer)).await?;
        }
        self.seat.release(&mut self.seat.shared.state.lock(), &partitions);
        Ok(())
    }

    async fn offer(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Gone> {
        let (start, answer) = oneshot::channel();
        self.tell(Event::Assigned { partitions: partitions.clone(), start }).await?;
        let answer = self.unless_gone(tokio::time::timeout(ANSWER_TIMEOUT, answer)).await?;
        let Ok(Ok(starts)) = answer else {
            self.seat.release(&mut self.seat.shared.state.lock(), &partitions);
            self.seat.set_away(true);
            return Ok(());
        };
        let mut state = self.seat.shared.state.lock();
        for at in partitions {
            let start = starts.iter().find(|(of, _)| *of == at).map_or(Start::Committed, |(_, start)| *start);
            let next = resolve(&state, &self.seat.group, &at, start);
            let Some(group) = state.groups.get_mut(&*self.seat.group) else { break };
            let Some(member) = group.members.get_mut(&self.seat.id) else { break };
            // Expelled while it was thinking: nothing to read.
            if member.owned.contains(&at) {
                member.reading.insert(at, Reading { next, handed: next, paused: false, range: Range::Good });
            }
        }
        Ok(())
    }

    async fn tell(&mut self, event: Event) -> Result<(), Gone> {
        let events = self.events.clone();
        let sent = self.unless_gone(async move { events.send(event).await.is_ok() }).await?;
        if sent { Ok(()) } else { Err(Gone) }
    }

    async fn unless_gone<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Gone> {
        tokio::select! {
            biased;
            _ = self.leave_asked.wait_for(|leave| *leave) => Err(Gone),
            () = self.events.closed() => Err(Gone),
            output = what => Ok(output),
        }
    }
}

/// Records of the member's partitions, a few from each that has some.
fn read(topics: &Topics, member: &mut Membership) -> Next {
    let mut records = Vec::new();
    for (at, reading) in &mut member.reading {
        if reading.paused || reading.range == Range::Told || records.len() >= RECORDS_PER_EVENT {
            continue;
        }
        let Some(log) = topics.log(at) else { continue };
        match log.read(reading.next, RECORDS_PER_EVENT - records.len()) {
            Ok((read, next)) => {
                records.extend(read);
                reading.next = next;
            }
            Err(super::log::OutOfRange) => reading.range = Range::Gone,
        }
    }
    if !records.is_empty() {
        return Next::Records(records);
    }
    match member.reading.iter_mut().find(|(_, reading)| reading.range == Range::Gone) {
        Some((at, reading)) => {
            reading.range = Range::Told;
            Next::OutOfRange(at.clone())
        }
        None => Next::Nothing,
    }
}

fn resolve(state: &State, group: &str, at: &TopicPartition, start: Start) -> i64 {
    let bounds =
        state.topics.log(at).map_or(crate::Watermarks { low: 0, high: 0 }, super::log::Log::watermarks);
    match start {
        Start::At(offset) => offset,
        Start::Earliest => bounds.low,
        Start::Committed => state
            .groups
            .get(group)
            .and_then(|it| it.committed.get(at).copied())
            .filter(|offset| (bounds.low..=bounds.high).contains(offset))
            .unwrap_or(bounds.low),
    }
}

struct InProcessControl {
    seat: Seat,
    leaving: watch::Sender<bool>,
    ended: watch::Receiver<()>,
}

impl std::fmt::Debug for InProcessControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcessControl").field("group", &self.seat.group).finish_non_exhaustive()
    }
}

impl InProcessControl {
    fn not_owner(&self, at: &TopicPartition) -> BusError {
        BusError::NotOwner(format!("{at:?} in group `{}`", self.seat.group))
    }
}

#[async_trait]
impl Control for InProcessControl {
    async fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> Result<(), BusError> {
        let mut state = self.seat.shared.state.lock();
        state.open()?;
        let member = state.groups.get(&*self.seat.group).and_then(|it| it.members.get(&self.seat.id));
        let foreign = |at: &&TopicPartition| member.is_none_or(|it| !it.owned.contains(at));
        if let Some(at) = offsets.iter().map(|(at, _)| at).find(foreign) {
            return Err(self.not_owner(at));
        }
        state.commit(&self.seat.group, offsets);
        Ok(())
    }

    async fn seek(&self, partition: TopicPartition, start: Start) -> Result<(), BusError> {
        let mut state = self.seat.shared.state.lock();
        state.open()?;
        let next = resolve(&state, &self.seat.group, &partition, start);
        let member = state.groups.get_mut(&*self.seat.group).and_then(|it| it.members.get_mut(&self.seat.id));
        let Some(member) = member else { return Err(self.not_owner(&partition)) };
        let Some(reading) = member.reading.get_mut(&partition) else {
            return Err(self.not_owner(&partition));
        };
        reading.next = next;
        reading.handed = next;
        reading.range = Range::Good;
        member.wake.notify_one();
        Ok(())
    }

    async fn position(&self, partition: &TopicPartition) -> Result<i64, BusError> {
        let state = self.seat.shared.state.lock();
        state.open()?;
        let member = state.groups.get(&*self.seat.group).and_then(|it| it.members.get(&self.seat.id));
        let reading = member.and_then(|it| it.reading.get(partition)).filter(|it| it.range == Range::Good);
        reading.map(|it| it.handed).ok_or_else(|| self.not_owner(partition))
    }

    async fn pause(&self, partitions: Vec<TopicPartition>, paused: bool) -> Result<(), BusError> {
        let told = self.seat.with(|member| {
            for at in &partitions {
                match member.reading.get_mut(at) {
                    Some(reading) => reading.paused = paused,
                    None => return Err(self.not_owner(at)),
                }
            }
            member.wake.notify_one();
            Ok(())
        });
        told.unwrap_or_else(|| Err(BusError::NotOwner(format!("left group `{}`", self.seat.group))))
    }

    async fn leave(&self) {
        self.leaving.send_replace(true);
        // Ends, with an error, when the task drops its end.
        let _ = self.ended.clone().changed().await;
    }
}
