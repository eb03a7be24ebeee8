//! One batch: inputs become transitions, and transitions become rows.
//!
//! Changes only the lane's cache; what it changed is dropped when the commit fails. It must not touch the
//! database or the bus.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use saga_core::event::{Answer, Due};
use saga_core::state::{Run, Track};
use saga_core::transition::Anomaly;
use saga_core::{Effect, Event, Millis, State, Status, Transition, What};
use saga_protocol::{OUTPUT_BYTES_MAX, Outcome, Reply, SAGA_BYTES_MAX, SagaChanged, SagaId, Started};
use serde_json::Value;

use super::children::tell_parent;
use super::lane::Lane;
use super::sagas::Saga;
use super::{Handover, Incoming, Input};
use crate::outbox::{self, Ready};
use crate::store::batch::{AnomalyRow, Batch, HistoryRow};
use crate::store::mail::event_of;
use crate::store::sweep::Mail;
use crate::{clock, hints};

/// Ignored records that are kept a saga while it is in memory; the statement of [`crate::store::batch`] bounds
/// those of a saga that is loaded again and again.
const IGNORED_MAX: u32 = 50;
/// A hand-over older than this may be stale: the sweep publishes rows of [`crate::store::sweep::SWEEP_AGE_MS`].
const HANDOVER_FRESH: Duration = Duration::from_millis(1_500);
/// When a timeout that may not fire yet is looked at again, in ms.
const NOT_CAUGHT_UP_MS: i64 = 50;
/// The same, while the log does not answer.
const UNANSWERED_MS: i64 = 1_000;
const QUEUED_MS: i64 = 1_000;
/// When a saga whose definition could not be loaded is looked at again, in ms.
pub(crate) const NO_DEFINITION_MS: i64 = 5_000;
const STUCK_MS: i64 = 30_000;

/// What a batch will write, publish and note once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) batch: Batch,
    pub(crate) ready: Vec<Ready>,
    pub(crate) changed: BTreeMap<SagaId, SagaChanged>,
    /// Sagas whose state cannot be read.
    pub(crate) unreadable: HashSet<SagaId>,
    /// Sagas that the batch has touched in the cache.
    pub(crate) touched: HashSet<SagaId>,
    /// When each touched saga is to be looked at again; `None` when it ended.
    pub(crate) timers: Vec<(i32, SagaId, Next)>,
    /// The offset to be read next, by shard.
    pub(crate) offsets: BTreeMap<i32, i64>,
    /// Sagas that had ended before the batch and run again.
    pub(crate) reopened: HashSet<SagaId>,
    /// Shards whose watermark is wanted.
    pub(crate) watermarks: BTreeSet<i32>,
    /// The mailbox is to be read.
    pub(crate) sweep: bool,
}

/// What becomes of a saga's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It runs, and is due then.
    At(Option<Millis>),
    /// It ended.
    Ended,
}

impl Decision {
    pub(crate) fn at(&mut self, shard: i32, saga: SagaId, next: Next) {
        self.timers.push((shard, saga, next));
    }
}

impl Lane {
    /// Decides about one input.
    pub(crate) fn decide(&mut self, input: &Input, decision: &mut Decision) {
        match input {
            Input::Record { shard, offset, record } => {
                decision.offsets.insert(*shard, offset + 1);
                match record.as_ref() {
                    Incoming::Reply(reply) => self.take_reply(*shard, *offset, reply, decision),
                    Incoming::Started(started) => {
                        self.take_started(*shard, started, decision);
                        self.take_orders(started.saga, decision);
                    }
                    Incoming::Nudge(saga) => self.arm(*shard, *saga, decision),
                    Incoming::Dead { reason, headers, data } => {
                        let (source, headers) = (self.source(*shard, *offset), outbox_headers(headers));
                        dead_letter(decision, *shard, source, reason.clone(), headers, data.clone(), None);
                    }
                }
            }
            Input::Handover(handover) => {
                self.arm(handover.shard, handover.saga, decision);
                self.take_orders(handover.saga, decision);
            }
            Input::Due { shard, saga } => self.take_due(*shard, *saga, decision),
            Input::Mail(mail) => self.take_mail(mail, decision),
            Input::MailRead { shard, until } => {
                if let Some(owned) = self.shards.get_mut(shard) {
                    owned.mail_read(*until);
                }
            }
            Input::Republish { shard, saga, key } => self.republish(*shard, *saga, key, decision),
            Input::Tell { saga, what, .. } => {
                if self.sagas.contains(*saga) {
                    self.apply(*saga, what.clone(), decision);
                }
            }
        }
    }

