//! CEL programs: from text to a tree whose every name and function is known.
//!
//! The `cel` crate parses; this compiles its syntax tree into one of our own, so that unknown names and functions
//! are mistakes at load time. [`super::evaluate`] runs it, not the crate: that keeps maps in a hash table with a
//! random order, cannot bound its work, and copies all data in. Left out of CEL on purpose: bytes, unsigned
//! integers, timestamps and durations, protobuf messages, regular expressions.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use serde_json::{Number, Value};

use super::expression::{ExpressionError, Read, read_of};
use super::path::{Path, Segment};

/// The deepest nesting of an expression.
const DEPTH_MAX: usize = 32;
/// The most operators, calls and brackets in one expression: the parser recurses on them.
const OPERATORS_MAX: usize = 200;

/// Stack of the parser's thread; only what is used of it is ever backed by memory.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A compiled CEL expression.
#[derive(Debug)]
pub(super) struct Program {
    /// What it computes.
    pub(super) root: Ast,
    /// The steps whose outputs it reads; [`Root::Output`] counts here.
    pub(super) outputs: Vec<saga_protocol::StepName>,
}

/// The compiled tree.
#[derive(Debug)]
pub(super) enum Ast {
    Literal(Value),
    Path { root: Root, path: Path, text: String },
    Select(Box<Ast>, Box<str>),
    Index(Box<Ast>, Box<Ast>),
    Has(Box<Ast>, Box<str>),
    HasOutput(usize),
    List(Vec<Ast>),
    Object(Vec<(Ast, Ast)>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    And(Box<Ast>, Box<Ast>),
    Or(Box<Ast>, Box<Ast>),
    Conditional(Box<[Ast; 3]>),
    Binary(Binary, Box<Ast>, Box<Ast>),
    Call(Function, Vec<Ast>),
    Each { each: Each, variable: Box<str>, list: Box<Ast>, filter: Option<Box<Ast>>, body: Box<Ast> },
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Input,
    Output(usize),
    Item,
    Index,
    SagaId,
    /// The variable of an enclosing `map`, `filter`, …, counted from the outermost.
    Local(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    String,
    Int,
    Double,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    Map,
    Filter,
    All,
    Exists,
    ExistsOne,
}

impl Program {
    /// Compiles `text`, and says what it reads.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<Read>), ExpressionError> {
        if text.trim().is_empty() {
            return Err(ExpressionError::new(text, "it is empty"));
        }
        if operators_in(text) > OPERATORS_MAX {
            return Err(ExpressionError::new(
                text,
                format!("it has more than {OPERATORS_MAX} operators and brackets"),
            ));
        }
        // The parser is generated code of others that recurses deeply (100 KB a bracket, unoptimized), and what it
        // reads is anybody's: it gets a stack of its own, and a panic of it is a mistake in the text.
        let parse = || compile(text).map_err(|reason| ExpressionError::new(text, reason));
        std::thread::scope(|scope| {
            let parser =
                std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn_scoped(scope, parse);
            let parsed = parser.map(std::thread::ScopedJoinHandle::join);
            parsed.map_or_else(
                |error| Err(ExpressionError::new(text, format!("no thread to parse it: {error}"))),
                |joined| {
                    joined.unwrap_or_else(|_| Err(ExpressionError::new(text, "it is not an expression")))
                },
            )
        })
    }
}

fn compile(text: &str) -> Result<(Program, Vec<Read>), String> {
    // Without an environment the parser expands no macros: `has`, `map` and their like arrive as calls.
    let parser = cel::Env::default().parser().enable_optional_syntax(false);
    let parsed = parser.parse(text).map_err(|errors| {
        let reason = errors.errors.first().map_or("it is not an expression", |error| error.msg.as_str());
        reason.chars().take(200).collect::<String>()
    })?;
    let mut compiler = Compiler::default();
    let root = compiler.compile(&parsed, 0)?;
    let Compiler { outputs, mut reads, .. } = compiler;
    reads.sort();
    reads.dedup();
    Ok((Program { root, outputs }, reads))
}

/// How many characters outside of quotes are operators or brackets.
fn operators_in(text: &str) -> usize {
    let mut quote = None;
    let mut count = 0;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => count += usize::from(c.is_ascii_punctuation() && c != '_'),
        }
    }
    count
}

#[derive(Default)]
struct Compiler {
    locals: Vec<String>,
    outputs: Vec<saga_protocol::StepName>,
    reads: Vec<Read>,
}

type Compiled = Result<Ast, String>;

