//! Who asks, and how one signs in here.

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Api, From};
use crate::auth::{Caller, Kind};
use crate::store::audit::Actor;

/// How one signs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignIn {
    /// `dev` (nobody needs to, on loopback), `jwt` (at an issuer, or by API key) or `keys` (by API key only).
    pub mode: String,
    /// The issuer: an OpenID provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The dashboard's client there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The scopes to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
}

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Their name, as it stands in histories and the audit.
    pub principal: String,
    /// What they may be.
    pub roles: Vec<String>,
    /// `token`, `key` or `dev`.
    pub kind: String,
    /// It is dev mode: to be shown loudly.
    pub dev: bool,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// How one signs in here
#[utoipa::path(
    get, path = "/auth/config", operation_id = "sign_in", tag = "account",
    responses((status = 200, description = "How", body = SignIn)), security(())
)]
pub async fn config(State(api): State<Api>) -> Json<SignIn> {
    let jwt = api.auth().jwt();
    let mode = match jwt {
        _ if api.auth().is_dev() => "dev",
        Some(_) => "jwt",
        None => "keys",
    };
    Json(SignIn {
        mode: mode.to_owned(),
        issuer: jwt.map(|it| it.issuer.clone()),
        client_id: jwt.and_then(|it| it.client_id.clone()),
        scopes: jwt.and_then(|it| it.scopes.clone()),
    })
}

/// Who asks
#[utoipa::path(
    get, path = "/auth/me", operation_id = "get_me", tag = "account",
    responses(
        (status = 200, description = "The caller", body = Me),
        (status = 401, description = "Nobody has signed in", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn me(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Json<Me> {
    let kind = match caller.kind {
        Kind::Token => "token",
        Kind::Key => "key",
        Kind::Dev => "dev",
    };
    Json(Me {
        roles: caller.roles.words(),
        principal: caller.principal,
        kind: kind.to_owned(),
        dev: api.auth().is_dev(),
        expires_at: caller.expires_at,
    })
}

/// Who acts, as the audit keeps it.
pub fn actor(caller: &Caller, from: From) -> Actor {
    Actor { who: caller.principal.clone(), roles: caller.roles.words(), address: from.address.to_string() }
}
