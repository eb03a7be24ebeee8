//! A run's timeline: what each event came to, in words.

use saga_protocol::{Direction, Outcome};

use super::{Line, Mark};
use crate::definition::{Definition, StepIx, Work, item_name};
use crate::event::{Answer, Event, OperatorAction, What};
use crate::state::{Phase, Run, State, Status};
use crate::transition::{Effect, Transition};

/// The lines of one transition.
pub(super) fn lines(
    definition: &Definition,
    before: &State,
    event: &Event,
    transition: &Transition,
    at_ms: i64,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |mark, step: Option<String>, text: String| lines.push(Line { at_ms, mark, step, text });
    let after = &transition.state;
    let ignored = transition.effects.iter().find_map(|effect| match effect {
        Effect::Ignored(reason) | Effect::Refused(reason) => Some(*reason),
        _ => None,
    });
    match &event.what {
        What::Start => line(Mark::Note, None, "started".to_owned()),
        What::Answer(answer) => {
            let step = definition.find(answer.step.as_str());
            let name = item_name(answer.step.as_str(), answer.item);
            let (mark, text) = answered(definition, step, answer);
            match ignored {
                Some(reason) => line(Mark::Note, Some(name), format!("{text}: ignored, {reason}")),
                None => line(mark, Some(name), text),
            }
        }
        What::ChildEnded(child) => {
            let back = child.cell.direction == Direction::Compensate;
            let mark = match (child.outcome, back) {
                (Outcome::Succeeded, false) => Mark::Good,
                (Outcome::Succeeded, true) => Mark::Back,
                _ => Mark::Failed,
            };
            let text = format!("child saga {}", word(child.outcome));
            line(mark, Some(name_of(definition, child.cell.step, child.cell.item)), text);
        }
        What::Signal(signal) => {
            let ignored = ignored.map(|reason| format!(": ignored, {reason}")).unwrap_or_default();
            line(Mark::Note, None, format!("signal {}{ignored}", signal.name));
        }
        What::Operator(operator) => {
            let refused = ignored.map(|reason| format!(": refused, {reason}")).unwrap_or_default();
            line(
                Mark::Note,
                None,
                format!("operator: {} ({}){refused}", action(&operator.action), operator.why),
            );
        }
        What::LogLost => line(Mark::Note, None, "the log lost records".to_owned()),
        What::Due(_) => {
            for (at, track) in before.tracks() {
                let Some(now) = after.track(at).filter(|now| *now != track) else { continue };
                let name = Some(name_of(definition, at.step, at.item));
                match (track.run, now.run) {
                    (Run::Sent | Run::Unknown, Run::Exhausted) => {
                        line(Mark::Again, name, "silent, and its budget is spent".to_owned());
                    }
                    (Run::Sent | Run::Unknown, Run::Unknown) => {
                        line(Mark::Again, name, format!("silent; try {} goes out", now.attempt));
                    }
                    (Run::Waiting, Run::Succeeded) => line(Mark::Good, name, "the wait is over".to_owned()),
                    (Run::Waiting, Run::Exhausted) => {
                        line(Mark::Failed, name, "nothing came in time".to_owned())
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    for cell in &after.cells {
        if before.cell(cell.step, cell.item).is_none() {
            let name = Some(name_of(definition, cell.step, cell.item));
            match cell.execute.run {
                Run::Skipped => line(Mark::Note, name, "skipped".to_owned()),
                Run::Waiting if cell.execute.attempt == 0 => line(Mark::Note, name, "waits".to_owned()),
                _ => {}
            }
        }
    }
    let unwinds = |state: &State| matches!(state.phase, Phase::Unwinding { .. });
    if unwinds(after) && !unwinds(before) {
        line(Mark::Back, None, "turns around".to_owned());
    }
    for effect in &transition.effects {
        if let Effect::Anomaly(anomaly) = effect {
            let name = name_of(definition, anomaly.cell.step, anomaly.cell.item);
            line(Mark::Human, Some(name), format!("anomaly: {}", anomaly.kind));
        }
    }
    transition.notes.iter().for_each(|note| line(Mark::Note, None, note.clone()));
    if before.status != after.status {
        match &after.status {
            Status::Completed => line(Mark::Good, None, "completed".to_owned()),
            Status::Compensated => line(Mark::Back, None, "compensated".to_owned()),
            Status::Abandoned => line(Mark::Human, None, "abandoned".to_owned()),
            Status::Parked(parked) => {
                let at = parked.cell.map(|at| name_of(definition, at.step, at.item));
                line(Mark::Human, at, format!("parked: {}", super::expect::why_word(parked.why)));
            }
            Status::Running => line(Mark::Note, None, "goes on".to_owned()),
        }
    }
    lines
}

fn answered(definition: &Definition, step: Option<StepIx>, answer: &Answer) -> (Mark, String) {
    let back = answer.direction == Direction::Compensate;
    let mut work = String::new();
    if let Some(step) = step.and_then(|ix| definition.step(ix))
        && let Work::Action { worker, action } = &step.work
    {
        let undo = step.compensation.as_ref().map(|it| it.action.as_str()).unwrap_or_default();
        work = format!("{worker}.{}", if back { undo } else { action });
    }
    let tries = match (answer.round, answer.attempt) {
        (1, 1) => String::new(),
        (1, attempt) => format!(" (try {attempt})"),
        (round, attempt) => format!(" (try {attempt}, round {round})"),
    };
    let why = answer.error.as_ref().map(|it| {
        if it.message.is_empty() {
            format!(": {}", it.code)
        } else {
            format!(": {} ({})", it.code, it.message)
        }
    });
    let why = why.unwrap_or_default();
    match (answer.outcome, back) {
        (Outcome::Succeeded, false) => (Mark::Good, format!("{work}{tries}")),
        (Outcome::Succeeded, true) => (Mark::Back, format!("{work}{tries}")),
        (Outcome::Retryable, _) => (Mark::Again, format!("{work} to be retried{tries}{why}")),
        (Outcome::Rejected, false) => (Mark::Failed, format!("{work} rejected{tries}{why}")),
        (outcome, _) => (Mark::Human, format!("{work} {}{tries}{why}", word(outcome))),
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Rejected => "rejected",
        Outcome::Retryable => "to be retried",
        Outcome::Undecidable => "undecidable",
    }
}

const fn action(action: &OperatorAction) -> &'static str {
    match action {
        OperatorAction::Retry { .. } => "retry",
        OperatorAction::RetryEdited { .. } => "retry with another input",
        OperatorAction::Skip { .. } => "skip",
        OperatorAction::Compensate => "cancel",
        OperatorAction::ResumeCompensation => "resume compensation",
        OperatorAction::MarkCompensated { .. } => "mark compensated",
        OperatorAction::Abandon { .. } => "abandon",
    }
}

/// A step's name with its item.
pub(super) fn name_of(definition: &Definition, step: StepIx, index: Option<u32>) -> String {
    item_name(definition.step(step).map(|it| it.name.as_str()).unwrap_or_default(), index)
}
