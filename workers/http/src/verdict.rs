//! What an answer means: pure judgement of a status and a body.

use saga_protocol::{Direction, Fault, OUTPUT_BYTES_MAX};
use saga_worker::{CallResult, Inquiry};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::input::{Check, Request};

/// The longest answer that is read, in bytes. What is longer was an answer all the same, without its body.
pub(crate) const ANSWER_BYTES_MAX: usize = OUTPUT_BYTES_MAX;
/// How much of what the other side says about its refusal is kept, in characters.
const SAID_CHARS_MAX: usize = 200;

/// An answer. The body is absent when it was too long.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Option<Vec<u8>>,
}

impl Answer {
    /// The body if it is JSON.
    fn json(&self) -> Option<Box<RawValue>> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }
}

/// What an answer to a call says.
pub(crate) fn of_call(request: &Request, direction: Direction, host: &str, answer: &Answer) -> CallResult {
    let status = answer.status;
    if request.succeeded(status) {
        return CallResult::Done(answer.json());
    }
    let fault = refused(host, answer);
    match status {
        // Refused before it was looked at.
        429 if request.retryable.contains(&429) => CallResult::NotSent(fault),
        _ if request.retryable.contains(&status) => CallResult::Unknown(fault),
        // Nobody says what a server's own trouble left behind.
        500.. => CallResult::Unknown(fault),
        // The key is wrong, not the customer's order.
        401 => CallResult::OwnTrouble(fault),
        // Neither is a no: whether it took effect is found out, and not guessed. Of an undoing nobody can find it out: a human
        // decides, before it is sent again and again.
        200..=399 if direction == Direction::Compensate => CallResult::Declined(fault),
        200..=299 => CallResult::Unknown(Fault::new(
            &fault.code,
            format!("{host} answered {status}, which is not among the step's `success`"),
        )),
        300..=399 => CallResult::Unknown(Fault::new(
            &fault.code,
            format!("{host} answered {status}: redirects are not followed; correct the address"),
        )),
        _ => CallResult::Declined(fault),
    }
}

/// What an answer to an inquiry says.
pub(crate) fn of_check(check: &Check, host: &str, answer: &Answer) -> Inquiry {
    if check.found.contains(&answer.status) {
        Inquiry::Found(answer.json())
    } else if check.absent.contains(&answer.status) {
        Inquiry::NotFound
    } else {
        Inquiry::Unknown(refused(host, answer))
    }
}

/// A refusal in the other side's words, as far as they are where they usually are.
fn refused(host: &str, answer: &Answer) -> Fault {
    let status = answer.status;
    let body: Option<Value> = answer.body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
    let words = ["message", "detail", "title", "error", "code"];
    let said = words.iter().find_map(|key| body.as_ref()?.get(key)?.as_str());
    let said: String = said.unwrap_or_default().chars().take(SAID_CHARS_MAX).collect();
    let colon = if said.is_empty() { "" } else { ": " };
    Fault::new(format!("http_{status}"), format!("{host} answered {status}{colon}{said}"))
}
