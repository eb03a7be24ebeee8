//! The data that a saga has taken in: its input, and what history rows hold.

use std::collections::HashMap;
use std::sync::Arc;

use saga_protocol::SagaId;
use serde_json::Value;

use crate::transition::Transition;

/// A saga's input and the payloads of its history by revision: an answer's output, an edited or
/// computed input. The state points into it.
#[derive(Clone, Debug)]
pub struct Payloads {
    /// The saga's id, which expressions read as `saga.id`.
    pub saga: SagaId,
    /// The start's input.
    pub input: Arc<Value>,
    /// What later history rows hold, by their revision.
    pub by_revision: HashMap<u32, Arc<Value>>,
    /// Computed and edited inputs, by the revision that decided them and [`crate::CellRef::input_key`].
    pub inputs: HashMap<(u32, String), Arc<Value>>,
}

impl Payloads {
    /// Payloads of a saga that just started.
    pub fn new(saga: SagaId, input: Arc<Value>) -> Self {
        Self { saga, input, by_revision: HashMap::new(), inputs: HashMap::new() }
    }

    /// Takes in what a transition's history row holds.
    pub fn take_in(&mut self, transition: &Transition) {
        let revision = transition.state.revision;
        if let Some(payload) = &transition.payload {
            self.by_revision.insert(revision, Arc::clone(payload));
        }
        for (key, input) in &transition.inputs {
            self.inputs.insert((revision, key.clone()), Arc::clone(input));
        }
    }

    /// What the row of `revision` holds.
    pub fn at(&self, revision: u32) -> Option<&Arc<Value>> {
        self.by_revision.get(&revision)
    }
}
