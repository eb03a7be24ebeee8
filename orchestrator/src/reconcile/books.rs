//! Reads the books: the vendor's transactions first, then stock, orders, and the sagas last.
//!
//! In this order, what is settled by the time that the sagas are read was in the books before.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use saga_protocol::SagaId;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use worker_payment::toss;

use crate::engine::Engine;

/// Transactions of one question.
const PAGE: u32 = 1_000;
/// Transactions of one run, at most; beyond, the window is too large for one run.
const TRANSACTIONS_MAX: usize = 5_000_000;

/// Orders from before the window of whose money the vendor is asked one by one, at most.
const ASKED_MAX: usize = 2_000;

/// Where the books are.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The orders' database; a role that may read is enough.
    pub order_url: String,
    /// The stock's database.
    pub stock_url: String,
    /// The vendor.
    pub toss: toss::Config,
}

/// An order, as its newest row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// `created`, `completed` or `cancelled`.
    pub status: String,
    /// Its amount.
    pub amount: i64,
    /// Its currency.
    pub currency: String,
    /// When it came to stand so.
    pub at: DateTime<Utc>,
    /// Whether all its money is in these books: it began within the window, or the vendor was asked for it.
    pub whole: bool,
}

/// An order's money at the vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Money {
    /// What was charged.
    pub captured: i64,
    /// What was given back.
    pub refunded: i64,
    /// How often something was given back.
    pub refunds: u32,
    /// The newest transaction.
    pub at: DateTime<Utc>,
}

/// An order's goods that are reserved or sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goods {
    /// Whether some are sold, not only reserved.
    pub sold: bool,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// The newest saga of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saga {
    /// Its id.
    pub id: SagaId,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What the books say, by order.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Orders that changed within the window, and those that the others name.
    pub orders: BTreeMap<String, Order>,
    /// Money that moved within the window.
    pub money: BTreeMap<String, Money>,
    /// Goods that are reserved, or were sold within the window.
    pub goods: BTreeMap<String, Goods>,
    /// The sagas of all these orders.
    pub sagas: BTreeMap<String, Saga>,
    /// Where the window begins.
    pub since: DateTime<Utc>,
}

impl Books {
    /// Reads the books of a window.
    ///
    /// # Errors
    /// When one of them cannot be read; the message says which.
    pub async fn read(
        sources: &Sources,
        engine: &Engine,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let mut books = Self { since, ..Self::default() };
        books.read_money(sources, since, now).await.context("the vendor's transactions")?;
        let stock = pool(&sources.stock_url).await.context("the stock's database")?;
        let read = books.read_goods(&stock, since).await;
        stock.close().await;
        read.context("the stock's reservations")?;
        let order = pool(&sources.order_url).await.context("the orders' database")?;
        let read = books.read_orders(&order, since).await;
        order.close().await;
        read.context("the orders")?;
        books.ask_of_older(sources).await.context("the vendor's payments of older orders")?;
        let keys: Vec<String> =
            books.orders.keys().chain(books.money.keys()).chain(books.goods.keys()).cloned().collect();
        for chunk in keys.chunks(5_000) {
            for (key, id, ended_at) in engine.store.newest_of_keys(chunk).await? {
                books.sagas.insert(key, Saga { id, ended_at });
            }
        }
        Ok(books)
    }

    async fn read_money(
        &mut self,
        sources: &Sources,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let client = toss::Client::new(sources.toss.clone())?;
        let (from, to) = (in_seoul(since), in_seoul(now + TimeDelta::minutes(1)));
        let mut after: Option<String> = None;
        let mut read = 0;
        loop {
            let page = client.transactions(&from, &to, after.as_deref(), PAGE).await?;
            let whole = page.len() < PAGE as usize;
            read += page.len();
            anyhow::ensure!(read <= TRANSACTIONS_MAX, "there are more than {TRANSACTIONS_MAX} transactions");
            after = page.last().map(|it| it.transaction_key.clone());
            for it in page {
                let at = DateTime::parse_from_rfc3339(&it.transaction_at).map_or(now, |at| at.to_utc());
                let money = self.money.entry(it.order_id).or_default();
                money.at = money.at.max(at);
                // Some of the vendor's interfaces write what is given back with a minus.
                let amount = it.amount.abs();
                match it.status {
                    toss::Status::Done => money.captured += amount,
                    toss::Status::Canceled | toss::Status::PartialCanceled => {
                        money.refunded += amount;
                        money.refunds += 1;
                    }
                    _ => {}
                }
            }
            if whole {
                return Ok(());
            }
        }
    }

