//! The simulated database: tables in memory, statements that take their time, get lost on their way or are carried
//! out while their answer is lost.
//!
//! Means the same as `store/`'s statements (conformance.rs holds both to it). It must not be kinder than
//! Postgres: a statement that is on its way is carried out whoever has died meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use saga_core::Payloads;
use saga_protocol::SagaId;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::store::batch::Batch;
use crate::store::children::ChildStart;
use crate::store::claim::Claimed;
use crate::store::load::{self, Loaded};
use crate::store::start::{NewSaga, Started, Taken};
use crate::store::sweep::{Look, Mail, SWEEP_AGE_MS, Swept};
use crate::store::{Database, Purpose, Session, StoreError};

/// How long an answer is waited for.
const SILENCE: Duration = Duration::from_secs(35);
/// The longest that a slow statement takes, in ms: longer than anybody waits for it.
const SLOW_MAX_MS: u64 = 40_000;

/// A row of `shard`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardRow {
    pub(crate) epoch: i64,
    pub(crate) token: Option<Uuid>,
    pub(crate) seq: i64,
    pub(crate) next_offset: i64,
    pub(crate) log: Option<(String, String)>,
}

/// A row of `saga`.
#[derive(Clone, Debug)]
pub(crate) struct SagaRow {
    pub(crate) shard: i32,
    pub(crate) definition: i32,
    pub(crate) status: i16,
    pub(crate) final_state: Option<String>,
    pub(crate) parent: Option<Uuid>,
}

/// A row of `saga_state`.
#[derive(Clone, Debug)]
pub(crate) struct StateRow {
    pub(crate) definition: i32,
    pub(crate) revision: i32,
    pub(crate) due: Option<i64>,
    pub(crate) state: String,
}

/// A row of `history`: event, payload, inputs.
pub(crate) type HistoryRow = (String, Option<String>, Option<String>);

/// Everything that is durable.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) shards: BTreeMap<i32, ShardRow>,
    pub(crate) sagas: BTreeMap<Uuid, SagaRow>,
    pub(crate) states: BTreeMap<(i32, Uuid), StateRow>,
    pub(crate) history: BTreeMap<Uuid, BTreeMap<i32, HistoryRow>>,
    pub(crate) outbox: BTreeMap<(i32, Uuid, Arc<str>), Instant>,
    pub(crate) mailbox: BTreeMap<Uuid, (Mail, Option<String>)>,
    pub(crate) keys: BTreeMap<(String, String), (Uuid, Vec<u8>, String)>,
    pub(crate) anomalies: Vec<String>,
    pub(crate) dead_letters: BTreeMap<String, String>,
    pub(crate) ignored: u64,
    /// Batches, and those of them that a fence kept out.
    pub(crate) commits: (u64, u64),
    /// What must never be written.
    pub(crate) broken: Vec<String>,
    /// A hash of all that was committed, in order.
    pub(crate) trace: u64,
}

/// How statements fare.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    /// A statement gets lost, or its answer does.
    pub(crate) fails: f64,
    /// A statement takes up to [`SLOW_MAX_MS`].
    pub(crate) slow: f64,
}

#[derive(Debug)]
struct Shared {
    tables: Mutex<Tables>,
    chance: Mutex<(StdRng, Weather)>,
}

/// The simulated database.
#[derive(Clone, Debug)]
pub(crate) struct Simulated(Arc<Shared>);

impl Simulated {
    /// An empty one, of so many shards.
    pub(crate) fn new(seed: u64, shards: i32) -> Self {
        let tables =
            Tables { shards: (0..shards).map(|id| (id, ShardRow::default())).collect(), ..Tables::default() };
        let chance = (StdRng::seed_from_u64(seed), Weather::default());
        Self(Arc::new(Shared { tables: Mutex::new(tables), chance: Mutex::new(chance) }))
    }

    /// Other weather from now on.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.0.chance.lock().1 = weather;
    }

    /// Looks into the tables.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Tables) -> T) -> T {
        look(&mut self.0.tables.lock())
    }

    /// Carries a statement out on the server, which does not know whether anybody still waits for it.
    async fn statement<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Tables, &mut StdRng) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (before_ms, after_ms, lost, unanswered) = {
            let (random, weather) = &mut *self.0.chance.lock();
            let fails = random.random_bool(weather.fails);
            let lost = random.random_bool(0.5);
            let slow = random.random_bool(weather.slow);
            let before_ms = random.random_range(0..if slow { SLOW_MAX_MS } else { 4 });
            (before_ms, random.random_range(0..3), fails && lost, fails && !lost)
        };
        let (shared, (tell, told)) = (Arc::clone(&self.0), oneshot::channel());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(before_ms)).await;
            if lost {
                return;
            }
            let result = {
                let mut chance = shared.chance.lock();
                act(&mut shared.tables.lock(), &mut chance.0)
            };
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            if !unanswered {
                let _ = tell.send(result);
            }
        });
        match tokio::time::timeout(SILENCE, told).await {
            Ok(Ok(result)) => result,
            _ => Err(StoreError::Unknown(sqlx::Error::PoolTimedOut)),
        }
    }
}

