//! The orders' statements: one a batch, in a transaction that is the caller's.
//!
//! Rows are taken in a fixed order (new ids by their spelling, existing rows by their number), so
//! that two batches never wait for each other.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::input::{Line, NewOrder, OrderId};

/// The schema that holds the tables.
pub const SCHEMA: &str = "amends_order";

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    /// Written down, not yet paid.
    Created,
    /// Paid; final.
    Completed,
    /// Undone; final.
    Cancelled,
}

/// The number of an order's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct RowId(i64);

/// A locked order.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its row.
    pub row: RowId,
    /// Where it stands.
    pub status: Status,
    /// What it costs.
    pub amount: i64,
}

/// The orders that [`lock`] or [`cancel`] found.
#[derive(Debug, Default)]
pub struct Locked(HashMap<(SagaId, String), Found>);

impl Locked {
    /// The order `order_id` that `saga` created.
    pub fn get(&self, saga: SagaId, order_id: &OrderId) -> Option<Found> {
        self.0.get(&(saga, order_id.as_str().to_owned())).copied()
    }
}

/// Inserts orders with their lines, each order id once, and returns the ids that were free.
///
/// # Errors
/// The database's.
pub async fn insert(
    tx: &mut PgConnection,
    orders: &[(SagaId, &NewOrder)],
) -> Result<HashSet<String>, sqlx::Error> {
    if orders.is_empty() {
        return Ok(HashSet::new());
    }
    let mut order_ids = Vec::new();
    let mut sagas: Vec<Uuid> = Vec::new();
    let mut customers = Vec::new();
    let mut amounts = Vec::new();
    let mut currencies = Vec::new();
    let (mut owners, mut numbers, mut skus, mut quantities, mut prices) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (saga, order) in orders {
        order_ids.push(order.order_id.as_str());
        sagas.push(saga.0);
        customers.push(order.customer_id.as_str());
        amounts.push(order.amount);
        currencies.push(order.currency.as_str());
        for (number, line) in (1_i64..).zip(&order.items) {
            owners.push(order.order_id.as_str());
            numbers.push(number);
            skus.push(line.sku.as_str());
            quantities.push(line.quantity);
            prices.push(line.unit_price);
        }
    }
    let inserted: Vec<String> = sqlx::query_scalar(
        r#"
        with wanted as (
            select * from unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::text[])
                as o (order_id, saga, customer_id, amount, currency)
        ), inserted as (
            insert into amends_order.orders (order_id, saga, customer_id, amount, currency)
            select order_id, saga, customer_id, amount, currency from wanted order by order_id collate "C"
            on conflict on constraint orders_standing do nothing
            returning id, order_id
        ), lines as (
            insert into amends_order.order_lines (id, line, sku, quantity, unit_price)
            select i.id, l.line::int, l.sku, l.quantity::int, l.unit_price
            from unnest($6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::bigint[])
                as l (order_id, line, sku, quantity, unit_price)
            join inserted i using (order_id)
        )
        select order_id from inserted
        "#,
    )
    .bind(order_ids)
    .bind(sagas)
    .bind(customers)
    .bind(amounts)
    .bind(currencies)
    .bind(owners)
    .bind(numbers)
    .bind(skus)
    .bind(quantities)
    .bind(prices)
    .fetch_all(tx)
    .await?;
    Ok(inserted.into_iter().collect())
}

/// Locks the orders that these sagas created; of several with one id (cancelled before), the newest.
///
/// # Errors
/// The database's.
pub async fn lock(tx: &mut PgConnection, keys: &[(SagaId, &OrderId)]) -> Result<Locked, sqlx::Error> {
    lock_by(
        tx,
        keys,
        r#"
        select o.id, o.order_id, o.saga, o.status, o.amount
        from amends_order.orders o
        where (o.order_id, o.saga) in (select * from unnest($1::text[], $2::uuid[]))
        order by o.id
        for no key update of o
        "#,
    )
    .await
}

