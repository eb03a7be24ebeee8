//! An incident and its end: Toss refuses every card, many orders are parked and as many undone; then it is mended, and two
//! bulk jobs bring them home while the engine dies on the way. (While Toss does not answer at all nothing is parked: the
//! payment worker's breaker holds payments back, and they go on by themselves.)

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{eventually, until_some};

use crate::shop::Shop;

/// How the checkout tries payment.
const PAY: &str = "retry: { attempts: 8, initial: 500ms, max: 15s }";
const IN_FLIGHT: usize = 32;

struct Incident<'a> {
    shop: &'a mut Shop,
    http: reqwest::Client,
    sagas: usize,
    began: Instant,
}

/// Lets it happen with so many sagas of each kind, and tells how far it is.
///
/// # Errors
/// When the definition cannot be read, or a server does not answer.
///
/// # Panics
/// When a saga is lost, does not come home, or the books do not balance.
pub async fn run(shop: &mut Shop, sagas: usize) -> anyhow::Result<()> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../saga-defs/order-checkout.yaml");
    let checkout = std::fs::read_to_string(source)?;
    anyhow::ensure!(checkout.contains(PAY), "{source} tries payment otherwise than `{PAY}`");
    for (name, then) in [("held-orders", "park"), ("undone-orders", "compensate")] {
        let definition = checkout
            .replace("saga: order-checkout", &format!("saga: {name}"))
            .replace("path: /orders", &format!("path: /{name}"))
            .replace("deadline: 10m", "deadline: 24h")
            .replace(PAY, &format!("{PAY}\n    on_rejected: {then}"));
        shop.publish(&definition);
    }
    let mut incident = Incident { shop, http: reqwest::Client::new(), sagas, began: Instant::now() };
    incident.outage().await?;
    let retry = incident.retry_is_stopped_by_its_canary().await?;
    incident.is_mended().await?;
    incident.parked_come_home(retry).await?;
    incident.undone_come_home().await?;
    incident.shop.everything_ends().await;
    let report = incident.shop.balance().await;
    let sagas = i64::try_from(sagas)?;
    assert_eq!((report.sagas["completed"], report.sagas["compensated"]), (2 * sagas, sagas));
    assert_eq!((report.orders["completed"], report.orders["cancelled"]), (2 * sagas, sagas));
    incident.tell(&format!(
        "every saga is accounted for once; by Toss's own ledger the books balance: {} captured, {} refunded",
        report.captured, report.refunded
    ));
    Ok(())
}

