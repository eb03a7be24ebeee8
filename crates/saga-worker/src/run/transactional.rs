//! The transactional lane: batches of commands, each in one transaction with its barrier rows.
//!
//! The lane is optimistic. It reads the rows without locks, runs the handlers, and writes the rows
//! last, insisting on the versions that it has read; whoever comes second rolls back and decides
//! anew. A row is so written once, with its reply, and business locks are always taken before the
//! barrier's: the two kinds cannot deadlock with each other.
//!
//! Executes that are sent for the first time nearly always have no row. A batch of them is not even read for: it takes
//! that there is none, and writing the rows says whether that was right. Whatever else than success and refusal comes of
//! it is decided anew with the rows read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use saga_protocol::{Direction, Fault, OUTPUT_BYTES_MAX};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::failure::{Failure, panic_message};
use super::job::{Job, Meta};
use super::meters::Meters;
use super::replies::{Finished, Replies};
use super::ride::{self, Ride, Turn};
use crate::answer::Answer;
use crate::barrier::{Now, Verdict, decide};
use crate::command::Command;
use crate::inbox::{self, Row};
use crate::worker::{Kind, Shared};

/// From this many commands in the last batch on, the next one waits a little for company.
const BUSY_FROM: usize = 8;
/// A transaction of ours that stands still longer than this was left by a frozen process.
pub(crate) const BEGIN: &str = "begin; set local idle_in_transaction_session_timeout = 60000";

/// The lane of one direction.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) direction: Direction,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) way: Way,
    pub(crate) ride: Arc<Ride>,
}

/// How commands of one direction are answered and counted.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) replies: Replies,
    pub(crate) meters: Arc<Meters>,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").finish_non_exhaustive()
    }
}

/// Commands that are worked on together, in the order of their directions and actions.
struct Part {
    commands: Vec<Command>,
    metas: Vec<Meta>,
    /// Of executes that are sent for the first time no row is expected, so none is read.
    unread: bool,
    /// How those of the other direction are answered, if there are any.
    other: Option<Way>,
}

/// Why a part was rolled back.
enum Setback {
    /// Somebody else wrote one of its rows first.
    Conflict,
    /// These commands cannot be part of it; their answers are known.
    Eject(Vec<(usize, Answer)>),
    /// It failed; the range says which commands are under suspicion.
    Failed(Failure, Range<usize>),
}

impl Lane {
    /// Works until the channel is closed and empty.
    pub(crate) async fn run(mut self) {
        let mut carried: VecDeque<Job> = VecDeque::new();
        let mut last = 0;
        loop {
            let Some((batch, turn)) = self.collect(&mut carried, last).await else { return };
            failpoint::hit("worker.take");
            last = batch.metas.len();
            self.way.meters.batch.record(last as f64);
            if self.direction == Direction::Execute {
                self.ride.set_goes(last >= BUSY_FROM);
            }
            self.work(batch, turn).await;
            failpoint::hit("worker.replied");
        }
    }

    /// Answers; those of the other direction on their own way.
    async fn answer(&self, finished: Vec<Finished>, other: Option<&Way>) {
        let theirs = |it: &Finished| it.direction().is_some_and(|direction| direction != self.direction);
        let (theirs, ours): (Vec<Finished>, Vec<Finished>) = finished.into_iter().partition(theirs);
        other.unwrap_or(&self.way).replies.send(theirs).await;
        self.way.replies.send(ours).await;
    }

    /// The first commands of the next batch; `None` when there will be no more.
    async fn first(&mut self) -> Option<Vec<Job>> {
        let max = self.shared.tuning.batch_max;
        loop {
            let mut arrived = Vec::new();
            if self.jobs.recv_many(&mut arrived, max).await == 0 {
                return None;
            }
            if self.direction == Direction::Execute || arrived.len() >= ride::FEW || !self.ride.goes() {
                return Some(arrived);
            }
            let left = self.ride_along(arrived).await;
            if !left.is_empty() {
                return Some(left);
            }
        }
    }

    /// Compensates wait for a batch of executes. Returns those whom none has taken along.
    async fn ride_along(&mut self, mut arrived: Vec<Job>) -> Vec<Job> {
        let too_long = tokio::time::sleep(ride::WAIT);
        tokio::pin!(too_long);
        loop {
            if self.ride.wait(&mut arrived, &self.way) >= ride::FEW {
                break;
            }
            tokio::select! {
                biased;
                () = self.ride.boarded() => if self.ride.is_empty() { break },
                () = &mut too_long => {
                    self.ride.set_goes(false);
                    break;
                }
                count = self.jobs.recv_many(&mut arrived, self.shared.tuning.batch_max) => {
                    if count == 0 {
                        break;
                    }
                }
            }
        }
        self.ride.leave()
    }