/// Runs a statement that locks orders by id and saga.
async fn lock_by(
    tx: &mut PgConnection,
    keys: &[(SagaId, &OrderId)],
    statement: &'static str,
) -> Result<Locked, sqlx::Error> {
    if keys.is_empty() {
        return Ok(Locked::default());
    }
    let (sagas, order_ids): (Vec<Uuid>, Vec<&str>) =
        keys.iter().map(|(saga, order_id)| (saga.0, order_id.as_str())).unzip();
    let rows: Vec<(RowId, String, Uuid, Status, i64)> =
        sqlx::query_as(statement).bind(order_ids).bind(sagas).fetch_all(tx).await?;
    // In ascending order, so the newest row of an id is the one that stays in the map.
    Ok(Locked(
        rows.into_iter()
            .map(|(row, order_id, saga, status, amount)| {
                ((SagaId(saga), order_id), Found { row, status, amount })
            })
            .collect(),
    ))
}

/// Cancels the orders that these sagas created and that still stand uncompleted, and returns how each stood before.
///
/// # Errors
/// The database's.
pub async fn cancel(tx: &mut PgConnection, keys: &[(SagaId, &OrderId)]) -> Result<Locked, sqlx::Error> {
    lock_by(
        tx,
        keys,
        r#"
        with found as materialized (
            select o.id, o.order_id, o.saga, o.status, o.amount
            from amends_order.orders o
            where (o.order_id, o.saga) in (select * from unnest($1::text[], $2::uuid[]))
            order by o.id
            for no key update of o
        ), cancelled as (
            update amends_order.orders o
            set status = 'cancelled', cancelled_at = now(), voided = o.id
            from found f
            where o.id = f.id and f.status = 'created'
        )
        select * from found order by id
        "#,
    )
    .await
}

/// Completes locked orders, each with what of its amount is paid by money, when that is not all of it.
///
/// # Errors
/// The database's.
pub async fn complete(tx: &mut PgConnection, rows: &[(RowId, Option<i64>)]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (ids, due): (Vec<i64>, Vec<Option<i64>>) = rows.iter().map(|(row, due)| (row.0, *due)).unzip();
    sqlx::query(
        r#"
        update amends_order.orders o
        set status = 'completed', completed_at = now(), due = paid.due
        from unnest($1::bigint[], $2::bigint[]) as paid (id, due)
        where o.id = paid.id and o.status = 'created'
        "#,
    )
    .bind(ids)
    .bind(due)
    .execute(tx)
    .await?;
    Ok(())
}

/// An order as the read API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// Where it stands.
    pub status: Status,
    /// Who ordered.
    pub customer_id: String,
    /// What it costs, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Its lines.
    pub items: Vec<Line>,
    /// The saga that created it.
    pub saga: SagaId,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct OrderRow {
    id: i64,
    order_id: String,
    saga: Uuid,
    customer_id: String,
    amount: i64,
    currency: String,
    status: Status,
    created_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
}

/// The order that stands under an id, or else the one cancelled last.
///
/// # Errors
/// The database's.
pub async fn find(pool: &PgPool, order_id: &OrderId) -> Result<Option<Order>, sqlx::Error> {
    let row: Option<OrderRow> = sqlx::query_as(
        r#"
        select id, order_id, saga, customer_id, amount, currency, status, created_at, completed_at, cancelled_at
        from amends_order.orders
        where order_id = $1
        order by (voided = 0) desc, id desc
        limit 1
        "#,
    )
    .bind(order_id.as_str())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let lines: Vec<(String, i32, i64)> = sqlx::query_as(
        "select sku, quantity, unit_price from amends_order.order_lines where id = $1 order by line",
    )
    .bind(row.id)
    .fetch_all(pool)
    .await?;
    let items = lines
        .into_iter()
        .map(|(sku, quantity, unit_price)| Line { sku, quantity: i64::from(quantity), unit_price })
        .collect();
    Ok(Some(Order {
        order_id: row.order_id,
        status: row.status,
        customer_id: row.customer_id,
        amount: row.amount,
        currency: row.currency,
        items,
        saga: SagaId(row.saga),
        created_at: row.created_at,
        completed_at: row.completed_at,
        cancelled_at: row.cancelled_at,
    }))
}
