//! What the actions take, and which of it is refused.
//!
//! Owns every rule that needs no database. Whatever passes here must fit the tables: a value that
//! Postgres would refuse would otherwise be asked for again until the step's budget is gone.

use saga_worker::{Answer, Command};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Most lines of one order.
pub const LINES_MAX: usize = 100;
/// Most units of one line.
pub const QUANTITY_MAX: i64 = 1_000_000;
/// Longest customer id, in characters.
pub const CUSTOMER_ID_CHARS_MAX: usize = 128;
/// Longest SKU, in characters.
pub const SKU_CHARS_MAX: usize = 64;

/// An order's id: 6 to 64 of `[A-Za-z0-9_-]`. Source: Toss Payments' rule for `orderId`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(String);

impl OrderId {
    /// Checks the spelling.
    ///
    /// # Errors
    /// The rule, in words.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let id = Self(text.into());
        id.check()?;
        Ok(id)
    }

    fn check(&self) -> Result<(), String> {
        let good = (6..=64).contains(&self.0.len())
            && self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if good { Ok(()) } else { Err("order_id must be 6 to 64 of A-Z, a-z, 0-9, - and _".to_owned()) }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What `create` takes.
#[derive(Clone, Debug, Deserialize)]
pub struct NewOrder {
    /// The order's id.
    pub order_id: OrderId,
    /// Who orders.
    pub customer_id: String,
    /// What is ordered.
    pub items: Vec<Line>,
    /// What it costs, in the currency's smallest unit: the sum of its lines.
    pub amount: i64,
    /// ISO 4217, such as `KRW`.
    pub currency: String,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// What one costs, in the currency's smallest unit.
    pub unit_price: i64,
}

/// What `complete` takes.
#[derive(Clone, Debug, Deserialize)]
pub struct Named {
    /// The order's id.
    pub order_id: OrderId,
    /// What of its amount is paid by money, when coupon or points pay a part; `complete` keeps it for the books.
    #[serde(default)]
    pub due: Option<i64>,
}

impl NewOrder {
    /// The order that a command asks for.
    ///
    /// # Errors
    /// `rejected`, code `invalid_order`, with the first rule that is broken.
    pub fn of(command: &Command) -> Result<Self, Answer> {
        let parsed: Result<Self, String> =
            serde_json::from_str(command.input.get()).map_err(|error| error.to_string());
        parsed
            .and_then(|order| order.check().map(|()| order))
            .map_err(|reason| Answer::rejected("invalid_order", reason))
    }

    fn check(&self) -> Result<(), String> {
        self.order_id.check()?;
        let customer_chars = self.customer_id.chars().count();
        if !(1..=CUSTOMER_ID_CHARS_MAX).contains(&customer_chars)
            || self.customer_id.chars().any(char::is_control)
        {
            return Err(format!(
                "customer_id must be 1 to {CUSTOMER_ID_CHARS_MAX} characters, none of them a control character"
            ));
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err("currency must be three capital letters (ISO 4217)".to_owned());
        }
        if !(1..=LINES_MAX).contains(&self.items.len()) {
            return Err(format!("items must be 1 to {LINES_MAX} lines"));
        }
        let mut sum: i64 = 0;
        for (index, line) in self.items.iter().enumerate() {
            let price = line.check().map_err(|reason| format!("items[{index}]: {reason}"))?;
            sum = sum.checked_add(price).ok_or("the sum of the lines is too large")?;
        }
        if sum != self.amount {
            return Err(format!("amount is {}, but the lines sum to {sum}", self.amount));
        }
        Ok(())
    }
}

impl Line {
    fn check(&self) -> Result<i64, String> {
        let spelled = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=SKU_CHARS_MAX).contains(&self.sku.len()) || !self.sku.bytes().all(spelled) {
            return Err(format!("sku must be 1 to {SKU_CHARS_MAX} of A-Z, a-z, 0-9, -, _ and ."));
        }
        if !(1..=QUANTITY_MAX).contains(&self.quantity) {
            return Err(format!("quantity must be 1 to {QUANTITY_MAX}"));
        }
        if self.unit_price < 0 {
            return Err("unit_price must not be negative".to_owned());
        }
        self.quantity.checked_mul(self.unit_price).ok_or_else(|| "unit_price is too large".to_owned())
    }
}

impl Named {
    /// The order that a command names.
    ///
    /// # Errors
    /// `rejected`, code `invalid_order`.
    pub fn of(command: &Command) -> Result<Self, Answer> {
        let parsed: Result<Self, String> =
            serde_json::from_str(command.input.get()).map_err(|error| error.to_string());
        parsed
            .and_then(|named| named.order_id.check().map(|()| named))
            .and_then(|named| match named.due {
                Some(due) if due < 0 => Err("due must not be negative".to_owned()),
                _ => Ok(named),
            })
            .map_err(|reason| Answer::rejected("invalid_order", reason))
    }
}

/// JSON Schema of `create`'s input, as announced.
pub fn create_schema() -> serde_json::Value {
    json!({
        "type": "object",
        "required": ["order_id", "customer_id", "items", "amount", "currency"],
        "properties": {
            "order_id": order_id_schema(),
            "customer_id": { "type": "string", "minLength": 1, "maxLength": CUSTOMER_ID_CHARS_MAX },
            "items": { "type": "array", "minItems": 1, "maxItems": LINES_MAX, "items": {
                "type": "object",
                "required": ["sku", "quantity", "unit_price"],
                "properties": {
                    "sku": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                    "quantity": { "type": "integer", "minimum": 1, "maximum": QUANTITY_MAX },
                    "unit_price": { "type": "integer", "minimum": 0 },
                },
            } },
            "amount": { "type": "integer", "minimum": 0 },
            "currency": { "type": "string", "pattern": "^[A-Z]{3}$" },
        },
    })
}

/// JSON Schema of `complete`'s input, as announced.
pub fn complete_schema() -> serde_json::Value {
    json!({
        "type": "object",
        "required": ["order_id"],
        "properties": { "order_id": order_id_schema(), "due": { "type": "integer", "minimum": 0 } },
    })
}

fn order_id_schema() -> serde_json::Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" })
}