#[async_trait]
impl Database for Simulated {
    async fn session(&self, _: Purpose) -> Result<Box<dyn Session>, StoreError> {
        self.statement(|_, _| Ok(())).await?;
        Ok(Box::new(self.clone()))
    }

    async fn next_offset(&self, shard: i32) -> Result<i64, StoreError> {
        self.statement(move |tables, _| Ok(tables.shards.get(&shard).map_or(0, |row| row.next_offset))).await
    }

    async fn sweep(&self, look: Look) -> Result<Swept, StoreError> {
        self.statement(move |tables, _| {
            let wanted =
                |shard: i32, saga: &Uuid| look.shards.contains(&shard) && !look.left_out.contains(saga);
            let age = Duration::from_millis(u64::try_from(SWEEP_AGE_MS).unwrap_or(0));
            let old = tables
                .outbox
                .iter()
                .filter(|((shard, saga, _), at)| wanted(*shard, saga) && at.elapsed() > age);
            let unread = tables
                .mailbox
                .values()
                .filter(|(mail, taken)| taken.is_none() && wanted(mail.shard, &mail.saga));
            Ok(Swept {
                outbox: old.map(|(row, _)| row.clone()).collect(),
                mail: unread.map(|(mail, _)| mail.clone()).collect(),
                more_mail: false,
                rows_to: None,
                claims: look
                    .shards
                    .iter()
                    .filter_map(|id| tables.shards.get(id).map(|row| (*id, row.epoch, row.token)))
                    .collect(),
                look,
            })
        })
        .await
    }

    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let ids = ids.to_vec();
        self.statement(move |tables, _| {
            Ok(ids.into_iter().filter(|id| tables.sagas.contains_key(id)).collect())
        })
        .await
    }

    async fn definition(&self, _: i32) -> Result<Option<String>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl Session for Simulated {
    async fn claim(&mut self, _: &str, shards: &[i32]) -> Result<Vec<Claimed>, StoreError> {
        let shards = shards.to_vec();
        self.statement(move |tables, random| {
            Ok(shards.iter().filter_map(|id| tables.claim(*id, Uuid::from_u128(random.random()))).collect())
        })
        .await
    }

    async fn begin_log(&mut self, claimed: &Claimed, next_offset: i64) -> Result<bool, StoreError> {
        let claimed = claimed.clone();
        self.statement(move |tables, _| {
            let row = tables.claimed(claimed.shard, claimed.epoch, claimed.token);
            let holds = row.is_some();
            if let Some(row) = row {
                (row.log, row.next_offset) = (None, next_offset);
            }
            Ok(holds)
        })
        .await
    }

    async fn know_log(
        &mut self,
        (shard, epoch, token): (i32, i64, Uuid),
        log: (&str, &str),
    ) -> Result<(), StoreError> {
        let log = (log.0.to_owned(), log.1.to_owned());
        self.statement(move |tables, _| {
            if let Some(row) = tables.claimed(shard, epoch, token) {
                row.log = Some(log);
            }
            Ok(())
        })
        .await
    }

    async fn timers(&mut self, shard: i32) -> Result<Vec<(Uuid, Option<i64>)>, StoreError> {
        self.statement(move |tables, _| {
            let of_shard = tables.states.iter().filter(|((its, _), _)| *its == shard);
            Ok(of_shard.map(|((_, id), row)| (*id, row.due)).collect())
        })
        .await
    }

    async fn load(&mut self, keys: &[(i32, Uuid)]) -> Result<HashMap<Uuid, Loaded>, StoreError> {
        let keys = keys.to_vec();
        self.statement(move |tables, _| {
            Ok(keys.iter().filter_map(|(shard, id)| Some((*id, tables.load(*shard, *id)?))).collect())
        })
        .await
    }

    async fn commit(&mut self, batch: &Batch) -> Result<Vec<i32>, StoreError> {
        let batch = batch.clone();
        self.statement(move |tables, _| tables.commit(&batch)).await
    }

    async fn start(&mut self, sagas: &[NewSaga]) -> Result<Started, StoreError> {
        let sagas = sagas.to_vec();
        self.statement(move |tables, _| Ok(tables.start(&sagas))).await
    }
}

