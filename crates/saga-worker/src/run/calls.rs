//! One outside call, from its recorded intent to what its end means for the barrier's row.
//!
//! Owns the rules of fate: what an answer proves, what silence does not, and when a decline may be
//! believed for good. The lane around it owns transactions and concurrency.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use saga_protocol::{Direction, Fault};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::breaker::Admission;
use super::failure::panic_message;
use super::job::Job;
use super::meters::Meters;
use super::transactional::refuse_oversized;
use crate::answer::Answer;
use crate::clock::Clock;
use crate::command::Command;
use crate::external::{Call, CallResult, External, ExternalPolicy, Inquiry};
use crate::inbox::{Fate, Row};

/// Why a call is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mission {
    /// No call of this key may still land: call at once.
    First,
    /// An earlier call may have landed, or still may: inquire, then call.
    Repeated,
    /// A compensate has met an execute of unknown fate: only inquire, about the execute.
    Fate,
}

/// The right to one call, once its intent (or mark) is committed.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) mission: Mission,
    pub(crate) not_after_ms: i64,
    /// Which of the row's intents is this call's.
    pub(crate) number: i32,
    /// Until when *other* calls of unknown fate may have begun.
    pub(crate) others_ms: Option<i64>,
    /// In a compensate, the execute's output as this worker has kept it.
    pub(crate) output: Option<Box<RawValue>>,
    pub(crate) admission: Admission,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) job: Job,
    pub(crate) call: Call,
    pub(crate) mission: Mission,
    pub(crate) number: i32,
    pub(crate) others_ms: Option<i64>,
    /// When the call, or the inquiry before it, began.
    pub(crate) begun_ms: i64,
    pub(crate) outcome: Outcome,
}

/// What is known at a call's end.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The effect took place.
    Done(Option<Box<RawValue>>),
    /// The other side said no; this call cannot land any more.
    Declined(Fault),
    /// This call certainly did nothing.
    Nothing { fault: Fault, uncharged: bool },
    /// It may have taken effect.
    Unknown(Fault),
    /// An inquiry showed that no call of the key can take effect any more.
    Impossible(Fault),
    /// An inquiry about an execute's fate found no effect.
    NoTrace,
}

/// What a call's end means.
#[derive(Debug)]
pub(crate) enum Settlement {
    /// An answer; the row stays as it is.
    Reply(Answer),
    /// An answer that is not final; the row is written.
    Eased(Answer),
    /// A final answer of the call; the row is written with it, and the handler's books.
    Final(Answer),
    /// The execute's fate is settled with this answer; the row is written, the handler's books too,
    /// and the compensate decided anew.
    FateKnown(Answer),
    /// Somebody else settled it; decide anew.
    Again,
}

/// Notes an intent in the row. The caller writes the row before the call begins.
pub(crate) fn intend(
    row: &mut Row,
    command: &Command,
    policy: &ExternalPolicy,
    now_ms: i64,
) -> (Mission, i64, i32, Option<i64>) {
    row.serve(command);
    let mut not_after_ms = now_ms + i64::from(policy.not_after_ms);
    if command.direction == Direction::Execute {
        not_after_ms = not_after_ms.min(command.expires_at_ms);
    }
    let track = row.track_mut(command.direction);
    let others_ms = track.not_after_ms;
    let mission = if others_ms.is_some() { Mission::Repeated } else { Mission::First };
    track.fate = Fate::Open;
    track.not_after_ms = others_ms.max(Some(not_after_ms));
    track.calls += 1;
    (mission, not_after_ms, track.calls, others_ms)
}

/// From when on an inquiry that finds nothing proves that nothing will come.
pub(crate) fn horizon_ms(not_after_ms: i64, policy: &ExternalPolicy) -> i64 {
    not_after_ms + i64::from(policy.client_timeout_ms) + i64::from(policy.window_ms)
}

/// The answer of a command that must wait until `until_ms` for somebody else's fate.
pub(crate) fn wait_for_fate(until_ms: i64, policy: &ExternalPolicy, now_ms: i64) -> Answer {
    let left_ms = u32::try_from((until_ms - now_ms).max(0)).unwrap_or(u32::MAX);
    Answer::own_trouble("fate_open", "an earlier outside call may still take effect")
        .after_ms(left_ms.saturating_add(1).min(policy.recheck_ms))
}

