//! The shop's own record of its payments: one row a payment key.
//!
//! Functions take a connection; the caller owns begin and commit. What the vendor says always wins
//! over what is here, and refunds are never taken back by an older answer.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use saga_protocol::Fault;
use saga_worker::Command;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::input::{self, Cancelled, Confirmed, PaymentKey};
use crate::{deposit, toss};

/// The schema that the worker's tables live in.
pub const SCHEMA: &str = "amends_payment";
/// How many payments of one order are shown, the newest first.
const SHOWN_MAX: i64 = 100;

/// A payment, as the read API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Payment {
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// The saga that paid.
    pub saga: Uuid,
    /// Its step.
    pub step: String,
    /// What was asked for, in whole won.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Money that was taken.
    pub captured_amount: i64,
    /// Money that was given back.
    pub refunded_amount: i64,
    /// As the vendor spells it; `REFUSED` when it was never confirmed.
    pub status: String,
    /// How it was paid.
    pub method: Option<String>,
    /// Where the receipt is.
    pub receipt_url: Option<String>,
    /// When it was captured.
    pub approved_at: Option<DateTime<Utc>>,
    /// Why a confirm was refused, or a refund waits for a human.
    pub fault_code: Option<String>,
    /// The same in words.
    pub fault_message: Option<String>,
    /// When the row was made.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// Records a confirm that took effect.
pub(crate) async fn confirmed(
    tx: &mut PgConnection,
    command: &Command,
    asked: &input::Payment,
    output: Confirmed,
    secret: Option<String>,
) -> Result<(), sqlx::Error> {
    // The key may have been refused for an earlier round; a capture by another order is never overwritten.
    let recorded = sqlx::query(
        "insert into amends_payment.payment (payment_key, order_id, saga, step, amount, currency, captured_amount,
             refunded_amount, status, method, receipt_url, approved_at, virtual_account, secret, next_look_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
             now() + make_interval(secs => $15))
         on conflict (payment_key) do update set
             saga = excluded.saga, step = excluded.step, amount = excluded.amount, status = excluded.status,
             captured_amount = excluded.captured_amount,
             refunded_amount = least(excluded.captured_amount, greatest(payment.refunded_amount, excluded.refunded_amount)),
             method = excluded.method, receipt_url = excluded.receipt_url, approved_at = excluded.approved_at,
             order_id = excluded.order_id, virtual_account = excluded.virtual_account,
             secret = coalesce(excluded.secret, payment.secret),
             next_look_at = excluded.next_look_at, fault_code = null, fault_message = null, updated_at = now()
         where payment.order_id = excluded.order_id or payment.captured_amount = 0",
    )
    .bind(asked.payment_key.as_str())
    .bind(asked.order_id.as_str())
    .bind(command.saga.0)
    .bind(command.step.as_str())
    .bind(asked.amount)
    .bind(&asked.currency)
    .bind(output.captured_amount)
    .bind(output.refunded_amount)
    .bind(storable(&output.status))
    .bind(output.method.as_deref().map(storable))
    .bind(output.receipt_url.as_deref().map(storable))
    .bind(instant(output.approved_at.as_deref()))
    .bind(asked.virtual_account)
    .bind(secret.as_deref().map(storable))
    .bind(deposit::look::PAUSE_SECONDS)
    .execute(&mut *tx)
    .await?;
    // Who was offered a virtual account may have paid at once: the saga waits for the deposit all the same.
    if asked.virtual_account && recorded.rows_affected() > 0 {
        deposit::rows::follow(tx, asked.payment_key.as_str()).await?;
    }
    Ok(())
}

/// Records a confirm that was refused.
pub(crate) async fn refused(
    tx: &mut PgConnection,
    command: &Command,
    asked: &input::Payment,
    fault: &Fault,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into amends_payment.payment
             (payment_key, order_id, saga, step, amount, currency, status, fault_code, fault_message)
         values ($1, $2, $3, $4, $5, $6, 'REFUSED', $7, $8)
         on conflict (payment_key) do update set
             fault_code = excluded.fault_code, fault_message = excluded.fault_message, updated_at = now()
         where payment.order_id = excluded.order_id and payment.captured_amount = 0",
    )
    .bind(asked.payment_key.as_str())
    .bind(asked.order_id.as_str())
    .bind(command.saga.0)
    .bind(command.step.as_str())
    .bind(asked.amount)
    .bind(&asked.currency)
    .bind(storable(&fault.code))
    .bind(storable(&fault.message))
    .execute(tx)
    .await?;
    Ok(())
}

/// Records a cancel that took effect.
pub(crate) async fn cancelled(tx: &mut PgConnection, output: &Cancelled) -> Result<(), sqlx::Error> {
    // A refund of a deposit that nobody had heard of proves the deposit too.
    let awaited: Option<bool> = sqlx::query_scalar(
        "update amends_payment.payment set status = $2, fault_code = null, fault_message = null, updated_at = now(),
             captured_amount = greatest(captured_amount, $3),
             refunded_amount = least(greatest(captured_amount, $3), greatest(refunded_amount, $3))
         where payment_key = $1 returning virtual_account",
    )
    .bind(&output.payment_key)
    .bind(storable(&output.status))
    .bind(output.refunded_amount)
    .fetch_optional(&mut *tx)
    .await?;
    if awaited == Some(true) {
        deposit::rows::follow(tx, &output.payment_key).await?;
    }
    Ok(())
}

