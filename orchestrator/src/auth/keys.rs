//! API keys: what machines sign in with. Only their hashes are kept.
//!
//! A key is 256 random bits, so that a plain SHA-256 of it is as good as a slow hash and costs nothing a request.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Row;
use uuid::Uuid;

use super::role::Roles;
use super::{Caller, Kind};
use crate::store::audit::{self, Actor, Deed};
use crate::store::{Store, StoreError};

/// What a key's principal begins with.
pub const PRINCIPAL: &str = "key:";
/// The principal of the configured administrator's key; it is nobody in particular.
pub const ADMIN: &str = "key:admin";
/// What a key begins with.
pub const PREFIX: &str = "amk_";
/// For how long a look-up counts: a revoked key works for at most this long.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// A key's row.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// Its id.
    pub id: Uuid,
    /// Its name; the principal is `key:` and this.
    pub name: String,
    /// Its beginning, to tell keys apart.
    pub prefix: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Until when it works.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it does not work any more.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was used last, within a minute or so.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it may do.
    pub roles: Roles,
    /// Until when it works.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why it is made.
    pub why: &'a str,
}

const COLUMNS: &str = "id, name, prefix, roles, created_by, created_at, expires_at, revoked_at, last_used_at";

fn key_row(row: &sqlx::postgres::PgRow) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        prefix: row.try_get(2)?,
        roles: row.try_get(3)?,
        created_by: row.try_get(4)?,
        created_at: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        revoked_at: row.try_get(7)?,
        last_used_at: row.try_get(8)?,
    })
}

/// A new key, shown once.
pub fn generate() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// What is kept of a key.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl Store {
    /// Keeps a new key. `None` when there is one of that name that still works.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_key(
        &self,
        actor: &Actor,
        new: &NewKey<'_>,
        key: &str,
    ) -> Result<Option<KeyRow>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let prefix: String = key.chars().take(PREFIX.len() + 6).collect();
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into api_key (id, name, prefix, hash, roles, created_by, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning {COLUMNS}"
        )))
        .bind(Uuid::now_v7())
        .bind(new.name)
        .bind(prefix)
        .bind(hash(key).as_slice())
        .bind(new.roles.words())
        .bind(&actor.who)
        .bind(new.expires_at)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row.as_ref().map(key_row).transpose()? else { return Ok(None) };
        let after = json!({ "name": row.name, "roles": row.roles, "expires_at": row.expires_at });
        let deed = Deed::new("key.make", row.id.to_string());
        audit::keep(&mut tx, actor, Deed { why: Some(new.why), after: Some(after), ..deed }).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    /// Every key, the newest first, at most 500.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let sql = format!("select {COLUMNS} from api_key order by created_at desc limit 500");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.reads()).await?;
        rows.iter().map(key_row).collect()
    }

    /// Ends a key. `None` when there is none of that id; one that has ended stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_key(
        &self,
        actor: &Actor,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<Option<KeyRow>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let sql = format!(
            "update api_key set revoked_at = coalesce(revoked_at, now()) where id = $1 returning {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *tx).await?;
        let Some(row) = row.as_ref().map(key_row).transpose()? else { return Ok(None) };
        let before = json!({ "name": row.name, "roles": row.roles });
        let deed = Deed::new("key.revoke", row.id.to_string());
        audit::keep(&mut tx, actor, Deed { why, before: Some(before), ..deed }).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    async fn use_key(&self, hash: &[u8; 32]) -> Result<Option<KeyRow>, StoreError> {
        let sql = format!("select {COLUMNS} from api_key where hash = $1");
        let row =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash.as_slice()).fetch_optional(self.reads()).await?;
        let row = row.as_ref().map(key_row).transpose()?;
        if let Some(key) = &row {
            sqlx::query(
                "update api_key set last_used_at = now()
                 where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')",
            )
            .bind(key.id)
            .execute(self.reads())
            .await?;
        }
        Ok(row)
    }
}

/// Keys that were looked up just now.
pub(super) struct Remembered(Mutex<LruCache<[u8; 32], LookedUp>>);

/// When a key was looked up, and what was found.
type LookedUp = (Instant, Option<KeyRow>);

impl Default for Remembered {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED_MAX)))
    }
}

impl Remembered {
    /// Who a key speaks for.
    pub(super) async fn verify(
        &self,
        store: &Store,
        key: &str,
    ) -> Result<Result<Caller, String>, StoreError> {
        let hash = hash(key);
        let known = self.0.lock().get(&hash).filter(|(at, _)| at.elapsed() < REMEMBERED_FOR).cloned();
        let row = match known {
            Some((_, row)) => row,
            None => {
                let row = store.use_key(&hash).await?;
                self.0.lock().put(hash, (Instant::now(), row.clone()));
                row
            }
        };
        Ok(judge(row, Utc::now()))
    }
}

fn judge(row: Option<KeyRow>, now: DateTime<Utc>) -> Result<Caller, String> {
    let row = row.ok_or("there is no such API key")?;
    if row.revoked_at.is_some() {
        return Err("the API key was revoked".to_owned());
    }
    if row.expires_at.is_some_and(|at| at <= now) {
        return Err("the API key has expired".to_owned());
    }
    let roles = row.roles.iter().filter_map(|word| word.parse().ok()).collect();
    let principal = format!("{PRINCIPAL}{}", row.name);
    Ok(Caller { principal, roles, kind: Kind::Key, expires_at: row.expires_at })
}
