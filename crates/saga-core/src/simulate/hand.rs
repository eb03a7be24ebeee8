//! A saga played by hand: every answer is a move, and time passes only by moves.
//!
//! Owns which moves there are. What they do is `step`'s, behind the same barrier as in a scripted run.

use serde_json::Value;

use super::play::{Player, START, Thing};
use super::script::{Answer, Happening, Script};
use super::{Run, Taken, save};
use crate::definition::Definition;
use crate::event::{Due, What};
use crate::machine::next_due;
use crate::payloads::Payloads;
use crate::state::CellRef;
use saga_protocol::Direction;

/// How long an answer takes, in ms: as long as one that a scenario says nothing of.
const ANSWER_MS: i64 = 12;

/// Something that whoever plays lets happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// A worker answers a command that was sent, the newest or an older one.
    Answer {
        /// The step.
        step: String,
        /// The item of a `foreach`.
        item: Option<u32>,
        /// Execute or compensate.
        direction: Direction,
        /// The round that it answers.
        round: u32,
        /// The attempt that it answers.
        attempt: u32,
        /// What it wants to answer; its barrier may know better.
        answer: Answer,
    },
    /// Time passes until the next thing falls due.
    Due,
    /// Something happens beside the workers.
    Outside(Happening),
}

/// A move that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MoveError {
    /// Which one, from 0.
    pub nth: usize,
    /// Why.
    pub message: String,
}

/// Where a saga stands after some moves.
#[derive(Clone, Debug)]
pub struct Hand {
    /// What came of it so far.
    pub run: Run,
    /// Every event, and what it did.
    pub taken: Vec<Taken>,
    /// What steps yielded.
    pub payloads: Payloads,
    /// Virtual time from the start, in ms.
    pub elapsed_ms: i64,
    /// In how many ms the next thing falls due, if anything does.
    pub due_in_ms: Option<i64>,
    /// The same run as a file of one scenario; none while the saga is not at its rest.
    pub scenario: Option<String>,
}

/// Plays a saga move by move.
///
/// # Errors
/// When a move cannot be made.
pub fn by_hand(definition: &Definition, input: Value, moves: &[Move]) -> Result<Hand, MoveError> {
    let script = Script::default();
    let mut player = Player::new(definition, &script, input.clone());
    let started = player.happens(What::Start);
    started.map_err(|illegal| MoveError { nth: 0, message: illegal.to_string() })?;
    for (nth, it) in moves.iter().enumerate() {
        make(&mut player, definition, it).map_err(|message| MoveError { nth, message })?;
    }
    let Player { run, taken, payloads, now, .. } = player;
    let scenario = save::scenario(definition, &input, &run, &taken);
    let due_in_ms = next_due(&run.state).map(|due| (due - now).max(0));
    Ok(Hand { run, taken, payloads, elapsed_ms: now - START, due_in_ms, scenario })
}

fn make(player: &mut Player<'_>, definition: &Definition, it: &Move) -> Result<(), String> {
    match it {
        Move::Answer { step, item, direction, round, attempt, answer } => {
            let ix = definition.find(step).ok_or_else(|| format!("there is no step `{step}`"))?;
            let at = CellRef { step: ix, item: *item, direction: *direction };
            answered(player, at, *round, *attempt, answer.clone())
        }
        Move::Due => {
            let due = next_due(&player.run.state).ok_or("nothing falls due by itself")?;
            player.now = player.now.max(due);
            illegal(player.happens(What::Due(Due { caught_up: true, queued: Vec::new() })))
        }
        Move::Outside(_) if player.run.state.status.is_end() => Err("the saga has ended".to_owned()),
        Move::Outside(happening) => {
            player.now = player.now + ANSWER_MS;
            illegal(player.outside(happening.clone()))
        }
    }
}

fn answered(
    player: &mut Player<'_>,
    at: CellRef,
    round: u32,
    attempt: u32,
    answer: Answer,
) -> Result<(), String> {
    let sent = player.things.iter().flatten().find(|thing| match thing {
        Thing::Arrives(cell, command) => *cell == at && command.round == round && command.attempt == attempt,
        Thing::Child(cell, of) => *cell == at && *of == round,
        _ => false,
    });
    let sent = sent.cloned().ok_or_else(|| format!("attempt {attempt} of round {round} was never sent"))?;
    player.now = player.now + ANSWER_MS;
    match sent {
        Thing::Arrives(_, command) => {
            let said = player.answered(at, &command, answer).ok_or("silence is no move: let time pass")?;
            illegal(player.happens(What::Answer(said)))
        }
        _ if matches!(answer, Answer::Silent | Answer::Retryable { .. }) => {
            Err("a child saga ends succeeded, rejected or undecidable".to_owned())
        }
        _ => illegal(player.child_ended(at, round, answer)),
    }
}

fn illegal(result: Result<(), crate::transition::Illegal>) -> Result<(), String> {
    result.map_err(|illegal| illegal.to_string())
}