impl Tables {
    fn claimed(&mut self, shard: i32, epoch: i64, token: Uuid) -> Option<&mut ShardRow> {
        self.shards.get_mut(&shard).filter(|row| row.epoch == epoch && row.token == Some(token))
    }

    fn claim(&mut self, id: i32, token: Uuid) -> Option<Claimed> {
        let row = self.shards.get_mut(&id)?;
        (row.epoch, row.token, row.seq) = (row.epoch + 1, Some(token), 0);
        Some(Claimed {
            shard: id,
            epoch: row.epoch,
            token,
            next_offset: row.next_offset,
            log: row.log.clone(),
        })
    }

    fn load(&self, shard: i32, id: Uuid) -> Option<Loaded> {
        let saga = self.sagas.get(&id).filter(|saga| saga.shard == shard)?;
        let (definition, ended, text) = match (self.states.get(&(shard, id)), &saga.final_state) {
            (Some(row), _) => (row.definition, false, &row.state),
            (None, Some(state)) => (saga.definition, true, state),
            (None, None) => return None,
        };
        let mut state = load::state(saga_core::state::SCHEMA, text);
        let payloads = self.payloads(id).unwrap_or_else(|reason| {
            state = Err(reason);
            Payloads::new(SagaId(id), Arc::default())
        });
        Some(Loaded { definition, shard, status: saga.status, ended, state, payloads })
    }

    /// What a saga's history holds.
    pub(crate) fn payloads(&self, id: Uuid) -> Result<Payloads, String> {
        let mut payloads = Payloads::new(SagaId(id), Arc::default());
        for (revision, (_, payload, inputs)) in self.history.get(&id).into_iter().flatten() {
            let revision = u32::try_from(*revision).map_err(|error| error.to_string())?;
            load::row(&mut payloads, revision, payload.as_deref(), inputs.as_deref())?;
        }
        Ok(payloads)
    }

    /// As the one statement of `store/batch.rs`.
    fn commit(&mut self, batch: &Batch) -> Result<Vec<i32>, StoreError> {
        let passes = |fence: &&crate::store::batch::Fence| {
            self.shards.get(&fence.shard).is_some_and(|row| {
                (row.epoch, row.token, row.seq) == (fence.epoch, Some(fence.token), fence.seq)
            })
        };
        let fenced: Vec<_> = batch.fences.iter().filter(passes).copied().collect();
        let passed: Vec<i32> = fenced.iter().map(|fence| fence.shard).collect();
        let ours = |shard: i32| passed.contains(&shard);
        for (shard, saga, revision, ..) in &batch.history {
            if ours(*shard) && self.history.get(saga).is_some_and(|rows| rows.contains_key(revision)) {
                self.broken.push(format!("saga {saga}: revision {revision} was written twice"));
                return Err(StoreError::Data(sqlx::Error::Protocol("history_pk".into())));
            }
        }
        self.commits.0 += 1;
        self.commits.1 += u64::from(fenced.len() < batch.fences.len());
        for fence in &fenced {
            if let Some(row) = self.shards.get_mut(&fence.shard) {
                row.seq += 1;
                row.next_offset = fence.next_offset;
            }
            self.note((fence.shard, fence.seq, fence.next_offset));
        }
        for (shard, saga, revision, due, state) in batch.states.iter().filter(|row| ours(row.0)) {
            if let Some(row) = self.states.get_mut(&(*shard, *saga)) {
                (row.revision, row.due, row.state) = (*revision, *due, state.clone());
            }
        }
        for (shard, saga, status, _, state) in batch.ended.iter().filter(|row| ours(row.0)) {
            self.states.remove(&(*shard, *saga));
            if let Some(row) = self.sagas.get_mut(saga) {
                (row.status, row.final_state) = (*status, Some(state.clone()));
            }
        }
        for (shard, saga, revision, due, state, status) in batch.reopened.iter().filter(|row| ours(row.0)) {
            let Some(row) = self.sagas.get_mut(saga) else { continue };
            (row.status, row.final_state) = (*status, None);
            let definition = row.definition;
            let row = StateRow { definition, revision: *revision, due: *due, state: state.clone() };
            self.states.insert((*shard, *saga), row);
        }
        for (_, saga, status) in batch.statuses.iter().filter(|row| ours(row.0)) {
            if let Some(row) = self.sagas.get_mut(saga).filter(|row| row.status < 2) {
                row.status = *status;
            }
        }
        for (_, saga, revision, event, payload, inputs) in batch.history.iter().filter(|row| ours(row.0)) {
            let row = (event.clone(), payload.clone(), inputs.clone());
            self.history.entry(*saga).or_default().insert(*revision, row);
            self.note((saga, revision, event));
        }
        // Postgres carries the deletion out first: a row that goes and comes in one batch stays.
        for row in batch.sent.iter().filter(|row| ours(row.0)) {
            self.outbox.remove(row);
        }
        for row in batch.sends.iter().filter(|row| ours(row.0)) {
            self.outbox.entry(row.clone()).or_insert_with(Instant::now);
        }
        for (_, mail, result, _) in batch.taken.iter().filter(|row| ours(row.0)) {
            if let Some((_, taken)) = self.mailbox.get_mut(mail) {
                taken.get_or_insert_with(|| result.clone());
            }
        }
        for (shard, id, saga, kind, body, payload) in batch.mail.iter().filter(|row| ours(row.0)) {
            let mail = Mail {
                id: *id,
                shard: *shard,
                saga: *saga,
                kind: kind.clone(),
                body: body.clone(),
                payload: payload.clone(),
            };
            self.mailbox.entry(*id).or_insert((mail, None));
        }
        let mut keys = HashSet::new();
        for child in batch.children.iter().filter(|it| ours(it.row.shard)) {
            let first = child.row.keys.iter().all(|key| keys.insert(key));
            self.start_child(child, first);
        }
        self.ignored += batch.ignored.iter().filter(|row| ours(row.0)).count() as u64;
        let anomalies = batch.anomalies.iter().filter(|row| ours(row.shard));
        self.anomalies.extend(anomalies.map(|row| format!("{}: {}", row.effect_key, row.kind)));
        for (_, source, reason, ..) in batch.dead_letters.iter().filter(|row| ours(row.0)) {
            self.dead_letters.entry(source.clone()).or_insert_with(|| reason.clone());
        }
        Ok(passed)
    }

