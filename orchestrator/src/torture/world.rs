//! One simulated world: nodes with the real lane, starts and outbox, on the in-process bus and the simulated
//! database, in virtual time. Owns what goes wrong, and when; what must hold afterwards is judged elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use saga_bus::in_process::Faults;
use saga_bus::{Bus, InProcess, Outgoing, Pace, TopicPartition, TopicSpec};
use saga_core::event::Operator;
use saga_core::{Event, OperatorAction, What};
use saga_protocol::{Direction, InboxRecord, SagaId, Topics};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::database::{Simulated, Weather};
use super::shop::{Mood, Shop, WORKER};
use super::verdict::judge;
use crate::clock;
use crate::health::Health;
use crate::hints::Waiters;
use crate::holds::Holds;
use crate::shard::Claims;
use crate::shard::lane::{Context, Doors, Lane};
use crate::shard::stuck::Stuck;
use crate::start::{Parts, StartRequest, Starter};
use crate::store::Database;
use crate::store::definitions::Definitions;
use crate::store::sweep::{Look, Mail};

/// How long everything goes wrong, in virtual time.
const STORM: Duration = Duration::from_secs(40);
/// How long the calm afterwards may take to bring everything to its end.
const CALM_MAX: Duration = Duration::from_secs(1_800);

/// What came of one world.
#[derive(Debug)]
pub(crate) struct End {
    /// Sagas by how they ended.
    pub(crate) sagas: BTreeMap<i16, u64>,
    /// Commits, and those that a fence kept out of a shard.
    pub(crate) commits: (u64, u64),
    /// A hash of all that was committed.
    pub(crate) trace: u64,
    /// What does not hold.
    pub(crate) broken: Vec<String>,
}

/// A running orchestrator.
struct Node {
    starter: Starter,
    group: JoinHandle<()>,
    tasks: JoinSet<()>,
}

impl Drop for Node {
    /// Dies: whatever is under way is not finished.
    fn drop(&mut self) {
        self.group.abort();
    }
}

struct World {
    random: StdRng,
    bus: Arc<InProcess>,
    topics: Topics,
    database: Simulated,
    definitions: Arc<Definitions>,
    shop: Arc<Shop>,
    shards: i32,
    nodes: Vec<Option<Node>>,
    workers: Vec<Option<JoinSet<()>>>,
    /// The starters of the nodes that live, for clients.
    doors: Arc<Mutex<Vec<Starter>>>,
    lives: u32,
}

/// Runs the world of a seed to its end.
pub(crate) async fn run(seed: u64, definitions: Arc<Definitions>) -> End {
    let mut random = StdRng::seed_from_u64(seed);
    let (shards, nodes) = (random.random_range(1..=3), random.random_range(1..=3));
    let bus = InProcess::new();
    let topics = Topics::new("t");
    let shop = Shop::new(random.random(), Arc::clone(&bus), topics.clone());
    let mut world = World {
        database: Simulated::new(random.random(), shards),
        bus,
        topics,
        definitions,
        shop,
        shards,
        nodes: (0..nodes).map(|_| None).collect(),
        workers: (0..2).map(|_| None).collect(),
        doors: Arc::default(),
        lives: 0,
        random,
    };
    world.make_topics().await;
    for index in 0..world.nodes.len() {
        world.wake(index).await;
    }
    let accepted = Arc::new(Mutex::new(BTreeMap::new()));
    let clients = world.clients(&accepted);
    world.storm().await;
    let ended = world.calm(clients).await;
    world.end(&accepted, ended)
}

impl World {
    async fn make_topics(&self) {
        let spec =
            |name, partitions| TopicSpec { name, partitions, compacted: false, retention_ms: 3_600_000 };
        let shards = u32::try_from(self.shards).unwrap_or(1);
        let mut specs = vec![
            spec(self.topics.inbox(), shards),
            spec(self.topics.saga_events(), 1),
            spec(self.topics.dead_letters(), 1),
        ];
        specs.extend(
            [Direction::Execute, Direction::Compensate].map(|it| spec(self.topics.commands(WORKER, it), 2)),
        );
        self.bus.ensure_topics(&specs).await.expect("a bus in memory makes topics");
    }

