//! Whether an expression's value tells what the input's schema marks `personal: true`.
//!
//! Owns which parts of an expression are told by its value. What is only asked for (is there a member, how many are
//! there) tells nothing of it.

use super::Expression;
use super::expression::{Form, Read};
use super::infer::{Scene, Walk};
use super::path::{Path, Segment};
use super::program::{Ast, Each, Function, Root};
use super::types::Type;

/// What is told.
pub(super) struct Exposed {
    /// What is read.
    pub(super) path: String,
    /// In which way it is personal.
    pub(super) how: &'static str,
}

/// The first personal thing that an expression's value tells, if it tells any.
pub(super) fn exposed(scene: &Scene<'_, '_>, expression: &Expression) -> Option<Exposed> {
    match expression.form() {
        Form::Plain(Read::Input(path)) => along(scene.input.clone(), "input", path, true),
        Form::Plain(_) => None,
        Form::Program(program) => {
            let (mut faults, mut locals) = (Vec::new(), Vec::new());
            walk(&mut scene.walk(program, &mut faults), &program.root, true, &mut locals)
        }
    }
}

/// `whole`: the value itself is told, and with it everything within it.
fn along(root: Type<'_>, name: &str, path: &Path, whole: bool) -> Option<Exposed> {
    let text = format!("{name}{path}");
    let mut here = root;
    let mut personal = here.personal();
    for segment in &path.0 {
        let next = match segment {
            Segment::Key(key) => here.member(key),
            Segment::Index(at) => here.element(Some(*at)),
        };
        here = next?;
        personal |= here.personal();
    }
    if personal {
        return Some(Exposed { path: text, how: "which is personal" });
    }
    (whole && here.holds_personal()).then_some(Exposed { path: text, how: "which holds what is personal" })
}

fn walk<'s>(
    types: &mut Walk<'_, '_, 's>,
    ast: &Ast,
    whole: bool,
    locals: &mut Vec<(String, Type<'s>)>,
) -> Option<Exposed> {
    match ast {
        Ast::Literal(_) | Ast::HasOutput(_) => None,
        Ast::Path { root: Root::Input, path, .. } => along(types.scene.input.clone(), "input", path, whole),
        Ast::Path { root: Root::Local(at), path, .. } => {
            let (name, local) = locals.get(*at)?;
            along(local.clone(), name, path, whole)
        }
        Ast::Path { .. } => None,
        Ast::Has(of, _) => walk(types, of, false, locals),
        Ast::Select(of, _) => walk(types, of, whole, locals),
        Ast::Index(of, at) => walk(types, of, whole, locals).or_else(|| walk(types, at, true, locals)),
        Ast::Not(it) | Ast::Negate(it) => walk(types, it, whole, locals),
        Ast::List(all) => all.iter().find_map(|it| walk(types, it, whole, locals)),
        Ast::Object(entries) => entries.iter().find_map(|(key, value)| {
            walk(types, key, whole, locals).or_else(|| walk(types, value, whole, locals))
        }),
        Ast::And(a, b) | Ast::Or(a, b) | Ast::Binary(_, a, b) => {
            walk(types, a, whole, locals).or_else(|| walk(types, b, whole, locals))
        }
        Ast::Conditional(parts) => parts.iter().find_map(|it| walk(types, it, whole, locals)),
        Ast::Call(function, args) => {
            let whole = whole && *function != Function::Size;
            args.iter().find_map(|it| walk(types, it, whole, locals))
        }
        Ast::Each { each, list, filter, body, .. } => {
            let kept = whole && *each == Each::Filter;
            if let Some(found) = walk(types, list, kept, locals) {
                return Some(found);
            }
            let element = types.infer(list).element(None).unwrap_or(Type::ANY);
            types.locals.push(element.clone());
            locals.push((shown(list), element));
            let parts = filter.iter().map(|it| &**it).chain([&**body]);
            let found = parts.into_iter().find_map(|it| walk(types, it, true, locals));
            locals.pop();
            types.locals.pop();
            found
        }
    }
}

/// What an element of a list is called in messages.
fn shown(list: &Ast) -> String {
    match list {
        Ast::Path { text, .. } => format!("{text}[…]"),
        _ => "an element".to_owned(),
    }
}
