//! The external lane: intents recorded in batches, many calls in the air, results recorded in batches.
//!
//! Owns concurrency, order within a barrier row and the transactions; what a call's end means is
//! decided in `calls`, what a row means in `barrier`. No call begins before its intent is committed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use saga_protocol::{Direction, Fault};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::breaker::Breaker;
use super::calls::{
    Landed, Launch, Mission, Settlement, fly, horizon_ms, intend, settle, undone, wait_for_fate,
};
use super::failure::{Failure, panic_message};
use super::job::Job;
use super::meters::Meters;
use super::rate::Rate;
use super::replies::{Finished, Replies};
use super::transactional::BEGIN;
use crate::answer::Answer;
use crate::barrier::{Now, Verdict, decide};
use crate::external::{Call, External, ExternalPolicy};
use crate::inbox::{self, Key, Row};
use crate::worker::{Kind, Shared};

/// From so many calls in the air on, their ends are gathered.
const CROWD: usize = 16;
/// For so long at most; where nothing comes of it ever shorter, down to a tick of the timer.
const GATHER: Duration = Duration::from_millis(5);

/// The lane of one direction.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    direction: Direction,
    jobs: mpsc::Receiver<Job>,
    replies: Replies,
    meters: Arc<Meters>,
    /// By action; `None` for the transactional ones.
    outlets: Vec<Option<Outlet>>,
    flights: JoinSet<Landed>,
    /// The rows of the calls in the air, with the commands that wait for them.
    busy: HashMap<Key, Vec<Job>>,
    /// To be decided (again) as soon as possible.
    again: VecDeque<Job>,
    closed: bool,
    /// How long to wait for more calls to end.
    patience: Duration,
}

/// One external action.
struct Outlet {
    handler: Arc<dyn External>,
    policy: ExternalPolicy,
    permits: Arc<Semaphore>,
    rate: Option<Rate>,
    breaker: Arc<Breaker>,
    /// Commands that need a call, and there were too many in the air or too many in this second.
    waiting: VecDeque<Job>,
}

/// What is to be done with one command.
enum Plan {
    Answer(Answer),
    Wait,
    Launch(Launch),
}

/// Why a transaction over ended calls was rolled back.
enum Setback {
    /// The books of one call failed, for its data or the handler's own trouble.
    Books(usize, Answer),
    Failed(Failure),
}