/// The execute that a compensate speaks of, to inquire about it.
pub(crate) fn undone(command: &Command, action: &str) -> Command {
    let mut execute = command.clone();
    execute.wire.direction = Direction::Execute;
    execute.wire.round = command.execute_round();
    execute.wire.attempt = 1;
    execute.wire.undoes = None;
    execute.wire.output = None;
    action.clone_into(&mut execute.wire.action);
    execute
}

/// Makes the call, and the inquiry before it where one is due.
pub(crate) async fn fly(
    job: Job,
    call: Call,
    launch: Launch,
    handler: Arc<dyn External>,
    client_timeout_ms: u32,
    clock: Arc<dyn Clock>,
    meters: Arc<Meters>,
) -> Landed {
    let Launch { mission, number, others_ms, admission, permit, .. } = launch;
    let timeout = Duration::from_millis(u64::from(client_timeout_ms));
    let started = Instant::now();
    let begun_ms = clock.now_ms();
    let outcome = match mission {
        Mission::First => send(&*handler, &call, timeout, &*clock, admission).await,
        Mission::Repeated => match inquire(&*handler, &call, timeout).await {
            Inquiry::NotFound => send(&*handler, &call, timeout, &*clock, admission).await,
            Inquiry::Found(output) => {
                admission.good();
                Outcome::Done(output)
            }
            Inquiry::Impossible(fault) => {
                admission.good();
                Outcome::Impossible(fault)
            }
            Inquiry::Unknown(fault) => {
                admission.trouble(clock.now_ms());
                Outcome::Nothing { fault, uncharged: false }
            }
        },
        Mission::Fate => {
            let found = inquire(&*handler, &call, timeout).await;
            match found {
                Inquiry::Unknown(fault) => {
                    admission.trouble(clock.now_ms());
                    Outcome::Unknown(fault)
                }
                known => {
                    admission.good();
                    match known {
                        Inquiry::Found(output) => Outcome::Done(output),
                        Inquiry::Impossible(fault) => Outcome::Impossible(fault),
                        Inquiry::NotFound | Inquiry::Unknown(_) => Outcome::NoTrace,
                    }
                }
            }
        }
    };
    failpoint::hit("call.made");
    meters.handled(job.meta.action, started.elapsed().as_secs_f64());
    drop(permit);
    Landed { job, call, mission, number, others_ms, begun_ms, outcome }
}

async fn send(
    handler: &dyn External,
    call: &Call,
    timeout: Duration,
    clock: &dyn Clock,
    admission: Admission,
) -> Outcome {
    if !call.may_send() {
        let fault = Fault::new("too_late", "the call could not begin before its not-after instant");
        return Outcome::Nothing { fault, uncharged: true };
    }
    let called = tokio::time::timeout(timeout, AssertUnwindSafe(handler.call(call)).catch_unwind()).await;
    let result = match called {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => CallResult::Unknown(Fault::new("panic", panic_message(&*panic))),
        Err(_) => CallResult::Unknown(Fault::new("client_timeout", "no answer within the client's timeout")),
    };
    match result {
        CallResult::Done(output) => {
            admission.good();
            Outcome::Done(output)
        }
        CallResult::Declined(fault) => {
            admission.good();
            Outcome::Declined(fault)
        }
        CallResult::Unknown(fault) => {
            admission.trouble(clock.now_ms());
            Outcome::Unknown(fault)
        }
        CallResult::NotSent(fault) => {
            // Not sent because it was too late says nothing about the other side.
            if call.may_send() {
                admission.trouble(clock.now_ms());
            }
            Outcome::Nothing { fault, uncharged: false }
        }
        CallResult::OwnTrouble(fault) => {
            admission.trouble(clock.now_ms());
            Outcome::Nothing { fault, uncharged: true }
        }
    }
}

