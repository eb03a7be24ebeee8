//! An `http` step from a definition to a real server and back: engine, worker and Postgres, on the in-process bus.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amends::start::StartRequest;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use saga_bus::Bus;
use saga_protocol::SagaId;
use saga_worker::Limit;
use serde_json::{Value, json};
use support::{Node, Stage, Travel, rejected, succeeded};
use test_support::fresh_database;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker_http::network::Allowed;
use worker_http::{Calls, Config};

const COMPLETED: i16 = 2;
const COMPENSATED: i16 = 3;

type Pickups = Arc<Mutex<BTreeSet<String>>>;

/// How many calls are in the air, and how many there have ever been at once.
#[derive(Default)]
struct Air {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A carrier that knows pickups by their order.
async fn carrier() -> (String, Pickups) {
    let pickups = Pickups::default();
    let request = |State(pickups): State<Pickups>, Json(body): Json<Value>| async move {
        let order = body["order"].as_str().unwrap().to_owned();
        pickups.lock().unwrap().insert(order.clone());
        Json(json!({ "tracking": order }))
    };
    let look = |State(pickups): State<Pickups>, Path(order): Path<String>| async move {
        if pickups.lock().unwrap().contains(&order) { StatusCode::OK } else { StatusCode::NOT_FOUND }
    };
    let call_off = |State(pickups): State<Pickups>, Path(order): Path<String>| async move {
        if pickups.lock().unwrap().remove(&order) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
    };
    let router = Router::new()
        .route("/pickups", post(request))
        .route("/pickups/{order}", get(look).delete(call_off))
        .with_state(Arc::clone(&pickups));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (host, pickups)
}

/// A carrier that takes its time, and counts who waits for it.
async fn slow_carrier() -> (String, Arc<Air>) {
    let air = Arc::new(Air::default());
    let request = |State(air): State<Arc<Air>>, Json(_): Json<Value>| async move {
        air.most.fetch_max(air.now.fetch_add(1, Relaxed) + 1, Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        air.now.fetch_sub(1, Relaxed);
        Json(json!({}))
    };
    let router = Router::new().route("/pickups", post(request)).with_state(Arc::clone(&air));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (host, air)
}

/// The worker of `http` steps, which may call this host.
async fn caller(host: &str) -> (saga_worker::Worker, test_support::FreshDatabase) {
    let inbox = fresh_database().await;
    let pool = inbox.pool(4).await;
    worker_http::migrate(&pool).await.unwrap();
    let config = Config { allowed: Allowed::parse(host).unwrap(), ..Config::default() };
    (worker_http::worker(pool, Calls::new(config).unwrap(), worker_http::WINDOW_MS_DEFAULT), inbox)
}

async fn start(node: &Node, id: &str) -> SagaId {
    let request = StartRequest {
        definition: node.engine.definitions.active("parcel").unwrap(),
        input: Arc::new(json!({ "id": id })),
        body_hash: [1; 32],
        principal: "tester".to_owned(),
        idempotency_key: None,
        replay_of: None,
    };
    node.engine.starter.start(request).await.unwrap().saga
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_and_undone_as_any_step_is() {
    let (host, pickups) = carrier().await;
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let definition = format!(
        "
saga: parcel
key: ${{input.id}}
steps:
  pickup:
    http:
      method: POST
      url: http://{host}/pickups
      body: {{ order: \"${{input.id}}\" }}
      check: {{ url: \"http://{host}/pickups/${{input.id}}\" }}
    compensation:
      http: {{ method: DELETE, url: \"http://{host}/pickups/${{output.tracking}}\" }}
  board:
    after: [pickup]
    worker: travel
    action: board
    compensation: none
    input: {{ tracking: \"${{steps.pickup.output.tracking}}\" }}
"
    );
    node.engine.publish(&definition).await.unwrap();

    let (worker, _inbox) = caller(&host).await;
    let stop = CancellationToken::new();
    let bus: Arc<dyn Bus> = stage.bus.clone();
    let working = tokio::spawn(worker.run(bus, stage.topics.clone(), stop.clone()));
    Travel::join(stage.bus.clone(), &stage.topics).await.serve(|command| {
        let full = command.input.get().contains("p-2");
        Some(if full { rejected(command, "full") } else { succeeded(command) })
    });

    let first = start(&node, "p-1").await;
    stage.ends(first, COMPLETED).await;
    let second = start(&node, "p-2").await;
    stage.ends(second, COMPENSATED).await;
    assert_eq!(*pickups.lock().unwrap(), BTreeSet::from(["p-1".to_owned()]));
    stage.histories_are_whole().await;
    stop.cancel();
    working.await.unwrap().unwrap();
    node.stop().await;
}

/// A worker's limits hold its calls back; to the engine what waits is queued, so nothing is sent twice and no budget is
/// spent, however much longer than its timeout a command waits for its turn.
#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_calls_back_and_charge_nobody() {
    const CALLS: usize = 12;
    let (host, air) = slow_carrier().await;
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let definition = format!(
        "
saga: parcel
key: ${{input.id}}
steps:
  pickup:
    http: {{ method: POST, url: http://{host}/pickups, body: {{ order: \"${{input.id}}\" }} }}
    compensation: none
    retry: {{ attempts: 1 }}
    timeout: 1s
"
    );
    node.engine.publish(&definition).await.unwrap();
    let (worker, _inbox) = caller(&host).await;
    let (one, four) = (NonZeroU32::new(1).unwrap(), NonZeroU32::new(4).unwrap());
    let worker = worker.with_limit("call", Limit::AtOnce(one)).unwrap();
    let worker = worker.with_limit("call", Limit::PerSecond(four)).unwrap();
    let stop = CancellationToken::new();
    let bus: Arc<dyn Bus> = stage.bus.clone();
    let mut heard = Travel::hear(bus.clone(), &stage.topics, "http", "listener").await;
    let working = tokio::spawn(worker.run(bus, stage.topics.clone(), stop.clone()));

    let began = Instant::now();
    let mut sagas = Vec::new();
    for at in 0..CALLS {
        sagas.push(start(&node, &format!("p-{at}")).await);
    }
    for saga in sagas {
        stage.ends(saga, COMPLETED).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds >= (CALLS - 1) as f64 / 4.0 - 0.1, "{CALLS} calls of 4 a second took {seconds} s");
    assert_eq!(air.most.load(Relaxed), 1, "one call at a time");
    let mut sent = 0;
    while let Ok((command, _)) = heard.commands.try_recv() {
        assert_eq!(command.attempt, 1);
        sent += 1;
    }
    assert_eq!(sent, CALLS, "a command that waits for its turn is not sent again");
    stage.histories_are_whole().await;
    stop.cancel();
    working.await.unwrap().unwrap();
    node.stop().await;
}
