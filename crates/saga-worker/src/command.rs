//! A command as a handler sees it: the wire's command with the trace that it travels in.

use std::ops::Deref;

use saga_protocol::Fault;
use serde::de::DeserializeOwned;

use crate::answer::Answer;

/// A command as a handler sees it. Dereferences to the wire's [`saga_protocol::Command`].
#[derive(Clone, Debug)]
pub struct Command {
    /// What travelled.
    pub wire: saga_protocol::Command,
    /// The W3C trace context of the sender; hand it on to what is called.
    pub traceparent: Option<String>,
}

impl Deref for Command {
    type Target = saga_protocol::Command;

    fn deref(&self) -> &Self::Target {
        &self.wire
    }
}

impl Command {
    /// The input as the handler's type.
    ///
    /// # Errors
    /// The answer to give when it does not fit: `rejected` with code `bad_input`. The same input
    /// will never fit, so asking again cannot help.
    pub fn parse_input<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        serde_json::from_str(self.wire.input.get())
            .map_err(|error| Answer::Rejected(Fault::new("bad_input", format!("input: {error}"))))
    }

    /// In a compensate, the execute's output as the handler's type; `None` when it is not known
    /// (the execute's reply never reached the orchestrator; outside calls get what this worker has kept)
    /// or does not fit.
    pub fn parse_output<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.wire.output.as_ref()?.get()).ok()
    }
}
