//! The books: money by the vendor's own ledger, orders, stock and sagas, compared order by order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use sqlx::PgPool;

use crate::grown::NOBODY;

/// Where the books lie.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The engine's database.
    pub engine_url: String,
    /// The order worker's database.
    pub order_url: String,
    /// The stock worker's database.
    pub stock_url: String,
    /// The payment worker's database.
    pub payment_url: String,
    /// The Toss sandbox, such as `http://127.0.0.1:8090`.
    pub sandbox_url: String,
}

/// What was compared, and what does not fit.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Sagas by status word.
    pub sagas: BTreeMap<String, i64>,
    /// Orders by status.
    pub orders: BTreeMap<String, i64>,
    /// What customers paid, by the vendor's ledger.
    pub captured: i64,
    /// What they got back.
    pub refunded: i64,
    /// Every finding, in words. Empty: the books balance.
    pub findings: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    movements: Vec<Movement>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Movement {
    kind: String,
    order_id: String,
    amount: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Money {
    captured: i64,
    refunded: i64,
    captures: u32,
}

/// Compares all books. Call it when nothing runs any more: what is on its way is reported as a finding.
///
/// # Errors
/// When one of the books cannot be read.
pub async fn verify(sources: &Sources) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let ledger = ledger(&sources.sandbox_url).await.context("the sandbox's ledger")?;
    let engine = PgPool::connect(&sources.engine_url).await.context("the engine's database")?;
    let order = PgPool::connect(&sources.order_url).await.context("the orders' database")?;
    let stock = PgPool::connect(&sources.stock_url).await.context("the stock's database")?;
    let payment = PgPool::connect(&sources.payment_url).await.context("the payments' database")?;
    let (sagas, bare) = sagas(&engine, &mut report).await?;
    let orders = orders(&order, &bare, &mut report).await?;
    let mut paid = ledger.clone();
    decisions(&payment, &mut paid).await?;
    money(&paid, &orders, &mut report);
    agree(&sagas, &orders, &mut report);
    payments(&payment, &ledger, &mut report).await?;
    stocks(&stock, &order, &mut report).await?;
    for pool in [engine, order, stock, payment] {
        pool.close().await;
    }
    Ok(report)
}

/// What `verify` finds once nothing runs any more: the last commands of sagas that were answered already may still be
/// on their way into the books.
///
/// # Errors
/// When one of the books cannot be read.
pub async fn settled(verify: impl AsyncFn() -> anyhow::Result<Report>) -> anyhow::Result<Report> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let report = verify().await?;
        if report.findings.is_empty() || Instant::now() > until {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn ledger(sandbox_url: &str) -> anyhow::Result<BTreeMap<String, Money>> {
    crate::install_tls();
    let client = reqwest::Client::new();
    let mut money: BTreeMap<String, Money> = BTreeMap::new();
    let mut after = 0;
    loop {
        let url = format!("{sandbox_url}/sandbox/ledger?after={after}&limit=10000");
        let page: Page = client.get(url).send().await?.error_for_status()?.json().await?;
        for movement in page.movements {
            let entry = money.entry(movement.order_id).or_default();
            match movement.kind.as_str() {
                "captured" => {
                    entry.captured += movement.amount;
                    entry.captures += 1;
                }
                "refunded" => entry.refunded += movement.amount,
                other => anyhow::bail!("the ledger has a movement of kind `{other}`"),
            }
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(money),
        }
    }
}

/// Status words by business key.
type Sagas = BTreeMap<String, BTreeSet<String>>;

/// The sagas, and the keys of those that end with the payment: their orders stay created, their units reserved.
async fn sagas(engine: &PgPool, report: &mut Report) -> anyhow::Result<(Sagas, BTreeSet<String>)> {
    let rows: Vec<(Option<String>, i16, uuid::Uuid, bool)> = sqlx::query_as(
        "select s.key, s.status, s.id, d.name = 'checkout-bare' from saga s join definition d on d.id = s.definition
         where s.principal is distinct from $1 and d.name <> 'bench-waits'",
    )
    .bind(NOBODY)
    .fetch_all(engine)
    .await?;
    let (mut by_key, mut bare) = (Sagas::new(), BTreeSet::new());
    for (key, status, id, is_bare) in rows {
        let word = match status {
            0 => "running",
            1 => "parked",
            2 => "completed",
            3 => "compensated",
            _ => "abandoned",
        };
        *report.sagas.entry(word.to_owned()).or_default() += 1;
        if matches!(word, "running" | "parked") {
            report.findings.push(format!("saga {id} is {word}"));
        }
        let key = key.unwrap_or_else(|| id.to_string());
        if is_bare {
            bare.insert(key.clone());
        }
        by_key.entry(key).or_default().insert(word.to_owned());
    }
    let (left,): (i64,) = sqlx::query_as(
        "select count(*) from saga_state st join definition d on d.id = st.definition where d.name <> 'bench-waits'",
    )
    .fetch_one(engine)
    .await?;
    let open = report.sagas.get("running").unwrap_or(&0) + report.sagas.get("parked").unwrap_or(&0);
    if left != open {
        report.findings.push(format!("{left} hot states for {open} sagas that have not ended"));
    }
    let (anomalies,): (i64,) = sqlx::query_as("select count(*) from anomaly").fetch_one(engine).await?;
    if anomalies != 0 {
        report.findings.push(format!("{anomalies} anomalies"));
    }
    Ok((by_key, bare))
}

#[derive(Clone, Debug)]
struct Order {
    status: String,
    amount: i64,
}

/// Orders by id; of an id's several rows (cancelled and tried again) the one that stands counts.
async fn orders(
    order: &PgPool,
    bare: &BTreeSet<String>,
    report: &mut Report,
) -> anyhow::Result<BTreeMap<String, Order>> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("select order_id, status, amount from amends_order.orders order by id")
            .fetch_all(order)
            .await?;
    let mut by_id: BTreeMap<String, Order> = BTreeMap::new();
    for (id, mut status, amount) in rows {
        *report.orders.entry(status.clone()).or_default() += 1;
        if status == "created" && bare.contains(&id) {
            "completed".clone_into(&mut status);
        }
        if status == "created" {
            report.findings.push(format!("order {id} is still only created"));
        }
        let stands = by_id.get(&id).is_some_and(|known| known.status != "cancelled");
        if !stands {
            by_id.insert(id, Order { status, amount });
        }
    }
    Ok(by_id)
}

