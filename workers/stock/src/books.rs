//! The books: one row a SKU, one statement a batch. What changes with reservations is in `reservations`.
//!
//! Every change locks its rows first, in the SKUs' order; whoever follows that never waits in a circle.
//! Reservations, if any, are locked before the books.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use saga_worker::HandlerError;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::input::Sku;

/// Most SKUs on one page of the list.
pub const PAGE_MAX: i64 = 1_000;

/// Locks the SKUs' rows in the SKUs' order and returns what was sold; a SKU that is not in the books is missing in
/// the map.
///
/// # Errors
/// The database's.
pub async fn lock_sold(
    tx: &mut PgConnection,
    skus: impl IntoIterator<Item = &Sku>,
) -> Result<HashMap<Sku, i64>, HandlerError> {
    let skus: Vec<&str> = skus.into_iter().map(Sku::as_str).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select sku, sold from amends_stock.stock where sku = any ($1) order by sku for no key update",
    )
    .bind(skus)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|(sku, sold)| Ok((Sku::new(sku).map_err(HandlerError::Data)?, sold))).collect()
}

/// Puts sold units of locked rows back, each row once.
///
/// # Errors
/// The database's; [`HandlerError::Data`] when a row was not there, with nothing changed.
pub async fn put_back(tx: &mut PgConnection, units: &BTreeMap<Sku, i64>) -> Result<(), HandlerError> {
    if units.is_empty() {
        return Ok(());
    }
    let (skus, quantities): (Vec<&str>, Vec<i64>) =
        units.iter().map(|(sku, quantity)| (sku.as_str(), *quantity)).unzip();
    // The condition repeats what the caller decided under the lock: a mistake there changes too few rows and fails
    // the batch.
    let changed = sqlx::query(
        "update amends_stock.stock s
         set on_hand = on_hand + u.quantity, available = available + u.quantity, sold = sold - u.quantity,
             updated_at = now()
         from unnest($1::text[], $2::bigint[]) as u (sku, quantity)
         where s.sku = u.sku and s.sold >= u.quantity",
    )
    .bind(skus)
    .bind(quantities)
    .execute(tx)
    .await?
    .rows_affected();
    if changed == units.len() as u64 {
        Ok(())
    } else {
        Err(HandlerError::Data(format!("putting {} SKUs back changed {changed} rows", units.len())))
    }
}

/// One SKU's books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Book {
    /// The SKU.
    pub sku: String,
    /// Units that ever came in, less those that were written off.
    pub received: i64,
    /// Units on the shelf: available or reserved.
    pub on_hand: i64,
    /// Units that can be reserved.
    pub available: i64,
    /// Units that are promised to orders under way.
    pub reserved: i64,
    /// Units that were sold, less those that came back.
    pub sold: i64,
    /// When the row changed last.
    pub updated_at: DateTime<Utc>,
}

/// One SKU's books.
///
/// # Errors
/// The database's.
pub async fn find(pool: &PgPool, sku: &Sku) -> Result<Option<Book>, sqlx::Error> {
    sqlx::query_as(
        "select sku, received, on_hand, available, reserved, sold, updated_at
         from amends_stock.stock where sku = $1",
    )
    .bind(sku.as_str())
    .fetch_optional(pool)
    .await
}

/// SKUs in their order, beginning after `after`, at most [`PAGE_MAX`].
///
/// # Errors
/// The database's.
pub async fn page(pool: &PgPool, after: Option<&Sku>, limit: i64) -> Result<Vec<Book>, sqlx::Error> {
    sqlx::query_as(
        "select sku, received, on_hand, available, reserved, sold, updated_at
         from amends_stock.stock where sku > $1 order by sku limit $2",
    )
    .bind(after.map_or("", Sku::as_str))
    .bind(limit.clamp(1, PAGE_MAX))
    .fetch_all(pool)
    .await
}

/// What a stocktake did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stocktake {
    /// The SKU is new.
    Created(Book),
    /// The SKU's books say so now.
    Changed(Book),
    /// Fewer than are promised already; nothing was changed.
    BelowReserved(Book),
    /// The SKU is in the books already, and only a new one was to be made; nothing was changed.
    Exists(Book),
}

/// Says how many units lie on the shelf, those that are reserved included.
///
/// # Errors
/// The database's.
pub async fn stocktake(
    pool: &PgPool,
    sku: &Sku,
    on_hand: i64,
    only_new: bool,
) -> Result<Stocktake, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let created: Option<Book> = sqlx::query_as(
        "insert into amends_stock.stock (sku, received, on_hand, available, reserved, sold)
         values ($1, $2, $2, $2, 0, 0)
         on conflict on constraint stock_pk do nothing
         returning sku, received, on_hand, available, reserved, sold, updated_at",
    )
    .bind(sku.as_str())
    .bind(on_hand)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(book) = created {
        tx.commit().await?;
        return Ok(Stocktake::Created(book));
    }
    // Rows are never deleted, so the row that was in the way is there.
    let book: Book = sqlx::query_as(
        "select sku, received, on_hand, available, reserved, sold, updated_at
         from amends_stock.stock where sku = $1 for no key update",
    )
    .bind(sku.as_str())
    .fetch_one(&mut *tx)
    .await?;
    if only_new {
        return Ok(Stocktake::Exists(book));
    }
    if on_hand < book.reserved {
        return Ok(Stocktake::BelowReserved(book));
    }
    let book = sqlx::query_as(
        "update amends_stock.stock
         set received = $2 + sold, on_hand = $2, available = $2 - reserved, updated_at = now()
         where sku = $1
         returning sku, received, on_hand, available, reserved, sold, updated_at",
    )
    .bind(sku.as_str())
    .bind(on_hand)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Stocktake::Changed(book))
}
