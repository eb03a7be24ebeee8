//! Every expression of a definition against what is known of the data: the schema of its input and those of its steps'
//! outputs.
//!
//! Owns what each place wants of an expression. Whether a step may be read at all is in `super::check`.

use std::sync::Arc;

use saga_protocol::SagaId;
use serde_json::Value;

use super::diagnostic::{Code, Diagnostics, Position};
use super::draft::Draft;
use super::facts;
use super::http;
use super::infer::{Fault, Scene, null};
use super::personal;
use super::source::Node;
use super::template::{Shape, Template};
use super::types::{Kinds, Type};
use super::{About, EvalError, Expression, Scope, Turn, Work};
use crate::machine::ITEMS_MAX;

/// What stands at the top of a definition.
pub(super) struct Top<'d, 'n> {
    pub(super) input_schema: &'d Value,
    pub(super) key: Option<(&'d Template, &'n Node)>,
    pub(super) amount: Option<(&'d Template, &'n Node)>,
    pub(super) currency: Option<(&'d Template, &'n Node)>,
    pub(super) output: Option<(&'d Template, &'n Node)>,
    pub(super) labels: Option<&'n Node>,
    pub(super) about: &'d About,
}

/// Tells what is wrong whatever the data.
pub(super) fn check(drafts: &[Draft<'_>], top: &Top<'_, '_>, told: &mut Diagnostics) {
    let output = |name: &str| {
        let Some(draft) = drafts.iter().find(|it| it.name.as_str() == name) else { return Type::ANY };
        let one = draft.output_schema.as_ref().map_or(Type::ANY, Type::schema);
        if draft.foreach.is_some() { Type::list_of(one) } else { one }
    };
    let graph = |name: &str, may: &dyn Fn(&Draft<'_>) -> bool| {
        drafts.iter().any(|it| it.turn == Turn::Graph && it.name.as_str() == name && may(it))
    };
    // A step that was skipped, or failed as an optional one, is done without an output; a notice comes whatever was done.
    let maybe_done = |name: &str| graph(name, &|it| it.optional || it.when.is_some());
    let perhaps = |name: &str| graph(name, &|_| true);
    let never = |_: &str| false;
    let base = Scene {
        input: Type::schema(top.input_schema),
        output: &output,
        may_have_none: &never,
        item: Type::ANY,
        reader: "the definition",
        facts: &[],
    };
    for draft in drafts {
        let may_have_none: &dyn Fn(&str) -> bool =
            if draft.turn == Turn::Graph { &maybe_done } else { &perhaps };
        let (name, mut item, mut known) = (draft.name.as_str(), Type::ANY, Vec::new());
        if let Some((when, at)) = &draft.when {
            of(&base.of(name, may_have_none, Type::ANY, &[]), when, *at, Kinds::BOOL, "`when`", told);
            known = facts::of_condition(when);
        }
        if let Some((foreach, at)) = &draft.foreach {
            let scene = base.of(name, may_have_none, Type::ANY, &known);
            let list = of(&scene, foreach, *at, Kinds::LIST, "`foreach`", told);
            // A `when` may be what keeps longer ones out.
            if draft.when.is_none() && list.may_reach(ITEMS_MAX) {
                let message = format!(
                    "`{foreach}` may have more than {ITEMS_MAX} elements, and a foreach takes at most {ITEMS_MAX}"
                );
                let remedy = format!(
                    "write `maxItems: {ITEMS_MAX}` in its schema, or start a child saga for each part"
                );
                told.add_new(*at, Code::OutOfBounds, message, remedy);
            }
            item = list.element(None).unwrap_or(Type::ANY);
            known.extend(facts::of_items(foreach));
        }
        let Some(node) = draft.input_node.as_deref() else { continue };
        let scene = base.of(name, may_have_none, item, &known);
        within(&scene, &draft.input, node, told);
        if matches!(&draft.work, Some(Work::Action { worker, .. }) if worker == http::WORKER) {
            in_address(&scene, &draft.input, node, told);
        }
    }
    let text_or_number = Kinds::TEXT.or(Kinds::NUMBER);
    for (said, wanted, what) in [
        (top.key, text_or_number, "`key`"),
        (top.amount, text_or_number, "`amount`"),
        (top.currency, Kinds::TEXT, "`currency`"),
    ] {
        let Some((template, node)) = said else { continue };
        within(&base, template, node, told);
        yields(&base, template, node, wanted, what, told);
    }
    if let Some((template, node)) = top.key {
        not_personal(&base, template, node, "`key`", told);
    }
    if let Some((template, node)) = top.amount {
        literal(
            template,
            node,
            whole_number,
            "`amount` is no whole number",
            "write 18000, or an expression",
            told,
        );
    }
    if let Some((template, node)) = top.currency {
        literal(
            template,
            node,
            currency,
            "`currency` is no code of three capital letters",
            "write one of ISO 4217, such as KRW",
            told,
        );
    }
    if let Some((template, node)) = top.output {
        within(&base.of("output", &maybe_done, Type::ANY, &[]), template, node, told);
    }
    for (name, template) in &top.about.labels {
        let Some(node) = top.labels.map(|it| it.at_pointer(&format!("/{name}"))) else { continue };
        // One that has no value is left out.
        let mut of_label = Diagnostics::default();
        within(&base, template, node, &mut of_label);
        told.take_in(of_label, Code::MayBeMissing);
        let wanted = text_or_number.or(Kinds::BOOL);
        let what = format!("the label `{name}`");
        yields(&base, template, node, wanted, &what, told);
        not_personal(&base, template, node, &what, told);
    }
}

/// Every expression of a template by itself, and whether it can stand where it stands.
fn within(scene: &Scene<'_, '_>, template: &Template, node: &Node, told: &mut Diagnostics) {
    for (pointer, expression, alone) in template.parts() {
        let at = node.at_pointer(&pointer).at;
        let found = infer(scene, expression, at, told);
        let wanted = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOL);
        if !alone && !found.kinds().meets(wanted) {
            let message = format!("`{expression}` is {}, which cannot stand within a string", found.kinds());
            told.add(at, Code::WrongKind, message, "give it a string of its own, or pick a part of it");
        } else if !alone && found.may_be_null() {
            tell(null(expression.text()), at, told);
        }
    }
}

