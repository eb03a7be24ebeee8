//! The work on jobs: one process a job, by a lease; what is under way survives it.
//!
//! An item is marked before anything is done about it, and what is done has an id of its own. So after a crash the
//! next process does the same again, which changes nothing, and reads what came of it. A job that cannot go on for a
//! while, such as when starts are held, says why, and is tried again now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use saga_core::event::{HAS_ENDED, MOVED_ON, Operator};
use saga_protocol::SagaId;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Doing, JobRequest, mail_id};
use crate::deeds::{self, Came, Second, Wanted};
use crate::engine::Engine;
use crate::replay::{self, Inputs};
use crate::settle::{self, Outcome};
use crate::start::StartError;
use crate::store::StoreError;
use crate::store::audit::Actor;
use crate::store::jobs::{Among, Finished, Item, Job};

const TICK: Duration = Duration::from_millis(250);
/// For how long a job's pace is remembered.
const PACE_KEPT: Duration = Duration::from_secs(60);
/// How soon a job is tried again whose starts are held or refused for a while.
const STALLED_FOR: Duration = Duration::from_secs(2);
/// Items of one job that are under way at one time.
const ACTING_MAX: i64 = 500;
/// Items that are worked on at once.
const AT_ONCE: usize = 16;
/// The coarse statuses' words by their numbers, for what an item is to become.
const GOALS: [&str; 5] = ["running", "parked", "completed", "compensated", "abandoned"];

/// Works on jobs until shut down.
pub(crate) async fn run(engine: Engine, shutdown: CancellationToken) {
    let mut begun: HashMap<Uuid, Pace> = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let jobs = match engine.store.lease_jobs(&engine.node).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(%error, "the jobs cannot be read; going on with them later");
                continue;
            }
        };
        // Of many jobs not every one comes in each turn.
        begun.retain(|_, pace| pace.at.elapsed() < PACE_KEPT);
        for mut job in jobs {
            let pace = begun.entry(job.id).or_insert_with(|| Pace::new(job.rate_per_s));
            let stalled = match turn(&engine, &mut job, pace).await {
                Ok(stalled) => stalled,
                Err(error) => {
                    tracing::warn!(job.id = %job.id, %error, "a job cannot go on; again in a moment");
                    Some("the server cannot go on with it now; it tries again by itself".to_owned())
                }
            };
            if stalled != job.stalled {
                if let Err(error) = engine.store.stall_job(job.id, stalled.as_deref()).await {
                    tracing::debug!(job.id = %job.id, %error, "it cannot be told why a job stands still");
                }
                drop(engine.news.send("jobs"));
            }
        }
    }
}

/// How many sagas may be begun now.
struct Pace {
    per_s: f64,
    left: f64,
    at: Instant,
    /// Until when nothing can be begun, and why.
    stalled: Option<(Instant, String)>,
}

impl Pace {
    fn new(per_s: i32) -> Self {
        Self { per_s: f64::from(per_s.max(1)), left: 1.0, at: Instant::now(), stalled: None }
    }

    fn stalled(&self) -> bool {
        self.stalled.as_ref().is_some_and(|(until, _)| *until > Instant::now())
    }

    #[allow(clippy::cast_possible_truncation, reason = "bounded by the rate")]
    fn take(&mut self, now: Instant, wanted: i64) -> i64 {
        let earned = (now - self.at).as_secs_f64() * self.per_s;
        self.at = now;
        // What was not used is not saved up.
        self.left = (self.left + earned).min(self.per_s.max(1.0));
        let taken = (self.left.floor() as i64).min(wanted).max(0);
        self.left -= taken as f64;
        taken
    }
}

