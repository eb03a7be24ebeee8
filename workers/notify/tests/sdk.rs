//! The worker as a whole, through the SDK: the barrier's rules, and a notice's way from a command on
//! the bus to a follower.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{database, follow, keys_in, redis_feed};
use saga_protocol::{Command, Outcome};
use saga_worker::testkit::{Bench, Subject, again, conformance, execute};
use saga_worker::{CancellationToken, Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use worker_notify::feed::Feed;
use worker_notify::feed::ring::Ring;

struct Completed(PgPool);

#[async_trait]
impl Subject for Completed {
    fn worker(&self) -> Worker {
        worker_notify::worker(self.0.clone())
    }
    fn action(&self) -> &str {
        "order_completed"
    }
    fn compensation(&self) -> Option<&str> {
        None
    }
    async fn input(&self) -> Value {
        json!({ "order_id": format!("order-{}", Uuid::now_v7()) })
    }
    async fn standing(&self, input: &Value) -> u32 {
        // No relay runs here, so the outbox holds everything that was accepted.
        let count: i64 = sqlx::query_scalar("select count(*) from amends_notify.outbox where order_id = $1")
            .bind(input["order_id"].as_str().unwrap())
            .fetch_one(&self.0)
            .await
            .unwrap();
        u32::try_from(count).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_completed_conforms() {
    let (_database, pool) = database().await;
    conformance(&Completed(pool)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_reaches_a_follower_once_however_often_it_is_sent() {
    let feeds: [Arc<dyn Feed>; 2] = [Arc::new(Ring::new(1_000)), redis_feed(1_000)];
    for feed in feeds {
        let (_database, pool) = database().await;
        let shutdown = CancellationToken::new();
        let _stopping = shutdown.clone().drop_guard();
        tokio::spawn(worker_notify::relay(pool.clone(), feed.clone(), shutdown.clone()));
        let router = worker_notify::routes(pool.clone(), feed.clone(), shutdown);
        let bench = Bench::new(worker_notify::worker(pool)).await;
        bench.start();
        let (mut events, _) = follow(&router, "", None).await;
        let commands: Vec<Command> = (0..20)
            .map(|at| {
                let action = if at % 2 == 0 { "order_completed" } else { "order_cancelled" };
                execute(action, &json!({ "order_id": format!("order-{at:02}"), "amount": at }))
            })
            .collect();
        for command in &commands {
            assert_eq!(bench.ask(command).await.outcome, Outcome::Succeeded);
            assert_eq!(bench.ask(&again(command)).await.outcome, Outcome::Succeeded);
        }
        let expected: Vec<String> = commands.iter().map(|command| command.effect_key().to_string()).collect();
        let mut seen = Vec::new();
        for command in &commands {
            let frame = events.next().await.unwrap();
            assert_eq!(frame.event.as_deref(), Some(command.action.as_str()));
            seen.push(frame.json()["effect_key"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, expected, "{}", feed.kind());
        assert_eq!(keys_in(&*feed).await, expected);
        bench.stop().await;
    }
}
