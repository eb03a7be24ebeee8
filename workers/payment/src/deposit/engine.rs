//! The engine as this worker knows it: one endpoint, which takes a signal.

use std::fmt;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::SIGNAL;
use super::rows::Deposit;

/// How long the engine may take to answer; shorter than a delivery's lease.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of a refusal is read, in bytes, and kept, in characters.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const DETAIL_CHARS_MAX: usize = 500;

/// Where the engine is, and how it lets us in.
#[derive(Clone)]
pub struct EngineConfig {
    /// The address of its API.
    pub url: String,
    /// An API key with the role `worker`; none is needed where nobody signs in.
    pub api_key: Option<String>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why the engine cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum EngineConfigError {
    /// The address is not one.
    #[error("`{0}` is not an address of http or https")]
    Url(String),
    /// TLS cannot be set up.
    #[error("the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// What the engine made of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is durable there, now or since an earlier try.
    Kept,
    /// It will never be taken.
    Refused(String),
    /// Our key is no good.
    Locked(String),
    /// It cannot be said whether it was taken.
    NotNow(String),
}

/// The client. Cloning it shares its connections.
#[derive(Clone, Debug)]
pub struct Engine {
    http: reqwest::Client,
    base: Url,
    config: EngineConfig,
}

impl Engine {
    /// Makes a client; it connects when it is used.
    ///
    /// # Errors
    /// When the address is not one, or TLS cannot be set up.
    pub fn new(config: EngineConfig) -> Result<Self, EngineConfigError> {
        // An error says that the process has a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse(&config.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| EngineConfigError::Url(config.url.clone()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // The engine is beside us: an egress proxy is for the outside world.
            .no_proxy()
            .build()
            .map_err(EngineConfigError::Http)?;
        Ok(Self { http, base, config })
    }

    /// Tells a saga of its deposit. The same deposit, however often it is told, is one signal.
    pub(super) async fn tell(&self, deposit: &Deposit) -> Told {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["sagas", &deposit.saga.to_string(), "signals", SIGNAL]);
        }
        let payload = json!({
            "payment_key": deposit.payment_key, "order_id": deposit.order_id, "amount": deposit.amount,
            "currency": deposit.currency, "approved_at": deposit.approved_at,
        });
        let mut request =
            self.http.post(url).header("Idempotency-Key", deposit.id.to_string()).json(&payload);
        if let Some(key) = &self.config.api_key {
            request = request.bearer_auth(key);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Told::NotNow(chain(&error.without_url())),
        };
        let status = answer.status();
        let (ours, words) = said(answer).await;
        judge(status, ours, &words)
    }
}

/// `ours` says that it is the engine that answers: a wrong address has a 404 of its own, or a friendly page, and
/// neither is final.
fn judge(status: StatusCode, ours: bool, words: &str) -> Told {
    let words = format!("{status}: {words}");
    match status {
        // Taken in already, or kept until it is.
        StatusCode::OK | StatusCode::ACCEPTED if ours => Told::Kept,
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY if ours => {
            Told::Refused(words)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Told::Locked(words),
        _ => Told::NotNow(words),
    }
}

/// Whether an answer is the engine's: a signal that is kept, or one of its problems (RFC 9457). And what it says.
async fn said(mut answer: reqwest::Response) -> (bool, String) {
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(default, rename = "type")]
        kind: String,
        detail: Option<String>,
        title: Option<String>,
        id: Option<uuid::Uuid>,
        result: Option<String>,
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let ours = problem.kind.starts_with("/problems/") || (problem.id.is_some() && problem.result.is_some());
    let words = problem.detail.or(problem.title).unwrap_or_else(|| "no reason was given".to_owned());
    (ours, words.chars().filter(|it| *it != '\0').take(DETAIL_CHARS_MAX).collect())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words.chars().take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_taken_is_final() {
        for (code, ours, expected) in [
            (202, true, "kept"),
            (202, false, "later"),
            (200, true, "kept"),
            (200, false, "later"),
            (404, true, "refused"),
            (404, false, "later"),
            (409, true, "refused"),
            (422, true, "refused"),
            (422, false, "later"),
            (401, true, "locked"),
            (403, true, "locked"),
            (302, false, "later"),
            (400, true, "later"),
            (408, true, "later"),
            (429, true, "later"),
            (500, true, "later"),
            (503, false, "later"),
        ] {
            let told = judge(StatusCode::from_u16(code).unwrap_or_default(), ours, "words");
            let found = match told {
                Told::Kept => "kept",
                Told::Refused(_) => "refused",
                Told::Locked(_) => "locked",
                Told::NotNow(_) => "later",
            };
            assert_eq!(found, expected, "{code} {ours}");
        }
    }

    #[test]
    fn a_config_shows_no_key_and_must_be_an_address() {
        let config = |url: &str| EngineConfig { url: url.to_owned(), api_key: Some("amk_secret".to_owned()) };
        assert!(!format!("{:?}", config("http://a")).contains("amk_secret"));
        assert!(Engine::new(config("http://127.0.0.1:8080/")).is_ok());
        for bad in ["", "127.0.0.1:8080", "ftp://a"] {
            assert!(Engine::new(config(bad)).is_err(), "{bad}");
        }
    }
}
