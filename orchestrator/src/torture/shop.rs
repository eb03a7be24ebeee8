//! Simulated workers: the SDK's barrier over rows in memory, and effects that are counted.
//!
//! The barrier's rules are the SDK's own; consuming, answering and dying are modelled. Workers share a database,
//! which is durable, and die by themselves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use saga_bus::{Bus, Event, InProcess, Outgoing, Pace, Record, Start, Subscription, TopicPartition};
use saga_protocol::{Command, Direction, Topics};
use saga_worker::Answer;
use saga_worker::testkit::MemoryInbox;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock;

/// The one worker of all definitions.
pub(crate) const WORKER: &str = "shop";

/// A unit of work: saga, step, item.
pub(crate) type Unit = (Uuid, String, Option<u32>);

/// What workers have done, by their own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// How often it was done.
    pub(crate) done: u32,
    /// How often it was undone.
    pub(crate) undone: u32,
}

/// How workers fare.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mood {
    /// A worker dies between its commit and its answer.
    pub(crate) dies: f64,
    /// A command takes seconds.
    pub(crate) slow: f64,
}

/// The workers' database, and chance.
#[derive(Debug)]
pub(crate) struct Shop {
    bus: Arc<InProcess>,
    topics: Topics,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    inbox: MemoryInbox,
    random: StdRng,
    mood: Mood,
    effects: BTreeMap<Unit, Effects>,
    /// The input of each round, which is the same in every attempt.
    inputs: HashMap<String, String>,
    broken: Vec<String>,
}

impl Shop {
    pub(crate) fn new(seed: u64, bus: Arc<InProcess>, topics: Topics) -> Arc<Self> {
        let books = Books {
            inbox: MemoryInbox::default(),
            random: StdRng::seed_from_u64(seed),
            mood: Mood::default(),
            effects: BTreeMap::new(),
            inputs: HashMap::new(),
            broken: Vec::new(),
        };
        Arc::new(Self { bus, topics, books: Mutex::new(books) })
    }

    /// Another mood from now on.
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.books.lock().mood = mood;
    }

    /// What was done and undone, and what must never have happened.
    pub(crate) fn books(&self) -> (BTreeMap<Unit, Effects>, Vec<String>) {
        let books = self.books.lock();
        (books.effects.clone(), books.broken.clone())
    }

    /// A worker's process, until it is dropped. It comes back by itself after each death.
    pub(crate) fn process(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for direction in [Direction::Execute, Direction::Compensate] {
            let shop = Arc::clone(self);
            tasks.spawn(async move {
                let topic = shop.topics.commands(WORKER, direction);
                loop {
                    if let Ok(subscription) = shop.bus.subscribe(&topic, std::slice::from_ref(&topic)).await {
                        shop.serve(subscription).await;
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            });
        }
        tasks
    }

    /// Works until it dies or the membership ends.
    async fn serve(&self, mut subscription: Subscription) {
        while let Some(event) = subscription.events.recv().await {
            match event {
                Event::Assigned { partitions, start } => {
                    let _ = start.send(partitions.into_iter().map(|it| (it, Start::Committed)).collect());
                }
                Event::Revoked { done, .. } => drop(done.send(())),
                Event::Lost { .. } => {}
                Event::OutOfRange { partition } => {
                    if subscription.control.seek(partition, Start::Earliest).await.is_err() {
                        return;
                    }
                }
                Event::Records(records) => {
                    let mut offsets: BTreeMap<TopicPartition, i64> = BTreeMap::new();
                    for record in records {
                        offsets.insert(record.at.clone(), record.offset + 1);
                        if !self.take(record).await {
                            return;
                        }
                    }
                    // Another member's by now, it may be: that one meets the barrier.
                    let _ = subscription.control.commit(offsets.into_iter().collect()).await;
                }
            }
        }
    }

    /// Takes one command in and answers it. `false` when the worker has died.
    async fn take(&self, record: Record) -> bool {
        let data = record.data.unwrap_or_default();
        let (command, reply_to) = match Command::decode(&record.headers, &data) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.books.lock().broken.push(format!("a worker cannot read what it was sent: {error}"));
                return true;
            }
        };
        let wait_ms = {
            let Books { random, mood, .. } = &mut *self.books.lock();
            let max_ms = if random.random_bool(mood.slow) { 8_000 } else { 10 };
            random.random_range(0..max_ms)
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let (reply, dies) = {
            let mut books = self.books.lock();
            (books.transact(command), {
                let dies = books.mood.dies;
                books.random.random_bool(dies)
            })
        };
        if dies {
            return false;
        }
        if let Some(reply) = reply {
            let message = reply.encode(WORKER, clock::now().0, None);
            let record = Outgoing {
                topic: reply_to.topic.as_str().into(),
                partition: Some(reply_to.partition),
                message,
            };
            drop(self.bus.publish(vec![record], Pace::Now).await.await);
        }
        true
    }
}

impl Books {
    /// One transaction: the barrier, and the effect.
    fn transact(&mut self, command: Command) -> Option<saga_protocol::Reply> {
        let round = command.effect_key().to_string();
        let input = command.input.get().to_owned();
        let before = self.inputs.entry(round.clone()).or_insert_with(|| input.clone());
        if *before != input {
            self.broken.push(format!("{round}: the input has changed from one attempt to the next"));
        }
        let unit: Unit = (command.saga.0, command.step.as_str().to_owned(), command.item);
        let Self { inbox, random, effects, .. } = self;
        inbox.take(command, clock::now().0, |command| {
            if random.random_bool(0.12) {
                return Answer::retryable("busy", "not now");
            }
            let effects = effects.entry(unit).or_default();
            if command.direction == Direction::Compensate {
                effects.undone += 1;
                return Answer::ok();
            }
            // What stands behind the pivot is never refused: it would park, and rightly so.
            if !command.action.starts_with("after_") && random.random_bool(0.07) {
                return Answer::rejected("no", "not this one");
            }
            effects.done += 1;
            Answer::output(&json!({ "number": format!("{}-{}", command.action, command.round) }))
        })
    }
}
