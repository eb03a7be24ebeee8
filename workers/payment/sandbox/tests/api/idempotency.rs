//! The idempotency key: scope, length, age, requests in flight.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use toss_sandbox::{DEFAULT_SECRET_KEY, SandboxConfig};

use crate::support::{Server, refusal, reply};

const DAY_MS: i64 = 24 * 3600 * 1000;

fn keyed(request: RequestBuilder, key: &str) -> RequestBuilder {
    request.header("Idempotency-Key", key)
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_one_effect() {
    let toss = Server::start().await;
    let first = reply(keyed(toss.confirming("tviva_1", "order-0001", 100), "k1")).await;
    let second = reply(keyed(toss.confirming("tviva_1", "order-0001", 100), "k1")).await;
    assert_eq!(first.0, 200);
    assert_eq!(first, second);
    assert_eq!(toss.totals("order-0001").await, (100, 0));
}

#[tokio::test]
async fn an_answer_is_kept_as_it_was_when_the_payment_has_moved_on() {
    let toss = Server::start().await;
    let confirmed = reply(keyed(toss.confirming("tviva_1", "order-0001", 100), "k1")).await;
    let part = json!({ "cancelReason": "r", "cancelAmount": 40 });
    let first = reply(keyed(toss.cancelling("tviva_1", part.clone()), "c1")).await;
    reply(keyed(toss.cancelling("tviva_1", json!({ "cancelReason": "r" })), "c2")).await;
    assert_eq!(reply(keyed(toss.cancelling("tviva_1", part), "c1")).await, first);
    assert_eq!(first.1["balanceAmount"], 60);
    assert_eq!(reply(keyed(toss.confirming("tviva_1", "order-0001", 100), "k1")).await, confirmed);
    assert_eq!(toss.totals("order-0001").await, (100, 100));
}

#[tokio::test]
async fn the_scope_is_not_the_body_so_a_reused_key_answers_with_another_payment() {
    let toss = Server::start().await;
    reply(keyed(toss.confirming("tviva_1", "order-0001", 100), "k1")).await;
    let (status, other) = reply(keyed(toss.confirming("tviva_2", "order-0002", 200), "k1")).await;
    assert_eq!((status, &other["paymentKey"]), (200, &json!("tviva_1")));
    assert_eq!(toss.totals("order-0002").await, (0, 0));
}

#[tokio::test]
async fn the_scope_is_url_and_api_key_too() {
    let keys = vec![DEFAULT_SECRET_KEY.to_owned(), "test_sk_second".to_owned()];
    let toss = Server::start_with(SandboxConfig { secret_keys: keys, ..SandboxConfig::default() }).await;
    reply(keyed(toss.confirming("tviva_1", "order-0001", 100), "k1")).await;
    reply(keyed(toss.confirming("tviva_2", "order-0002", 100), "k2")).await;
    let reason = json!({ "cancelReason": "r" });
    let cancelled = reply(keyed(toss.cancelling("tviva_1", reason.clone()), "k1")).await;
    assert_eq!(cancelled.1["status"], "CANCELED", "another URL");
    let cancelled = reply(keyed(toss.cancelling("tviva_2", reason), "k1")).await;
    assert_eq!(cancelled.1["paymentKey"], "tviva_2", "another URL");
    let body = json!({ "paymentKey": "tviva_3", "orderId": "order-0003", "amount": 100 });
    let other = toss.http.post(format!("{}/v1/payments/confirm", toss.base)).json(&body);
    let other = keyed(other.basic_auth("test_sk_second", Some("")), "k1");
    assert_eq!(reply(other).await.1["paymentKey"], "tviva_3", "another API key");
}

#[tokio::test]
async fn a_key_has_at_most_300_characters() {
    let toss = Server::start().await;
    let request = || toss.confirming("tviva_1", "order-0001", 100);
    for bad in ["k".repeat(301), String::new()] {
        assert_eq!(refusal(&reply(keyed(request(), &bad)).await), (400, "INVALID_IDEMPOTENCY_KEY"));
    }
    assert_eq!(reply(keyed(request(), &"k".repeat(300))).await.0, 200);
}

#[tokio::test]
async fn a_key_is_valid_for_15_days() {
    let toss = Server::start().await;
    let request = || keyed(toss.confirming("tviva_1", "order-0001", 100), "k1");
    reply(request()).await;
    toss.advance_clock(15 * DAY_MS - 60_000).await;
    assert_eq!(reply(request()).await.0, 200);
    toss.advance_clock(120_000).await;
    assert_eq!(refusal(&reply(request()).await), (400, "ALREADY_PROCESSED_PAYMENT"));
}

#[tokio::test]
async fn a_request_in_flight_answers_409_and_then_with_the_first_answer() {
    let toss = Server::start().await;
    toss.fault(json!({ "payment_key": "tviva_1", "times": 1, "fault": { "delay_ms": 700 } })).await;
    let request = || keyed(toss.confirming("tviva_1", "order-0001", 100), "k1");
    let first = tokio::spawn(reply(request()));
    let mut early = Vec::new();
    let first = loop {
        let answer = reply(request()).await;
        if answer.0 == 200 {
            assert_eq!(answer, first.await.unwrap());
            break answer;
        }
        early.push(answer);
        tokio::task::yield_now().await;
    };
    assert_eq!(first.1["status"], "DONE");
    assert!(!early.is_empty());
    assert!(early.iter().all(|it| refusal(it) == (409, "IDEMPOTENT_REQUEST_PROCESSING")), "{early:?}");
    assert_eq!(toss.totals("order-0001").await, (100, 0));
}

#[tokio::test]
async fn final_refusals_are_kept_and_passing_errors_are_not() {
    let toss = Server::start().await;
    let refused = || keyed(toss.confirming("tviva_reject_card", "order-0001", 100), "k1");
    let first = reply(refused()).await;
    assert_eq!(first, reply(refused()).await);
    assert_eq!(refusal(&first), (403, "REJECT_CARD_COMPANY"));
    for (word, code) in
        [("server_error", "FAILED_INTERNAL_SYSTEM_PROCESSING"), ("provider_error", "PROVIDER_ERROR")]
    {
        let request = || keyed(toss.confirming(&format!("tviva_{word}"), "order-0002", 100), word);
        assert_eq!(refusal(&reply(request()).await).1, code);
        assert_eq!(reply(request()).await.0, 200);
    }
}

#[tokio::test]
async fn two_cancels_at_once_with_different_keys_are_forbidden() {
    let toss = Server::start().await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    toss.fault(json!({ "operation": "cancel", "fault": { "delay_ms": 300 } })).await;
    let cancel = |key: &str| {
        reply(
            keyed(toss.request(Method::POST, "/v1/payments/tviva_1/cancel"), key)
                .json(&json!({ "cancelReason": "r", "cancelAmount": 10 })),
        )
    };
    let (first, second) = tokio::join!(cancel("c1"), cancel("c2"));
    let mut answers = [refusal(&first), refusal(&second)];
    answers.sort_unstable();
    assert_eq!(answers, [(200, "none"), (403, "FORBIDDEN_CONSECUTIVE_REQUEST")]);
    assert_eq!(toss.totals("order-0001").await, (100, 10));
}
