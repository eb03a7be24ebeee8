//! The workers of a run: a model of the barrier, and the channel between them and the orchestrator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use saga_core::{Answer, CellRef, Definition, Effect, Run, Status, StepIx};
use saga_protocol::{Command, Direction, Fault, Outcome};
use serde_json::json;

use crate::support::Saga;

/// The kind of anomaly of an optional step that took effect after its saga had completed without it.
const AFTER_END: &str = ":succeeded_after_end";

/// The barrier's row: (step, item, execute round).
type Key = (StepIx, Option<u32>, u32);

#[derive(Clone, Debug, Default)]
struct Row {
    /// The stored reply of the execute.
    execute: Option<Outcome>,
    /// The compensate was done, with or without an effect to undo.
    compensated: bool,
    effects: u32,
    undone: u32,
    /// Compensate rounds that were rejected, for good.
    refused: BTreeSet<u32>,
}

#[derive(Default)]
pub(crate) struct World {
    rows: BTreeMap<Key, Row>,
    /// What is in the air.
    pub(crate) commands: Vec<(CellRef, Command)>,
    pub(crate) replies: Vec<Answer>,
    /// Executes that were sent, with their newest round.
    sent: BTreeMap<(StepIx, Option<u32>), u32>,
    /// Successes that the orchestrator was told of.
    told: BTreeSet<(CellRef, u32)>,
    /// How the workers behave, one number a decision; the rest succeeds.
    script: Vec<u8>,
    /// Operators act in this run, so what follows from their absence does not hold.
    pub(crate) operated: bool,
}

impl World {
    pub(crate) fn new(script: &[u8], operated: bool) -> Self {
        Self { script: script.to_vec(), operated, ..Self::default() }
    }

    /// Publishes what a transition has asked for.
    pub(crate) fn publish(&mut self, saga: &Saga) {
        for effect in saga.last.iter().flat_map(|transition| &transition.effects) {
            let Effect::Send { cell, round, attempt } = *effect else { continue };
            let command = saga_core::command::build(
                &saga.definition,
                saga.payloads.saga,
                &saga.state,
                &saga.payloads,
                cell,
            )
            .unwrap();
            assert_eq!((command.round, command.attempt), (round, attempt));
            if cell.direction == Direction::Execute {
                self.sent.insert((cell.step, cell.item), round);
            }
            self.commands.push((cell, command));
        }
    }

    pub(crate) fn tell(&mut self, saga: &Saga, answer: &Answer) {
        if answer.outcome == Outcome::Succeeded {
            let step = saga.definition.find(answer.step.as_str()).unwrap();
            self.told
                .insert((CellRef { step, item: answer.item, direction: answer.direction }, answer.round));
        }
    }

    /// A worker takes a command from the channel.
    pub(crate) fn work(&mut self, definition: &Definition, at: CellRef, command: &Command) {
        let outcome = match at.direction {
            Direction::Execute => self.execute(definition, at, command),
            Direction::Compensate => self.compensate(definition, at, command),
        };
        let Some((outcome, uncharged)) = outcome else { return };
        let output = (outcome == Outcome::Succeeded).then(|| Arc::new(json!({"v": at.step.0})));
        self.replies.push(Answer {
            step: command.step.clone(),
            item: command.item,
            direction: command.direction,
            round: command.round,
            attempt: command.attempt,
            outcome,
            output,
            oversized: false,
            error: (outcome != Outcome::Succeeded).then(|| Fault::new("no", "because")),
            uncharged,
            retry_after_ms: None,
        });
    }

    fn decide(&mut self) -> u8 {
        self.script.pop().unwrap_or(0)
    }

    fn execute(
        &mut self,
        definition: &Definition,
        at: CellRef,
        command: &Command,
    ) -> Option<(Outcome, bool)> {
        let decision = self.decide();
        let key = (at.step, at.item, command.round);
        let unwound = self.rows.values().any(|row| row.compensated);
        let row = self.rows.entry(key).or_default();
        if let Some(stored) = row.execute {
            return Some((stored, false));
        }
        if row.compensated {
            row.execute = Some(Outcome::Rejected);
            return Some((Outcome::Rejected, false));
        }
        match decision % 20 {
            0..=11 => {
                row.execute = Some(Outcome::Succeeded);
                row.effects += 1;
                assert!(
                    definition.pivot != Some(at.step) || !unwound,
                    "the pivot took effect after an undoing"
                );
                Some((Outcome::Succeeded, false))
            }
            12 | 13 => {
                row.execute = Some(Outcome::Rejected);
                Some((Outcome::Rejected, false))
            }
            14 | 15 => Some((Outcome::Retryable, false)),
            16 => Some((Outcome::Retryable, true)),
            17 if decision > 200 => Some((Outcome::Undecidable, false)),
            // Silent: nothing took effect, or nobody will know.
            _ => None,
        }
    }

