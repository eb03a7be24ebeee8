//! What a handler answers to a command.
//!
//! Owns the answer's shape and its short constructors. Which answers are kept by the barrier is the
//! barrier's affair.

use saga_protocol::{Fault, Outcome, Reply};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::command::Command;

/// Longest fault message that travels, in characters.
const FAULT_MESSAGE_CHARS_MAX: usize = 1_000;
/// Longest fault code that travels, in characters.
const FAULT_CODE_CHARS_MAX: usize = 100;

/// The answer to one command.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Done, with what the step produced. Final.
    Succeeded(Option<Box<RawValue>>),
    /// Business said no, and nothing was changed. Final.
    Rejected(Fault),
    /// Not now, and nothing was changed; the orchestrator asks again.
    Retryable {
        /// Why.
        fault: Fault,
        /// The trouble is the worker's own (a wrong key, an open circuit breaker): no budget burns.
        uncharged: bool,
        /// Do not ask again sooner than this, in ms.
        after_ms: Option<u32>,
    },
    /// No answer can be given with right; the saga parks and a human looks.
    Undecidable(Fault),
}

impl Answer {
    /// Succeeded, without output.
    pub fn ok() -> Self {
        Self::Succeeded(None)
    }

    /// Succeeded with an output. A value that cannot be JSON (a map with keys that are no strings)
    /// is the handler's bug: it answers `retryable`, uncharged, so that nothing is lost.
    pub fn output<T: Serialize + ?Sized>(output: &T) -> Self {
        match serde_json::value::to_raw_value(output) {
            Ok(raw) => Self::Succeeded(Some(raw)),
            Err(error) => Self::own_trouble("output_not_json", error.to_string()),
        }
    }

    /// Rejected: business said no, for good.
    pub fn rejected(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Rejected(Fault::new(code, message))
    }

    /// Not now; counts against the step's budget.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Retryable { fault: Fault::new(code, message), uncharged: false, after_ms: None }
    }

    /// Not now, for a reason of the worker's own; burns no budget.
    pub fn own_trouble(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Retryable { fault: Fault::new(code, message), uncharged: true, after_ms: None }
    }

    /// The worker has no right to any answer.
    pub fn undecidable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Undecidable(Fault::new(code, message))
    }

    /// Asks not to be asked again sooner than `after_ms`; changes nothing in answers other than
    /// `Retryable`.
    pub fn after_ms(mut self, delay_ms: u32) -> Self {
        if let Self::Retryable { after_ms, .. } = &mut self {
            *after_ms = Some(delay_ms);
        }
        self
    }

    /// The outcome on the wire.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Succeeded(_) => Outcome::Succeeded,
            Self::Rejected(_) => Outcome::Rejected,
            Self::Retryable { .. } => Outcome::Retryable,
            Self::Undecidable(_) => Outcome::Undecidable,
        }
    }

    /// Whether the barrier keeps it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Rejected(_))
    }

    /// The reply to one attempt of `command`.
    pub(crate) fn to_reply(&self, command: &Command) -> Reply {
        let mut reply = Reply::to(command, self.outcome());
        match self {
            Self::Succeeded(output) => reply.output.clone_from(output),
            Self::Rejected(fault) | Self::Undecidable(fault) => reply.error = Some(bounded(fault)),
            Self::Retryable { fault, uncharged, after_ms } => {
                reply.error = Some(bounded(fault));
                reply.uncharged = *uncharged;
                reply.retry_after_ms = *after_ms;
            }
        }
        reply
    }
}

/// A fault of a length that may be stored and sent.
pub(crate) fn bounded(fault: &Fault) -> Fault {
    Fault {
        code: fault.code.chars().take(FAULT_CODE_CHARS_MAX).collect(),
        message: fault.message.chars().take(FAULT_MESSAGE_CHARS_MAX).collect(),
    }
}
