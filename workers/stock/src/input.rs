//! What the actions take, and which of it is refused.
//!
//! Owns every rule that needs no database. Whatever passes here must fit the tables: a value that
//! Postgres would refuse would otherwise be asked for again until the step's budget is gone.

use std::collections::BTreeMap;

use saga_worker::{Answer, Command};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Most lines of one command.
pub const LINES_MAX: usize = 100;
/// Most units of one line.
pub const QUANTITY_MAX: i64 = 1_000_000;
/// Most units of one SKU on hand.
pub const ON_HAND_MAX: i64 = 1_000_000_000_000;

/// A stock keeping unit's name: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Sku(String);

impl Sku {
    /// Checks the spelling.
    ///
    /// # Errors
    /// The rule, in words.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let spelled = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(spelled) {
            Ok(Self(text))
        } else {
            Err("sku must be 1 to 64 of A-Z, a-z, 0-9, -, _ and .".to_owned())
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An order's id: 6 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderId(String);

impl OrderId {
    fn new(text: String) -> Result<Self, String> {
        let good = (6..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if good {
            Ok(Self(text))
        } else {
            Err("order_id must be 6 to 64 of A-Z, a-z, 0-9, - and _".to_owned())
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What `reserve` asks for: units of SKUs, each SKU once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For which order.
    pub order_id: OrderId,
    /// How many of what; lines of one SKU are added up.
    pub units: BTreeMap<Sku, i64>,
}

#[derive(Deserialize)]
struct RawRequest {
    order_id: String,
    items: Vec<RawLine>,
}

#[derive(Deserialize)]
struct RawLine {
    sku: String,
    quantity: i64,
}

#[derive(Deserialize)]
struct RawReturn {
    items: Vec<RawLine>,
}

#[derive(Deserialize)]
struct RawNamed {
    order_id: String,
}

impl Request {
    /// What a command asks for.
    ///
    /// # Errors
    /// `rejected`, code `invalid_reservation`, with the first rule that is broken.
    pub fn of(command: &Command) -> Result<Self, Answer> {
        Self::parse(command.input.get()).map_err(|reason| Answer::rejected("invalid_reservation", reason))
    }

    fn parse(input: &str) -> Result<Self, String> {
        let raw: RawRequest = serde_json::from_str(input).map_err(|error| error.to_string())?;
        let order_id = OrderId::new(raw.order_id)?;
        Ok(Self { order_id, units: units_of(raw.items)? })
    }
}

fn units_of(items: Vec<RawLine>) -> Result<BTreeMap<Sku, i64>, String> {
    if !(1..=LINES_MAX).contains(&items.len()) {
        return Err(format!("items must be 1 to {LINES_MAX} lines"));
    }
    let mut units = BTreeMap::new();
    for (index, line) in items.into_iter().enumerate() {
        let sku = Sku::new(line.sku).map_err(|reason| format!("items[{index}]: {reason}"))?;
        if !(1..=QUANTITY_MAX).contains(&line.quantity) {
            return Err(format!("items[{index}]: quantity must be 1 to {QUANTITY_MAX}"));
        }
        *units.entry(sku).or_insert(0) += line.quantity;
    }
    Ok(units)
}

/// What `restock` puts back: units of SKUs, each SKU once.
///
/// # Errors
/// `rejected`, code `invalid_restock`, with the first rule that is broken.
pub fn returned_units(command: &Command) -> Result<BTreeMap<Sku, i64>, Answer> {
    let raw: Result<RawReturn, String> =
        serde_json::from_str(command.input.get()).map_err(|error| error.to_string());
    raw.and_then(|raw| units_of(raw.items)).map_err(|reason| Answer::rejected("invalid_restock", reason))
}

/// The order that `commit` names.
///
/// # Errors
/// `rejected`, code `invalid_commit`.
pub fn committed_order(command: &Command) -> Result<OrderId, Answer> {
    let raw: Result<RawNamed, String> =
        serde_json::from_str(command.input.get()).map_err(|error| error.to_string());
    raw.and_then(|raw| OrderId::new(raw.order_id))
        .map_err(|reason| Answer::rejected("invalid_commit", reason))
}

/// JSON Schema of `reserve`'s input, as announced.
pub fn reserve_schema() -> serde_json::Value {
    json!({
        "type": "object",
        "required": ["order_id", "items"],
        "properties": {
            "order_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" },
            "items": items_schema(),
        },
    })
}

/// JSON Schema of `restock`'s input, as announced.
pub fn restock_schema() -> serde_json::Value {
    json!({ "type": "object", "required": ["items"], "properties": { "items": items_schema() } })
}

fn items_schema() -> serde_json::Value {
    json!({ "type": "array", "minItems": 1, "maxItems": LINES_MAX, "items": {
        "type": "object",
        "required": ["sku", "quantity"],
        "properties": {
            "sku": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
            "quantity": { "type": "integer", "minimum": 1, "maximum": QUANTITY_MAX },
        },
    } })
}

/// JSON Schema of `commit`'s input, as announced.
pub fn commit_schema() -> serde_json::Value {
    json!({
        "type": "object",
        "required": ["order_id"],
        "properties": { "order_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" } },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_of_one_sku_are_added_up() {
        let input = r#"{"order_id":"order-1","items":[{"sku":"a","quantity":2},{"sku":"b","quantity":1},{"sku":"a","quantity":3}]}"#;
        let units = Request::parse(input).unwrap().units;
        assert_eq!(units, BTreeMap::from([(Sku::new("a").unwrap(), 5), (Sku::new("b").unwrap(), 1)]));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let refused = |items: &str| {
            Request::parse(&format!(r#"{{"order_id":"order-1","items":{items}}}"#)).unwrap_err()
        };
        assert_eq!(refused("[]"), "items must be 1 to 100 lines");
        assert_eq!(
            refused(r#"[{"sku":"a","quantity":1},{"sku":"a","quantity":0}]"#),
            "items[1]: quantity must be 1 to 1000000"
        );
        assert!(refused(r#"[{"sku":"a","quantity":-1}]"#).starts_with("items[0]: quantity"));
        assert!(refused(r#"[{"sku":"a b","quantity":1}]"#).starts_with("items[0]: sku must be"));
        assert!(refused(r#"[{"sku":"a\u0000","quantity":1}]"#).starts_with("items[0]: sku must be"));
        assert!(refused(r#"[{"sku":"a","quantity":1.5}]"#).contains("invalid type"));
        assert!(refused(r#"[{"sku":"a","quantity":"1"}]"#).contains("invalid type"));
        assert!(Request::parse(r#"{"items":[]}"#).unwrap_err().contains("missing field `order_id`"));
        assert!(Request::parse(r#"{"order_id":"short","items":[{"sku":"a","quantity":1}]}"#).is_err());
    }
}