/// Records a refund that a human must see to.
pub(crate) async fn refund_refused(
    tx: &mut PgConnection,
    payment_key: &PaymentKey,
    fault: &Fault,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update amends_payment.payment set fault_code = $2, fault_message = $3, updated_at = now() where payment_key = $1",
    )
    .bind(payment_key.as_str())
    .bind(storable(&fault.code))
    .bind(storable(&fault.message))
    .execute(tx)
    .await?;
    Ok(())
}

/// Brings a row, and what is to be told of it, up to what the vendor was heard to say; answers its saga. `None` when
/// there is no such row, or when it has changed since `asked_after`: then it may know better.
pub(crate) async fn follow(
    tx: &mut PgConnection,
    truth: &toss::Payment,
    asked_after: DateTime<Utc>,
) -> Result<Option<Uuid>, sqlx::Error> {
    let followed: Option<(Uuid, bool)> = sqlx::query_as(
        "update amends_payment.payment set status = $2, captured_amount = $3,
             refunded_amount = least($3, greatest(refunded_amount, $4)),
             approved_at = coalesce($5, approved_at), secret = coalesce(secret, $7), updated_at = now()
         where payment_key = $1 and order_id = $6 and updated_at < $8 returning saga, virtual_account",
    )
    .bind(&truth.payment_key)
    .bind(truth.status.as_str())
    .bind(truth.captured_amount())
    .bind(truth.refunded_amount())
    .bind(instant(truth.approved_at.as_deref()))
    .bind(&truth.order_id)
    .bind(truth.secret.as_deref().map(storable))
    .bind(asked_after)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some((_, true)) = followed {
        deposit::rows::follow(tx, &truth.payment_key).await?;
    }
    Ok(followed.map(|(saga, _)| saga))
}

/// What a row says, as far as the vendor can change it.
#[derive(sqlx::FromRow)]
pub(crate) struct Record {
    payment_key: String,
    pub(crate) order_id: String,
    pub(crate) saga: Uuid,
    status: String,
    captured_amount: i64,
    refunded_amount: i64,
    approved_at: Option<DateTime<Utc>>,
    secret: Option<String>,
}

impl Record {
    /// Whether following this would leave the row as it is; see [`follow`].
    pub(crate) fn says(&self, truth: &toss::Payment) -> bool {
        let approved_at = instant(truth.approved_at.as_deref());
        self.order_id == truth.order_id
            && self.status == truth.status.as_str()
            && self.captured_amount == truth.captured_amount()
            && self.refunded_amount >= truth.refunded_amount()
            && (approved_at.is_none() || approved_at == self.approved_at)
    }

    /// Whether this is the secret that the vendor has given us; not if we have none.
    pub(crate) fn knows(&self, secret: Option<&str>) -> bool {
        self.secret.is_some() && self.secret.as_deref() == secret
    }
}

/// What is recorded under these keys.
pub(crate) async fn records(
    connection: &mut PgConnection,
    payment_keys: impl Iterator<Item = &str>,
) -> Result<HashMap<String, Record>, sqlx::Error> {
    let keys: Vec<String> = payment_keys.map(storable).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let records: Vec<Record> = sqlx::query_as(
        "select payment_key, order_id, saga, status, captured_amount, refunded_amount, approved_at, secret
         from amends_payment.payment where payment_key = any($1)",
    )
    .bind(keys)
    .fetch_all(connection)
    .await?;
    Ok(records.into_iter().map(|it| (it.payment_key.clone(), it)).collect())
}

/// What was captured for an order, whatever was given back of it since; the oldest first.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn captured(pool: &PgPool, order_id: &input::OrderId) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as(
        "select * from amends_payment.payment where order_id = $1 and captured_amount > 0
         order by created_at, payment_key limit $2",
    )
    .bind(order_id.as_str())
    .bind(SHOWN_MAX)
    .fetch_all(pool)
    .await
}

/// The payment with this key.
///
/// # Errors
/// When the database does not answer.
pub async fn by_key(pool: &PgPool, payment_key: &PaymentKey) -> Result<Option<Payment>, sqlx::Error> {
    sqlx::query_as("select * from amends_payment.payment where payment_key = $1")
        .bind(payment_key.as_str())
        .fetch_optional(pool)
        .await
}

/// An order's payments, the newest first; at most a hundred.
///
/// # Errors
/// When the database does not answer.
pub async fn of_order(pool: &PgPool, order_id: &input::OrderId) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as(
        "select * from amends_payment.payment where order_id = $1 order by created_at desc limit $2",
    )
    .bind(order_id.as_str())
    .bind(SHOWN_MAX)
    .fetch_all(pool)
    .await
}

/// Text that Postgres takes: the vendor's words may hold anything that JSON can spell.
pub(crate) fn storable(text: &str) -> String {
    text.chars().filter(|it| *it != '\0').take(1_000).collect()
}

fn instant(text: Option<&str>) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text?).ok().map(|at| at.with_timezone(&Utc))
}
