//! Confirming, inquiring, authentication.

use serde_json::json;

use crate::support::{Server, refusal, reply};

#[tokio::test]
async fn a_confirmed_payment_is_done_and_found_by_key_and_by_order() {
    let toss = Server::start().await;
    let (status, payment) = toss.confirm("tviva_1", "order-0001", 15_000).await;
    assert_eq!(status, 200);
    for (field, expected) in [
        ("paymentKey", json!("tviva_1")),
        ("orderId", json!("order-0001")),
        ("status", json!("DONE")),
        ("totalAmount", json!(15_000)),
        ("balanceAmount", json!(15_000)),
        ("currency", json!("KRW")),
        ("method", json!("카드")),
        ("cancels", json!(null)),
    ] {
        assert_eq!(payment[field], expected, "{field}");
    }
    assert!(payment["approvedAt"].as_str().unwrap().ends_with("+09:00"));
    assert_eq!(toss.inquire("tviva_1").await, (200, payment.clone()));
    assert_eq!(toss.get("/v1/payments/orders/order-0001").await, (200, payment));
    assert_eq!(toss.totals("order-0001").await, (15_000, 0));
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let toss = Server::start().await;
    assert_eq!(refusal(&toss.inquire("tgen_nobody").await), (404, "NOT_FOUND_PAYMENT"));
    assert_eq!(refusal(&toss.get("/v1/payments/orders/order-none").await), (404, "NOT_FOUND_PAYMENT"));
    let unknown = toss.confirm("tgen_nobody", "order-0001", 100).await;
    assert_eq!(refusal(&unknown), (404, "NOT_FOUND_PAYMENT_SESSION"));
}

#[tokio::test]
async fn a_second_confirm_is_already_processed() {
    let toss = Server::start().await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    let again = toss.confirm("tviva_1", "order-0001", 100).await;
    assert_eq!(refusal(&again), (400, "ALREADY_PROCESSED_PAYMENT"));
    assert_eq!(toss.totals("order-0001").await, (100, 0));
}

#[tokio::test]
async fn a_session_lives_ten_minutes() {
    let toss = Server::start().await;
    let session = json!({ "order_id": "order-0001", "amount": 100 });
    let (_, early) = toss.post("/sandbox/sessions", session.clone()).await;
    let (_, late) = toss.post("/sandbox/sessions", session).await;
    let (early, late) = (early["payment_key"].as_str().unwrap(), late["payment_key"].as_str().unwrap());
    assert_eq!(toss.inquire(early).await.1["status"], "IN_PROGRESS");
    toss.advance_clock(10 * 60 * 1000 - 5_000).await;
    assert_eq!(toss.confirm(early, "order-0001", 100).await.0, 200);
    toss.advance_clock(10_000).await;
    let expired = toss.confirm(late, "order-0001", 100).await;
    assert_eq!(refusal(&expired), (404, "NOT_FOUND_PAYMENT_SESSION"));
    assert_eq!(toss.inquire(late).await.1["status"], "EXPIRED");
    assert_eq!(toss.totals("order-0001").await, (100, 0));
}

#[tokio::test]
async fn amount_and_order_must_be_what_was_authenticated() {
    let toss = Server::start().await;
    let (_, session) =
        toss.post("/sandbox/sessions", json!({ "order_id": "order-0001", "amount": 100 })).await;
    let key = session["payment_key"].as_str().unwrap();
    assert_eq!(refusal(&toss.confirm(key, "order-0001", 99).await), (400, "INVALID_REQUEST"));
    assert_eq!(refusal(&toss.confirm(key, "order-0002", 100).await), (400, "INVALID_REQUEST"));
    assert_eq!(toss.confirm(key, "order-0001", 100).await.0, 200);
}