/// One turn of a job; says why it does not come along, if it does not.
async fn turn(engine: &Engine, job: &mut Job, pace: &mut Pace) -> Result<Option<String>, StoreError> {
    let request: JobRequest = serde_json::from_value(job.request.clone())
        .map_err(|error| StoreError::Unreadable(format!("a job's request: {error}")))?;
    let Some(doing) = request.doing() else {
        return Err(StoreError::Unreadable("a job that does nothing".to_owned()));
    };
    let finished = look(engine, job, &request, doing, pace).await?;
    engine.store.finish_items(job.id, &finished).await?;
    if !matches!(job.state.as_str(), "canary" | "running") {
        return Ok(None);
    }
    let repeated = note(job, &finished);
    let counts: HashMap<String, i64> = engine.store.job_counts(job.id).await?.into_iter().collect();
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or(0);
    let (waiting, acting, unapproved) = (count("waiting"), count("acting"), count("awaiting_approval"));
    let failed_ever = count("failed_again") + count("refused");
    let tried_ever = count("succeeded") + failed_ever;
    // What was tried before its canary began anew does not count.
    let (tried, failed) =
        (tried_ever - i64::from(job.canary_tried), failed_ever - i64::from(job.canary_failed));
    let canary = i64::from(job.canary);
    let tell = || drop(engine.news.send("jobs"));
    if !finished.is_empty() {
        tell();
    }
    let tested = job.state == "canary" && acting == 0 && tried >= canary;
    // A canary that is over says the most.
    let because = if tested && waiting > 0 && failed * 2 >= tried.max(1) && failed > 0 {
        let reason = job.last_reason.clone().unwrap_or_default();
        Some(format!("the canary failed: {failed} of {tried}: {reason}"))
    } else {
        repeated.map(|reason| same(job, &reason))
    };
    if let Some(because) = because {
        engine.store.advance_job(&engine.node, job, "stopped", Some(&because)).await?;
        tell();
        return Ok(None);
    }
    if unapproved > 0 && job.approved_by.is_some() {
        // What is under way ends first: it says nothing of these.
        if acting == 0 {
            engine.store.release_items(job.id, tried_ever, failed_ever).await?;
            return Ok(None);
        }
        return Ok(Some("what is under way ends before what was approved begins".to_owned()));
    }
    if waiting == 0 && acting == 0 && unapproved > 0 {
        engine.store.expire_job(job.id).await?;
        return Ok(None);
    }
    if waiting == 0 && acting == 0 {
        engine.store.sum_up_job(job.id).await?;
        engine.store.advance_job(&engine.node, job, "done", None).await?;
        tell();
        return Ok(None);
    }
    let mut to_begin = ACTING_MAX - acting;
    let mut state = job.state.clone();
    if state == "canary" {
        if tested {
            "running".clone_into(&mut state);
            tell();
        } else {
            to_begin = to_begin.min(canary - tried - acting);
        }
    }
    if state != job.state || !finished.is_empty() {
        engine.store.advance_job(&engine.node, job, &state, None).await?;
        job.state = state;
    }
    let allowed = if pace.stalled() { 0 } else { pace.take(Instant::now(), to_begin.min(waiting)) };
    if allowed > 0 {
        let items = engine.store.begin_items(&engine.node, job.id, allowed).await?;
        let finished = act(engine, job, &request, doing, items, false, pace).await?;
        if !finished.is_empty() {
            // What is refused at once counts towards the same failure like what fails later.
            let because = note(job, &finished).map(|reason| same(job, &reason));
            let to = if because.is_some() { "stopped".to_owned() } else { job.state.clone() };
            engine.store.advance_job(&engine.node, job, &to, because.as_deref()).await?;
            tell();
        }
    }
    Ok(match &pace.stalled {
        Some((_, why)) => Some(why.clone()),
        None if waiting > 0 && acting >= ACTING_MAX => {
            Some(format!("{ACTING_MAX} sagas are under way; it goes on as they end"))
        }
        None if job.state == "canary" && acting > 0 && to_begin == 0 => Some(format!(
            "its canary waits for {acting} sagas that run; they may wait for something themselves"
        )),
        None => None,
    })
}

fn same(job: &Job, reason: &str) -> String {
    format!("the same failure {} times in a row: {reason}", job.last_count)
}

/// Counts failures that are the same in a row; says the one that came too often.
fn note(job: &mut Job, finished: &[Finished]) -> Option<String> {
    for it in finished {
        match it.outcome {
            "succeeded" => {
                job.last_reason = None;
                job.last_count = 0;
            }
            "failed_again" | "refused" => {
                if job.last_reason.as_ref() == Some(&it.words) {
                    job.last_count += 1;
                } else {
                    job.last_reason = Some(it.words.clone());
                    job.last_count = 1;
                }
                if job.last_count >= job.stop_after_same {
                    return Some(it.words.clone());
                }
            }
            _ => {}
        }
    }
    None
}