    fn take_reply(&mut self, shard: i32, offset: i64, reply: &Reply, decision: &mut Decision) {
        if self.waits_for_definition.contains(&reply.saga) {
            let body = serde_json::to_string(reply).expect("a reply has string keys");
            let id = clock::fresh_id();
            decision.batch.mail.push((shard, id, reply.saga.0, "record".into(), body, None));
            return;
        }
        let answers = self.sagas.get(reply.saga).filter(|saga| saga.shard == shard).is_some();
        if !answers {
            let unreadable = decision.unreadable.contains(&reply.saga);
            let reason =
                if unreadable { "the saga's state cannot be read" } else { "no such saga in this shard" };
            let (source, data) = (self.source(shard, offset), serde_json::to_vec(reply).unwrap_or_default());
            dead_letter(decision, shard, source, reason.into(), String::new(), data, Some(reply.saga));
            return;
        }
        let answer = answer_of(reply, self.bytes_of(reply.saga));
        self.apply(reply.saga, What::Answer(answer), decision);
    }

    fn bytes_of(&mut self, saga: SagaId) -> usize {
        // Outputs are bounded one by one, so that their number bounds the sum; only sagas with many of them
        // need to be measured.
        let Some(saga) = self.sagas.get(saga) else { return 0 };
        if saga.payloads.by_revision.len() < SAGA_BYTES_MAX / OUTPUT_BYTES_MAX / 2 {
            return 0;
        }
        let input = saga.payloads.input.to_string().len();
        input + saga.payloads.by_revision.values().map(|value| value.to_string().len()).sum::<usize>()
    }

    /// Takes a start over from memory before anything is loaded; a stale one only says what to load.
    pub(crate) fn receive(&mut self, handover: &Handover) {
        let current = self.shards.get(&handover.shard).is_some_and(|owned| owned.token == handover.token);
        let fresh = handover.began.elapsed() < HANDOVER_FRESH && !self.timers.knows(handover.saga);
        if current && fresh {
            self.sagas.hand_over(handover.saga, &handover.loaded);
        }
    }

    /// A saga that another node has started: once its timer is armed, its first rows have no use any more.
    fn take_started(&mut self, shard: i32, started: &Started, decision: &mut Decision) {
        self.arm(shard, started.saga, decision);
        if self.sagas.get(started.saga).is_some_and(|saga| saga.shard == shard) {
            // The order of a child stays until it is carried out.
            let sent = started.commands.iter().filter(|key| outbox::parse_child(key).is_none());
            let rows = sent.map(|key| (shard, started.saga.0, key.as_str().into()));
            decision.batch.sent.extend(rows);
        }
    }

    /// Arms the timer of a saga that is in the cache, or that waits for its definition.
    fn arm(&mut self, shard: i32, saga: SagaId, decision: &mut Decision) {
        if self.waits_for_definition.contains(&saga) {
            decision.at(shard, saga, Next::At(Some(clock::now() + NO_DEFINITION_MS)));
            return;
        }
        if let Some(loaded) = self.sagas.get(saga) {
            let next = next_of(&loaded.state);
            decision.at(shard, saga, next);
        }
    }

