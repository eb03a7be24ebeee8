//! Reservations: which execute holds how many units of what, and what became of it.
//!
//! One statement a batch, in a transaction that is the caller's. Reservations are locked in the order
//! of their key, and before the books.
//!
//! A statement that locks the books and changes them sets every column from the row that the lock has found. Its update
//! first meets the row as it was when the statement began, and would decide, compute and be refused by the constraints
//! with that one's numbers.

use std::collections::{BTreeMap, HashMap};

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

/// A locked reservation, as it stood before this transaction.
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

/// What came of [`reserve`].
#[derive(Debug)]
pub struct Reserved {
    /// Whether all of it was set aside. Otherwise nothing was.
    pub all: bool,
    /// What was available of each SKU before, now locked; a SKU that is not in the books is missing.
    pub available: HashMap<Sku, i64>,
}

/// Sets units aside for all of these or, when a SKU has too little for all of them, for none; in both cases the
/// books stay locked, so that a second call with fewer of them meets what this one has found.
///
/// # Errors
/// The database's; [`HandlerError::Data`] when the books changed under the lock.
pub async fn reserve(tx: &mut PgConnection, requests: &[(Key, &Request)]) -> Result<Reserved, HandlerError> {
    let mut units: BTreeMap<&Sku, i64> = BTreeMap::new();
    let mut owners = Columns::default();
    let (mut skus, mut quantities) = (Vec::new(), Vec::new());
    for (key, request) in requests {
        for (sku, quantity) in &request.units {
            let sum = units.entry(sku).or_default();
            *sum = sum.saturating_add(*quantity);
            owners.push(key);
            skus.push(sku.as_str());
            quantities.push(*quantity);
        }
    }
    if units.is_empty() {
        return Ok(Reserved { all: true, available: HashMap::new() });
    }
    let keys = Columns::of(requests.iter().map(|(key, _)| key));
    let order_ids: Vec<&str> = requests.iter().map(|(_, request)| request.order_id.as_str()).collect();
    let (wanted, sums): (Vec<&str>, Vec<i64>) = units.iter().map(|(sku, sum)| (sku.as_str(), *sum)).unzip();
    let count = wanted.len();
    let rows: Vec<(String, i64, bool, i64)> = sqlx::query_as(
        "with units as (
             select * from unnest($1::text[], $2::bigint[]) as u (sku, quantity)
         ), locked as materialized (
             select s.* from amends_stock.stock s where s.sku = any ($1) order by s.sku for no key update of s
         ), fits as materialized (
             select count(*) = cardinality($1) as all_of_them
             from units u join locked l on l.sku = u.sku and l.available >= u.quantity
         ), moved as (
             update amends_stock.stock s
             set on_hand = l.on_hand, available = l.available - u.quantity, reserved = l.reserved + u.quantity,
                 sold = l.sold, received = l.received, updated_at = now()
             from fits f, locked l join units u on u.sku = l.sku
             where f.all_of_them and s.sku = l.sku
             returning s.sku
         ), reservations as (
             insert into amends_stock.reservations (saga, step, item, round, order_id)
             select n.* from fits f, unnest($3::uuid[], $4::text[], $5::int[], $6::int[], $7::text[]) as n
             where f.all_of_them
         ), lines as (
             insert into amends_stock.reservation_lines (saga, step, item, round, sku, quantity)
             select n.* from fits f,
                 unnest($8::uuid[], $9::text[], $10::int[], $11::int[], $12::text[], $13::bigint[]) as n
             where f.all_of_them
         )
         select l.sku, l.available, f.all_of_them, (select count(*) from moved) from fits f, locked l",
    )
    .bind(wanted)
    .bind(sums)
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
    .fetch_all(tx)
    .await?;
    let all = rows.first().is_some_and(|row| row.2);
    if all && rows.iter().any(|row| usize::try_from(row.3) != Ok(count)) {
        return Err(HandlerError::Data(format!("reserving {count} SKUs changed another number of rows")));
    }
    let available = rows
        .into_iter()
        .map(|(sku, available, ..)| Ok((Sku::new(sku).map_err(HandlerError::Data)?, available)))
        .collect::<Result<_, HandlerError>>()?;
    Ok(Reserved { all, available })
}

