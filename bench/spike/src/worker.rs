//! A worker: batches of commands, each in one transaction with its inbox rows; then replies; then offsets.
//!
//! The transaction is what a worker SDK can do for any handler: begin, inbox, the handler's statements, commit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::run::SKUS;
use clap::ValueEnum;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message as _};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::database;
use crate::kafka::{self, INBOX, Reader};
use crate::saga::{Command, Direction, Order, Outcome, Reply};

/// As in `crates/saga-worker`: a batch of at least this many is load; and how often offsets are committed.
const LOAD_FROM: usize = 8;
const OFFSETS_EVERY: Duration = Duration::from_secs(1);
/// What there is of each SKU.
pub(crate) const RECEIVED: i64 = 100_000_000;

const INBOX_TABLE: &str = "
create table if not exists inbox (
    saga uuid not null, round integer not null, direction smallint not null, outcome smallint not null,
    step text collate \"C\" not null, at timestamptz not null default now(),
    primary key (saga, step, round, direction)
);";

const TAKE: &str = "
insert into inbox (saga, step, round, direction, outcome)
select * from unnest($1::uuid[], $2::text[], $3::int[], $4::smallint[], $5::smallint[]) on conflict do nothing
returning saga, direction";

const CREATE: &str = "
insert into orders (order_id, saga, customer_id, amount, items)
select * from unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::text[])";

const CANCEL: &str = "update orders set status = 'cancelled' where order_id = any ($1)";

/// One update a SKU, however many reservations.
const RESERVE: &str = "
with lines as (
    insert into reservation (saga, sku, quantity) select * from unnest($1::uuid[], $2::text[], $3::bigint[])
    returning sku, quantity
), units as (select sku, sum(quantity)::bigint as quantity from lines group by sku order by sku)
update stock s set available = available - u.quantity, reserved = reserved + u.quantity
from units u where s.sku = u.sku";

const RELEASE: &str = "
with lines as (
    update reservation set released = true where saga = any ($1) returning sku, quantity
), units as (select sku, sum(quantity)::bigint as quantity from lines group by sku order by sku)
update stock s set available = available + u.quantity, reserved = reserved - u.quantity
from units u where s.sku = u.sku";

const DECIDE: &str = "
insert into payment (saga, order_id, amount) select * from unnest($1::uuid[], $2::text[], $3::bigint[])";

const UNDO_DECIDE: &str = "update payment set undone = true where saga = any ($1)";

/// Whose commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Worker {
    Order,
    Stock,
    Payment,
}

impl Worker {
    /// Its name, its database's variable, its tables.
    fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Order => (
                "order",
                "AMENDS_ORDER_DATABASE_URL",
                "create table if not exists orders (
                    order_id text collate \"C\" primary key, saga uuid not null, customer_id text not null,
                    amount bigint not null, status text not null default 'created', items text not null,
                    created_at timestamptz not null default now()
                ) with (fillfactor = 80)",
            ),
            Self::Stock => (
                "stock",
                "AMENDS_STOCK_DATABASE_URL",
                "create table if not exists stock (
                    sku text collate \"C\" primary key, available bigint not null check (available >= 0),
                    reserved bigint not null check (reserved >= 0)
                ) with (fillfactor = 50);
                create table if not exists reservation (
                    saga uuid, sku text collate \"C\", quantity bigint not null, released boolean not null default false,
                    primary key (saga, sku)
                ) with (fillfactor = 80)",
            ),
            Self::Payment => (
                "payment",
                "AMENDS_PAYMENT_DATABASE_URL",
                "create table if not exists payment (
                    saga uuid primary key, order_id text not null, amount bigint not null,
                    undone boolean not null default false, decided_at timestamptz not null default now()
                )",
            ),
        }
    }

    /// The business change of commands of one direction, set-based.
    async fn change(
        self,
        tx: &mut PgConnection,
        direction: Direction,
        commands: &[&Asked<'_>],
    ) -> anyhow::Result<()> {
        let sagas: Vec<Uuid> = commands.iter().map(|it| it.command.saga).collect();
        let orders: Vec<&str> = commands.iter().map(|it| it.order.order_id.as_str()).collect();
        let amounts: Vec<i64> = commands.iter().map(|it| it.order.payment.amount).collect();
        let query = match (self, direction) {
            (Self::Order, Direction::Execute) => {
                let items: Result<Vec<String>, _> =
                    commands.iter().map(|it| serde_json::to_string(&it.order.items)).collect();
                let customers: Vec<&str> = commands.iter().map(|it| it.order.customer_id.as_str()).collect();
                sqlx::query(CREATE).bind(orders).bind(sagas).bind(customers).bind(amounts).bind(items?)
            }
            (Self::Order, Direction::Compensate) => sqlx::query(CANCEL).bind(orders),
            (Self::Stock, Direction::Execute) => {
                let lines =
                    || commands.iter().flat_map(|it| it.order.items.iter().map(move |item| (it, item)));
                sqlx::query(RESERVE)
                    .bind(lines().map(|(it, _)| it.command.saga).collect::<Vec<_>>())
                    .bind(lines().map(|(_, item)| item.sku.as_str()).collect::<Vec<_>>())
                    .bind(lines().map(|(_, item)| item.quantity).collect::<Vec<_>>())
            }
            (Self::Stock, Direction::Compensate) => sqlx::query(RELEASE).bind(sagas),
            (Self::Payment, Direction::Execute) => sqlx::query(DECIDE).bind(sagas).bind(orders).bind(amounts),
            (Self::Payment, Direction::Compensate) => sqlx::query(UNDO_DECIDE).bind(sagas),
        };
        query.execute(tx).await?;
        Ok(())
    }
}