    fn take_due(&mut self, shard: i32, id: SagaId, decision: &mut Decision) {
        let now = clock::now();
        let Some(saga) = self.sagas.get(id) else {
            if self.waits_for_definition.contains(&id) {
                return self.arm(shard, id, decision);
            }
            // One that cannot be read has its own word on it; the others have ended.
            if !decision.unreadable.contains(&id) {
                decision.at(shard, id, Next::Ended);
            }
            return;
        };
        let fallen = |at: &Millis| *at <= now;
        if saga_core::next_due(&saga.state).filter(fallen).is_none() {
            return self.arm(shard, id, decision);
        }
        // All that is due fires at once, so the log must have been read beyond the last of it.
        let dues = saga.state.tracks().filter_map(|(_, track)| track.due);
        let last_due = dues.chain(saga.state.deadline).filter(fallen).max().unwrap_or(now);
        let awaits = |run| matches!(run, Run::Sent | Run::Unknown);
        let silent = |track: &Track| awaits(track.run) && track.due.is_some_and(|due| due <= now);
        let silent = saga.state.tracks().filter(|(_, track)| silent(track)).count();
        let queued: Vec<_> = saga
            .state
            .tracks()
            .filter(|(_, track)| matches!(track.run, Run::Sent | Run::Unknown))
            .filter(|(_, track)| track.due.is_some_and(|due| due <= now))
            .filter(|(cell, track)| {
                let route = self.outbox.route(&saga.definition.definition, id, *cell);
                let reached =
                    route.and_then(|(topic, partition)| self.context.workers.reached(&topic, partition));
                reached.zip(track.sent_at).is_some_and(|(reached, sent_at)| reached < sent_at)
            })
            .map(|(cell, _)| cell)
            .collect();
        let Some(owned) = self.shards.get_mut(&shard) else { return };
        let next_offset = decision.offsets.get(&shard).copied().unwrap_or(owned.next_offset);
        let (log_read, mail_read) = (owned.caught_up(last_due, next_offset), owned.has_read_mail(last_due));
        let read = log_read && mail_read;
        // Only what would be sent again takes a turn of the shard's rate.
        let turn = if read && silent > queued.len() { owned.turn_to_resend(now) } else { Ok(()) };
        let caught_up = read && turn.is_ok();
        let wait_ms = match turn {
            Err(wait_ms) => wait_ms,
            Ok(()) if !read => {
                // One after the other: while the log does not answer, the database need not be asked.
                if log_read {
                    decision.sweep = true;
                } else {
                    decision.watermarks.insert(shard);
                }
                if owned.asks_in_vain() { UNANSWERED_MS } else { NOT_CAUGHT_UP_MS }
            }
            Ok(()) if !queued.is_empty() => QUEUED_MS,
            // It is parked by a bug of ours, which looking again does not mend.
            Ok(()) => STUCK_MS,
        };
        let changed = self.apply(id, What::Due(Due { caught_up, queued }), decision);
        if !changed {
            decision.at(shard, id, Next::At(Some(now + wait_ms)));
        }
    }

    fn take_mail(&mut self, mail: &Mail, decision: &mut Decision) {
        let saga = SagaId(mail.saga);
        // It was accepted: it waits until the saga can be read.
        if self.waits_for_definition.contains(&saga) || decision.unreadable.contains(&saga) {
            return;
        }
        if !self.sagas.contains(saga) {
            decision.batch.taken.push((mail.shard, mail.id, "refused: there is no such saga".into(), None));
            return;
        }
        let what = if mail.kind == "record" {
            serde_json::from_str::<Reply>(&mail.body).map(|reply| What::Answer(answer_of(&reply, 0)))
        } else {
            event_of(&mail.body, mail.payload.as_deref()).map(|event| event.what)
        };
        let result = match what {
            Err(error) => format!("refused: {error}"),
            Ok(what) => {
                // Who sends an action is told what came of it; a signal may have no other trace.
                let told = !matches!(what, What::Signal(_));
                let ignored = decision.batch.ignored.len();
                match self.apply_for(saga, what, decision) {
                    Outcomes::Changed => "applied".to_owned(),
                    Outcomes::Refused(reason) => format!("refused: {reason}"),
                    Outcomes::Unchanged(reason) => {
                        if told {
                            decision.batch.ignored.truncate(ignored);
                        }
                        format!("ignored: {reason}")
                    }
                }
            }
        };
        let stands = self.sagas.get(saga).map(|it| stands(&it.state));
        decision.batch.taken.push((mail.shard, mail.id, result, stands));
    }

