//! Holds: an operator pauses starts, a definition or a worker's action, while compensations flow.
//!
//! Owns which holds there are, in memory and in the table, and that what a hold kept back goes on when it ends. What
//! a hold does to a saga is `saga_core`'s, by the event's `held`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use saga_core::definition::{Definition, StepIx, Work};
use saga_core::{Event, What};
use saga_protocol::SagaId;
use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::engine::Engine;
use crate::shard::Claims;
use crate::store::audit::{self, Actor, Deed};
use crate::store::{Store, StoreError};

/// How old what is known of holds may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A saga that was told that it may go on is not told again before this.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// Sagas that are told in one turn.
const TELL_MAX: i64 = 500;

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the API has them")]
pub struct Hold {
    pub id: Uuid,
    pub what: Held,
    pub by: String,
    pub why: String,
    pub at: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
    pub released_at: Option<DateTime<Utc>>,
    pub released_by: Option<String>,
}

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Every start.
    Starts,
    /// A definition: its starts and its executes.
    Definition(String),
    /// A worker's action, or all of them.
    Action {
        /// The worker.
        worker: String,
        /// The action; every one when absent.
        action: Option<String>,
    },
}

impl Held {
    fn holds_step(&self, definition: &str, work: &Work) -> bool {
        match (self, work) {
            (Self::Definition(name), Work::Action { .. } | Work::Child { .. }) => name == definition,
            (Self::Action { worker, action }, Work::Action { worker: its, action: its_action }) => {
                worker == its && action.as_ref().is_none_or(|action| action == its_action)
            }
            _ => false,
        }
    }
}

/// The holds that are in force, as this process knows them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Holds(Arc<RwLock<Arc<Vec<Hold>>>>);

impl Holds {
    fn active(&self) -> Arc<Vec<Hold>> {
        Arc::clone(&self.0.read())
    }

    /// The steps of a definition whose executes are not sent now.
    pub(crate) fn steps(&self, definition: &Definition) -> Vec<StepIx> {
        let holds = self.active();
        if holds.is_empty() {
            return Vec::new();
        }
        let now = Utc::now();
        let held = |work: &Work| {
            holds
                .iter()
                .any(|it| it.until.is_none_or(|at| at > now) && it.what.holds_step(&definition.name, work))
        };
        definition.steps().filter(|(_, step)| held(&step.work)).map(|(ix, _)| ix).collect()
    }

    /// The hold that keeps sagas of this definition from starting.
    pub fn of_start(&self, definition: &str) -> Option<Hold> {
        let now = Utc::now();
        let holds = self.active();
        let held = |it: &&Hold| {
            let forbids = match &it.what {
                Held::Starts => true,
                Held::Definition(name) => name == definition,
                Held::Action { .. } => false,
            };
            forbids && it.until.is_none_or(|at| at > now)
        };
        holds.iter().find(held).cloned()
    }

    /// Reads the holds again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let holds = store.holds(true).await?;
        *self.0.write() = Arc::new(holds);
        Ok(())
    }

    /// Looks for holds each second, and tells sagas that one has kept back once it has ended.
    pub(crate) async fn follow(self, engine: Engine, claims: Claims, shutdown: CancellationToken) {
        let mut told: HashMap<Uuid, Instant> = HashMap::new();
        let mut sweep = Sweep::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            told.retain(|_, at| at.elapsed() < TELL_AGAIN);
            if let Err(error) = self.turn(&engine, &claims, &mut told, &mut sweep).await {
                tracing::warn!(%error, "the holds cannot be read; going on with those that are known");
            }
        }
    }

    async fn turn(
        &self,
        engine: &Engine,
        claims: &Claims,
        told: &mut HashMap<Uuid, Instant>,
        sweep: &mut Sweep,
    ) -> Result<(), StoreError> {
        engine.store.release_expired_holds().await?;
        self.refresh(&engine.store).await?;
        let shards = claims.shards();
        // Place by place: those of a hold that has ended do not wait behind those of another one.
        for (definition, step) in engine.store.held_places(&shards).await? {
            let Some(published) = engine.definitions.get(&engine.store, definition).await? else { continue };
            let its = &published.definition;
            let ix = step.as_deref().and_then(|name| its.find(name));
            if ix.is_some_and(|ix| self.steps(its).contains(&ix)) {
                continue;
            }
            for saga in engine.store.held_back(&shards, definition, step.as_deref(), TELL_MAX).await? {
                tell(engine, saga, told).await?;
            }
        }
        // Of a saga with parallel steps one place is known: another of its steps may be free now. All are told once.
        if sweep.ended(&self.active()) {
            sweep.after = Some(Uuid::nil());
        }
        if let Some(after) = sweep.after {
            let page = engine.store.held_after(&shards, after, TELL_MAX).await?;
            for saga in &page {
                tell(engine, *saga, told).await?;
            }
            sweep.after = page.last().copied();
        }
        Ok(())
    }
}

/// What is left to tell of holds that have ended.
#[derive(Debug, Default)]
struct Sweep {
    /// Those in force a moment ago.
    known: HashSet<Uuid>,
    /// Told up to here; nothing when all are.
    after: Option<Uuid>,
}

impl Sweep {
    /// Whether one has ended since the last time.
    fn ended(&mut self, now: &[Hold]) -> bool {
        let now: HashSet<Uuid> = now.iter().map(|it| it.id).collect();
        let ended = self.known.difference(&now).next().is_some();
        self.known = now;
        ended
    }
}

