//! Starting sagas, from any node: group commit, hand-over to the owner, first commands.
//!
//! Owns the way from an accepted request to a durable saga. A start is the only write to a saga that its
//! shard's owner does not make.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use saga_bus::{Bus, Outgoing, Pace};
use saga_core::command::Spelled;
use saga_core::state::Parent;
use saga_core::{CellRef, Effect, Event, Payloads, State, Transition, What};
use saga_protocol::{InboxRecord, SagaEvents, SagaId, Topics};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock;
use crate::health::Health;
use crate::hints::{self, Waiter, Waiters};
use crate::holds::{Hold, Holds};
use crate::outbox::{self, Outbox, Published, Ready};
use crate::shard::decide::{coarse, history_row};
use crate::shard::sagas::Saga;
use crate::shard::{Claims, Handover};
use crate::store::definitions::Published as PublishedDefinition;
use crate::store::start::{NewSaga, Taken};
use crate::store::{Database, Purpose, Session, StoreError};

/// Starts that may wait for their group; beyond, they are refused.
const QUEUE_MAX: usize = 4_096;
/// Starts of one transaction, at most.
const GROUP_MAX: usize = 512;
/// Groups of at least this many are load: their commands may wait for company, and so does the next group.
const LOAD_FROM: usize = 8;
/// How long a group waits for company under load. Starts that begin together stay together: their commands,
/// answers and ends are larger batches all the way through.
const LINGER: Duration = Duration::from_millis(8);
/// The longest key: an index holds it.
const KEY_BYTES_MAX: usize = 1_000;
/// How long the ids of a commit with an unknown outcome are asked for.
const LOOK_UP_TRIES: u32 = 10;

/// A request to start a saga.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The definition's version.
    pub definition: Arc<PublishedDefinition>,
    /// The input, valid by the definition's schema.
    pub input: Arc<Value>,
    /// A hash of the request, to tell a repetition from another request.
    pub body_hash: [u8; 32],
    /// Who asks.
    pub principal: String,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The ended saga that it repeats, whose business key it takes over.
    pub replay_of: Option<SagaId>,
}

/// A saga that exists, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub saga: SagaId,
    /// It was started by this request; otherwise by an earlier one with the same key and body.
    pub fresh: bool,
}

/// Why a saga was not started. Nothing was written, but for [`StartError::Unavailable`], after which the same
/// request with the same key finds out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The key was used with another body.
    #[error("the key was used before, with another body; saga {saga}")]
    KeyReused {
        /// The saga of that key.
        saga: SagaId,
    },
    /// The key belongs to somebody else.
    #[error("the key is taken")]
    KeyOfAnother,
    /// Too much waits already.
    #[error("too busy; try again in {retry_after_s} s")]
    Busy {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// An operator holds starts.
    #[error("starts are held: {}", .0.why)]
    Held(Box<Hold>),
    /// The database does not answer; it may or may not have been started.
    #[error("the start cannot be confirmed: {0}; repeat it with the same key")]
    Unavailable(String),
    /// An expression of the definition cannot be evaluated with this input.
    #[error("{0}")]
    BadInput(String),
}

struct Pending {
    row: NewSaga,
    rest: Rest,
}

/// What a start is besides its rows.
struct Rest {
    saga: Saga,
    ready: Vec<Ready>,
    answer: oneshot::Sender<Result<Started, StartError>>,
}

/// A saga's first transition: what is written of it, what is known of it in memory, and what it asks for.
pub(crate) struct First {
    /// Its rows; who starts it, and the hash of the request, are not known here.
    pub(crate) row: NewSaga,
    pub(crate) saga: Saga,
    pub(crate) effects: Vec<Effect>,
    /// Its commands' inputs.
    resolved: Vec<(CellRef, Spelled)>,
}