    /// As `store/children.rs`; `first` of those in the batch that want its key.
    fn start_child(&mut self, child: &ChildStart, first: bool) {
        let row = &child.row;
        let mail = |(id, body): &(Uuid, String)| {
            let (shard, saga, kind) = (row.shard, child.parent, "event".to_owned());
            (*id, (Mail { id: *id, shard, saga, kind, body: body.clone(), payload: None }, None))
        };
        let stranger = |key: &(String, String)| {
            self.keys.get(key).is_some_and(|(.., principal)| *principal != row.principal)
        };
        if !first || row.keys.iter().any(stranger) {
            self.mailbox.extend([mail(&child.refused)]);
            return;
        }
        for key in &row.keys {
            self.keys.insert(key.clone(), (row.id, row.body_hash.clone(), row.principal.clone()));
        }
        match self.sagas.get(&row.id).map(|saga| saga.status) {
            None => {
                self.insert(row, Some(child.parent));
                self.mailbox.extend(child.told.as_ref().map(|(told, payload)| {
                    let (id, (told, taken)) = mail(told);
                    (id, (Mail { payload: payload.clone(), ..told }, taken))
                }));
            }
            Some(4) => self.mailbox.extend([mail(&child.abandoned)]),
            Some(_) => {}
        }
    }

    fn start(&mut self, sagas: &[NewSaga]) -> Started {
        let mut started = Started::default();
        for saga in sagas {
            if let Some((owner, body_hash, principal)) = saga.keys.iter().find_map(|key| self.keys.get(key)) {
                let taken =
                    Taken { saga: *owner, body_hash: body_hash.clone(), principal: principal.clone() };
                started.taken.insert(saga.id, taken);
                continue;
            }
            for key in &saga.keys {
                self.keys.insert(key.clone(), (saga.id, saga.body_hash.clone(), saga.principal.clone()));
            }
            self.insert(saga, None);
            started.fresh.insert(saga.id);
        }
        started
    }

    /// A saga's first rows.
    fn insert(&mut self, saga: &NewSaga, parent: Option<Uuid>) {
        let ended = saga.status >= 2;
        let row = SagaRow {
            shard: saga.shard,
            definition: saga.definition,
            status: saga.status,
            final_state: ended.then(|| saga.state.clone()),
            parent,
        };
        self.sagas.insert(saga.id, row);
        if !ended {
            let (definition, due, state) = (saga.definition, saga.due, saga.state.clone());
            self.states.insert((saga.shard, saga.id), StateRow { definition, revision: 1, due, state });
        }
        let row = (saga.event.clone(), Some(saga.payload.clone()), saga.inputs.clone());
        self.history.entry(saga.id).or_default().insert(1, row);
        let rows = saga.commands.iter().map(|it| ((saga.shard, saga.id, it.as_str().into()), Instant::now()));
        self.outbox.extend(rows);
        self.note((saga.id, saga.shard));
    }

    /// Adds to the trace.
    fn note(&mut self, what: impl std::hash::Hash) {
        use std::hash::{DefaultHasher, Hash as _, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.trace, crate::clock::now(), what).hash(&mut hasher);
        self.trace = hasher.finish();
    }
}
