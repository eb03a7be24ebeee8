//! What expressions say about the data at hand.
//!
//! Owns nothing but the way to [`crate::command`], where resolution is written once; what has no value becomes
//! [`BadExpression`], never a failure of the saga.

use std::sync::Arc;

use serde_json::Value;

use super::draft::Draft;
use crate::command;
use crate::definition::{Expression, Scope, Template};

/// An expression has no value with the data at hand.
pub(super) struct BadExpression(pub(super) String);

type Item = Option<(u32, Arc<Value>)>;

impl Draft<'_> {
    pub(super) fn resolve(&self, template: &Template, item: Item) -> Result<Arc<Value>, BadExpression> {
        self.scoped(item, |scope| template.resolve(scope)).map_err(|error| BadExpression(error.to_string()))
    }

    /// The same value, spelled.
    pub(super) fn spell(&self, template: &Template, item: Item) -> Result<command::Spelled, BadExpression> {
        let spelled = self.scoped(item, |scope| template.spell(scope));
        spelled.map(command::Spelled).map_err(|error| BadExpression(error.to_string()))
    }

    pub(super) fn truth(&self, expression: &Expression) -> Result<bool, BadExpression> {
        self.scoped(None, |scope| expression.truth(scope)).map_err(|error| BadExpression(error.to_string()))
    }

    pub(super) fn list(&self, expression: &Expression) -> Result<Vec<Value>, BadExpression> {
        let value = self.scoped(None, |scope| expression.resolve(scope));
        match Arc::unwrap_or_clone(value.map_err(|error| BadExpression(error.to_string()))?) {
            Value::Array(items) => Ok(items),
            _ => Err(BadExpression(format!("`{expression}` is not a list"))),
        }
    }

    fn scoped<R>(&self, item: Item, f: impl FnOnce(&Scope<'_>) -> R) -> R {
        let payloads = self.payloads();
        command::with_scope(self.definition, payloads.saga, &self.state, payloads, item, f)
    }
}
