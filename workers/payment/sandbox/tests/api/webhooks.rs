//! Webhooks: their two shapes, their transmission id, their retries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use toss_sandbox::SandboxConfig;

use crate::support::Server;

struct Shop {
    url: String,
    notices: mpsc::UnboundedReceiver<(HeaderMap, Value)>,
}

impl Shop {
    /// A receiver that answers 500 to the first `failures` deliveries.
    async fn start(failures: u32) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (tell, notices) = mpsc::unbounded_channel();
        let left = Arc::new(AtomicU32::new(failures));
        let take = move |headers: HeaderMap, Json(body): Json<Value>| async move {
            tell.send((headers, body)).unwrap();
            let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1)).is_ok();
            if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
        };
        let app = axum::Router::new().route("/hook", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, notices }
    }

    async fn next(&mut self) -> (HeaderMap, Value) {
        tokio::time::timeout(Duration::from_secs(10), self.notices.recv()).await.expect("a webhook").unwrap()
    }
}

async fn sandbox(shop: &Shop) -> Server {
    let webhook_url = Some(shop.url.clone());
    Server::start_with(SandboxConfig { webhook_url, webhook_minute_ms: 10, ..SandboxConfig::default() }).await
}

fn id(headers: &HeaderMap) -> String {
    headers["tosspayments-webhook-transmission-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_status_change_tells_the_whole_payment_without_a_signature() {
    let mut shop = Shop::start(0).await;
    let toss = sandbox(&shop).await;
    let (_, payment) = toss.confirm("tviva_1", "order-0001", 100).await;
    let (headers, body) = shop.next().await;
    assert_eq!(body["eventType"], "PAYMENT_STATUS_CHANGED");
    assert_eq!(body["data"], payment);
    assert_eq!(headers["tosspayments-webhook-transmission-retried-count"], "0");
    assert!(!headers.keys().any(|name| name.as_str().contains("signature")));
}

#[tokio::test]
async fn a_delivery_is_repeated_with_its_id_until_it_is_taken() {
    let mut shop = Shop::start(2).await;
    let toss = sandbox(&shop).await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    let first = shop.next().await;
    for retried in ["1", "2"] {
        let (headers, body) = shop.next().await;
        assert_eq!((id(&headers), &body), (id(&first.0), &first.1));
        assert_eq!(headers["tosspayments-webhook-transmission-retried-count"], retried);
    }
    // What comes next is another notice: the third delivery was taken.
    toss.cancel("tviva_1", json!({ "cancelReason": "r" })).await;
    let (headers, body) = shop.next().await;
    assert_eq!(body["data"]["status"], "CANCELED");
    assert_ne!(id(&headers), id(&first.0));
}

#[tokio::test]
async fn a_deposit_is_told_without_the_payments_key() {
    let mut shop = Shop::start(0).await;
    let toss = sandbox(&shop).await;
    let (_, payment) = toss.confirm("tviva_virtual_1", "order-0001", 100).await;
    shop.next().await;
    toss.post("/sandbox/deposits", json!({ "order_id": "order-0001" })).await;
    let (one, two) = (shop.next().await.1, shop.next().await.1);
    let deposit = if one.get("eventType").is_none() { one } else { two };
    assert_eq!((&deposit["orderId"], &deposit["status"]), (&json!("order-0001"), &json!("DONE")));
    assert_eq!(deposit["secret"], payment["secret"]);
    assert!(deposit.get("paymentKey").is_none() && deposit.get("eventType").is_none());
}

#[tokio::test]
async fn a_notice_can_come_twice_with_one_id() {
    let mut shop = Shop::start(0).await;
    let toss = sandbox(&shop).await;
    toss.fault(json!({ "fault": { "webhook_twice": true } })).await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    let (one, two) = (shop.next().await, shop.next().await);
    assert_eq!((id(&one.0), one.1), (id(&two.0), two.1));
}
