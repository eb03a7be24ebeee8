//! What the conditions around a part of an expression say of the values that it reads: that one is there, that one is not
//! null.
//!
//! Owns how much of a condition is understood. A fact is only ever one that holds; what is not understood says nothing.

use saga_protocol::StepName;
use serde_json::Value;

use super::Expression;
use super::expression::Form;
use super::path::{member, output_of};
use super::program::{Ast, Binary, Each, Program, Root};

/// Something that is known of a value, by the path that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// It is there.
    There(String),
    /// It is there, and not null.
    NotNull(String),
}

/// Whether one of these facts says that a value is there: the value itself, or what can only be within it.
pub(super) fn is_there(facts: &[Fact], path: &str) -> bool {
    facts.iter().any(|fact| match fact {
        Fact::There(it) | Fact::NotNull(it) => it == path || is_within(it, path),
    })
}

/// Whether one of these facts says that a value is not null.
pub(super) fn is_not_null(facts: &[Fact], path: &str) -> bool {
    facts.iter().any(|fact| match fact {
        Fact::NotNull(it) => it == path || is_within(it, path),
        Fact::There(it) => is_within(it, path),
    })
}

impl Fact {
    /// The path, and the same said of another one.
    fn parts(self) -> (String, fn(String) -> Self) {
        match self {
            Self::There(path) => (path, Self::There),
            Self::NotNull(path) => (path, Self::NotNull),
        }
    }

    /// Whether it is about a value that this name stands for.
    pub(super) fn is_of(&self, name: &str) -> bool {
        let (Self::There(path) | Self::NotNull(path)) = self;
        path == name || is_within(path, name)
    }
}

/// What is known of the elements of a list, and because it has any, where each of them goes by this name: a filter lets
/// through only that for which its condition is true.
pub(super) fn of_elements(list: &Ast, name: &str, outputs: &[StepName]) -> Vec<Fact> {
    let Ast::Each { each: Each::Filter, variable, list, body, .. } = list else { return Vec::new() };
    let mut found = of_elements(list, name, outputs);
    for fact in of(body, outputs, true) {
        let (of_element, hidden) = (fact.is_of(variable), fact.is_of(name));
        let (path, fact) = fact.parts();
        match path.strip_prefix(&**variable) {
            Some(rest) if of_element => found.push(fact(format!("{name}{rest}"))),
            _ if hidden => {}
            _ => found.push(fact(path)),
        }
    }
    found
}

fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// What is known once a `when` has let its step run.
pub(super) fn of_condition(condition: &Expression) -> Vec<Fact> {
    let mut found = Vec::new();
    if let Form::Program(Program { root, outputs }) = condition.form() {
        collect(root, outputs, true, &mut found);
    }
    found
}

/// What is known of the elements of a `foreach`.
pub(super) fn of_items(list: &Expression) -> Vec<Fact> {
    match list.form() {
        Form::Program(Program { root, outputs }) => of_elements(root, "item", outputs),
        Form::Plain(_) => Vec::new(),
    }
}

/// What is known where a condition is true, or false.
pub(super) fn of(condition: &Ast, outputs: &[StepName], holds: bool) -> Vec<Fact> {
    let mut found = Vec::new();
    collect(condition, outputs, holds, &mut found);
    found
}

fn collect(condition: &Ast, outputs: &[StepName], holds: bool, found: &mut Vec<Fact>) {
    match condition {
        Ast::Not(it) => collect(it, outputs, !holds, found),
        Ast::And(a, b) if holds => [a, b].into_iter().for_each(|it| collect(it, outputs, true, found)),
        Ast::Or(a, b) if !holds => [a, b].into_iter().for_each(|it| collect(it, outputs, false, found)),
        Ast::Has(of, key) if holds => {
            found.extend(path(of).map(|of| Fact::There(member(&of, key))));
        }
        Ast::HasOutput(slot) if holds => {
            found.extend(outputs.get(*slot).map(|step| Fact::There(output_of(step.as_str()))));
        }
        Ast::Binary(Binary::In, key, of) if holds => {
            if let Ast::Literal(Value::String(key)) = &**key {
                found.extend(path(of).map(|of| Fact::There(member(&of, key))));
            }
        }
        Ast::Path { .. } if holds => found.extend(path(condition).map(Fact::NotNull)),
        Ast::Binary(operator @ (Binary::Equal | Binary::NotEqual), a, b) => {
            let (of, literal) = match (&**a, &**b) {
                (of, Ast::Literal(literal)) | (Ast::Literal(literal), of) => (of, literal),
                _ => return,
            };
            let equal = (*operator == Binary::Equal) == holds;
            if equal != (*literal == Value::Null) {
                found.extend(path(of).map(Fact::NotNull));
            }
        }
        _ => {}
    }
}

fn path(ast: &Ast) -> Option<String> {
    match ast {
        // Of an element nothing is known beyond its own expression, where names are what they are.
        Ast::Path { root: Root::Index | Root::SagaId, .. } => None,
        Ast::Path { text, .. } => Some(text.to_string()),
        _ => None,
    }
}
