//! The issuer's public keys: fetched, kept, and fetched again when they rotate.
//!
//! A key that is not known is asked for at once, but not more often than each ten seconds: tokens with invented
//! key ids must not become a load on the issuer. While the issuer does not answer, what was known last stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::RwLock;
use tokio::sync::Mutex;

const FRESH_FOR: Duration = Duration::from_secs(300);
const ASK_EVERY: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 256 * 1024;

/// A key that can verify one algorithm.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// Keys by id.
#[derive(Default)]
struct Known {
    keys: HashMap<String, Key>,
    /// Those without an id.
    nameless: Vec<Key>,
    fetched: Option<Instant>,
}

/// The keys behind one address.
pub(super) struct Jwks {
    url: String,
    http: reqwest::Client,
    known: RwLock<Arc<Known>>,
    /// When the issuer was asked last, and whether it answered; held while it is asked, so that one asks for all.
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    at: Option<Instant>,
    answered: bool,
}

/// The issuer did not answer: whether a key that is not known is one of its keys cannot be told.
#[derive(Debug)]
pub(super) struct Unanswered;

impl Jwks {
    pub(super) fn new(url: String) -> anyhow::Result<Arc<Self>> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT).build()?;
        Ok(Arc::new(Self { url, http, known: RwLock::default(), asked: Arc::default() }))
    }

    /// The key that a token's header names. A header without an id means the only key there is.
    pub(super) async fn key(self: &Arc<Self>, id: Option<&str>) -> Result<Option<Key>, Unanswered> {
        let known = Arc::clone(&self.known.read());
        let fresh = known.fetched.is_some_and(|at| at.elapsed() < FRESH_FOR);
        if fresh && let Some(key) = find(&known, id) {
            return Ok(Some(key));
        }
        let answered = self.refresh().await;
        match find(&Arc::clone(&self.known.read()), id) {
            None if !answered => Err(Unanswered),
            found => Ok(found),
        }
    }

    /// Asks the issuer, unless that was done just now; says whether it answered last.
    async fn refresh(self: &Arc<Self>) -> bool {
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if asked.at.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return asked.answered;
        }
        // In a task of its own: a browser that hangs up takes its request with it, and everybody after it would be
        // refused until the issuer may be asked again.
        let keys = Arc::clone(self);
        let asking = tokio::spawn(async move {
            asked.at = Some(Instant::now());
            asked.answered = keys.take().await;
            asked.answered
        });
        asking.await.unwrap_or(false)
    }

    /// Fetches the keys; what was known stays where that fails.
    async fn take(&self) -> bool {
        match self.fetch().await {
            Ok(known) => {
                *self.known.write() = Arc::new(known);
                true
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the issuer's keys cannot be fetched; going on with those that are known"
                );
                false
            }
        }
    }

    async fn fetch(&self) -> anyhow::Result<Known> {
        let bytes = self.http.get(&self.url).send().await?.error_for_status()?.bytes().await?;
        anyhow::ensure!(bytes.len() <= BYTES_MAX, "the issuer's key set is too large");
        // One key that is not understood must not hide the others.
        let set: serde_json::Value = serde_json::from_slice(&bytes)?;
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        let keys = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let mut known = Known { fetched: Some(Instant::now()), ..Known::default() };
        for jwk in keys {
            let Some(algorithm) = algorithm(&jwk) else { continue };
            let Ok(decoding) = DecodingKey::from_jwk(&jwk) else { continue };
            let key = Key { algorithm, decoding };
            match jwk.common.key_id {
                Some(id) => drop(known.keys.insert(id, key)),
                None => known.nameless.push(key),
            }
        }
        anyhow::ensure!(
            !known.keys.is_empty() || !known.nameless.is_empty(),
            "the issuer's key set has no key for RS256, ES256 or EdDSA"
        );
        Ok(known)
    }
}

fn find(known: &Known, id: Option<&str>) -> Option<Key> {
    match id {
        Some(id) => known.keys.get(id).cloned(),
        None => {
            let mut all = known.keys.values().chain(&known.nameless);
            all.next().cloned().filter(|_| all.next().is_none())
        }
    }
}

/// The one algorithm that a key is for; none when it is not for signatures, or for others than ours.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let (ours, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|it| it == named).then_some(ours)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::{Json, Router, routing::get};
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    /// An issuer that answers when it is let; and how to let it.
    async fn issuer() -> (Arc<Jwks>, Arc<Semaphore>, Arc<Semaphore>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (came, goes) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (told, waits) = (Arc::clone(&came), Arc::clone(&goes));
        let answer = move || {
            let waits = Arc::clone(&waits);
            told.add_permits(1);
            async move {
                let _ = waits.acquire().await;
                let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
                Json(json!({ "keys": [key] }))
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let router = Router::new().route("/keys", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Jwks::new(url).unwrap(), came, goes)
    }

    #[tokio::test]
    async fn who_hangs_up_while_the_issuer_is_asked_leaves_nobody_else_refused() {
        let (jwks, came, goes) = issuer().await;
        let asking = Arc::clone(&jwks);
        let first = tokio::spawn(async move { asking.key(Some("one")).await.is_ok() });
        came.acquire().await.unwrap().forget();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        goes.add_permits(1);
        assert!(jwks.key(Some("one")).await.unwrap().is_some(), "the next one finds the key");
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_is_no_reason_to_call_a_token_bad() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}/keys", listener.local_addr().unwrap());
        drop(listener);
        let jwks = Jwks::new(nobody).unwrap();
        assert!(jwks.key(Some("one")).await.is_err());
        assert!(jwks.key(Some("one")).await.is_err(), "nor while it is not asked again");
    }

    #[tokio::test]
    async fn a_key_that_the_issuer_does_not_name_is_none() {
        let (jwks, _, goes) = issuer().await;
        goes.add_permits(1);
        assert!(jwks.key(Some("two")).await.unwrap().is_none());
    }
}
