//! The spike's books: what callers were told, sagas, orders, stock and payments, compared order by order.

use std::collections::{BTreeMap, HashMap};

use bench::books::Report;
use bench::measure::Measured;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::database::connect;
use crate::saga::{Item, Status};
use crate::worker::RECEIVED;

/// Compares everything. What is on its way is reported as a finding.
pub(crate) async fn verify(told: &Measured) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut engine = connect("AMENDS_DATABASE_URL").await?;
    durable(&mut engine, &mut report).await?;
    let sagas: Vec<(String, i16)> =
        sqlx::query_as("select key, status from saga").fetch_all(&mut engine).await?;
    for table in ["saga_state", "outbox"] {
        let count = AssertSqlSafe(format!("select count(*) from {table}"));
        let left: i64 = sqlx::query_scalar(count).fetch_one(&mut engine).await?;
        if left != 0 {
            report.findings.push(format!("{left} rows in {table} although nothing runs"));
        }
    }
    let mut order = connect("AMENDS_ORDER_DATABASE_URL").await?;
    let orders: Vec<(String, String, i64, String)> =
        sqlx::query_as("select order_id, status, amount, items from orders").fetch_all(&mut order).await?;
    let mut payment = connect("AMENDS_PAYMENT_DATABASE_URL").await?;
    let payments: Vec<(String, i64)> =
        sqlx::query_as("select order_id, amount from payment where not undone")
            .fetch_all(&mut payment)
            .await?;

    let mut paid: HashMap<String, i64> = HashMap::new();
    for (id, amount) in payments {
        report.captured += amount;
        *paid.entry(id).or_default() += amount;
    }
    let (mut standing, mut held) = (HashMap::new(), BTreeMap::<String, i64>::new());
    for (id, status, amount, items) in orders {
        if status == "created" {
            for Item { sku, quantity, .. } in serde_json::from_str::<Vec<Item>>(&items)? {
                *held.entry(sku).or_default() += quantity;
            }
        }
        *report.orders.entry(status.clone()).or_default() += 1;
        standing.insert(id, (status, amount));
    }
    for (key, status) in &sagas {
        let expected = match *status {
            it if it == Status::Completed as i16 => ("completed", "created"),
            it if it == Status::Compensated as i16 => ("compensated", "cancelled"),
            _ => ("running", ""),
        };
        *report.sagas.entry(expected.0.to_owned()).or_default() += 1;
        let (is, amount) = standing.get(key).map_or(("absent", 0), |(is, amount)| (is.as_str(), *amount));
        let due = (expected.0 == "completed").then_some(amount);
        if is != expected.1 || paid.get(key).copied() != due {
            let paid = paid.get(key);
            report.findings.push(format!("order {key} is {is} and paid {paid:?}, its saga {}", expected.0));
        }
    }
    let ended = |word: &str| u64::try_from(report.sagas.get(word).copied().unwrap_or(0)).unwrap_or(0);
    let ours = (ended("completed"), ended("compensated"));
    if ours != (told.completed, told.compensated) || standing.len() != sagas.len() {
        let told = (told.completed, told.compensated);
        let orders = standing.len();
        report
            .findings
            .push(format!("callers were told of {told:?}, there are {ours:?} and {orders} orders"));
    }
    stocks(&held, &mut report).await?;
    Ok(report)
}

/// What is compared with the engine keeps what it commits.
async fn durable(connection: &mut PgConnection, report: &mut Report) -> anyhow::Result<()> {
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut *connection)
            .await?;
        if value != "on" {
            report.findings.push(format!("{setting} is {value}"));
        }
    }
    Ok(())
}

/// What is reserved is what standing orders hold, by the books and by the reservations.
async fn stocks(held: &BTreeMap<String, i64>, report: &mut Report) -> anyhow::Result<()> {
    let mut stock = connect("AMENDS_STOCK_DATABASE_URL").await?;
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select s.sku, s.available, s.reserved, coalesce(sum(r.quantity), 0)::bigint
         from stock s left join reservation r on r.sku = s.sku and not r.released group by s.sku",
    )
    .fetch_all(&mut stock)
    .await?;
    for (sku, available, reserved, lines) in rows {
        let due = held.get(&sku).copied().unwrap_or(0);
        if reserved != due || lines != due || available + reserved != RECEIVED {
            report.findings.push(format!(
                "SKU {sku}: {available} available, {reserved} reserved, {lines} by reservations, {due} held"
            ));
        }
    }
    Ok(())
}
