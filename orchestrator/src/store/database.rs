//! What lanes, starts and the sweep need of a database: Postgres has it, and so has the simulator's.
//!
//! Owns nothing but the words. What is read for people is no part of it.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::batch::Batch;
use super::claim::{self, Claimed};
use super::load::{self, Loaded};
use super::start::{NewSaga, Started};
use super::sweep::{Look, Swept};
use super::{Store, StoreError};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A lane's batches: its backend is known to whoever takes over.
    Lane,
    /// The starts of a process.
    Starts,
}

/// A database.
#[async_trait]
pub(crate) trait Database: Debug + Send + Sync {
    /// A connection of its own.
    async fn session(&self, purpose: Purpose) -> Result<Box<dyn Session>, StoreError>;

    /// The offset that a shard is to be read from.
    async fn next_offset(&self, shard: i32) -> Result<i64, StoreError>;

    /// What waits.
    async fn sweep(&self, look: Look) -> Result<Swept, StoreError>;

    /// Which of the ids are sagas.
    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError>;

    /// The text of a definition's version.
    async fn definition(&self, id: i32) -> Result<Option<String>, StoreError>;
}

/// A connection to it. After a [`StoreError::Unknown`] it is not to be used again.
#[async_trait]
pub(crate) trait Session: Debug + Send + Sync {
    /// Claims shards for `owner`: new epochs and tokens, committed.
    async fn claim(&mut self, owner: &str, shards: &[i32]) -> Result<Vec<Claimed>, StoreError>;

    /// Begins another log; `false` when the claim does not hold any more.
    async fn begin_log(&mut self, claimed: &Claimed, next_offset: i64) -> Result<bool, StoreError>;

    /// Records which log a shard reads, by shard, epoch and token.
    async fn know_log(&mut self, claim: (i32, i64, Uuid), log: (&str, &str)) -> Result<(), StoreError>;

    /// When each running saga of a shard is due, in ms.
    async fn timers(&mut self, shard: i32) -> Result<Vec<(Uuid, Option<i64>)>, StoreError>;

    /// Sagas of the given shards.
    async fn load(&mut self, keys: &[(i32, Uuid)]) -> Result<HashMap<Uuid, Loaded>, StoreError>;

    /// Commits a batch in one statement; returns the shards that passed the fence.
    async fn commit(&mut self, batch: &Batch) -> Result<Vec<i32>, StoreError>;

    /// Starts a group of sagas in one transaction.
    async fn start(&mut self, sagas: &[NewSaga]) -> Result<Started, StoreError>;
}

#[async_trait]
impl Database for Store {
    async fn session(&self, purpose: Purpose) -> Result<Box<dyn Session>, StoreError> {
        let connection = match purpose {
            Purpose::Lane => self.lane_connection().await?,
            Purpose::Starts => self.start_connection().await?,
        };
        Ok(Box::new(Postgres { connection, store: self.clone() }))
    }

    async fn next_offset(&self, shard: i32) -> Result<i64, StoreError> {
        self.next_offset(shard).await
    }

    async fn sweep(&self, look: Look) -> Result<Swept, StoreError> {
        self.sweep(look).await
    }

    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        self.existing(ids).await
    }

    async fn definition(&self, id: i32) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("select source from definition where id = $1").bind(id);
        let row = query.fetch_optional(self.reads()).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

/// A session of the real one.
#[derive(Debug)]
struct Postgres {
    connection: PgConnection,
    store: Store,
}

#[async_trait]
impl Session for Postgres {
    async fn claim(&mut self, owner: &str, shards: &[i32]) -> Result<Vec<Claimed>, StoreError> {
        claim::claim(&mut self.connection, owner, shards).await
    }

    async fn begin_log(&mut self, claimed: &Claimed, next_offset: i64) -> Result<bool, StoreError> {
        claim::begin_log(&mut self.connection, claimed, next_offset).await
    }

    async fn know_log(&mut self, claim: (i32, i64, Uuid), log: (&str, &str)) -> Result<(), StoreError> {
        claim::know_log(&mut self.connection, claim, log).await
    }

    async fn timers(&mut self, shard: i32) -> Result<Vec<(Uuid, Option<i64>)>, StoreError> {
        let timers = claim::timers(&mut self.connection, &[shard]).await?;
        Ok(timers.into_values().flatten().collect())
    }

    async fn load(&mut self, keys: &[(i32, Uuid)]) -> Result<HashMap<Uuid, Loaded>, StoreError> {
        load::load(&mut self.connection, keys).await
    }

    async fn commit(&mut self, batch: &Batch) -> Result<Vec<i32>, StoreError> {
        batch.commit(&mut self.connection).await
    }

    async fn start(&mut self, sagas: &[NewSaga]) -> Result<Started, StoreError> {
        self.store.start(&mut self.connection, sagas).await
    }
}