    fn republish(&mut self, shard: i32, id: SagaId, key: &str, decision: &mut Decision) {
        if self.waits_for_definition.contains(&id) || decision.unreadable.contains(&id) {
            if !self.timers.knows(id) {
                self.arm(shard, id, decision);
            }
            return;
        }
        if let Some((cell, round)) = outbox::parse_child(key) {
            self.take_order(shard, id, cell, round, key, decision);
            if !self.timers.knows(id) {
                self.arm(shard, id, decision);
            }
            return;
        }
        let current = outbox::parse(key).and_then(|(cell, round, attempt)| {
            let saga = self.sagas.get(id)?;
            let track = saga.state.track(cell)?;
            // Without a due time it is held, or left behind by an unwind; in backoff it was answered.
            let awaited = matches!(track.run, Run::Sent | Run::Unknown) && track.due.is_some();
            let open = awaited && !saga.state.status.is_end();
            (open && track.round == round && track.attempt == attempt).then_some((cell, saga))
        });
        match current {
            Some((cell, saga)) => {
                let of = (id, &saga.state, &saga.payloads);
                match self.outbox.ready(&saga.definition.definition, shard, of, cell, None) {
                    Ok(ready) => {
                        metrics::counter!("amends_outbox_swept_total").increment(1);
                        decision.ready.push(ready);
                    }
                    Err(reason) => {
                        let reason = format!("the command {key} cannot be rebuilt: {reason}");
                        self.apply(id, What::Poison(reason), decision);
                        decision.batch.sent.push((shard, id.0, key.into()));
                    }
                }
            }
            // Answered, superseded or ended meanwhile.
            None => decision.batch.sent.push((shard, id.0, key.into())),
        }
        if !self.timers.knows(id) {
            self.arm(shard, id, decision);
        }
    }

    /// Applies an event. `true` when it changed the saga.
    fn apply(&mut self, id: SagaId, what: What, decision: &mut Decision) -> bool {
        matches!(self.apply_for(id, what, decision), Outcomes::Changed)
    }

    fn apply_for(&mut self, id: SagaId, what: What, decision: &mut Decision) -> Outcomes {
        let mut event = Event::new(clock::now(), clock::random(), what);
        let Some(saga) = self.sagas.get(id) else { return Outcomes::Unchanged("no such saga") };
        event.held = self.context.holds.steps(&saga.definition.definition);
        let (event, transition) = step_or_park(saga, id, event);
        let Some(transition) = transition else {
            // Not even parking works: only the coarse status can say so.
            let shard = saga.shard;
            decision.batch.statuses.push((shard, id.0, 1));
            let reason = "the saga's state cannot be changed; only its coarse status says so".to_owned();
            dead_letter(
                decision,
                shard,
                format!("saga/{id}/{}", event.at.0),
                reason,
                String::new(),
                Vec::new(),
                Some(id),
            );
            decision.at(shard, id, Next::At(None));
            self.sagas.forget(id);
            return Outcomes::Unchanged("the state cannot be changed");
        };
        self.record(id, &event, transition, decision)
    }

    /// Turns a transition into rows.
    fn record(
        &mut self,
        id: SagaId,
        event: &Event,
        transition: Transition,
        decision: &mut Decision,
    ) -> Outcomes {
        let Some(saga) = self.sagas.get(id) else { return Outcomes::Unchanged("no such saga") };
        let changed = transition.state.revision != saga.state.revision;
        let (shard, published) = (saga.shard, Arc::clone(&saga.definition));
        let definition = &published.definition;
        let mut outcome = if changed { Outcomes::Changed } else { Outcomes::Unchanged("nothing to do") };
        let coarse_before = coarse(&saga.state.status);
        if changed {
            saga.payloads.take_in(&transition);
            saga.note(event);
            decision.batch.history.push(history_row(shard, id, event, &transition));
        }
        saga.state = transition.state;
        let mut resolved: HashMap<_, _> = transition.resolved.into_iter().collect();
        let mut children = Vec::new();
        for effect in transition.effects {
            match effect {
                Effect::Send { cell, round, attempt } => {
                    let of = (id, &saga.state, &saga.payloads);
                    let key = match self.outbox.ready(definition, shard, of, cell, resolved.remove(&cell)) {
                        Ok(ready) => {
                            let key = Arc::clone(&ready.row.key);
                            decision.ready.push(ready);
                            key
                        }
                        // The row stays; the sweep parks the saga in a batch of its own.
                        Err(reason) => {
                            tracing::error!(saga.id = %id, reason, "a command cannot be built");
                            outbox::spell(cell, round, attempt).into()
                        }
                    };
                    decision.batch.sends.push((shard, id.0, key));
                }
                Effect::Anomaly(anomaly) => {
                    metrics::counter!("amends_anomalies_total", "kind" => anomaly.kind).increment(1);
                    tracing::error!(saga.id = %id, kind = anomaly.kind, "an effect was proved that nobody undoes");
                    decision.batch.anomalies.push(anomaly_row(shard, id, saga, event.at, &anomaly));
                }
                Effect::Ignored(reason) => {
                    outcome = Outcomes::Unchanged(reason);
                    // Timers that find nothing due say nothing worth keeping, nor does a bug that has parked it.
                    let worth = !matches!(
                        event.what,
                        What::Due(_) | What::LogLost | What::Hold | What::Poison(_) | What::Illegal(_)
                    );
                    if worth && saga.ignored < IGNORED_MAX {
                        saga.ignored += 1;
                        let text = serde_json::to_string(event).unwrap_or_default();
                        decision.batch.ignored.push((shard, id.0, event.at.0, reason.to_owned(), text));
                    }
                }
                Effect::Refused(reason) => outcome = Outcomes::Refused(reason),
                Effect::StartChild { cell, round } => children.push((cell, round)),
                Effect::Tell { parent, ended } => tell_parent(shard, parent, ended, event.at, decision),
                Effect::Ended { .. } => {}
            }
        }
        if changed {
            let after = coarse(&saga.state.status);
            if coarse_before != after {
                if coarse_before >= ENDED_FROM && !saga.state.status.is_end() {
                    decision.reopened.insert(id);
                } else if !saga.state.status.is_end() {
                    decision.batch.statuses.push((shard, id.0, after));
                }
                count_end(definition.name.as_str(), &saga.state, event.at);
            }
            decision.changed.insert(id, hints::changed(id, &saga.state));
        }
        if changed || matches!(event.what, What::LogLost) {
            decision.touched.insert(id);
            let next = next_of(&saga.state);
            decision.at(shard, id, next);
        }
        for (cell, round) in children {
            self.call_child(id, cell, round, decision);
        }
        outcome
    }

