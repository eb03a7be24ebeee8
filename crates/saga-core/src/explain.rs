//! Why a parked saga cannot go on with the data at hand: asked again of the same state and data, so that nothing of it
//! needs to be stored.
//!
//! Owns the words for it. It must not decide anything about the saga, and tells no values: they may be personal.

use std::sync::Arc;

use saga_protocol::SagaId;
use serde_json::Value;

use crate::command::{self, resolve};
use crate::definition::{Definition, Step};
use crate::machine::ITEMS_MAX;
use crate::payloads::Payloads;
use crate::state::{State, Status, Why};

/// Which expression has no value, or how an output does not fit; nothing where it is parked for another reason.
pub fn why_parked(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
) -> Option<String> {
    let Status::Parked(parked) = &state.status else { return None };
    match (parked.why, parked.cell) {
        (Why::OutputUnfit, Some(at)) => {
            let output = payloads.at(state.track(at)?.output?)?;
            definition.step(at.step)?.output_schema.as_ref()?.misfit(output)
        }
        (Why::BadExpression, Some(at)) => {
            no_value(definition, saga, state, payloads, definition.step(at.step)?)
        }
        (Why::BadExpression, None) => {
            let output = definition.output.as_ref()?;
            let error = resolve(output, definition, saga, state, payloads, None).err()?;
            Some(format!("output: {error}"))
        }
        _ => None,
    }
}

/// The first expression of a step that has no value, in the order in which a step asks them.
fn no_value(
    definition: &Definition,
    saga: SagaId,
    state: &State,
    payloads: &Payloads,
    step: &Step,
) -> Option<String> {
    let said = |what: &str, why: String| Some(format!("{what}: {why}"));
    let scoped = |f: &dyn Fn(&crate::definition::Scope<'_>) -> Option<String>| {
        command::with_scope(definition, saga, state, payloads, None, |scope| f(scope))
    };
    if let Some(when) = &step.when
        && let Some(why) = scoped(&|scope| when.truth(scope).err().map(|error| error.to_string()))
    {
        return said("when", why);
    }
    let input = |item: Option<(u32, Arc<Value>)>| {
        let error = resolve(&step.input, definition, saga, state, payloads, item).err()?;
        said("input", error.to_string())
    };
    let Some(foreach) = &step.foreach else { return input(None) };
    let list = command::with_scope(definition, saga, state, payloads, None, |scope| foreach.resolve(scope));
    match list.map(Arc::unwrap_or_clone) {
        Err(error) => said("foreach", error.to_string()),
        Ok(Value::Array(items)) if items.len() <= ITEMS_MAX => {
            (0..).zip(items).find_map(|(index, item)| input(Some((index, Arc::new(item)))))
        }
        Ok(Value::Array(items)) => said("foreach", format!("{} elements, at most {ITEMS_MAX}", items.len())),
        Ok(_) => said("foreach", format!("`{foreach}` is not a list")),
    }
}
