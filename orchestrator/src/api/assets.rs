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
    page(&api.auth().places().await)
}

/// `/ui/{path}`: a file, or, for an address of the dashboard's own, the page.
pub async fn file(State(api): State<Api>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    if is_page(&path) { index(State(api)).await } else { embedded(&path, &headers) }
}

/// Page addresses have no extension; a missing script answered by a page would only confuse.
fn is_page(path: &str) -> bool {
    path == "index.html"
        || (!path.starts_with(HASHED) && !path.rsplit('/').next().unwrap_or_default().contains('.'))
}

fn embedded(path: &str, headers: &HeaderMap) -> Response {
    let Ok(at) = FILES.binary_search_by(|file| file.name.cmp(path)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
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

/// The page, with a nonce of its own for the styles that its libraries put in. `places` are the only foreign ones that it
/// may talk to: where people sign in.
fn page(places: &[String]) -> Response {
    let built = FILES.iter().find(|file| file.name == "index.html");
    let Some(text) = built.and_then(|file| std::str::from_utf8(file.bytes).ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, Html(MISSING)).into_response();
    };
    let nonce = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
    let mut response = Html(text.replace(NONCE, &nonce)).into_response();
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&policy(&nonce, places)).ok().map(|it| (POLICY, it)));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Scripts, fonts and pictures of our own, and nothing that a script made out of a text.
fn policy(nonce: &str, places: &[String]) -> String {
    let mut origins: Vec<&str> = places.iter().filter_map(|it| origin(it)).collect();
    origins.dedup();
    let places: String = origins.iter().map(|it| format!(" {it}")).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'{places}; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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
    fn tokens_may_be_fetched_where_the_issuer_gives_them_out() {
        let places =
            ["https://login.example.com/pool", "https://pool.auth.example.com/oauth2/token", "javascript:x"];
        let policy = policy("n", &places.map(ToOwned::to_owned));
        let connect = "connect-src 'self' https://login.example.com https://pool.auth.example.com;";
        assert!(policy.contains(connect), "{policy}");
        let same = ["https://login.example.com", "https://login.example.com/token"].map(ToOwned::to_owned);
        let policy = super::policy("n", &same);
        assert!(policy.contains("connect-src 'self' https://login.example.com;"), "{policy}");
    }

    #[test]
    fn files_are_in_the_order_that_they_are_looked_up_in() {
        assert!(FILES.is_sorted_by_key(|file| file.name));
    }

    #[tokio::test]
    async fn an_address_of_the_dashboard_is_the_page_and_a_missing_file_is_not() {
        assert!(is_page("sagas/01a1") && is_page("index.html"));
        assert!(!is_page("assets/none.js") && !is_page("icon.svg"));
        let saga = page(&["https://login.example.com/pool".to_owned()]);
        let missing = embedded("assets/none.js", &HeaderMap::new());
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