/// A command with its input and its answer, decided before anything is written.
struct Asked<'a> {
    command: Command<'a>,
    order: Order,
    outcome: Outcome,
}

/// Replies that are acknowledged: up to which offset of its commands, by direction. One partition keeps them in order.
#[derive(Default)]
struct Acknowledged {
    next: [AtomicI64; 2],
    failed: AtomicBool,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<(usize, i64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, command: Box<(usize, i64)>) {
        self.next[command.0].fetch_max(command.1 + 1, Ordering::Relaxed);
        self.failed.fetch_or(result.is_err(), Ordering::Relaxed);
    }
}

struct Pipeline {
    worker: Worker,
    name: &'static str,
    connection: PgConnection,
    reader: Reader,
    replies: ThreadedProducer<Acknowledged>,
    offsets: [i64; 2],
    offsets_at: Instant,
}

/// Works until something fails.
pub(crate) async fn run(worker: Worker) -> anyhow::Result<()> {
    let bootstrap = crate::variable("AMENDS_KAFKA")?;
    let (name, database, tables) = worker.place();
    let mut connection = database::open(database, tables).await?;
    sqlx::raw_sql(INBOX_TABLE).execute(&mut connection).await?;
    if worker == Worker::Stock {
        let stock =
            "insert into stock select sku, $2, 0 from unnest($1::text[]) as sku on conflict do nothing";
        sqlx::query(stock).bind(SKUS.as_slice()).bind(RECEIVED).execute(&mut connection).await?;
    }
    let mut pipeline = Pipeline {
        worker,
        name,
        connection,
        reader: Reader::member(&bootstrap, name, LOAD_FROM)?,
        replies: kafka::producer(&bootstrap, Acknowledged::default())?,
        offsets: [0; 2],
        offsets_at: Instant::now(),
    };
    loop {
        pipeline.turn().await?;
    }
}

impl Pipeline {
    async fn turn(&mut self) -> anyhow::Result<()> {
        let records = self.reader.batch(|message| {
            let data = message.payload().unwrap_or_default();
            Ok((message.offset(), std::str::from_utf8(data)?.to_owned()))
        })?;
        if !records.is_empty() {
            let mut asked = Vec::with_capacity(records.len());
            for (_, text) in &records {
                asked.push(decide(self.worker, text).context("a command")?);
            }
            self.commit(&asked).await?;
            for ((offset, _), asked) in records.iter().zip(&asked) {
                self.reply(*offset, asked)?;
            }
        }
        if self.offsets_at.elapsed() >= OFFSETS_EVERY {
            self.commit_offsets()?;
        }
        Ok(())
    }

    async fn commit(&mut self, asked: &[Asked<'_>]) -> anyhow::Result<()> {
        let mut tx = self.connection.begin().await?;
        let fresh: Vec<(Uuid, i16)> = sqlx::query_as(TAKE)
            .bind(asked.iter().map(|it| it.command.saga).collect::<Vec<_>>())
            .bind(asked.iter().map(|it| it.command.step).collect::<Vec<_>>())
            .bind(asked.iter().map(|it| it.command.round as i32).collect::<Vec<_>>())
            .bind(asked.iter().map(|it| it.command.direction as i16).collect::<Vec<_>>())
            .bind(asked.iter().map(|it| it.outcome as i16).collect::<Vec<_>>())
            .fetch_all(&mut *tx)
            .await?;
        let fresh: HashSet<(Uuid, i16)> = fresh.into_iter().collect();
        for direction in [Direction::Execute, Direction::Compensate] {
            let is_due = |it: &&Asked<'_>| {
                it.command.direction == direction
                    && it.outcome == Outcome::Succeeded
                    && fresh.contains(&(it.command.saga, direction as i16))
            };
            let due: Vec<&Asked<'_>> = asked.iter().filter(is_due).collect();
            if !due.is_empty() {
                self.worker.change(&mut tx, direction, &due).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    fn reply(&self, offset: i64, asked: &Asked<'_>) -> anyhow::Result<()> {
        let Command { saga, step, direction, round, attempt, .. } = asked.command;
        let data =
            serde_json::to_vec(&Reply { saga, step, direction, round, attempt, outcome: asked.outcome })?;
        kafka::send(&self.replies, INBOX, saga, &data, Box::new((direction as usize, offset)))
    }

    fn commit_offsets(&mut self) -> anyhow::Result<()> {
        let acknowledged: &Arc<Acknowledged> = self.replies.client().context();
        anyhow::ensure!(!acknowledged.failed.load(Ordering::Relaxed), "a reply was not delivered");
        let offsets = acknowledged.next.each_ref().map(|it| it.load(Ordering::Relaxed));
        let news: Vec<(String, i64)> = [Direction::Execute, Direction::Compensate]
            .into_iter()
            .filter(|it| offsets[*it as usize] > self.offsets[*it as usize])
            .map(|it| (kafka::commands(self.name, it), offsets[it as usize]))
            .collect();
        if !news.is_empty() {
            self.reader.commit(&news)?;
        }
        (self.offsets, self.offsets_at) = (offsets, Instant::now());
        Ok(())
    }
}

/// Reads a command and decides about it: only a payment is ever refused.
fn decide(worker: Worker, text: &str) -> anyhow::Result<Asked<'_>> {
    let command: Command<'_> = serde_json::from_str(text)?;
    let order: Order = serde_json::from_str(command.input.get())?;
    let refused =
        worker == Worker::Payment && command.direction == Direction::Execute && order.payment.reject;
    let outcome = if refused { Outcome::Rejected } else { Outcome::Succeeded };
    Ok(Asked { command, order, outcome })
}
