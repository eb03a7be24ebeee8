//! The edges of the API: probes, metrics, limits, foreign hosts.

use std::time::Instant;

use amends::api::ApiConfig;
use amends::api::limit::shared::Exchange;
use amends::api::limit::{Limiter, Rate};
use reqwest::Method;
use serde_json::json;
use test_support::eventually;

use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_answer_and_metrics_count() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await.body["status"], "ok");
    eventually("it is ready", 10_000, async || server.get("/readyz").await.status == 200).await;
    eventually("both shards are owned", 10_000, async || server.get("/readyz").await.body["shards"] == 2)
        .await;
    server.tour("tour-1", &[]).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let text = metrics.body.as_str().unwrap();
    assert!(text.lines().any(|it| it.starts_with("amends_starts_total ")), "{text}");
    assert!(text.contains("# TYPE amends_start_group_size histogram"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_ends_with_the_database() {
    let server = Server::start().await;
    eventually("it is ready", 10_000, async || server.get("/readyz").await.status == 200).await;
    server.node.engine.store.reads().close().await;
    server.get("/readyz").await.is_problem(503, "unavailable");
    assert_eq!(server.get("/readyz").await.header("retry-after"), "2");
    assert_eq!(server.get("/healthz").await.status, 200, "a restart would not help");
    server.get("/sagas").await.is_problem(503, "unavailable");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_fast_is_told_when_to_come_back() {
    let rate = Rate { per_s: 0.5, burst: 2.0 };
    // One token for publishing the tour, one for the first start.
    let server = Server::with(ApiConfig { rate, ..ApiConfig::default() }).await;
    assert_eq!(server.tour("tour-1", &[]).await.status, 202);
    let refused = server.tour("tour-2", &[]).await;
    refused.is_problem(429, "too-many-requests");
    // One token comes back in 2 s; on a busy machine one of them is over.
    let after_s = refused.body["retry_after_s"].as_u64().unwrap();
    assert!((1..=2).contains(&after_s) && refused.header("retry-after") == after_s.to_string(), "{after_s}");
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_fast_does_not_slow_down_others() {
    let principal_rate = Rate { per_s: 0.1, burst: 3.0 };
    let server = Server::with(ApiConfig { principal_rate, ..ApiConfig::default() }).await;
    let made =
        server.post("/ops/keys", &[], &json!({ "name": "shop", "roles": ["customer"], "why": "x" })).await;
    let shop = format!("Bearer {}", made.body["key"].as_str().unwrap());
    let headers = [("authorization", shop.as_str())];
    for id in ["tour-1", "tour-2", "tour-3"] {
        assert_eq!(server.tour(id, &headers).await.status, 202);
    }
    let refused = server.tour("tour-4", &headers).await;
    refused.is_problem(429, "too-many-requests");
    assert!(refused.body["detail"].as_str().unwrap().starts_with("key:shop asks faster"), "{}", refused.body);
    assert_eq!(server.get("/auth/me").await.status, 200, "another principal from the same address");
    server.stop().await;
}

#[tokio::test]
async fn processes_count_a_principals_requests_together_in_redis() {
    let prefix = format!("test-{}", uuid::Uuid::now_v7());
    let process = || {
        let rate = Rate { per_s: 0.001, burst: 10.0 };
        (Limiter::<String>::new(rate), Exchange::open(&test_support::redis_url(), &prefix).unwrap())
    };
    let ((one, mut from_one), (two, mut from_two)) = (process(), process());
    let (kim, lee) = ("kim".to_owned(), "lee".to_owned());
    let take = |limiter: &Limiter<String>, who: &String| limiter.take(who, Instant::now()).is_ok();
    assert!(take(&one, &kim) && take(&two, &kim));
    from_one.turn(&one).await.unwrap();
    from_two.turn(&two).await.unwrap();
    // The first process lets through all that it may; the other learns it with its next exchange.
    assert_eq!((0..20).filter(|_| take(&one, &kim)).count(), 9);
    from_one.turn(&one).await.unwrap();
    assert!(take(&two, &kim), "it cannot know yet");
    from_two.turn(&two).await.unwrap();
    assert!(!take(&two, &kim), "now it does");
    assert!(take(&two, &lee), "another one");
}

#[tokio::test]
async fn without_redis_each_process_limits_for_itself() {
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exchange = Exchange::open(&format!("redis://{closed}"), "test").unwrap();
    let limiter = Limiter::<String>::new(Rate { per_s: 0.001, burst: 2.0 });
    let kim = "kim".to_owned();
    for _ in 0..2 {
        assert!(limiter.take(&kim, Instant::now()).is_ok());
        assert!(exchange.turn(&limiter).await.is_err());
    }
    assert!(limiter.take(&kim, Instant::now()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_keeps_whom_a_trusted_proxy_names() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = || ApiConfig { trusted_proxies: trusted_proxies.clone(), ..ApiConfig::default() };
    let server = Server::with(config()).await;
    let made =
        server.post("/ops/keys", &[], &json!({ "name": "kim", "roles": ["operator"], "why": "x" })).await;
    let kim = format!("Bearer {}", made.body["key"].as_str().unwrap());
    let headers = [("authorization", kim.as_str()), ("x-forwarded-for", "127.0.0.1, 203.0.113.9")];
    let hold = json!({ "kind": "starts", "why": "an incident" });
    let held = server.post("/ops/holds", &headers, &hold).await;
    assert!(held.status.is_success(), "{}", held.body);
    let audit = server.get("/ops/audit").await.body;
    assert_eq!(audit["entries"][0]["address"], "203.0.113.9", "{audit}");
    // In dev mode nobody needs to sign in over loopback; who was forwarded does.
    let forwarded = server.request(Method::GET, "/sagas", &[("x-forwarded-for", "203.0.113.9")], "").await;
    assert_eq!(forwarded.status, 401, "{}", forwarded.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_name_for_this_host_is_refused() {
    let server = Server::start().await;
    let answer = server.request(Method::GET, "/sagas", &[("host", "evil.example")], "").await;
    answer.is_problem(421, "host");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_not_cached_or_sniffed() {
    let server = Server::start().await;
    for path in ["/sagas", "/nothing", "/openapi.json"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.header("cache-control"), answer.header("x-content-type-options")),
            ("no-store", "nosniff")
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_has_the_triggers() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.body;
    let tours = &document["paths"]["/tours"]["post"];
    assert_eq!((&tours["operationId"], &tours["tags"]), (&json!("start_tour"), &json!(["triggers"])));
    let schema = &tours["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["required"], json!(["id", "guests"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_paths_with_other_methods_say_which_they_take() {
    let server = Server::start().await;
    for (method, path, allow) in [
        (Method::DELETE, "/sagas", "GET"),
        (Method::PUT, "/definitions", "GET, POST"),
        (Method::PUT, "/sagas/01a1fddc-ac14-74a1-8a00-10fb14d90753/actions", "POST, GET"),
        (Method::POST, "/metrics", "GET"),
    ] {
        let answer = server.request(method, path, &[], "").await;
        answer.is_problem(405, "method");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    server.stop().await;
}