/// Captured minus refunded equals the completed orders, order by order.
fn money(ledger: &BTreeMap<String, Money>, orders: &BTreeMap<String, Order>, report: &mut Report) {
    for (id, money) in ledger {
        report.captured += money.captured;
        report.refunded += money.refunded;
        let kept = money.captured - money.refunded;
        let due = orders.get(id).filter(|order| order.status == "completed").map_or(0, |order| order.amount);
        if kept != due {
            report.findings.push(format!(
                "order {id}: captured {} minus refunded {} is {kept}, and should be {due}",
                money.captured, money.refunded
            ));
        }
        if money.captures > 1 {
            report.findings.push(format!("order {id} was charged {} times", money.captures));
        }
    }
    for (id, order) in orders.iter().filter(|(_, order)| order.status == "completed") {
        if !ledger.contains_key(id) {
            report.findings.push(format!("order {id} is completed and was never paid ({})", order.amount));
        }
    }
}

/// A completed saga has a completed order, a compensated one a cancelled order or none.
fn agree(sagas: &Sagas, orders: &BTreeMap<String, Order>, report: &mut Report) {
    for (key, words) in sagas {
        let order = orders.get(key).map(|order| order.status.as_str());
        let completed = words.contains("completed");
        let fits = match order {
            Some("completed") => completed,
            Some("cancelled") | None => !completed,
            Some(_) => false,
        };
        if !fits {
            report
                .findings
                .push(format!("order {key} is {}, its sagas are {words:?}", order.unwrap_or("absent")));
        }
    }
    for id in orders.keys().filter(|id| !sagas.contains_key(*id)) {
        report.findings.push(format!("order {id} has no saga"));
    }
}

/// The payment worker's own rows say what the vendor says.
async fn payments(
    payment: &PgPool,
    ledger: &BTreeMap<String, Money>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select order_id, sum(captured_amount)::bigint, sum(refunded_amount)::bigint
         from amends_payment.payment group by order_id",
    )
    .fetch_all(payment)
    .await?;
    let rows: BTreeMap<String, (i64, i64)> = rows.into_iter().map(|row| (row.0, (row.1, row.2))).collect();
    for (id, money) in ledger {
        let ours = rows.get(id).copied().unwrap_or_default();
        if ours != (money.captured, money.refunded) {
            report.findings.push(format!(
                "order {id}: our payment says {ours:?}, the vendor ({}, {})",
                money.captured, money.refunded
            ));
        }
    }
    Ok(())
}

/// Payments that the worker decides itself, without a vendor: its rows are the ledger.
async fn decisions(payment: &PgPool, ledger: &mut BTreeMap<String, Money>) -> anyhow::Result<()> {
    let rows: Vec<(String, i64, bool)> =
        sqlx::query_as("select order_id, amount, undone_at is not null from amends_payment.decision")
            .fetch_all(payment)
            .await?;
    for (order_id, amount, undone) in rows {
        let entry = ledger.entry(order_id).or_default();
        entry.captured += amount;
        entry.captures += 1;
        entry.refunded += if undone { amount } else { 0 };
    }
    Ok(())
}

/// Nothing is reserved for nobody, and what was sold is what completed orders hold.
async fn stocks(stock: &PgPool, order: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    let held = async |status: &'static str| {
        let rows = sqlx::query_as(
            "select l.sku, sum(l.quantity)::bigint from amends_order.order_lines l
             join amends_order.orders o on o.id = l.id where o.status = $1 group by l.sku",
        );
        let rows: Vec<(String, i64)> = rows.bind(status).fetch_all(order).await?;
        anyhow::Ok(rows.into_iter().collect::<BTreeMap<_, _>>())
    };
    let (sold, created) = (held("completed").await?, held("created").await?);
    let rows: Vec<(String, i64, i64, i64, i64, i64)> =
        sqlx::query_as("select sku, received, on_hand, available, reserved, sold from amends_stock.stock")
            .fetch_all(stock)
            .await?;
    for (sku, received, on_hand, available, reserved, its_sold) in rows {
        if received != on_hand + its_sold || on_hand != available + reserved {
            report.findings.push(format!("SKU {sku} is not conserved"));
        }
        let nobodys = reserved - created.get(&sku).copied().unwrap_or(0);
        if nobodys != 0 {
            report.findings.push(format!("SKU {sku} has {nobodys} reserved for nobody"));
        }
        let expected = sold.get(&sku).copied().unwrap_or(0);
        if its_sold != expected {
            report.findings.push(format!("SKU {sku}: {its_sold} sold, but completed orders hold {expected}"));
        }
    }
    Ok(())
}
