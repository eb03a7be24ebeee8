//! Child sagas: started, undone and told of in the transaction of who does so.
//!
//! A child lives in its parent's shard, so one batch writes both. Its start is rows of the parent's batch; everything
//! later between the two is mail. Changes only the decision; it must not touch the database.

use std::sync::Arc;

use saga_core::definition::Work;
use saga_core::event::ChildEnded;
use saga_core::state::{Parent, Run};
use saga_core::{CellRef, Effect, Event, Millis, State, What, child};
use saga_protocol::{Direction, Fault, Outcome, SagaId};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Input;
use super::decide::Decision;
use super::lane::Lane;
use crate::clock;
use crate::hints;
use crate::start::First;
use crate::store::batch::Batch;
use crate::store::children::ChildStart;

/// The code of the fault with which a step is rejected whose child cannot be.
pub(crate) const NOT_STARTED: &str = "child_not_started";

/// How many mistakes in a child's input are told.
const MISTAKES_MAX: usize = 5;

impl Lane {
    /// Starts the child of a track, or has it undone.
    pub(crate) fn call_child(&mut self, id: SagaId, cell: CellRef, round: u32, decision: &mut Decision) {
        let Some(saga) = self.sagas.get(id) else { return };
        let (shard, at) = (saga.shard, clock::now());
        let parent = Parent { saga: id, step: cell.step, item: cell.item, round };
        if cell.direction == Direction::Compensate {
            // A child that never was has its refusal in the parent's mailbox.
            post(shard, child::id(&parent), What::ParentCompensates, None, at, decision);
            return;
        }
        let own = child::id(&parent);
        // Ordered twice in one batch, by the sweep and by whoever was faster.
        if decision.batch.children.iter().any(|it| it.row.id == own.0) {
            return;
        }
        match self.first_of_child(&parent, cell) {
            Ok((child, state)) => {
                if !self.sagas.contains(own) {
                    decision.changed.insert(own, hints::changed(own, &state));
                }
                decision.batch.children.push(child);
            }
            Err(reason) => {
                tracing::warn!(saga.id = %id, reason, "a child saga cannot be started; its step is rejected");
                tell_parent(shard, id, refusal(&parent, reason), at, decision);
            }
        }
    }

    fn first_of_child(&mut self, parent: &Parent, cell: CellRef) -> Result<(ChildStart, State), String> {
        let id = parent.saga;
        let saga = self.sagas.get(id).ok_or("the parent is gone")?;
        let definition = &saga.definition.definition;
        let step = definition.step(cell.step).ok_or("there is no such step")?;
        let Work::Child { definition: name } = &step.work else { return Err("the step is no child".into()) };
        let input = saga_core::command::input_of(definition, id, &saga.state, &saga.payloads, cell)
            .map_err(|error| error.to_string())?;
        let item = cell.item.map(|item| format!(".{item}")).unwrap_or_default();
        // The same in every round of the step, and in no other: a later round takes the key over.
        let principal = format!("saga:{id}/{}{item}", step.name);
        let published = self.context.definitions.active(name);
        let published = published.ok_or_else(|| format!("there is no definition `{name}`"))?;
        let published = self.context.definitions.draw(published, &[child::id(parent).0.as_bytes()]);
        let mistakes: Vec<String> = published
            .validator
            .iter_errors(&input)
            .take(MISTAKES_MAX)
            .map(|error| format!("{}: {}", error.instance_path(), error.masked_with("the value")))
            .collect();
        if !mistakes.is_empty() {
            return Err(format!("the input does not fit `{name}`: {}", mistakes.join("; ")));
        }
        let shard = saga.shard;
        let First { mut row, saga, effects, .. } = First::of(
            &published,
            child::id(parent),
            shard,
            &input,
            Some(parent.clone()),
            &self.context.holds,
        )?;
        row.body_hash = Sha256::digest(row.payload.as_bytes()).to_vec();
        row.principal = principal;
        let key = row.key.clone().unwrap_or_default();
        let taken = refusal(parent, format!("another saga `{name}` has the key `{key}`"));
        let abandoned = ChildEnded { outcome: Outcome::Undecidable, error: None, ..taken.clone() };
        let mail = |ended: ChildEnded| (clock::fresh_id(), body(What::ChildEnded(ended), clock::now()));
        // One with nothing to do has ended already.
        let told = effects.into_iter().find_map(|effect| match effect {
            Effect::Tell { ended, .. } => {
                let output = ended.output.as_ref().map(|it| it.to_string());
                Some((mail(ended), output))
            }
            _ => None,
        });
        let start = ChildStart { row, parent: id.0, told, refused: mail(taken), abandoned: mail(abandoned) };
        Ok((start, saga.state))
    }

