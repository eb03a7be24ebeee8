//! The read API, through its router, on a real Postgres.
#![allow(clippy::unwrap_used)]

mod common;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use common::{cancel, database, execute, new_saga, order, run};
use serde_json::{Value, json};
use tower::ServiceExt;
use worker_order::create::Create;

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn shows_an_order_and_where_it_stands() {
    let (_database, pool) = database().await;
    let router = worker_order::routes(pool.clone());
    let saga = new_saga();
    run(&pool, &Create, &[execute(saga, "create", order("order-1"))]).await;
    let (status, body) = get(&router, "/orders/order-1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["status"], "created");
    assert_eq!(body["saga"], saga.to_string());
    assert_eq!(body["items"], order("order-1")["items"]);
    assert_eq!(body["amount"], 12_000);
    assert_eq!(body["cancelled_at"], Value::Null);

    run(&pool, &Create, &[cancel(saga, order("order-1"))]).await;
    let (_, body) = get(&router, "/orders/order-1").await;
    assert_eq!(body["status"], "cancelled");
    assert!(body["cancelled_at"].is_string());

    let replay = new_saga();
    run(&pool, &Create, &[execute(replay, "create", order("order-1"))]).await;
    let (_, body) = get(&router, "/orders/order-1").await;
    assert_eq!((&body["status"], &body["saga"]), (&json!("created"), &json!(replay.to_string())));
}

#[tokio::test]
async fn what_is_not_there_is_404_whatever_its_spelling() {
    let (_database, pool) = database().await;
    let router = worker_order::routes(pool);
    for path in ["/orders/order-9", "/orders/x", "/orders/%00%00%00%00%00%00", "/orders/a%27or%271%3D1"] {
        let (status, body) = get(&router, path).await;
        assert_eq!((status, &body["status"]), (StatusCode::NOT_FOUND, &json!(404)), "{path}");
    }
}

#[tokio::test]
async fn health_follows_the_database() {
    let (_database, pool) = database().await;
    let router = worker_order::routes(pool.clone());
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
    pool.close().await;
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&router, "/orders/order-1").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
