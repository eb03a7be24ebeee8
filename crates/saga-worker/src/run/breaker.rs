//! The circuit breaker of an external action, one for each direction.
//!
//! Closed: calls go. After so many troubled calls in a row, open: no call goes. After a while, half
//! open: one probe goes, and decides. Compensations have a breaker of their own, so that a refund is
//! probed even while new payments are held back.

use std::sync::Arc;

use parking_lot::Mutex;
use saga_protocol::{BreakerInfo, BreakerState, Direction};

use super::meters;
use crate::external::BreakerPolicy;

/// A breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    worker: String,
    action: String,
    direction: Direction,
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed { troubles: u32 },
    Open { until_ms: i64, open_ms: u32 },
    Probing { open_ms: u32 },
}

/// The right to make one call. Dropped without a verdict, it counts as never made.
#[derive(Debug)]
pub(crate) struct Admission {
    breaker: Arc<Breaker>,
    probe: bool,
    judged: bool,
}

impl Breaker {
    pub(crate) fn new(worker: &str, action: &str, direction: Direction, policy: BreakerPolicy) -> Self {
        meters::breaker_state(worker, action, direction, 0);
        let state = Mutex::new(State::Closed { troubles: 0 });
        Self { worker: worker.to_owned(), action: action.to_owned(), direction, policy, state }
    }

    /// Asks for the right to call.
    ///
    /// # Errors
    /// When the breaker is open: how long to wait, in ms.
    pub(crate) fn admit(self: &Arc<Self>, now_ms: i64) -> Result<Admission, u32> {
        let mut state = self.state.lock();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until_ms, open_ms } if until_ms <= now_ms => {
                *state = State::Probing { open_ms };
                self.tell(2);
                true
            }
            State::Open { until_ms, .. } => return Err(u32::try_from(until_ms - now_ms).unwrap_or(u32::MAX)),
            State::Probing { open_ms } => return Err(open_ms.min(1_000)),
        };
        Ok(Admission { breaker: self.clone(), probe, judged: false })
    }

    /// Whether the other is of the same action and direction.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.action == other.action && self.direction == other.direction
    }

    /// How it stands, for people.
    pub(crate) fn info(&self) -> BreakerInfo {
        let (state, until_ms) = match *self.state.lock() {
            State::Closed { .. } => (BreakerState::Closed, None),
            // A probe that was dropped frees its place at once.
            State::Open { until_ms, .. } => (BreakerState::Open, (until_ms > 0).then_some(until_ms)),
            State::Probing { .. } => (BreakerState::HalfOpen, None),
        };
        BreakerInfo { action: self.action.clone(), direction: self.direction, state, until_ms }
    }

    fn tell(&self, state: u8) {
        meters::breaker_state(&self.worker, &self.action, self.direction, state);
    }
}

impl Admission {
    /// The other side answered, whatever it said.
    pub(crate) fn good(mut self) {
        self.judged = true;
        let mut state = self.breaker.state.lock();
        // A late answer to a call from before the breaker opened proves nothing about now.
        if self.probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { troubles: 0 };
            self.breaker.tell(0);
        }
    }

    /// It did not, or our own key or settings are wrong.
    pub(crate) fn trouble(mut self, now_ms: i64) {
        self.judged = true;
        let policy = &self.breaker.policy;
        let mut state = self.breaker.state.lock();
        let open_ms = match *state {
            State::Closed { troubles } if troubles + 1 < policy.failures => {
                *state = State::Closed { troubles: troubles + 1 };
                return;
            }
            State::Closed { .. } => policy.open_ms,
            State::Probing { open_ms } if self.probe => open_ms.saturating_mul(2).min(policy.open_max_ms),
            State::Probing { .. } | State::Open { .. } => return,
        };
        *state = State::Open { until_ms: now_ms + i64::from(open_ms), open_ms };
        self.breaker.tell(1);
        tracing::warn!(
            worker = self.breaker.worker,
            action = self.breaker.action,
            open_ms,
            "the circuit breaker is open: calls fail in a row"
        );
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.probe && !self.judged {
            let mut state = self.breaker.state.lock();
            if let State::Probing { open_ms } = *state {
                *state = State::Open { until_ms: i64::MIN, open_ms };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn breaker() -> Arc<Breaker> {
        let policy = BreakerPolicy { failures: 2, open_ms: 1_000, open_max_ms: 3_000 };
        Arc::new(Breaker::new("w", "a", Direction::Execute, policy))
    }

    fn trouble(breaker: &Arc<Breaker>, now_ms: i64) {
        breaker.admit(now_ms).expect("admitted").trouble(now_ms);
    }

    #[test]
    fn opens_after_troubles_in_a_row_only() {
        let breaker = breaker();
        trouble(&breaker, 0);
        breaker.admit(0).expect("closed").good();
        trouble(&breaker, 0);
        assert!(breaker.admit(0).is_ok(), "the good one between started the count anew");
        trouble(&breaker, 0);
        assert_eq!(breaker.admit(400).unwrap_err(), 600);
    }

    #[test]
    fn one_probe_at_a_time_decides_and_a_failed_one_doubles_the_wait() {
        let breaker = breaker();
        trouble(&breaker, 0);
        trouble(&breaker, 0);
        let probe = breaker.admit(1_000).expect("half open");
        assert!(breaker.admit(1_000).is_err(), "one probe at a time");
        assert_eq!(breaker.info().state, BreakerState::HalfOpen);
        probe.trouble(1_000);
        assert_eq!((breaker.info().state, breaker.info().until_ms), (BreakerState::Open, Some(3_000)));
        assert_eq!(breaker.admit(1_000).unwrap_err(), 2_000);
        breaker.admit(3_000).expect("half open").trouble(3_000);
        assert_eq!(breaker.admit(3_000).unwrap_err(), 3_000, "doubled up to the bound");
        breaker.admit(6_000).expect("half open").good();
        assert_eq!((breaker.info().state, breaker.info().until_ms), (BreakerState::Closed, None));
        assert!(breaker.admit(6_000).is_ok());
    }

    #[test]
    fn a_probe_that_was_never_made_frees_its_place() {
        let breaker = breaker();
        trouble(&breaker, 0);
        trouble(&breaker, 0);
        drop(breaker.admit(1_000).expect("half open"));
        assert!(breaker.admit(1_000).is_ok());
    }
}
