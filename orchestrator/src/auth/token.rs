//! Verifying tokens: signature, issuer, audience, times, and which roles they give.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};

use super::jwks::{Jwks, Key, Unanswered};
use super::keys;
use super::role::{Role, Roles};
use super::signatures::ALGORITHMS;
use super::{Caller, Denied, Kind};

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest principal: it stands in rows and indexes.
const PRINCIPAL_BYTES_MAX: usize = 200;
/// How those are named who are no people: keys, parents of sagas, topics. No token is any of them.
const OURS: [&str; 3] = [keys::PRINCIPAL, "saga:", "topic:"];

/// What makes a token one of ours.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`, or one of its elements.
    pub audience: String,
    /// Where the issuer's public keys are.
    pub jwks_url: String,
    /// Where roles are: a claim's name such as `cognito:groups`, or a path such as `realm_access.roles`.
    pub roles_claim: String,
    /// What the issuer calls our roles, where it has names of its own.
    pub role_names: HashMap<String, Role>,
    /// How far clocks may differ, in s.
    pub leeway_s: u64,
    /// The dashboard's client at the issuer.
    pub client_id: Option<String>,
    /// The scopes that the dashboard asks for.
    pub scopes: Option<String>,
}

/// Verifies the tokens of one issuer.
pub(super) struct Verifier {
    validation: Validation,
    roles_claim: String,
    role_names: HashMap<String, Role>,
    keys: Keys,
}

/// Where keys come from.
pub(super) enum Keys {
    Issuer(Arc<Jwks>),
    Own(Key),
}

impl Verifier {
    pub(super) fn new(config: &JwtConfig, keys: Keys) -> Self {
        let mut validation = Validation::new(ALGORITHMS[0]);
        validation.algorithms = ALGORITHMS.to_vec();
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = config.leeway_s;
        Self {
            validation,
            roles_claim: config.roles_claim.clone(),
            role_names: config.role_names.clone(),
            keys,
        }
    }

    /// Who a token speaks for.
    ///
    /// # Errors
    /// Why the token is none, never with the token; or that it cannot be told now.
    pub(super) async fn verify(&self, token: &str, kind: Kind) -> Result<Caller, Denied> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused("the token is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| refused("it is no token that can be read here"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(refused("tokens are signed with RS256, ES256 or EdDSA here"));
        }
        let key = match &self.keys {
            Keys::Issuer(jwks) => {
                jwks.key(header.kid.as_deref()).await.map_err(|Unanswered| Denied::Unanswered)?
            }
            Keys::Own(key) => Some(key.clone()),
        };
        let key = key.ok_or_else(|| refused("the issuer has no such key"))?;
        if key.algorithm != header.alg {
            return Err(refused("the key is for another algorithm"));
        }
        let claims = self.claims(token, &key.decoding, header.alg)?;
        let principal = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if principal.is_empty()
            || principal.len() > PRINCIPAL_BYTES_MAX
            || principal.chars().any(char::is_control)
            || OURS.iter().any(|ours| principal.starts_with(ours))
        {
            // An API key's name would have its sagas.
            return Err(refused("the token's `sub` is missing, too long, not printable, or an API key's"));
        }
        let expires_at = claims.get("exp").and_then(Value::as_f64).and_then(instant);
        Ok(Caller { principal: principal.to_owned(), roles: self.roles(&claims), kind, expires_at })
    }

    fn claims(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: jsonwebtoken::Algorithm,
    ) -> Result<Map<String, Value>, Denied> {
        // One algorithm and one key: the library insists that all allowed ones are of the key's family.
        let validation = Validation { algorithms: vec![algorithm], ..self.validation.clone() };
        jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation)
            .map(|data| data.claims)
            .map_err(|error| refused(words(error.kind())))
    }

    fn roles(&self, claims: &Map<String, Value>) -> Roles {
        let value = claims.get(&self.roles_claim).or_else(|| {
            let mut segments = self.roles_claim.split('.');
            let first = claims.get(segments.next()?)?;
            segments.try_fold(first, |value, segment| value.get(segment))
        });
        let names: Vec<&str> = match value {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(names)) => names.split([' ', ',']).filter(|name| !name.is_empty()).collect(),
            _ => Vec::new(),
        };
        names
            .into_iter()
            .filter_map(|name| self.role_names.get(name).copied().or_else(|| name.parse().ok()))
            .collect()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "seconds since 1970; beyond the calendar is none")]
fn instant(seconds: f64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds as i64, 0)
}

fn refused(reason: &str) -> Denied {
    Denied::Refused(reason.to_owned())
}

fn words(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired: sign in again",
        ErrorKind::ImmatureSignature => "the token is not valid yet; does this machine's clock go right?",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks `exp`, `iss`, `aud` or `sub`",
        _ => "it is no token that can be read here",
    }
}
