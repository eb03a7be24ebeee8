//! The request headers that mean something here: `Idempotency-Key` and `Prefer`.

use std::time::Duration;

use axum::http::HeaderMap;

use super::problem::Problem;

/// The longest `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;
/// The longest wait, in s.
pub const WAIT_MAX_S: u64 = 60;

/// The `Idempotency-Key`, if there is one: 1 to 255 printable ASCII characters. Quotes around it (the form of
/// a structured field) belong to it.
///
/// # Errors
/// 400 when it is sent twice, empty, too long or not printable.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request("Send one Idempotency-Key, not several."));
    }
    match value.to_str() {
        Ok(key)
            if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len())
                && key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) =>
        {
            Ok(Some(key.to_owned()))
        }
        _ => Err(Problem::bad_request("An Idempotency-Key has 1 to 255 printable ASCII characters.")),
    }
}

/// The wait that `Prefer: wait=N` asks for (RFC 7240), at most [`WAIT_MAX_S`]. A preference that is not
/// understood is not an error.
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer");
    let seconds = preferences
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| value.trim().trim_matches('"').parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds.min(WAIT_MAX_S)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn prefer_wait_is_found_among_others_and_bounded() {
        let wait_of = |values: &[&str]| wait(&with("prefer", values)).map(|it| it.as_secs());
        assert_eq!(wait_of(&["wait=5"]), Some(5));
        assert_eq!(wait_of(&["respond-async, WAIT = \"7\"; x=y"]), Some(7));
        assert_eq!(wait_of(&["return=minimal", "wait=3600"]), Some(60));
        assert_eq!(wait_of(&["wait=0"]), Some(0));
        assert_eq!(wait_of(&["wait=soon"]), None);
        assert_eq!(wait_of(&[]), None);
    }

    #[test]
    fn idempotency_keys_are_bounded_and_printable() {
        let key = |values: &[&str]| idempotency_key(&with("idempotency-key", values));
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["order 1"]), Ok(Some("order 1".into())));
        assert!(key(&[&"k".repeat(255)]).is_ok());
        for bad in [&[""][..], &[&"k".repeat(256)], &["a", "b"], &["키"]] {
            assert_eq!(key(bad).unwrap_err().status, 400, "{bad:?}");
        }
    }
}
