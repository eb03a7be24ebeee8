//! An engine on a real Postgres and the in-process bus, and workers that answer as a test tells them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;

use amends::start::{StartError, StartRequest, Started};
use amends::store::Store;
use amends::{Engine, EngineConfig, Running};
use saga_bus::{Bus, Event, InProcess, Outgoing, Pace, Start, TopicSpec};
use saga_protocol::{Command, Direction, Fault, Outcome, Reply, SagaId, Topics};
use serde_json::{Value, json};
use test_support::{FreshDatabase, eventually, fresh_database};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Two steps before a pivot and one after it, all of one worker.
pub const DEFINITION: &str = r#"
saga: trip
description: Books a car, then a room, then pays.
key: ${input.id}
input:
  type: object
  required: [id]
  properties: { id: { type: string } }
steps:
  car: { worker: travel, action: book_car, compensation: cancel_car, input: { id: "${input.id}" } }
  room:
    after: [car]
    worker: travel
    action: book_room
    compensation: cancel_room
    input: { id: "${input.id}", car: "${steps.car.output.number}" }
    retry: { attempts: 3, initial: 10ms, max: 20ms }
    timeout: 300ms
  pay: { after: [room], pivot: true, worker: travel, action: pay, input: { id: "${input.id}" } }
"#;

pub struct Node {
    pub engine: Engine,
    pub shutdown: CancellationToken,
    running: Option<Running>,
}

impl Node {
    /// Starts an engine on a migrated database.
    pub async fn start(url: &str, bus: Arc<dyn Bus>, topics: &Topics, name: &str) -> Self {
        let store = Store::connect(url, 5).await.unwrap();
        let shutdown = CancellationToken::new();
        let config = EngineConfig { node: name.to_owned(), command_partitions: 2 };
        let (engine, running) =
            Engine::start(config, store, bus, topics.clone(), shutdown.clone()).await.unwrap();
        Self { engine, shutdown, running: Some(running) }
    }

    /// Stops in order: batches end, shards are released.
    pub async fn stop(mut self) {
        self.halt().await;
    }

    /// The same, for a node whose API goes on.
    pub async fn halt(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.ended().await;
        }
    }

    /// Dies: whatever was under way is not finished.
    pub fn kill(mut self) {
        drop(self.running.take());
    }

    pub async fn begin(&self, id: &str) -> Result<Started, StartError> {
        self.begin_with(id, &json!({ "id": id }), None, "tester").await
    }

    pub async fn begin_with(
        &self,
        _id: &str,
        input: &Value,
        idempotency_key: Option<&str>,
        principal: &str,
    ) -> Result<Started, StartError> {
        let definition = self.engine.definitions.active("trip").unwrap();
        let mut body_hash = [0; 32];
        for (at, byte) in input.to_string().bytes().enumerate() {
            body_hash[at % 32] ^= byte.rotate_left((at / 32) as u32);
        }
        self.engine
            .starter
            .start(StartRequest {
                definition,
                input: Arc::new(input.clone()),
                body_hash,
                principal: principal.to_owned(),
                idempotency_key: idempotency_key.map(str::to_owned),
                replay_of: None,
            })
            .await
    }
}

pub struct Stage {
    pub database: FreshDatabase,
    pub pool: sqlx::PgPool,
    pub bus: Arc<InProcess>,
    pub topics: Topics,
}

impl Stage {
    /// A migrated database with the definition published, and a bus.
    pub async fn new(shards: u32) -> Self {
        // `RUST_LOG=amends=debug cargo test -- --nocapture` shows what the engine says.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        Self::on(fresh_database().await, shards).await
    }

    /// The same in a database that is there.
    pub async fn on(database: FreshDatabase, shards: u32) -> Self {
        let store = Store::connect(&database.url, 2).await.unwrap();
        store.migrate(shards, chrono::Utc::now()).await.unwrap();
        amends::store::definitions::Definitions::default().publish(&store, DEFINITION, None).await.unwrap();
        let pool = database.pool(4).await;
        Self { database, pool, bus: InProcess::new(), topics: Topics::new("t") }
    }

    pub async fn node(&self, name: &str) -> Node {
        Node::start(&self.database.url, self.bus.clone(), &self.topics, name).await
    }