/// Does what is to be done about these items, some of which were tried before. What cannot be told yet is looked at in the next turn.
async fn act(
    engine: &Engine,
    job: &Job,
    request: &JobRequest,
    doing: Doing,
    items: Vec<Item>,
    again: bool,
    pace: &mut Pace,
) -> Result<Vec<Finished>, StoreError> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = futures::stream::iter(items)
        .map(|item| async move {
            let did = match doing {
                Doing::Replay => repeat(engine, job, request, &item, again).await,
                _ => ask(engine, job, request, doing, &item).await,
            };
            did.map(|did| (item.number, did))
        })
        .buffer_unordered(AT_ONCE);
    let (mut finished, mut failed, mut stalled) = (Vec::new(), None, None);
    while let Some(did) = all.next().await {
        match did {
            Ok((_, Did::Begun)) => {}
            Ok((number, Did::Finished(outcome, words))) => finished.push(Finished { number, outcome, words }),
            Ok((_, Did::Stalled(why))) => stalled = Some(why),
            // The item stays under way, and is done again.
            Err(error) => failed = Some(error),
        }
    }
    drop(all);
    engine.store.finish_items(job.id, &finished).await?;
    pace.stalled = stalled.map(|why| (Instant::now() + STALLED_FOR, why));
    match failed {
        // Those that are over are noted; of the others the next turn says more.
        Some(error) if finished.is_empty() => Err(error),
        Some(error) => {
            tracing::warn!(job.id = %job.id, %error, "some of a job's sagas cannot be acted on; again in a moment");
            Ok(finished)
        }
        None => Ok(finished),
    }
}

/// What was done about an item.
enum Did {
    /// It is under way.
    Begun,
    /// It is over: the outcome, in words too.
    Finished(&'static str, String),
    /// Nothing yet, for this reason; it is tried again.
    Stalled(String),
}

impl Did {
    fn refused(why: impl Into<String>) -> Self {
        Self::Finished("refused", why.into())
    }