/// What an address or a header is put together from is a string of its own in the worker's input, and within one there.
fn in_address(scene: &Scene<'_, '_>, template: &Template, node: &Node, told: &mut Diagnostics) {
    for (pointer, expression, alone) in template.parts() {
        if !alone || !http::is_piece(&pointer) {
            continue;
        }
        let at = node.at_pointer(&pointer).at;
        // Its own mistakes are told already.
        let found = scene.infer(expression, &mut Vec::new());
        if !found.kinds().meets(Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOL)) {
            let kinds = found.kinds();
            let message = format!("`{expression}` is {kinds}, which cannot stand in an address or a header");
            told.add(at, Code::WrongKind, message, "pick a part of it");
        } else if found.may_be_null() {
            tell(null(expression.text()), at, told);
        }
    }
}

/// What a template yields as a whole.
fn yields(
    scene: &Scene<'_, '_>,
    template: &Template,
    node: &Node,
    wanted: Kinds,
    what: &str,
    told: &mut Diagnostics,
) {
    let found = match template.shape() {
        Shape::Literal(value) => Kinds::of(value),
        // Its own mistakes are told already.
        Shape::Whole(expression) => scene.infer(expression, &mut Vec::new()).kinds(),
        Shape::Text => Kinds::TEXT,
        Shape::List(_) => Kinds::LIST,
        Shape::Object(_) => Kinds::OBJECT,
    };
    if !found.meets(wanted) {
        told.add(
            node.at,
            Code::WrongKind,
            format!("{what} must be {wanted}, not {found}"),
            "correct it, or the schema",
        );
    }
}

/// Keys and labels are shown to everybody, stand in indexes and links, and are not erased.
fn not_personal(scene: &Scene<'_, '_>, template: &Template, node: &Node, what: &str, told: &mut Diagnostics) {
    for (pointer, expression, _) in template.parts() {
        let Some(found) = personal::exposed(scene, expression) else { continue };
        told.add(
            node.at_pointer(&pointer).at,
            Code::Personal,
            format!("{what} reads `{}`, {}", found.path, found.how),
            "take an id of yours instead: keys and labels are shown to every operator and are not erased",
        );
    }
}

/// An expression of one place, and what the place wants of it.
fn of<'s>(
    scene: &Scene<'_, 's>,
    expression: &Expression,
    at: Position,
    wanted: Kinds,
    what: &str,
    told: &mut Diagnostics,
) -> Type<'s> {
    let found = infer(scene, expression, at, told);
    if !found.kinds().meets(wanted) {
        let message = format!("{what} must be {wanted}, and `{expression}` is {}", found.kinds());
        told.add(at, Code::WrongKind, message, "correct the expression, or the schema");
    } else if found.may_be_null() {
        tell(null(expression.text()), at, told);
    }
    found
}

fn infer<'s>(
    scene: &Scene<'_, 's>,
    expression: &Expression,
    at: Position,
    told: &mut Diagnostics,
) -> Type<'s> {
    let mut faults = Vec::new();
    let found = scene.infer(expression, &mut faults);
    if faults.is_empty()
        && expression.reads().next().is_none()
        && let Err(EvalError::Failed { reason, .. }) = of_nothing(expression)
    {
        let message = format!("`{expression}` has no value, whatever the data: {reason}");
        told.add(
            at,
            Code::BadOperand,
            message,
            "correct it: it reads nothing, and is the same in every saga",
        );
    }
    faults.into_iter().for_each(|it| tell(it, at, told));
    found
}

/// The value of an expression that reads nothing.
fn of_nothing(expression: &Expression) -> Result<Arc<Value>, EvalError> {
    let saga = SagaId(uuid::Uuid::nil());
    expression.resolve(&Scope { input: &Value::Null, steps: &|_| None, item: None, saga })
}

fn tell(fault: Fault, at: Position, told: &mut Diagnostics) {
    told.add(at, fault.code, fault.message, fault.remedy);
}

fn literal(
    template: &Template,
    node: &Node,
    good: fn(&Value) -> bool,
    message: &str,
    remedy: &str,
    told: &mut Diagnostics,
) {
    if let Shape::Literal(value @ (Value::String(_) | Value::Number(_))) = template.shape()
        && !good(value)
    {
        told.add(node.at, Code::WrongKind, message, remedy);
    }
}

fn whole_number(value: &Value) -> bool {
    match value {
        Value::String(text) => text.parse::<i64>().is_ok(),
        other => other.as_i64().is_some(),
    }
}

fn currency(value: &Value) -> bool {
    // A number was told already.
    value.as_str().is_none_or(|text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()))
}