async fn inquire(handler: &dyn External, call: &Call, timeout: Duration) -> Inquiry {
    let asked = tokio::time::timeout(timeout, AssertUnwindSafe(handler.inquire(call)).catch_unwind()).await;
    match asked {
        Ok(Ok(inquiry)) => inquiry,
        Ok(Err(panic)) => Inquiry::Unknown(Fault::new("panic", panic_message(&*panic))),
        Err(_) => Inquiry::Unknown(Fault::new("client_timeout", "no answer to the inquiry in time")),
    }
}

/// What a call's end means for its row, which is locked. Changes the row where it says so.
pub(crate) fn settle(row: &mut Row, landed: &Landed, policy: &ExternalPolicy, now_ms: i64) -> Settlement {
    if landed.mission == Mission::Fate {
        return settle_fate(row, landed, policy, now_ms);
    }
    let command = &landed.job.command;
    let track = row.track(command.direction);
    if let Outcome::Done(output) = &landed.outcome {
        if track.fate == Fate::Succeeded
            && let Some(kept) = track.kept()
        {
            return Settlement::Reply(kept);
        }
        let answer = Answer::Succeeded(output.clone());
        if let Some(refusal) = refuse_oversized(&answer) {
            // The intent stays: what took effect is found again by inquiry.
            return Settlement::Reply(refusal);
        }
        // Also over a stored `rejected`: an effect that is proven is the truth, however late.
        row.keep(command, &answer);
        return Settlement::Final(answer);
    }
    let old_round = command.direction == Direction::Compensate
        && i32::try_from(command.round).is_ok_and(|round| round < row.compensate_round);
    if old_round {
        // The row speaks of a later round: only an effect of this one is news for it.
        let answer = Answer::retryable("superseded", "a later compensate round is on record");
        return Settlement::Reply(answer);
    }
    if let Some(kept) = track.kept() {
        return Settlement::Reply(kept);
    }
    // Later intents have taken this call's not-after into theirs; it cannot be taken out again.
    let newest = track.calls == landed.number && track.fate == Fate::Open;
    let others_ms = if newest { landed.others_ms } else { track.not_after_ms };
    match &landed.outcome {
        Outcome::Unknown(fault) => {
            Settlement::Reply(Answer::Retryable { fault: fault.clone(), uncharged: false, after_ms: None })
        }
        Outcome::Declined(fault) => {
            let until_ms = others_ms.map(|others_ms| horizon_ms(others_ms, policy));
            // By the beginning: another call may have landed after this one was declined, however late
            // that is recorded.
            match until_ms.filter(|until_ms| *until_ms >= landed.begun_ms) {
                None => {
                    let answer = Answer::Rejected(fault.clone());
                    row.keep(command, &answer);
                    Settlement::Final(answer)
                }
                // Another call of the key may still land: the decline is not final.
                Some(until_ms) => {
                    let wait = wait_for_fate(until_ms, policy, now_ms);
                    ease(row, command.direction, newest, others_ms, wait)
                }
            }
        }
        Outcome::Nothing { fault, uncharged } => {
            let answer = Answer::Retryable { fault: fault.clone(), uncharged: *uncharged, after_ms: None };
            ease(row, command.direction, newest, others_ms, answer)
        }
        Outcome::Impossible(fault) => {
            let answer = Answer::Rejected(fault.clone());
            row.keep(command, &answer);
            Settlement::Final(answer)
        }
        Outcome::Done(_) | Outcome::NoTrace => Settlement::Again,
    }
}

/// Takes back an intent whose call certainly did nothing.
fn ease(
    row: &mut Row,
    direction: Direction,
    newest: bool,
    others_ms: Option<i64>,
    answer: Answer,
) -> Settlement {
    if !newest {
        return Settlement::Reply(answer);
    }
    let track = row.track_mut(direction);
    track.not_after_ms = others_ms;
    track.fate = if others_ms.is_some() { Fate::Open } else { Fate::Never };
    Settlement::Eased(answer)
}

