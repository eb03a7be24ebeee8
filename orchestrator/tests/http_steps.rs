//! An `http` step from a definition to a real server and back: engine, worker and Postgres, on the in-process bus.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use amends::start::StartRequest;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use saga_bus::Bus;
use saga_protocol::SagaId;
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

    let inbox = fresh_database().await;
    let pool = inbox.pool(4).await;
    worker_http::migrate(&pool).await.unwrap();
    let config = Config { allowed: Allowed::parse(&host).unwrap(), ..Config::default() };
    let worker = worker_http::worker(pool, Calls::new(config).unwrap(), worker_http::WINDOW_MS_DEFAULT);
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