    /// The next batch: what has arrived, each barrier row at most once.
    async fn collect(&mut self, carried: &mut VecDeque<Job>, last: usize) -> Option<(Part, Option<Turn>)> {
        let max = self.shared.tuning.batch_max;
        let mut arrived: Vec<Job> = carried.drain(..).collect();
        if arrived.is_empty() {
            arrived = self.first().await?;
        }
        while arrived.len() < max
            && let Ok(job) = self.jobs.try_recv()
        {
            arrived.push(job);
        }
        if last >= BUSY_FROM && arrived.len() < max {
            let linger = tokio::time::sleep(Duration::from_millis(self.shared.tuning.linger_ms));
            tokio::pin!(linger);
            while arrived.len() < max {
                let room = max - arrived.len();
                tokio::select! {
                    () = &mut linger => break,
                    count = self.jobs.recv_many(&mut arrived, room) => if count == 0 { break },
                }
            }
        }
        let mut keys = HashSet::with_capacity(arrived.len());
        let mut jobs = Vec::with_capacity(arrived.len());
        for job in arrived {
            // A second command of a row sees what the first has committed, as if they came one by one.
            if jobs.len() < max && keys.insert(job.meta.key.clone()) {
                jobs.push(job);
            } else {
                carried.push_back(job);
            }
        }
        let (mut other, mut turn) = (None, None);
        if self.direction == Direction::Compensate {
            turn = Some(self.ride.turn().await);
        } else if let Some(passengers) = self.ride.board(&mut keys, max - jobs.len()) {
            jobs.extend(passengers.jobs);
            (other, turn) = (Some(passengers.way), Some(passengers.turn));
        }
        jobs.sort_by_key(|job| (job.command.direction == Direction::Execute, job.meta.action));
        let (commands, metas) = jobs.into_iter().map(|job| (job.command, job.meta)).unzip();
        let commands: Vec<Command> = commands;
        let unread = commands.iter().any(is_new);
        Some((Part { commands, metas, unread, other }, turn))
    }

    /// Works a batch off and answers it, bisecting it as far as its data demands. `turn` is that of its compensates.
    async fn work(&self, batch: Part, mut turn: Option<Turn>) {
        let other = batch.other.clone();
        let mut parts = vec![batch];
        let mut backoff = Backoff::default();
        while let Some(mut part) = parts.pop() {
            let mut finished = Vec::new();
            let attempted = self.attempt(&part).await;
            if other.is_some() {
                // They rode once; whatever comes now, the directions are worked off apart.
                turn = None;
            }
            match attempted {
                Ok(answers) => {
                    let commands = part.commands.drain(..).zip(part.metas.drain(..));
                    finished.extend(
                        commands.zip(answers).map(|((command, meta), answer)| {
                            Finished::Answered(Job { command, meta }, answer)
                        }),
                    );
                    backoff = Backoff::default();
                }
                Err(_) if part.is_mixed() => {
                    // One direction must not wait for the other's trouble.
                    self.way.meters.retried.increment(1);
                    let executes = part.commands.partition_point(|it| it.direction == Direction::Compensate);
                    let mut executes = part.split_off(executes);
                    (part.unread, executes.unread) = (false, false);
                    parts.extend([executes, part]);
                }
                // What it met may be its own doing, committed before.
                Err(setback)
                    if part.unread && !matches!(setback, Setback::Failed(Failure::Transient(_), _)) =>
                {
                    self.way.meters.retried.increment(1);
                    part.unread = false;
                    parts.push(part);
                }
                Err(Setback::Conflict) => {
                    self.way.meters.retried.increment(1);
                    parts.push(part);
                }
                Err(Setback::Eject(answers)) => {
                    for (index, answer) in answers.into_iter().rev() {
                        finished.push(part.take(index, answer));
                    }
                    parts.push(part);
                }
                Err(Setback::Failed(Failure::Transient(error), _)) => {
                    self.way.meters.retried.increment(1);
                    let worker = &self.shared.name;
                    tracing::warn!(worker, error, commands = part.metas.len(), "a batch is tried again");
                    backoff.wait().await;
                    parts.push(part);
                }
                Err(Setback::Failed(Failure::Own(fault), range)) => {
                    self.warn_failed(&part, &range, &fault);
                    for index in range.rev() {
                        let answer =
                            Answer::Retryable { fault: fault.clone(), uncharged: true, after_ms: None };
                        finished.push(part.take(index, answer));
                    }
                    parts.push(part);
                }
                Err(Setback::Failed(Failure::Data(fault), range)) if range.len() == 1 => {
                    self.warn_failed(&part, &range, &fault);
                    let answer = Answer::Retryable { fault, uncharged: false, after_ms: None };
                    finished.push(part.take(range.start, answer));
                    parts.push(part);
                }
                Err(Setback::Failed(Failure::Data(_), range)) => {
                    let middle = range.start + range.len() / 2;
                    let after = part.split_off(range.end);
                    let second = part.split_off(middle);
                    let first = part.split_off(range.start);
                    parts.extend([after, second, first, part]);
                }
            }
            self.answer(finished, other.as_ref()).await;
            parts.retain(|part| !part.metas.is_empty());
        }
        drop(turn);
    }

