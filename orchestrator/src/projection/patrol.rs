//! Finds what the hints missed: a crash, a lost hint, a row that another process wrote late.
//!
//! It walks the states of this process's shards and the rows of what is said to run, a slice a second, and
//! yields the sagas whose rows are missing or behind.

use std::time::Duration;

use saga_protocol::SagaId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::Engine;
use crate::shard::Claims;
use crate::store::StoreError;

const EVERY: Duration = Duration::from_secs(1);
/// States and rows that one slice looks at.
const SLICE: i64 = 2_000;

#[derive(Debug)]
pub(super) struct Patrol {
    looked: Option<Instant>,
    state: Option<(i32, Uuid)>,
    row: Option<Uuid>,
    /// What ended up to here in vain has been looked at, the newest first; `None` once all of it was.
    ended: Option<Uuid>,
    hurries: bool,
}

impl Default for Patrol {
    fn default() -> Self {
        Self { looked: None, state: None, row: None, ended: Some(Uuid::max()), hurries: false }
    }
}

impl Patrol {
    /// Hints were missed: look at once, and from the newest.
    pub(super) fn hurry(&mut self) {
        self.hurries = true;
        self.ended = Some(Uuid::max());
    }

    /// One slice, when its time has come.
    pub(super) async fn turn(&mut self, engine: &Engine, claims: &Claims) -> Result<Vec<SagaId>, StoreError> {
        if !self.hurries && self.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(Vec::new());
        }
        self.hurries = false;
        self.looked = Some(Instant::now());
        let mut shards = claims.shards();
        shards.sort_unstable();
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let store = &engine.store;
        let (mut found, next) = store.patrol_states(&shards, self.state, SLICE).await?;
        self.state = next;
        let (more, next) = store.patrol_rows(&shards, self.row, SLICE).await?;
        self.row = next;
        found.extend(more);
        if let Some(before) = self.ended {
            let (more, next) = store.patrol_ended(&shards, before, SLICE).await?;
            self.ended = next;
            found.extend(more);
        }
        Ok(found.into_iter().map(SagaId).collect())
    }
}
