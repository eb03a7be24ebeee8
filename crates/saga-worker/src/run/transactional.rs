//! The transactional lane: batches of commands, each in one transaction with its barrier rows.
//!
//! The lane is optimistic. It reads the rows without locks, runs the handlers, and writes the rows
//! last, insisting on the versions that it has read; whoever comes second rolls back and decides
//! anew. A row is so written once, with its reply, and business locks are always taken before the
//! barrier's: the two kinds cannot deadlock with each other.

use std::collections::{HashSet, VecDeque};
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
use crate::answer::Answer;
use crate::barrier::{Now, Verdict, decide};
use crate::command::Command;
use crate::handler::Transactional;
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
    pub(crate) replies: Replies,
    pub(crate) meters: Arc<Meters>,
}

/// Commands that are worked on together, in the order of their actions.
struct Part {
    commands: Vec<Command>,
    metas: Vec<Meta>,
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
            let Some(batch) = self.collect(&mut carried, last).await else { return };
            failpoint::hit("worker.take");
            last = batch.metas.len();
            self.meters.batch.record(last as f64);
            let finished = self.work(batch).await;
            self.replies.send(finished).await;
            failpoint::hit("worker.replied");
        }
    }

    /// The next batch: what has arrived, each barrier row at most once.
    async fn collect(&mut self, carried: &mut VecDeque<Job>, last: usize) -> Option<Part> {
        let max = self.shared.tuning.batch_max;
        let mut arrived: Vec<Job> = carried.drain(..).collect();
        if arrived.is_empty() && self.jobs.recv_many(&mut arrived, max).await == 0 {
            return None;
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
        jobs.sort_by_key(|job| job.meta.action);
        let (commands, metas) = jobs.into_iter().map(|job| (job.command, job.meta)).unzip();
        Some(Part { commands, metas })
    }

    /// Works a batch off, bisecting it as far as its data demands.
    async fn work(&self, batch: Part) -> Vec<Finished> {
        let mut finished = Vec::with_capacity(batch.metas.len());
        let mut parts = vec![batch];
        let mut backoff = Backoff::default();
        while let Some(mut part) = parts.pop() {
            match self.attempt(&part).await {
                Ok(answers) => {
                    let commands = part.commands.into_iter().zip(part.metas);
                    finished.extend(
                        commands.zip(answers).map(|((command, meta), answer)| {
                            Finished::Answered(Job { command, meta }, answer)
                        }),
                    );
                    backoff = Backoff::default();
                    continue;
                }
                Err(Setback::Conflict) => {
                    self.meters.retried.increment(1);
                    parts.push(part);
                }
                Err(Setback::Eject(answers)) => {
                    for (index, answer) in answers.into_iter().rev() {
                        finished.push(part.take(index, answer));
                    }
                    parts.push(part);
                }
                Err(Setback::Failed(Failure::Transient(error), _)) => {
                    self.meters.retried.increment(1);
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
            parts.retain(|part| !part.metas.is_empty());
        }
        finished
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
        let keys: Vec<_> = part.metas.iter().map(|meta| &meta.key).collect();
        let mut rows = inbox::probe(tx, &keys).await.map_err(failed)?;

        let now = Now { now_ms: self.shared.clock.now_ms(), retention_ms: self.shared.retention_ms };
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(part.metas.len());
        let mut to_write: Vec<Option<Row>> = Vec::with_capacity(part.metas.len());
        for (command, meta) in part.commands.iter().zip(&part.metas) {
            let row = rows.remove(&meta.key);
            let (answer, row) = match decide(command, &meta.key, row.as_ref(), now) {
                Verdict::Stored(answer) => {
                    self.meters.stored(meta.action);
                    (Some(answer), None)
                }
                Verdict::Record(answer, row) => (Some(answer), Some(row)),
                Verdict::Reply(answer) => (Some(answer), None),
                Verdict::Run(row) if row.track(self.direction).calls == 0 => (None, Some(row)),
                Verdict::Run(_) | Verdict::AskFate(_) => (Some(foreign_intent()), None),
            };
            answers.push(answer);
            to_write.push(row);
        }

        failpoint::hit("worker.effect");
        for group in groups(&part.metas) {
            self.handle(tx, part, group, &mut answers, &mut to_write).await?;
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
        let started = Instant::now();
        let result = self.call(handler, tx, commands).await;
        self.meters.handled(action, started.elapsed().as_secs_f64());
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

    async fn call(
        &self,
        handler: &Arc<dyn Transactional>,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> std::thread::Result<Result<Vec<Answer>, crate::handler::HandlerError>> {
        let work = match self.direction {
            Direction::Execute => handler.execute(tx, commands),
            Direction::Compensate => handler.compensate(tx, commands),
        };
        AssertUnwindSafe(work).catch_unwind().await
    }
}

impl Part {
    fn take(&mut self, index: usize, answer: Answer) -> Finished {
        let (command, meta) = (self.commands.remove(index), self.metas.remove(index));
        Finished::Answered(Job { command, meta }, answer)
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { commands: self.commands.split_off(at), metas: self.metas.split_off(at) }
    }
}

/// The ranges of equal actions; the part is in their order.
fn groups(metas: &[Meta]) -> Vec<Range<usize>> {
    let mut start = 0;
    let chunks = metas.chunk_by(|a, b| a.action == b.action);
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
