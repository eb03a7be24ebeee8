//! Orders without a pause: so many in flight until told to stop, each repeated with its key until it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench::load::{Load, order};
use serde_json::Value;
use tokio::task::JoinSet;

/// The pause between two tries of a client.
const AGAIN: Duration = Duration::from_millis(100);

/// Orders that keep coming.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    clients: JoinSet<()>,
    /// Orders of this much patience that had not ended by then.
    late: Arc<AtomicU64>,
}

impl Traffic {
    /// Begins to order: `load.in_flight` clients, until [`Traffic::stop`]. `load.orders` does not count.
    pub fn start(load: Load) -> Self {
        let load = Arc::new(load);
        let (stop, ended, late) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let next = Arc::new(AtomicU64::new(0));
        let client = client();
        let mut clients = JoinSet::new();
        for _ in 0..load.in_flight {
            let (load, client, next) = (Arc::clone(&load), client.clone(), Arc::clone(&next));
            let (stop, ended, late) = (Arc::clone(&stop), Arc::clone(&ended), Arc::clone(&late));
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let count = if ends(&client, &load, n).await { &ended } else { &late };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, ended, clients, late }
    }

    /// How many have ended so far.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until so many more have ended.
    pub async fn more(&self, count: u64) {
        let until = self.ended() + count;
        test_support::eventually("orders come through", 300_000, async || self.ended() >= until).await;
    }

    /// Orders no more, and waits for those in flight. Returns how many orders there were.
    ///
    /// # Panics
    /// When one had not ended within its patience.
    pub async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client does not panic");
        }
        assert_eq!(self.late.load(Ordering::Relaxed), 0, "orders did not end in time");
        self.ended()
    }
}

/// How long an order that is placed now takes to its end: tried again and again, as a client does.
pub async fn probe(load: &Load, n: u64) -> Duration {
    let began = Instant::now();
    assert!(ends(&client(), load, n).await, "a probe did not end within {:?}", load.patience);
    began.elapsed()
}

fn client() -> reqwest::Client {
    bench::install_tls();
    // Shorter than the wait that is asked for would be: a frozen server must not hold a client for ever.
    reqwest::Client::builder().timeout(Duration::from_secs(8)).build().unwrap_or_default()
}

/// Places an order and waits for its end, within the load's patience.
async fn ends(client: &reqwest::Client, load: &Load, n: u64) -> bool {
    let (id, body) = order(load, n);
    let until = Instant::now() + load.patience;
    while Instant::now() < until {
        let request = client
            .post(format!("{}/orders", load.api_url))
            .header("Idempotency-Key", &id)
            .header("Prefer", "wait=5")
            .json(&body);
        if let Ok(response) = request.send().await
            && response.status().is_success()
            && let Ok(answer) = response.json::<Value>().await
            && matches!(answer.get("status").and_then(Value::as_str), Some("completed" | "compensated"))
        {
            return true;
        }
        tokio::time::sleep(AGAIN).await;
    }
    false
}
