//! Builds a command's bytes from definition, state and payloads: live sending, the sweep and recovery all
//! go through here, so that every attempt of a round carries the same input. A first sending carries the very bytes of
//! which the state keeps a hash; later ones are compared with it.
//!
//! Owns how an input is resolved. It must not decide anything about the saga.

use std::sync::Arc;

use saga_protocol::{Command, Direction, SagaId, Undoes};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::definition::{Definition, EvalError, Scope, StepIx, Template, Work};
use crate::payloads::Payloads;
use crate::state::{Cell, CellRef, Run, State, Track};

/// For how long an execute may take effect, in ms from the round's first sending.
pub const EXPIRY_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The same for a compensate. Workers take it for as long as their inbox remembers: money that is owed is owed
/// also when its operator was late. This is how long the SDK's inbox does.
pub const UNDO_EXPIRY_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Why a command cannot be rebuilt. Every kind is our own bug or lost data: it parks the saga.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The state names a step or track that is not there.
    #[error("the saga has no such track")]
    NoTrack,
    /// The step is not a worker's.
    #[error("step `{0}` sends no command in this direction")]
    NoCommand(String),
    /// The track was never sent.
    #[error("the track was never sent")]
    NeverSent,
    /// A history row that the state points to is missing.
    #[error("revision {0} does not hold what the state says")]
    NoPayload(u32),
    /// The input has no value any more.
    #[error("the input cannot be resolved again: {0}")]
    Input(#[from] EvalError),
    /// The input resolved to something else than what was first sent.
    #[error("the input is not what was first sent")]
    OtherInput,
}

/// Runs `f` with the scope of a saga: what every expression of it sees. `item` is the element of a `foreach`.
pub fn with_scope<R>(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    item: Option<(u32, Arc<Value>)>,
    f: impl FnOnce(&Scope<'_>) -> R,
) -> R {
    let steps = |name: &str| output_of(definition, state, payloads, definition.find(name)?);
    f(&Scope { input: &payloads.input, steps: &steps, item, saga })
}

/// A step's output: of a `foreach`, the list of its items' outputs. A step that succeeded without one has `null`;
/// one that did not succeed, was skipped without one, or whose
/// output cannot be used, has none.
pub fn output_of(
    definition: &Definition,
    state: &State,
    payloads: &Payloads,
    step: StepIx,
) -> Option<Arc<Value>> {
    if definition.step(step)?.foreach.is_none() {
        return track_output(&state.cell(step, None)?.execute, payloads);
    }
    let mut cells = state.cells.iter().filter(|cell| cell.step == step).peekable();
    cells.peek()?;
    let mut outputs = Vec::new();
    for Cell { item, execute, .. } in cells {
        match (item, execute.run, execute.output) {
            // The cell without an item stands for the whole step: an empty list, or what an operator decided.
            (None, Run::Succeeded, None) => {}
            (None, ..) => return track_output(execute, payloads),
            (Some(_), ..) => outputs.push(Arc::unwrap_or_clone(track_output(execute, payloads)?)),
        }
    }
    Some(Arc::new(Value::Array(outputs)))
}

fn track_output(track: &Track, payloads: &Payloads) -> Option<Arc<Value>> {
    match (track.run, track.output) {
        _ if track.unusable => None,
        (Run::Succeeded | Run::Skipped, Some(revision)) => payloads.at(revision).cloned(),
        (Run::Succeeded, None) => Some(Arc::new(Value::Null)),
        _ => None,
    }
}

/// Resolves a template in the scope of a saga.
///
/// # Errors
/// At the first expression without a value.
pub fn resolve(
    template: &Template,
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    item: Option<(u32, Arc<Value>)>,
) -> Result<Arc<Value>, EvalError> {
    with_scope(definition, saga, state, payloads, item, |scope| template.resolve(scope))
}

/// The input of a track's round: what its history row holds, else the step's template resolved again. A compensate
/// has its execute's.
///
/// # Errors
/// When it is held nowhere and cannot be resolved.
pub fn input_of(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    at: CellRef,
) -> Result<Arc<Value>, BuildError> {
    if let Some(kept) = kept_input(state, payloads, at)? {
        return Ok(Arc::clone(kept));
    }
    let step = definition.step(at.step).ok_or(BuildError::NoTrack)?;
    Ok(resolve(&step.input, definition, saga, state, payloads, None)?)
}

/// The same, spelled.
fn spelled_input(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    at: CellRef,
) -> Result<Spelled, BuildError> {
    if let Some(kept) = kept_input(state, payloads, at)? {
        return Ok(Spelled::of(kept));
    }
    let step = definition.step(at.step).ok_or(BuildError::NoTrack)?;
    let spelled = with_scope(definition, saga, state, payloads, None, |scope| step.input.spell(scope));
    Ok(Spelled(spelled?))
}

/// The input of a track's round that stands in a history row, if it does.
fn kept_input<'p>(
    state: &State,
    payloads: &'p Payloads,
    at: CellRef,
) -> Result<Option<&'p Arc<Value>>, BuildError> {
    let cell = state.cell(at.step, at.item).ok_or(BuildError::NoTrack)?;
    // An operator may have edited the input of the compensation alone.
    let edited =
        cell.undo.as_ref().filter(|undo| at.direction == Direction::Compensate && undo.input.is_some());
    let Some(revision) = edited.unwrap_or(&cell.execute).input else { return Ok(None) };
    let kept = payloads.inputs.get(&(revision, at.input_key()));
    kept.map(Some).ok_or(BuildError::NoPayload(revision))
}

