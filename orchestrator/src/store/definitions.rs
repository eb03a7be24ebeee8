//! Definitions as rows: immutable versions, and the active pointer that only publish moves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use saga_core::Definition;
use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::audit::{self, Actor, Deed};
use super::canary::{self, Canary};
use super::{Database, Store, StoreError};
use crate::clock;

/// Of the advisory locks by which what is current changes one after another, under a name's hash.
const LOCK: i32 = 0x616d_6466;
/// How long a definition that could not be loaded is taken for missing.
const UNREADABLE_FOR: Duration = Duration::from_secs(3);

/// A definition with its row's id.
#[derive(Debug)]
pub struct Published {
    /// The row's id: what states and sagas refer to.
    pub id: i32,
    /// The compiled definition.
    pub definition: Definition,
    /// Checks inputs at the door.
    pub validator: jsonschema::Validator,
}

/// The definitions that this process has loaded, and which version new sagas take.
#[derive(Debug, Default)]
pub struct Definitions {
    by_id: RwLock<HashMap<i32, Arc<Published>>>,
    active: RwLock<HashMap<String, Arc<Published>>>,
    canaries: RwLock<HashMap<String, Canary>>,
    /// Those that could not be loaded, and when: sagas that wait for one must not ask all the time.
    unreadable: RwLock<HashMap<i32, Instant>>,
    refreshing: tokio::sync::Mutex<()>,
}

impl Definitions {
    /// The active version of the definition of that name.
    pub fn active(&self, name: &str) -> Option<Arc<Published>> {
        self.active.read().get(name).cloned()
    }

    /// The version beside the active one that takes a share of the starts.
    pub fn canary(&self, name: &str) -> Option<Canary> {
        self.canaries.read().get(name).cloned()
    }

    /// The version that a start takes: the active one that was looked up for it, or its canary. The lot is what makes it
    /// the same start when it is repeated, so that it takes the same version again.
    pub(crate) fn draw(&self, active: Arc<Published>, lot: &[&[u8]]) -> Arc<Published> {
        let canary = self.canaries.read().get(&active.definition.name).filter(|it| it.takes(lot)).cloned();
        canary.map_or(active, |it| it.published)
    }

    /// The version that a request to start takes. Body and key make it the same request when it is repeated; where
    /// neither does, chance decides.
    pub(crate) fn for_start(
        &self,
        active: Arc<Published>,
        body_hash: &[u8; 32],
        key: Option<&str>,
    ) -> Arc<Published> {
        let chance = clock::random().to_le_bytes();
        let repeatable = key.is_some() || active.definition.key.is_some();
        let chance: &[u8] = if repeatable { &[] } else { &chance };
        self.draw(active, &[body_hash, key.unwrap_or_default().as_bytes(), chance])
    }

    /// Every active definition, by name.
    pub fn all_active(&self) -> Vec<Arc<Published>> {
        let mut all: Vec<_> = self.active.read().values().cloned().collect();
        all.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        all
    }

    /// What any start may take: the active versions and their canaries.
    pub fn all_in_use(&self) -> Vec<Arc<Published>> {
        let mut all = self.all_active();
        all.extend(self.canaries.read().values().map(|it| Arc::clone(&it.published)));
        all
    }

    /// A version that is loaded already.
    pub fn loaded(&self, id: i32) -> Option<Arc<Published>> {
        self.by_id.read().get(&id).cloned()
    }

    /// Keeps a definition's text under an id, as the active version of its name: for worlds without a database.
    pub(crate) fn keep(&self, id: i32, source: &str) -> Result<(), String> {
        let published = Arc::new(compile(id, source)?);
        self.by_id.write().insert(id, Arc::clone(&published));
        self.active.write().insert(published.definition.name.clone(), published);
        Ok(())
    }

