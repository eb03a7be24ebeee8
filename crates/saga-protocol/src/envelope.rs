//! CloudEvents 1.0 in Kafka's binary mode: the context attributes are record headers, the data is
//! the record's value (JSON).
//!
//! Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::ids::SagaId;

/// Header: where the reply goes, `<topic>/<partition>`.
pub const REPLY_TO: &str = "ce_replyto";
/// Header: W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Header: the kind of message, such as `amends.command`.
pub const TYPE: &str = "ce_type";
/// Header: the message's id.
pub const ID: &str = "ce_id";
/// Header: when it was sent (RFC 3339).
pub const TIME: &str = "ce_time";
/// Header: who sent it.
pub const SOURCE: &str = "ce_source";

const SPEC_VERSION: &str = "ce_specversion";
const CONTENT_TYPE: &str = "content-type";

/// A header's name; those of our own records cost no allocation.
pub type HeaderName = Cow<'static, str>;

/// A name that was read.
pub fn header_name(read: &str) -> HeaderName {
    let ours = [SPEC_VERSION, TYPE, SOURCE, ID, TIME, CONTENT_TYPE, REPLY_TO, TRACEPARENT];
    ours.into_iter().find(|name| *name == read).map_or_else(|| read.to_owned().into(), Cow::Borrowed)
}

/// A record's headers, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(HeaderName, Bytes)>);

impl Headers {
    /// Appends a header.
    pub fn push(&mut self, name: impl Into<HeaderName>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value under `name`, when it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The value under `name`.
    ///
    /// # Errors
    /// When it is missing or not UTF-8.
    pub fn required(&self, name: &'static str) -> Result<&str, DecodeError> {
        self.get(name).ok_or(DecodeError::Header(name))
    }

    pub(crate) fn expect_type(&self, expected: &'static str) -> Result<(), DecodeError> {
        let found = self.required(TYPE)?;
        if found == expected {
            Ok(())
        } else {
            Err(DecodeError::Type { expected, found: found.chars().take(80).collect() })
        }
    }
}

/// What is handed to the bus: key, headers and data of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The record's key.
    pub key: Bytes,
    /// The record's headers.
    pub headers: Headers,
    /// The record's value.
    pub data: Bytes,
}

/// The topic and partition that a reply goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The topic's name.
    pub topic: String,
    /// The partition: the saga's shard.
    pub partition: i32,
}

impl fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl FromStr for ReplyTo {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let bad = DecodeError::Field("`ce_replyto` must be <topic>/<partition>");
        let Some((topic, partition)) = text.rsplit_once('/') else { return Err(bad) };
        match partition.parse() {
            Ok(partition) if partition >= 0 && !topic.is_empty() => {
                Ok(Self { topic: topic.to_owned(), partition })
            }
            _ => Err(bad),
        }
    }
}

/// Why a record could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A required header is missing or not UTF-8.
    #[error("header `{0}` is missing or not UTF-8")]
    Header(&'static str),
    /// The record is of another type.
    #[error("`ce_type` is `{found}`, not `{expected}`")]
    Type {
        /// What was looked for.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// A field breaks a rule.
    #[error("{0}")]
    Field(&'static str),
    /// The data is not the JSON that its type demands.
    #[error("data: {0}")]
    Json(#[from] serde_json::Error),
}

/// Room for most records' data, in bytes.
const USUAL_BYTES: usize = 640;

/// Makes a record of `data`, with the attributes that every CloudEvent has.
pub(crate) fn encode<T: Serialize>(
    id: String,
    kind: &'static str,
    source: &str,
    at_ms: i64,
    saga: SagaId,
    data: &T,
) -> Message {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, data)
        .expect("the wire's types have string keys and no failing serializer");
    // Two more come with a command.
    let mut headers = Headers(Vec::with_capacity(8));
    headers.push(SPEC_VERSION, "1.0");
    headers.push(TYPE, kind);
    headers.push(SOURCE, source.to_owned());
    headers.push(ID, id);
    headers.push(TIME, rfc3339(at_ms));
    headers.push(CONTENT_TYPE, "application/json");
    Message { key: Bytes::from(saga.to_string()), headers, data: Bytes::from(text) }
}

/// RFC 3339 with milliseconds, UTC.
pub fn rfc3339(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms)
        .unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
