//! What went wrong with a saga, and which failures are the same one.
//!
//! Pure. Two failures are the same when definition version, step, direction, code and normalised message are.

use saga_core::definition::Definition;
use saga_core::state::{Cause, CellRef};
use saga_core::{Event, Phase, Run, State, Status, StepIx, What};
use saga_protocol::Direction;
use sha2::{Digest, Sha256};

use crate::api::words;

/// The longest message that is kept, in characters.
const MESSAGE_MAX: usize = 300;

/// An answer that was not a success.
#[derive(Clone, Debug)]
pub struct ErrorAt {
    /// The transition that took it in.
    pub revision: u32,
    /// The answer.
    pub event: Event,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureOf {
    /// The step, if it was one.
    pub step: Option<String>,
    /// Which of its directions.
    pub direction: Option<Direction>,
    /// What the worker answered, or what the engine says itself.
    pub kind: String,
    /// A stable code.
    pub code: String,
    /// In words.
    pub message: String,
    /// The transition that it came with.
    pub revision: u32,
    /// Whether it is a failure: what people have undone on purpose is none, and belongs to no group.
    pub counts: bool,
}

/// What went wrong with a saga, if anything did: what parked it, what turned it around, or what is being retried at
/// `at`.
pub fn failure(
    definition: &Definition,
    state: &State,
    errors: &[ErrorAt],
    at: Option<CellRef>,
) -> Option<FailureOf> {
    match (&state.status, &state.phase) {
        (Status::Parked(parked), _) => {
            let (code, general) = words::why(parked.why);
            let said = parked.cell.and_then(|cell| newest(definition, errors, cell));
            Some(said.unwrap_or_else(|| FailureOf {
                step: parked.cell.and_then(|cell| words::step_name(definition, cell.step)),
                direction: parked.cell.map(|cell| cell.direction),
                kind: code.to_owned(),
                code: code.to_owned(),
                message: general.to_owned(),
                revision: parked.revision,
                counts: true,
            }))
        }
        (_, Phase::Unwinding { cause }) => {
            let of_undoing = at
                .filter(|cell| cell.direction == Direction::Compensate)
                .and_then(|cell| newest(definition, errors, cell))
                .filter(|_| state.status == Status::Running);
            of_undoing.or_else(|| turned(definition, state, errors, *cause))
        }
        (Status::Running, _) => newest(definition, errors, at?),
        _ => None,
    }
}

fn turned(definition: &Definition, state: &State, errors: &[ErrorAt], cause: Cause) -> Option<FailureOf> {
    let of_step = |step: StepIx, code: &str, message: &str| {
        let name = words::step_name(definition, step);
        let found = errors.iter().rev().find_map(|it| {
            let failure = told(it)?;
            let same = failure.step == name && failure.direction == Some(Direction::Execute);
            same.then_some(failure)
        });
        found.unwrap_or_else(|| FailureOf {
            step: name,
            direction: Some(Direction::Execute),
            kind: code.to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            revision: 0,
            counts: true,
        })
    };
    let plain = |code: &str, message: &str, counts: bool| FailureOf {
        step: None,
        direction: None,
        kind: code.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
        revision: 0,
        counts,
    };
    // Somebody gave up what had failed: that is why, and its group is where the saga is looked for after the fix.
    let given_up = || {
        let failed = state.tracks().filter(|(cell, track)| {
            cell.direction == Direction::Execute && !matches!(track.run, Run::Succeeded | Run::Skipped)
        });
        failed.filter_map(|(cell, _)| newest(definition, errors, cell)).max_by_key(|it| it.revision)
    };
    Some(match cause {
        Cause::Rejected(step) => of_step(step, "rejected", "The step was rejected."),
        Cause::Exhausted(step) => {
            of_step(step, "exhausted", "The step's budget is spent without a final answer.")
        }
        Cause::Deadline => plain("deadline", "The deadline passed before the pivot was sent.", true),
        Cause::Operator => {
            given_up().unwrap_or_else(|| plain("operator", "An operator had it undone.", false))
        }
        Cause::Parent => plain("parent", "The parent saga had it undone.", false),
    })
}

fn newest(definition: &Definition, errors: &[ErrorAt], cell: CellRef) -> Option<FailureOf> {
    let name = words::step_name(definition, cell.step)?;
    errors.iter().rev().find_map(|it| {
        let What::Answer(answer) = &it.event.what else { return None };
        let same =
            answer.step.as_str() == name && answer.item == cell.item && answer.direction == cell.direction;
        if same { told(it) } else { None }
    })
}

fn told(it: &ErrorAt) -> Option<FailureOf> {
    let What::Answer(answer) = &it.event.what else { return None };
    let fault = answer.error.as_ref()?;
    Some(FailureOf {
        step: Some(answer.step.as_str().to_owned()),
        direction: Some(answer.direction),
        kind: words::outcome(answer.outcome).to_owned(),
        code: fault.code.clone(),
        message: fault.message.chars().take(MESSAGE_MAX).collect(),
        revision: it.revision,
        counts: true,
    })
}

/// A message without what differs from saga to saga: numbers, ids, and what stands in quotes.
pub fn normalise(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        if let Some(end) = quoted(rest, first) {
            out.push_str("<v>");
            rest = &rest[end..];
            continue;
        }
        let word: &str = {
            let len =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).unwrap_or(rest.len());
            &rest[..len]
        };
        if word.is_empty() {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.push_str(&placeholder(word));
        rest = &rest[word.len()..];
    }
    out.chars().take(MESSAGE_MAX).collect()
}

/// The length of what stands in quotes at the beginning of the text.
fn quoted(text: &str, first: char) -> Option<usize> {
    let closing = match first {
        '"' | '`' => first,
        '“' => '”',
        _ => return None,
    };
    let after = first.len_utf8();
    let end = text[after..].find(closing)?;
    Some(after + end + closing.len_utf8())
}

fn placeholder(word: &str) -> String {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    if digits == 0 {
        return word.to_owned();
    }
    if digits == word.len() {
        return "<n>".to_owned();
    }
    // Ids mix letters and digits: `order-17`, `tk_8f3a`, a UUID. A short word with one digit, such as `v1`, is a word.
    if digits >= 3 || word.len() >= 12 { "<id>".to_owned() } else { word.to_owned() }
}

/// What failures that are the same share.
pub fn group(definition: i32, failure: &FailureOf) -> (String, String) {
    let message = normalise(&failure.message);
    let mut hash = Sha256::new();
    for part in [
        definition.to_string().as_str(),
        failure.step.as_deref().unwrap_or_default(),
        failure.direction.map_or("", words::direction),
        &failure.code,
        &message,
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let id = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    (id, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_saga_to_saga_is_left_out() {
        for (one, two) in [
            ("the provider answered 503", "the provider answered 502"),
            ("moon-jar: 1 asked for, 0 left", "moon-jar: 12 asked for, 3 left"),
            ("no order `order-17`", "no order `x`"),
            ("payment tk_8f3a91 is gone", "payment tk_77aa01 is gone"),
            ("saga 01a1fde6-2213-7055-8e5e-8925bfcf0a1a", "saga 01a1fde6-220a-752a-9a3e-da8b51a43aea"),
        ] {
            assert_eq!(normalise(one), normalise(two));
        }
        assert_eq!(normalise("카드가 거절되었습니다 (3회)"), "카드가 거절되었습니다 (3회)");
        assert_ne!(normalise("out of stock"), normalise("out of money"));
        assert_eq!(normalise("an \"open quote"), "an \"open quote");
    }
}
