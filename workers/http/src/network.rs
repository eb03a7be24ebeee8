//! Where calls may go: anywhere outside, and inside only where the operators of this worker say so.
//!
//! An address is judged where the connection is made, after its name was resolved, so that a name that answers
//! differently the second time gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name whose addresses all lie inside.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is an address of the inside network, which calls may reach only where it is allowed")]
pub struct Inside(pub String);

/// The places inside that may be called.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<(String, Option<u16>)>);

/// Hosts that are reached elsewhere: a sandbox in development, a gateway of the operators.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<(String, Option<u16>, Url)>);

/// A text that is no route.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no route: write HOST=ADDRESS, such as api.carrier.example=http://127.0.0.1:8090")]
pub struct BadRoute(String);

impl Routes {
    /// Reads a list of routes, `HOST=ADDRESS` each, separated by commas.
    ///
    /// # Errors
    /// At the first that is none.
    pub fn parse(list: &str) -> Result<Self, BadRoute> {
        let routes = list.split(',').map(str::trim).filter(|it| !it.is_empty());
        routes
            .map(|text| {
                let read = || {
                    let (from, to) = text.split_once('=')?;
                    let ((host, port), to) = (place(from)?, Url::parse(to).ok()?);
                    let whole = matches!(to.scheme(), "http" | "https") && to.has_host() && to.path() == "/";
                    (whole && to.query().is_none() && to.username().is_empty()).then_some((host, port, to))
                };
                read().ok_or_else(|| BadRoute(text.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Where a request to `url` goes instead, if it does.
    pub fn lead(&self, url: &Url) -> Option<Url> {
        let (host, port) = (url.host_str()?, url.port_or_known_default());
        let (.., to) = self.0.iter().find(|(known, known_port, _)| {
            known == host && known_port.is_none_or(|known_port| port == Some(known_port))
        })?;
        let mut led = url.clone();
        led.set_scheme(to.scheme()).ok()?;
        led.set_host(to.host_str()).ok()?;
        led.set_port(to.port()).ok()?;
        Some(led)
    }
}

/// A text that names no host.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no host: write names or addresses, with or without a port, such as carrier.internal:8443")]
pub struct BadHost(String);

impl Allowed {
    /// Reads a list of hosts, each with or without a port, separated by commas.
    ///
    /// # Errors
    /// At the first that is none.
    pub fn parse(list: &str) -> Result<Self, BadHost> {
        let hosts = list.split(',').map(str::trim).filter(|it| !it.is_empty());
        hosts
            .map(|host| place(host).ok_or_else(|| BadHost(host.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether `url` is on the list.
    pub fn contains(&self, url: &Url) -> bool {
        let (Some(host), port) = (url.host_str(), url.port_or_known_default()) else { return false };
        self.0.iter().any(|(known, known_port)| known == host && known_port.is_none_or(|it| port == Some(it)))
    }
}

/// A host as URLs spell it, and its port when one is named.
fn place(text: &str) -> Option<(String, Option<u16>)> {
    let bare = text.parse::<Ipv6Addr>().is_ok();
    let text = if bare { format!("[{text}]") } else { text.to_owned() };
    // A scheme without a default port, so that every port that is named shows.
    let url = Url::parse(&format!("amends://{text}")).ok()?;
    let clean = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    let plain = clean && url.query().is_none() && url.fragment().is_none();
    let as_http = Url::parse(&format!("http://{text}")).ok()?;
    plain.then_some((as_http.host_str()?.to_owned(), url.port()))
}

/// Whether nobody outside could mean this address.
pub fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_inside_v4(it),
        IpAddr::V6(it) => is_inside_v6(it),
    }
}

fn is_inside_v4(it: Ipv4Addr) -> bool {
    let [a, b, c, _] = it.octets();
    it.is_private()
        || it.is_loopback()
        || it.is_link_local()
        || it.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
}

fn is_inside_v6(it: Ipv6Addr) -> bool {
    let s = it.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_inside_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // An address of version 4 through a translator, or through 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, b, ..] if b < 0x200 || b == 0xdb8 => true,
        [0x3fff, ..] => true,
        // Everything that is routed between networks begins with the bits 001.
        [first, ..] => first & 0xe000 != 0x2000,
    }
}

/// Whether `url` names an address that lies inside. Names are judged when they are resolved.
pub fn names_inside(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(is_inside)
}

/// Resolves names to addresses outside.
#[derive(Clone, Copy, Debug)]
pub struct Outside;

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let there = !found.is_empty();
            let outside: Vec<SocketAddr> = found.into_iter().filter(|it| !is_inside(it.ip())).collect();
            if there && outside.is_empty() {
                return Err(Inside(name.as_str().to_owned()).into());
            }
            Ok(Box::new(outside.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_inside_are_known_in_every_spelling() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(is_inside(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(!is_inside(outside.parse().unwrap()), "{outside}");
        }
        // What a URL makes of an address.
        for url in ["http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/", "http://[::ffff:127.0.0.1]/"]
        {
            assert!(names_inside(&Url::parse(url).unwrap()), "{url}");
        }
        assert!(!names_inside(&Url::parse("https://api.example.com/").unwrap()));
    }

    #[test]
    fn a_host_is_allowed_with_its_port_or_with_any() {
        let allowed = Allowed::parse("carrier.internal, 10.0.0.7:8080,::1,LocalHost:80").unwrap();
        for (url, expected) in [
            ("https://carrier.internal/x", true),
            ("http://carrier.internal:9/x", true),
            ("http://10.0.0.7:8080/", true),
            ("http://10.0.0.7/", false),
            ("http://[::1]:81/", true),
            ("http://localhost/", true),
            ("http://localhost:81/", false),
            ("https://x.carrier.internal/", false),
        ] {
            assert_eq!(allowed.contains(&Url::parse(url).unwrap()), expected, "{url}");
        }
        for bad in ["http://carrier", "a b", "a/b", "a:99999", "user@host"] {
            assert!(Allowed::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_route_takes_a_host_elsewhere_and_leaves_the_rest() {
        let routes =
            Routes::parse("api.example=http://127.0.0.1:8090, b.example:81=https://gate.internal").unwrap();
        let led = |url: &str| routes.lead(&Url::parse(url).unwrap()).map(|it| it.to_string());
        assert_eq!(led("https://api.example/a?b=1").unwrap(), "http://127.0.0.1:8090/a?b=1");
        assert_eq!(led("http://api.example:99/").unwrap(), "http://127.0.0.1:8090/");
        assert_eq!(led("http://b.example:81/x").unwrap(), "https://gate.internal/x");
        assert_eq!((led("http://b.example/x"), led("https://x.api.example/")), (None, None));
        for bad in ["api.example", "a=b", "a=ftp://b", "a=http://b/c", "a=http://u@b", "=http://b"] {
            assert!(Routes::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_resolved() {
        let Err(error) = Outside.resolve("localhost".parse().unwrap()).await else { panic!("resolved") };
        assert!(error.downcast_ref::<Inside>().is_some(), "{error}");
    }
}
