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
    /// When the issuer was asked last; held while it is asked, so that one asks for all.
    asked: Mutex<Option<Instant>>,
}

impl Jwks {
    pub(super) fn new(url: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT).build()?;
        Ok(Self { url, http, known: RwLock::default(), asked: Mutex::new(None) })
    }

    /// The key that a token's header names. A header without an id means the only key there is.
    pub(super) async fn key(&self, id: Option<&str>) -> Option<Key> {
        let known = Arc::clone(&self.known.read());
        let fresh = known.fetched.is_some_and(|at| at.elapsed() < FRESH_FOR);
        if fresh && let Some(key) = find(&known, id) {
            return Some(key);
        }
        self.refresh().await;
        find(&Arc::clone(&self.known.read()), id)
    }

    /// Asks the issuer, unless that was done just now.
    async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return;
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok(known) => *self.known.write() = Arc::new(known),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the issuer's keys cannot be fetched; going on with those that are known"
                );
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
