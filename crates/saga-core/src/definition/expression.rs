//! One expression of a definition: what stands within `${…}`.
//!
//! Owns what an expression may read. A plain path never touches CEL; everything
//! else is parsed by the `cel` crate and run by our own evaluator, with a bound on its work. Nothing here knows
//! a clock or a random source: the same scope yields the same value, always.

use std::fmt;
use std::sync::Arc;

use saga_protocol::{SagaId, StepName};
use serde_json::Value;

use super::path::{self, Path};
use super::program::Program;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 2_000;

/// What an expression sees.
pub struct Scope<'a> {
    /// The saga's input: `input`.
    pub input: &'a Value,
    /// A step's output by the step's name: `steps.NAME.output`. None while the step has none.
    pub steps: &'a dyn Fn(&str) -> Option<Arc<Value>>,
    /// The index and element within a `foreach`: `index` and `item`.
    pub item: Option<(u32, Arc<Value>)>,
    /// The saga's id: `saga.id`.
    pub saga: SagaId,
}

/// One thing that an expression reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    /// The saga's input, at a path.
    Input(Path),
    /// A step's output, at a path.
    Output {
        /// The step.
        step: StepName,
        /// Where in its output.
        path: Path,
    },
    /// The element of a `foreach`, at a path.
    Item(Path),
    /// Its index.
    Index,
    /// The saga's id.
    SagaId,
}

/// What is wrong with an expression's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {reason}")]
pub struct ExpressionError {
    /// The expression, at most 120 characters of it.
    pub text: String,
    /// Why it cannot stand.
    pub reason: String,
    /// Where in the template it stands, as a JSON pointer.
    pub pointer: String,
}

impl ExpressionError {
    pub(super) fn new(text: &str, reason: impl Into<String>) -> Self {
        Self { text: shorten(text), reason: reason.into(), pointer: String::new() }
    }
}

/// Why an expression has no value in this scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A path leads nowhere.
    #[error("there is no `{path}`")]
    Missing {
        /// The path as it was written.
        path: String,
    },
    /// The data at hand do not fit the expression.
    #[error("`{expression}`: {reason}")]
    Failed {
        /// The expression, at most 120 characters of it.
        expression: String,
        /// Why.
        reason: String,
    },
}

/// One expression, without its `${…}`.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    kind: Kind,
    reads: Vec<Read>,
}

#[derive(Clone, Debug)]
enum Kind {
    Plain(Read),
    Cel(Arc<Program>),
}

/// What an expression computes.
pub(super) enum Form<'e> {
    /// It follows a path.
    Plain(&'e Read),
    /// Something else.
    Program(&'e Program),
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression {
    /// Parses an expression, with or without `${…}` around it.
    ///
    /// # Errors
    /// When it is not an expression, or reads or calls what does not exist.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let text = text.trim();
        let text = whole(text).unwrap_or(text).trim();
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::new(
                text,
                format!("it is longer than {EXPRESSION_BYTES_MAX} bytes"),
            ));
        }
        if let Some((root, path)) = path::parse(text)
            && let Some(read) = read_of(root, &path)
        {
            return Ok(Self { text: text.into(), kind: Kind::Plain(read.clone()), reads: vec![read] });
        }
        let (program, reads) = Program::parse(text)?;
        Ok(Self { text: text.into(), kind: Kind::Cel(Arc::new(program)), reads })
    }

    /// What there is to compute.
    pub(super) fn form(&self) -> Form<'_> {
        match &self.kind {
            Kind::Plain(read) => Form::Plain(read),
            Kind::Cel(program) => Form::Program(program),
        }
    }

    /// Its text, without `${…}`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a plain path into what is held anyway, so that its value is never stored again. An `item`
    /// is not: it comes from a list that may have been computed.
    pub fn is_plain(&self) -> bool {
        matches!(&self.kind, Kind::Plain(read) if !matches!(read, Read::Item(_) | Read::Index))
    }

    /// What it reads.
    pub fn reads(&self) -> impl Iterator<Item = &Read> {
        self.reads.iter()
    }

    /// Its value. A plain path clones no more than the value that it leads to.
    ///
    /// # Errors
    /// When a path leads nowhere, or the data do not fit.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Arc<Value>, EvalError> {
        match &self.kind {
            Kind::Plain(read) => {
                follow(read, scope).ok_or_else(|| EvalError::Missing { path: self.text.to_string() })
            }
            Kind::Cel(program) => {
                let value = program.run(scope).map_err(|reason| self.failed(reason))?;
                Ok(Arc::new(value))
            }
        }
    }

    /// Its value where it lies, when it is a path into the input.
    pub(super) fn within<'v>(&self, scope: &Scope<'v>) -> Option<&'v Value> {
        match &self.kind {
            Kind::Plain(Read::Input(path)) => path.follow(scope.input),
            _ => None,
        }
    }

    /// Its value as a yes or no.
    ///
    /// # Errors
    /// As [`Self::resolve`], and when the value is not a boolean.
    pub fn truth(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        let value = self.resolve(scope)?;
        value.as_bool().ok_or_else(|| self.failed(format!("{} is neither true nor false", kind_of(&value))))
    }

    pub(super) fn failed(&self, reason: impl Into<String>) -> EvalError {
        EvalError::Failed { expression: shorten(&self.text), reason: reason.into() }
    }
}

/// What a root and path read, if there is such a thing.
pub(super) fn read_of(root: &str, path: &Path) -> Option<Read> {
    match root {
        "input" => Some(Read::Input(path.clone())),
        "item" => Some(Read::Item(path.clone())),
        "index" if path.0.is_empty() => Some(Read::Index),
        "saga" => match path.split_first_key() {
            Some(("id", rest)) if rest.0.is_empty() => Some(Read::SagaId),
            _ => None,
        },
        "steps" => {
            let (step, rest) = path.split_first_key()?;
            let (output, path) = rest.split_first_key()?;
            let step = StepName::new(step).ok()?;
            (output == "output").then_some(Read::Output { step, path })
        }
        _ => None,
    }
}

fn follow(read: &Read, scope: &Scope<'_>) -> Option<Arc<Value>> {
    let within = |whole: Arc<Value>, path: &Path| {
        if path.0.is_empty() { Some(whole) } else { path.follow(&whole).cloned().map(Arc::new) }
    };
    match read {
        Read::Input(path) => path.follow(scope.input).cloned().map(Arc::new),
        Read::Output { step, path, .. } => within((scope.steps)(step.as_str())?, path),
        Read::Item(path) => within(Arc::clone(&scope.item.as_ref()?.1), path),
        Read::Index => Some(Arc::new(Value::from(scope.item.as_ref()?.0))),
        Read::SagaId => Some(Arc::new(Value::from(scope.saga.to_string()))),
    }
}

/// The inside of `${…}` when nothing else surrounds it.
pub(super) fn whole(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("${")?;
    let end = end_of(inside)?;
    (end + 1 == inside.len()).then(|| &inside[..end])
}

/// Where the expression that `text` begins with ends: at the first `}` outside of quotes and inner braces.
pub(super) fn end_of(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 120 {
        text.to_owned()
    } else {
        text.chars().take(119).chain(['…']).collect()
    }
}

/// The kind of a value, in words for messages.
pub(super) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
