//! Where the issuer gives tokens out, by its discovery document (OpenID Connect Discovery 1.0, section 4).
//!
//! Only the dashboard's page asks: its policy must name every place that it talks to, and a provider may give tokens out
//! at another host than its name's, as Cognito does. It is kept for five minutes and asked for again no more often than
//! each ten seconds; while the issuer does not answer, what was known last stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;

const FRESH_FOR: Duration = Duration::from_secs(300);
const ASK_EVERY: Duration = Duration::from_secs(10);
/// A page waits no longer than this for its policy.
const TIMEOUT: Duration = Duration::from_secs(2);
const BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct Document {
    token_endpoint: String,
}

/// One issuer's.
pub(super) struct Discovery {
    url: String,
    http: reqwest::Client,
    known: RwLock<Option<(Instant, String)>>,
    /// When it was asked last; held while it is asked, so that one asks for all.
    asked: Arc<Mutex<Option<Instant>>>,
}

impl Discovery {
    pub(super) fn new(issuer: &str) -> anyhow::Result<Arc<Self>> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let http = reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT).build()?;
        Ok(Arc::new(Self { url, http, known: RwLock::default(), asked: Arc::default() }))
    }

    /// The address of the token endpoint, as far as it is known.
    pub(super) async fn token_endpoint(self: &Arc<Self>) -> Option<String> {
        let known = self.known.read().clone();
        if known.is_none_or(|(at, _)| at.elapsed() >= FRESH_FOR) {
            self.refresh().await;
        }
        self.known.read().as_ref().map(|(_, endpoint)| endpoint.clone())
    }

    async fn refresh(self: &Arc<Self>) {
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return;
        }
        // In a task of its own: a browser that hangs up takes its request with it.
        let of = Arc::clone(self);
        let asking = tokio::spawn(async move {
            *asked = Some(Instant::now());
            match of.fetch().await {
                Ok(endpoint) => *of.known.write() = Some((Instant::now(), endpoint)),
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "the issuer's discovery document cannot be read; the dashboard can sign in at the issuer's own host only"
                ),
            }
        });
        let _ = asking.await;
    }

    async fn fetch(&self) -> anyhow::Result<String> {
        let bytes = self.http.get(&self.url).send().await?.error_for_status()?.bytes().await?;
        anyhow::ensure!(bytes.len() <= BYTES_MAX, "it is too large");
        Ok(serde_json::from_slice::<Document>(&bytes)?.token_endpoint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Json, Router, routing::get};
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_token_endpoint_is_where_the_document_says_and_it_is_asked_once() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let answer = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {
                Json(
                    json!({ "token_endpoint": "https://tokens.example.com/oauth2/token", "issuer": "https://login" }),
                )
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/pool/", listener.local_addr().unwrap());
        let router = Router::new().route("/pool/.well-known/openid-configuration", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let discovery = Discovery::new(&issuer).unwrap();
        for _ in 0..3 {
            let endpoint = discovery.token_endpoint().await;
            assert_eq!(endpoint.as_deref(), Some("https://tokens.example.com/oauth2/token"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_is_not_waited_for_by_every_page() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        // It takes connections and says nothing.
        let discovery = Discovery::new(&issuer).unwrap();
        assert_eq!(discovery.token_endpoint().await, None);
        let began = Instant::now();
        assert_eq!(discovery.token_endpoint().await, None);
        assert!(began.elapsed() < TIMEOUT);
        drop(listener);
    }
}
