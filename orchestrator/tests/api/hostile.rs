//! Whatever a client sends is answered as a problem or taken; the server goes on, and nothing is written by halves.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, tour};

/// How many requests are made.
const REQUESTS: u64 = 600;

fn evil() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(json!(1e308)),
        Just(json!(u64::MAX)),
        ".{0,10}".prop_map(Value::from),
        Just(json!("\u{0}")),
        Just(json!("x".repeat(5_000))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,6}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A good start, an action or a definition, damaged; or anything.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let good = || {
        prop_oneof![
            any::<u32>().prop_map(|n| tour(&format!("tour-{n}"))),
            Just(
                json!({ "action": "skip", "who": "kim", "why": "why", "revision": 1, "step": "car", "output": {} })
            ),
        ]
    };
    let changed = (good(), any::<prop::sample::Index>(), evil()).prop_map(|(mut good, at, evil)| {
        if let Some(object) = good.as_object_mut() {
            let name = object.keys().nth(at.index(object.len())).cloned().unwrap_or_default();
            object.insert(name, evil);
        }
        good.to_string().into_bytes()
    });
    let cut = (good(), any::<prop::sample::Index>()).prop_map(|(good, at)| {
        let text = good.to_string();
        text.as_bytes()[..at.index(text.len())].to_vec()
    });
    prop_oneof![
        5 => changed,
        2 => cut,
        2 => evil().prop_map(|it| it.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => Just("[".repeat(50_000).into_bytes()),
        1 => Just(crate::server::TOUR.as_bytes().to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_breaks_the_server() {
    let server = Server::start().await;
    let saga = server.tour("tour-0", &[]).await.saga();
    let paths = [
        "/tours".to_owned(),
        "/sagas/tour".to_owned(),
        "/definitions".to_owned(),
        format!("/sagas/{saga}/actions"),
        format!("/sagas/{saga}/signals/go"),
        "/sagas/00000000-0000-0000-0000-000000000000/actions".to_owned(),
    ];
    let types =
        ["application/json", "application/yaml", "application/json; charset=utf-16", "text/plain", "\u{1}"];
    let seed = rand::random();
    let mut runner =
        TestRunner::new(ProptestConfig { rng_seed: RngSeed::Fixed(seed), ..ProptestConfig::default() });
    let draw =
        (prop::sample::select(paths.to_vec()), prop::sample::select(types.to_vec()), ".{0,20}", body());
    let mut refused = 0;
    for _ in 0..REQUESTS {
        let (path, kind, key, body) = draw.new_tree(&mut runner).expect("nothing is filtered out").current();
        let about = format!("seed {seed}: POST {path} {kind:?} {:?}", String::from_utf8_lossy(&body));
        let mut headers = vec![("content-type", kind)];
        // What cannot be a header never leaves the client.
        if reqwest::header::HeaderValue::from_str(&key).is_ok() {
            headers.push(("idempotency-key", &key));
        }
        if reqwest::header::HeaderValue::from_str(kind).is_err() {
            headers.remove(0);
        }
        let long = body.len() > 10_000;
        let answer = match server.try_request(Method::POST, &path, &headers, body).await {
            Ok(answer) => answer,
            // Refused by its head alone: the server does not read a long body to its end for that.
            Err(error) if long => {
                assert!(error.is_request(), "{about}: {error}");
                refused += 1;
                continue;
            }
            Err(error) => panic!("{about}: {error}"),
        };
        assert!(answer.status.is_success() || answer.status.is_client_error(), "{about}: {answer:?}");
        if answer.status.is_client_error() {
            refused += 1;
            assert_eq!(answer.header("content-type"), "application/problem+json", "{about}");
            assert!(answer.body["detail"].is_string(), "{about}: {}", answer.body);
        }
    }
    assert!(refused > REQUESTS / 2, "seed {seed}: only {refused} requests were refused");
    // Whole or not at all.
    let halves = "select count(*) from saga s
        full join (select saga_id from history where revision = 1) h on h.saga_id = s.id
        where s.id is null or h.saga_id is null";
    assert_eq!(server.stage.count(halves).await, 0);
    server.travel_succeeds().await;
    let last = server.tour("tour-last", &[]).await;
    assert!(last.status.is_success(), "{last:?}");
    server.until(last.saga(), "completed").await;
    server.stop().await;
}
