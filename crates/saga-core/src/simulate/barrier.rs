//! The workers' barrier in memory: one row per (step, item, execute round) holds both directions.
//!
//! Owns what the SDK's inbox owns: stored answers, empty compensations, hanging executes.

use std::collections::HashMap;

use saga_protocol::{Command, Direction};

use super::script::Answer;
use crate::state::CellRef;

/// All rows of one saga's workers.
#[derive(Debug, Default)]
pub(super) struct Barrier(HashMap<(u16, Option<u32>, u32), Row>);

#[derive(Debug, Default)]
struct Row {
    execute: Option<Answer>,
    compensated: bool,
    refused: HashMap<u32, Answer>,
}

impl Barrier {
    /// What a worker answers to a command for which it would do `wanted`.
    pub(super) fn handle(&mut self, at: CellRef, command: &Command, wanted: Answer) -> Answer {
        let round = command.undoes.map_or(command.round, |undoes| undoes.round);
        let row = self.0.entry((at.step.0, at.item, round)).or_default();
        match at.direction {
            Direction::Execute => {
                if let Some(stored) = &row.execute {
                    return stored.clone();
                }
                let answer = if row.compensated {
                    Answer::Rejected("compensated".to_owned(), "it was undone before it ran".to_owned())
                } else {
                    wanted
                };
                if matches!(answer, Answer::Succeeded(_) | Answer::Rejected(..)) {
                    row.execute = Some(answer.clone());
                }
                answer
            }
            Direction::Compensate => {
                if row.compensated {
                    return Answer::Succeeded(serde_json::Value::Null);
                }
                if let Some(stored) = row.refused.get(&command.round) {
                    return stored.clone();
                }
                match &wanted {
                    Answer::Succeeded(_) => row.compensated = true,
                    Answer::Rejected(..) => drop(row.refused.insert(command.round, wanted.clone())),
                    _ => {}
                }
                wanted
            }
        }
    }
}