    /// Asks the vendor for the whole money of orders that changed now and began before the window.
    async fn ask_of_older(&mut self, sources: &Sources) -> anyhow::Result<()> {
        let client = toss::Client::new(sources.toss.clone())?;
        let older = self.orders.iter_mut().filter(|(_, order)| !order.whole);
        for (id, order) in older.take(ASKED_MAX) {
            order.whole = true;
            let Some(payment) = client.payment_of_order(id).await? else { continue };
            let money = self.money.entry(id.clone()).or_default();
            if matches!(
                payment.status,
                toss::Status::Done | toss::Status::Canceled | toss::Status::PartialCanceled
            ) {
                money.captured = money.captured.max(payment.total_amount);
                money.refunded = money.refunded.max(payment.total_amount - payment.balance_amount);
                let refunds = payment.cancels.as_ref().map_or(0, Vec::len);
                money.refunds = money.refunds.max(u32::try_from(refunds).unwrap_or(u32::MAX));
            }
        }
        Ok(())
    }

    async fn read_goods(&mut self, stock: &PgPool, since: DateTime<Utc>) -> anyhow::Result<()> {
        let rows: Vec<(String, bool, DateTime<Utc>)> = sqlx::query_as(
            "select order_id, bool_or(status = 'sold'), max(coalesce(settled_at, reserved_at))
             from amends_stock.reservations
             where status = 'reserved' or (status = 'sold' and settled_at >= $1) group by order_id",
        )
        .bind(since)
        .fetch_all(stock)
        .await?;
        self.goods = rows.into_iter().map(|(id, sold, at)| (id, Goods { sold, at })).collect();
        Ok(())
    }

    async fn read_orders(&mut self, order: &PgPool, since: DateTime<Utc>) -> anyhow::Result<()> {
        let named: Vec<String> = self.money.keys().chain(self.goods.keys()).cloned().collect();
        // Of an id's rows (cancelled and tried again) the one that stands counts, else the newest.
        let sql = "select distinct on (order_id) order_id, status, amount, currency,
                greatest(created_at, completed_at, cancelled_at), created_at
             from amends_order.orders where COND order by order_id, (status = 'cancelled'), id desc";
        type Row = (String, String, i64, String, DateTime<Utc>, DateTime<Utc>);
        let recent = sql.replace("COND", "(created_at >= $1 or completed_at >= $1 or cancelled_at >= $1)");
        let mut rows: Vec<Row> =
            sqlx::query_as(sqlx::AssertSqlSafe(recent)).bind(since).fetch_all(order).await?;
        let by_name = sql.replace("COND", "order_id = any($1)");
        for chunk in named.chunks(5_000) {
            rows.extend(
                sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(by_name.clone()))
                    .bind(chunk)
                    .fetch_all(order)
                    .await?,
            );
        }
        for (id, status, amount, currency, at, created_at) in rows {
            let whole = created_at >= since;
            self.orders.insert(id, Order { status, amount, currency, at, whole });
        }
        Ok(())
    }
}

async fn pool(url: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(std::time::Duration::from_secs(10))
        .connect(url)
        .await?)
}

/// As the vendor wants instants: `yyyy-MM-ddThh:mm:ss` in Seoul.
fn in_seoul(at: DateTime<Utc>) -> String {
    let seoul = FixedOffset::east_opt(9 * 3_600).expect("nine hours are an offset");
    at.with_timezone(&seoul).format("%Y-%m-%dT%H:%M:%S").to_string()
}
