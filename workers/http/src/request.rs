//! Puts a request together: its address, headers and body. It must not send it.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use saga_protocol::Fault;
use serde_json::Value;

use crate::input::{Fill, Header, Piece};
use crate::secrets::Secrets;

/// Why a request cannot be put together.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The same input will never do.
    Input(Fault),
    /// This worker's own set-up lacks something.
    Setup(Fault),
}

fn unfit(message: impl Into<String>) -> Unfit {
    Unfit::Input(Fault::new("bad_input", message))
}

/// The address. What a value holds stays within its piece of the path or query.
pub(crate) fn address(pieces: &[Piece], output: Option<&Value>) -> Result<Url, Unfit> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(it) => text.push_str(it),
            Piece::Value(it) => encode(&plain(it)?, &mut text),
            Piece::Output(pointer) => encode(&plain(at(output, pointer)?)?, &mut text),
        }
    }
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    if path.split('/').skip(3).any(is_dots) {
        return Err(unfit("a value in the address would lead to another path"));
    }
    let url = Url::parse(&text).map_err(|error| unfit(format!("the address cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(unfit("the address must be one of http or https, without a user"));
    }
    Ok(url)
}

/// A value that can stand in an address or a header.
fn plain(value: &Value) -> Result<String, Unfit> {
    match value {
        // Without the value the address would mean something else: all things instead of one.
        Value::String(text) if text.is_empty() => Err(unfit("a value in the address is empty")),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(it) => Ok(it.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(unfit("only texts, numbers, true and false can stand in an address or a header"))
        }
    }
}

fn encode(text: &str, out: &mut String) {
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn at<'v>(output: Option<&'v Value>, pointer: &str) -> Result<&'v Value, Unfit> {
    output
        .and_then(|output| output.pointer(pointer))
        .ok_or_else(|| unfit(format!("the output of the call that is undone has nothing at `{pointer}`")))
}

/// The headers for a request to `url`.
pub(crate) async fn headers(given: &[Header], secrets: &Secrets, url: &Url) -> Result<HeaderMap, Unfit> {
    let mut headers = HeaderMap::new();
    for header in given {
        let (name, value) = match header {
            Header::Plain { name, value } => (name, HeaderValue::from_str(&plain(value)?)),
            Header::Secret { name, secret, prefix } => {
                let own = |message: String| Unfit::Setup(Fault::new("secret_withheld", message));
                let value = secrets.value(secret, url).await.map_err(|error| own(error.to_string()))?;
                let mut value = HeaderValue::from_str(&format!("{prefix}{value}"))
                    .map_err(|_| own(format!("the secret `{secret}` cannot stand in a header")))?;
                value.set_sensitive(true);
                (name, Ok(value))
            }
        };
        let value = value.map_err(|_| unfit(format!("the value of `{name}` cannot stand in a header")))?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unfit("a header's name is none"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The body, with what comes from the output.
pub(crate) fn body(
    body: Option<&Value>,
    fill: &[Fill],
    output: Option<&Value>,
) -> Result<Option<Value>, Unfit> {
    let mut body = body.cloned();
    for Fill { at: place, output: pointer } in fill {
        let value = at(output, pointer)?.clone();
        let place = body.as_mut().and_then(|body| body.pointer_mut(place));
        *place.ok_or_else(|| unfit("the body lacks the place that is to be filled in"))? = value;
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn url(value: Value) -> Result<String, ()> {
        let pieces: Vec<Piece> = serde_json::from_value(
            json!([{ "text": "https://c.example/p/" }, { "value": value }, { "text": "/x?q=1" }]),
        )
        .unwrap();
        address(&pieces, None).map(|it| it.to_string()).map_err(|_| ())
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_the_address() {
        assert_eq!(url(json!("a1")).unwrap(), "https://c.example/p/a1/x?q=1");
        assert_eq!(url(json!(7)).unwrap(), "https://c.example/p/7/x?q=1");
        assert_eq!(url(json!("a/../b?c#d")).unwrap(), "https://c.example/p/a%2F..%2Fb%3Fc%23d/x?q=1");
        assert_eq!(
            url(json!("서울 @evil")).unwrap(),
            "https://c.example/p/%EC%84%9C%EC%9A%B8%20%40evil/x?q=1"
        );
        for bad in [json!(".."), json!("."), json!(""), json!(null), json!({}), json!(["a"])] {
            assert!(url(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_output_is_filled_in_where_it_belongs() {
        let output = json!({ "id": "P-1" });
        let fill = [Fill { at: "/a/0".to_owned(), output: "/id".to_owned() }];
        let filled = body(Some(&json!({ "a": [null], "b": "${output.id}" })), &fill, Some(&output)).unwrap();
        assert_eq!(filled, Some(json!({ "a": ["P-1"], "b": "${output.id}" })));
        assert!(body(Some(&json!({ "a": [null] })), &fill, None).is_err());
    }
}