    /// A version, loaded on a miss. `None` when the row is missing or this build cannot read it; both are
    /// logged, and whatever needs it waits.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn get(
        &self,
        store: &dyn Database,
        id: i32,
    ) -> Result<Option<Arc<Published>>, StoreError> {
        if let Some(found) = self.loaded(id) {
            return Ok(Some(found));
        }
        if self.unreadable.read().get(&id).is_some_and(|since| since.elapsed() < UNREADABLE_FOR) {
            return Ok(None);
        }
        let Some(source) = store.definition(id).await? else {
            self.unreadable.write().insert(id, Instant::now());
            tracing::error!(
                definition.id = id,
                "a saga's definition is missing; its records wait in the mailbox"
            );
            return Ok(None);
        };
        match compile(id, &source) {
            Ok(published) => {
                let published = Arc::new(published);
                self.by_id.write().insert(id, Arc::clone(&published));
                Ok(Some(published))
            }
            Err(reason) => {
                self.unreadable.write().insert(id, Instant::now());
                tracing::error!(
                    definition.id = id,
                    reason,
                    "this build cannot read a saga's definition; its records wait"
                );
                Ok(None)
            }
        }
    }

    /// Reads the active pointers again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        // One after another: what was read earlier must not replace what was read later.
        let _turn = self.refreshing.lock().await;
        let rows: Vec<(String, i32)> =
            sqlx::query_as("select name, definition from active_definition").fetch_all(store.reads()).await?;
        let mut active = HashMap::new();
        for (name, id) in rows {
            if let Some(published) = self.get(store, id).await? {
                active.insert(name, published);
            }
        }
        let mut canaries = HashMap::new();
        for row in canary::all(store).await? {
            if let Some(published) = self.get(store, row.definition).await? {
                canaries.insert(row.name, Canary { published, percent: row.percent, since: row.since });
            }
        }
        *self.active.write() = active;
        *self.canaries.write() = canaries;
        Ok(())
    }

    /// Children are published before their parents, and nobody is a descendant of itself.
    fn check_children(&self, definition: &Definition) -> Result<(), String> {
        let mut seen = HashSet::new();
        let mut pending: Vec<(String, String)> = Vec::new();
        let own = children_of(definition).map(|(step, child)| (step.to_owned(), child.to_owned()));
        pending.extend(own);
        while let Some((step, child)) = pending.pop() {
            if child == definition.name {
                return Err(format!("step `{step}`: `{child}` would be a child saga of itself, without end"));
            }
            let Some(published) = self.active(&child) else {
                return Err(format!("step `{step}`: there is no definition `{child}`; publish it first"));
            };
            if seen.insert(child) {
                let its = children_of(&published.definition);
                pending.extend(its.map(|(_, child)| (step.clone(), child.to_owned())));
            }
        }
        Ok(())
    }

    /// A canary stands beside another version, and is reached as that one is.
    fn check_canary(&self, definition: &Definition, percent: u8) -> Result<(), String> {
        let name = &definition.name;
        if !(1..=99).contains(&percent) {
            return Err("a canary takes 1 to 99 starts of a hundred".to_owned());
        }
        let active = self.active(name).ok_or_else(|| {
            format!("there is no current version of `{name}` for a canary to stand beside; publish it for all starts")
        })?;
        if active.definition.version == definition.version {
            return Err(format!("this is the current version of `{name}`, which takes all starts"));
        }
        if (&active.definition.trigger, &active.definition.kafka) != (&definition.trigger, &definition.kafka)
        {
            return Err(
                "a canary is started as the current version is: its trigger must be the same".to_owned()
            );
        }
        Ok(())
    }

    /// Publishes a definition's text: a new version when its content is new, and the active one from now
    /// on. Returns it, and whether it is new.
    ///
    /// # Errors
    /// Every mistake in the text, each with its place and remedy; or that the database failed.
    pub async fn publish(
        &self,
        store: &Store,
        source: &str,
        proof: Option<&Proof>,
    ) -> Result<(Arc<Published>, bool), PublishError> {
        self.publish_to(store, source, proof, &Release::default(), None).await
    }

    /// The same for a share of the starts or over one version only, and by whom.
    ///
    /// # Errors
    /// As [`Self::publish`]; when a canary has nothing to stand beside; and when another version is current than was said.
    pub async fn publish_to(
        &self,
        store: &Store,
        source: &str,
        proof: Option<&Proof>,
        release: &Release,
        actor: Option<&Actor>,
    ) -> Result<(Arc<Published>, bool), PublishError> {
        let Release { share, over } = release;
        let definition = readable(store, source).await?;
        self.check_children(&definition).map_err(PublishError::Unsupported)?;
        if let Share::Canary(percent) = *share {
            self.check_canary(&definition, percent).map_err(PublishError::Unsupported)?;
        }
        let mut tx = store.reads().begin().await.map_err(StoreError::from)?;
        let current = lock_current(&mut tx, &definition.name).await?;
        if let Some(over) = over
            && current.as_ref() != Some(&definition.version.0)
            && !over.is(current.as_deref())
        {
            return Err(PublishError::Overtaken { name: definition.name, current });
        }
        let row = sqlx::query(
            "with made as (
                insert into definition (name, version, source) values ($1, $2, $3)
                on conflict on constraint definition_version_key do nothing returning id)
             select id, true from made
             union all select id, false from definition where name = $1 and version = $2 limit 1",
        )
        .bind(&definition.name)
        .bind(&definition.version.0)
        .bind(source)
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::from)?;
        let (id, fresh): (i32, bool) =
            (row.try_get(0).map_err(StoreError::from)?, row.try_get(1).map_err(StoreError::from)?);
        if let Some(proof) = proof {
            // Before anything can start from it. What was waived once stays on record.
            sqlx::query("update definition set verdict = $2, waiver = coalesce($3, waiver) where id = $1")
                .bind(id)
                .bind(proof.verdict)
                .bind(proof.waiver.as_deref())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::from)?;
        }
        let name = &definition.name;
        match *share {
            Share::Canary(percent) => {
                let by = actor.map_or("", |it| it.who.as_str());
                canary::begin(&mut tx, name, id, percent, by).await?;
            }
            Share::All => {
                sqlx::query(
                    "with ended as (delete from canary where name = $1)
                     insert into active_definition (name, definition) values ($1, $2)
                     on conflict on constraint active_definition_pk do update set definition = excluded.definition",
                )
                .bind(name)
                .bind(id)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::from)?;
            }
        }
        if let Some(actor) = actor {
            let percent = match *share {
                Share::Canary(percent) => Some(percent),
                Share::All => None,
            };
            let after = json!({ "version": definition.version.0, "canary": percent });
            let why = proof.and_then(|it| it.waiver.as_deref());
            let before = current.map(|version| json!({ "version": version }));
            let deed = Deed { why, before, after: Some(after), ..Deed::new("definition.publish", name) };
            audit::keep(&mut tx, actor, deed).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        self.refresh(store).await?;
        // By its id: somebody else may have published another version since.
        let published = self.get(store, id).await?.ok_or_else(|| {
            PublishError::Store(StoreError::Unreadable(
                "the definition vanished while it was published".into(),
            ))
        })?;
        Ok((published, fresh))
    }
}

