//! The client over real HTTP: what is sent, what is read, what every kind of trouble becomes.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use toss_sandbox::DEFAULT_SECRET_KEY;
use worker_payment::toss::{
    CancelRequest, Class, ConfirmRequest, RefundAccount, SecretKey, Status, TossError,
};

use crate::support::{Toss, client, key, order};

fn confirm(payment_key: &str, order_id: &str, amount: i64) -> ConfirmRequest {
    ConfirmRequest { payment_key: payment_key.to_owned(), order_id: order_id.to_owned(), amount }
}

fn reason() -> CancelRequest {
    CancelRequest { cancel_reason: "out of stock".to_owned(), ..CancelRequest::default() }
}

fn refused(result: Result<worker_payment::toss::Payment, TossError>) -> (u16, String, Class) {
    match result {
        Err(TossError::Refused(refusal)) => (refusal.status, refusal.code, refusal.class),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn confirms_inquires_cancels_and_lists() {
    let toss = Toss::start().await;
    let (key, order) = (key("ok"), order());
    assert_eq!(toss.client.payment(&key).await.unwrap(), None);
    let payment = toss.client.confirm(&confirm(&key, &order, 15_000), "x1", || true).await.unwrap();
    assert_eq!(
        (payment.status, payment.total_amount, payment.order_id.as_str()),
        (Status::Done, 15_000, &*order)
    );
    assert_eq!(toss.client.payment(&key).await.unwrap().unwrap(), payment);
    assert_eq!(toss.client.payment_of_order(&order).await.unwrap().unwrap(), payment);
    let part = CancelRequest { cancel_amount: Some(5_000), refundable_amount: Some(15_000), ..reason() };
    let payment = toss.client.cancel(&key, &part, "c1", || true).await.unwrap();
    assert_eq!((payment.status, payment.balance_amount), (Status::PartialCanceled, 10_000));
    let payment = toss.client.cancel(&key, &reason(), "c2", || true).await.unwrap();
    assert_eq!((payment.refunded_amount(), payment.cancels().len()), (15_000, 2));
    let span = ("2020-01-01T00:00:00", "2099-01-01T00:00:00");
    let all = toss.client.transactions(span.0, span.1, None, 100).await.unwrap();
    assert_eq!(all.len(), 3);
    let rest = toss.client.transactions(span.0, span.1, Some(&all[0].transaction_key), 1).await.unwrap();
    assert_eq!(rest, all[1..2]);
}

#[tokio::test]
async fn a_refund_account_reaches_the_vendor() {
    let toss = Toss::start().await;
    let (key, order) = (key("virtual"), order());
    toss.client.confirm(&confirm(&key, &order, 100), "x1", || true).await.unwrap();
    toss.dev(reqwest::Method::POST, "deposits", Some(json!({ "order_id": order }))).await;
    let without = toss.client.cancel(&key, &reason(), "c1", || true).await;
    assert_eq!(refused(without).1, "INVALID_REFUND_ACCOUNT_INFO");
    let account = RefundAccount {
        bank: "20".to_owned(),
        account_number: "1234567890".to_owned(),
        holder_name: "김".to_owned(),
    };
    let request = CancelRequest { refund_receive_account: Some(account), ..reason() };
    let payment = toss.client.cancel(&key, &request, "c2", || true).await.unwrap();
    assert_eq!(payment.status, Status::Canceled);
}

#[tokio::test]
async fn the_idempotency_key_is_sent_on_every_post() {
    let toss = Toss::start().await;
    let (key, order) = (key("ok"), order());
    let request = confirm(&key, &order, 100);
    let first = toss.client.confirm(&request, "x1", || true).await.unwrap();
    assert_eq!(toss.client.confirm(&request, "x1", || true).await.unwrap(), first);
    let other = toss.client.confirm(&request, "x2", || true).await;
    assert_eq!(refused(other).1, "ALREADY_PROCESSED_PAYMENT");
    let part = CancelRequest { cancel_amount: Some(30), ..reason() };
    for _ in 0..2 {
        toss.client.cancel(&key, &part, "c1", || true).await.unwrap();
    }
    assert_eq!(toss.totals(&order).await, (100, 30));
}

#[tokio::test]
async fn too_late_sends_nothing() {
    let toss = Toss::start().await;
    let (key, order) = (key("ok"), order());
    let late = toss.client.confirm(&confirm(&key, &order, 100), "x1", || false).await;
    assert!(matches!(late, Err(TossError::TooLate)), "{late:?}");
    assert_eq!(toss.client.payment(&key).await.unwrap(), None);
    toss.client.confirm(&confirm(&key, &order, 100), "x1", || true).await.unwrap();
    let late = toss.client.cancel(&key, &reason(), "c1", || false).await;
    assert!(matches!(late, Err(TossError::TooLate)), "{late:?}");
    assert_eq!(toss.totals(&order).await, (100, 0));
}

#[tokio::test]
async fn wrong_keys_are_configuration() {
    let toss = Toss::start().await;
    for (secret, code) in [("test_sk_wrong", "UNAUTHORIZED_KEY"), ("test_ck_client", "INVALID_API_KEY")] {
        let client = client(&toss.base, secret, 10_000);
        let answer = client.confirm(&confirm(&key("ok"), &order(), 100), "x1", || true).await;
        let (_, found, class) = refused(answer);
        assert_eq!((found.as_str(), class), (code, Class::Configuration));
    }
}

#[tokio::test]
async fn no_connection_is_not_sent() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let answer = client(&base, DEFAULT_SECRET_KEY, 5_000).payment("k").await;
    assert!(matches!(answer, Err(TossError::NotSent(_))), "{answer:?}");
}

#[tokio::test]
async fn lost_and_late_answers_are_unknown_never_not_sent() {
    let toss = Toss::start().await;
    let lost = toss.client.confirm(&confirm(&key("lost_answer"), &order(), 100), "x1", || true).await;
    assert_eq!(lost.as_ref().unwrap_err().code(), "toss_no_answer", "{lost:?}");
    let hasty = client(&toss.base, DEFAULT_SECRET_KEY, 1_500);
    let order = order();
    let late = hasty.confirm(&confirm(&key("hang_answer"), &order, 100), "x2", || true).await;
    assert_eq!(late.as_ref().unwrap_err().code(), "toss_timeout", "{late:?}");
    assert_eq!(toss.totals(&order).await, (100, 0));
}

#[tokio::test]
async fn a_busy_key_is_passing() {
    let toss = Toss::start().await;
    let (key, order) = (key("ok"), order());
    toss.fault(json!({ "payment_key": key, "fault": { "hold": true } })).await;
    let request = confirm(&key, &order, 100);
    let (first, second) = tokio::join!(toss.client.confirm(&request, "x1", || true), async {
        test_support::eventually("the first is held", 10_000, async || {
            toss.dev(reqwest::Method::GET, "held", None).await["held"] == 1
        })
        .await;
        let second = toss.client.confirm(&request, "x1", || true).await;
        toss.dev(reqwest::Method::POST, "release", None).await;
        second
    });
    let (status, code, class) = refused(second);
    assert_eq!((status, code.as_str(), class), (409, "IDEMPOTENT_REQUEST_PROCESSING", Class::Passing));
    assert_eq!(first.unwrap().status, Status::Done);
}

#[test]
fn the_secret_key_does_not_show_itself() {
    let key = SecretKey::new("live_sk_precious");
    assert!(!format!("{key:?}").contains("precious"));
    let client = client("http://127.0.0.1:1", "live_sk_precious", 1);
    assert!(!format!("{client:?}").contains("precious"));
}

/// A server that answers as it is told, and tells what it was asked.
async fn scripted(
    status: u16,
    body: &'static str,
) -> (String, mpsc::UnboundedReceiver<(Uri, HeaderMap, Bytes)>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = mpsc::unbounded_channel();
    let answer = move |State(tell): State<mpsc::UnboundedSender<_>>,
                       uri: Uri,
                       headers: HeaderMap,
                       bytes: Bytes| async move {
        tell.send((uri, headers, bytes)).unwrap();
        (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], body)
    };
    let app = axum::Router::new().fallback(answer).with_state(tell);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (base, asked)
}

