//! Replay: an ended saga that did not complete is repeated as a new one, linked to it.
//!
//! Once: who wants it again repeats the one that repeats it, should that not have completed either. So nothing that was
//! brought home is done a second time, whoever asks and however often.
//!
//! Owns what may be repeated, what will run again, and which inputs must be fresh. The start itself is
//! [`crate::start`]'s.

use std::sync::Arc;

use saga_core::definition::{Approval, Turn, fresh_pointers};
use saga_protocol::SagaId;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::body;
use crate::api::retention::ERASED;
use crate::auth::ANONYMOUS;
use crate::engine::Engine;
use crate::start::{StartError, StartRequest, Started};
use crate::store::StoreError;
use crate::store::audit::{Actor, Deed};
use crate::store::definitions::Published;

/// A step in the plan of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// The step.
    pub step: String,
    /// `runs_again`, `already_undone` (runs again, and was undone before), `new` (the old version had no such step) or `gone` (the new one has none).
    pub plan: &'static str,
    /// Where it stood in the old saga.
    pub was: Option<String>,
}

/// What a replay would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The version that it would take.
    pub published: Arc<Published>,
    /// Who started the old saga.
    pub principal: String,
    /// The old saga's input.
    pub input: Value,
    /// Where inputs must be fresh, as JSON pointers.
    pub fresh: Vec<String>,
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// Why it cannot be repeated.
    pub refused: Option<String>,
    /// The saga that repeats it already.
    pub replayed_by: Option<SagaId>,
    /// What an operator should know before.
    pub warnings: Vec<String>,
    /// The old saga's amount.
    amount: Option<i64>,
    /// What both versions want of a second person.
    approvals: Vec<Approval>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum NoPlan {
    /// There is no such saga.
    NoSaga,
    /// There is no such version.
    NoVersion,
    /// It cannot be read.
    Unreadable(String),
    /// The database fails.
    Store(StoreError),
}

impl From<StoreError> for NoPlan {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Plans a replay, on the same version unless another is named.
///
/// # Errors
/// See [`NoPlan`].
pub async fn plan(engine: &Engine, saga: SagaId, version: Option<&str>) -> Result<Plan, NoPlan> {
    let store = &engine.store;
    let whole = store.whole(saga).await?.ok_or(NoPlan::NoSaga)?;
    let loaded = store.load_one(saga).await?.ok_or(NoPlan::NoSaga)?;
    let state = loaded.state.map_err(NoPlan::Unreadable)?;
    let old = engine.definitions.get(store, whole.summary.definition_id).await?;
    let old = old.ok_or_else(|| NoPlan::Unreadable("its definition is missing".to_owned()))?;
    let published = match version {
        None => Arc::clone(&old),
        Some(version) => {
            let id = store.version_id(&whole.summary.definition, version).await?.ok_or(NoPlan::NoVersion)?;
            engine.definitions.get(store, id).await?.ok_or(NoPlan::NoVersion)?
        }
    };
    let beside = store.beside(saga).await?;
    let replayed_by = beside.replays.last().copied();
    let refused = match (whole.summary.status, replayed_by) {
        _ if whole.summary.parent.is_some() => {
            Some("it is a part of another saga: replay the one at the top".to_owned())
        }
        (_, Some(by)) => {
            Some(format!("saga {by} replays it already: replay that one, if it did not complete"))
        }
        ("completed", None) => Some("it completed: there is nothing to repeat".to_owned()),
        ("compensated" | "abandoned", None) => None,
        _ => Some("it has not ended: retry it instead, or have it undone first".to_owned()),
    };
    let mut steps = Vec::new();
    for (ix, step) in published.definition.steps().filter(|(_, step)| step.turn == Turn::Graph) {
        let _ = ix;
        let before = old.definition.find(step.name.as_str());
        let was = before
            .and_then(|ix| state.cells.iter().find(|cell| cell.step == ix))
            .map(crate::api::words::cell);
        let plan = match (before, was) {
            (None, _) => "new",
            (Some(_), Some("compensated")) => "already_undone",
            _ => "runs_again",
        };
        steps.push(PlannedStep { step: step.name.as_str().to_owned(), plan, was: was.map(str::to_owned) });
    }
    for (ix, step) in old.definition.steps().filter(|(_, step)| step.turn == Turn::Graph) {
        if published.definition.find(step.name.as_str()).is_none() {
            let was = state.cells.iter().find(|cell| cell.step == ix).map(crate::api::words::cell);
            let step = step.name.as_str().to_owned();
            steps.push(PlannedStep { step, plan: "gone", was: was.map(str::to_owned) });
        }
    }
    let mut warnings = Vec::new();
    let stays = crate::api::words::uncompensated(&old.definition, &state);
    if !stays.is_empty() {
        warnings.push(format!(
            "the old saga left this undone, and it would be done a second time: {}",
            stays.join(", ")
        ));
    }
    if !store.anomalies(saga).await?.iter().all(|it| it.resolved_at.is_some()) {
        warnings.push("the old saga has open anomalies: effects that nobody undid".to_owned());
    }
    let approvals = [&old, &published].into_iter().filter_map(|it| it.definition.about.approval.clone());
    Ok(Plan {
        amount: whole.summary.amount,
        approvals: approvals.collect(),
        fresh: fresh_pointers(&published.definition.input_schema),
        published,
        principal: whole.summary.principal.unwrap_or_else(|| ANONYMOUS.to_owned()),
        input: Value::clone(&loaded.payloads.input),
        steps,
        refused,
        replayed_by,
        warnings,
    })
}

/// What a replay takes in.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// A whole new input.
    pub input: Option<Value>,
    /// What the input is changed by, as a JSON merge patch (RFC 7396).
    pub merge: Option<Value>,
    /// Fresh values, by JSON pointer.
    pub fresh: Vec<(String, Value)>,
}

