//! Reads the books: the vendor's transactions first, then stock, orders, and the sagas last.
//!
//! In this order, what is settled by the time that the sagas are read was in the books before.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use futures::StreamExt;
use saga_protocol::SagaId;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use worker_payment::toss;

use super::Before;
use crate::engine::Engine;

/// Transactions of one question.
const PAGE: u32 = 1_000;
/// Transactions of one run, at most; beyond, the window is too large for one run.
const TRANSACTIONS_MAX: usize = 5_000_000;

/// Orders from before the window of whose money the vendor is asked one by one, at most.
const ASKED_MAX: usize = 10_000;
/// Who does not answer is asked again after this.
const ASKED_AGAIN: std::time::Duration = std::time::Duration::from_millis(200);
/// What clocks may differ by: the vendor is asked for transactions of so much before the window.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);
/// Of so many at once.
const ASKED_AT_ONCE: usize = 8;

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
    /// What of its amount is to be paid by money.
    pub amount: i64,
    /// What was granted for returns.
    pub granted: i64,
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
    /// What was given back each time.
    pub refunds: Vec<i64>,
    /// The newest transaction.
    pub at: DateTime<Utc>,
    /// The payments' keys.
    pub keys: BTreeSet<String>,
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
    /// Whether it completed.
    pub completed: bool,
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
    /// Of these, which nobody has an order for, the vendor was asked as well.
    pub asked: BTreeSet<String>,
    /// Where the window begins.
    pub since: DateTime<Utc>,
    /// Orders from before the window for which the vendor was not asked, being too many, or did not answer.
    pub unasked: BTreeSet<String>,
}

impl Books {
    /// Reads the books of a window, and of what is left of runs before, however old it is.
    ///
    /// # Errors
    /// When one of them cannot be read; the message says which.
    pub async fn read(
        sources: &Sources,
        engine: &Engine,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        before: &Before,
    ) -> anyhow::Result<Self> {
        let mut books = Self { since, ..Self::default() };
        books.read_money(sources, since - CLOCKS_APART, now).await.context("the vendor's transactions")?;
        let stock = pool(&sources.stock_url).await.context("the stock's database")?;
        let read = books.read_goods(&stock, since, &before.orders()).await;
        stock.close().await;
        read.context("the stock's reservations")?;
        let order = pool(&sources.order_url).await.context("the orders' database")?;
        // Whose saga has ended since is judged now, also where nothing has moved in the other books for long.
        let mut named = engine.store.ended_keys(since).await?;
        named.extend(before.orders().into_iter().cloned());
        named.extend(before.unasked.iter().cloned());
        let read = books.read_orders(&order, since, &named).await;
        order.close().await;
        read.context("the orders")?;
        books.ask_of_older(sources, before).await.context("the vendor's payments of older orders")?;
        let keys: BTreeSet<&String> =
            books.orders.keys().chain(books.money.keys()).chain(books.goods.keys()).collect();
        let keys: Vec<String> = keys.into_iter().cloned().collect();
        for chunk in keys.chunks(5_000) {
            for (key, id, ended_at, completed) in engine.store.newest_of_keys(chunk).await? {
                books.sagas.insert(key, Saga { id, ended_at, completed });
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
                money.keys.insert(it.payment_key);
                // Some of the vendor's interfaces write what is given back with a minus.
                let amount = it.amount.abs();
                match it.status {
                    toss::Status::Done => money.captured += amount,
                    toss::Status::Canceled | toss::Status::PartialCanceled => {
                        money.refunded += amount;
                        money.refunds.push(amount);
                    }
                    _ => {}
                }
            }
            if whole {
                return Ok(());
            }
        }
    }

    /// Asks the vendor for the whole money of what did not fit before, and of orders that began before the window. Whom
    /// it does not answer for, or would have to for too many, the next run asks for.
    async fn ask_of_older(&mut self, sources: &Sources, before: &Before) -> anyhow::Result<()> {
        let client = toss::Client::new(sources.toss.clone())?;
        let open = before.orders();
        // Money of an order that nobody has may have been taken before the window, too.
        let named: BTreeSet<&String> =
            self.orders.keys().chain(self.money.keys()).chain(&before.unasked).collect();
        let old = |id: &&String| self.orders.get(*id).is_none_or(|order| !order.whole) && !open.contains(*id);
        let mut ids: Vec<String> =
            open.iter().copied().chain(named.into_iter().filter(old)).cloned().collect();
        self.unasked.extend(ids.split_off(ids.len().min(ASKED_MAX)));
        let count = ids.len();
        let known = &self.money;
        let asked = futures::stream::iter(ids).map(|id| {
            let client = &client;
            let kept =
                before.findings.iter().filter(|it| it.order_id == id).flat_map(|it| it.payments.clone());
            let keys: BTreeSet<String> =
                known.get(&id).map(|it| it.keys.clone()).into_iter().flatten().chain(kept).collect();
            async move {
                let money = whole_money(client, &id, keys).await;
                (id, money)
            }
        });
        let answers: Vec<(String, anyhow::Result<Money>)> =
            asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        let failed = answers.iter().filter(|(_, money)| money.is_err()).count();
        for (id, money) in answers {
            match money {
                Ok(money) => {
                    match self.orders.get_mut(&id) {
                        Some(order) => order.whole = true,
                        None => drop(self.asked.insert(id.clone())),
                    }
                    if !money.keys.is_empty() {
                        self.money.insert(id, money);
                    }
                }
                Err(error) if failed == count => return Err(error),
                Err(error) => {
                    tracing::debug!(order = id, error = %format!("{error:#}"), "the vendor does not say what was paid");
                    self.unasked.insert(id);
                }
            }
        }
        Ok(())
    }