#[tokio::test]
async fn a_request_is_what_the_vendor_documents() {
    let (base, mut asked) = scripted(200, "{}").await;
    let client = client(&base, "test_sk_a", 5_000);
    let request = confirm("k", "order-1", 100);
    assert!(client.confirm(&request, "saga:pay:x1", || true).await.is_err(), "an empty object is no payment");
    let (uri, headers, body) = asked.recv().await.unwrap();
    assert_eq!(uri.path(), "/v1/payments/confirm");
    assert_eq!(headers["idempotency-key"], "saga:pay:x1");
    // base64("test_sk_a:")
    assert_eq!(headers["authorization"], "Basic dGVzdF9za19hOg==");
    assert_eq!(headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({ "paymentKey": "k", "orderId": "order-1", "amount": 100 }));

    let _ = client.cancel("a/b?c#d e%", &reason(), "c1", || true).await;
    let (uri, _, body) = asked.recv().await.unwrap();
    assert_eq!(uri.path(), "/v1/payments/a%2Fb%3Fc%23d%20e%25/cancel");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({ "cancelReason": "out of stock" }), "absent means everything");
}

#[tokio::test]
async fn answers_that_are_not_the_vendors_are_unreadable() {
    for (status, body) in [
        (200, "<html>"),
        (200, r#"{"paymentKey":"k"}"#),
        (302, ""),
        (403, "<html>blocked by a firewall</html>"),
        (502, "bad gateway"),
    ] {
        let (base, mut asked) = scripted(status, body).await;
        let client = client(&base, DEFAULT_SECRET_KEY, 5_000);
        let answer = client.confirm(&confirm("k", "order-1", 1), "x1", || true).await;
        assert!(matches!(answer, Err(TossError::Unreadable { .. })), "{status} {body}: {answer:?}");
        asked.recv().await.unwrap();
        assert!(asked.try_recv().is_err(), "a redirect is not followed");
    }
}
