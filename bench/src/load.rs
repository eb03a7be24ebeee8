//! Orders for the shipped definition, with N in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

/// What is ordered, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// The API, such as `http://127.0.0.1:8080`.
    pub api_url: String,
    /// How many orders.
    pub orders: u64,
    /// How many at once.
    pub in_flight: usize,
    /// The stock-keeping units, ordered in turn.
    pub skus: Vec<String>,
    /// Every n-th card is rejected; 0 for none.
    pub reject_every: u64,
    /// Makes order ids unique between runs.
    pub stem: String,
    /// How long one order may be tried, counting restarts of the API.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// Orders whose start was acknowledged, with their sagas.
    pub acknowledged: Vec<(String, String)>,
    /// Orders that were never acknowledged within the patience.
    pub refused: Vec<String>,
    /// Requests that failed and were repeated.
    pub repeats: u64,
    /// How long it took.
    pub took: Duration,
}

/// The body of one order.
pub fn order(load: &Load, n: u64) -> (String, Value) {
    let id = format!("{}-{n:06}", load.stem);
    let sku = &load.skus[usize::try_from(n).unwrap_or(0) % load.skus.len()];
    let rejected = load.reject_every != 0 && n % load.reject_every == load.reject_every - 1;
    let fate = if rejected { "reject_card_company" } else { "ok" };
    let quantity = n % 3 + 1;
    let amount = quantity * 1_000;
    let body = json!({
        "order_id": id,
        "customer_id": format!("customer-{}", n % 97),
        "items": [{ "sku": sku, "quantity": quantity, "unit_price": 1_000 }],
        "payment": { "payment_key": format!("tviva_{fate}_{id}"), "amount": amount },
    });
    (id, body)
}

/// Places all orders. A request that fails is repeated with the same key, so that nothing is ordered twice
/// and nothing is given up because the API was restarted.
///
/// # Panics
/// Never; what fails is in the result.
pub async fn place(load: &Load) -> Placed {
    crate::install_tls();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap_or_default();
    let (client, repeats) = (Arc::new(client), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let outcomes: Vec<_> = futures::stream::iter(0..load.orders)
        .map(|n| {
            let (client, repeats) = (Arc::clone(&client), Arc::clone(&repeats));
            async move { place_one(&client, load, n, &repeats).await }
        })
        .buffer_unordered(load.in_flight.max(1))
        .collect()
        .await;
    let mut placed =
        Placed { took: started.elapsed(), repeats: repeats.load(Ordering::Relaxed), ..Placed::default() };
    for outcome in outcomes {
        match outcome {
            Ok(pair) => placed.acknowledged.push(pair),
            Err(id) => placed.refused.push(id),
        }
    }
    placed
}

async fn place_one(
    client: &reqwest::Client,
    load: &Load,
    n: u64,
    repeats: &AtomicU64,
) -> Result<(String, String), String> {
    let (id, body) = order(load, n);
    let until = Instant::now() + load.patience;
    loop {
        let request =
            client.post(format!("{}/orders", load.api_url)).header("Idempotency-Key", &id).json(&body);
        if let Ok(response) = request.send().await
            && response.status().is_success()
            && let Ok(answer) = response.json::<Value>().await
            && let Some(saga) = answer.get("saga").and_then(Value::as_str)
        {
            return Ok((id, saga.to_owned()));
        }
        if Instant::now() > until {
            return Err(id);
        }
        repeats.fetch_add(1, Ordering::Relaxed);
        // The pause between two tries of a client; what it waits for is the API's restart.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