    /// Carries out the order of a child, which its parent's start has left in the outbox.
    pub(crate) fn take_order(
        &mut self,
        shard: i32,
        id: SagaId,
        cell: CellRef,
        round: u32,
        key: &str,
        decision: &mut Decision,
    ) {
        let undo = CellRef { direction: Direction::Compensate, ..cell };
        let (ordered, undone) = self.sagas.get(id).map_or((false, false), |saga| {
            let state = &saga.state;
            let run = |at| state.track(at).map(|it| it.run);
            let of_round = state.track(cell).is_some_and(|it| it.round == round) && !state.status.is_end();
            // One whose time is over by then is started too: it is late, as if it had been slow, and may yet be undone.
            let ordered = matches!(run(cell), Some(Run::Waiting | Run::Exhausted));
            let wanted = of_round && matches!(run(undo), None | Some(Run::Waiting));
            (wanted && ordered, wanted && run(undo) == Some(Run::Waiting))
        });
        if ordered || undone {
            self.call_child(id, cell, round, decision);
        }
        // It was to be undone before the order was carried out, and there was nobody to be told. A child that there is
        // already only hears it again.
        if undone {
            self.call_child(id, undo, round, decision);
        }
        decision.batch.sent.push((shard, id.0, key.into()));
    }

    /// The same for a saga that was started just now: at once, not when the sweep finds the rows.
    pub(crate) fn take_orders(&mut self, id: SagaId, decision: &mut Decision) {
        let Some(saga) = self.sagas.get(id).filter(|saga| saga.state.revision == 1) else { return };
        let (shard, definition) = (saga.shard, Arc::clone(&saga.definition));
        let is_child = |cell: &CellRef| {
            let step = definition.definition.step(cell.step);
            step.is_some_and(|step| matches!(step.work, Work::Child { .. }))
        };
        let orders: Vec<_> = saga
            .state
            .tracks()
            .filter(|(cell, track)| track.run == Run::Waiting && is_child(cell))
            .map(|(cell, track)| Effect::StartChild { cell, round: track.round })
            .collect();
        for order in orders {
            let key = crate::outbox::row_of(&order);
            if let (Effect::StartChild { cell, round }, Some(key)) = (order, key) {
                self.take_order(shard, id, cell, round, &key, decision);
            }
        }
    }

    /// Once children are durable, their first commands leave, and their timers are armed: each is loaded as it stands,
    /// which may be further on.
    pub(crate) fn follow_children(&mut self, batch: &Batch, passed: &[i32]) {
        for ChildStart { row, .. } in batch.children.iter().filter(|it| passed.contains(&it.row.shard)) {
            let (shard, saga) = (row.shard, SagaId(row.id));
            metrics::counter!("amends_children_total").increment(1);
            let keys = row.commands.iter().cloned();
            self.queue.extend(keys.map(|key| Input::Republish { shard, saga, key: key.into() }));
        }
        let events = batch.mail.iter().any(|row| row.3 == EVENT && passed.contains(&row.0));
        if events || !batch.children.is_empty() {
            self.context.sweep_now.notify_one();
        }
    }
}

const EVENT: &str = "event";

/// Tells a saga's parent of its end.
pub(crate) fn tell_parent(
    shard: i32,
    parent: SagaId,
    ended: ChildEnded,
    at: Millis,
    decision: &mut Decision,
) {
    let output = ended.output.clone();
    post(shard, parent, What::ChildEnded(ended), output, at, decision);
}

fn post(
    shard: i32,
    to: SagaId,
    what: What,
    payload: Option<Arc<Value>>,
    at: Millis,
    decision: &mut Decision,
) {
    let payload = payload.map(|it| it.to_string());
    decision.batch.mail.push((shard, clock::fresh_id(), to.0, EVENT.into(), body(what, at), payload));
}

fn body(what: What, at: Millis) -> String {
    serde_json::to_string(&Event::new(at, clock::random(), what)).expect("an event has string keys")
}

/// What a parent is told whose child cannot be.
fn refusal(parent: &Parent, reason: String) -> ChildEnded {
    let cell = CellRef { step: parent.step, item: parent.item, direction: Direction::Execute };
    let error = Some(Fault::new(NOT_STARTED, reason));
    ChildEnded { cell, round: parent.round, outcome: Outcome::Rejected, output: None, error }
}
