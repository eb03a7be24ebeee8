//! What only several steps together can have wrong: the pivot and its sides, what can be undone, and who may read
//! whose output.

use super::diagnostic::{Code, Diagnostics, Position};
use super::draft::{Draft, Undo};
use super::expression::Read;
use super::graph::Side;
use super::source::Node;
use super::template::Template;
use super::{Definition, StepIx, Turn, Work};

/// The pivot, if there is one.
pub(super) fn pivot(drafts: &[Draft<'_>], told: &mut Diagnostics) -> Option<StepIx> {
    let mut pivots = (0..).map(StepIx).zip(drafts).filter_map(|(ix, draft)| Some((ix, draft, draft.pivot?)));
    let (first, draft, at) = pivots.next()?;
    for (_, other, at) in pivots {
        let message = format!("`{}` is a second pivot beside `{}`", other.name, draft.name);
        told.add(
            at,
            Code::SecondPivot,
            message,
            "a saga has at most one: keep the step after which there is no way back",
        );
    }
    let unfit =
        [("when", draft.when.is_some()), ("foreach", draft.foreach.is_some()), ("optional", draft.optional)];
    for (what, _) in unfit.iter().filter(|(_, there)| *there) {
        let message = format!("the pivot `{}` has `{what}`", draft.name);
        told.add(
            at,
            Code::BadPivot,
            message,
            format!("remove `{what}`: the pivot always runs, once, and decides"),
        );
    }
    Some(first)
}

/// What the steps have wrong in each other's company. Where edges are missing (not `whole`), no step is blamed for
/// the side on which it stands.
pub(super) fn company(definition: &Definition, drafts: &[Draft<'_>], whole: bool, told: &mut Diagnostics) {
    for ((ix, _), draft) in definition.steps().zip(drafts) {
        let side = definition.side(ix);
        if draft.turn == Turn::Graph {
            if whole {
                stands(definition, draft, side, told);
                outlasts(definition, draft, side, told);
            }
            fails(draft, side, told);
        }
        reads(definition, ix, draft, told);
    }
}

/// How long early signals wait is of no use where nothing waits for any.
pub(super) fn early(definition: &Definition, signal_ttl: Option<Position>, told: &mut Diagnostics) {
    let waits = definition.steps.iter().any(|step| matches!(step.work, Work::Signal { .. }));
    if let Some(at) = signal_ttl.filter(|_| !waits) {
        let message = "`signal_ttl` never applies: no step waits for a signal";
        told.add(at, Code::NeverApplies, message, "remove it");
    }
}

fn stands(definition: &Definition, draft: &Draft<'_>, side: Side, told: &mut Diagnostics) {
    let name = &draft.name;
    let pivot =
        definition.pivot.and_then(|it| definition.step(it)).map(|it| it.name.as_str()).unwrap_or_default();
    if side == Side::Beside {
        let message = format!("`{name}` is neither before nor after the pivot `{pivot}`");
        let remedy = format!("add `after: [{pivot}]` to it, or `{name}` to what `{pivot}` comes after");
        told.add(draft.at, Code::BesidePivot, message, remedy);
    }
    match (&draft.undo, side, &draft.work) {
        (Undo::By(_, at), Side::Pivot | Side::After, _) => {
            let message =
                format!("`{name}` is never compensated: behind the pivot `{pivot}` there is no way back");
            told.add(*at, Code::NeverCompensated, message, "remove its `compensation`");
        }
        (Undo::Unsaid, Side::Before, Some(Work::Action { .. })) => {
            let message =
                format!("`{name}` cannot be undone, and stands where the saga may still turn around");
            let remedy = "name its `compensation`; write `compensation: none` if it leaves nothing behind; or make it the pivot";
            told.add(draft.at, Code::NotUndoable, message, remedy);
        }
        _ => {}
    }
}

/// Before the pivot the deadline ends a wait that may take longer: its own end, and what was to follow from it, never come.
fn outlasts(definition: &Definition, draft: &Draft<'_>, side: Side, told: &mut Diagnostics) {
    let waits = matches!(draft.work, Some(Work::Signal { .. } | Work::Child { .. }));
    let (Some(deadline_ms), Some(at)) = (definition.deadline_ms, draft.waits_at) else { return };
    if waits && side == Side::Before && draft.timeout_ms >= deadline_ms {
        let message = "`timeout` never applies: the deadline passes first, and the saga is undone";
        told.add(
            at,
            Code::NeverApplies,
            message,
            "make it shorter than the `deadline`, or the `deadline` longer",
        );
    }
}

fn fails(draft: &Draft<'_>, side: Side, told: &mut Diagnostics) {
    for (key, said) in [("on_rejected", draft.on_rejected), ("on_exhausted", draft.on_exhausted)] {
        let Some((said, at)) = said else { continue };
        let why = match (side, draft.optional, said) {
            _ if matches!(draft.work, Some(Work::Sleep { .. })) => {
                "a pause ends when its time is over, and never fails"
            }
            _ if key == "on_rejected" && matches!(draft.work, Some(Work::Signal { .. })) => {
                "nobody rejects a wait: where no signal comes in time, `on_exhausted` says what follows"
            }
            (_, true, _) => "the failure of an optional step is a warning",
            (Side::After, ..) => "behind the pivot a failure always parks",
            (Side::Pivot, _, super::OnFailure::Compensate) if key == "on_exhausted" => {
                "an exhausted pivot always parks, for nobody knows whether it took effect"
            }
            _ => continue,
        };
        told.add(at, Code::NeverApplies, format!("`{key}` never applies: {why}"), "remove it");
    }
}

fn reads(definition: &Definition, ix: StepIx, draft: &Draft<'_>, told: &mut Diagnostics) {
    let reader = Reader { definition, ix: Some(ix), turn: draft.turn, name: draft.name.as_str() };
    let has_item = draft.foreach.is_some();
    if let Some((when, at)) = &draft.when {
        when.reads().for_each(|read| reader.check(read, *at, false, told));
    }
    if let Some((foreach, at)) = &draft.foreach {
        foreach.reads().for_each(|read| reader.check(read, *at, false, told));
    }
    let Some(node) = draft.input_node.as_deref() else { return };
    each_expression(&draft.input, node, &mut |read, at| reader.check(read, at, has_item, told));
}

/// What a completed saga yields may read every step, for all are done.
pub(super) fn output_reads(definition: &Definition, output: &Template, node: &Node, told: &mut Diagnostics) {
    let reader = Reader { definition, ix: None, turn: Turn::Graph, name: "output" };
    each_expression(output, node, &mut |read, at| reader.check(read, at, false, told));
}

/// `key`, `amount` and `currency` are known before any step runs.
pub(super) fn reads_only_input(template: &Template, node: &Node, what: &str, told: &mut Diagnostics) {
    each_expression(template, node, &mut |read, at| {
        if !matches!(read, Read::Input(_)) {
            let message = format!("{what} reads more than the saga's input");
            told.add(at, Code::OnlyInput, message, "use `input.…` only: it is needed before any step runs");
        }
    });
}

fn each_expression(template: &Template, node: &Node, f: &mut dyn FnMut(&Read, Position)) {
    for (pointer, expression) in template.places() {
        let at = node.at_pointer(&pointer).at;
        expression.reads().for_each(|read| f(read, at));
    }
}

struct Reader<'a> {
    definition: &'a Definition,
    ix: Option<StepIx>,
    turn: Turn,
    name: &'a str,
}

impl Reader<'_> {
    fn check(&self, read: &Read, at: Position, has_item: bool, told: &mut Diagnostics) {
        match read {
            Read::Input(_) | Read::SagaId => {}
            Read::Item(_) | Read::Index if has_item => {}
            Read::Item(_) | Read::Index => {
                let message = format!("`{}` reads `item` or `index` where there is none", self.name);
                told.add(
                    at,
                    Code::NoItem,
                    message,
                    "they exist only in the `input` of a step with `foreach`",
                );
            }
            Read::Output { step, .. } => self.check_output(step.as_str(), at, told),
        }
    }

    fn check_output(&self, step: &str, at: Position, told: &mut Diagnostics) {
        let name = self.name;
        let known = self.definition.find(step).and_then(|ix| Some((ix, self.definition.step(ix)?)));
        let Some((source, _)) = known.filter(|(_, its)| its.turn == Turn::Graph) else {
            let message = format!("`{name}` reads the output of `{step}`, which is not a step");
            told.add(at, Code::NotAnAncestor, message, "name one of the steps");
            return;
        };
        let before = match (self.turn, self.ix) {
            (Turn::Graph, Some(ix)) => self.definition.ancestors(ix).contains(&source),
            _ => true,
        };
        if !before {
            let message = format!("`{name}` reads the output of `{step}`, which is not done before it");
            told.add(at, Code::NotAnAncestor, message, format!("add `{step}` to its `after`"));
        }
    }
}
