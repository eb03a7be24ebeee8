//! What must hold when everything has come to rest. It must not forgive anything for the faults there were.

use std::collections::BTreeMap;

use saga_core::definition::{Turn, Work};
use saga_core::state::Parent;
use saga_core::{Definition, Event, Millis, State, Status, child};
use saga_protocol::SagaId;
use uuid::Uuid;

use super::database::Tables;
use super::shop::{Effects, Unit};
use crate::store::mail::event_of;

/// Everything that does not hold, in words; empty when all is well.
pub(crate) fn judge(
    tables: &Tables,
    accepted: &BTreeMap<String, Uuid>,
    effects: &BTreeMap<Unit, Effects>,
    definition_of: &dyn Fn(i32) -> Option<std::sync::Arc<crate::store::definitions::Published>>,
) -> Vec<String> {
    let mut broken = tables.broken.clone();
    for (key, saga) in accepted {
        if !tables.sagas.contains_key(saga) {
            broken.push(format!("{key} was accepted, and there is no saga {saga}"));
        }
    }
    let roots = tables.sagas.values().filter(|row| row.parent.is_none()).count();
    if roots != accepted.len() {
        broken.push(format!("{roots} sagas for {} accepted starts", accepted.len()));
    }
    for (id, row) in &tables.sagas {
        let Some(definition) = definition_of(row.definition) else { continue };
        let definition = &definition.definition;
        if row.status < 2 {
            let open = tables.states.get(&(row.shard, *id));
            broken.push(format!(
                "saga {id} has not ended (status {}): {:?}",
                row.status,
                open.map(|it| (it.revision, &it.state))
            ));
            continue;
        }
        match fold(tables, *id, definition) {
            Ok(state) => {
                broken.extend(books(*id, definition, &state, effects));
                broken.extend(children(tables, *id, definition, &state));
            }
            Err(reason) => broken.push(format!("saga {id}: {reason}")),
        }
    }
    for row in tables.outbox.keys() {
        broken.push(format!("the outbox still has {row:?}"));
    }
    for (mail, _) in tables.mailbox.values().filter(|(_, taken)| taken.is_none()) {
        broken.push(format!("mail of {} was never read", mail.saga));
    }
    broken.extend(tables.anomalies.iter().map(|it| format!("an anomaly: {it}")));
    for (source, reason) in tables.dead_letters.iter().filter(|(source, _)| source.starts_with("saga/")) {
        broken.push(format!("{source}: {reason}"));
    }
    broken
}

/// Runs a history again: whole, each event once, and the state that it yields is the one that stands.
fn fold(tables: &Tables, id: Uuid, definition: &Definition) -> Result<State, String> {
    let rows = tables.history.get(&id).ok_or("it has no history")?;
    let payloads = tables.payloads(id)?;
    let stands =
        tables.sagas.get(&id).and_then(|row| row.final_state.clone()).ok_or("it has no last state")?;
    let last: State = serde_json::from_str(&stands).map_err(|error| error.to_string())?;
    let mut state: Option<State> = None;
    for (expected, (revision, (text, payload, _))) in (1..).zip(rows) {
        if *revision != expected {
            return Err(format!("revision {expected} is missing"));
        }
        // The start's payload is its input.
        let payload = if expected == 1 { None } else { payload.as_deref() };
        let event: Event = event_of(text, payload).map_err(|error| error.to_string())?;
        let deadline = definition.deadline_ms.map(|ms| event.at + ms);
        let before = state.take().unwrap_or_else(|| State::new(event.at, deadline, last.parent.clone()));
        // The payloads of later revisions are not looked at by earlier ones.
        let transition =
            saga_core::step(definition, &before, &event, &payloads).map_err(|illegal| illegal.to_string())?;
        state = Some(transition.state);
    }
    let state = state.ok_or("its history is empty")?;
    let folded = serde_json::to_string(&state).map_err(|error| error.to_string())?;
    if folded != stands {
        return Err(format!("its history folds to {folded}, and {stands} stands"));
    }
    Ok(state)
}

/// A completed saga's children have completed; those of one that was compensated are compensated.
fn children(tables: &Tables, id: Uuid, definition: &Definition, state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut own: BTreeMap<Uuid, i16> = tables
        .sagas
        .iter()
        .filter(|(_, row)| row.parent == Some(id))
        .map(|(child, row)| (*child, row.status))
        .collect();
    for cell in &state.cells {
        let step = definition.step(cell.step);
        let is_child = step.is_some_and(|step| matches!(step.work, Work::Child { .. }));
        if !is_child || (step.is_some_and(|step| step.foreach.is_some()) && cell.item.is_none()) {
            continue;
        }
        let (step, round) = (cell.step, cell.execute.round);
        let child = child::id(&Parent { saga: SagaId(id), step, item: cell.item, round });
        let status = own.remove(&child.0);
        let good = match state.status {
            Status::Completed => status == Some(2),
            _ => matches!(status, None | Some(3)),
        };
        if !good {
            let ended = state.status.word();
            broken.push(format!("saga {id} is {ended}, and its child {child} has status {status:?}"));
        }
    }
    // Of earlier rounds there are none: nobody retries here.
    broken.extend(own.keys().map(|child| format!("saga {id} does not know its child {child}")));
    broken
}

/// What workers did balances with how the saga ended.
fn books(id: Uuid, definition: &Definition, state: &State, effects: &BTreeMap<Unit, Effects>) -> Vec<String> {
    let mut broken = Vec::new();
    let first = (id, String::new(), None);
    for ((saga, step, item), effect) in effects.range(first..).take_while(|((saga, ..), _)| *saga == id) {
        let left = i64::from(effect.done) - i64::from(effect.undone);
        let unit = format!(
            "saga {}, step {step} {item:?}: done {} times, undone {} times",
            SagaId(*saga),
            effect.done,
            effect.undone
        );
        if !(0..=1).contains(&left) {
            broken.push(unit.clone());
        }
        let optional = definition.steps.iter().any(|it| it.name.as_str() == step && it.optional);
        match state.status {
            Status::Completed if left != 1 && !optional => {
                broken.push(format!("{unit}, and the saga completed"))
            }
            Status::Compensated if left != 0 && !optional => {
                broken.push(format!("{unit}, and the saga was compensated"))
            }
            _ => {}
        }
    }
    if state.status == Status::Completed {
        let counts = |it: &&saga_core::definition::Step| {
            matches!(it.work, Work::Action { .. }) && !it.optional && it.turn == Turn::Graph
        };
        for step in definition.steps.iter().filter(counts) {
            let any = effects.keys().any(|(saga, name, _)| *saga == id && name == step.name.as_str());
            if !any {
                broken.push(format!("saga {id} completed without {}", step.name));
            }
        }
    }
    if state.deadline.is_some_and(|deadline| deadline < Millis(0)) {
        broken.push(format!("saga {id} has a deadline before all time"));
    }
    broken
}
