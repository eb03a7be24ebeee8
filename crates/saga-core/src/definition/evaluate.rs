//! Runs compiled CEL over JSON, by reference where it can.
//!
//! Every node, copy and comparison is paid for from a budget, so that no expression runs away however its data
//! look; maps are walked in the order of their keys, so that the same scope yields the same value everywhere.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::expression::{Scope, kind_of};
use super::number;
use super::path::Path;
use super::program::{Ast, Binary, Each, Function, Program, Root};

/// The work that one evaluation may do: nodes visited, and values and 16-byte pieces of strings copied or compared.
const WORK_MAX: u64 = 250_000;

/// A value that is borrowed from the scope, or was made on the way.
#[derive(Clone)]
enum Val<'v> {
    Held(&'v Value),
    Made(Rc<Value>),
}

impl AsRef<Value> for Val<'_> {
    fn as_ref(&self) -> &Value {
        match self {
            Self::Held(value) => value,
            Self::Made(value) => value,
        }
    }
}

impl From<Value> for Val<'_> {
    fn from(value: Value) -> Self {
        Self::Made(Rc::new(value))
    }
}

/// Why there is no value.
enum Trouble {
    /// The data do not fit. `&&`, `||`, `all` and `exists` may know their answer nevertheless.
    Data(String),
    /// The budget is spent: nothing absorbs that.
    Spent,
}

type Evaluated<'v> = Result<Val<'v>, Trouble>;

impl Program {
    /// The program's value in `scope`, or why there is none.
    pub(super) fn run(&self, scope: &Scope<'_>) -> Result<Value, String> {
        let outputs: Vec<Option<Arc<Value>>> =
            self.outputs.iter().map(|step| (scope.steps)(step.as_str())).collect();
        let index = scope.item.as_ref().map(|(index, _)| Value::from(*index));
        let run = Run { scope, outputs: &outputs, index: index.as_ref(), work_left: Cell::new(WORK_MAX) };
        let value = run.eval(&self.root, &mut Vec::new()).and_then(|value| run.own(value));
        value.map_err(|trouble| match trouble {
            Trouble::Data(reason) => reason,
            Trouble::Spent => "it is too much work for the data at hand".to_owned(),
        })
    }
}

struct Run<'v> {
    scope: &'v Scope<'v>,
    outputs: &'v [Option<Arc<Value>>],
    index: Option<&'v Value>,
    work_left: Cell<u64>,
}

impl<'v> Run<'v> {
    fn spend(&self, work: u64) -> Result<(), Trouble> {
        self.work_left.set(self.work_left.get().checked_sub(work).ok_or(Trouble::Spent)?);
        Ok(())
    }