    fn warn_failed(&self, part: &Part, range: &Range<usize>, fault: &Fault) {
        let Some(command) = part.commands.get(range.start) else { return };
        tracing::warn!(
            worker = self.shared.name,
            action = command.action,
            saga.id = %command.saga,
            step.name = %command.step,
            commands = range.len(),
            code = fault.code,
            message = fault.message,
            "commands fail; they are answered `retryable`"
        );
    }

    /// One transaction over a part.
    async fn attempt(&self, part: &Part) -> Result<Vec<Answer>, Setback> {
        let all = 0..part.metas.len();
        let failed = |error: sqlx::Error| Setback::Failed(Failure::from(error), all.clone());
        let mut connection = self.shared.pool.acquire().await.map_err(failed)?;
        let mut tx = connection.begin_with(BEGIN).await.map_err(failed)?;
        let result = self.within(&mut tx, part).await;
        match result {
            Ok((answers, true)) => {
                // An error here may hide a commit: the part is tried again and meets its own rows.
                failpoint::hit("worker.commit");
                tx.commit().await.map_err(failed)?;
                failpoint::hit("worker.committed");
                Ok(answers)
            }
            Ok((answers, false)) => {
                tx.rollback().await.map_err(failed)?;
                Ok(answers)
            }
            Err((setback, broken)) => {
                drop(tx);
                if broken {
                    // Where a panic left the conversation with the server is not known.
                    connection.close_on_drop();
                }
                Err(setback)
            }
        }
    }

    /// What happens inside the transaction. Says whether there is anything to commit, and in an
    /// error whether the connection is to be given up.
    async fn within(
        &self,
        tx: &mut PgConnection,
        part: &Part,
    ) -> Result<(Vec<Answer>, bool), (Setback, bool)> {
        let all = 0..part.metas.len();
        let failed = |error: sqlx::Error| (Setback::Failed(Failure::from(error), all.clone()), false);
        let new = |command: &Command| part.unread && is_new(command);
        let known = part.commands.iter().zip(&part.metas).filter(|(command, _)| !new(command));
        let keys: Vec<_> = known.map(|(_, meta)| &meta.key).collect();
        let mut rows = HashMap::new();
        if !keys.is_empty() {
            rows = inbox::probe(tx, &keys).await.map_err(failed)?;
        }

        let now = Now { now_ms: self.shared.clock.now_ms(), retention_ms: self.shared.retention_ms };
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(part.metas.len());
        let mut to_write: Vec<Option<Row>> = Vec::with_capacity(part.metas.len());
        for (command, meta) in part.commands.iter().zip(&part.metas) {
            let row = rows.remove(&meta.key);
            let (answer, row) = match decide(command, &meta.key, row.as_ref(), now) {
                Verdict::Stored(answer) => {
                    self.way_of(part, command.direction).meters.stored(meta.action);
                    (Some(answer), None)
                }
                Verdict::Record(answer, row) => (Some(answer), Some(row)),
                Verdict::Reply(answer) => (Some(answer), None),
                Verdict::Run(row) if row.track(command.direction).calls == 0 => (None, Some(row)),
                Verdict::Run(_) | Verdict::AskFate(_) => (Some(foreign_intent()), None),
            };
            answers.push(answer);
            to_write.push(row);
        }

        failpoint::hit("worker.effect");
        for group in groups(part) {
            self.handle(tx, part, group, &mut answers, &mut to_write).await?;
        }
        // An answer that is not kept does not meet the row of an earlier one by being written.
        let unkept = part.commands.iter().zip(&part.metas).zip(&to_write);
        let unkept = unkept.filter(|((command, _), row)| new(command) && row.is_none());
        let keys: Vec<_> = unkept.map(|((_, meta), _)| &meta.key).collect();
        if !keys.is_empty() && !inbox::probe(tx, &keys).await.map_err(failed)?.is_empty() {
            return Err((Setback::Conflict, false));
        }
        let to_write: Vec<&Row> = to_write.iter().flatten().collect();
        if !to_write.is_empty() && !inbox::write(tx, &to_write).await.map_err(failed)? {
            return Err((Setback::Conflict, false));
        }
        let answers = answers.into_iter().map(|answer| answer.expect("every command was decided or handled"));
        Ok((answers.collect(), !to_write.is_empty()))
    }