    fn compensate(
        &mut self,
        definition: &Definition,
        at: CellRef,
        command: &Command,
    ) -> Option<(Outcome, bool)> {
        let decision = self.decide();
        let undoes = command.undoes.unwrap();
        let key = (at.step, at.item, undoes.round);
        if undoes.succeeded && !self.operated {
            assert!(self.rows.contains_key(&key), "a success is claimed that never was: {command:?}");
        }
        self.check_order(definition, at);
        let row = self.rows.entry(key).or_default();
        if row.compensated {
            return Some((Outcome::Succeeded, false));
        }
        if row.refused.contains(&command.round) {
            return Some((Outcome::Rejected, false));
        }
        match decision % 20 {
            0..=13 => {
                row.compensated = true;
                if row.execute == Some(Outcome::Succeeded) {
                    row.undone += 1;
                }
                Some((Outcome::Succeeded, false))
            }
            14 => {
                row.refused.insert(command.round);
                Some((Outcome::Rejected, false))
            }
            15 | 16 => Some((Outcome::Retryable, false)),
            17 => Some((Outcome::Retryable, true)),
            18 if decision > 200 => Some((Outcome::Undecidable, false)),
            _ => None,
        }
    }

    /// Nothing is undone behind the pivot, and nothing before its dependents.
    fn check_order(&self, definition: &Definition, at: CellRef) {
        if self.operated {
            return;
        }
        for (&(step, item), &round) in &self.sent {
            let row = self.rows.get(&(step, item, round));
            let succeeded = row.is_some_and(|row| row.execute == Some(Outcome::Succeeded));
            assert!(definition.pivot != Some(step) || !succeeded, "{at:?} is undone behind the pivot");
            let undoable = definition.step(step).unwrap().compensation.is_some();
            if !undoable || !definition.descendants(at.step).contains(&step) {
                continue;
            }
            let settled = row.is_some_and(|row| row.compensated || row.execute == Some(Outcome::Rejected));
            assert!(settled, "{at:?} is undone before its dependent {step:?} {item:?}");
        }
    }

    /// The books at the end of a run without operators.
    pub(crate) fn check_end(&self, saga: &Saga) {
        match &saga.state.status {
            Status::Completed => {
                assert!(
                    !self.rows.values().any(|row| row.compensated),
                    "something was undone, and it completed"
                );
                self.check_standing(saga);
                for cell in saga.state.cells.iter().filter(|cell| cell.execute.run == Run::Succeeded) {
                    if let Some(row) = self.rows.get(&(cell.step, cell.item, cell.execute.round)) {
                        assert_eq!((row.effects, row.undone), (1, 0));
                    }
                }
            }
            Status::Compensated => {
                assert!(!saga.state.anomalies.iter().any(|it| it.ends_with(AFTER_END)));
                for (&(step, item, _), row) in &self.rows {
                    let undoable = saga.definition.step(step).unwrap().compensation.is_some();
                    assert!(row.undone <= row.effects && row.effects <= 1);
                    assert!(
                        !undoable || row.undone == row.effects,
                        "{step:?} {item:?} took effect and stands: {row:?}"
                    );
                }
            }
            Status::Parked(_) => {}
            status => panic!("the run ended {status:?}"),
        }
    }

    /// A saga that has completed without an optional step which can be undone, and was told that it took effect: there
    /// is an anomaly, and for nothing else.
    fn check_standing(&self, saga: &Saga) {
        for cell in &saga.state.cells {
            let at = CellRef { step: cell.step, item: cell.item, direction: Direction::Execute };
            let told = self.told.contains(&(at, cell.execute.round));
            let undoable = saga.definition.step(cell.step).unwrap().compensation.is_some();
            let stands = told && undoable && cell.execute.run == Run::Exhausted;
            let anomaly = format!("{}x{}{AFTER_END}", at.input_key(), cell.execute.round);
            assert_eq!(saga.state.anomalies.contains(&anomaly), stands, "{anomaly}: {cell:?}");
        }
    }

    /// With operators: what took effect and stands in a saga that was undone or abandoned, stands because an operator
    /// said so; and if the orchestrator was told of it afterwards, there is an anomaly.
    pub(crate) fn check_truth(&self, saga: &Saga) {
        for (&(step, item, round), row) in &self.rows {
            let undoable = saga.definition.step(step).unwrap().compensation.is_some();
            if row.effects == row.undone || !undoable || saga.state.status != Status::Compensated {
                continue;
            }
            let cell = saga.state.cell(step, item).unwrap();
            let skipped = cell.execute.run == Run::Skipped;
            let marked = cell.undo.as_ref().is_some_and(|undo| undo.run == Run::Skipped);
            assert!(skipped || marked, "{step:?} {item:?} took effect and stands: {row:?} in {cell:?}");
            let at = CellRef { step, item, direction: Direction::Execute };
            let told = self.told.contains(&(at, round));
            let known = cell.execute.run == Run::Succeeded;
            let anomaly = format!("{}x{round}:", at.input_key());
            let opened = saga.state.anomalies.iter().any(|key| key.starts_with(&anomaly));
            assert!(
                !told || known || opened,
                "{step:?} {item:?} is known to stand, and nobody sees it: {cell:?}"
            );
        }
    }
}