    fn unapproved() -> Self {
        Self::Finished("awaiting_approval", "a second person must approve the job".to_owned())
    }
}

fn actor(job: &Job) -> Actor {
    Actor { who: job.by.clone(), roles: job.roles.clone(), address: format!("job {}", job.id) }
}

/// Hands an action to the saga's owner, without waiting for it.
async fn ask(
    engine: &Engine,
    job: &Job,
    request: &JobRequest,
    doing: Doing,
    item: &Item,
) -> Result<Did, StoreError> {
    let Some(action) = doing.action(request.acknowledged) else { return Ok(Did::Begun) };
    let operator = Operator { who: job.by.clone(), why: job.why.clone(), revision: item.revision, action };
    let mut asked =
        json!({ "action": request.action, "why": job.why, "revision": item.revision, "job": job.id });
    if request.acknowledged {
        asked["acknowledged"] = json!(true);
    }
    let id = mail_id(job.id, item.number);
    // The second person looks at the job as a whole, not at each of its sagas.
    let second = job.approved_by.clone().map_or(Second::Missing, Second::Is);
    let wanted = Wanted { saga: item.saga, id, operator, payload: None, request: asked, second };
    Ok(match deeds::ask(engine, wanted, &actor(job)).await? {
        Came::AwaitingApproval => Did::unapproved(),
        Came::NoSaga => Did::refused("there is no such saga"),
        Came::Reused => Did::refused("its id was used for something else"),
        _ => Did::Begun,
    })
}

/// Starts the replay of an item.
async fn repeat(
    engine: &Engine,
    job: &Job,
    request: &JobRequest,
    item: &Item,
    again: bool,
) -> Result<Did, StoreError> {
    let refused = |reason: String| Ok(Did::refused(reason));
    let plan = match replay::plan(engine, item.saga, request.version.as_deref()).await {
        Ok(plan) => plan,
        Err(replay::NoPlan::Store(error)) => return Err(error),
        Err(replay::NoPlan::NoSaga) => return refused("there is no such saga".to_owned()),
        Err(replay::NoPlan::NoVersion) => return refused("its definition has no such version".to_owned()),
        Err(replay::NoPlan::Unreadable(reason)) => return refused(reason),
    };
    // Where it was tried before, asking for the same again tells whether it is this job's.
    if plan.replayed_by.is_some() && !again {
        let words = "changed meanwhile: skipped; it was replayed by another saga".to_owned();
        return Ok(Did::Finished("changed", words));
    }
    if let (Some(reason), None) = (&plan.refused, plan.replayed_by) {
        return refused(reason.clone());
    }
    if !request.acknowledged && !plan.warnings.is_empty() {
        return refused(plan.warnings.join("; "));
    }
    if job.approved_by.is_none() && plan.needs_second(request.merge.is_some()) {
        return Ok(Did::unapproved());
    }
    let fresh = request.fresh.get(&item.saga.to_string()).cloned().unwrap_or_default();
    let input = match plan.input_with(&Inputs {
        input: None,
        merge: request.merge.clone(),
        fresh: fresh.into_iter().collect(),
    }) {
        Ok(input) => input,
        Err(faults) => {
            let all: Vec<String> = faults.into_iter().map(|(at, what)| format!("{at} {what}")).collect();
            return refused(all.join("; "));
        }
    };
    match plan.start(engine, item.saga, input).await {
        Ok(started) => begun(engine, job, item, &plan, started.saga).await,
        Err(StartError::Held(hold)) => Ok(Did::Stalled(format!(
            "starts are held by {}: {}; it goes on when they are released",
            hold.by, hold.why
        ))),
        Err(StartError::Busy { .. } | StartError::Unavailable(_)) => Ok(Did::Stalled(
            "starts are refused for a while, too much waits; it goes on by itself".to_owned(),
        )),
        Err(StartError::KeyReused { saga }) => {
            Ok(Did::Finished("changed", format!("changed meanwhile: skipped; saga {saga} has its key now")))
        }
        Err(error @ (StartError::KeyOfAnother | StartError::BadInput(_))) => refused(error.to_string()),
    }
}

/// Notes the saga that repeats an item's.
async fn begun(
    engine: &Engine,
    job: &Job,
    item: &Item,
    plan: &replay::Plan,
    saga: SagaId,
) -> Result<Did, StoreError> {
    let more = json!({ "job": job.id, "approved_by": job.approved_by });
    plan.tell(engine, &actor(job), item.saga, saga, &job.why, more).await?;
    engine.store.note_new_saga(job.id, item.number, saga).await?;
    Ok(Did::Begun)
}

/// What became of the items that are under way.
async fn look(
    engine: &Engine,
    job: &Job,
    request: &JobRequest,
    doing: Doing,
    pace: &mut Pace,
) -> Result<Vec<Finished>, StoreError> {
    let acting = engine.store.job_items(job.id, Among::outcome("acting"), 0, ACTING_MAX).await?;
    if acting.is_empty() {
        return Ok(Vec::new());
    }
    let mut finished = Vec::new();
    let (mut known, mut again) = (Vec::new(), Vec::new());
    if doing == Doing::Replay {
        for item in acting {
            match item.new_saga {
                Some(saga) => known.push((item, saga)),
                None => again.push(item),
            }
        }
    } else {
        let ids: Vec<Uuid> = acting.iter().map(|item| mail_id(job.id, item.number)).collect();
        let results: HashMap<Uuid, String> = engine.store.mail_results(&ids).await?.into_iter().collect();
        let kept = engine.store.mail_kept(&ids).await?;
        for item in acting {
            let id = mail_id(job.id, item.number);
            match results.get(&id).map(|it| deeds::came(it)) {
                Some(Came::Refused(reason)) => {
                    let (outcome, words) = refusal(reason);
                    finished.push(Finished { number: item.number, outcome, words });
                }
                Some(Came::Ignored(reason)) => {
                    finished.push(Finished { number: item.number, outcome: "refused", words: reason });
                }
                Some(_) => {
                    let saga = item.saga;
                    known.push((item, saga));
                }
                None if !kept.contains(&id) => again.push(item),
                None => {}
            }
        }
    }
    let ids: Vec<SagaId> = known.iter().map(|(_, saga)| *saga).collect();
    let outcomes: HashMap<SagaId, Outcome> = settle::outcomes(engine, &ids).await?.into_iter().collect();
    for (item, saga) in known {
        let Some(outcome) = outcomes.get(&saga) else { continue };
        if let Some((outcome, words)) = verdict(outcome, item.goal) {
            finished.push(Finished { number: item.number, outcome, words });
        }
    }
    // Marked, and then the process died, or the start was refused for a while.
    if matches!(job.state.as_str(), "canary" | "running") && !pace.stalled() {
        finished.extend(act(engine, job, request, doing, again, true, pace).await?);
    } else if !matches!(job.state.as_str(), "canary" | "running") {
        give_back(engine, job, request, doing, again).await?;
    }
    Ok(finished)
}

/// Items that were marked, and of which nothing was begun before their job was paused or ended, wait again.
async fn give_back(
    engine: &Engine,
    job: &Job,
    request: &JobRequest,
    doing: Doing,
    items: Vec<Item>,
) -> Result<(), StoreError> {
    let mut numbers = Vec::new();
    for item in items {
        if doing == Doing::Replay
            && let Ok(plan) = replay::plan(engine, item.saga, request.version.as_deref()).await
            && let Some(saga) = plan.replayed_by
        {
            // Where its own audit is not kept yet, nobody else's is.
            let told =
                engine.store.deed_about("saga.replay", &item.saga.to_string(), &saga.to_string()).await?;
            if told.is_none_or(|after| after.contains(&job.id.to_string())) {
                begun(engine, job, &item, &plan, saga).await?;
                continue;
            }
        }
        numbers.push(item.number);
    }
    engine.store.give_back_items(job.id, &numbers).await
}

/// What an owner's refusal means. The set was frozen with what could be acted on: who has gone on since, also to an
/// end, is no failure.
fn refusal(reason: String) -> (&'static str, String) {
    match reason.as_str() {
        MOVED_ON => ("changed", "changed meanwhile: skipped".to_owned()),
        HAS_ENDED => ("changed", "changed meanwhile: skipped; it has ended".to_owned()),
        _ => ("refused", reason),
    }
}

fn verdict(outcome: &Outcome, goal: i16) -> Option<(&'static str, String)> {
    let wanted = usize::try_from(goal).ok().and_then(|goal| GOALS.get(goal)).copied();
    let status = outcome.status.as_str();
    if status == "running" {
        return None;
    }
    if Some(status) == wanted {
        let words = if status == "completed" { "now succeeded".to_owned() } else { format!("now {status}") };
        return Some(("succeeded", words));
    }
    // Its pivot had been on its way, and succeeded: what was to be undone stands.
    if status == "completed" {
        return Some(("failed_again", "failed again: it completed instead".to_owned()));
    }
    let reason = outcome.reason.as_ref().map_or_else(|| status.to_owned(), |(code, _)| code.clone());
    Some(("failed_again", format!("failed again: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_and_not_saved_up() {
        let mut pace = Pace::new(10);
        let now = pace.at;
        assert_eq!(pace.take(now, 100), 1);
        assert_eq!(pace.take(now + Duration::from_millis(500), 100), 5);
        assert_eq!(pace.take(now + Duration::from_secs(60), 100), 10);
        assert_eq!(pace.take(now + Duration::from_secs(61), 3), 3);
    }

    #[test]
    fn who_went_on_meanwhile_is_skipped_and_no_failure() {
        assert_eq!(refusal(MOVED_ON.to_owned()).0, "changed");
        assert_eq!(refusal(HAS_ENDED.to_owned()).0, "changed");
        let other = refusal("the saga has no such step under way".to_owned());
        assert_eq!(other, ("refused", "the saga has no such step under way".to_owned()));
    }

    #[test]
    fn an_item_succeeded_only_when_its_saga_became_what_was_wanted() {
        let outcome = |status: &str, reason: Option<(&str, &str)>| Outcome {
            status: status.to_owned(),
            revision: 1,
            reason: reason.map(|(code, message)| (code.to_owned(), message.to_owned())),
            doing: None,
            done: Vec::new(),
        };
        assert_eq!(verdict(&outcome("running", None), 2), None);
        assert_eq!(verdict(&outcome("completed", None), 2), Some(("succeeded", "now succeeded".to_owned())));
        assert_eq!(
            verdict(&outcome("compensated", None), 3),
            Some(("succeeded", "now compensated".to_owned()))
        );
        let stands = Some(("failed_again", "failed again: it completed instead".to_owned()));
        assert_eq!(verdict(&outcome("completed", None), 3), stands, "the pivot was faster");
        assert_eq!(verdict(&outcome("completed", None), 4), stands);
        let failed = verdict(&outcome("parked", Some(("pay: BUSY", "try later 17"))), 2);
        assert_eq!(failed, Some(("failed_again", "failed again: pay: BUSY".to_owned())));
        assert_eq!(verdict(&outcome("compensated", None), 2).map(|it| it.0), Some("failed_again"));
    }
}