    /// Gives one action's undecided commands to its handler.
    async fn handle(
        &self,
        tx: &mut PgConnection,
        part: &Part,
        group: Range<usize>,
        answers: &mut [Option<Answer>],
        to_write: &mut [Option<Row>],
    ) -> Result<(), (Setback, bool)> {
        let undecided: Vec<usize> = group.clone().filter(|index| answers[*index].is_none()).collect();
        if undecided.is_empty() {
            return Ok(());
        }
        let action = part.metas[group.start].action;
        let Kind::Transactional(handler) = &self.shared.actions[action].kind else {
            return Err((Setback::Failed(own("not a transactional action"), group), false));
        };
        let some: Vec<Command>;
        let commands = if undecided.len() == group.len() {
            &part.commands[group.clone()]
        } else {
            some = undecided.iter().map(|index| part.commands[*index].clone()).collect();
            &some
        };
        let direction = part.commands[group.start].direction;
        let started = Instant::now();
        let work = match direction {
            Direction::Execute => handler.execute(tx, commands),
            Direction::Compensate => handler.compensate(tx, commands),
        };
        let result = AssertUnwindSafe(work).catch_unwind().await;
        self.way_of(part, direction).meters.handled(action, started.elapsed().as_secs_f64());
        let replies = match result {
            Ok(Ok(replies)) => replies,
            Ok(Err(error)) => return Err((Setback::Failed(Failure::from(error), group), false)),
            Err(panic) => {
                let fault = Fault::new("panic", panic_message(&*panic));
                return Err((Setback::Failed(Failure::Data(fault), group), true));
            }
        };
        if replies.len() != commands.len() {
            let message = format!("{} answers to {} commands", replies.len(), commands.len());
            return Err((Setback::Failed(own(&message), group), false));
        }
        let mut oversized = Vec::new();
        for (index, answer) in undecided.into_iter().zip(replies) {
            if let Some(refusal) = refuse_oversized(&answer) {
                oversized.push((index, refusal));
                continue;
            }
            let command = &part.commands[index];
            match &mut to_write[index] {
                Some(row) if answer.is_final() => row.keep(command, &answer),
                row => *row = None,
            }
            answers[index] = Some(answer);
        }
        if oversized.is_empty() { Ok(()) } else { Err((Setback::Eject(oversized), false)) }
    }

    fn way_of<'a>(&'a self, part: &'a Part, direction: Direction) -> &'a Way {
        part.other.as_ref().filter(|_| direction != self.direction).unwrap_or(&self.way)
    }
}

/// Whether nobody can have answered the command before, as far as its sender knows.
fn is_new(command: &Command) -> bool {
    command.direction == Direction::Execute && command.attempt == 1
}

impl Part {
    /// Whether it has commands of both directions.
    fn is_mixed(&self) -> bool {
        let of = |command: Option<&Command>| command.map(|it| it.direction);
        of(self.commands.first()) != of(self.commands.last())
    }

    fn take(&mut self, index: usize, answer: Answer) -> Finished {
        let (command, meta) = (self.commands.remove(index), self.metas.remove(index));
        Finished::Answered(Job { command, meta }, answer)
    }

    fn split_off(&mut self, at: usize) -> Self {
        let (commands, metas) = (self.commands.split_off(at), self.metas.split_off(at));
        Self { commands, metas, unread: self.unread, other: self.other.clone() }
    }
}

/// The ranges of equal directions and actions; the part is in their order.
fn groups(part: &Part) -> Vec<Range<usize>> {
    let kinds = part.commands.iter().zip(&part.metas).map(|(command, meta)| (command.direction, meta.action));
    let kinds: Vec<_> = kinds.collect();
    let mut start = 0;
    let chunks = kinds.chunk_by(|a, b| a == b);
    chunks
        .map(|chunk| {
            let range = start..start + chunk.len();
            start = range.end;
            range
        })
        .collect()
}

/// The answer instead of an output that is too large. It must be found before the commit: what is
/// committed counts as done, and its output could never be told.
pub(crate) fn refuse_oversized(answer: &Answer) -> Option<Answer> {
    let Answer::Succeeded(Some(output)) = answer else { return None };
    let bytes = output.get().len();
    (bytes > OUTPUT_BYTES_MAX).then(|| {
        let message = format!("the output has {bytes} bytes, {OUTPUT_BYTES_MAX} are allowed");
        Answer::retryable("output_too_large", message)
    })
}

/// The row says that an outside call was made, although this action makes none: another version of
/// the worker did. It must be asked.
fn foreign_intent() -> Answer {
    Answer::own_trouble("intent_open", "an earlier version of the worker has made an outside call for this")
}

fn own(message: &str) -> Failure {
    Failure::Own(Fault::new("handler_bug", message))
}