impl Compiler {
    fn compile(&mut self, from: &IdedExpr, depth: usize) -> Compiled {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        if let Some((root, path)) = chain(from) {
            return self.path(root, path);
        }
        let deeper = depth + 1;
        match &from.expr {
            Expr::Literal(literal) => literal_value(literal).map(Ast::Literal),
            Expr::List(list) => list
                .elements
                .iter()
                .map(|it| self.compile(it, deeper))
                .collect::<Result<_, _>>()
                .map(Ast::List),
            Expr::Map(map) => {
                let entries = map.entries.iter().map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(it) => {
                        Ok((self.compile(&it.key, deeper)?, self.compile(&it.value, deeper)?))
                    }
                    EntryExpr::StructField(_) => Err("messages are not part of the language".to_owned()),
                });
                entries.collect::<Result<_, _>>().map(Ast::Object)
            }
            Expr::Select(select) => Ok(Ast::Select(
                Box::new(self.compile(&select.operand, deeper)?),
                select.field.as_str().into(),
            )),
            Expr::Call(call) => self.call(call, deeper),
            Expr::Ident(_) | Expr::Comprehension(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("this is not part of the language".to_owned())
            }
        }
    }

    fn path(&mut self, root: &str, path: Path) -> Compiled {
        let text = format!("{root}{path}");
        if let Some(local) = self.locals.iter().rposition(|name| name == root) {
            return Ok(Ast::Path { root: Root::Local(local), path, text });
        }
        let read = read_of(root, &path).ok_or_else(|| match root {
            "steps" => format!("`{text}` does not exist: of a step there is `steps.NAME.output`"),
            "saga" => format!("`{text}` does not exist: of the saga there is `saga.id`"),
            _ => format!(
                "there is no `{root}`: an expression reads `input`, `steps`, `item`, `index` and `saga.id`"
            ),
        })?;
        self.reads.push(read.clone());
        let (root, path) = match read {
            Read::Input(path) => (Root::Input, path),
            Read::Output { step, path } => (Root::Output(self.output(step)), path),
            Read::Item(path) => (Root::Item, path),
            Read::Index => (Root::Index, Path::default()),
            Read::SagaId => (Root::SagaId, Path::default()),
        };
        Ok(Ast::Path { root, path, text })
    }

    fn output(&mut self, step: saga_protocol::StepName) -> usize {
        self.outputs.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.outputs.push(step);
            self.outputs.len() - 1
        })
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Compiled {
        let mut sub = |it: &IdedExpr| self.compile(it, depth).map(Box::new);
        let name = call.func_name.as_str();
        match (name, call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, None, [it]) => Ok(Ast::Not(sub(it)?)),
            (operators::NEGATE, None, [it]) => Ok(Ast::Negate(sub(it)?)),
            (operators::LOGICAL_AND, None, [a, b]) => Ok(Ast::And(sub(a)?, sub(b)?)),
            (operators::LOGICAL_OR, None, [a, b]) => Ok(Ast::Or(sub(a)?, sub(b)?)),
            (operators::INDEX, None, [of, at]) => Ok(Ast::Index(sub(of)?, sub(at)?)),
            (operators::CONDITIONAL, None, [a, b, c]) => {
                Ok(Ast::Conditional(Box::new([*sub(a)?, *sub(b)?, *sub(c)?])))
            }
            ("has", None, [it]) => self.has(it, depth),
            (_, None, [a, b]) if binary(name).is_some() => {
                let operator = binary(name).ok_or_else(|| unknown(name))?;
                Ok(Ast::Binary(operator, sub(a)?, sub(b)?))
            }
            (_, Some(list), args) if each(name).is_some() => {
                let each = each(name).ok_or_else(|| unknown(name))?;
                self.each(each, list, args, depth)
            }
            (_, target, args) => {
                let function = function(name, target.is_some()).ok_or_else(|| unknown(name))?;
                let args: Vec<Ast> = target
                    .into_iter()
                    .chain(args)
                    .map(|it| self.compile(it, depth))
                    .collect::<Result<_, _>>()?;
                let wanted = match function {
                    Function::Contains | Function::StartsWith | Function::EndsWith => 2,
                    Function::Size | Function::String | Function::Int | Function::Double => 1,
                };
                if args.len() == wanted {
                    Ok(Ast::Call(function, args))
                } else {
                    Err(format!("`{name}` takes another number of arguments"))
                }
            }
        }
    }

    fn has(&mut self, it: &IdedExpr, depth: usize) -> Compiled {
        let Expr::Select(select) = &it.expr else {
            let how = "`has` asks for a member: has(input.coupon), or 'user-id' in input where its name is no identifier";
            return Err(how.to_owned());
        };
        if let Some((root, path)) = chain(it)
            && !self.locals.iter().any(|name| name == root)
            && let Some(Read::Output { step, path }) = read_of(root, &path)
            && path.0.is_empty()
        {
            self.reads.push(Read::Output { step: step.clone(), path });
            return Ok(Ast::HasOutput(self.output(step)));
        }
        Ok(Ast::Has(Box::new(self.compile(&select.operand, depth)?), select.field.as_str().into()))
    }

    fn each(&mut self, each: Each, list: &IdedExpr, args: &[IdedExpr], depth: usize) -> Compiled {
        let list = Box::new(self.compile(list, depth)?);
        let (variable, filter, body) = match (each, args) {
            (Each::Map, [variable, filter, body]) => (variable, Some(filter), body),
            (_, [variable, body]) => (variable, None, body),
            _ => {
                return Err(
                    "`map`, `filter`, `all`, `exists` and `exists_one` take a name and an expression"
                        .to_owned(),
                );
            }
        };
        let Expr::Ident(variable) = &variable.expr else {
            return Err("the first argument of `map`, `filter`, `all` and `exists` is a name".to_owned());
        };
        self.locals.push(variable.clone());
        let filter = filter.map(|it| self.compile(it, depth).map(Box::new)).transpose();
        let body = self.compile(body, depth).map(Box::new);
        self.locals.pop();
        Ok(Ast::Each { each, variable: variable.as_str().into(), list, filter: filter?, body: body? })
    }
}

