//! A worker on the bench: started, crashed, asked, and listened to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use saga_bus::in_process::InProcess;
use saga_bus::{Bus, From, Outgoing, Pace, Record, TopicSpec};
use saga_protocol::{Command, Direction, Outcome, Reply, ReplyTo, Topics, WorkerRecord};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::commands::again;
use super::gate::Gate;
use crate::clock::{Clock, SystemClock};
use crate::worker::{Tuning, Worker, WorkerError};

/// How long an expected reply is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine's clock, turned forward on demand.
#[derive(Debug, Default)]
pub struct TestClock {
    ahead_ms: AtomicI64,
}

impl TestClock {
    /// Turns the clock forward.
    pub fn advance_ms(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

/// A worker, a bus, and ears on every topic that it writes.
pub struct Bench {
    /// The bus, with a gate before the replies.
    pub gate: Arc<Gate>,
    /// The bus itself, to make it misbehave.
    pub bus: Arc<InProcess>,
    /// The clock of every worker that the bench starts.
    pub clock: Arc<TestClock>,
    /// The topics.
    pub topics: Topics,
    worker: Worker,
    running: Mutex<Option<Running>>,
    heard: Heard,
    listeners: Vec<JoinHandle<()>>,
}

struct Running {
    task: JoinHandle<Result<(), WorkerError>>,
    shutdown: CancellationToken,
}

/// What was heard, by topic; the channel tells that there is more.
#[derive(Clone)]
struct Heard {
    replies: Arc<Mutex<Vec<Reply>>>,
    dead: Arc<Mutex<Vec<Record>>>,
    said: Arc<Mutex<Vec<WorkerRecord>>>,
    news: watch::Sender<()>,
}

impl Bench {
    /// Puts a worker on the bench; it is not started yet. Its inbox must have been migrated.
    pub async fn new(worker: Worker) -> Self {
        let clock = Arc::new(TestClock::default());
        let tuning = Tuning { progress_ms: 50, announce_ms: 200, drain_ms: 5_000, ..worker.tuning().clone() };
        let worker = worker.with_clock(clock.clone()).with_tuning(tuning);
        let topics = Topics::new("bench");
        let bus = InProcess::new();
        let gate = Gate::new(bus.clone(), topics.inbox());
        let spec =
            |name: String| TopicSpec { name, partitions: 2, compacted: false, retention_ms: 3_600_000 };
        let specs = [
            topics.inbox(),
            topics.dead_letters(),
            topics.workers(),
            topics.commands(worker.name(), Direction::Execute),
            topics.commands(worker.name(), Direction::Compensate),
        ];
        bus.ensure_topics(&specs.map(spec)).await.expect("a new bus is open");
        let heard = Heard {
            replies: Arc::default(),
            dead: Arc::default(),
            said: Arc::default(),
            news: watch::Sender::new(()),
        };
        let mut bench = Self {
            gate,
            bus,
            clock,
            topics,
            worker,
            running: Mutex::new(None),
            heard,
            listeners: Vec::new(),
        };
        bench.listen().await;
        bench
    }

    async fn listen(&mut self) {
        type Ear = fn(&Heard, Record);
        let replies: Ear = |heard, record| {
            let data = record.data.as_deref().unwrap_or_default();
            let reply = Reply::decode(&record.headers, data).expect("what a worker replies is a reply");
            heard.replies.lock().push(reply);
        };
        let dead: Ear = |heard, record| heard.dead.lock().push(record);
        let said: Ear = |heard, record| {
            let data = record.data.as_deref().unwrap_or_default();
            heard.said.lock().push(WorkerRecord::decode(data).expect("a worker's record"));
        };
        let ears = [
            (self.topics.inbox(), replies),
            (self.topics.dead_letters(), dead),
            (self.topics.workers(), said),
        ];
        for (topic, ear) in ears {
            let mut tail = self.bus.tail(&topic, From::Earliest).await.expect("the topic exists");
            let heard = self.heard.clone();
            self.listeners.push(tokio::spawn(async move {
                while let Some(records) = tail.records.recv().await {
                    records.into_iter().for_each(|record| ear(&heard, record));
                    heard.news.send_replace(());
                }
            }));
        }
    }

    /// Starts the worker.
    pub fn start(&self) {
        let shutdown = CancellationToken::new();
        let (worker, bus, topics) = (self.worker.clone(), self.gate.clone(), self.topics.clone());
        let task = tokio::spawn(worker.run(bus, topics, shutdown.clone()));
        *self.running.lock() = Some(Running { task, shutdown });
    }

    /// Tears the worker down as a crash would: nothing is drained, nothing more is sent.
    pub async fn crash(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.task.abort();
            // The abort is the result.
            let _ = running.task.await;
        }
    }

    /// Stops the worker as an operator would, and waits until it has drained.
    ///
    /// # Panics
    /// When it ends with an error.
    pub async fn stop(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.shutdown.cancel();
            running.task.await.expect("no panic").expect("a worker that was asked to stop");
        }
    }