/// A round's input, as its commands carry it.
#[derive(Clone, Debug)]
pub struct Spelled(pub(crate) Box<RawValue>);

impl Spelled {
    /// Spells it.
    pub fn of(value: &Value) -> Self {
        Self(raw(value))
    }

    /// A hash of its bytes (FNV-1a, 32 bits): a check, not a secret.
    pub fn hash(&self) -> u32 {
        let bytes = self.0.get().bytes();
        bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

impl PartialEq for Spelled {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// The [`Spelled::hash`] of a value.
pub fn input_hash(input: &Value) -> u32 {
    Spelled::of(input).hash()
}

/// Rebuilds the command of a track's newest attempt.
///
/// # Errors
/// When the state names what is not there, or the input is not what was first sent.
pub fn build(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    at: CellRef,
) -> Result<Command, BuildError> {
    assemble(definition, saga, state, payloads, at, |track| {
        let input = spelled_input(definition, saga, state, payloads, at)?;
        match track.input_hash {
            Some(hash) if hash != input.hash() => Err(BuildError::OtherInput),
            _ => Ok(input),
        }
    })
}

/// The same, with the input that the transition has just resolved.
///
/// # Errors
/// When the state names what is not there.
pub fn build_with(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    at: CellRef,
    input: Spelled,
) -> Result<Command, BuildError> {
    assemble(definition, saga, state, payloads, at, |_| Ok(input))
}

fn assemble(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    at: CellRef,
    input: impl FnOnce(&Track) -> Result<Spelled, BuildError>,
) -> Result<Command, BuildError> {
    let cell = state.cell(at.step, at.item).ok_or(BuildError::NoTrack)?;
    let track = state.track(at).ok_or(BuildError::NoTrack)?;
    let step = definition.step(at.step).ok_or(BuildError::NoTrack)?;
    let action = match (&step.work, at.direction, &step.compensation) {
        (Work::Action { action, .. }, Direction::Execute, _) => action,
        (Work::Action { .. }, Direction::Compensate, Some(compensation)) => &compensation.action,
        _ => return Err(BuildError::NoCommand(step.name.to_string())),
    };
    let (Some(first_sent_at), Some(sent_at)) = (track.first_sent_at, track.sent_at) else {
        return Err(BuildError::NeverSent);
    };
    let Spelled(input) = input(track)?;
    let undoes = (at.direction == Direction::Compensate)
        .then(|| Undoes { round: cell.execute.round, succeeded: cell.execute.run == Run::Succeeded });
    let output = undoes.and(cell.execute.output).map(|revision| {
        payloads.at(revision).map(|output| raw(output)).ok_or(BuildError::NoPayload(revision))
    });
    let expiry_ms = match at.direction {
        Direction::Execute => EXPIRY_MS,
        Direction::Compensate => UNDO_EXPIRY_MS,
    };
    Ok(Command {
        saga,
        definition: definition.name.clone(),
        step: step.name.clone(),
        item: at.item,
        direction: at.direction,
        round: track.round,
        attempt: track.attempt,
        action: action.clone(),
        undoes,
        first_sent_at_ms: first_sent_at.0,
        sent_at_ms: sent_at.0,
        expires_at_ms: (first_sent_at + expiry_ms).0,
        input,
        output: output.transpose()?,
    })
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a JSON value has string keys")
}
