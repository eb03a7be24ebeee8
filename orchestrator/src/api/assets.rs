//! The dashboard's built files, embedded, and the policy that browsers hold them to.
//!
//! It knows nothing of what the pages show: they ask the API as every client does.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use base64::Engine as _;

use super::Api;

/// A file of the dashboard.
struct File {
    name: &'static str,
    bytes: &'static [u8],
    /// The same, compressed by gzip.
    zipped: Option<&'static [u8]>,
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// Where the nonce stands in the page.
const NONCE: &str = "%NONCE%";
/// Files under this folder have their content's hash in their name.
const HASHED: &str = "assets/";
const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;

/// `/` and `/ui`: the dashboard is under `/ui/`.
pub async fn root() -> Redirect {
    Redirect::to("/ui/")
}

/// `/ui/`: the page.
pub async fn index(State(api): State<Api>) -> Response {
    page(issuer(&api))
}

/// `/ui/{path}`: a file, or, for an address of the dashboard's own, the page.
pub async fn file(State(api): State<Api>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    embedded(&path, &headers, issuer(&api))
}

/// The one foreign place that the page may talk to: where people sign in.
fn issuer(api: &Api) -> Option<&str> {
    api.auth().jwt().map(|it| it.issuer.as_str())
}

fn embedded(path: &str, headers: &HeaderMap, issuer: Option<&str>) -> Response {
    let Ok(at) = FILES.binary_search_by(|file| file.name.cmp(path)) else {
        // Page addresses have no extension; a missing script answered by a page would only confuse.
        let is_page = !path.starts_with(HASHED) && !path.rsplit('/').next().unwrap_or_default().contains('.');
        return if is_page { page(issuer) } else { StatusCode::NOT_FOUND.into_response() };
    };
    if path == "index.html" {
        return page(issuer);
    }
    let file = &FILES[at];
    let cache = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let plain = [
        (header::CONTENT_TYPE, media_type(file.name)),
        (header::CACHE_CONTROL, cache),
        (header::VARY, "Accept-Encoding"),
    ];
    match file.zipped.filter(|_| takes_gzip(headers)) {
        Some(zipped) => (plain, [(header::CONTENT_ENCODING, "gzip")], zipped).into_response(),
        None => (plain, file.bytes).into_response(),
    }
}

/// The page, with a nonce of its own for the styles that its libraries put in.
fn page(issuer: Option<&str>) -> Response {
    let built = FILES.iter().find(|file| file.name == "index.html");
    let Some(text) = built.and_then(|file| std::str::from_utf8(file.bytes).ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, Html(MISSING)).into_response();
    };
    let nonce = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
    let mut response = Html(text.replace(NONCE, &nonce)).into_response();
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&policy(&nonce, issuer)).ok().map(|it| (POLICY, it)));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Scripts, fonts and pictures of our own, and nothing that a script made out of a text.
fn policy(nonce: &str, issuer: Option<&str>) -> String {
    let issuer = issuer.and_then(origin).map(|it| format!(" {it}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'{issuer}; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Scheme, host and port of an address, if they can stand in a policy.
fn origin(address: &str) -> Option<&str> {
    let host = address.find("://")? + 3;
    let end = address[host..].find('/').map_or(address.len(), |it| host + it);
    let origin = &address[..end];
    let plain = |it: char| it.is_ascii_alphanumeric() || ":/.-[]".contains(it);
    (end > host && origin.chars().all(plain)).then_some(origin)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|it| it.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|it| {
        let mut parts = it.trim().split(';');
        parts.next().is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip"))
            && !parts.any(|it| matches!(it.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Amends</title>\
    <h1>This build has no dashboard</h1>\
    <p>The engine runs, and its API answers. <code>make build</code> builds the dashboard too; or, by hand, \
    <code>dashboard/build</code> and then <code>cargo build -p amends</code>.</p>\
    <p><a href=\"/sagas\">Sagas</a> \u{b7} <a href=\"/openapi.json\">OpenAPI</a></p></html>";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::body::to_bytes;

    use super::*;

    fn accepting(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding))])
    }

    #[test]
    fn gzip_only_where_it_is_taken() {
        assert!(takes_gzip(&accepting("br, gzip;q=0.5")));
        assert!(!takes_gzip(&accepting("gzip;q=0, br")));
        assert!(!takes_gzip(&accepting("gzipped")));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_policy_names_an_issuer_by_its_origin_and_nothing_else() {
        assert_eq!(origin("https://login.example.com:8443/pool?x"), Some("https://login.example.com:8443"));
        assert_eq!(origin("http://localhost:9000"), Some("http://localhost:9000"));
        assert_eq!(origin("https://a.example; script-src *"), None);
        assert_eq!(origin("https:///pool"), None);
        assert_eq!(origin("nonsense"), None);
    }

    #[test]
    fn files_are_in_the_order_that_they_are_looked_up_in() {
        assert!(FILES.is_sorted_by_key(|file| file.name));
    }

    #[tokio::test]
    async fn an_address_of_the_dashboard_is_the_page_and_a_missing_file_is_not() {
        let saga = embedded("sagas/01a1", &HeaderMap::new(), Some("https://login.example.com/pool"));
        let missing = embedded("assets/none.js", &HeaderMap::new(), None);
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        let built = !FILES.is_empty();
        assert_eq!(saga.status() == StatusCode::OK, built);
        let policy = saga.headers().get(POLICY).map(|it| it.to_str().unwrap().to_owned());
        let body = to_bytes(saga.into_body(), 1_000_000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        match policy {
            Some(policy) => {
                let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
                assert!(body.contains(nonce) && !body.contains(NONCE), "the page carries the policy's nonce");
                assert!(!policy.contains("unsafe"), "{policy}");
                assert!(policy.contains("connect-src 'self' https://login.example.com;"), "{policy}");
            }
            None => assert!(body.contains("dashboard/build"), "it says how to build it: {body}"),
        }
    }
}
