//! What `amends dev` shows: a small catalogue, three orders by real HTTP, and whether they ended as they should.
//!
//! It asks from outside, like any client, and checks what it was told against the workers' books and the
//! outside world's own ledger.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::places::Urls;
use crate::api::view::{SagaView, Started};
use crate::cli::client::{Client, Sent};
use crate::cli::exit::Failure;

/// How long the parts may take until they answer.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// How long an order may take: far longer than it does, also on a busy machine.
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// What is on the shelf at first: SKU and units.
const CATALOGUE: [(&str, i64); 4] =
    [("tea-sejak-50g", 10_000), ("cup-celadon", 10_000), ("kettle-iron", 1_000), ("moon-jar", 0)];
/// Sold out demo goods would tell another story.
const AVAILABLE_MIN: i64 = 100;

/// One of the orders, and how it is to end.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it shows.
    pub title: &'static str,
    /// Its SKU and units.
    item: (&'static str, i64),
    /// The price of a unit, in won.
    unit_price: i64,
    /// What its payment key says the card does.
    card: &'static str,
    /// The saga's end.
    status: &'static str,
    /// The step that fails, and its code.
    failure: Option<(&'static str, &'static str)>,
}

/// The three orders.
pub const ORDERS: [Order; 3] = [
    Order {
        title: "A card that works",
        item: ("cup-celadon", 2),
        unit_price: 19_500,
        card: "ok",
        status: "completed",
        failure: None,
    },
    Order {
        title: "A card that is rejected: what was done is undone",
        item: ("tea-sejak-50g", 1),
        unit_price: 28_000,
        card: "reject_card",
        status: "compensated",
        failure: Some(("pay", "REJECT_CARD_COMPANY")),
    },
    Order {
        title: "Out of stock: the card is never charged",
        item: ("moon-jar", 1),
        unit_price: 480_000,
        card: "ok",
        status: "compensated",
        failure: Some(("reserve_stock", "out_of_stock")),
    },
];

/// An order that ended, and what is wrong with that.
#[derive(Debug)]
pub struct Ended {
    /// The saga.
    pub saga: SagaView,
    /// What is not as it should be.
    pub wrong: Vec<String>,
}

