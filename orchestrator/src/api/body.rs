//! Request bodies: their type, their size, and JSON with the place of every mistake.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Api;
use super::problem::{FaultAt, Problem};

/// How much of a body that is too large is still read and thrown away, in bytes: a client that is cut off
/// while it sends does not see why.
const DRAIN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is larger; 400 when it breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut first: Option<Bytes> = None;
    let mut whole: Vec<u8> = Vec::new();
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("The body broke off before its end."))?;
        length += chunk.len();
        if length > limit {
            while length <= DRAIN_BYTES_MAX {
                let Some(Ok(chunk)) = stream.next().await else { break };
                length += chunk.len();
            }
            return Err(too_large(limit));
        }
        // Nearly every body is one chunk: no copy.
        match (&first, whole.is_empty()) {
            (None, true) => first = Some(chunk),
            (Some(begin), true) => {
                whole.extend_from_slice(begin);
                whole.extend_from_slice(&chunk);
            }
            _ => whole.extend_from_slice(&chunk),
        }
    }
    Ok(if whole.is_empty() { first.unwrap_or_default() } else { whole.into() })
}

fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large")
        .detail(format!("At most {limit} bytes are taken. Nothing was written."))
}

/// Reads a JSON body.
///
/// # Errors
/// 415 when it does not say that it is JSON, 413 when it is too large, 400 when it is not JSON.
pub async fn json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Value, Problem> {
    if !is_json(headers) {
        return Err(unsupported("application/json"));
    }
    let bytes = read(body, limit).await?;
    parse(&bytes)
}

/// Reads a JSON body of a known shape.
///
/// # Errors
/// As [`json`]; 422 when it has another shape.
pub async fn of<T: DeserializeOwned>(api: &Api, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let value = json(headers, body, api.config().body_bytes_max).await?;
    serde_json::from_value(value)
        .map_err(|error| Problem::invalid_input(vec![FaultAt::at("", &error.to_string())]))
}

/// The longest reason, in characters.
pub const REASON_MAX: usize = 1_000;

/// What is wrong with a reason, if anything.
pub fn reason(why: &str) -> Option<FaultAt> {
    if why.trim().is_empty() {
        return Some(FaultAt::at("/why", "must not be empty: say why"));
    }
    (why.chars().count() > REASON_MAX).then(|| FaultAt::at("/why", "has more than 1,000 characters"))
}

/// 415, with what is taken.
pub fn unsupported(taken: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is of another type")
        .detail(format!("Send `Content-Type: {taken}`."))
}

/// Parses JSON.
///
/// # Errors
/// 400, with line and column of the mistake.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let fault = FaultAt {
            detail: without_place(&error.to_string()),
            line: Some(error.line() as u64),
            column: Some(error.column() as u64),
            ..FaultAt::default()
        };
        let place = format!("Line {}, column {}: {}.", error.line(), error.column(), fault.detail);
        Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is not JSON")
            .detail(place)
            .errors(vec![fault])
    })
}

/// serde_json ends its messages with the place, which stands beside them here.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(what, _)| what).to_owned()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()) else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let lower = essence.to_ascii_lowercase();
    lower == "application/json" || (lower.starts_with("application/") && lower.ends_with("+json"))
}

/// The media type without parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Every fault of an input, in the order of the schema.
pub fn faults(validator: &jsonschema::Validator, input: &Value) -> Vec<FaultAt> {
    validator
        .iter_errors(input)
        .map(|error| FaultAt {
            pointer: Some(error.instance_path().to_string()),
            // Values can hold what does not belong into logs and screens; say what is wrong, not what it was.
            detail: error.masked_with("the value").to_string(),
            keyword: Some(error.kind().keyword().to_owned()),
            ..FaultAt::default()
        })
        .collect()
}

/// The hash that tells two bodies apart: SHA-256 of the definition's name and the body with sorted keys.
/// Spaces and the order of keys do not change it.
pub fn hash(definition: &str, input: &Value) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(definition.as_bytes());
    bytes.push(0);
    canonical(input, &mut bytes);
    Sha256::digest(&bytes).into()
}

fn canonical(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            into.push(b'{');
            for (at, (key, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    into.push(b',');
                }
                scalar(key, into);
                into.push(b':');
                canonical(value, into);
            }
            into.push(b'}');
        }
        Value::Array(items) => {
            into.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    into.push(b',');
                }
                canonical(item, into);
            }
            into.push(b']');
        }
        other => scalar(other, into),
    }
}

fn scalar<T: Serialize + ?Sized>(value: &T, into: &mut Vec<u8>) {
    serde_json::to_writer(into, value).expect("a scalar into memory");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_knows_neither_spaces_nor_the_order_of_keys() {
        let one = parse(br#"{"a": 1, "b": {"d": [1, "x"], "c": null}}"#).unwrap();
        let two = parse(br#"{"b":{"c":null,"d":[1,"x"]},"a":1}"#).unwrap();
        assert_eq!(hash("order", &one), hash("order", &two));
        assert_ne!(hash("order", &one), hash("refund", &one));
        assert_ne!(hash("order", &one), hash("order", &json!({ "a": 1, "b": { "d": ["x", 1], "c": null } })));
    }

    #[test]
    fn what_could_be_confused_by_joining_differs() {
        assert_ne!(hash("o", &json!(["a", "b"])), hash("o", &json!(["a,b"])));
        assert_ne!(hash("o", &json!({ "a": "b" })), hash("o", &json!({ "a\":\"b": 1 })));
    }

    #[test]
    fn malformed_json_is_placed() {
        let problem = parse(b"{\n  \"a\": 1,\n  }").unwrap_err();
        assert_eq!((problem.status, problem.errors[0].line), (400, Some(3)));
        assert!(!problem.errors[0].detail.contains("line"), "{:?}", problem.errors);
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
        assert_eq!(read(Body::from(vec![b' '; 10]), 10).await.unwrap().len(), 10);
        assert_eq!(read(Body::from(vec![b' '; 11]), 10).await.unwrap_err().status, 413);
        let chunks =
            futures::stream::iter(["ab", "cd", "ef"].map(|it| Ok::<_, std::io::Error>(Bytes::from(it))));
        assert_eq!(read(Body::from_stream(chunks), 10).await.unwrap(), "abcdef");
    }

    #[test]
    fn only_json_is_json() {
        let with = |text: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]);
        assert!(is_json(&with("application/json; charset=utf-8")));
        assert!(is_json(&with("application/merge-patch+JSON")));
        assert!(!is_json(&with("text/json")) && !is_json(&with("text/plain")) && !is_json(&HeaderMap::new()));
    }
}