    /// Starts a node, as `Engine::start` does.
    async fn wake(&mut self, index: usize) {
        self.lives += 1;
        let (claims, health, stuck) = (Claims::default(), Arc::<Health>::default(), Stuck::default());
        let sweep_now = Arc::<Notify>::default();
        let (handovers, handed_over) = mpsc::unbounded_channel();
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        let (swept, sweeps) = mpsc::channel(1);
        let (waiters, node) = (Waiters::default(), format!("node-{index}/{}", self.lives));
        let database: Arc<dyn Database> = Arc::new(self.database.clone());
        let bus: Arc<dyn Bus> = self.bus.clone();
        let context = Context {
            store: Arc::clone(&database),
            bus: Arc::clone(&bus),
            topics: self.topics.clone(),
            definitions: Arc::clone(&self.definitions),
            waiters: waiters.clone(),
            workers: Arc::default(),
            health: Arc::clone(&health),
            claims: claims.clone(),
            stuck: stuck.clone(),
            holds: Holds::default(),
            node: node.clone(),
            sweep_now: Arc::clone(&sweep_now),
        };
        let (starter, group) = Starter::new(Parts {
            store: Arc::clone(&database),
            bus: Arc::clone(&bus),
            topics: self.topics.clone(),
            claims: claims.clone(),
            health,
            shards: u32::try_from(self.shards).unwrap_or(1),
            handovers,
            acknowledged: acknowledge.clone(),
            waiters,
            holds: Holds::default(),
            node,
        });
        let group_name = format!("{}.engine", self.topics.prefix());
        let subscription =
            bus.subscribe(&group_name, &[self.topics.inbox()]).await.expect("a bus in memory is open");
        let doors = Doors { handovers: handed_over, acknowledged, swept: sweeps };
        let lane = Lane::new(context, subscription, doors, acknowledge);
        let mut tasks = JoinSet::new();
        tasks.spawn(lane.run(CancellationToken::new()));
        tasks.spawn(async move {
            loop {
                let _ = tokio::time::timeout(Duration::from_secs(1), sweep_now.notified()).await;
                let look = Look::begin(&claims, &stuck, None);
                if !look.shards.is_empty()
                    && let Ok(found) = database.sweep(look).await
                    && swept.send(found).await.is_err()
                {
                    return;
                }
            }
        });
        self.nodes[index] = Some(Node { starter, group, tasks });
        self.open_doors();
    }

    fn open_doors(&self) {
        *self.doors.lock() = self.nodes.iter().flatten().map(|node| node.starter.clone()).collect();
    }

    /// Clients that start a saga each, repeat it until it is accepted, and sometimes change their minds.
    fn clients(&mut self, accepted: &Arc<Mutex<BTreeMap<String, Uuid>>>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        let all = self.definitions.all_active();
        for n in 0..self.random.random_range(4..=14_u32) {
            let definition = Arc::clone(&all[self.random.random_range(0..all.len())]);
            let client = Client {
                key: format!("{}-{n}", definition.definition.name),
                doors: Arc::clone(&self.doors),
                database: self.database.clone(),
                bus: self.bus.clone(),
                inbox: self.topics.inbox(),
                random: StdRng::seed_from_u64(self.random.random()),
            };
            let items: Vec<u32> = (0..self.random.random_range(1..=3)).collect();
            let request = StartRequest {
                definition,
                input: Arc::new(json!({ "id": client.key, "items": items })),
                body_hash: [7; 32],
                principal: "client".into(),
                idempotency_key: Some(client.key.clone()),
                replay_of: None,
            };
            let accepted = Arc::clone(accepted);
            clients.spawn(client.run(request, accepted));
        }
        clients
    }

    /// Everything goes wrong, one after another and all at once.
    async fn storm(&mut self) {
        let until = Instant::now() + STORM;
        for worker in &mut self.workers {
            *worker = Some(self.shop.process());
        }
        while Instant::now() < until {
            let pause_ms = self.random.random_range(1..2_500);
            sleep(Duration::from_millis(pause_ms)).await;
            let index = self.random.random_range(0..self.nodes.len());
            match self.random.random_range(0..13) {
                0..=2 => {
                    self.nodes[index] = None;
                    self.open_doors();
                }
                3..=5 => {
                    for index in 0..self.nodes.len() {
                        if self.nodes[index].is_none() {
                            self.wake(index).await;
                        }
                    }
                }
                6 => {
                    let shard = self.random.random_range(0..self.shards);
                    let at = TopicPartition { topic: self.topics.inbox().into(), partition: shard };
                    self.bus.expire(&format!("{}.engine", self.topics.prefix()), &at);
                }
                7 => {
                    let fails = [0.0, 0.05, 0.3, 1.0][self.random.random_range(0..4)];
                    let slow = [0.0, 0.0, 0.02, 0.2][self.random.random_range(0..4)];
                    self.database.set_weather(Weather { fails, slow });
                }
                8 => self.bus.set_faults(Faults {
                    seed: self.random.random(),
                    lose: [0.0, 0.1, 0.5][self.random.random_range(0..3)],
                    duplicate: [0.0, 0.2, 0.6][self.random.random_range(0..3)],
                    reorder: [0.0, 0.2, 0.6][self.random.random_range(0..3)],
                    fail_publish: [0.0, 0.0, 0.2, 1.0][self.random.random_range(0..4)],
                    delay_max_ms: [0, 20, 2_000, 60_000][self.random.random_range(0..4)],
                }),
                9 => {
                    let dies = [0.0, 0.1, 0.5][self.random.random_range(0..3)];
                    let slow = [0.0, 0.05, 0.5][self.random.random_range(0..3)];
                    self.shop.set_mood(Mood { dies, slow });
                }
                10 => {
                    let index = self.random.random_range(0..self.workers.len());
                    self.workers[index] = match self.workers[index].take() {
                        Some(_) => None,
                        None => Some(self.shop.process()),
                    };
                }
                11 => {
                    let names = [
                        self.topics.inbox(),
                        self.topics.commands(WORKER, Direction::Execute),
                        self.topics.commands(WORKER, Direction::Compensate),
                    ];
                    match self.random.random_range(0..4) {
                        3 => self.bus.wipe_all(),
                        index => self.bus.wipe(&names[index]),
                    }
                }
                _ => {
                    let shard = self.random.random_range(0..self.shards);
                    let at = TopicPartition { topic: self.topics.inbox().into(), partition: shard };
                    if let Ok(marks) = self.bus.watermarks(&at).await {
                        self.bus.delete_before(&at, marks.high);
                    }
                }
            }
        }
    }

