//! Identities that travel: saga, step, direction and the effect key made of them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A saga's id: a UUIDv7, so that rows of one week lie together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SagaId(pub Uuid);

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SagaId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The longest step name, in bytes.
pub const STEP_NAME_BYTES_MAX: usize = 64;

/// A step's name within its definition: `[a-z][a-z0-9_]*`, at most 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepName(Arc<str>);

impl StepName {
    /// Checks the spelling and makes the name.
    pub fn new(text: &str) -> Result<Self, BadStepName> {
        let mut bytes = text.bytes();
        let good = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && text.len() <= STEP_NAME_BYTES_MAX;
        if good { Ok(Self(text.into())) } else { Err(BadStepName(text.chars().take(80).collect())) }
    }

    /// The name as written in the definition.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A step name that is not `[a-z][a-z0-9_]*` of at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a step name: use lower-case letters, digits and _, starting with a letter, at most 64")]
pub struct BadStepName(String);

impl TryFrom<String> for StepName {
    type Error = BadStepName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<StepName> for String {
    fn from(name: StepName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a command does the step's work or undoes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Do the work.
    Execute,
    /// Undo it.
    Compensate,
}

impl Direction {
    /// The letter that stands for the direction in keys: `x` or `c`.
    pub const fn letter(self) -> char {
        match self {
            Self::Execute => 'x',
            Self::Compensate => 'c',
        }
    }
}

/// What names one effect: (saga, step, item, direction, round). Spelled
/// `<saga>:<step>:x1`, with a `foreach` item `<saga>:<step>.3:x1`. It is the idempotency key that
/// workers hand to outside providers, and at most 140 bytes long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectKey {
    /// The saga.
    pub saga: SagaId,
    /// The step.
    pub step: StepName,
    /// The index within a `foreach`, from 0.
    pub item: Option<u32>,
    /// Execute or compensate.
    pub direction: Direction,
    /// The round, from 1; each direction counts its own.
    pub round: u32,
}

impl EffectKey {
    /// The `ce_id` of one attempt: the effect key plus the attempt's number.
    pub fn ce_id(&self, attempt: u32) -> String {
        format!("{self}:{attempt}")
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.saga, self.step)?;
        if let Some(item) = self.item {
            write!(f, ".{item}")?;
        }
        write!(f, ":{}{}", self.direction.letter(), self.round)
    }
}
