//! A notice: what is told about an order. Owns which commands make one.

use saga_protocol::SagaId;
use saga_worker::{Answer, Command};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Most bytes of JSON that a notice carries.
pub const DATA_BYTES_MAX: usize = 8 * 1024;

/// What happened to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is paid and stands.
    OrderCompleted,
    /// It was undone.
    OrderCancelled,
}

impl Kind {
    /// The action that tells it, and the name of the event that followers see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderCompleted => "order_completed",
            Self::OrderCancelled => "order_cancelled",
        }
    }
}

/// An order's id: 6 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderId(String);

impl OrderId {
    /// Checks the spelling.
    ///
    /// # Errors
    /// The rule, in words.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
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

/// A notice, as it travels through outbox and feed. Its fields are public text because a feed may
/// hold entries of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The command's effect key: the same however often the notice is handed over.
    pub effect_key: String,
    /// The saga that tells.
    pub saga: SagaId,
    /// The order it is about.
    pub order_id: String,
    /// What happened, see [`Kind`].
    pub kind: String,
    /// When the command was accepted, RFC 3339.
    pub noticed_at: String,
    /// The command's input beside the order id, as compact JSON.
    pub data: String,
}

/// What a command asks to tell: the order and the rest of the input.
///
/// # Errors
/// `rejected`, code `invalid_notice`.
pub fn of(command: &Command) -> Result<(OrderId, String), Answer> {
    parse(command.input.get()).map_err(|reason| Answer::rejected("invalid_notice", reason))
}

#[derive(Deserialize)]
struct Input {
    order_id: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn parse(input: &str) -> Result<(OrderId, String), String> {
    let input: Input = serde_json::from_str(input).map_err(|error| error.to_string())?;
    let order_id = OrderId::new(input.order_id)?;
    let data = serde_json::to_string(&input.rest).map_err(|error| error.to_string())?;
    if data.len() > DATA_BYTES_MAX {
        return Err(format!("a notice carries at most {DATA_BYTES_MAX} bytes, not {}", data.len()));
    }
    Ok((order_id, data))
}

#[derive(Serialize)]
struct Shown<'a> {
    effect_key: &'a str,
    saga: SagaId,
    order_id: &'a str,
    kind: &'a str,
    noticed_at: &'a str,
    data: Value,
}

impl Notice {
    /// The notice as followers get it, one line of JSON.
    ///
    /// # Errors
    /// When `data` is not JSON (an entry that somebody else wrote).
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Shown {
            effect_key: &self.effect_key,
            saga: self.saga,
            order_id: &self.order_id,
            kind: &self.kind,
            noticed_at: &self.noticed_at,
            data: serde_json::from_str(&self.data)?,
        })
    }
}

/// JSON Schema of both actions' input, as announced.
pub fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["order_id"],
        "properties": { "order_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" } },
        "additionalProperties": true,
    })
}
