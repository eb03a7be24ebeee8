//! Starting: keys, bodies, waiting.

use std::time::{Duration, Instant};

use amends::api::ApiConfig;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, tour};
use crate::support::rejected;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_and_a_name_start_the_same_saga() {
    let server = Server::start().await;
    let first = server.tour("tour-1", &[]).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.header("location"), format!("/sagas/{}", first.saga()));
    assert_eq!(first.body["links"]["history"], format!("/sagas/{}/history", first.saga()));
    assert_eq!((&first.body["definition"], &first.body["status"]), (&json!("tour"), &json!("running")));
    assert_eq!(server.get(&format!("/sagas/{}", first.saga())).await.status, 200, "found at once");
    let second = server.post("/sagas/tour", &[], &tour("tour-2")).await;
    assert_eq!(second.status, 202);
    assert_ne!(first.saga(), second.saga());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_and_body_is_one_saga_and_another_body_is_refused() {
    let server = Server::start().await;
    let key = [("idempotency-key", "order 4711")];
    let first = server.tour("tour-1", &key).await;
    assert_eq!((first.status.as_u16(), &first.body["repeated"]), (202, &Value::Null));
    // The same body, spelled differently.
    let spaced = r#"{ "guests" : [ {"age":41, "name":"Kim"} ],   "id":"tour-1" }"#;
    let headers = [key[0], ("content-type", "application/json")];
    let again = server.request(Method::POST, "/tours", &headers, spaced).await;
    assert_eq!((again.status.as_u16(), &again.body["repeated"]), (200, &json!(true)));
    assert_eq!(again.saga(), first.saga());
    let other = server.tour("tour-2", &key).await;
    other.is_problem(422, "key-reused");
    assert!(other.body["detail"].as_str().unwrap().contains(&first.saga().to_string()));
    // Another definition's request is another body, even if its JSON is the same.
    let elsewhere = server.post("/sagas/trip", &key, &tour("tour-1")).await;
    elsewhere.is_problem(422, "key-reused");
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    assert_eq!(server.stage.count("select count(*) from history").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_its_body_slowly_holds_nobody_up_and_is_told() {
    let config = ApiConfig { starts_max: 1, body_wait: Duration::from_secs(2), ..ApiConfig::default() };
    let server = Server::with(config).await;
    let host = server.url.strip_prefix("http://").unwrap();
    let mut slow = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /tours HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\
         expect: 100-continue\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut heard = [0; 1_024];
    let read = slow.read(&mut heard).await.unwrap();
    assert!(heard[..read].starts_with(b"HTTP/1.1 100 "), "its body is waited for");
    assert_eq!(server.tour("tour-1", &[]).await.status, 202);
    let mut answer = String::new();
    slow.write_all(b"{").await.unwrap();
    while !answer.contains("/problems/slow-body") {
        let read = slow.read(&mut heard).await.unwrap();
        assert_ne!(read, 0, "{answer}");
        answer.push_str(std::str::from_utf8(&heard[..read]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_business_key_alone_makes_a_repetition_harmless() {
    let server = Server::start().await;
    let first = server.tour("tour-1", &[]).await;
    let again = server.tour("tour-1", &[("idempotency-key", "another")]).await;
    assert_eq!((again.status.as_u16(), again.saga()), (200, first.saga()));
    let mut other = tour("tour-1");
    other["guests"][0]["age"] = json!(42);
    server.post("/tours", &[], &other).await.is_problem(422, "key-reused");
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_with_one_key_are_one_saga() {
    let server = Server::start().await;
    let starts = (0..24).map(|_| server.tour("tour-1", &[("idempotency-key", "one")]));
    let answers = futures::future::join_all(starts).await;
    let first = answers[0].saga();
    assert!(answers.iter().all(|it| it.status.is_success() && it.saga() == first));
    assert_eq!(answers.iter().filter(|it| it.status == 202).count(), 1, "one of them has started it");
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_body_lists_every_fault_and_writes_nothing() {
    let server = Server::start().await;
    let body = json!({ "id": "x", "guests": [{ "name": 7, "age": -1 }, {}], "extra": true });
    let answer = server.post("/tours", &[], &body).await;
    answer.is_problem(422, "invalid-input");
    let mut faults: Vec<(&str, &str)> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["pointer"].as_str().unwrap(), it["keyword"].as_str().unwrap()))
        .collect();
    faults.sort_unstable();
    assert_eq!(
        faults,
        [
            ("", "additionalProperties"),
            ("/guests/0/age", "minimum"),
            ("/guests/0/name", "type"),
            ("/guests/1", "required"),
            ("/guests/1", "required"),
            ("/id", "minLength"),
        ],
        "{}",
        answer.body
    );
    assert!(!answer.body.to_string().contains("\"x\""), "what was sent is not sent back");
    server.nothing_was_written().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_start_is_refused_with_its_reason_and_writes_nothing() {
    let server = Server::start().await;
    let json_type = ("content-type", "application/json");
    let post = async |path: &str, headers: &[(&str, &str)], body: &str| {
        server.request(Method::POST, path, headers, body.to_owned()).await
    };
    let malformed = post("/tours", &[json_type], "{\n  \"id\": \"tour-1\",\n}").await;
    malformed.is_problem(400, "malformed-json");
    assert_eq!(
        (&malformed.body["errors"][0]["line"], &malformed.body["errors"][0]["column"]),
        (&json!(3), &json!(1))
    );
    post("/tours", &[("content-type", "text/plain")], "{}").await.is_problem(415, "media-type");
    post("/tours", &[], "{}").await.is_problem(415, "media-type");
    post("/tours", &[json_type], "").await.is_problem(400, "malformed-json");
    let unknown = post("/orders", &[json_type], "{}").await;
    unknown.is_problem(404, "not-found");
    assert!(unknown.body["detail"].as_str().unwrap().contains("POST /tours"), "{}", unknown.body);
    let definition = post("/sagas/tuor", &[json_type], "{}").await;
    definition.is_problem(404, "not-found");
    assert!(definition.body["detail"].as_str().unwrap().contains("tour, trip"), "{}", definition.body);
    let method = server.get("/tours").await;
    method.is_problem(405, "method");
    assert_eq!(method.header("allow"), "POST");
    let key = [json_type, ("idempotency-key", "")];
    post("/tours", &key, &tour("tour-1").to_string()).await.is_problem(400, "bad-request");
    server.nothing_was_written().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_are_too_large_and_write_nothing() {
    let server = Server::start().await;
    let mut body = tour("tour-1");
    body["guests"][0]["name"] = json!("k".repeat(10 * 1024 * 1024));
    server.post("/tours", &[], &body).await.is_problem(413, "too-large");
    // Without a length, in chunks.
    let chunks = (0..160).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 64 * 1024])));
    let streamed = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let answer =
        server.request(Method::POST, "/tours", &[("content-type", "application/json")], streamed).await;
    answer.is_problem(413, "too-large");
    server.nothing_was_written().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_answers_with_the_outcome() {
    let server = Server::start().await;
    server.travel_succeeds().await;
    let answer = server.tour("tour-1", &[("prefer", "wait=20")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (200, "wait=20"));
    assert_eq!(
        (&answer.body["status"], &answer.body["output"]),
        (&json!("completed"), &json!({ "room": "book_room-1" }))
    );
    assert_eq!(answer.body["error"], Value::Null);
    // The repetition finds it ended.
    let again = server.tour("tour-1", &[("prefer", "wait=20")]).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["status"], &again.body["repeated"]),
        (200, &json!("completed"), &json!(true))
    );
    assert_eq!(again.body["output"], answer.body["output"]);
    let unasked = server.tour("tour-1", &[]).await;
    assert_eq!((unasked.status.as_u16(), &unasked.body["status"]), (200, &json!("completed")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_answers_why_it_was_undone() {
    let server = Server::start().await;
    server
        .travel(|command| {
            Some(if command.action == "pay" {
                rejected(command, "no_money")
            } else {
                crate::support::succeeded(command)
            })
        })
        .await;
    let answer = server.tour("tour-1", &[("prefer", "wait=20")]).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("compensated")));
    assert_eq!(answer.body["error"], json!({ "step": "pay", "code": "no_money", "message": "no" }));
    assert_eq!(answer.body["output"], Value::Null);
    // What is told from memory is what the history tells later.
    let saga = answer.body["saga"].as_str().unwrap();
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["error"], answer.body["error"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_with_202_when_the_saga_has_not() {
    let server = Server::start().await;
    let began = Instant::now();
    let answer = server.tour("tour-1", &[("prefer", "wait=1")]).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, "wait=1"));
    assert_eq!(answer.body["status"], "running");
    let none = server.tour("tour-2", &[("prefer", "wait=0")]).await;
    assert_eq!((none.status.as_u16(), none.header("preference-applied")), (202, ""));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_does_not_hold_up_a_shutdown() {
    let server = Server::start().await;
    let (http, url) = (server.http.clone(), server.url.clone());
    let waiting = tokio::spawn(async move {
        let request = http.post(format!("{url}/tours")).header("prefer", "wait=60");
        request.json(&tour("tour-1")).send().await.unwrap().status()
    });
    let stage = &server.stage;
    test_support::eventually("the saga exists", 10_000, async || {
        stage.count("select count(*) from saga").await == 1
    })
    .await;
    let began = Instant::now();
    server.closing.cancel();
    assert_eq!(waiting.await.unwrap(), 202, "in flight, finished");
    assert!(began.elapsed() < Duration::from_secs(30));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_without_a_live_worker_are_warned_about() {
    let server = Server::start().await;
    let answer = server.tour("tour-1", &[]).await;
    let warnings = answer.body["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 3, "{}", answer.body);
    assert!(warnings[0].as_str().unwrap().contains("travel.book_car"), "{}", answer.body);
    server.stop().await;
}
