//! Sign-in: who asks, and what they may.
//!
//! Owns tokens, API keys, dev mode and the table of rights. It knows no saga: what a customer may see of one is
//! decided where it is read.
//!
//! | file | what |
//! |---|---|
//! | [`role`] | the roles |
//! | [`rights`] | which endpoint needs which role: the one table |
//! | [`token`], `jwks`, `signatures` | tokens of an issuer |
//! | `discovery` | where an issuer gives tokens out |
//! | [`keys`] | API keys |
//! | [`dev`] | dev mode's own tokens |

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::store::{Store, StoreError};
use dev::DevKey;
use discovery::Discovery;
use jwks::Jwks;
use role::Roles;
use token::{JwtConfig, Keys, Verifier};

pub mod dev;
mod discovery;
mod jwks;
pub mod keys;
pub mod rights;
pub mod role;
mod signatures;
pub mod token;

/// How a caller has signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By a token.
    Token,
    /// By an API key.
    Key,
    /// Not at all, in dev mode on loopback.
    Dev,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Their name: a token's `sub`, `key:` and a key's name, or `anonymous`.
    pub principal: String,
    /// What they may be.
    pub roles: Roles,
    /// How they have signed in.
    pub kind: Kind,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Caller {
    /// Whether only their own sagas may be shown to them.
    pub fn only_own(&self) -> bool {
        !self.roles.meets(Roles::READ)
    }

    /// Whether personal data is hidden from them.
    pub fn masked(&self) -> bool {
        self.roles.meets(Roles::READ) && !self.roles.meets(Roles::ACT)
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
pub enum Denied {
    /// Nobody has signed in.
    Anonymous,
    /// What was shown is no good, for this reason.
    Refused(String),
    /// It could not be checked now.
    Unavailable(StoreError),
    /// The issuer does not answer, so its keys are not known.
    Unanswered,
}

/// How callers sign in.
#[derive(Debug)]
pub enum AuthConfig {
    /// Not at all on loopback; and by dev tokens of this key.
    Dev(DevKey),
    /// By API keys, and by tokens of an issuer when there is one.
    Real {
        /// The issuer.
        jwt: Option<JwtConfig>,
        /// An administrator's key from the configuration, to make the first keys with.
        admin_key: Option<String>,
    },
}

/// Who has not signed in, in dev mode.
pub const ANONYMOUS: &str = "anonymous";

/// For how long a verified token is not verified again.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Lets callers in.
pub struct Auth {
    dev: bool,
    jwt: Option<JwtConfig>,
    verifier: Option<Verifier>,
    /// Where the dashboard can sign in at an issuer.
    discovery: Option<Arc<Discovery>>,
    admin_key: Option<[u8; 32]>,
    keys: keys::Remembered,
    verified: Mutex<LruCache<[u8; 32], (Instant, Caller)>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("dev", &self.dev).field("jwt", &self.jwt).finish_non_exhaustive()
    }
}

impl Auth {
    /// By this configuration.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(config: AuthConfig) -> anyhow::Result<Arc<Self>> {
        signatures::install();
        let (dev, jwt, verifier, admin_key) = match config {
            AuthConfig::Dev(key) => {
                let verifier = Verifier::new(&dev::config(), Keys::Own(key.key()));
                (true, None, Some(verifier), None)
            }
            AuthConfig::Real { jwt, admin_key } => {
                let keys = |it: &JwtConfig| Jwks::new(it.jwks_url.clone()).map(Keys::Issuer);
                let verifier = jwt
                    .as_ref()
                    .map(|it| Ok::<_, anyhow::Error>(Verifier::new(it, keys(it)?)))
                    .transpose()?;
                (false, jwt, verifier, admin_key.map(|key| keys::hash(&key)))
            }
        };
        let signs_in = jwt.as_ref().filter(|it| it.client_id.is_some());
        let discovery = signs_in.map(|it| Discovery::new(&it.issuer)).transpose()?;
        let verified = Mutex::new(LruCache::new(REMEMBERED_MAX));
        let keys = keys::Remembered::default();
        Ok(Arc::new(Self { dev, jwt, verifier, discovery, admin_key, keys, verified }))
    }

    /// Whether it is dev mode: who comes over loopback without a token is an administrator.
    pub const fn is_dev(&self) -> bool {
        self.dev
    }

    /// The issuer's configuration.
    pub const fn jwt(&self) -> Option<&JwtConfig> {
        self.jwt.as_ref()
    }

    /// Where the dashboard signs in: the issuer, and where it gives tokens out, if that is known.
    pub async fn places(&self) -> Vec<String> {
        let issuer = self.jwt.as_ref().map(|it| it.issuer.clone());
        let tokens = match &self.discovery {
            Some(discovery) => discovery.token_endpoint().await,
            None => None,
        };
        issuer.into_iter().chain(tokens).collect()
    }

    /// Who asks. `local` says that the request came over loopback, from no foreign page.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn caller(&self, store: &Store, headers: &HeaderMap, local: bool) -> Result<Caller, Denied> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            if self.dev && local {
                return Ok(Caller {
                    principal: ANONYMOUS.to_owned(),
                    roles: Roles::ALL,
                    kind: Kind::Dev,
                    expires_at: None,
                });
            }
            return Err(Denied::Anonymous);
        };
        let bearer = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(bearer) = bearer.filter(|it| !it.is_empty()) else {
            return Err(Denied::Refused(
                "send `Authorization: Bearer …` with a token or an API key".to_owned(),
            ));
        };
        if let Some(admin) = &self.admin_key
            // Of hashes: how many bytes agree says nothing about the key.
            && keys::hash(bearer) == *admin
        {
            return Ok(Caller {
                principal: keys::ADMIN.to_owned(),
                roles: Roles::ALL,
                kind: Kind::Key,
                expires_at: None,
            });
        }
        if bearer.starts_with(keys::PREFIX) {
            let judged = self.keys.verify(store, bearer).await.map_err(Denied::Unavailable)?;
            return judged.map_err(Denied::Refused);
        }
        self.token(bearer).await
    }

    /// Whether people have tokens of their own, and need no key.
    pub fn people_sign_in(&self) -> bool {
        !self.dev && self.verifier.is_some()
    }

    async fn token(&self, token: &str) -> Result<Caller, Denied> {
        let Some(verifier) = &self.verifier else {
            return Err(Denied::Refused("only API keys are taken here".to_owned()));
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.verified.lock().get(&hash).filter(|(at, _)| at.elapsed() < REMEMBERED_FOR).cloned();
        if let Some((_, caller)) = known
            && caller.expires_at.is_some_and(|at| at > Utc::now())
        {
            return Ok(caller);
        }
        let caller = verifier.verify(token, Kind::Token).await?;
        self.verified.lock().put(hash, (Instant::now(), caller.clone()));
        Ok(caller)
    }
}