    /// Publishes commands, in order.
    pub async fn send(&self, commands: &[&Command]) {
        let reply_to = ReplyTo { topic: self.topics.inbox(), partition: 0 };
        let records = commands.iter().map(|command| Outgoing {
            topic: self.topics.commands(self.worker.name(), command.direction).into(),
            partition: None,
            message: command
                .encode(&reply_to, Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        });
        self.publish(records.collect()).await;
    }

    /// Publishes records of any kind.
    ///
    /// # Panics
    /// When the bus refuses them.
    pub async fn publish(&self, records: Vec<Outgoing>) {
        for result in self.bus.publish(records, Pace::Now).await.await {
            result.expect("the bus takes it");
        }
    }

    /// The first reply to this attempt.
    ///
    /// # Panics
    /// When there is none within half a minute.
    pub async fn reply(&self, command: &Command) -> Reply {
        self.replies(command, 1).await.swap_remove(0)
    }

    /// The first `count` replies to this attempt.
    ///
    /// # Panics
    /// When there are not as many within half a minute.
    pub async fn replies(&self, command: &Command, count: usize) -> Vec<Reply> {
        let (key, attempt) = (command.effect_key(), command.attempt);
        let what = format!("{count} replies to {}", key.ce_id(attempt));
        self.until(&what, || {
            let replies = self.heard.replies.lock();
            let mine = replies.iter().filter(|reply| reply.attempt == attempt && reply.effect_key() == key);
            let mine: Vec<Reply> = mine.cloned().collect();
            (mine.len() >= count).then_some(mine)
        })
        .await
    }

    /// Sends a command and returns its reply.
    pub async fn ask(&self, command: &Command) -> Reply {
        self.send(&[command]).await;
        self.reply(command).await
    }

    /// Sends a command, attempt after attempt, until a final answer.
    ///
    /// # Panics
    /// When there is none within half a minute.
    pub async fn settle(&self, command: &Command) -> Reply {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut attempt = command.clone();
        loop {
            let reply = self.ask(&attempt).await;
            if matches!(reply.outcome, Outcome::Succeeded | Outcome::Rejected) {
                return reply;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no final answer to {}, only {reply:?}",
                command.effect_key()
            );
            let pause_ms = u64::from(reply.retry_after_ms.unwrap_or(10)).min(50);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            attempt = again(&attempt);
        }
    }

    /// All replies so far.
    pub fn heard_replies(&self) -> Vec<Reply> {
        self.heard.replies.lock().clone()
    }

    /// All dead letters so far.
    pub fn dead_letters(&self) -> Vec<Record> {
        self.heard.dead.lock().clone()
    }

    /// All that the worker has said of itself so far.
    pub fn said(&self) -> Vec<WorkerRecord> {
        self.heard.said.lock().clone()
    }

    /// Waits until `find` finds something; looks again whenever a record was heard, and now and then.
    ///
    /// # Panics
    /// When it finds nothing within half a minute.
    pub async fn until<T>(&self, what: &str, mut find: impl FnMut() -> Option<T>) -> T {
        let mut news = self.heard.news.subscribe();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find() {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
            // What is waited for may be no record.
            let _ = tokio::time::timeout(Duration::from_millis(20), news.changed()).await;
        }
    }

    /// Like [`Self::until`], for what has to be asked of somebody.
    ///
    /// # Panics
    /// When it does not hold within half a minute.
    pub async fn until_async(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
        if let Some(running) = self.running.get_mut().take() {
            running.task.abort();
        }
    }
}