/// Tells a saga that it may go on, unless it was told a moment ago. Its owner decides with the holds that it knows:
/// should those be older, it is told again.
async fn tell(engine: &Engine, saga: Uuid, told: &mut HashMap<Uuid, Instant>) -> Result<(), StoreError> {
    if told.contains_key(&saga) {
        return Ok(());
    }
    let event = Event::new(clock::now(), rand::random(), What::Hold);
    let id = Uuid::now_v7();
    let (_, shard) = engine.store.post(id, SagaId(saga), &event, None).await?;
    engine.nudge(SagaId(saga), shard, id).await;
    told.insert(saga, Instant::now());
    Ok(())
}

const COLUMNS: &str = "id, kind, definition, worker, action, by, why, at, until, released_at, released_by";

fn hold(row: &PgRow) -> Result<Hold, StoreError> {
    let kind: &str = row.try_get(1)?;
    let what = match kind {
        "starts" => Held::Starts,
        "definition" => Held::Definition(row.try_get(2)?),
        "action" => Held::Action { worker: row.try_get(3)?, action: row.try_get(4)? },
        other => return Err(StoreError::Unreadable(format!("a hold of kind {other}"))),
    };
    Ok(Hold {
        id: row.try_get(0)?,
        what,
        by: row.try_get(5)?,
        why: row.try_get(6)?,
        at: row.try_get(7)?,
        until: row.try_get(8)?,
        released_at: row.try_get(9)?,
        released_by: row.try_get(10)?,
    })
}

impl Store {
    /// Holds, newest first, at most 500; only those in force when `active`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holds(&self, active: bool) -> Result<Vec<Hold>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from hold where not $1 or (released_at is null and (until is null or until > now()))
             order by at desc limit 500"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(active).fetch_all(self.reads()).await?;
        rows.iter().map(hold).collect()
    }

    /// Sets a hold.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_hold(
        &self,
        actor: &Actor,
        what: &Held,
        why: &str,
        until: Option<DateTime<Utc>>,
    ) -> Result<Hold, StoreError> {
        let (kind, definition, worker, action) = match what {
            Held::Starts => ("starts", None, None, None),
            Held::Definition(name) => ("definition", Some(name), None, None),
            Held::Action { worker, action } => ("action", None, Some(worker), action.as_ref()),
        };
        let mut tx = self.reads().begin().await?;
        let sql = format!(
            "insert into hold (id, kind, definition, worker, action, by, why, until)
             values ($1, $2, $3, $4, $5, $6, $7, $8) returning {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(Uuid::now_v7())
            .bind(kind)
            .bind(definition)
            .bind(worker)
            .bind(action)
            .bind(&actor.who)
            .bind(why)
            .bind(until)
            .fetch_one(&mut *tx)
            .await?;
        let set = hold(&row)?;
        let after = json!({ "kind": kind, "definition": definition, "worker": worker, "action": action, "until": until });
        let deed = Deed { why: Some(why), after: Some(after), ..Deed::new("hold.set", set.id.to_string()) };
        audit::keep(&mut tx, actor, deed).await?;
        tx.commit().await?;
        Ok(set)
    }

    /// Ends a hold. `None` when there is none of that id in force.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_hold(
        &self,
        actor: &Actor,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<Option<Hold>, StoreError> {
        let mut tx = self.reads().begin().await?;
        let sql = format!(
            "update hold set released_at = now(), released_by = $2 where id = $1 and released_at is null returning {COLUMNS}"
        );
        let row =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).bind(&actor.who).fetch_optional(&mut *tx).await?;
        let Some(released) = row.as_ref().map(hold).transpose()? else { return Ok(None) };
        audit::keep(&mut tx, actor, Deed { why, ..Deed::new("hold.release", id.to_string()) }).await?;
        tx.commit().await?;
        Ok(Some(released))
    }

    async fn release_expired_holds(&self) -> Result<(), StoreError> {
        sqlx::query(
            "with over as (
                update hold set released_at = until, released_by = 'time' where released_at is null and until <= now()
                returning id)
             insert into audit (who, roles, address, what, target, why)
             select 'time', '{}', '-', 'hold.release', id::text, 'its time was over' from over",
        )
        .execute(self.reads())
        .await?;
        Ok(())
    }

    /// Where sagas of these shards stand at held steps: definition and step.
    async fn held_places(&self, shards: &[i32]) -> Result<Vec<(i32, Option<String>)>, StoreError> {
        Ok(sqlx::query_as(
            "select distinct definition, step from projection where run = 4 and status = 0 and shard = any($1)",
        )
        .bind(shards)
        .fetch_all(self.reads())
        .await?)
    }

    /// Sagas of these shards that stand at a held step, the oldest first.
    async fn held_back(
        &self,
        shards: &[i32],
        definition: i32,
        step: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(
            "select saga_id from projection where run = 4 and status = 0 and shard = any($1)
                and definition = $2 and step is not distinct from $3 order by saga_id limit $4",
        )
        .bind(shards)
        .bind(definition)
        .bind(step)
        .bind(limit)
        .fetch_all(self.reads())
        .await?)
    }

    /// Sagas of these shards that stand at a held step, after one.
    async fn held_after(&self, shards: &[i32], after: Uuid, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(
            "select saga_id from projection where run = 4 and status = 0 and shard = any($1) and saga_id > $2
             order by saga_id limit $3",
        )
        .bind(shards)
        .bind(after)
        .bind(limit)
        .fetch_all(self.reads())
        .await?)
    }

    /// How many sagas stand at held steps, by definition, worker and action.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_counts(
        &self,
    ) -> Result<Vec<(String, Option<String>, Option<String>, i64)>, StoreError> {
        Ok(sqlx::query_as(
            "select d.name, p.worker, p.action, count(*) from projection p join definition d on d.id = p.definition
             where p.run = 4 and p.status = 0 group by 1, 2, 3",
        )
        .fetch_all(self.reads())
        .await?)
    }
}
