//! Canaries: a version beside the current one that takes a share of the starts.
//!
//! Owns their rows, the lot that decides which start takes which version, and what has come of both. It must not move
//! the pointer to the current version but by promoting a canary.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::audit::{self, Actor, Deed};
use super::definitions::{Published, lock_current};
use super::projection::before;
use super::{Store, StoreError};

/// A version that takes a share of the starts.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The version.
    pub published: Arc<Published>,
    /// How many starts of a hundred it takes, 1 to 99.
    pub percent: u8,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl Canary {
    /// Whether it takes the start of this lot. A start that took it still does when its share grows.
    pub(crate) fn takes(&self, lot: &[&[u8]]) -> bool {
        let mut hash = Sha256::new();
        hash.update(self.published.definition.version.0.as_bytes());
        for part in lot {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let drawn = digest.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        drawn % 100 < u64::from(self.percent)
    }
}

/// A canary's row.
pub(super) struct CanaryRow {
    pub(super) name: String,
    pub(super) definition: i32,
    pub(super) percent: u8,
    pub(super) since: DateTime<Utc>,
}

pub(super) async fn all(store: &Store) -> Result<Vec<CanaryRow>, StoreError> {
    let rows =
        sqlx::query("select name, definition, percent, since from canary").fetch_all(store.reads()).await?;
    rows.iter()
        .map(|row| {
            let percent: i16 = row.try_get(2)?;
            Ok(CanaryRow {
                name: row.try_get(0)?,
                definition: row.try_get(1)?,
                percent: u8::try_from(percent).unwrap_or(1),
                since: row.try_get(3)?,
            })
        })
        .collect()
}

/// Begins a canary, or gives the one that there is another share. What another version's has shown counts no more.
pub(super) async fn begin(
    connection: &mut PgConnection,
    name: &str,
    definition: i32,
    percent: u8,
    by: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into canary (name, definition, percent, by) values ($1, $2, $3, $4)
         on conflict on constraint canary_pk do update set definition = excluded.definition,
            percent = excluded.percent, by = excluded.by,
            since = case when canary.definition = excluded.definition then canary.since else now() end",
    )
    .bind(name)
    .bind(definition)
    .bind(i16::from(percent))
    .bind(by)
    .execute(connection)
    .await?;
    Ok(())
}

/// What has come of a version's sagas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Still on their way.
    pub running: i64,
    /// Waiting for a human.
    pub parked: i64,
    /// Completed.
    pub completed: i64,
    /// Undone.
    pub compensated: i64,
    /// Given up.
    pub abandoned: i64,
}

impl Store {
    /// Ends a canary: its version becomes the current one, or goes back to taking no starts. False when this version is
    /// no canary (any more).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_canary(
        &self,
        actor: &Actor,
        name: &str,
        published: &Published,
        promote: bool,
        why: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.reads().begin().await?;
        let current = lock_current(&mut tx, name).await?;
        let percent: Option<i16> =
            sqlx::query_scalar("delete from canary where name = $1 and definition = $2 returning percent")
                .bind(name)
                .bind(published.id)
                .fetch_optional(&mut *tx)
                .await?;
        let Some(percent) = percent else { return Ok(false) };
        let mut before = json!({ "canary": percent });
        if promote {
            sqlx::query("update active_definition set definition = $2 where name = $1")
                .bind(name)
                .bind(published.id)
                .execute(&mut *tx)
                .await?;
            before["current"] = json!(current);
        }
        let what = if promote { "definition.promote" } else { "definition.withdraw" };
        let after = json!({ "version": published.definition.version.0 });
        let deed = Deed { why, before: Some(before), after: Some(after), ..Deed::new(what, name) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// What has come of the sagas of these versions that were started since then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outcomes(
        &self,
        versions: &[i32],
        since: DateTime<Utc>,
    ) -> Result<Vec<Outcomes>, StoreError> {
        let mut all = vec![Outcomes::default(); versions.len()];
        // Ids are in the order of time; the index is by definition, status and id.
        let rows: Vec<(i32, i16, i64)> = sqlx::query_as(
            "select definition, status, count(*) from saga
             where definition = any($1) and status = any('{0,1,2,3,4}') and id >= $2 group by 1, 2",
        )
        .bind(versions)
        .bind(before(since))
        .fetch_all(self.reads())
        .await?;
        for (definition, status, count) in rows {
            let its = versions.iter().position(|it| *it == definition).and_then(|at| all.get_mut(at));
            let Some(its) = its else { continue };
            match status {
                0 => its.running = count,
                1 => its.parked = count,
                2 => its.completed = count,
                3 => its.compensated = count,
                _ => its.abandoned = count,
            }
        }
        Ok(all)
    }
}
