//! The rows of deposits: kept with the payment that they belong to, delivered once.
//!
//! Functions that take a connection leave begin and commit to the caller.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// The lease of a delivery, in s: longer than the engine may take to answer.
const LEASE_SECONDS: i32 = 15;
/// The longest pause between two tries, in s. A deposit is never given up: somebody has paid.
const PAUSE_SECONDS_MAX: i32 = 300;
/// How many are taken at once.
const TAKEN_MAX: i64 = 32;

/// A deposit that is to be told.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Deposit {
    pub(crate) id: Uuid,
    pub(crate) payment_key: String,
    pub(crate) saga: Uuid,
    pub(crate) order_id: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) approved_at: Option<DateTime<Utc>>,
    pub(crate) tries: i32,
}

/// Brings what is to be told in line with the payment's row: a deposit that has come is kept to be told; one that
/// went back before anybody was told is not told any more.
pub(crate) async fn follow(tx: &mut PgConnection, payment_key: &str) -> Result<(), sqlx::Error> {
    // Money that the vendor has taken back may come again: it is told again, under the same id.
    sqlx::query(
        "insert into amends_payment.deposit as it (payment_key, saga, order_id, amount, currency, approved_at)
         select payment_key, saga, order_id, captured_amount, currency, approved_at from amends_payment.payment
         where payment_key = $1 and virtual_account and captured_amount > refunded_amount
         on conflict (payment_key, saga) do update set outcome = null, detail = null, finished_at = null,
             next_try_at = now()
         where it.outcome in ('withdrawn', 'taken_back')",
    )
    .bind(payment_key)
    .execute(&mut *tx)
    .await?;
    let ended: Vec<(String, String, Uuid)> = sqlx::query_as(
        "update amends_payment.deposit as it set finished_at = now(),
             outcome = case when it.outcome is null then 'withdrawn' else 'taken_back' end
         from amends_payment.payment as payment
         where payment.payment_key = $1 and it.payment_key = payment.payment_key and it.saga = payment.saga
             and payment.captured_amount <= payment.refunded_amount
             and (it.outcome is null or (it.outcome = 'told' and payment.status = 'WAITING_FOR_DEPOSIT'))
         returning it.outcome, it.order_id, it.saga",
    )
    .bind(payment_key)
    .fetch_all(tx)
    .await?;
    for (outcome, order_id, saga) in ended {
        metrics::counter!("amends_payment_deposits_total", "outcome" => outcome.clone()).increment(1);
        if outcome == "taken_back" {
            tracing::error!(
                order.id = order_id,
                saga.id = %saga,
                "the bank has taken a deposit back after its saga was told: the order may be under way unpaid"
            );
        }
    }
    Ok(())
}

/// Takes what is due, each for as long as its lease.
pub(super) async fn take(pool: &PgPool) -> Result<Vec<Deposit>, sqlx::Error> {
    sqlx::query_as(
        "update amends_payment.deposit set tries = tries + 1, next_try_at = now() + make_interval(secs => $2)
         where id in (
             select id from amends_payment.deposit where outcome is null and next_try_at <= now()
             order by next_try_at limit $1 for update skip locked)
         returning id, payment_key, saga, order_id, amount, currency, approved_at, tries",
    )
    .bind(TAKEN_MAX)
    .bind(LEASE_SECONDS)
    .fetch_all(pool)
    .await
}

/// Those that nobody has tried to tell yet; from now on somebody has.
pub(super) async fn untold(pool: &PgPool) -> Result<Vec<Deposit>, sqlx::Error> {
    sqlx::query_as(
        "update amends_payment.deposit set tries = 1
         where id in (
             select id from amends_payment.deposit where outcome is null and tries = 0
             order by next_try_at limit $1 for update skip locked)
         returning id, payment_key, saga, order_id, amount, currency, approved_at, tries",
    )
    .bind(TAKEN_MAX)
    .fetch_all(pool)
    .await
}

/// Notes how a delivery ended. One that was withdrawn meanwhile, and told all the same, was told.
pub(super) async fn finish(
    pool: &PgPool,
    id: Uuid,
    outcome: &str,
    detail: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update amends_payment.deposit set outcome = $2, detail = $3, finished_at = now()
         where id = $1 and (outcome is null or outcome = 'withdrawn')",
    )
    .bind(id)
    .bind(outcome)
    .bind(detail)
    .execute(pool)
    .await?;
    Ok(())
}

/// Puts a delivery off: after two seconds at first, then after twice as long each time, at most five minutes.
pub(super) async fn put_off(pool: &PgPool, id: Uuid, why: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update amends_payment.deposit set detail = $2,
             next_try_at = now() + make_interval(secs => least(2 ^ least(tries, 16), $3))
         where id = $1 and outcome is null",
    )
    .bind(id)
    .bind(why)
    .bind(PAUSE_SECONDS_MAX)
    .execute(pool)
    .await?;
    Ok(())
}