/// Waits until every part answers.
///
/// # Errors
/// When one does not within a bound; the message says which, and what it said last.
pub async fn until_ready(urls: &Urls) -> anyhow::Result<()> {
    let parts = [
        ("the API", &urls.api, "/readyz"),
        ("order", &urls.order, "/healthz"),
        ("stock", &urls.stock, "/healthz"),
        ("payment", &urls.payment, "/healthz"),
        ("notify", &urls.notify, "/healthz"),
        ("http", &urls.http, "/healthz"),
        ("the Toss sandbox", &urls.sandbox, "/healthz"),
    ];
    for (name, url, path) in parts {
        let client = Client::new(url).map_err(fail)?;
        let until = Instant::now() + READY_TIMEOUT;
        while let Err(failure) = client.get::<Value>(path).await {
            if Instant::now() >= until {
                bail!("{name} is not ready after {} s: {failure}", READY_TIMEOUT.as_secs());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Puts the catalogue on the shelf: new SKUs are counted in, and what ran low is filled up. What was sold stays
/// in the books.
///
/// # Errors
/// When the stock worker does not answer.
pub async fn seed(urls: &Urls) -> anyhow::Result<()> {
    let client = Client::new(&urls.stock).map_err(fail)?;
    for (sku, units) in CATALOGUE {
        let path = format!("/stock/{sku}");
        let on_hand = match client.get::<Value>(&path).await {
            Err(failure) if failure.problem.as_ref().is_some_and(|it| it.status == 404) => units,
            Err(failure) => return Err(fail(failure)),
            Ok(book) => {
                let (available, on_hand) = (book["available"].as_i64(), book["on_hand"].as_i64());
                match available.zip(on_hand) {
                    Some((available, on_hand)) if units > 0 && available < AVAILABLE_MIN => on_hand + units,
                    _ => continue,
                }
            }
        };
        let body = json!({ "on_hand": on_hand }).to_string();
        let _: Value =
            client.send(Method::PUT, &path, &[], Sent::Json(body.as_bytes())).await.map_err(fail)?;
    }
    Ok(())
}

impl Order {
    /// The body of `POST /orders`. `run` makes the ids unique.
    fn body(&self, order_id: &str) -> Value {
        let (sku, quantity) = self.item;
        json!({
            "order_id": order_id,
            "customer_id": "customer-demo",
            "items": [{ "sku": sku, "quantity": quantity, "unit_price": self.unit_price }],
            "payment": { "payment_key": format!("tviva_{}_{order_id}", self.card), "amount": quantity * self.unit_price },
        })
    }

    /// Places the order and waits for its end.
    ///
    /// # Errors
    /// When the API refuses it or the saga does not end within a bound.
    pub async fn place(&self, urls: &Urls, order_id: &str) -> anyhow::Result<Ended> {
        let client = Client::new(&urls.api).map_err(fail)?;
        let body = self.body(order_id).to_string();
        let headers = [("idempotency-key", order_id.to_owned()), ("prefer", "wait=30".to_owned())];
        let started: Started = client
            .send(Method::POST, "/orders", &headers, Sent::Json(body.as_bytes()))
            .await
            .map_err(fail)?;
        let until = Instant::now() + ORDER_TIMEOUT;
        loop {
            let saga = client.saga(started.saga).await.map_err(fail)?;
            if saga.summary.ended_at.is_some() {
                let wrong = self.judge(urls, order_id, &saga).await?;
                return Ok(Ended { saga, wrong });
            }
            let parked = saga.parked.as_ref().map(|it| it.message.clone());
            if parked.is_some() || Instant::now() >= until {
                let why =
                    parked.unwrap_or_else(|| format!("it did not end within {} s", ORDER_TIMEOUT.as_secs()));
                return Ok(Ended { saga, wrong: vec![why] });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the saga, the order's books and the ledger say, against what they should.
    async fn judge(&self, urls: &Urls, order_id: &str, saga: &SagaView) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut check = |what: &str, found: String, wanted: String| {
            if found != wanted {
                wrong.push(format!("{what} is {found}, not {wanted}"));
            }
        };
        check("the saga", saga.summary.status.clone(), self.status.to_owned());
        let failure = saga
            .summary
            .error
            .as_ref()
            .map(|it| format!("{} {}", it.step.as_deref().unwrap_or("-"), it.code));
        let wanted = self.failure.map(|(step, code)| format!("{step} {code}"));
        check("the failure", format!("{failure:?}"), format!("{wanted:?}"));

        let completed = self.status == "completed";
        let order: Value = ask(&urls.order, &format!("/orders/{order_id}")).await?;
        let order_wanted = if completed { "completed" } else { "cancelled" };
        check("the order", text(&order["status"]), order_wanted.to_owned());
        let ledger: Value = ask(&urls.sandbox, &format!("/sandbox/ledger/orders/{order_id}")).await?;
        let kept =
            ledger["captured"].as_i64().unwrap_or_default() - ledger["refunded"].as_i64().unwrap_or_default();
        let price = if completed { self.item.1 * self.unit_price } else { 0 };
        check("the money that Toss keeps for the shop", kept.to_string(), price.to_string());
        Ok(wrong)
    }
}

async fn ask(url: &str, path: &str) -> anyhow::Result<Value> {
    let client = Client::new(url).map_err(fail)?;
    client.get(path).await.map_err(fail).with_context(|| format!("asking {url}{path}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("nothing").to_owned()
}

fn fail(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!(failure.message)
}

/// Ids of one run's orders: unique, short, and in order of time.
pub fn order_ids() -> [String; 3] {
    let run = chrono::Utc::now().timestamp_millis();
    [1, 2, 3].map(|number| format!("demo-{run}-{number}"))
}