impl First {
    /// Takes a saga's first step; the reason when it cannot.
    pub(crate) fn of(
        published: &Arc<PublishedDefinition>,
        id: SagaId,
        shard: i32,
        input: &Arc<Value>,
        parent: Option<Parent>,
        holds: &Holds,
    ) -> Result<Self, String> {
        let definition = &published.definition;
        let bad = |error: saga_core::definition::EvalError| error.to_string();
        let key = definition.key_of(input).map_err(bad)?;
        if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err(format!("the saga's key has more than {KEY_BYTES_MAX} bytes"));
        }
        let currency = definition.currency_of(input).map_err(bad)?;
        // Postgres keeps no such text; a child must not park its parent for it.
        if [&key, &currency].into_iter().flatten().any(|text| text.contains('\0')) {
            return Err("the saga's key and currency must not have a NUL character".to_owned());
        }
        let now = clock::now();
        let mut event = Event::new(now, clock::random(), What::Start);
        event.held = holds.steps(definition);
        let fresh = State::new(now, definition.deadline_ms.map(|ms| now + ms), parent);
        let mut payloads = Payloads::new(id, Arc::clone(input));
        let mut transition: Transition =
            saga_core::step(definition, &fresh, &event, &payloads).map_err(|illegal| illegal.to_string())?;
        // The start's row holds the input, whatever the transition says.
        transition.payload = Some(Arc::clone(input));
        payloads.inputs.extend(
            transition
                .inputs
                .iter()
                .map(|(key, value)| ((transition.state.revision, key.clone()), Arc::clone(value))),
        );
        let mut commands: Vec<String> = transition.effects.iter().filter_map(outbox::row_of).collect();
        // The sweep arms a saga that begins by waiting, should its hand-over or its record get lost.
        if commands.is_empty() && !transition.state.status.is_end() {
            commands.push(outbox::ARM.to_owned());
        }
        let (_, _, _, event, payload, inputs) = history_row(shard, id, &event, &transition);
        let row = NewSaga {
            id: id.0,
            shard,
            definition: published.id,
            keys: key.iter().map(|key| (format!("key:{}", definition.name), key.clone())).collect(),
            key,
            principal: String::new(),
            amount: definition.amount_of(input).map_err(bad)?,
            currency,
            labels: labels(definition, input),
            started_ms: now.0,
            state: serde_json::to_string(&transition.state).expect("a state has string keys"),
            status: coarse(&transition.state.status),
            due: saga_core::next_due(&transition.state).map(|due| due.0),
            event,
            payload: payload.unwrap_or_default(),
            inputs,
            commands,
            body_hash: Vec::new(),
            replay_of: None,
        };
        let Transition { state, effects, resolved, .. } = transition;
        let saga = Saga {
            shard,
            definition: Arc::clone(published),
            state,
            payloads,
            ignored: 0,
            answers: Some(Vec::new()),
        };
        Ok(Self { row, saga, effects, resolved })
    }
}

/// Starts sagas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Starter {
    queue: mpsc::Sender<Pending>,
    outbox: Outbox,
    claims: Claims,
    health: Arc<Health>,
    holds: Holds,
    shards: u32,
}

/// What the group commit needs.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Database>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) topics: Topics,
    pub(crate) claims: Claims,
    pub(crate) health: Arc<Health>,
    pub(crate) shards: u32,
    pub(crate) handovers: mpsc::UnboundedSender<Handover>,
    pub(crate) acknowledged: mpsc::UnboundedSender<Published>,
    /// Who watches changes is told of starts within this process.
    pub(crate) waiters: Waiters,
    pub(crate) holds: Holds,
    pub(crate) node: String,
}