/// Applies a JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(into) = target else { return };
    for (name, value) in members {
        if value.is_null() {
            into.remove(name);
        } else {
            merge(into.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Where an input has been erased.
fn erased(input: &Value, pointer: &mut String, faults: &mut Faults) {
    let length = pointer.len();
    let mut below = |name: &str, value: &Value| {
        pointer.push('/');
        pointer.push_str(name);
        erased(value, pointer, faults);
        pointer.truncate(length);
    };
    match input {
        Value::Object(members) => {
            members.iter().for_each(|(name, it)| below(&name.replace('~', "~0").replace('/', "~1"), it));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(at, it)| below(&at.to_string(), it)),
        Value::String(text) if text == ERASED => {
            faults.push((pointer.clone(), "was erased: give a whole new input".to_owned()));
        }
        _ => {}
    }
}

/// What is wrong with a replay's inputs: pointer and reason.
pub type Faults = Vec<(String, String)>;

impl Plan {
    /// The new saga's input.
    ///
    /// # Errors
    /// What is missing or does not fit.
    pub fn input_with(&self, inputs: &Inputs) -> Result<Value, Faults> {
        let mut input = inputs.input.clone().unwrap_or_else(|| self.input.clone());
        let mut faults = Faults::new();
        if let Some(patch) = &inputs.merge {
            merge(&mut input, patch);
        }
        for (pointer, value) in &inputs.fresh {
            // Other places are edited where a second person sees it.
            if !self.fresh.contains(pointer) {
                faults.push((pointer.clone(), "is not marked `fresh`: edit the input instead".to_owned()));
                continue;
            }
            match input.pointer_mut(pointer) {
                Some(place) => *place = value.clone(),
                None => faults.push((pointer.clone(), "the input has no such place".to_owned())),
            }
        }
        erased(&input, &mut String::new(), &mut faults);
        for pointer in &self.fresh {
            let old = self.input.pointer(pointer);
            if old.is_some() && input.pointer(pointer) == old {
                faults.push((
                    pointer.clone(),
                    "must be fresh: give another value than the old saga's".to_owned(),
                ));
            }
        }
        for fault in body::faults(&self.published.validator, &input) {
            faults.push((fault.pointer.unwrap_or_default(), fault.detail));
        }
        if faults.is_empty() { Ok(input) } else { Err(faults) }
    }

    /// Keeps that it was started, unless that is kept: the start is a transaction of its own, and a process may die
    /// after it.
    ///
    /// # Errors
    /// When the database fails; repeating the request with the same key keeps it.
    pub async fn tell(
        &self,
        engine: &Engine,
        actor: &Actor,
        old: SagaId,
        started: SagaId,
        why: &str,
        more: Value,
    ) -> Result<(), StoreError> {
        let mut after =
            serde_json::json!({ "saga": started, "version": self.published.definition.version.0 });
        if let (Value::Object(after), Value::Object(more)) = (&mut after, more) {
            after.extend(more);
        }
        let deed = Deed { why: Some(why), after: Some(after), ..Deed::new("saga.replay", old.to_string()) };
        engine.store.keep_deed_once(actor, deed, &started.to_string()).await
    }

    /// Whether a second person is needed. An input that is `edited` may be about any amount.
    pub fn needs_second(&self, edited: bool) -> bool {
        let amount = self.amount.filter(|_| !edited);
        self.approvals.iter().any(|it| it.needed("replay", amount))
    }

    /// The key that a replay is started by, whoever asks for it and how: of all who ask, one starts it.
    fn key(old: SagaId) -> String {
        // Nobody can send such a character in a key of their own.
        format!("\u{1}replay:{old}:first")
    }

    /// The saga that an earlier request for the same replay has started.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn started(&self, engine: &Engine, old: SagaId) -> Result<Option<SagaId>, StoreError> {
        engine.store.saga_of_key(&format!("request:{}", self.principal), &Self::key(old)).await
    }

    /// Starts the replay. A repetition is the same saga.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, engine: &Engine, old: SagaId, input: Value) -> Result<Started, StartError> {
        let mut hash = Sha256::new();
        hash.update(body::hash(&self.published.definition.name, &input));
        // As a request it is its own: the shop's repeated one still means the saga that it started.
        hash.update(old.0.as_bytes());
        engine
            .starter
            .start(StartRequest {
                definition: Arc::clone(&self.published),
                input: Arc::new(input),
                body_hash: hash.finalize().into(),
                principal: self.principal.clone(),
                idempotency_key: Some(Self::key(old)),
                replay_of: Some(old),
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_replaces_adds_and_removes() {
        // The example of RFC 7396, section 3.
        let mut input = json!({ "title": "Goodbye!", "author": { "givenName": "John", "familyName": "Doe" },
            "tags": ["example", "sample"], "content": "This will be unchanged" });
        merge(
            &mut input,
            &json!({ "title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": { "familyName": null },
                "tags": ["example"] }),
        );
        assert_eq!(
            input,
            json!({ "title": "Hello!", "author": { "givenName": "John" }, "tags": ["example"],
                "content": "This will be unchanged", "phoneNumber": "+01-123-456-7890" })
        );
        let mut text = json!("text");
        merge(&mut text, &json!({ "a": { "b": null } }));
        assert_eq!(text, json!({ "a": {} }));
    }
}