    /// Pays for a copy of `value`.
    fn spend_copy(&self, value: &Value) -> Result<(), Trouble> {
        self.spend(1)?;
        match value {
            Value::String(text) => self.spend(pieces(text)),
            Value::Array(values) => values.iter().try_for_each(|value| self.spend_copy(value)),
            Value::Object(members) => members.iter().try_for_each(|(key, value)| {
                self.spend(pieces(key))?;
                self.spend_copy(value)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn own(&self, value: Val<'v>) -> Result<Value, Trouble> {
        match value {
            Val::Held(value) => {
                self.spend_copy(value)?;
                Ok(value.clone())
            }
            Val::Made(value) => Rc::try_unwrap(value).or_else(|shared| {
                self.spend_copy(&shared)?;
                Ok(Value::clone(&shared))
            }),
        }
    }

    fn eval(&self, ast: &Ast, locals: &mut Vec<Val<'v>>) -> Evaluated<'v> {
        self.spend(1)?;
        match ast {
            Ast::Literal(value) => {
                self.spend_copy(value)?;
                Ok(value.clone().into())
            }
            Ast::Path { root, path, text } => self.path(*root, path, text, locals),
            Ast::Select(of, key) => {
                let of = self.eval(of, locals)?;
                self.child(of, |value| value.as_object()?.get(&**key))?.ok_or_else(|| missing(key))
            }
            Ast::Has(of, key) => match self.eval(of, locals)?.as_ref() {
                Value::Object(members) => Ok(Value::Bool(members.contains_key(&**key)).into()),
                other => data(format!("`has` asks {} for a member", kind_of(other))),
            },
            Ast::HasOutput(slot) => {
                Ok(Value::Bool(self.outputs.get(*slot).is_some_and(Option::is_some)).into())
            }
            Ast::Index(of, at) => self.index(of, at, locals),
            Ast::List(elements) => {
                let values =
                    elements.iter().map(|it| self.eval(it, locals).and_then(|value| self.own(value)));
                Ok(Value::Array(values.collect::<Result<_, _>>()?).into())
            }
            Ast::Object(entries) => self.object(entries, locals),
            Ast::Not(it) => Ok(Value::Bool(!self.truth(it, locals)?).into()),
            Ast::Negate(it) => {
                number::negate(self.eval(it, locals)?.as_ref()).map(made).map_err(Trouble::Data)
            }
            Ast::And(a, b) => self.logic(false, a, b, locals),
            Ast::Or(a, b) => self.logic(true, a, b, locals),
            Ast::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let taken = if self.truth(condition, locals)? { then } else { otherwise };
                self.eval(taken, locals)
            }
            Ast::Binary(operator, a, b) => {
                let (left, right) = (self.eval(a, locals)?, self.eval(b, locals)?);
                let adapted = |one, value: &Val<'v>, other, beside: &Val<'v>| {
                    let meets_fraction = matches!(beside.as_ref(), Value::Number(it) if it.is_f64());
                    let adapts = meets_fraction && number::adapts(*operator, one, other);
                    adapts.then(|| number::fraction_of(value.as_ref()).map(made)).flatten()
                };
                let left = adapted(a, &left, b, &right).unwrap_or(left);
                let right = adapted(b, &right, a, &left).unwrap_or(right);
                self.binary(*operator, left.as_ref(), right.as_ref())
            }
            Ast::Call(function, args) => {
                let args = args.iter().map(|it| self.eval(it, locals)).collect::<Result<Vec<_>, _>>()?;
                self.call(*function, &args)
            }
            Ast::Each { each, list, filter, body, .. } => {
                let list = self.eval(list, locals)?;
                self.each(*each, &list, filter.as_deref(), body, locals)
            }
        }
    }

    fn path(&self, root: Root, path: &Path, text: &str, locals: &[Val<'v>]) -> Evaluated<'v> {
        self.spend(path.0.len() as u64)?;
        let found = match root {
            Root::Input => path.follow(self.scope.input).map(Val::Held),
            Root::Output(slot) => {
                let output: Option<&'v Arc<Value>> = self.outputs.get(slot).and_then(Option::as_ref);
                output.and_then(|output| path.follow(output)).map(Val::Held)
            }
            Root::Item => self.scope.item.as_ref().and_then(|(_, item)| path.follow(item)).map(Val::Held),
            Root::Index => self.index.map(Val::Held),
            Root::SagaId => Some(Value::from(self.scope.saga.to_string()).into()),
            Root::Local(at) => match locals.get(at) {
                Some(local) if path.0.is_empty() => Some(local.clone()),
                Some(local) => self.child(local.clone(), |value| path.follow(value))?,
                None => None,
            },
        };
        found.ok_or_else(|| missing(text))
    }

    /// A part of a value: borrowed when the whole is, else copied.
    fn child(
        &self,
        of: Val<'v>,
        find: impl for<'a> FnOnce(&'a Value) -> Option<&'a Value>,
    ) -> Result<Option<Val<'v>>, Trouble> {
        match of {
            Val::Held(value) => Ok(find(value).map(Val::Held)),
            Val::Made(value) => {
                let Some(child) = find(&value) else { return Ok(None) };
                self.spend_copy(child)?;
                Ok(Some(child.clone().into()))
            }
        }
    }

    fn index(&self, of: &Ast, at: &Ast, locals: &mut Vec<Val<'v>>) -> Evaluated<'v> {
        let (of, at) = (self.eval(of, locals)?, self.eval(at, locals)?);
        let found = match at.as_ref() {
            Value::String(key) => self.child(of, |value| value.as_object()?.get(key))?,
            Value::Number(number) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
                self.child(of, |value| value.as_array()?.get(at?))?
            }
            other => return data(format!("{} is no index", kind_of(other))),
        };
        found.ok_or_else(|| missing(&format!("[{}]", at.as_ref())))
    }

    fn object(&self, entries: &[(Ast, Ast)], locals: &mut Vec<Val<'v>>) -> Evaluated<'v> {
        let mut members = Map::new();
        for (key, value) in entries {
            let key = match self.eval(key, locals)?.as_ref() {
                Value::String(key) => key.clone(),
                other => return data(format!("{} is no key of an object", kind_of(other))),
            };
            let value = self.eval(value, locals)?;
            if members.insert(key.clone(), self.own(value)?).is_some() {
                return data(format!("the key `{key}` comes twice"));
            }
        }
        Ok(Value::Object(members).into())
    }

    fn truth(&self, ast: &Ast, locals: &mut Vec<Val<'v>>) -> Result<bool, Trouble> {
        match self.eval(ast, locals)?.as_ref() {
            Value::Bool(truth) => Ok(*truth),
            other => data(format!("{} is neither true nor false", kind_of(other))),
        }
    }

    /// `||` (and `&&`): decided by one operand that is `decisive`, even if the other one fails.
    fn logic(&self, decisive: bool, a: &Ast, b: &Ast, locals: &mut Vec<Val<'v>>) -> Evaluated<'v> {
        let value = match self.truth(a, locals) {
            Ok(value) if value == decisive => value,
            Ok(_) => self.truth(b, locals)?,
            Err(Trouble::Spent) => return Err(Trouble::Spent),
            Err(first) => match self.truth(b, locals) {
                Ok(value) if value == decisive => value,
                Err(Trouble::Spent) => return Err(Trouble::Spent),
                _ => return Err(first),
            },
        };
        Ok(Value::Bool(value).into())
    }

    fn each(
        &self,
        each: Each,
        list: &Val<'v>,
        filter: Option<&Ast>,
        body: &Ast,
        locals: &mut Vec<Val<'v>>,
    ) -> Evaluated<'v> {
        let mut fold = Fold { each, made: Vec::new(), hits: 0, failed: None };
        for element in self.elements(list)? {
            locals.push(element.clone());
            let done = self.one(&mut fold, element, filter, body, locals);
            locals.pop();
            if done? {
                break;
            }
        }
        match (each, fold.failed) {
            (Each::Map | Each::Filter, _) => Ok(Value::Array(fold.made).into()),
            (Each::ExistsOne, _) => Ok(Value::Bool(fold.hits == 1).into()),
            // `all` and `exists`: one hit decides, else the first failure does.
            (_, Some(failed)) if fold.hits == 0 => Err(failed),
            (Each::All, _) => Ok(Value::Bool(fold.hits == 0).into()),
            (Each::Exists, _) => Ok(Value::Bool(fold.hits > 0).into()),
        }
    }

    /// Takes in one element; true when no further one matters.
    fn one(
        &self,
        fold: &mut Fold,
        element: Val<'v>,
        filter: Option<&Ast>,
        body: &Ast,
        locals: &mut Vec<Val<'v>>,
    ) -> Result<bool, Trouble> {
        match fold.each {
            Each::Map => {
                if filter.map_or(Ok(true), |filter| self.truth(filter, locals))? {
                    let value = self.eval(body, locals)?;
                    fold.made.push(self.own(value)?);
                }
            }
            Each::Filter => {
                if self.truth(body, locals)? {
                    fold.made.push(self.own(element)?);
                }
            }
            Each::ExistsOne => fold.hits += usize::from(self.truth(body, locals)?),
            Each::All | Each::Exists => match self.truth(body, locals) {
                Ok(truth) => fold.hits += usize::from(truth == (fold.each == Each::Exists)),
                Err(Trouble::Spent) => return Err(Trouble::Spent),
                Err(failed) => fold.failed = fold.failed.take().or(Some(failed)),
            },
        }
        Ok(matches!(fold.each, Each::All | Each::Exists) && fold.hits > 0)
    }

    /// The elements of a list, or the keys of an object in their order.
    fn elements(&self, list: &Val<'v>) -> Result<Vec<Val<'v>>, Trouble> {
        match (list, list.as_ref()) {
            (_, Value::Object(members)) => {
                let mut keys: Vec<&String> = members.keys().collect();
                self.spend(keys.len() as u64)?;
                keys.sort_unstable();
                Ok(keys.into_iter().map(|key| Value::from(key.as_str()).into()).collect())
            }
            (Val::Held(Value::Array(values)), _) => {
                self.spend(values.len() as u64)?;
                Ok(values.iter().map(Val::Held).collect())
            }
            (_, Value::Array(values)) => {
                values.iter().try_for_each(|value| self.spend_copy(value))?;
                Ok(values.iter().map(|value| value.clone().into()).collect())
            }
            (_, other) => data(format!("{} has no elements", kind_of(other))),
        }
    }

    fn binary(&self, operator: Binary, a: &Value, b: &Value) -> Evaluated<'v> {
        let truth = |truth: bool| Ok(Value::Bool(truth).into());
        match operator {
            Binary::Equal => truth(self.equal(a, b)?),
            Binary::NotEqual => truth(!self.equal(a, b)?),
            Binary::Less => truth(self.order(a, b)?.is_lt()),
            Binary::LessOrEqual => truth(self.order(a, b)?.is_le()),
            Binary::Greater => truth(self.order(a, b)?.is_gt()),
            Binary::GreaterOrEqual => truth(self.order(a, b)?.is_ge()),
            Binary::In => match (a, b) {
                (a, Value::Array(values)) => {
                    for value in values {
                        if self.equal(a, value)? {
                            return truth(true);
                        }
                    }
                    truth(false)
                }
                (Value::String(key), Value::Object(members)) => truth(members.contains_key(key)),
                (Value::Number(_) | Value::Bool(_), Value::Object(_)) => truth(false),
                _ => data(format!("nothing is in {}", kind_of(b))),
            },
            Binary::Add => match (a, b) {
                (Value::String(_), Value::String(_)) | (Value::Array(_), Value::Array(_)) => {
                    self.spend_copy(a)?;
                    self.spend_copy(b)?;
                    Ok(joined(a, b).into())
                }
                _ => number::calculate(operator, a, b).map(made).map_err(Trouble::Data),
            },
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
                number::calculate(operator, a, b).map(made).map_err(Trouble::Data)
            }
        }
    }

    fn equal(&self, a: &Value, b: &Value) -> Result<bool, Trouble> {
        self.spend(1)?;
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => Ok(number::compare(a, b).is_some_and(Ordering::is_eq)),
            (Value::String(a), Value::String(b)) => {
                self.spend(pieces(a).min(pieces(b)))?;
                Ok(a == b)
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b) {
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
                for (key, a) in a {
                    match b.get(key) {
                        Some(b) if self.equal(a, b)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Null, Value::Null) => Ok(true),
            _ => Ok(false),
        }
    }

    fn order(&self, a: &Value, b: &Value) -> Result<Ordering, Trouble> {
        let order = match (a, b) {
            (Value::Number(a), Value::Number(b)) => number::compare(a, b),
            (Value::String(a), Value::String(b)) => {
                self.spend(pieces(a).min(pieces(b)))?;
                Some(a.cmp(b))
            }
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        order.ok_or_else(|| Trouble::Data(format!("{} and {} have no order", kind_of(a), kind_of(b))))
    }

    fn call(&self, function: Function, args: &[Val<'v>]) -> Evaluated<'v> {
        args.iter().try_for_each(|arg| self.spend(arg.as_ref().as_str().map_or(1, pieces)))?;
        let mut values = args.iter().map(AsRef::as_ref);
        let (first, second) = (values.next().unwrap_or(&Value::Null), values.next());
        let value = match (function, first, second) {
            (Function::Size, Value::String(text), None) => Some(Value::from(text.chars().count())),
            (Function::Size, Value::Array(values), None) => Some(Value::from(values.len())),
            (Function::Size, Value::Object(members), None) => Some(Value::from(members.len())),
            (Function::Contains, Value::String(a), Some(Value::String(b))) => {
                Some(a.contains(b.as_str()).into())
            }
            (Function::StartsWith, Value::String(a), Some(Value::String(b))) => {
                Some(a.starts_with(b.as_str()).into())
            }
            (Function::EndsWith, Value::String(a), Some(Value::String(b))) => {
                Some(a.ends_with(b.as_str()).into())
            }
            (Function::String, Value::String(text), None) => Some(Value::from(text.as_str())),
            (Function::String, Value::Bool(truth), None) => Some(Value::from(truth.to_string())),
            (Function::String, Value::Number(number), None) => Some(Value::from(match number.as_f64() {
                Some(float) if number.is_f64() => float.to_string(),
                _ => number.to_string(),
            })),
            (Function::Int, it, None) => number::int_of(it).map(Value::from),
            (Function::Double, Value::Number(number), None) => {
                number.as_f64().and_then(Number::from_f64).map(Value::Number)
            }
            (Function::Double, Value::String(text), None) => {
                text.parse().ok().and_then(Number::from_f64).map(Value::Number)
            }
            _ => None,
        };
        let name = format!("{function:?}").to_lowercase();
        value.map(Val::from).ok_or_else(|| Trouble::Data(format!("`{name}` cannot take {}", kind_of(first))))
    }
}

struct Fold {
    each: Each,
    made: Vec<Value>,
    hits: usize,
    failed: Option<Trouble>,
}

fn data<T>(reason: String) -> Result<T, Trouble> {
    Err(Trouble::Data(reason))
}

fn made<'v>(number: Number) -> Val<'v> {
    Value::Number(number).into()
}

fn missing(path: &str) -> Trouble {
    Trouble::Data(format!("there is no `{path}`"))
}

const fn pieces(text: &str) -> u64 {
    text.len() as u64 / 16
}

fn joined(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Value::String([a.as_str(), b.as_str()].concat()),
        (Value::Array(a), Value::Array(b)) => Value::Array([a.as_slice(), b.as_slice()].concat()),
        _ => Value::Null,
    }
}