impl Incident<'_> {
    fn tell(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Asks the engine.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.shop.url("orchestrator"));
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.json::<Value>().await?);
        anyhow::ensure!(status.is_success(), "{path}: {status}: {body}");
        Ok(body)
    }

    async fn counted(&self, definition: &str, status: &str) -> Option<usize> {
        let path = format!("/ops/counts?definition={definition}");
        let counts = self.ask(Method::GET, &path, None).await.ok()?;
        usize::try_from(counts["by_status"][status]["count"].as_u64()?).ok()
    }

    /// How long so many sagas may take on a machine that does other things as well, in ms.
    fn patience_ms(&self) -> u64 {
        180_000 + 100 * self.sagas as u64
    }

    /// Sagas a second: a few seconds at least, so that there is a middle to die in.
    fn rate(&self) -> usize {
        (self.sagas / 5).clamp(1, 200)
    }

    async fn until_counted(&self, definition: &str, status: &str) {
        eventually(&format!("all {definition} are {status}"), self.patience_ms(), async || {
            self.counted(definition, status).await == Some(self.sagas)
        })
        .await;
    }

    async fn outage(&self) -> anyhow::Result<()> {
        let rule = json!({ "operation": "confirm", "fault": { "error": "REJECT_CARD_COMPANY" } });
        let faults = format!("{}/sandbox/faults", self.shop.url("sandbox"));
        self.http.post(faults).json(&rule).send().await?.error_for_status()?;
        for path in ["held-orders", "undone-orders"] {
            let mut placed = futures::stream::iter(0..self.sagas)
                .map(|n| async move {
                    let id = format!("{path}-{n:05}");
                    let body = json!({
                        "order_id": id,
                        "customer_id": format!("customer-{}", n % 97),
                        "items": [{ "sku": "apple", "quantity": n % 3 + 1, "unit_price": 1_000 }],
                        "payment": { "payment_key": format!("tviva_ok_{id}"), "amount": (n % 3 + 1) * 1_000 },
                    });
                    self.ask(Method::POST, &format!("/{path}"), Some(&body)).await
                })
                .buffer_unordered(IN_FLIGHT);
            while let Some(started) = placed.next().await {
                started?;
            }
        }
        self.until_counted("held-orders", "parked").await;
        self.until_counted("undone-orders", "compensated").await;
        self.tell(&format!("Toss refuses every card: {0} sagas parked, {0} compensated", self.sagas));
        Ok(())
    }

    async fn begin(&self, job: &Value) -> anyhow::Result<String> {
        let preview = self.ask(Method::POST, "/ops/jobs/preview", Some(job)).await?;
        assert_eq!(preview["sagas"], json!(self.sagas), "{preview}");
        let made = self.ask(Method::POST, "/ops/jobs", Some(job)).await?;
        Ok(format!("/ops/jobs/{}", made["id"].as_str().context("the job's id")?))
    }

    async fn job_is(&self, job: &str, state: &str) -> Value {
        until_some(&format!("the job is {state}"), self.patience_ms(), async || {
            let it = self.ask(Method::GET, job, None).await.ok()?;
            (it["state"] == state).then_some(it)
        })
        .await
    }

    /// While Toss refuses every card, a canary says so, and nothing else is touched.
    async fn retry_is_stopped_by_its_canary(&self) -> anyhow::Result<String> {
        let retry = json!({ "kind": "action", "action": "retry", "filter": "definition=held-orders&status=parked",
            "why": "after the incident", "canary": 5, "rate_per_s": self.rate() });
        let job = self.begin(&retry).await?;
        let stopped = self.job_is(&job, "stopped").await;
        let counts = (&stopped["counts"]["failed_again"], &stopped["counts"]["waiting"]);
        assert_eq!(counts, (&json!(5), &json!(self.sagas - 5)), "{stopped}");
        self.tell(&format!("the bulk retry's canary has stopped it: {}", stopped["stopped_because"]));
        Ok(job)
    }

    async fn is_mended(&self) -> anyhow::Result<()> {
        let faults = format!("{}/sandbox/faults", self.shop.url("sandbox"));
        self.http.delete(faults).send().await?.error_for_status()?;
        Ok(())
    }

    /// Kills the engine once so many are done, and starts it again.
    async fn dies_in_the_middle_of(&mut self, job: &str) {
        let state = until_some("some are done", self.patience_ms(), async || {
            let it = self.ask(Method::GET, job, None).await.unwrap_or_default();
            (it["counts"]["succeeded"].as_u64()? >= 5).then(|| it["state"].clone())
        })
        .await;
        self.shop.kill("orchestrator");
        assert_ne!(state, "done", "too few sagas for a death in their middle");
        self.shop.start_again("orchestrator").await;
    }

    async fn parked_come_home(&mut self, job: String) -> anyhow::Result<()> {
        let why = json!({ "why": "Toss works again" });
        self.ask(Method::POST, &format!("{job}/resume"), Some(&why)).await?;
        self.dies_in_the_middle_of(&job).await;
        let done = self.job_is(&job, "done").await;
        // Those of the canary that failed are the next job's.
        assert_eq!(done["counts"]["succeeded"], json!(self.sagas - 5), "{done}");
        let rest = json!({ "kind": "action", "action": "retry", "filter": "definition=held-orders&status=parked",
            "why": "after the incident", "canary": 1 });
        let made = self.ask(Method::POST, "/ops/jobs", Some(&rest)).await?;
        let rest = format!("/ops/jobs/{}", made["id"].as_str().context("the job's id")?);
        assert_eq!(self.job_is(&rest, "done").await["counts"]["succeeded"], json!(5));
        self.until_counted("held-orders", "completed").await;
        self.tell("the engine was killed on the way; the bulk retry is done: all parked ones completed");
        Ok(())
    }

    /// Each needs a payment key of its own: the customer has paid anew.
    async fn undone_come_home(&mut self) -> anyhow::Result<()> {
        let mut fresh = serde_json::Map::new();
        let mut after = String::new();
        loop {
            let path = format!("/sagas?definition=undone-orders&status=compensated&limit=200{after}");
            let page = self.ask(Method::GET, &path, None).await?;
            for saga in page["sagas"].as_array().context("a page of sagas")? {
                let (saga, key) =
                    (saga["saga"].as_str().context("an id")?, saga["key"].as_str().context("a key")?);
                fresh.insert(
                    saga.to_owned(),
                    json!({ "/payment/payment_key": format!("tviva_ok_again_{key}") }),
                );
            }
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let replay = json!({ "kind": "replay", "filter": "definition=undone-orders&status=compensated",
            "why": "after the incident", "canary": 5, "rate_per_s": self.rate(), "fresh": fresh });
        let job = self.begin(&replay).await?;
        self.dies_in_the_middle_of(&job).await;
        let done = self.job_is(&job, "done").await;
        assert_eq!(done["counts"]["succeeded"], json!(self.sagas), "{done}");
        let (mut new, mut after) = (BTreeSet::new(), 0);
        loop {
            let path = format!("{job}/items?outcome=succeeded&limit=500&after={after}");
            let page = self.ask(Method::GET, &path, None).await?;
            for item in page["items"].as_array().context("a page of items")? {
                let it = item["new_saga"].as_str().context("its new saga")?;
                assert!(new.insert(it.to_owned()), "replayed twice: {item}");
            }
            let Some(next) = page["next"].as_i64() else { break };
            after = next;
        }
        assert_eq!(new.len(), self.sagas);
        self.until_counted("undone-orders", "completed").await;
        self.tell(
            "the engine was killed on the way; the bulk replay is done: all compensated ones completed anew",
        );
        Ok(())
    }
}
