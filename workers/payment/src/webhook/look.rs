//! Looks into webhooks that were kept: asks the vendor, compares the secret, follows what it says.
//!
//! Several instances share the work: taking a row moves its next try ahead, which is a lease while it
//! is looked into and a backoff when that came to nothing.

use futures::{StreamExt, stream};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::notice::Notice;
use crate::toss::{self, Client, TossError};
use crate::{poll, store};

const TAKEN_MAX: i64 = 32;
const AT_ONCE: usize = 8;
/// The first wait of the backoff, and longer than an inquiry takes.
const LEASE_SECONDS: i32 = 15;
/// After so many tries (the waits double up to an hour: half a day) nobody looks any more.
const TRIES_MAX: i32 = 20;
/// A payment that is not ours after so many tries is not ours: the confirm that it overtook has been
/// recorded long since.
const TRIES_FOR_A_ROW_MAX: i32 = 4;

#[derive(sqlx::FromRow)]
struct Kept {
    transmission_id: String,
    body: String,
    tries: i32,
}

/// What came of looking.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Applied {
        payment_key: String,
        order_id: String,
        saga: Uuid,
    },
    Forged,
    UnknownPayment,
    NotOurs {
        payment_key: String,
        order_id: String,
    },
    Ignored(String),
    GivenUp(String),
    /// Not now.
    Later(String),
}

/// Looks into webhooks until `shutdown`.
pub async fn run(pool: PgPool, toss: Client, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        poll::rest("webhooks", pass(&pool, &toss).await, &shutdown).await;
    }
}

/// Looks once into what is due; answers how many that were.
///
/// # Errors
/// When the database does not answer.
pub async fn pass(pool: &PgPool, toss: &Client) -> Result<usize, sqlx::Error> {
    let kept: Vec<Kept> = sqlx::query_as(
        "update amends_payment.webhook set tries = tries + 1,
             next_try_at = now() + make_interval(secs => least($2 * 2 ^ tries, 3600))
         where transmission_id in (
             select transmission_id from amends_payment.webhook
             where outcome is null and next_try_at <= now()
             order by next_try_at limit $1 for update skip locked)
         returning transmission_id, body, tries",
    )
    .bind(TAKEN_MAX)
    .bind(LEASE_SECONDS)
    .fetch_all(pool)
    .await?;
    let count = kept.len();
    let results: Vec<_> = stream::iter(kept)
        .map(|it| async move { finish(pool, &it, look_into(pool, toss, &it).await?).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    results.into_iter().collect::<Result<(), sqlx::Error>>()?;
    Ok(count)
}

async fn look_into(pool: &PgPool, toss: &Client, kept: &Kept) -> Result<Outcome, sqlx::Error> {
    let Some(notice) = Notice::read(&kept.body) else { return Ok(Outcome::Ignored("unreadable".to_owned())) };
    let found = match &notice {
        Notice::StatusChanged { payment_key, .. } => toss.payment(payment_key).await,
        Notice::Deposit { order_id, .. } => toss.payment_of_order(order_id).await,
        Notice::Other(kind) => return Ok(Outcome::Ignored(kind.clone())),
    };
    match found {
        Ok(None) => Ok(Outcome::UnknownPayment),
        Ok(Some(truth)) if !same_secret(&notice, &truth) => Ok(Outcome::Forged),
        Ok(Some(truth)) => follow(pool, kept.tries, truth).await,
        Err(error) => Ok(later(kept.tries, &error)),
    }
}

/// A payment without a secret has nothing to compare; its truth comes from the vendor either way.
fn same_secret(notice: &Notice, truth: &toss::Payment) -> bool {
    truth.secret.is_none() || truth.secret.as_deref() == notice.secret()
}

async fn follow(pool: &PgPool, tries: i32, truth: toss::Payment) -> Result<Outcome, sqlx::Error> {
    let (payment_key, order_id) = (truth.payment_key.clone(), truth.order_id.clone());
    let mut tx = pool.begin().await?;
    let followed = store::follow(&mut tx, &truth).await?;
    tx.commit().await?;
    match followed {
        Some(saga) => Ok(Outcome::Applied { payment_key, order_id, saga }),
        // The webhook may have overtaken the answer to its confirm.
        None if tries < TRIES_FOR_A_ROW_MAX => {
            Ok(Outcome::Later("the payment is not recorded yet".to_owned()))
        }
        None => Ok(Outcome::NotOurs { payment_key, order_id }),
    }
}

fn later(tries: i32, error: &TossError) -> Outcome {
    if tries < TRIES_MAX { Outcome::Later(error.to_string()) } else { Outcome::GivenUp(error.to_string()) }
}

async fn finish(pool: &PgPool, kept: &Kept, outcome: Outcome) -> Result<(), sqlx::Error> {
    let (name, detail, payment_key, order_id, saga) = match outcome {
        Outcome::Applied { payment_key, order_id, saga } => {
            (Some("applied"), None, Some(payment_key), Some(order_id), Some(saga))
        }
        Outcome::Forged => (Some("forged"), None, None, None, None),
        Outcome::UnknownPayment => (Some("unknown_payment"), None, None, None, None),
        Outcome::NotOurs { payment_key, order_id } => {
            (Some("not_ours"), None, Some(payment_key), Some(order_id), None)
        }
        Outcome::Ignored(why) => (Some("ignored"), Some(why), None, None, None),
        Outcome::GivenUp(why) => (Some("given_up"), Some(why), None, None, None),
        Outcome::Later(why) => (None, Some(why), None, None, None),
    };
    if matches!(name, Some("forged" | "unknown_payment" | "given_up")) {
        tracing::warn!(transmission = kept.transmission_id, outcome = name, "a webhook was not followed");
    }
    metrics::counter!("amends_toss_webhooks_total", "outcome" => name.unwrap_or("later")).increment(1);
    sqlx::query(
        "update amends_payment.webhook set outcome = $2, detail = $3, payment_key = $4, order_id = $5, saga = $6,
             finished_at = case when $2 is null then null else now() end
         where transmission_id = $1 and outcome is null",
    )
    .bind(&kept.transmission_id)
    .bind(name)
    .bind(detail)
    .bind(payment_key)
    .bind(order_id)
    .bind(saga)
    .execute(pool)
    .await?;
    Ok(())
}