/// A name followed by nothing but members and literal indexes.
fn chain(from: &IdedExpr) -> Option<(&str, Path)> {
    let mut segments = Vec::new();
    let mut at = from;
    loop {
        match &at.expr {
            Expr::Ident(name) => {
                segments.reverse();
                return Some((name, Path(segments)));
            }
            Expr::Select(select) if !select.test => {
                segments.push(Segment::Key(select.field.as_str().into()));
                at = &select.operand;
            }
            Expr::Call(CallExpr { func_name, target: None, args }) if func_name == operators::INDEX => {
                let [of, index] = args.as_slice() else { return None };
                segments.push(match &index.expr {
                    Expr::Literal(LiteralValue::Int(index)) => {
                        Segment::Index(usize::try_from(*index.inner()).ok()?)
                    }
                    Expr::Literal(LiteralValue::String(key)) => Segment::Key(key.inner().into()),
                    _ => return None,
                });
                at = of;
            }
            _ => return None,
        }
    }
}

fn literal_value(literal: &LiteralValue) -> Result<Value, String> {
    match literal {
        LiteralValue::Null => Ok(Value::Null),
        LiteralValue::Boolean(it) => Ok(Value::Bool(*it.inner())),
        LiteralValue::Int(it) => Ok(Value::from(*it.inner())),
        LiteralValue::String(it) => Ok(Value::from(it.inner())),
        LiteralValue::Double(it) => {
            Number::from_f64(*it.inner()).map(Value::Number).ok_or_else(|| "a number is too large".to_owned())
        }
        LiteralValue::UInt(_) => {
            Err("unsigned integers are not part of the language: leave the `u` away".to_owned())
        }
        LiteralValue::Bytes(_) => Err("bytes are not part of the language: leave the `b` away".to_owned()),
    }
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        operators::ADD => Binary::Add,
        operators::SUBSTRACT => Binary::Subtract,
        operators::MULTIPLY => Binary::Multiply,
        operators::DIVIDE => Binary::Divide,
        operators::MODULO => Binary::Modulo,
        operators::EQUALS => Binary::Equal,
        operators::NOT_EQUALS => Binary::NotEqual,
        operators::LESS => Binary::Less,
        operators::LESS_EQUALS => Binary::LessOrEqual,
        operators::GREATER => Binary::Greater,
        operators::GREATER_EQUALS => Binary::GreaterOrEqual,
        operators::IN => Binary::In,
        _ => return None,
    })
}

fn each(name: &str) -> Option<Each> {
    Some(match name {
        "map" => Each::Map,
        "filter" => Each::Filter,
        "all" => Each::All,
        "exists" => Each::Exists,
        "exists_one" => Each::ExistsOne,
        _ => return None,
    })
}

fn function(name: &str, on_target: bool) -> Option<Function> {
    Some(match (name, on_target) {
        ("size", _) => Function::Size,
        ("contains", true) => Function::Contains,
        ("startsWith", true) => Function::StartsWith,
        ("endsWith", true) => Function::EndsWith,
        ("string", false) => Function::String,
        ("int", false) => Function::Int,
        ("double", false) => Function::Double,
        _ => return None,
    })
}

fn unknown(name: &str) -> String {
    let name = name.trim_matches(['_', '@']);
    format!(
        "there is no function `{name}`: there are has, size, contains, startsWith, endsWith, string, int, double, \
         map, filter, all, exists and exists_one"
    )
}
