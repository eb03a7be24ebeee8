//! Every expression of a definition against what is known of the data: the schema of its input and those of its steps'
//! outputs.
//!
//! Owns what each place wants of an expression. Whether a step may be read at all is in `super::check`.

use serde_json::Value;

use super::diagnostic::{Code, Diagnostics, Position};
use super::draft::Draft;
use super::expression::Read;
use super::infer::Scene;
use super::path::Segment;
use super::source::Node;
use super::template::{Shape, Template};
use super::types::{Kinds, Type};
use super::{About, Expression};

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
    let scene = Scene { input: Type::schema(top.input_schema), output: &output, item: Type::ANY };
    for draft in drafts {
        let mut item = Type::ANY;
        if let Some((when, at)) = &draft.when {
            of(&scene, when, *at, Kinds::BOOL, "`when`", told);
        }
        if let Some((foreach, at)) = &draft.foreach {
            let list = of(&scene, foreach, *at, Kinds::LIST, "`foreach`", told);
            item = list.element(None).unwrap_or(Type::ANY);
        }
        let Some(node) = draft.input_node.as_deref() else { continue };
        let scene = Scene { input: scene.input.clone(), output: &output, item };
        within(&scene, &draft.input, node, told);
    }
    let text_or_number = Kinds::TEXT.or(Kinds::NUMBER);
    for (said, wanted, what) in [
        (top.key, text_or_number, "`key`"),
        (top.amount, text_or_number, "`amount`"),
        (top.currency, Kinds::TEXT, "`currency`"),
    ] {
        let Some((template, node)) = said else { continue };
        within(&scene, template, node, told);
        yields(&scene, template, node, wanted, what, told);
    }
    if let Some((template, node)) = top.key {
        not_personal(&scene, template, node, "`key`", told);
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
        within(&scene, template, node, told);
    }
    for (name, template) in &top.about.labels {
        let Some(node) = top.labels.map(|it| it.at_pointer(&format!("/{name}"))) else { continue };
        within(&scene, template, node, told);
        let wanted = text_or_number.or(Kinds::BOOL);
        let what = format!("the label `{name}`");
        yields(&scene, template, node, wanted, &what, told);
        not_personal(&scene, template, node, &what, told);
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
        Shape::List => Kinds::LIST,
        Shape::Object => Kinds::OBJECT,
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
    for read in template.reads() {
        let Read::Input(path) = read else { continue };
        let mut found = Some(scene.input.clone());
        let mut personal = scene.input.personal();
        for segment in &path.0 {
            found = found.and_then(|it| match segment {
                Segment::Key(name) => it.member(name.as_ref()),
                Segment::Index(at) => it.element(Some(*at)),
            });
            personal |= found.as_ref().is_some_and(Type::personal);
        }
        if personal {
            told.add(
                node.at,
                Code::Personal,
                format!("{what} reads `input{path}`, which is personal"),
                "take an id of yours instead: keys and labels are shown to every operator and are not erased",
            );
        }
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
    faults.into_iter().for_each(|it| told.add(at, it.code, it.message, it.remedy));
    found
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
