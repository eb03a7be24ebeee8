//! The barrier's rules: what is to be done with a command, given the row that the inbox has.
//!
//! Pure: no clock, no database. docs/protocol.md states the same rules in prose, numbered; each is a
//! test of this crate.

use saga_protocol::Direction;

use crate::answer::Answer;
use crate::command::Command;
use crate::inbox::{Fate, Key, Row};

/// What the rules need to know of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) now_ms: i64,
    pub(crate) retention_ms: i64,
}

impl Now {
    /// What was first sent before may be forgotten already: kept a little shorter than rows are, so
    /// that clocks may differ and pruning may be early.
    fn forgotten_before_ms(self) -> i64 {
        let margin_ms = (self.retention_ms / 10).min(3_600_000);
        self.now_ms.saturating_sub(self.retention_ms - margin_ms)
    }
}

/// What is to be done with a command.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was answered before: the stored reply, and nothing is done.
    Stored(Answer),
    /// This answer, and the row with it; the handler does not run.
    Record(Answer, Row),
    /// This answer, and nothing is recorded.
    Reply(Answer),
    /// The handler runs; the row is written with its final answer.
    Run(Row),
    /// A compensate has met an execute of unknown fate, which must be settled first.
    AskFate(Row),
}

/// Decides what is to be done with a command.
pub(crate) fn decide(command: &Command, key: &Key, row: Option<&Row>, now: Now) -> Verdict {
    if command.first_sent_at_ms < now.forgotten_before_ms() {
        return Verdict::Reply(Answer::undecidable(
            "past_retention",
            "the round was first sent longer ago than the inbox remembers",
        ));
    }
    match command.direction {
        Direction::Execute => execute(command, key, row, now),
        Direction::Compensate => compensate(command, key, row, now),
    }
}

fn execute(command: &Command, key: &Key, row: Option<&Row>, now: Now) -> Verdict {
    let row = row.cloned().unwrap_or_else(|| Row::new(key.clone()));
    if let Some(answer) = row.execute.kept() {
        return Verdict::Stored(answer);
    }
    let expired = command.expires_at_ms <= now.now_ms;
    if row.execute.fate == Fate::Open {
        if row.marked {
            return Verdict::Reply(Answer::retryable(
                "marked",
                "a compensate waits for the fate of an earlier call; no further call is made",
            ));
        }
        if expired {
            // Never final over an intent: the call may have taken effect.
            return Verdict::Reply(Answer::retryable(
                "expired",
                "the command has expired; an earlier call's fate is open",
            ));
        }
        return Verdict::Run(row);
    }
    if row.marked || row.compensate.fate != Fate::Never {
        let answer =
            Answer::rejected("hanging", "its compensate came first; the execute does nothing any more");
        return record(command, row, answer);
    }
    if expired {
        let answer = Answer::rejected("expired", "the command has expired before it was executed");
        return record(command, row, answer);
    }
    Verdict::Run(row)
}

fn compensate(command: &Command, key: &Key, row: Option<&Row>, now: Now) -> Verdict {
    let known_success = command.undoes.is_some_and(|undoes| undoes.succeeded);
    let round = i32::try_from(command.round).unwrap_or(i32::MAX);
    let Some(row) = row.cloned() else {
        if known_success {
            return Verdict::Reply(Answer::undecidable(
                "record_missing",
                "the execute is known to have succeeded, and the inbox has no record of it",
            ));
        }
        if key.saga_started_ms().is_some_and(|started| started < now.forgotten_before_ms()) {
            return Verdict::Reply(Answer::undecidable(
                "past_retention",
                "the saga is older than the inbox remembers: that there is no record proves nothing",
            ));
        }
        // Empty compensation: it is recorded, so that the execute finds it when it comes late.
        return record(command, Row::new(key.clone()), Answer::ok());
    };
    if round < row.compensate_round {
        return Verdict::Reply(Answer::retryable("superseded", "a later compensate round is on record"));
    }
    if round == row.compensate_round
        && let Some(answer) = row.compensate.kept()
    {
        return Verdict::Stored(answer);
    }
    if let (Fate::Succeeded, Some(answer)) = (row.compensate.fate, row.compensate.kept()) {
        // A new round over a compensate that succeeded: undone once is undone.
        return record(command, row, answer);
    }
    match row.execute.fate {
        Fate::Never | Fate::Rejected if known_success => Verdict::Reply(Answer::undecidable(
            "record_contradicts",
            "the execute is known to have succeeded, and the inbox says that it did not take effect",
        )),
        Fate::Never | Fate::Rejected => record(command, row, Answer::ok()),
        // However late: only executes expire, and what the inbox may have forgotten was refused above.
        Fate::Open => Verdict::AskFate(row),
        Fate::Succeeded => Verdict::Run(row),
    }
}

fn record(command: &Command, mut row: Row, answer: Answer) -> Verdict {
    row.keep(command, &answer);
    Verdict::Record(answer, row)
}