fn settle_fate(row: &mut Row, landed: &Landed, policy: &ExternalPolicy, now_ms: i64) -> Settlement {
    let (Fate::Open, Some(not_after_ms)) = (row.execute.fate, row.execute.not_after_ms) else {
        return Settlement::Again;
    };
    let horizon_ms = horizon_ms(not_after_ms, policy);
    let answer = match &landed.outcome {
        Outcome::Done(output) => {
            let answer = Answer::Succeeded(output.clone());
            // Nobody will read an output that is too large; that the effect exists must be kept.
            if refuse_oversized(&answer).is_some() { Answer::ok() } else { answer }
        }
        Outcome::Impossible(fault) => Answer::Rejected(fault.clone()),
        Outcome::NoTrace if landed.begun_ms > horizon_ms => {
            Answer::rejected("never_landed", "no outside call took effect by its horizon")
        }
        Outcome::NoTrace => {
            return Settlement::Reply(wait_for_fate(horizon_ms, policy, now_ms));
        }
        Outcome::Unknown(fault) | Outcome::Declined(fault) | Outcome::Nothing { fault, .. } => {
            return Settlement::Reply(Answer::Retryable {
                fault: fault.clone(),
                uncharged: false,
                after_ms: None,
            });
        }
    };
    row.execute.keep(&answer);
    Settlement::FateKnown(answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::SystemClock;
    use crate::inbox::Key;
    use crate::run::job::{Letter, Meta};
    use crate::testkit;

    /// A call of `command` that was declined; no other call of its key was known when it began.
    fn declined(command: &saga_protocol::Command, others_ms: Option<i64>, begun_ms: i64) -> Landed {
        let command = Command { wire: command.clone(), traceparent: None };
        let record = saga_bus::Record {
            at: saga_bus::TopicPartition { topic: "t".into(), partition: 0 },
            offset: 0,
            key: None,
            headers: saga_protocol::Headers::default(),
            data: None,
        };
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let meta = Meta {
            key: Key::of(&command).unwrap(),
            reply_to: saga_protocol::ReplyTo { topic: "inbox".to_owned(), partition: 0 },
            action: 0,
            letter: Letter { record, generation: 0, _room: room },
        };
        let call = Call::for_test(command.clone(), begun_ms + 1, Arc::new(SystemClock));
        let outcome = Outcome::Declined(Fault::new("no", "no"));
        let mission = if others_ms.is_some() { Mission::Repeated } else { Mission::First };
        Landed { job: Job { command, meta }, call, mission, number: 1, others_ms, begun_ms, outcome }
    }

    fn row(landed: &Landed) -> Row {
        Row::new(landed.job.meta.key.clone())
    }

    #[test]
    fn a_late_decline_of_an_old_compensate_round_does_not_settle_the_newer_one() {
        let policy = ExternalPolicy::default();
        let execute = testkit::execute("pay", &json!({}));
        let old = testkit::compensate(&execute, "refund", true);
        let new = testkit::round(&old, 2);
        let late = declined(&old, None, 0);
        let mut row = row(&late);
        row.execute.keep(&Answer::ok());
        let new = Command { wire: new, traceparent: None };
        intend(&mut row, &new, &policy, 1_000);
        let before = row.clone();
        let Settlement::Reply(Answer::Retryable { fault, .. }) = settle(&mut row, &late, &policy, 2_000)
        else {
            panic!("the newer round's call is in the air");
        };
        assert_eq!((&*fault.code, &row), ("superseded", &before));
    }

    #[test]
    fn a_decline_of_before_the_horizon_is_not_final_however_late_it_is_recorded() {
        let policy = ExternalPolicy::default();
        let execute = testkit::execute("pay", &json!({}));
        let horizon_ms = horizon_ms(10_000, &policy);
        let rejects = |begun_ms: i64| {
            let landed = declined(&execute, Some(10_000), begun_ms);
            let mut row = row(&landed);
            row.execute.fate = Fate::Open;
            row.execute.not_after_ms = Some(begun_ms + 1);
            row.execute.calls = 1;
            // A database that was away for long.
            settle(&mut row, &landed, &policy, horizon_ms + 3_600_000);
            row.execute.fate == Fate::Rejected
        };
        assert!(!rejects(horizon_ms), "the other call may have landed after this one was declined");
        assert!(rejects(horizon_ms + 1));
    }
}
