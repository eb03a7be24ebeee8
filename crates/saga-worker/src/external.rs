//! External handlers: calls to systems that have no part in our transaction.
//!
//! Owns the trait that a worker's author implements, and the policy. When a call may begin, what an
//! unanswered one means and what is recorded is decided by the SDK, not by handlers.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use saga_protocol::Fault;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use crate::answer::Answer;
use crate::clock::Clock;
use crate::command::Command;
use crate::handler::HandlerError;

/// Work that is done by somebody else's system, in both directions:
/// [`Call::command`]'s `direction` says which.
#[async_trait]
pub trait External: Send + Sync {
    /// Makes the call. An intent is on record. Immediately before the request is sent,
    /// [`Call::may_send`] must be asked, and when it says no, `NotSent` returned.
    async fn call(&self, call: &Call) -> CallResult;

    /// Asks whether the call's effect took place, without causing it. Also asked in the *execute*
    /// direction on behalf of a compensate.
    async fn inquire(&self, call: &Call) -> Inquiry;

    /// Runs in the transaction that records a final answer of the call, exactly once per effect:
    /// the place for the worker's own books.
    ///
    /// # Errors
    /// The answer is not recorded then, and the command answers `retryable`; asked again, the
    /// effect is found by inquiry.
    async fn settled(&self, tx: &mut PgConnection, call: &Call, answer: &Answer) -> Result<(), HandlerError> {
        let _ = (tx, call, answer);
        Ok(())
    }
}

#[async_trait]
impl<T: External + ?Sized> External for Arc<T> {
    async fn call(&self, call: &Call) -> CallResult {
        (**self).call(call).await
    }

    async fn inquire(&self, call: &Call) -> Inquiry {
        (**self).inquire(call).await
    }

    async fn settled(&self, tx: &mut PgConnection, call: &Call, answer: &Answer) -> Result<(), HandlerError> {
        (**self).settled(tx, call, answer).await
    }
}

/// One call to an outside system.
#[derive(Clone)]
pub struct Call {
    /// What is to be done or undone.
    pub command: Command,
    /// The effect key: the idempotency key to send. The same in every attempt of a round.
    pub effect_key: String,
    /// From when on the call must not be sent any more, in ms since 1970 UTC. In an inquiry it has
    /// no meaning.
    pub not_after_ms: i64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Call {
    /// A call outside of any worker, to try a handler by itself in a test.
    pub fn for_test(command: Command, not_after_ms: i64, clock: Arc<dyn Clock>) -> Self {
        let effect_key = command.effect_key().to_string();
        Self { command, effect_key, not_after_ms, clock }
    }

    /// Now by the worker's clock, in ms since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Whether the request may still be sent. To be asked immediately before sending, after
    /// everything that can take time (building the request, getting a connection).
    pub fn may_send(&self) -> bool {
        self.now_ms() < self.not_after_ms
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("effect_key", &self.effect_key)
            .field("not_after_ms", &self.not_after_ms)
            .finish_non_exhaustive()
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub enum CallResult {
    /// It took effect, with this output.
    Done(Option<Box<RawValue>>),
    /// The other side said no, for good: this call did not and will not take effect.
    Declined(Fault),
    /// Nobody knows: it may have taken effect, or still may.
    Unknown(Fault),
    /// Certainly nothing took effect (no connection, refused before it was read).
    NotSent(Fault),
    /// Certainly nothing took effect, and the trouble is the worker's own (a wrong key): uncharged.
    OwnTrouble(Fault),
}

/// What an inquiry found out.
#[derive(Clone, Debug)]
pub enum Inquiry {
    /// The effect took place, with this output.
    Found(Option<Box<RawValue>>),
    /// There is no trace of it. Proves nothing before the horizon.
    NotFound,
    /// It did not take place and cannot any more, whatever is still on its way: what it was to change is
    /// over (a payment that was aborted or has expired). That an earlier call was declined is not enough:
    /// then it is `NotFound`.
    Impossible(Fault),
    /// It could not be found out.
    Unknown(Fault),
}

/// How an external action is called.
#[derive(Clone, Debug)]
pub struct ExternalPolicy {
    /// How many calls of the action may be in the air at once, in each direction.
    pub concurrency: usize,
    /// How many calls and inquiries of the action may begin in a second, in each direction of each process; as many as
    /// there are when absent. What waits for its turn is unanswered, which the engine shows as queued.
    pub per_second: Option<NonZeroU32>,
    /// How long one call or inquiry may take; longer is `Unknown`.
    pub client_timeout_ms: u32,
    /// For how long after it was sent the provider may still act on a call (10 minutes for a Toss
    /// confirm).
    pub window_ms: u32,
    /// How long after its intent was recorded a call may begin. An inquiry that precedes a repeated
    /// call counts into it, so it should exceed `client_timeout_ms`.
    pub not_after_ms: u32,
    /// After how long a compensate that waits for a call's fate asks to be asked again.
    pub recheck_ms: u32,
    /// When the circuit breaker opens, and for how long.
    pub breaker: BreakerPolicy,
}

impl Default for ExternalPolicy {
    fn default() -> Self {
        Self {
            concurrency: 64,
            per_second: None,
            client_timeout_ms: 30_000,
            window_ms: 600_000,
            not_after_ms: 60_000,
            recheck_ms: 2_000,
            breaker: BreakerPolicy::default(),
        }
    }
}

/// When a circuit breaker opens, and for how long.
#[derive(Clone, Debug)]
pub struct BreakerPolicy {
    /// So many troubled calls in a row open it.
    pub failures: u32,
    /// How long it stays open before it lets one probe through; doubled at each failed probe.
    pub open_ms: u32,
    /// The longest that it stays open.
    pub open_max_ms: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 10, open_ms: 2_000, open_max_ms: 60_000 }
    }
}