impl Starter {
    /// Makes a starter and its group commit, which runs until the last starter is gone.
    pub(crate) fn new(parts: Parts) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, pending) = mpsc::channel(QUEUE_MAX);
        let outbox = Outbox::new(Arc::clone(&parts.bus), parts.topics.clone());
        let starter = Self {
            queue,
            outbox: outbox.clone(),
            claims: parts.claims.clone(),
            health: Arc::clone(&parts.health),
            holds: parts.holds.clone(),
            shards: parts.shards.max(1),
        };
        let group = Group { parts, outbox, connection: None };
        (starter, tokio::spawn(group.run(pending)))
    }

    /// Starts a saga, or finds the one that the key names. When it returns, the saga is durable.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, request: StartRequest) -> Result<Started, StartError> {
        self.run(request, None).await.map(|(started, _)| started)
    }

    /// The same, registered for the end of a new saga before it exists, so that it cannot be missed. Of an
    /// earlier saga there is no waiter.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_and_watch(
        &self,
        request: StartRequest,
        waiters: &Waiters,
    ) -> Result<(Started, Option<Waiter>), StartError> {
        self.run(request, Some(waiters)).await
    }

    async fn run(
        &self,
        request: StartRequest,
        waiters: Option<&Waiters>,
    ) -> Result<(Started, Option<Waiter>), StartError> {
        if let Some(hold) = self.holds.of_start(&request.definition.definition.name) {
            return Err(StartError::Held(Box::new(hold)));
        }
        if !self.health.accepts_starts() {
            return Err(StartError::Busy { retry_after_s: 5 });
        }
        let (answer, answered) = oneshot::channel();
        let pending = self.prepare(request, answer)?;
        let waiter = waiters.map(|it| it.register(SagaId(pending.row.id)));
        self.queue.try_send(pending).map_err(|_| StartError::Busy { retry_after_s: 1 })?;
        let closing = |_| StartError::Unavailable("the orchestrator is shutting down".into());
        let started = answered.await.map_err(closing)??;
        Ok((started, waiter.filter(|_| started.fresh)))
    }

    fn prepare(
        &self,
        request: StartRequest,
        answer: oneshot::Sender<Result<Started, StartError>>,
    ) -> Result<Pending, StartError> {
        let StartRequest { definition: published, input, body_hash, principal, idempotency_key, replay_of } =
            request;
        let id = SagaId(clock::fresh_id());
        let shard = self.choose(id);
        let first =
            First::of(&published, id, shard, &input, None, &self.holds).map_err(StartError::BadInput)?;
        let mut ready = Vec::new();
        let First { mut row, saga, effects, resolved } = first;
        let mut resolved: HashMap<_, _> = resolved.into_iter().collect();
        for effect in effects {
            if let Effect::Send { cell, .. } = effect {
                let of = (id, &saga.state, &saga.payloads);
                let built = self.outbox.ready(&published.definition, shard, of, cell, resolved.remove(&cell));
                ready.push(built.map_err(StartError::BadInput)?);
            }
        }
        if let Some(key) = idempotency_key {
            row.keys.push((format!("request:{principal}"), key));
        }
        row.principal = principal;
        row.body_hash = body_hash.to_vec();
        row.replay_of = replay_of.map(|it| it.0);
        Ok(Pending { row, rest: Rest { saga, ready, answer } })
    }

    /// A shard of this process, so that the saga stays in it; any shard when it owns none.
    fn choose(&self, saga: SagaId) -> i32 {
        let (_, random) = saga.0.as_u64_pair();
        let own = self.claims.shards();
        let pick = |count: usize| usize::try_from(random % (count.max(1) as u64)).unwrap_or(0);
        let any = || i32::try_from(pick(self.shards as usize)).unwrap_or(0);
        own.get(pick(own.len())).copied().unwrap_or_else(any)
    }
}

/// A saga's labels as the store has them; none is no row.
fn labels(definition: &saga_core::Definition, input: &serde_json::Value) -> Option<String> {
    let labels: Vec<String> =
        definition.labels_of(input).iter().map(|(name, value)| format!("{name}:{value}")).collect();
    (!labels.is_empty()).then(|| labels.join("\n"))
}

/// A saga of another process: its shard, what its owner is to know, its first commands.
type Foreign = (i32, saga_protocol::Started, Vec<Ready>);