    /// The coarse status, as the table spells it.
    pub async fn status(&self, saga: SagaId) -> i16 {
        sqlx::query_scalar("select status from saga where id = $1")
            .bind(saga.0)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub async fn ends(&self, saga: SagaId, status: i16) {
        eventually("the saga ends", 20_000, async || self.status(saga).await == status).await;
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// Every revision of every saga stands once, from 1 without a gap.
    pub async fn histories_are_whole(&self) {
        let broken: i64 = self
            .count("select count(*) from (select saga_id from history group by saga_id having count(*) <> max(revision) or min(revision) <> 1) as it")
            .await;
        assert_eq!(broken, 0, "a history has a gap or a double");
        self.standing_is_true().await;
    }

    /// What counts are answered from is what the rows add up to.
    pub async fn standing_is_true(&self) {
        let wrong = self
            .count(
                "select count(*) from (
                    select definition, status, run, step, direction, worker, error_code, failure, currency,
                        sum(sagas) as sagas, sum(amount) as amount
                    from (select * from standing_now union all
                        select definition, status, run, step, direction, worker, error_code, failure, currency, -1,
                            -coalesce(amount, 0) from projection) all_of_it
                    group by 1, 2, 3, 4, 5, 6, 7, 8, 9) it where sagas <> 0 or amount <> 0",
            )
            .await;
        assert_eq!(wrong, 0, "the sums are not those of the rows");
    }
}

/// Commands as they arrive, and a way to answer them.
pub struct Travel {
    pub commands: mpsc::UnboundedReceiver<(Command, saga_protocol::ReplyTo)>,
    bus: Arc<dyn Bus>,
}

impl Travel {
    /// Joins the worker's group and hands out what it reads.
    pub async fn join(bus: Arc<dyn Bus>, topics: &Topics) -> Self {
        Self::hear(bus, topics, "travel", "travel").await
    }

    /// Hears the commands of any worker, in a group of one's own.
    pub async fn hear(bus: Arc<dyn Bus>, topics: &Topics, worker: &str, group: &str) -> Self {
        let names =
            [Direction::Execute, Direction::Compensate].map(|direction| topics.commands(worker, direction));
        let specs: Vec<TopicSpec> = names
            .iter()
            .map(|name| TopicSpec {
                name: name.clone(),
                partitions: 2,
                compacted: false,
                retention_ms: 60_000,
            })
            .collect();
        bus.ensure_topics(&specs).await.unwrap();
        let mut subscription = bus.subscribe(group, &names).await.unwrap();
        let (sender, commands) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = subscription.events.recv().await {
                match event {
                    Event::Assigned { partitions, start } => {
                        let _ = start.send(partitions.into_iter().map(|it| (it, Start::Earliest)).collect());
                    }
                    Event::Revoked { done, .. } => drop(done.send(())),
                    Event::OutOfRange { partition } => {
                        subscription.control.seek(partition, Start::Earliest).await.unwrap();
                    }
                    Event::Lost { .. } => {}
                    Event::Records(records) => {
                        for record in records {
                            let decoded = Command::decode(&record.headers, &record.data.unwrap()).unwrap();
                            if sender.send(decoded).is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        });
        Self { commands, bus }
    }

    /// The next command, which must be of this action.
    pub async fn expect(&mut self, action: &str) -> (Command, saga_protocol::ReplyTo) {
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(20), self.commands.recv());
        let command = waiting.await.unwrap_or_else(|_| panic!("no command `{action}` came")).unwrap();
        assert_eq!(command.0.action, action);
        command
    }

    /// The same, past repetitions of another one: a sending whose acknowledgement was lost with its process is repeated.
    pub async fn expect_past(&mut self, repeated: &str, action: &str) -> (Command, saga_protocol::ReplyTo) {
        loop {
            let waiting = tokio::time::timeout(std::time::Duration::from_secs(20), self.commands.recv());
            let command = waiting.await.unwrap_or_else(|_| panic!("no command `{action}` came")).unwrap();
            if command.0.action != repeated {
                assert_eq!(command.0.action, action);
                return command;
            }
        }
    }

    pub async fn answer(&self, command: &(Command, saga_protocol::ReplyTo), reply: &Reply) {
        send(&self.bus, &command.1, reply).await;
    }

    pub async fn succeed(&self, command: &(Command, saga_protocol::ReplyTo)) {
        self.answer(command, &succeeded(&command.0)).await;
    }

    /// Answers everything by `decide`, from now on.
    pub fn serve(mut self, decide: impl Fn(&Command) -> Option<Reply> + Send + 'static) {
        tokio::spawn(async move {
            while let Some((command, reply_to)) = self.commands.recv().await {
                if let Some(reply) = decide(&command) {
                    send(&self.bus, &reply_to, &reply).await;
                }
            }
        });
    }
}

pub async fn send(bus: &Arc<dyn Bus>, to: &saga_protocol::ReplyTo, reply: &Reply) {
    let message = reply.encode("travel", 0, None);
    let record = Outgoing { topic: to.topic.as_str().into(), partition: Some(to.partition), message };
    bus.publish(vec![record], Pace::Now).await.await;
}

pub fn succeeded(command: &Command) -> Reply {
    let mut reply = Reply::to(command, Outcome::Succeeded);
    let output = json!({ "number": format!("{}-{}", command.action, command.round) });
    reply.output = Some(serde_json::value::to_raw_value(&output).unwrap());
    reply
}

pub fn rejected(command: &Command, code: &str) -> Reply {
    let mut reply = Reply::to(command, Outcome::Rejected);
    reply.error = Some(Fault::new(code, "no"));
    reply
}
