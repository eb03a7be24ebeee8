//! Templates: JSON values whose strings may hold `${…}`.
//!
//! A string that is one expression keeps the expression's type; expressions within a longer string are
//! interpolated; `$${` stands for `${`.

use std::cell::RefCell;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::expression::{EvalError, Expression, ExpressionError, Read, Scope, end_of, kind_of, whole};

/// A JSON value whose strings may hold `${…}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// No expression anywhere below.
    Literal(Arc<Value>),
    /// `${…}` and nothing else: keeps its type.
    Whole(Expression),
    /// `${…}` within a string.
    Text(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    Expression(Expression),
}

impl Default for Template {
    /// The literal `null`.
    fn default() -> Self {
        Self(Node::Literal(Arc::new(Value::Null)))
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Every expression that cannot stand, each with its place.
    pub fn parse(value: &Value) -> Result<Self, Vec<ExpressionError>> {
        let (template, errors) = Self::parse_partly(value);
        if errors.is_empty() { Ok(template) } else { Err(errors) }
    }

    /// Parses a template as far as it can stand, so that what is good of it can be checked further.
    pub(super) fn parse_partly(value: &Value) -> (Self, Vec<ExpressionError>) {
        let mut errors = Vec::new();
        let node = node(value, &mut String::new(), &mut errors);
        (Self(node), errors)
    }

    /// The value with everything filled in.
    ///
    /// # Errors
    /// At the first expression without a value.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Arc<Value>, EvalError> {
        match &self.0 {
            Node::Literal(value) => Ok(Arc::clone(value)),
            Node::Whole(expression) => expression.resolve(scope),
            node => fill(node, scope).map(Arc::new),
        }
    }

    /// The same value, spelled. What a path leads to is not copied on the way.
    ///
    /// # Errors
    /// At the first expression without a value.
    pub fn spell(&self, scope: &Scope<'_>) -> Result<Box<RawValue>, EvalError> {
        let failed = RefCell::new(None);
        let spelled = serde_json::value::to_raw_value(&Filled { node: &self.0, scope, failed: &failed });
        spelled.map_err(|_| failed.into_inner().expect("JSON in memory fails only for want of a value"))
    }

    /// Whether it holds only literals and plain paths into what is held anyway, so that its value can always be
    /// resolved again and is never stored.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0)
    }

    /// What its expressions read.
    pub fn reads(&self) -> impl Iterator<Item = &Read> {
        self.expressions().into_iter().flat_map(Expression::reads)
    }

    /// Its expressions, in order.
    pub fn expressions(&self) -> Vec<&Expression> {
        self.places().into_iter().map(|(_, expression)| expression).collect()
    }

    /// Its expressions with the JSON pointers of the strings that they stand in.
    pub(super) fn places(&self) -> Vec<(String, &Expression)> {
        self.parts().into_iter().map(|(pointer, expression, _)| (pointer, expression)).collect()
    }

    /// The same, each with whether it is its whole string and keeps its type.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let mut found = Vec::new();
        collect(&self.0, &mut String::new(), &mut found);
        found
    }

    /// What it is, as far as no expression decides.
    pub(super) fn shape(&self) -> Shape<'_> {
        shape_of(&self.0)
    }
}

/// An expression with the JSON pointer of its string, and whether it is the whole of it.
type Part<'t> = (String, &'t Expression, bool);

/// What a template is, as far as no expression decides.
#[derive(Clone)]
pub(super) enum Shape<'t> {
    Literal(&'t Value),
    Whole(&'t Expression),
    Text,
    List(Vec<Shape<'t>>),
    Object(Vec<(&'t str, Shape<'t>)>),
}

fn shape_of(node: &Node) -> Shape<'_> {
    match node {
        Node::Literal(value) => Shape::Literal(value),
        Node::Whole(expression) => Shape::Whole(expression),
        Node::Text(_) => Shape::Text,
        Node::List(nodes) => Shape::List(nodes.iter().map(shape_of).collect()),
        Node::Object(members) => {
            Shape::Object(members.iter().map(|(name, node)| (name.as_str(), shape_of(node))).collect())
        }
    }
}

fn is_plain(node: &Node) -> bool {
    match node {
        Node::Literal(_) => true,
        Node::Whole(expression) => expression.is_plain(),
        Node::Text(pieces) => pieces.iter().all(|piece| match piece {
            Piece::Literal(_) => true,
            Piece::Expression(expression) => expression.is_plain(),
        }),
        Node::List(nodes) => nodes.iter().all(is_plain),
        Node::Object(members) => members.iter().all(|(_, node)| is_plain(node)),
    }
}

fn collect<'t>(node: &'t Node, pointer: &mut String, found: &mut Vec<Part<'t>>) {
    let here = pointer.len();
    match node {
        Node::Literal(_) => {}
        Node::Whole(expression) => found.push((pointer.clone(), expression, true)),
        Node::Text(pieces) => found.extend(pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Expression(expression) => Some((pointer.clone(), expression, false)),
        })),
        Node::List(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                push_segment(pointer, &at.to_string());
                collect(node, pointer, found);
                pointer.truncate(here);
            }
        }
        Node::Object(members) => {
            for (key, node) in members {
                push_segment(pointer, key);
                collect(node, pointer, found);
                pointer.truncate(here);
            }
        }
    }
}

fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
}

fn fill(node: &Node, scope: &Scope<'_>) -> Result<Value, EvalError> {
    match node {
        Node::Literal(value) => Ok(Value::clone(value)),
        Node::Whole(expression) => Ok(Arc::unwrap_or_clone(expression.resolve(scope)?)),
        Node::Text(pieces) => text_of(pieces, scope).map(Value::String),
        Node::List(nodes) => {
            nodes.iter().map(|node| fill(node, scope)).collect::<Result<_, _>>().map(Value::Array)
        }
        Node::Object(members) => {
            let filled = members.iter().map(|(key, node)| Ok((key.clone(), fill(node, scope)?)));
            filled.collect::<Result<Map<_, _>, EvalError>>().map(Value::Object)
        }
    }
}

/// A node as it is filled in while it is spelled.
struct Filled<'a> {
    node: &'a Node,
    scope: &'a Scope<'a>,
    /// Why it has no value; the serializer's own errors carry nothing but text.
    failed: &'a RefCell<Option<EvalError>>,
}

impl Filled<'_> {
    fn check<T, E: serde::ser::Error>(&self, value: Result<T, EvalError>) -> Result<T, E> {
        value.map_err(|error| {
            self.failed.replace(Some(error));
            E::custom("there is no value")
        })
    }
}

impl Serialize for Filled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let below = |node| Filled { node, ..*self };
        match self.node {
            Node::Literal(value) => value.serialize(serializer),
            Node::Whole(expression) => match expression.within(self.scope) {
                Some(value) => value.serialize(serializer),
                None => self.check(expression.resolve(self.scope))?.serialize(serializer),
            },
            Node::Text(pieces) => self.check(text_of(pieces, self.scope))?.serialize(serializer),
            Node::List(nodes) => serializer.collect_seq(nodes.iter().map(below)),
            Node::Object(members) => {
                serializer.collect_map(members.iter().map(|(key, node)| (key, below(node))))
            }
        }
    }
}

fn text_of(pieces: &[Piece], scope: &Scope<'_>) -> Result<String, EvalError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Expression(expression) => interpolate(expression, scope, &mut text)?,
        }
    }
    Ok(text)
}

fn interpolate(expression: &Expression, scope: &Scope<'_>, text: &mut String) -> Result<(), EvalError> {
    match &*expression.resolve(scope)? {
        Value::String(value) => text.push_str(value),
        Value::Number(value) => text.push_str(&value.to_string()),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        other => return Err(expression.failed(format!("{} cannot stand within a string", kind_of(other)))),
    }
    Ok(())
}

fn node(value: &Value, pointer: &mut String, errors: &mut Vec<ExpressionError>) -> Node {
    let here = pointer.len();
    let mut child = |segment: &str, value: &Value| {
        push_segment(pointer, segment);
        let node = node(value, pointer, errors);
        pointer.truncate(here);
        node
    };
    match value {
        Value::Array(values) => {
            let nodes: Vec<Node> =
                values.iter().enumerate().map(|(at, value)| child(&at.to_string(), value)).collect();
            let literals: Option<Vec<Value>> = nodes.iter().map(literal).collect();
            literals.map_or(Node::List(nodes), |literals| Node::Literal(Arc::new(literals.into())))
        }
        Value::Object(members) => {
            let nodes: Vec<(String, Node)> =
                members.iter().map(|(key, value)| (key.clone(), child(key, value))).collect();
            let literals: Option<Map<String, Value>> =
                nodes.iter().map(|(key, node)| Some((key.clone(), literal(node)?))).collect();
            literals.map_or(Node::Object(nodes), |literals| Node::Literal(Arc::new(literals.into())))
        }
        Value::String(text) => string(text).unwrap_or_else(|mut error| {
            error.pointer.clone_from(pointer);
            errors.push(error);
            Node::Text(Vec::new())
        }),
        other => Node::Literal(Arc::new(other.clone())),
    }
}

fn literal(node: &Node) -> Option<Value> {
    match node {
        Node::Literal(value) => Some(Value::clone(value)),
        _ => None,
    }
}

fn string(text: &str) -> Result<Node, ExpressionError> {
    if let Some(inner) = whole(text) {
        return Expression::parse(inner).map(Node::Whole);
    }
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            plain.push_str(before);
            plain.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = end_of(inside).ok_or_else(|| ExpressionError::new(&rest[at..], "its `}` is missing"))?;
        if !plain.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Expression(Expression::parse(&inside[..end])?));
        rest = &inside[end + 1..];
    }
    plain.push_str(rest);
    if pieces.is_empty() {
        return Ok(Node::Literal(Arc::new(Value::String(plain))));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Literal(plain));
    }
    Ok(Node::Text(pieces))
}