struct Group {
    parts: Parts,
    outbox: Outbox,
    /// Its own, given up after every failure: what is still on its way there must not be waited for.
    connection: Option<Box<dyn Session>>,
}

impl Group {
    async fn run(mut self, mut pending: mpsc::Receiver<Pending>) {
        let mut last = 0;
        while let Some(first) = pending.recv().await {
            if last >= LOAD_FROM && pending.len() < last {
                tokio::time::sleep(LINGER).await;
            }
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = pending.try_recv()
            {
                group.push(next);
            }
            last = group.len();
            metrics::histogram!("amends_start_group_size")
                .record(u32::try_from(group.len()).unwrap_or(u32::MAX));
            // No recursion: how often is up to whoever asks.
            let mut groups = vec![group];
            while let Some(group) = groups.pop() {
                groups.extend(self.commit(group).await);
            }
        }
    }

    /// Returns the groups that are to be tried again.
    async fn commit(&mut self, group: Vec<Pending>) -> Vec<Vec<Pending>> {
        // Noted before the transaction: a claim that is younger than it has read its sagas itself.
        let tokens: Vec<Option<Uuid>> =
            group.iter().map(|it| self.parts.claims.token(it.row.shard)).collect();
        let began = Instant::now();
        let (rows, rests): (Vec<NewSaga>, Vec<Rest>) = group.into_iter().map(|it| (it.row, it.rest)).unzip();
        let joined = |rows: Vec<NewSaga>, rests: Vec<Rest>| {
            rows.into_iter().zip(rests).map(|(row, rest)| Pending { row, rest })
        };
        failpoint::hit("start.commit");
        match self.start(&rows).await {
            Ok(started) => {
                failpoint::hit("start.committed");
                let (settled, again): (Vec<_>, Vec<_>) =
                    joined(rows, rests).zip(tokens).partition(|(it, _)| {
                        started.fresh.contains(&it.row.id) || started.taken.contains_key(&it.row.id)
                    });
                let (group, tokens) = settled.into_iter().unzip();
                let outcome = |id| started.taken.get(&id).map_or(Ok(()), |taken| Err(Some(taken.clone())));
                self.answer(group, tokens, began, outcome).await;
                // Who is left had lost a key to one that then lost another: now it is free.
                if again.is_empty() {
                    return Vec::new();
                }
                return vec![again.into_iter().map(|(it, _)| it).collect()];
            }
            Err(StoreError::Data(error)) if rows.len() > 1 => {
                tracing::warn!(%error, starts = rows.len(), "a group of starts is refused for its data; one by one");
                return joined(rows, rests).map(|one| vec![one]).collect();
            }
            Err(StoreError::Data(error)) => {
                for one in rests {
                    let _ = one.answer.send(Err(StartError::BadInput(error.to_string())));
                }
            }
            Err(error) => {
                tracing::warn!(error = ?error, starts = rows.len(), "the outcome of a group of starts is unknown");
                let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
                let existing = self.look_up(&ids).await;
                let found = |id| if existing.contains(&id) { Ok(()) } else { Err(None) };
                // Somebody else may have moved them on meanwhile: no hand-over, the owner loads them.
                let none = vec![None; rows.len()];
                self.answer(joined(rows, rests).collect(), none, began, found).await;
            }
        }
        Vec::new()
    }

