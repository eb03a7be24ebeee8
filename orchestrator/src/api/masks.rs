//! Lists as they are shown to who need not know what is personal in them: of each saga its own.
//!
//! Messages and notes may quote anything. Only what a saga's input calls personal is looked for in them.

use std::collections::HashMap;

use saga_protocol::SagaId;
use uuid::Uuid;

use super::personal::Personal;
use super::problem::Problem;
use super::queues::{FailureGroup, WaitingView};
use super::view::SagaSummary;
use crate::auth::Caller;
use crate::engine::Engine;

/// A line of a list that may quote a saga's input.
pub trait Quoting {
    /// The saga.
    fn saga(&self) -> SagaId;
    /// What was said about it.
    fn words(&mut self) -> Vec<&mut String>;
}

impl Quoting for SagaSummary {
    fn saga(&self) -> SagaId {
        self.saga
    }

    fn words(&mut self) -> Vec<&mut String> {
        self.error.as_mut().map(|it| &mut it.message).into_iter().chain(self.note.as_mut()).collect()
    }
}

impl Quoting for WaitingView {
    fn saga(&self) -> SagaId {
        self.saga
    }

    fn words(&mut self) -> Vec<&mut String> {
        std::iter::once(&mut self.message).chain(self.note.as_mut()).collect()
    }
}

impl Quoting for FailureGroup {
    fn saga(&self) -> SagaId {
        SagaId(self.sample)
    }

    fn words(&mut self) -> Vec<&mut String> {
        vec![&mut self.message]
    }
}

/// Hides what is personal in these lines, where this caller is not to see it.
///
/// # Errors
/// When the database fails.
pub async fn mask<L: Quoting>(engine: &Engine, caller: &Caller, lines: &mut [L]) -> Result<(), Problem> {
    if !caller.masked() {
        return Ok(());
    }
    let quoting = lines.iter_mut().filter_map(|it| (!it.words().is_empty()).then(|| it.saga().0));
    let mut ids: Vec<Uuid> = quoting.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut personal = HashMap::new();
    for (id, definition, input) in engine.store.inputs_of(&ids).await? {
        let published = engine.definitions.get(&engine.store, definition).await?;
        let published = published.ok_or_else(Problem::unavailable)?;
        personal.insert(SagaId(id), Personal::of(&published.definition.input_schema, &input));
    }
    for line in lines {
        if let Some(its) = personal.get(&line.saga()) {
            line.words().into_iter().for_each(|words| its.hide_in_words(words));
        }
    }
    Ok(())
}