    async fn read_goods(
        &mut self,
        stock: &PgPool,
        since: DateTime<Utc>,
        open: &BTreeSet<&String>,
    ) -> anyhow::Result<()> {
        let rows: Vec<(String, bool, DateTime<Utc>)> = sqlx::query_as(
            "select order_id, bool_or(status = 'sold'), max(coalesce(settled_at, reserved_at))
             from amends_stock.reservations
             where status = 'reserved' or (status = 'sold' and (settled_at >= $1 or order_id = any($2)))
             group by order_id",
        )
        .bind(since)
        .bind(open.iter().collect::<Vec<_>>())
        .fetch_all(stock)
        .await?;
        self.goods = rows.into_iter().map(|(id, sold, at)| (id, Goods { sold, at })).collect();
        Ok(())
    }

    async fn read_orders(
        &mut self,
        order: &PgPool,
        since: DateTime<Utc>,
        open: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let named: BTreeSet<&String> = self.money.keys().chain(self.goods.keys()).chain(open).collect();
        let named: Vec<String> = named.into_iter().cloned().collect();
        // Of an id's rows (cancelled and tried again) the one that stands counts, else the newest.
        let sql = "select distinct on (order_id) order_id, status, coalesce(due, amount), currency,
                greatest(created_at, completed_at, cancelled_at),
                (select min(first.created_at) from amends_order.orders first where first.order_id = o.order_id),
                (select coalesce(sum(refund_amount), 0)::bigint from amends_order.returns it where it.id = o.id)
             from amends_order.orders o where COND order by order_id, (status = 'cancelled'), id desc";
        type Row = (String, String, i64, String, DateTime<Utc>, DateTime<Utc>, i64);
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
        for (id, status, amount, currency, at, created_at, granted) in rows {
            let whole = created_at >= since;
            self.orders.insert(id, Order { status, amount, granted, currency, at, whole });
        }
        Ok(())
    }
}

/// All the money of an order: of the payment that the vendor has for it now, and of those with these keys, such as an
/// earlier try's.
async fn whole_money(client: &toss::Client, id: &str, mut keys: BTreeSet<String>) -> anyhow::Result<Money> {
    let mut money = Money::default();
    let add = |money: &mut Money, payment: toss::Payment| {
        // What has just moved is left alone: the other books were read before.
        let moved = payment
            .cancels()
            .iter()
            .map(|it| it.canceled_at.as_deref())
            .chain([payment.approved_at.as_deref()]);
        let moved =
            moved.flatten().filter_map(|at| DateTime::parse_from_rfc3339(at).ok()).map(|at| at.to_utc());
        money.at = moved.max().map_or(money.at, |at| money.at.max(at));
        if matches!(
            payment.status,
            toss::Status::Done | toss::Status::Canceled | toss::Status::PartialCanceled
        ) {
            money.captured += payment.total_amount;
            money.refunded += payment.total_amount - payment.balance_amount;
            money.refunds.extend(payment.cancels().iter().map(|it| it.cancel_amount));
        }
        money.keys.insert(payment.payment_key);
    };
    if let Some(payment) = twice(|| client.payment_of_order(id)).await? {
        keys.remove(&payment.payment_key);
        add(&mut money, payment);
    }
    for key in &keys {
        if let Some(payment) = twice(|| client.payment(key)).await? {
            add(&mut money, payment);
        }
    }
    Ok(money)
}

/// Asks again once: one answer that got lost is no reason to ask for everything again.
async fn twice<T, F: Future<Output = Result<T, toss::TossError>>>(
    ask: impl Fn() -> F,
) -> Result<T, toss::TossError> {
    match ask().await {
        Ok(it) => Ok(it),
        Err(_) => {
            tokio::time::sleep(ASKED_AGAIN).await;
            ask().await
        }
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
