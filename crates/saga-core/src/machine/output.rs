//! What steps yield: whether it can be used.
//!
//! Owns the judgement of an output by its step's schema. What follows from it is decided by [`super::park`].

use std::sync::Arc;

use saga_protocol::Direction;
use serde_json::Value;

use super::draft::Draft;
use crate::definition::{Step, Turn};
use crate::state::{CellRef, Run};
use crate::transition::Illegal;

/// Ends a track as done. It has taken effect, whatever it yields: an output that does not fit is kept for the
/// compensation, and no expression ever sees it.
pub(super) fn succeed(
    draft: &mut Draft<'_>,
    at: CellRef,
    output: Option<&Arc<Value>>,
    oversized: bool,
) -> Result<(), Illegal> {
    let revision = output.map(|output| draft.keep_payload(output));
    succeed_with(draft, at, revision, oversized)
}

/// The same with an output that is held already, in the history row of `revision`.
pub(super) fn succeed_with(
    draft: &mut Draft<'_>,
    at: CellRef,
    revision: Option<u32>,
    oversized: bool,
) -> Result<(), Illegal> {
    let step = draft.step(at.step)?;
    let read = at.direction == Direction::Execute && step.turn == Turn::Graph;
    let misfit = if read && !oversized { misfit(draft, step, revision) } else { None };
    // Without an output there is `null`, which the state has to point to when it is what does not fit.
    let revision = match (&misfit, revision) {
        (Some(_), None) => Some(draft.keep_payload(&Arc::new(Value::Null))),
        _ => revision,
    };
    let unusable = read && (oversized || misfit.is_some());
    let track = draft.settle(at, Run::Succeeded)?;
    (track.output, track.unusable) = (revision, unusable);
    let so = if step.optional { "; it is optional, and counts as having none" } else { "" };
    if let Some(why) = misfit {
        draft.note(format!("the output of {} does not fit its output_schema: {why}{so}", step.name));
    } else if unusable && step.optional {
        draft.note(format!("the output of {} is too large{so}", step.name));
    }
    Ok(())
}

/// Whether what is held in the history row of `revision` is what a step's schema promises.
pub(super) fn fits(draft: &Draft<'_>, step: &Step, revision: Option<u32>) -> bool {
    misfit(draft, step, revision).is_none()
}

fn misfit(draft: &Draft<'_>, step: &Step, revision: Option<u32>) -> Option<String> {
    let schema = step.output_schema.as_ref()?;
    let held = revision.and_then(|revision| draft.payloads().at(revision));
    schema.misfit(held.map_or(&Value::Null, |output| output))
}

/// Why an operator cannot give this as a step's output. `missing`: the worker's own cannot be used; `item`: it is about
/// one item of a `foreach`.
pub(super) fn refused(
    step: &Step,
    missing: bool,
    item: bool,
    output: Option<&Arc<Value>>,
) -> Option<&'static str> {
    let schema = step.output_schema.as_ref()?;
    let fits = |output: &Value| schema.misfit(output).is_none();
    match output.map(|it| &**it) {
        None if missing => Some("its output does not fit its output_schema: give one that does"),
        None => None,
        Some(Value::Array(all)) if step.foreach.is_some() && !item => {
            (!all.iter().all(fits)).then_some(crate::event::UNFIT)
        }
        Some(output) => (!fits(output)).then_some(crate::event::UNFIT),
    }
}
