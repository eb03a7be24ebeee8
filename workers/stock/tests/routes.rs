//! The API, through its router, on a real Postgres.
#![allow(clippy::unwrap_used)]

mod common;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use common::{database, execute, new_saga, run, seed, units};
use serde_json::{Value, json};
use tower::ServiceExt;
use worker_stock::reserve::Reserve;

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    ask(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn put(router: &Router, sku: &str, body: &str, only_new: bool) -> (StatusCode, Value) {
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/stock/{sku}"))
        .header("content-type", "application/json");
    if only_new {
        request = request.header("if-none-match", "*");
    }
    ask(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_stocktake_keeps_what_is_reserved_and_sold() {
    let (_database, pool) = database().await;
    let router = worker_stock::routes(pool.clone());
    assert_eq!(get(&router, "/stock/tea").await.0, StatusCode::NOT_FOUND);
    assert_eq!(put(&router, "tea", r#"{"on_hand":5}"#, false).await.0, StatusCode::CREATED);
    run(&pool, &Reserve, &[execute(new_saga(), "reserve", units("order-1", &[("tea", 3)]))]).await;

    let (status, body) = put(&router, "tea", r#"{"on_hand":2}"#, false).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body["detail"].as_str().unwrap().starts_with("3 units are reserved"));
    assert_eq!(put(&router, "tea", r#"{"on_hand":9}"#, true).await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(get(&router, "/stock/tea").await.1["available"], 2, "refusals changed nothing");

    let (status, body) = put(&router, "tea", r#"{"on_hand":9}"#, false).await;
    assert_eq!(status, StatusCode::OK);
    for (field, value) in [("on_hand", 9), ("available", 6), ("reserved", 3), ("sold", 0), ("received", 9)] {
        assert_eq!(body[field], value, "{field}");
    }
    assert_eq!(get(&router, "/stock/tea").await.1, body);
}

#[tokio::test]
async fn bad_stocktakes_are_refused_and_change_nothing() {
    let (_database, pool) = database().await;
    let router = worker_stock::routes(pool);
    for (sku, body, status) in [
        ("tea", r#"{"on_hand":-1}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("tea", r#"{"on_hand":1000000000001}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("tea", r#"{"on_hand":1.5}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("tea", r#"{"on_hand":1,"sold":0}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("tea", "{", StatusCode::BAD_REQUEST),
        ("t%20a", r#"{"on_hand":1}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("tea", &format!(r#"{{"on_hand":1{}}}"#, " ".repeat(5_000)), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(put(&router, sku, body, false).await.0, status, "{sku} {}", &body[..body.len().min(80)]);
    }
    assert_eq!(get(&router, "/stock").await.1["items"], json!([]));
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let (_database, pool) = database().await;
    let router = worker_stock::routes(pool.clone());
    seed(&pool, &[("tin", 1), ("Cup", 2), ("pot", 3)]).await;
    let skus = |body: &Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap();
        items.iter().map(|item| item["sku"].as_str().unwrap().to_owned()).collect()
    };
    let (_, page) = get(&router, "/stock?limit=2").await;
    assert_eq!((skus(&page), &page["next_after"]), (vec!["Cup".into(), "pot".into()], &json!("pot")));
    let (_, page) = get(&router, "/stock?limit=2&after=pot").await;
    assert_eq!((skus(&page), &page["next_after"]), (vec!["tin".into()], &Value::Null));
    for query in ["limit=0", "limit=1001", "after=a%00"] {
        assert_eq!(get(&router, &format!("/stock?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn health_follows_the_database() {
    let (_database, pool) = database().await;
    let router = worker_stock::routes(pool.clone());
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
    pool.close().await;
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
