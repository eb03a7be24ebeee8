//! What goes wrong on demand: forced codes, delays, lost requests and answers.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Server, refusal, reply};

#[tokio::test]
async fn the_test_code_header_forces_an_error_and_nothing_happens() {
    let toss = Server::start().await;
    for (code, status) in [
        ("REJECT_CARD_COMPANY", 403),
        ("FAILED_INTERNAL_SYSTEM_PROCESSING", 500),
        ("PROVIDER_ERROR", 400),
        ("NOT_FOUND_PAYMENT_SESSION", 404),
        ("INVALID_CARD_EXPIRATION", 400),
    ] {
        let request = toss.confirming("tviva_1", "order-0001", 100).header("TossPayments-Test-Code", code);
        assert_eq!(refusal(&reply(request).await), (status, code));
    }
    assert_eq!(toss.inquire("tviva_1").await.0, 404);
    assert_eq!(toss.confirm("tviva_1", "order-0001", 100).await.0, 200);
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_and_the_money_has_moved() {
    let toss = Server::start().await;
    let lost = toss.confirming("tviva_lost_answer_1", "order-0001", 100).send().await.unwrap_err();
    assert!(!lost.is_timeout() && lost.status().is_none(), "{lost:?}");
    assert_eq!(toss.totals("order-0001").await, (100, 0));
    assert_eq!(toss.inquire("tviva_lost_answer_1").await.1["status"], "DONE");
}

#[tokio::test]
async fn a_lost_request_closes_the_connection_and_nothing_has_moved() {
    let toss = Server::start().await;
    assert!(toss.confirming("tviva_lost_request_1", "order-0001", 100).send().await.is_err());
    assert_eq!(toss.inquire("tviva_lost_request_1").await.0, 404);
    assert_eq!(toss.confirm("tviva_lost_request_1", "order-0001", 100).await.0, 200);
}

#[tokio::test]
async fn silence_lasts_until_the_client_gives_up_and_a_stop_ends_it() {
    let toss = Server::start().await;
    let request = toss.confirming("tviva_hang_answer_1", "order-0001", 100);
    let gone = request.timeout(Duration::from_millis(300)).send().await.unwrap_err();
    assert!(gone.is_timeout(), "{gone:?}");
    assert_eq!(toss.totals("order-0001").await, (100, 0));

    toss.fault(json!({ "operation": "inquire", "fault": { "lost": "answer", "hang": true } })).await;
    let held = tokio::spawn(toss.request(reqwest::Method::GET, "/v1/payments/tviva_1").send());
    let deadline = Duration::from_secs(10);
    tokio::time::timeout(deadline, toss.stop()).await.expect("a stop lets silent requests go");
    assert!(held.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_payment() {
    let toss = Server::start().await;
    toss.fault(json!({ "payment_key": "tviva_1", "fault": { "delay_ms": 400 } })).await;
    let request = toss.confirming("tviva_1", "order-0001", 100);
    assert!(request.timeout(Duration::from_millis(100)).send().await.is_err());
    assert_eq!(toss.totals("order-0001").await, (0, 0));
    let until = Instant::now() + Duration::from_secs(10);
    while toss.totals("order-0001").await != (100, 0) {
        assert!(Instant::now() < until, "the payment never took effect");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_error_can_come_with_the_effect() {
    let toss = Server::start().await;
    let fault = json!({ "error": "UNKNOWN_PAYMENT_ERROR", "status": 503, "takes_effect": true });
    toss.fault(json!({ "operation": "confirm", "times": 1, "fault": fault })).await;
    let answer = toss.confirm("tviva_1", "order-0001", 100).await;
    assert_eq!(refusal(&answer), (503, "UNKNOWN_PAYMENT_ERROR"));
    assert_eq!(toss.totals("order-0001").await, (100, 0));
}

#[tokio::test]
async fn rules_match_by_order_and_operation_count_down_and_can_be_cleared() {
    let toss = Server::start().await;
    let fault = json!({ "error": "PROVIDER_ERROR" });
    toss.fault(json!({ "order_id": "order-0001", "operation": "cancel", "times": 2, "fault": fault })).await;
    let reason = json!({ "cancelReason": "r" });
    for (key, order_id) in [("tviva_1", "order-0001"), ("tviva_2", "order-0002")] {
        assert_eq!(toss.confirm(key, order_id, 100).await.0, 200);
    }
    assert_eq!(toss.cancel("tviva_2", reason.clone()).await.0, 200);
    for expected in [400, 400, 200] {
        assert_eq!(toss.cancel("tviva_1", reason.clone()).await.0, expected);
    }
    toss.fault(json!({ "fault": { "error": "COMMON_ERROR" } })).await;
    assert_eq!(refusal(&toss.inquire("tviva_1").await), (500, "COMMON_ERROR"));
    assert_eq!(toss.get("/sandbox/faults").await.1.as_array().unwrap().len(), 1);
    toss.request(reqwest::Method::DELETE, "/sandbox/faults").send().await.unwrap();
    assert_eq!(toss.inquire("tviva_1").await.0, 200);
}

#[tokio::test]
async fn refunds_have_fates_too() {
    let toss = Server::start().await;
    let reason = json!({ "cancelReason": "r" });
    for key in ["tviva_refund_refused", "tviva_refund_flaky"] {
        assert_eq!(toss.confirm(key, "order-0001", 100).await.0, 200);
    }
    for _ in 0..2 {
        let refused = toss.cancel("tviva_refund_refused", reason.clone()).await;
        assert_eq!(refusal(&refused), (403, "NOT_CANCELABLE_PAYMENT"));
    }
    assert_eq!(toss.cancel("tviva_refund_flaky", reason.clone()).await.0, 500);
    assert_eq!(toss.cancel("tviva_refund_flaky", reason).await.0, 200);
}

#[tokio::test]
async fn a_held_request_takes_effect_when_it_is_let_go() {
    let toss = Server::start().await;
    toss.fault(json!({ "operation": "confirm", "fault": { "hold": true } })).await;
    let held = tokio::spawn(reply(toss.confirming("tviva_1", "order-0001", 100)));
    let until = Instant::now() + Duration::from_secs(10);
    while toss.get("/sandbox/held").await.1["held"] != 1 {
        assert!(Instant::now() < until, "nothing was held");
    }
    assert_eq!(toss.totals("order-0001").await, (0, 0));
    toss.request(reqwest::Method::POST, "/sandbox/release").send().await.unwrap();
    assert_eq!(toss.totals("order-0001").await, (100, 0));
    assert_eq!(held.await.unwrap().0, 200);
    assert_eq!(toss.confirm("tviva_2", "order-0002", 100).await.0, 200, "nothing is held any more");
}
