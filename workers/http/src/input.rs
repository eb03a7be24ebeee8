//! What a command's input says: the calls of one step, as the definition language writes them.
//!
//! Structure (a host, a secret's name, a place in the output) and values that came from outside are told apart by
//! their place, never by how a text looks.

use serde::Deserialize;
use serde_json::Value;

/// The calls of one step.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// What does it.
    pub call: Request,
    /// What shows whether it took effect.
    #[serde(default)]
    pub check: Option<Check>,
    /// What undoes it.
    #[serde(default)]
    pub undo: Option<Request>,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its address.
    pub url: Vec<Piece>,
    /// Its headers.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Its JSON body.
    #[serde(default)]
    pub body: Option<Value>,
    /// What of the body is filled in from the output of the call that is undone.
    #[serde(default)]
    pub fill: Vec<Fill>,
    /// Which statuses mean that it was done; 200 to 299 when absent.
    #[serde(default)]
    pub success: Option<Vec<u16>>,
    /// Which do so beside those.
    #[serde(default)]
    pub also_success: Vec<u16>,
    /// Which statuses mean that it is to be tried again.
    #[serde(default)]
    pub retryable: Vec<u16>,
    /// The header that carries the effect's key.
    pub idempotency_header: String,
    /// How long it may take, in ms.
    pub timeout_ms: u64,
}

/// A request that shows whether another took effect.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    /// Its address.
    pub url: Vec<Piece>,
    /// Its headers.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Which statuses say that it did; the answer is the output.
    pub found: Vec<u16>,
    /// Which say that it did not.
    pub absent: Vec<u16>,
    /// How long it may take, in ms.
    pub timeout_ms: u64,
}

/// A piece of an address.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// As the author wrote it.
    Text(String),
    /// A value, which is one piece of a path or query whatever it holds.
    Value(Value),
    /// A value of the output, by its JSON pointer.
    Output(String),
}

/// A header.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Header {
    /// One that carries a secret.
    Secret {
        /// Its name.
        name: String,
        /// The secret's name.
        secret: String,
        /// What stands before the secret.
        #[serde(default)]
        prefix: String,
    },
    /// Any other.
    Plain {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
}

/// A place of the body that takes a value of the output; both JSON pointers.
#[derive(Clone, Debug, Deserialize)]
pub struct Fill {
    /// The place.
    pub at: String,
    /// The value.
    pub output: String,
}

impl Request {
    /// Whether a status says that it was done.
    pub fn succeeded(&self, status: u16) -> bool {
        match &self.success {
            Some(statuses) => statuses.contains(&status),
            None => (200..300).contains(&status) || self.also_success.contains(&status),
        }
    }

    /// Whether it cannot be made without the output of the call that it undoes.
    pub fn needs_output(&self) -> bool {
        !self.fill.is_empty() || self.url.iter().any(|piece| matches!(piece, Piece::Output(_)))
    }
}