    /// Writes the newest state of every touched saga into the batch: once each, however many transitions.
    pub(crate) fn finish(&mut self, decision: &mut Decision) {
        for id in decision.changed.keys() {
            let Some(saga) = self.sagas.get(*id) else { continue };
            let text = serde_json::to_string(&saga.state).expect("a state has string keys");
            let status = coarse(&saga.state.status);
            if saga.state.status.is_end() {
                decision.batch.ended.push((saga.shard, id.0, status, clock::now().0, text));
            } else {
                let revision = i32::try_from(saga.state.revision).unwrap_or(i32::MAX);
                let due = saga_core::next_due(&saga.state).map(|due| due.0);
                if decision.reopened.contains(id) {
                    decision.batch.reopened.push((saga.shard, id.0, revision, due, text, status));
                } else {
                    decision.batch.states.push((saga.shard, id.0, revision, due, text));
                }
            }
        }
        // A saga may park and go on within one batch: one row, its last word.
        let last: HashMap<_, _> = decision.batch.statuses.iter().map(|row| (row.1, *row)).collect();
        let ended: HashSet<_> = decision.batch.ended.iter().map(|row| row.1).collect();
        decision.batch.statuses = last.into_values().filter(|row| !ended.contains(&row.1)).collect();
    }
}

/// What an event led to.
enum Outcomes {
    Changed,
    Unchanged(&'static str),
    Refused(&'static str),
}

/// Runs `step`. A panic or an `Illegal` is our own bug: the saga is parked instead, and the alarm rings.
/// Returns the event that was applied in the end.
fn step_or_park(saga: &Saga, id: SagaId, event: Event) -> (Event, Option<Transition>) {
    let reason = match guarded(saga, &event) {
        Ok(transition) => return (event, Some(transition)),
        Err(reason) => reason,
    };
    metrics::counter!("amends_illegal_total").increment(1);
    tracing::error!(saga.id = %id, reason, event = ?event.what, "a saga is parked because of our own bug");
    let parked = Event { what: What::Illegal(reason), ..event };
    let transition = guarded(saga, &parked).ok();
    (parked, transition)
}

fn guarded(saga: &Saga, event: &Event) -> Result<Transition, String> {
    let run = || saga_core::step(&saga.definition.definition, &saga.state, event, &saga.payloads);
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|illegal| illegal.to_string()),
        Err(panic) => Err(format!("panic: {}", panic_text(panic.as_ref()))),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn next_of(state: &State) -> Next {
    if state.status.is_end() { Next::Ended } else { Next::At(saga_core::next_due(state)) }
}

/// The first of the coarse statuses that are ends.
const ENDED_FROM: i16 = 2;

/// The coarse status as the table spells it.
pub(crate) const fn coarse(status: &Status) -> i16 {
    match status {
        Status::Running => 0,
        Status::Parked(_) => 1,
        Status::Completed => 2,
        Status::Compensated => 3,
        Status::Abandoned => 4,
    }
}

/// How a saga stands, as the audit shows it beside what came of an action.
fn stands(state: &State) -> String {
    serde_json::json!({ "status": state.status.word(), "revision": state.revision }).to_string()
}

/// A reply as an event. An output that is too large, or not to be read, is left out: the step did succeed.
fn answer_of(reply: &Reply, saga_bytes: usize) -> Answer {
    let text = reply.output.as_ref().map(|raw| raw.get());
    let fits = |text: &&str| text.len() <= OUTPUT_BYTES_MAX && text.len() + saga_bytes <= SAGA_BYTES_MAX;
    let oversized = reply.outcome == Outcome::Succeeded && text.is_some_and(|text| !fits(&text));
    let output = text.filter(fits).and_then(|text| serde_json::from_str::<Value>(text).ok()).map(Arc::new);
    Answer {
        step: reply.step.clone(),
        item: reply.item,
        direction: reply.direction,
        round: reply.round,
        attempt: reply.attempt,
        outcome: reply.outcome,
        output,
        oversized,
        error: reply.error.clone().map(|mut fault| {
            fault.code = fault.code.chars().take(100).collect();
            fault.message = fault.message.chars().take(1_000).collect();
            fault
        }),
        uncharged: reply.uncharged,
        retry_after_ms: reply.retry_after_ms,
    }
}

pub(crate) fn history_row(shard: i32, id: SagaId, event: &Event, transition: &Transition) -> HistoryRow {
    let revision = i32::try_from(transition.state.revision).unwrap_or(i32::MAX);
    let text = serde_json::to_string(event).expect("an event has string keys");
    let payload = transition.payload.as_ref().map(|payload| payload.to_string());
    let inputs = (!transition.inputs.is_empty())
        .then(|| serde_json::to_string(&transition.inputs).expect("inputs have string keys"));
    (shard, id.0, revision, text, payload, inputs)
}

fn anomaly_row(shard: i32, id: SagaId, saga: &Saga, at: Millis, anomaly: &Anomaly) -> AnomalyRow {
    let definition = &saga.definition.definition;
    let cell = anomaly.cell;
    let step = definition.step(cell.step).map_or("?", |step| step.name.as_str());
    let item = cell.item.map(|item| format!(".{item}")).unwrap_or_default();
    AnomalyRow {
        shard,
        saga: id.0,
        effect_key: format!("{id}:{step}{item}:{}{}", cell.direction.letter(), anomaly.round),
        kind: anomaly.kind.to_owned(),
        at_ms: at.0,
        amount: definition.amount_of(&saga.payloads.input).ok().flatten(),
        currency: definition.currency_of(&saga.payloads.input).ok().flatten(),
        output: anomaly.output.as_ref().map(|output| output.to_string()),
    }
}

fn count_end(definition: &str, state: &State, at: Millis) {
    let labels = [("definition", definition.to_owned()), ("status", state.status.word().to_owned())];
    metrics::counter!("amends_sagas_total", &labels).increment(1);
    if state.status.is_end() {
        #[allow(clippy::cast_precision_loss, reason = "a histogram")]
        metrics::histogram!("amends_saga_seconds", &labels).record((at - state.started) as f64 / 1_000.0);
    }
}

fn outbox_headers(headers: &saga_protocol::Headers) -> String {
    let map: BTreeMap<&str, String> = headers
        .0
        .iter()
        .map(|(name, value)| (&**name, String::from_utf8_lossy(value).into_owned()))
        .collect();
    serde_json::to_string(&map).unwrap_or_default().replace('\0', "")
}

/// The most of a dead letter's data that is kept, in bytes.
const DEAD_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn dead_letter(
    decision: &mut Decision,
    shard: i32,
    source: String,
    reason: String,
    headers: String,
    mut data: Vec<u8>,
    saga: Option<SagaId>,
) {
    metrics::counter!("amends_dead_letters_total").increment(1);
    tracing::warn!(source, reason, "a dead letter");
    data.truncate(DEAD_BYTES_MAX);
    let reason = reason.replace('\0', "\u{fffd}");
    decision.batch.dead_letters.push((shard, source, reason, headers, data, saga.map(|saga| saga.0)));
}
