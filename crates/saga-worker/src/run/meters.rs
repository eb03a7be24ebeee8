//! The worker's metrics.

use metrics::{Counter, Histogram, counter, gauge, histogram};
use saga_protocol::{Direction, Outcome};

use crate::worker::Shared;

/// The meters of one direction; handles are made once, because a lookup a command would cost.
pub(crate) struct Meters {
    outcomes: Vec<[Counter; 4]>,
    stored: Vec<Counter>,
    handler: Vec<Histogram>,
    pub(crate) batch: Histogram,
    pub(crate) dead: Counter,
    pub(crate) retried: Counter,
}

impl Meters {
    pub(crate) fn new(shared: &Shared, direction: Direction) -> Self {
        let worker = shared.name.clone();
        let side = side(direction);
        let name = |index: usize| shared.action_name(index, direction).to_owned();
        let each = || 0..shared.actions.len();
        let outcome = |index: usize, outcome: &'static str| {
            counter!("amends_worker_commands_total", "worker" => worker.clone(), "action" => name(index),
                "direction" => side, "outcome" => outcome)
        };
        Self {
            outcomes: each()
                .map(|index| {
                    ["succeeded", "rejected", "retryable", "undecidable"].map(|it| outcome(index, it))
                })
                .collect(),
            stored: each()
                .map(|index| {
                    counter!("amends_worker_inbox_hits_total", "worker" => worker.clone(),
                        "action" => name(index), "direction" => side)
                })
                .collect(),
            handler: each()
                .map(|index| {
                    histogram!("amends_worker_handler_seconds", "worker" => worker.clone(),
                        "action" => name(index), "direction" => side)
                })
                .collect(),
            batch: histogram!("amends_worker_batch_commands", "worker" => worker.clone(), "direction" => side),
            dead: counter!("amends_worker_dead_letters_total", "worker" => worker.clone(), "direction" => side),
            retried: counter!("amends_worker_batch_retries_total", "worker" => worker.clone(),
                "direction" => side),
        }
    }

    pub(crate) fn answered(&self, action: usize, outcome: Outcome) {
        let index = match outcome {
            Outcome::Succeeded => 0,
            Outcome::Rejected => 1,
            Outcome::Retryable => 2,
            Outcome::Undecidable => 3,
        };
        if let Some(outcomes) = self.outcomes.get(action) {
            outcomes[index].increment(1);
        }
    }

    /// A command met its stored reply.
    pub(crate) fn stored(&self, action: usize) {
        self.stored[action].increment(1);
    }

    pub(crate) fn handled(&self, action: usize, seconds: f64) {
        self.handler[action].record(seconds);
    }
}

/// Tells a breaker's state: 0 closed, 1 open, 2 half open.
pub(crate) fn breaker_state(worker: &str, action: &str, direction: Direction, state: u8) {
    gauge!("amends_worker_breaker_state", "worker" => worker.to_owned(), "action" => action.to_owned(),
        "direction" => side(direction))
    .set(f64::from(state));
}

/// The direction as a label.
pub(crate) const fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Execute => "execute",
        Direction::Compensate => "compensate",
    }
}
