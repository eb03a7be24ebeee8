//! Lists as they are shown to who need not know what is personal in them: of each saga its own.
//!
//! Messages and notes may quote anything. Only what a saga's input calls personal is looked for in them.

use std::collections::HashMap;

use saga_protocol::SagaId;
use uuid::Uuid;

use super::approvals::ApprovalView;
use super::audit::AuditView;
use super::letters::AnomalyItem;
use super::personal::{MASK, Personal};
use super::queues::{FailureGroup, WaitingView};
use super::view::SagaSummary;
use crate::auth::Caller;
use crate::engine::Engine;
use crate::store::StoreError;

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

impl Quoting for AnomalyItem {
    fn saga(&self) -> SagaId {
        self.saga
    }

    fn words(&mut self) -> Vec<&mut String> {
        self.resolution.as_mut().into_iter().collect()
    }
}

impl Quoting for ApprovalView {
    fn saga(&self) -> SagaId {
        self.saga
    }

    fn words(&mut self) -> Vec<&mut String> {
        std::iter::once(&mut self.why).chain(self.decision_why.as_mut()).collect()
    }
}

impl Quoting for AuditView {
    fn saga(&self) -> SagaId {
        self.target.parse().unwrap_or(SagaId(Uuid::nil()))
    }

    fn words(&mut self) -> Vec<&mut String> {
        let of_a_saga = self.target.parse::<SagaId>().is_ok();
        self.why.as_mut().filter(|_| of_a_saga).into_iter().collect()
    }
}

/// Hides what is personal in these lines, where this caller is not to see it.
///
/// # Errors
/// When the database fails.
pub async fn mask<L: Quoting>(engine: &Engine, caller: &Caller, lines: &mut [L]) -> Result<(), StoreError> {
    if !caller.masked() {
        return Ok(());
    }
    let quoting = lines.iter_mut().filter_map(|it| (!it.words().is_empty()).then(|| it.saga().0));
    let mut ids: Vec<Uuid> = quoting.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut personal = HashMap::new();
    for (id, definition, input) in engine.store.inputs_of(&ids).await? {
        if let Some(published) = engine.definitions.get(&engine.store, definition).await? {
            personal.insert(SagaId(id), Personal::of(&published.definition.input_schema, &input));
        }
    }
    for line in lines {
        let its = personal.get(&line.saga());
        for words in line.words() {
            match its {
                Some(its) => its.hide_in_words(words),
                // What was personal of it cannot be looked up any more.
                None => MASK.clone_into(words),
            }
        }
    }
    Ok(())
}