/// Waits until then; for ever when there is nothing to wait for.
async fn turn(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Lane {
    pub(crate) fn new(
        shared: Arc<Shared>,
        direction: Direction,
        jobs: mpsc::Receiver<Job>,
        replies: Replies,
        meters: Arc<Meters>,
    ) -> Self {
        let outlets = shared.actions.iter().enumerate().map(|(index, action)| match &action.kind {
            Kind::Transactional(_) => None,
            Kind::External(handler, policy) => {
                let name = shared.action_name(index, direction);
                let breaker = Arc::new(Breaker::new(&shared.name, name, direction, policy.breaker.clone()));
                // What cannot be undone is never asked for.
                if direction == Direction::Execute || action.info.compensation.is_some() {
                    shared.pulse.watch(breaker.clone());
                }
                Some(Outlet {
                    handler: handler.clone(),
                    policy: policy.clone(),
                    permits: Arc::new(Semaphore::new(policy.concurrency)),
                    rate: policy.per_second.map(Rate::new),
                    breaker,
                    waiting: VecDeque::new(),
                })
            }
        });
        let outlets = outlets.collect();
        Self {
            shared,
            direction,
            jobs,
            replies,
            meters,
            outlets,
            flights: JoinSet::new(),
            busy: HashMap::new(),
            again: VecDeque::new(),
            closed: false,
            patience: GATHER,
        }
    }

    /// Works until the channel is closed and no call is in the air. What has not begun by then is
    /// left to be delivered again.
    pub(crate) async fn run(mut self) {
        let max = self.shared.tuning.batch_max;
        loop {
            let (mut fresh, mut landed) = (Vec::new(), Vec::new());
            if !self.has_candidates() {
                let next = self.next_turn();
                tokio::select! {
                    count = self.jobs.recv_many(&mut fresh, max), if !self.closed => {
                        self.closed = count == 0;
                    }
                    Some(flight) = self.flights.join_next(), if !self.flights.is_empty() => {
                        landed.push(flight.expect("a flight catches its handler's panics"));
                    }
                    () = turn(next), if !self.closed && next.is_some() => {}
                    else => return,
                }
            }
            self.gather(&mut landed).await;
            if !landed.is_empty() {
                self.land(landed).await;
            }
            // Drawn once, when it is known what room there is, and before whatever came later.
            let mut jobs = self.candidates(max.saturating_sub(fresh.len()));
            jobs.append(&mut fresh);
            while jobs.len() < max
                && let Ok(job) = self.jobs.try_recv()
            {
                jobs.push(job);
            }
            if !jobs.is_empty() {
                self.take_in(jobs).await;
            }
        }
    }

    /// Takes in what has landed; where calls end one after another it waits a moment for more, for each transaction costs
    /// as much as a call.
    async fn gather(&mut self, landed: &mut Vec<Landed>) {
        let first = landed.len();
        let waits = first > 0 && self.flights.len() >= CROWD;
        let until = Instant::now() + self.patience;
        while landed.len() < self.shared.tuning.batch_max {
            let flight = if !waits || self.flights.is_empty() {
                self.flights.try_join_next()
            } else {
                tokio::select! {
                    biased;
                    flight = self.flights.join_next() => flight,
                    () = tokio::time::sleep_until(until) => None,
                }
            };
            let Some(flight) = flight else { break };
            landed.push(flight.expect("a flight catches its handler's panics"));
        }
        if waits {
            // Calls that hang are no crowd.
            self.patience = if landed.len() > first { GATHER } else { self.patience / 2 };
        }
    }

    /// Whether [`Lane::candidates`] has any.
    fn has_candidates(&self) -> bool {
        let may_go = |it: &Outlet| {
            let tokens = || it.rate.as_ref().is_none_or(|rate| rate.available() > 0);
            !it.waiting.is_empty() && it.permits.available_permits() > 0 && tokens()
        };
        !self.closed && (!self.again.is_empty() || self.outlets.iter().flatten().any(may_go))
    }

    /// What can be decided now: commands whose turn came again, and waiting ones for which there are
    /// permits.
    fn candidates(&mut self, max: usize) -> Vec<Job> {
        if self.closed {
            self.again.clear();
            for outlet in self.outlets.iter_mut().flatten() {
                outlet.waiting.clear();
            }
        }
        let mut jobs: Vec<Job> = self.again.drain(..self.again.len().min(max)).collect();
        for (action, outlet) in self.outlets.iter_mut().enumerate() {
            let Some(outlet) = outlet else { continue };
            let tokens = outlet.rate.as_ref().map_or(usize::MAX, Rate::available);
            // Those whose turn came again take theirs first: who then found none would go to the tail.
            let taken = jobs.iter().filter(|job| job.meta.action == action).count();
            let free = outlet.permits.available_permits().min(tokens).saturating_sub(taken);
            let room = free.min(max.saturating_sub(jobs.len()));
            jobs.extend(outlet.waiting.drain(..outlet.waiting.len().min(room)));
        }
        jobs
    }

    /// When a command that waits for nothing but its second may go on.
    fn next_turn(&self) -> Option<Instant> {
        let waiting = self
            .outlets
            .iter()
            .flatten()
            .filter(|it| !it.waiting.is_empty() && it.permits.available_permits() > 0);
        waiting.filter_map(|it| Some(it.rate.as_ref()?.next())).min()
    }

    /// Decides commands, commits the intents, and lets the calls begin.
    async fn take_in(&mut self, jobs: Vec<Job>) {
        let mut keys = HashSet::with_capacity(jobs.len());
        let mut unique = Vec::with_capacity(jobs.len());
        for job in jobs {
            // One command of a row at a time: the next one sees what this one has left.
            if let Some(waiting) = self.busy.get_mut(&job.meta.key) {
                waiting.push(job);
            } else if keys.insert(job.meta.key.clone()) {
                unique.push(job);
            } else {
                self.again.push_back(job);
            }
        }
        if unique.is_empty() {
            return;
        }
        self.meters.batch.record(unique.len() as f64);
        let plans = self.plan(&unique).await;
        let mut finished = Vec::new();
        for (job, plan) in unique.into_iter().zip(plans) {
            match plan {
                Plan::Answer(answer) => finished.push(Finished::Answered(job, answer)),
                Plan::Wait => match &mut self.outlets[job.meta.action] {
                    Some(outlet) => outlet.waiting.push_back(job),
                    None => self.again.push_back(job),
                },
                Plan::Launch(launch) => self.launch(job, launch),
            }
        }
        self.replies.send(finished).await;
    }

    fn launch(&mut self, mut job: Job, mut launch: Launch) {
        let Some(outlet) = &self.outlets[job.meta.action] else { return };
        self.busy.insert(job.meta.key.clone(), Vec::new());
        // Its reply may have been lost, or overtaken by the compensate.
        let output = &mut job.command.wire.output;
        *output = output.take().or_else(|| launch.output.take());
        let command = if launch.mission == Mission::Fate {
            undone(&job.command, self.shared.action_name(job.meta.action, Direction::Execute))
        } else {
            job.command.clone()
        };
        let effect_key = command.effect_key().to_string();
        let clock = self.shared.clock.clone();
        let call = Call { command, effect_key, not_after_ms: launch.not_after_ms, clock: clock.clone() };
        self.flights.spawn(fly(
            job,
            call,
            launch,
            outlet.handler.clone(),
            outlet.policy.client_timeout_ms,
            clock,
            self.meters.clone(),
        ));
    }

    /// Decides until a transaction over the decisions is committed.
    async fn plan(&self, jobs: &[Job]) -> Vec<Plan> {
        let mut backoff = Backoff::default();
        loop {
            match self.try_plan(jobs).await {
                Ok(Some(plans)) => return plans,
                Ok(None) => self.meters.retried.increment(1),
                Err(Failure::Transient(error)) => {
                    self.meters.retried.increment(1);
                    tracing::warn!(worker = self.shared.name, error, "intents are tried again");
                    backoff.wait().await;
                }
                Err(Failure::Data(fault) | Failure::Own(fault)) => {
                    tracing::error!(
                        worker = self.shared.name,
                        code = fault.code,
                        message = fault.message,
                        "intents cannot be recorded"
                    );
                    let answer =
                        || Answer::Retryable { fault: fault.clone(), uncharged: true, after_ms: None };
                    return jobs.iter().map(|_| Plan::Answer(answer())).collect();
                }
            }
        }
    }

    /// One transaction: reads the rows, decides, writes. `None` when somebody else was faster.
    async fn try_plan(&self, jobs: &[Job]) -> Result<Option<Vec<Plan>>, Failure> {
        let mut tx = self.shared.pool.begin_with(BEGIN).await?;
        let keys: Vec<&Key> = jobs.iter().map(|job| &job.meta.key).collect();
        let mut rows = inbox::probe(&mut tx, &keys).await?;
        let now_ms = self.shared.clock.now_ms();
        let mut to_write = Vec::new();
        let mut plans = Vec::with_capacity(jobs.len());
        for job in jobs {
            let row = rows.remove(&job.meta.key);
            let (plan, row) = self.plan_one(job, row.as_ref(), now_ms);
            plans.push(plan);
            to_write.extend(row);
        }
        if !to_write.is_empty() {
            let to_write: Vec<&Row> = to_write.iter().collect();
            if !inbox::write(&mut tx, &to_write).await? {
                return Ok(None);
            }
        }
        tx.commit().await?;
        failpoint::hit("call.intended");
        Ok(Some(plans))
    }

    /// Decides one command; the row is to be written before the plan is followed.
    fn plan_one(&self, job: &Job, row: Option<&Row>, now_ms: i64) -> (Plan, Option<Row>) {
        let now = Now { now_ms, retention_ms: self.shared.retention_ms };
        match decide(&job.command, &job.meta.key, row, now) {
            Verdict::Stored(answer) => {
                self.meters.stored(job.meta.action);
                (Plan::Answer(answer), None)
            }
            Verdict::Record(answer, row) => (Plan::Answer(answer), Some(row)),
            Verdict::Reply(answer) => (Plan::Answer(answer), None),
            Verdict::Run(row) => self.plan_call(job, row, now_ms),
            Verdict::AskFate(mut row) => {
                // The mark is committed before the inquiry begins, and whether or not it can: no
                // intent is recorded after it.
                let news = !row.marked;
                row.marked = true;
                let plan = match self.admit(job, now_ms) {
                    Ok((admission, permit)) => Plan::Launch(Launch {
                        mission: Mission::Fate,
                        not_after_ms: now_ms,
                        number: 0,
                        others_ms: None,
                        output: None,
                        admission,
                        permit,
                    }),
                    Err(plan) => plan,
                };
                (plan, news.then_some(row))
            }
        }
    }

    fn plan_call(&self, job: &Job, mut row: Row, now_ms: i64) -> (Plan, Option<Row>) {
        let Some(outlet) = &self.outlets[job.meta.action] else {
            return (Plan::Answer(Answer::own_trouble("handler_bug", "not an external action")), None);
        };
        let track = row.track(self.direction);
        let new_round = self.direction == Direction::Compensate
            && i32::try_from(job.command.round).is_ok_and(|round| round > row.compensate_round);
        if new_round && let Some(not_after_ms) = track.not_after_ms {
            // Calls of another key: an inquiry about this one says nothing about them.
            let until_ms = horizon_ms(not_after_ms, &outlet.policy);
            if now_ms <= until_ms {
                return (Plan::Answer(wait_for_fate(until_ms, &outlet.policy, now_ms)), None);
            }
        }
        match self.admit(job, now_ms) {
            Ok((admission, permit)) => {
                let (mission, not_after_ms, number, others_ms) =
                    intend(&mut row, &job.command, &outlet.policy, now_ms);
                let output = match row.execute.kept() {
                    Some(Answer::Succeeded(output)) if self.direction == Direction::Compensate => output,
                    _ => None,
                };
                let launch = Launch { mission, not_after_ms, number, others_ms, output, admission, permit };
                (Plan::Launch(launch), Some(row))
            }
            Err(plan) => (plan, None),
        }
    }

    /// A permit and the breaker's consent, or what to do without.
    fn admit(
        &self,
        job: &Job,
        now_ms: i64,
    ) -> Result<(super::breaker::Admission, tokio::sync::OwnedSemaphorePermit), Plan> {
        let Some(outlet) = &self.outlets[job.meta.action] else {
            return Err(Plan::Answer(Answer::own_trouble("handler_bug", "not an external action")));
        };
        let permit = outlet.permits.clone().try_acquire_owned().map_err(|_| Plan::Wait)?;
        // Before the breaker, whose probe must not get lost.
        if outlet.rate.as_ref().is_some_and(|rate| !rate.take()) {
            return Err(Plan::Wait);
        }
        match outlet.breaker.admit(now_ms) {
            Ok(admission) => Ok((admission, permit)),
            Err(after_ms) => {
                let answer = Answer::own_trouble("breaker_open", "calls fail in a row; none is made for now");
                Err(Plan::Answer(answer.after_ms(after_ms)))
            }
        }
    }

    /// Records how calls ended, answers, and lets the next commands of their rows go on.
    async fn land(&mut self, landed: Vec<Landed>) {
        let (mut finished, mut again) = (Vec::new(), Vec::new());
        for (landed, settlement) in self.record(landed).await {
            again.extend(self.busy.remove(&landed.job.meta.key).unwrap_or_default());
            match settlement {
                Settlement::Reply(answer) | Settlement::Eased(answer) | Settlement::Final(answer) => {
                    finished.push(Finished::Answered(landed.job, answer));
                }
                Settlement::FateKnown(_) | Settlement::Again => self.again.push_front(landed.job),
            }
        }
        self.again.extend(again);
        self.replies.send(finished).await;
    }

    /// Settles ended calls until a transaction over them is committed.
    async fn record(&self, mut landed: Vec<Landed>) -> Vec<(Landed, Settlement)> {
        let mut done = Vec::with_capacity(landed.len());
        let mut backoff = Backoff::default();
        // In one order everywhere, so that the handlers' books are locked in one order too.
        landed.sort_by(|a, b| a.job.meta.key.cmp(&b.job.meta.key));
        while !landed.is_empty() {
            match self.try_record(&landed).await {
                Ok(settlements) => {
                    done.extend(landed.drain(..).zip(settlements));
                }
                Err(Setback::Books(index, answer)) => {
                    done.push((landed.remove(index), Settlement::Reply(answer)));
                }
                Err(Setback::Failed(Failure::Transient(error))) => {
                    self.meters.retried.increment(1);
                    tracing::warn!(worker = self.shared.name, error, "results are tried again");
                    backoff.wait().await;
                }
                Err(Setback::Failed(Failure::Data(fault) | Failure::Own(fault))) => {
                    // The intents stay; the commands come again and find the effects by inquiry.
                    tracing::error!(
                        worker = self.shared.name,
                        code = fault.code,
                        message = fault.message,
                        "results cannot be recorded"
                    );
                    let answer =
                        || Answer::Retryable { fault: fault.clone(), uncharged: true, after_ms: None };
                    done.extend(landed.drain(..).map(|one| (one, Settlement::Reply(answer()))));
                }
            }
        }
        done
    }

    /// One transaction over ended calls: rows locked, settled and written, with the handlers' books.
    async fn try_record(&self, landed: &[Landed]) -> Result<Vec<Settlement>, Setback> {
        let failed = |error: sqlx::Error| Setback::Failed(Failure::from(error));
        let mut tx = self.shared.pool.begin_with(BEGIN).await.map_err(failed)?;
        let keys: Vec<&Key> = landed.iter().map(|one| &one.job.meta.key).collect();
        let mut rows = inbox::probe_locked(&mut tx, &keys).await.map_err(failed)?;
        let now_ms = self.shared.clock.now_ms();
        let mut to_write = Vec::new();
        let mut settlements = Vec::with_capacity(landed.len());
        for (index, one) in landed.iter().enumerate() {
            let (Some(mut row), Some(outlet)) =
                (rows.remove(&one.job.meta.key), &self.outlets[one.job.meta.action])
            else {
                // Its intent was committed; only somebody's hand can have removed it.
                let answer = Answer::undecidable("record_missing", "the intent of the call has vanished");
                settlements.push(Settlement::Reply(answer));
                continue;
            };
            let settlement = settle(&mut row, one, &outlet.policy, now_ms);
            if let Settlement::Final(answer) | Settlement::FateKnown(answer) = &settlement {
                let work = outlet.handler.settled(&mut tx, &one.call, answer);
                match AssertUnwindSafe(work).catch_unwind().await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(self.books_failed(index, one, Failure::from(error))),
                    Err(panic) => {
                        let fault = Fault::new("panic", panic_message(&*panic));
                        return Err(self.books_failed(index, one, Failure::Data(fault)));
                    }
                }
            }
            if !matches!(settlement, Settlement::Reply(_) | Settlement::Again) {
                to_write.push(row);
            }
            settlements.push(settlement);
        }
        let to_write: Vec<&Row> = to_write.iter().collect();
        if !inbox::write(&mut tx, &to_write).await.map_err(failed)? {
            let message = "locked rows have changed: their versions do not match".to_owned();
            return Err(Setback::Failed(Failure::Transient(message)));
        }
        failpoint::hit("call.record");
        tx.commit().await.map_err(failed)?;
        failpoint::hit("call.recorded");
        Ok(settlements)
    }

    fn books_failed(&self, index: usize, one: &Landed, failure: Failure) -> Setback {
        let (fault, uncharged) = match failure {
            Failure::Transient(_) => return Setback::Failed(failure),
            Failure::Data(fault) => (fault, false),
            Failure::Own(fault) => (fault, true),
        };
        tracing::error!(
            worker = self.shared.name,
            saga.id = %one.job.command.saga,
            step.name = %one.job.command.step,
            code = fault.code,
            message = fault.message,
            "a call has ended, and the handler could not write its books; it is found again by inquiry"
        );
        Setback::Books(index, Answer::Retryable { fault, uncharged, after_ms: None })
    }
}
