//! Sign-in on the command line: how a server lets callers in, dev tokens, and API keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::client::Sent;
use super::exit::{Code, Failure};
use super::style::span;
use super::{Output, Server, say};
use crate::api::account::Me;
use crate::api::keys::{KeyList, KeyRequest, KeyView};
use crate::auth::dev::{DevKey, KEY_FILE};
use crate::auth::role::{Role, Roles};
use crate::auth::token::JwtConfig;
use crate::auth::{Auth, AuthConfig, keys};

/// The shortest administrator's key, in characters.
const ADMIN_KEY_MIN: usize = 32;

/// How a server lets callers in.
#[derive(Clone, Debug, Args)]
pub struct AuthArgs {
    /// The issuer of tokens (their `iss`), such as an OpenID provider; without one, and without an
    /// administrator's key, it is dev mode: loopback only, and everybody there is an administrator
    #[arg(long, env = "AMENDS_AUTH_ISSUER", value_name = "URL", requires = "auth_audience")]
    auth_issuer: Option<String>,
    /// The audience of tokens (their `aud`)
    #[arg(long, env = "AMENDS_AUTH_AUDIENCE", value_name = "TEXT")]
    auth_audience: Option<String>,
    /// Where the issuer's public keys are; `ISSUER/.well-known/jwks.json` when absent
    #[arg(long, env = "AMENDS_AUTH_JWKS_URL", value_name = "URL")]
    auth_jwks_url: Option<String>,
    /// The claim that holds roles, or a path to it, such as `cognito:groups` or `realm_access.roles`
    #[arg(long, env = "AMENDS_AUTH_ROLES_CLAIM", default_value = "roles", value_name = "CLAIM")]
    auth_roles_claim: String,
    /// What the issuer calls a role, such as `shop-ops=operator`; may be repeated
    #[arg(long, env = "AMENDS_AUTH_ROLES", value_delimiter = ',', value_name = "NAME=ROLE")]
    auth_role: Vec<String>,
    /// How far the issuer's clock may differ, in s
    #[arg(long, env = "AMENDS_AUTH_LEEWAY_S", default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=300))]
    auth_leeway_s: u64,
    /// The dashboard's client at the issuer
    #[arg(long, env = "AMENDS_AUTH_CLIENT_ID", value_name = "ID")]
    auth_client_id: Option<String>,
    /// The scopes that the dashboard asks for
    #[arg(long, env = "AMENDS_AUTH_SCOPES", default_value = "openid", value_name = "SCOPES")]
    auth_scopes: String,
    /// An administrator's API key, to make the first keys with; at least 32 characters (`amends key generate`)
    #[arg(long, env = "AMENDS_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    admin_key: Option<String>,
    /// The key that dev mode's tokens are signed with; made when it is missing
    #[arg(long, env = "AMENDS_DEV_KEY", default_value = KEY_FILE, value_name = "FILE")]
    dev_key: PathBuf,
}

impl AuthArgs {
    /// The sign-in that the arguments ask for.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn auth(&self) -> Result<Arc<Auth>, Failure> {
        let admin_key = self.admin_key.clone().filter(|key| !key.is_empty());
        if admin_key.as_ref().is_some_and(|key| key.len() < ADMIN_KEY_MIN) {
            return Err(Failure::usage(format!(
                "the administrator's key has fewer than {ADMIN_KEY_MIN} characters; `amends key generate` makes one"
            )));
        }
        let jwt = self.auth_issuer.as_ref().map(|issuer| self.jwt(issuer)).transpose()?;
        let config = if jwt.is_none() && admin_key.is_none() {
            AuthConfig::Dev(DevKey::open(&self.dev_key)?)
        } else {
            AuthConfig::Real { jwt, admin_key }
        };
        Ok(Auth::new(config)?)
    }

    fn jwt(&self, issuer: &str) -> Result<JwtConfig, Failure> {
        let mut role_names = HashMap::new();
        for pair in &self.auth_role {
            let parsed =
                pair.split_once('=').and_then(|(name, role)| Some((name, role.parse::<Role>().ok()?)));
            let Some((name, role)) = parsed else {
                return Err(Failure::usage(format!(
                    "--auth-role `{pair}` is not NAME=ROLE with one of {}",
                    Role::ALL.map(Role::word).join(", ")
                )));
            };
            role_names.insert(name.to_owned(), role);
        }
        let default = || format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/'));
        Ok(JwtConfig {
            issuer: issuer.to_owned(),
            audience: self.auth_audience.clone().unwrap_or_default(),
            jwks_url: self.auth_jwks_url.clone().unwrap_or_else(default),
            roles_claim: self.auth_roles_claim.clone(),
            role_names,
            leeway_s: self.auth_leeway_s,
            client_id: self.auth_client_id.clone(),
            scopes: Some(self.auth_scopes.clone()),
        })
    }
}

