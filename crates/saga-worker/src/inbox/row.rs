//! The shape of a barrier row.

use saga_protocol::{Direction, Fault, StepName};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::{Answer, bounded};
use crate::command::Command;

/// What identifies a barrier row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) saga: Uuid,
    pub(crate) step: StepName,
    /// -1 outside of a `foreach`.
    pub(crate) item: i32,
    /// The execute's round.
    pub(crate) round: i32,
}

impl Key {
    /// The key of the row that a command belongs to; `None` when a number is beyond what is kept.
    pub(crate) fn of(command: &saga_protocol::Command) -> Option<Self> {
        let item = match command.item {
            Some(item) => i32::try_from(item).ok()?,
            None => -1,
        };
        i32::try_from(command.round).ok()?;
        Some(Self {
            saga: command.saga.0,
            step: command.step.clone(),
            item,
            round: i32::try_from(command.execute_round()).ok()?,
        })
    }

    /// When the saga was started, as its UUIDv7 tells; `None` for ids of another kind.
    pub(crate) fn saga_started_ms(&self) -> Option<i64> {
        let millis = self.saga.as_u128() >> 80;
        (self.saga.get_version_num() == 7).then(|| i64::try_from(millis).ok()).flatten()
    }
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never ran.
    Never,
    /// An intent to call is on record, and no result.
    Open,
    /// It took effect.
    Succeeded,
    /// It did not take effect, and never will.
    Rejected,
}

impl Fate {
    pub(crate) const fn code(self) -> i16 {
        match self {
            Self::Never => 0,
            Self::Open => 1,
            Self::Succeeded => 2,
            Self::Rejected => 3,
        }
    }

    pub(crate) const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Never),
            1 => Some(Self::Open),
            2 => Some(Self::Succeeded),
            3 => Some(Self::Rejected),
            _ => None,
        }
    }
}

/// One direction of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) fate: Fate,
    /// The output when succeeded, the fault when rejected; JSON.
    pub(crate) reply: Option<String>,
    /// Until when calls of unknown fate may have begun.
    pub(crate) not_after_ms: Option<i64>,
    /// How many intents were recorded.
    pub(crate) calls: i32,
}

impl Track {
    const NEVER: Self = Self { fate: Fate::Never, reply: None, not_after_ms: None, calls: 0 };

    /// Keeps a final answer. Other answers are not kept.
    pub(crate) fn keep(&mut self, answer: &Answer) {
        match answer {
            Answer::Succeeded(output) => {
                self.fate = Fate::Succeeded;
                self.reply = output.as_ref().map(|output| output.get().to_owned());
            }
            Answer::Rejected(fault) => {
                self.fate = Fate::Rejected;
                let fault = serde_json::to_string(&bounded(fault));
                self.reply = Some(fault.expect("a fault is two strings"));
            }
            Answer::Retryable { .. } | Answer::Undecidable(_) => return,
        }
        self.not_after_ms = None;
    }

    /// The answer that is kept; `None` when none is.
    pub(crate) fn kept(&self) -> Option<Answer> {
        let answer = match (self.fate, &self.reply) {
            (Fate::Succeeded, None) => Ok(Answer::Succeeded(None)),
            (Fate::Succeeded, Some(output)) => {
                RawValue::from_string(output.clone()).map(|output| Answer::Succeeded(Some(output)))
            }
            (Fate::Rejected, Some(fault)) => serde_json::from_str(fault).map(Answer::Rejected),
            (Fate::Rejected, None) => Ok(Answer::Rejected(Fault::new("rejected", ""))),
            (Fate::Never | Fate::Open, _) => return None,
        };
        Some(answer.unwrap_or_else(|error| {
            Answer::undecidable("inbox_unreadable", format!("the stored reply cannot be read: {error}"))
        }))
    }
}

/// A barrier row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    /// 0 when it is not stored yet.
    pub(crate) version: i32,
    pub(crate) kept_from_ms: i64,
    pub(crate) execute: Track,
    pub(crate) compensate: Track,
    pub(crate) compensate_round: i32,
    /// A compensate has met the open execute: no call of it begins any more.
    pub(crate) marked: bool,
}

impl Row {
    /// The row that a command without one begins.
    pub(crate) fn new(key: Key) -> Self {
        Self {
            key,
            version: 0,
            kept_from_ms: i64::MIN,
            execute: Track::NEVER,
            compensate: Track::NEVER,
            compensate_round: 0,
            marked: false,
        }
    }

    pub(crate) fn track(&self, direction: Direction) -> &Track {
        match direction {
            Direction::Execute => &self.execute,
            Direction::Compensate => &self.compensate,
        }
    }

    pub(crate) fn track_mut(&mut self, direction: Direction) -> &mut Track {
        match direction {
            Direction::Execute => &mut self.execute,
            Direction::Compensate => &mut self.compensate,
        }
    }

    /// Notes that the row now speaks of this command's round, and how long it is to be kept.
    pub(crate) fn serve(&mut self, command: &Command) {
        self.kept_from_ms = self.kept_from_ms.max(command.first_sent_at_ms);
        if command.direction == Direction::Compensate {
            let round = i32::try_from(command.round).unwrap_or(i32::MAX);
            if round > self.compensate_round {
                self.compensate_round = round;
                self.compensate = Track { not_after_ms: self.compensate.not_after_ms, ..Track::NEVER };
            }
        }
    }

    /// Keeps the final answer to `command`.
    pub(crate) fn keep(&mut self, command: &Command, answer: &Answer) {
        self.serve(command);
        self.track_mut(command.direction).keep(answer);
    }
}