/// A statement that locks reservations, settles those that are still reserved, and moves their units in the books:
/// which ones, what they become, and what the books' columns become (`l` is the locked row).
macro_rules! settle {
    ($which:literal, $status:literal, $change:literal) => {
        concat!(
            "with found as materialized (
                 select r.saga, r.step, r.item, r.round, r.order_id, r.status from amends_stock.reservations r
                 where ",
            $which,
            "
                 order by r.saga, r.step, r.item, r.round for no key update of r
             ), settled as (
                 update amends_stock.reservations r set status = '",
            $status,
            "', settled_at = now()
                 from found f
                 where r.saga = f.saga and r.step = f.step and r.item = f.item and r.round = f.round
                     and f.status = 'reserved'
                 returning r.saga, r.step, r.item, r.round
             ), units as materialized (
                 select l.sku, sum(l.quantity)::bigint as quantity
                 from settled join amends_stock.reservation_lines l using (saga, step, item, round)
                 group by l.sku
             ), locked as materialized (
                 select s.* from amends_stock.stock s where s.sku in (select sku from units)
                 order by s.sku for no key update of s
             ), moved as (
                 update amends_stock.stock s set received = l.received, updated_at = now(), ",
            $change,
            "
                 from locked l join units u on u.sku = l.sku
                 where s.sku = l.sku
                 returning s.sku
             )
             select f.*, (select count(*) from units) - (select count(*) from moved) from found f"
        )
    };
}

const RELEASE: &str = settle!(
    "(r.saga, r.step, r.item, r.round) in (select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[]))",
    "released",
    "on_hand = l.on_hand, available = l.available + u.quantity, reserved = l.reserved - u.quantity, sold = l.sold"
);

const SELL: &str = settle!(
    "(r.saga, r.order_id) in (select * from unnest($1::uuid[], $2::text[]))",
    "sold",
    "on_hand = l.on_hand - u.quantity, available = l.available, reserved = l.reserved - u.quantity, sold = l.sold + u.quantity"
);

/// Puts back what these hold, and returns how each stood before.
///
/// # Errors
/// The database's; [`HandlerError::Data`] when what is reserved is not in the books.
pub async fn release(tx: &mut PgConnection, keys: &[Key]) -> Result<Vec<Reservation>, HandlerError> {
    let keys = Columns::of(keys);
    let query = sqlx::query_as(RELEASE).bind(keys.sagas).bind(keys.steps).bind(keys.items).bind(keys.rounds);
    settled(query.fetch_all(tx).await?)
}

/// Sells all that these sagas hold for these orders, and returns how each reservation stood before.
///
/// # Errors
/// As of [`release`].
pub async fn sell(
    tx: &mut PgConnection,
    orders: &[(SagaId, &OrderId)],
) -> Result<Vec<Reservation>, HandlerError> {
    let (sagas, order_ids): (Vec<Uuid>, Vec<&str>) =
        orders.iter().map(|(saga, order_id)| (saga.0, order_id.as_str())).unzip();
    settled(sqlx::query_as(SELL).bind(sagas).bind(order_ids).fetch_all(tx).await?)
}

/// A row that [`settle`] returns: a reservation as it stood, and how many SKUs were not moved.
type SettledRow = (Uuid, String, i32, i32, String, Status, i64);

fn settled(rows: Vec<SettledRow>) -> Result<Vec<Reservation>, HandlerError> {
    if let Some((.., missing @ 1..)) = rows.first() {
        return Err(HandlerError::Data(format!("{missing} SKUs that are reserved are not in the books")));
    }
    let reservation = |(saga, step, item, round, order_id, status, _): SettledRow| Reservation {
        key: Key { saga, step, item, round },
        order_id,
        status,
    };
    Ok(rows.into_iter().map(reservation).collect())
}

impl Reservation {
    /// The saga that made it.
    pub fn saga(&self) -> SagaId {
        SagaId(self.key.saga)
    }
}
