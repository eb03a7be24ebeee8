//! What the door asks of a definition before a saga starts: whether an input is valid, and what key, amount and
//! currency it means.
//!
//! Nothing here goes to the network: a schema that refers to elsewhere does not compile.

use std::sync::Arc;

use jsonschema::{Draft, Validator};
use saga_protocol::SagaId;
use serde_json::Value;

use super::expression::{EvalError, Scope};
use super::{Definition, Template};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 200;

/// Why a schema does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SchemaError {
    /// Why.
    pub reason: String,
    /// Where in the schema, as a JSON pointer.
    pub pointer: String,
}

/// Compiles a schema as draft 2020-12, formats included.
pub(super) fn compile(schema: &Value) -> Result<Validator, SchemaError> {
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    options.build(schema).map_err(|error| SchemaError {
        reason: error.to_string().chars().take(300).collect(),
        pointer: error.instance_path().to_string(),
    })
}

/// The validator of a definition's input. Compile it once and keep it.
///
/// # Errors
/// Never for a definition that was loaded: [`super::load()`] compiles the schema too.
pub fn validator(definition: &Definition) -> Result<Validator, SchemaError> {
    compile(&definition.input_schema)
}

/// What a step's output must be, ready to be asked.
#[derive(Clone, Debug)]
pub struct OutputSchema {
    /// As it was written.
    pub schema: Value,
    validator: Arc<Validator>,
}

impl OutputSchema {
    /// None when it is no schema, which [`super::load()`] has told.
    pub(crate) fn new(schema: Value) -> Option<Self> {
        let validator = Arc::new(compile(&schema).ok()?);
        Some(Self { schema, validator })
    }

    /// Why an output does not fit, if it does not. Its values are not told: they may be personal, and what is told
    /// stands in the history.
    pub fn misfit(&self, output: &Value) -> Option<String> {
        let error = self.validator.validate(output).err()?;
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
        let reason: String = error.masked_with("it").to_string().chars().take(300).collect();
        Some(format!("{reason}{place}"))
    }

    /// An output that should fit, where nobody says which.
    pub fn sample(&self) -> Value {
        super::sample::sample(&self.schema)
    }
}

impl Definition {
    /// An input to play with, where nobody gives one. It has what is required, and need not fit.
    pub fn sample_input(&self) -> Value {
        super::sample::sample(&self.input_schema)
    }

    /// What a saga with this input is called within the definition, if the definition has a `key`.
    ///
    /// # Errors
    /// When the key has no value, or none that is a non-empty text or whole number of at most
    /// [`KEY_BYTES_MAX`] bytes.
    pub fn key_of(&self, input: &Value) -> Result<Option<String>, EvalError> {
        let Some(value) = of_input(self.key.as_ref(), input)? else { return Ok(None) };
        let key = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return unfit("key", "a text or a whole number"),
        };
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
            return unfit("key", "1 to 200 bytes long, without a zero byte");
        }
        Ok(Some(key))
    }

    /// What is wrong with an input that its schema lets in: it means no key, amount or currency that a saga can have.
    pub fn unmeant(&self, input: &Value) -> Vec<String> {
        let all = [self.key_of(input).err(), self.amount_of(input).err(), self.currency_of(input).err()];
        all.into_iter().flatten().map(|error| error.to_string()).collect()
    }

    /// The amount at stake, in the currency's smallest unit, if the definition says one.
    ///
    /// # Errors
    /// When it has no value, or none that is a whole number (or the text of one).
    pub fn amount_of(&self, input: &Value) -> Result<Option<i64>, EvalError> {
        let Some(value) = of_input(self.about.amount.as_ref(), input)? else { return Ok(None) };
        let amount = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        amount.map_or_else(|| unfit("amount", "a whole number"), |amount| Ok(Some(amount)))
    }

    /// The amount's currency, if the definition says one.
    ///
    /// # Errors
    /// When it has no value, or none of three capital letters.
    pub fn currency_of(&self, input: &Value) -> Result<Option<String>, EvalError> {
        match of_input(self.about.currency.as_ref(), input)? {
            None => Ok(None),
            Some(Value::String(text)) if text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) => {
                Ok(Some(text))
            }
            Some(_) => unfit("currency", "three capital letters (ISO 4217)"),
        }
    }
}

pub(super) fn of_input(template: Option<&Template>, input: &Value) -> Result<Option<Value>, EvalError> {
    let Some(template) = template else { return Ok(None) };
    let scope = Scope { input, steps: &|_| None, item: None, saga: SagaId(uuid::Uuid::nil()) };
    template.resolve(&scope).map(|value| Some(Arc::unwrap_or_clone(value)))
}

fn unfit<T>(what: &str, wanted: &str) -> Result<T, EvalError> {
    Err(EvalError::Failed { expression: what.to_owned(), reason: format!("it must be {wanted}") })
}