    /// Nothing goes wrong any more; everything comes to its end, or does not in all the time there is.
    async fn calm(&mut self, mut clients: JoinSet<()>) -> bool {
        self.database.set_weather(Weather::default());
        self.bus.set_faults(Faults::default());
        self.shop.set_mood(Mood::default());
        for worker in &mut self.workers {
            worker.get_or_insert_with(|| self.shop.process());
        }
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_none() {
                self.wake(index).await;
            }
        }
        let all = async {
            while let Some(client) = clients.join_next().await {
                client.expect("a client does not panic");
            }
            loop {
                let rest = self.database.look(|tables| {
                    tables.states.is_empty()
                        && tables.outbox.is_empty()
                        && tables.mailbox.values().all(|(_, taken)| taken.is_some())
                });
                if rest {
                    break;
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(CALM_MAX, all).await.is_ok()
    }

    fn end(&mut self, accepted: &Mutex<BTreeMap<String, Uuid>>, ended: bool) -> End {
        let (effects, mut broken) = self.shop.books();
        if !ended {
            broken.push(format!("not at rest {} s after the storm", CALM_MAX.as_secs()));
        }
        for node in self.nodes.iter_mut().flatten() {
            while let Some(task) = node.tasks.try_join_next() {
                broken.push(format!("a task of a node has ended: {task:?}"));
            }
        }
        let accepted = accepted.lock();
        let definitions = Arc::clone(&self.definitions);
        let (sagas, commits, trace) = self.database.look(|tables| {
            broken.extend(judge(tables, &accepted, &effects, &|id| definitions.loaded(id)));
            let mut sagas: BTreeMap<i16, u64> = BTreeMap::new();
            tables.sagas.values().for_each(|row| *sagas.entry(row.status).or_default() += 1);
            (sagas, tables.commits, tables.trace)
        });
        End { sagas, commits, trace, broken }
    }
}

/// Who starts a saga.
struct Client {
    key: String,
    doors: Arc<Mutex<Vec<Starter>>>,
    database: Simulated,
    bus: Arc<InProcess>,
    inbox: String,
    random: StdRng,
}

impl Client {
    async fn run(mut self, request: StartRequest, accepted: Arc<Mutex<BTreeMap<String, Uuid>>>) {
        sleep(Duration::from_millis(self.random.random_range(0..30_000))).await;
        let saga = loop {
            let door = {
                let doors = self.doors.lock();
                (!doors.is_empty()).then(|| doors[self.random.random_range(0..doors.len())].clone())
            };
            if let Some(door) = door
                && let Ok(Ok(started)) =
                    tokio::time::timeout(Duration::from_secs(10), door.start(request.clone())).await
            {
                break started.saga;
            }
            sleep(Duration::from_millis(self.random.random_range(50..1_000))).await;
        };
        accepted.lock().insert(self.key.clone(), saga.0);
        if self.random.random_bool(0.25) {
            sleep(Duration::from_millis(self.random.random_range(0..5_000))).await;
            self.cancel(saga).await;
        }
    }

    /// An operator compensates the saga, at a revision that may have passed.
    async fn cancel(&mut self, saga: SagaId) {
        let operator = Operator {
            who: "kim".into(),
            why: "changed her mind".into(),
            revision: self.random.random_range(1..6),
            action: OperatorAction::Compensate,
        };
        let event = Event::new(clock::now(), clock::random(), What::Operator(operator));
        let id = clock::fresh_id();
        let shard = self.database.look(|tables| {
            let shard = tables.sagas.get(&saga.0)?.shard;
            let mail = Mail {
                id,
                shard,
                saga: saga.0,
                kind: "event".into(),
                body: serde_json::to_string(&event).ok()?,
                payload: None,
            };
            tables.mailbox.insert(id, (mail, None));
            Some(shard)
        });
        let Some(shard) = shard else { return };
        // Only a nudge: it may get lost.
        let message = InboxRecord::nudge(saga, &id.to_string(), clock::now().0);
        let record = Outgoing { topic: self.inbox.as_str().into(), partition: Some(shard), message };
        drop(self.bus.publish(vec![record], Pace::Now).await);
    }
}
