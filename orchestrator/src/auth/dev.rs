//! Dev tokens: signed by a key of this machine, and worth nothing anywhere else.
//!
//! The key lies beside the dev data; `amends token` reads it, and a server in dev mode trusts it. It must never
//! be used where an issuer is configured.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::jwks::Key;
use super::role::{Role, Roles};
use super::signatures;
use super::token::JwtConfig;

const ISSUER: &str = "amends-dev";
const AUDIENCE: &str = "amends";
/// Longer than any dev stack runs; each start makes a new one.
const WORKER_VALID_S: i64 = 366 * 24 * 3600;
/// Where the key is unless told otherwise.
pub const KEY_FILE: &str = ".amends/dev-token.pk8";

/// The key that dev tokens are signed with.
pub struct DevKey {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl std::fmt::Debug for DevKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DevKey")
    }
}

impl DevKey {
    /// Reads the key, or makes one, readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is not such a key.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("making the folder of {shown}"))?;
        }
        let fresh = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(file) {
            Ok(mut made) => made.write_all(fresh.as_ref()).with_context(|| format!("writing {shown}"))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {shown}")),
        }
        let pkcs8 = std::fs::read(file).with_context(|| format!("reading {shown}"))?;
        Self::from_pkcs8(pkcs8)
            .with_context(|| format!("{shown} is no key of dev tokens; delete it for a new one"))
    }

    /// A key that is nowhere else.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn fresh() -> anyhow::Result<Self> {
        let fresh = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
        Self::from_pkcs8(fresh.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| anyhow::anyhow!("{error}"))?;
        let public = pair.public_key().as_ref().to_vec();
        Ok(Self { pkcs8, public })
    }

    /// A token for `principal` with these roles.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn mint(&self, principal: &str, roles: Roles, valid_s: i64) -> anyhow::Result<String> {
        signatures::install();
        let now_s = chrono::Utc::now().timestamp();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": principal, "roles": roles.words(),
            "iat": now_s, "exp": now_s + valid_s,
        });
        let key = EncodingKey::from_ed_der(&self.pkcs8);
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)?)
    }

    /// What the payment worker signs in with: it may signal, and nothing else.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn worker_token(&self) -> anyhow::Result<String> {
        self.mint("worker:payment", Roles::of(&[Role::Worker]), WORKER_VALID_S)
    }

    pub(super) fn key(&self) -> Key {
        Key { algorithm: Algorithm::EdDSA, decoding: DecodingKey::from_ed_der(&self.public) }
    }
}

pub(super) fn config() -> JwtConfig {
    JwtConfig {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks_url: String::new(),
        roles_claim: "roles".to_owned(),
        role_names: Default::default(),
        leeway_s: 5,
        client_id: None,
        scopes: None,
    }
}