#[tokio::test]
async fn a_bad_confirm_is_an_invalid_request() {
    let toss = Server::start().await;
    let long = format!("tviva_{}", "k".repeat(195));
    for (key, order_id, amount) in [
        (long.as_str(), "order-0001", 100),
        ("tviva_1", "short", 100),
        ("tviva_1", &"o".repeat(65), 100),
        ("tviva_1", "order 0001", 100),
        ("tviva_1", "order-0001", 0),
        ("", "order-0001", 100),
    ] {
        let refused = toss.confirm(key, order_id, amount).await;
        assert_eq!(refusal(&refused), (400, "INVALID_REQUEST"), "{key} {order_id} {amount}");
    }
    let shapeless = toss.post("/v1/payments/confirm", json!({ "paymentKey": 3 })).await;
    assert_eq!(refusal(&shapeless), (400, "INVALID_REQUEST"));
    assert_eq!(toss.confirm(&long[..200], &"o".repeat(64), 100).await.0, 200);
}

#[tokio::test]
async fn authentication_is_the_secret_key_and_a_colon() {
    let toss = Server::start().await;
    let url = format!("{}/v1/payments/tviva_1", toss.base);
    let with = |value: &str| toss.http.get(&url).header("authorization", value);
    assert_eq!(refusal(&reply(toss.http.get(&url)).await), (401, "UNAUTHORIZED_KEY"));
    let unknown = toss.http.get(&url).basic_auth("test_sk_other", Some(""));
    assert_eq!(refusal(&reply(unknown).await), (401, "UNAUTHORIZED_KEY"));
    let client_key = toss.http.get(&url).basic_auth("test_ck_amends", Some(""));
    assert_eq!(refusal(&reply(client_key).await), (400, "INVALID_API_KEY"));
    // base64("test_sk_amends"), without the colon.
    let no_colon = with("Basic dGVzdF9za19hbWVuZHM=");
    assert_eq!(refusal(&reply(no_colon).await), (403, "INCORRECT_BASIC_AUTH_FORMAT"));
    assert_eq!(refusal(&reply(with("Bearer x")).await), (403, "INCORRECT_BASIC_AUTH_FORMAT"));
}

#[tokio::test]
async fn magic_keys_choose_their_refusal() {
    let toss = Server::start().await;
    for (key, status, code, after) in [
        ("tviva_reject_card_1", 403, "REJECT_CARD_COMPANY", "ABORTED"),
        ("tviva_reject_limit_1", 403, "REJECT_CARD_PAYMENT", "ABORTED"),
        ("tviva_reject_account_1", 403, "REJECT_ACCOUNT_PAYMENT", "ABORTED"),
        ("tviva_expired_1", 404, "NOT_FOUND_PAYMENT_SESSION", "EXPIRED"),
    ] {
        assert_eq!(refusal(&toss.confirm(key, "order-0001", 100).await), (status, code));
        let (_, payment) = toss.inquire(key).await;
        assert_eq!((&payment["status"], &payment["failure"]["code"]), (&json!(after), &json!(code)));
    }
    assert_eq!(toss.totals("order-0001").await, (0, 0));
}

#[tokio::test]
async fn transactions_are_listed_by_time_and_paged() {
    let toss = Server::start().await;
    for number in 1..=3 {
        toss.confirm(&format!("tviva_{number}"), "order-0001", 100).await;
    }
    toss.cancel("tviva_2", json!({ "cancelReason": "changed mind" })).await;
    let path = "/v1/transactions?startDate=2020-01-01T00:00:00&endDate=2099-01-01T00:00:00";
    let (_, all) = toss.get(path).await;
    let kinds: Vec<_> = all.as_array().unwrap().iter().map(|it| (&it["paymentKey"], &it["status"])).collect();
    assert_eq!(kinds.len(), 4);
    assert_eq!(kinds[3], (&json!("tviva_2"), &json!("CANCELED")));
    let after = all[0]["transactionKey"].as_str().unwrap();
    let (_, page) = toss.get(&format!("{path}&startingAfter={after}&limit=2")).await;
    assert_eq!(page.as_array().unwrap()[..], all.as_array().unwrap()[1..3]);
    let (_, none) =
        toss.get("/v1/transactions?startDate=2020-01-01T00:00:00&endDate=2020-01-02T00:00:00").await;
    assert_eq!(none, json!([]));
    assert_eq!(refusal(&toss.get("/v1/transactions").await), (400, "INVALID_REQUEST"));
}
