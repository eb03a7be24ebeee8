//! How a command ends: exit codes that scripts can use, and errors that say what to do.

use std::fmt;
use std::process::ExitCode;

use serde_json::json;

use crate::api::problem::Problem;

/// The exit codes. 2, for wrong usage, is the argument parser's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// As wanted.
    Ok = 0,
    /// It did not work.
    Failed = 1,
    /// The command was used wrongly.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// The saga ended otherwise than completed, or needs a human.
    NotCompleted = 4,
    /// The server cannot be reached.
    Unreachable = 5,
    /// It was taken in, and changed nothing.
    Ignored = 6,
    /// It is kept, and was not taken in yet.
    Pending = 7,
}

impl Code {
    /// Of `amends check`: neither proved nor refuted. It shares 3 with "not found", which a check cannot answer.
    pub const UNPROVED: Self = Self::NotFound;
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not work.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What is the matter, and what to do.
    pub message: String,
    /// The server's answer, if it was one.
    pub problem: Option<Box<Problem>>,
}

impl Failure {
    /// A failure in words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), problem: None }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A problem that the server answered.
    pub fn problem(problem: Problem) -> Self {
        let code = if problem.status == 404 { Code::NotFound } else { Code::Failed };
        Self { code, message: spell(&problem), problem: Some(Box::new(problem)) }
    }

    /// Tells it on standard error, as JSON or in words.
    pub fn tell(&self, json: bool) {
        if json {
            let problem = self.problem.as_ref().map(|it| json!(it));
            let text = json!({ "error": self.message, "exit": self.code as u8, "problem": problem });
            eprintln!("{text}");
        } else {
            eprintln!("error: {self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::Failed, format!("{error:#}"))
    }
}

/// A problem with all its faults, a line each.
fn spell(problem: &Problem) -> String {
    let mut text = problem.title.clone();
    if let Some(detail) = &problem.detail {
        text = format!("{text}: {detail}");
    }
    for fault in &problem.errors {
        let place = match (&fault.pointer, fault.line, fault.column) {
            (Some(pointer), ..) if pointer.is_empty() => "the body".to_owned(),
            (Some(pointer), ..) => pointer.clone(),
            (None, Some(line), Some(column)) => format!("{line}:{column}"),
            _ => "-".to_owned(),
        };
        let code = fault.code.as_deref().map(|it| format!("{it} ")).unwrap_or_default();
        let remedy = fault.remedy.as_deref().map(|it| format!(" ({it})")).unwrap_or_default();
        text = format!("{text}\n  {place}: {code}{}{remedy}", fault.detail);
    }
    if let Some(revision) = problem.revision {
        text = format!("{text}\n  the saga is at revision {revision} now");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::problem::FaultAt;

    #[test]
    fn a_problem_is_told_with_every_fault() {
        let fault = |pointer: &str, detail: &str| FaultAt {
            pointer: Some(pointer.into()),
            detail: detail.into(),
            ..FaultAt::default()
        };
        let problem =
            Problem::invalid_input(vec![fault("/items/0/quantity", "too small"), fault("", "no `payment`")]);
        let failure = Failure::problem(problem);
        assert_eq!(failure.code, Code::Failed);
        assert_eq!(
            failure.message,
            "The body is not a valid input: The body has 2 faults; `errors` lists them all.\n  \
             /items/0/quantity: too small\n  the body: no `payment`"
        );
        assert_eq!(Failure::problem(Problem::no_saga()).code, Code::NotFound);
    }
}
