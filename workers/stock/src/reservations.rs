//! Reservations: which execute holds how many units of what, and what became of it.
//!
//! One statement a batch, in a transaction that is the caller's. Reservations are locked in the order
//! of their key, and before the books.

use std::collections::BTreeMap;

use saga_protocol::SagaId;
use saga_worker::{Command, HandlerError};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::input::{OrderId, Request, Sku};

/// What names a reservation: the execute that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    saga: Uuid,
    step: String,
    item: i32,
    round: i32,
}

impl Key {
    /// The reservation that this execute makes, or that this compensate undoes.
    pub fn of(command: &Command) -> Self {
        Self {
            saga: command.saga.0,
            step: command.step.as_str().to_owned(),
            item: command.item.map_or(-1, |item| i32::try_from(item).unwrap_or(i32::MAX)),
            round: i32::try_from(command.execute_round()).unwrap_or(i32::MAX),
        }
    }
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    /// Units are promised.
    Reserved,
    /// Units are sold; final.
    Sold,
    /// Units went back; final.
    Released,
}

/// A locked reservation.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Its key.
    pub key: Key,
    /// Whose it is.
    pub order_id: String,
    /// Where it stands.
    pub status: Status,
}

/// Keys as the columns that `unnest` takes.
#[derive(Default)]
struct Columns<'a> {
    sagas: Vec<Uuid>,
    steps: Vec<&'a str>,
    items: Vec<i32>,
    rounds: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, key: &'a Key) {
        self.sagas.push(key.saga);
        self.steps.push(&key.step);
        self.items.push(key.item);
        self.rounds.push(key.round);
    }

    fn of(keys: impl IntoIterator<Item = &'a Key>) -> Self {
        let mut columns = Self::default();
        keys.into_iter().for_each(|key| columns.push(key));
        columns
    }
}

/// Writes reservations down with their lines.
///
/// # Errors
/// The database's.
pub async fn insert(tx: &mut PgConnection, reserved: &[(Key, &Request)]) -> Result<(), HandlerError> {
    if reserved.is_empty() {
        return Ok(());
    }
    let keys = Columns::of(reserved.iter().map(|(key, _)| key));
    let order_ids: Vec<&str> = reserved.iter().map(|(_, request)| request.order_id.as_str()).collect();
    let mut owners = Columns::default();
    let (mut skus, mut quantities) = (Vec::new(), Vec::new());
    for (key, request) in reserved {
        for (sku, quantity) in &request.units {
            owners.push(key);
            skus.push(sku.as_str());
            quantities.push(*quantity);
        }
    }
    sqlx::query(
        "with reserved as (
             insert into amends_stock.reservations (saga, step, item, round, order_id)
             select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::text[])
         )
         insert into amends_stock.reservation_lines (saga, step, item, round, sku, quantity)
         select * from unnest($6::uuid[], $7::text[], $8::int[], $9::int[], $10::text[], $11::bigint[])",
    )
    .bind(keys.sagas)
    .bind(keys.steps)
    .bind(keys.items)
    .bind(keys.rounds)
    .bind(order_ids)
    .bind(owners.sagas)
    .bind(owners.steps)
    .bind(owners.items)
    .bind(owners.rounds)
    .bind(skus)
    .bind(quantities)
    .execute(tx)
    .await?;
    Ok(())
}

/// Locks reservations by key.
///
/// # Errors
/// The database's.
pub async fn lock(tx: &mut PgConnection, keys: &[Key]) -> Result<Vec<Reservation>, HandlerError> {
    let keys = Columns::of(keys);
    let rows: Vec<(Uuid, String, i32, i32, String, Status)> = sqlx::query_as(
        "select r.saga, r.step, r.item, r.round, r.order_id, r.status
         from amends_stock.reservations r
         where (r.saga, r.step, r.item, r.round)
             in (select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[]))
         order by r.saga, r.step, r.item, r.round
         for no key update of r",
    )
    .bind(keys.sagas)
    .bind(keys.steps)
    .bind(keys.items)
    .bind(keys.rounds)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(reservation).collect())
}

/// Locks all reservations that these sagas made for these orders.
///
/// # Errors
/// The database's.
pub async fn lock_of_orders(
    tx: &mut PgConnection,
    orders: &[(SagaId, &OrderId)],
) -> Result<Vec<Reservation>, HandlerError> {
    let (sagas, order_ids): (Vec<Uuid>, Vec<&str>) =
        orders.iter().map(|(saga, order_id)| (saga.0, order_id.as_str())).unzip();
    let rows: Vec<(Uuid, String, i32, i32, String, Status)> = sqlx::query_as(
        "select r.saga, r.step, r.item, r.round, r.order_id, r.status
         from amends_stock.reservations r
         where (r.saga, r.order_id) in (select * from unnest($1::uuid[], $2::text[]))
         order by r.saga, r.step, r.item, r.round
         for no key update of r",
    )
    .bind(sagas)
    .bind(order_ids)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(reservation).collect())
}

impl Reservation {
    /// The saga that made it.
    pub fn saga(&self) -> SagaId {
        SagaId(self.key.saga)
    }
}

fn reservation(row: (Uuid, String, i32, i32, String, Status)) -> Reservation {
    let (saga, step, item, round, order_id, status) = row;
    Reservation { key: Key { saga, step, item, round }, order_id, status }
}

/// Settles locked reservations and returns how many units of each SKU they held.
///
/// # Errors
/// The database's.
pub async fn settle(
    tx: &mut PgConnection,
    keys: &[&Key],
    status: Status,
) -> Result<BTreeMap<Sku, i64>, HandlerError> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys = Columns::of(keys.iter().copied());
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "with settled as (
             update amends_stock.reservations r
             set status = $5, settled_at = now()
             from unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) as k (saga, step, item, round)
             where (r.saga, r.step, r.item, r.round) = (k.saga, k.step, k.item, k.round)
                 and r.status = 'reserved'
             returning r.saga, r.step, r.item, r.round
         )
         select l.sku, sum(l.quantity)::bigint
         from settled
         join amends_stock.reservation_lines l using (saga, step, item, round)
         group by l.sku",
    )
    .bind(keys.sagas)
    .bind(keys.steps)
    .bind(keys.items)
    .bind(keys.rounds)
    .bind(status)
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|(sku, quantity)| Ok((Sku::new(sku).map_err(HandlerError::Data)?, quantity)))
        .collect()
}