    async fn start(&mut self, rows: &[NewSaga]) -> Result<crate::store::start::Started, StoreError> {
        let store = &self.parts.store;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => store.session(Purpose::Starts).await?,
        };
        let outcome = connection.start(rows).await;
        if !matches!(outcome, Err(StoreError::Unknown(_))) {
            self.connection = Some(connection);
        }
        outcome
    }

    async fn look_up(&self, ids: &[Uuid]) -> std::collections::HashSet<Uuid> {
        for attempt in 1..=LOOK_UP_TRIES {
            match self.parts.store.existing(ids).await {
                Ok(found) => return found,
                Err(error) => tracing::warn!(%error, attempt, "started sagas cannot be looked up yet"),
            }
            tokio::time::sleep(Duration::from_millis(100) * attempt).await;
        }
        std::collections::HashSet::new()
    }

    async fn answer(
        &self,
        group: Vec<Pending>,
        tokens: Vec<Option<Uuid>>,
        began: Instant,
        outcome: impl Fn(Uuid) -> Result<(), Option<Taken>>,
    ) {
        let pace = if group.len() >= LOAD_FROM { Pace::Batch } else { Pace::Now };
        let (mut own, mut foreign) = (Vec::new(), Vec::new());
        let mut begun = Vec::new();
        for (pending, token) in group.into_iter().zip(tokens) {
            let Pending { row, rest: Rest { saga, ready, answer } } = pending;
            let id = SagaId(row.id);
            match outcome(row.id) {
                Err(Some(taken)) => {
                    let _ = answer.send(judge(&row, &taken));
                }
                Err(None) => {
                    let _ = answer.send(Err(StartError::Unavailable("the database did not answer".into())));
                }
                Ok(()) => {
                    metrics::counter!("amends_starts_total").increment(1);
                    begun.push(hints::changed(id, &saga.state));
                    match token {
                        Some(token) => {
                            // Before the commands leave: the answer must find the saga known.
                            let handover =
                                Handover { shard: row.shard, saga: id, token, began, loaded: saga };
                            let _ = self.parts.handovers.send(handover);
                            own.extend(ready);
                        }
                        None => {
                            let started = saga_protocol::Started { saga: id, commands: row.commands };
                            foreign.push((row.shard, started, ready));
                        }
                    }
                    let _ = answer.send(Ok(Started { saga: id, fresh: true }));
                }
            }
        }
        if !begun.is_empty() {
            let events = SagaEvents { node: self.parts.node.clone(), sagas: begun };
            self.parts.waiters.notify(events, &HashMap::new());
        }
        failpoint::hit("start.answered");
        self.outbox.publish(own, pace, self.parts.acknowledged.clone()).await;
        if !foreign.is_empty() {
            self.publish_foreign(foreign, pace).await;
        }
    }

    /// First commands of sagas whose owner is another process. It is told of each saga whose commands the bus has,
    /// and deletes their rows with the batch that arms its timer: until then the sweep would arm it.
    async fn publish_foreign(&self, sagas: Vec<Foreign>, pace: Pace) {
        let (mut spans, mut records) = (Vec::new(), Vec::new());
        for (shard, started, ready) in sagas {
            let first = records.len();
            records.extend(ready.into_iter().map(|it| it.record));
            spans.push((first..records.len(), shard, started));
        }
        let receipt = self.parts.bus.publish(records, pace).await;
        let (bus, inbox) = (Arc::clone(&self.parts.bus), Arc::<str>::from(self.parts.topics.inbox()));
        tokio::spawn(async move {
            let results = receipt.await;
            let published = |span: &Range<usize>| {
                results.get(span.clone()).is_some_and(|part| part.iter().all(Result::is_ok))
            };
            let record = |(_, shard, started): (_, i32, saga_protocol::Started)| Outgoing {
                topic: Arc::clone(&inbox),
                partition: Some(shard),
                message: InboxRecord::started(&started, clock::now().0),
            };
            let records = spans.into_iter().filter(|(span, ..)| published(span)).map(record).collect();
            // Whom it does not reach, the sweep does.
            drop(bus.publish(records, pace).await);
        });
    }
}

/// What a taken key means for the request.
fn judge(row: &NewSaga, taken: &Taken) -> Result<Started, StartError> {
    if taken.principal != row.principal {
        Err(StartError::KeyOfAnother)
    } else if taken.body_hash != row.body_hash {
        Err(StartError::KeyReused { saga: SagaId(taken.saga) })
    } else {
        Ok(Started { saga: SagaId(taken.saga), fresh: false })
    }
}
