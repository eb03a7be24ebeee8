//! The request headers that mean something here: `Idempotency-Key`, `Prefer` and `X-Forwarded-For`.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderMap;
use ipnet::IpNet;

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

/// Who asks: the other end of the connection, or, where that is a trusted proxy, whom it names. Each proxy adds
/// whom it was asked by at the end of `X-Forwarded-For`, so that only what trusted ones have added counts; what a
/// client writes there itself does not.
pub fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let trusts = |address: &IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer;
    if !trusts(&client) {
        return client;
    }
    let named = headers.get_all("x-forwarded-for").iter();
    let named: Vec<&str> = named.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(',')).collect();
    for name in named.into_iter().rev() {
        let Some(address) = address(name.trim()) else { break };
        client = address;
        if !trusts(&client) {
            break;
        }
    }
    client
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(with_port).or_else(bare)
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
    fn only_trusted_proxies_say_who_asks() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let who = |peer: &str, values: &[&str]| {
            client(&with("x-forwarded-for", values), peer.parse().unwrap(), &trusted).to_string()
        };
        assert_eq!(who("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "a client's own word");
        assert_eq!(who("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(who("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(who("10.0.0.1", &["127.0.0.1, 198.51.100.1"]), "198.51.100.1", "forged in front");
        assert_eq!(
            who("10.0.0.1", &["198.51.100.1", "10.0.0.2"]),
            "198.51.100.1",
            "two proxies, two headers"
        );
        assert_eq!(who("10.0.0.1", &["198.51.100.1, nobody"]), "10.0.0.1", "nothing is made up");
        assert_eq!(who("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(who("10.0.0.1", &["198.51.100.1:4711, 10.0.0.2:80"]), "198.51.100.1", "with ports");
        assert_eq!(who("10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(who("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
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