/// Makes a token for a server in dev mode
///
/// Worth nothing where an issuer is configured. It is printed alone on standard output.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What its bearer may be; may be repeated
    #[arg(long, required = true, value_delimiter = ',')]
    role: Vec<Role>,
    /// Whom it speaks for
    #[arg(long, default_value = "dev", value_name = "NAME")]
    name: String,
    /// For how many minutes
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(i64).range(1..=525_600))]
    minutes: i64,
    /// The key that the server has
    #[arg(long, env = "AMENDS_DEV_KEY", default_value = KEY_FILE, value_name = "FILE")]
    dev_key: PathBuf,
}

/// Prints a dev token.
///
/// # Errors
/// When the key cannot be read.
pub fn token(args: &TokenArgs, output: Output) -> Result<Code, Failure> {
    let roles: Roles = args.role.iter().copied().collect();
    let token = DevKey::open(&args.dev_key)?.mint(&args.name, roles, args.minutes * 60)?;
    eprintln!(
        "DEV TOKEN for {} ({}), {} min: for servers in dev mode that have {}. Never use it in production.",
        args.name,
        roles.words().join(", "),
        args.minutes,
        args.dev_key.display()
    );
    if output.json {
        output.print(&json!({ "token": token, "name": args.name, "roles": roles.words() }));
    } else {
        say(&token);
    }
    Ok(Code::Ok)
}

/// API keys: make, list, revoke; who am I
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes a key that no server knows yet: for AMENDS_ADMIN_KEY
    Generate,
    /// Shows whom this command speaks for
    Whoami,
    /// Makes a key and prints it, this once
    Make {
        /// What it is for; its principal is `key:NAME`
        name: String,
        /// What it may do; may be repeated
        #[arg(long, required = true, value_delimiter = ',')]
        role: Vec<Role>,
        /// Why; it stands in the audit
        #[arg(long)]
        why: String,
        /// Until when it works, such as 2027-01-01T00:00:00Z; for ever when absent
        #[arg(long)]
        expires_at: Option<DateTime<Utc>>,
    },
    /// Lists keys
    List,
    /// Revokes a key; it stops working within five seconds
    Revoke {
        /// Its id
        id: Uuid,
        /// Why; it stands in the audit
        #[arg(long)]
        why: String,
    },
}

/// Runs the command.
///
/// # Errors
/// With the exit code.
pub async fn run(args: KeyArgs, output: Output) -> Result<Code, Failure> {
    if matches!(args.command, KeyCommand::Generate) {
        say(&keys::generate());
        return Ok(Code::Ok);
    }
    let client = args.server.client()?;
    match args.command {
        KeyCommand::Generate => {}
        KeyCommand::Whoami => {
            let me: Me = client.get("/auth/me").await?;
            if output.json {
                output.print(&me);
            } else {
                let dev = if me.dev { "; the server is in DEV MODE" } else { "" };
                say(&format!("{} ({}), by {}{dev}", me.principal, me.roles.join(", "), me.kind));
            }
        }
        KeyCommand::Make { name, role, why, expires_at } => {
            let request = KeyRequest { name, roles: role, why, expires_at };
            let made: KeyView = client.post("/ops/keys", &request).await?;
            if output.json {
                output.print(&made);
            } else {
                eprintln!("key {} of {}: keep it now, it is not shown again", made.id, made.name);
                say(made.key.as_deref().unwrap_or_default());
            }
        }
        KeyCommand::List => {
            let all: KeyList = client.get("/ops/keys").await?;
            if output.json { output.print(&all) } else { say(&list(&all, Utc::now())) }
        }
        KeyCommand::Revoke { id, why } => {
            let path = format!("/ops/keys/{id}?{}", super::client::query_of(&[("why", &why)]));
            let key: KeyView = client.send(Method::DELETE, &path, &[], Sent::Nothing).await?;
            if output.json {
                output.print(&key);
            } else {
                say(&format!("{} revoked; it stops working within five seconds", key.name));
            }
        }
    }
    Ok(Code::Ok)
}

fn list(all: &KeyList, now: DateTime<Utc>) -> String {
    if all.keys.is_empty() {
        return "no keys; `amends key make NAME --role ROLE --why …` makes one".to_owned();
    }
    let rows = all.keys.iter().map(|key| {
        let used = key
            .last_used_at
            .map_or_else(|| "never".to_owned(), |at| format!("{} ago", span((now - at).num_milliseconds())));
        let state = match (key.revoked_at, key.expires_at) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(at)) if at <= now => "expired".to_owned(),
            (None, Some(at)) => format!("until {}", at.format("%Y-%m-%d")),
            (None, None) => "works".to_owned(),
        };
        vec![key.id.to_string(), key.name.clone(), key.prefix.clone(), key.roles.join(","), used, state]
    });
    super::style::table(&["key", "name", "begins", "roles", "last used", "state"], rows.collect())
}