/// Compiles a text: a new one must be right; one that was published already is read as it was then, so that it can be
/// shown, and gone back to, also when this release finds fault with it.
///
/// # Errors
/// Every mistake in it; or that the database failed.
pub async fn readable(store: &Store, source: &str) -> Result<Definition, PublishError> {
    match saga_core::definition::load(source) {
        Ok(definition) => Ok(definition),
        Err(mistakes) => match saga_core::definition::load_published(source) {
            Ok(old) if store.version_id(&old.name, &old.version.0).await?.is_some() => Ok(old),
            _ => Err(PublishError::Mistakes(mistakes)),
        },
    }
}

/// The child sagas that a definition names, each with its step.
pub fn children_of(definition: &Definition) -> impl Iterator<Item = (&str, &str)> {
    definition.steps.iter().filter_map(|step| match &step.work {
        saga_core::definition::Work::Child { definition } => Some((step.name.as_str(), definition.as_str())),
        _ => None,
    })
}

/// Keeps everybody else from changing what is current under this name, until the transaction ends, and answers the
/// version that is.
///
/// # Errors
/// When the database fails.
pub(super) async fn lock_current(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    sqlx::query("select pg_advisory_xact_lock($1, hashtext($2))")
        .bind(LOCK)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    let current = sqlx::query_scalar(
        "select d.version from active_definition a join definition d on d.id = a.definition where a.name = $1",
    );
    Ok(current.bind(name).fetch_optional(connection).await?)
}

/// How a version is published.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// How many starts it takes.
    pub share: Share,
    /// What it replaces, or stands beside: nothing is published where another version is current by then. A version that
    /// is current already may be published again.
    pub over: Option<Over>,
}

/// The version that somebody took for the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// There was none of this name.
    Nothing,
    /// The first digits of its version.
    Version(String),
}

impl Over {
    fn is(&self, current: Option<&str>) -> bool {
        match (self, current) {
            (Self::Nothing, None) => true,
            (Self::Version(digits), Some(current)) => current.starts_with(digits),
            _ => false,
        }
    }
}

/// How many starts a version is published for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// All from now on. What canary there was ends.
    #[default]
    All,
    /// So many of a hundred; the others take the current version.
    Canary(u8),
}

/// What the check said of a definition that is being published.
#[derive(Clone, Debug)]
pub struct Proof {
    /// `proved`, `refuted` or `unproved`.
    pub verdict: &'static str,
    /// Why it is published although it is not proved.
    pub waiver: Option<Arc<str>>,
}

/// Why a definition was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Its text has mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<saga_core::definition::Diagnostic>),
    /// It is right, but this build cannot run it.
    #[error("{0}")]
    Unsupported(String),
    /// Another version is current than whoever publishes has seen.
    #[error("another version of `{name}` is current than was said")]
    Overtaken {
        /// The definition.
        name: String,
        /// The version that is current, if there is one.
        current: Option<String>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn compile(id: i32, source: &str) -> Result<Published, String> {
    let definition = saga_core::definition::load_published(source)
        .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let validator = saga_core::definition::validator(&definition).map_err(|error| error.to_string())?;
    Ok(Published { id, definition, validator })
}
