//! Asks the vendor about virtual accounts that wait for their deposit: a webhook that got lost is only a delay.

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use sqlx::PgPool;

use crate::{store, toss};

const TAKEN_MAX: i64 = 32;
const AT_ONCE: usize = 4;
/// The first pause, in s; longer than an inquiry takes. Each is twice as long as the one before.
pub(crate) const PAUSE_SECONDS: i32 = 15;
/// The longest pause, in s.
const PAUSE_SECONDS_MAX: i32 = 1_800;
/// The vendor keeps no account open for longer, in days.
const OPEN_DAYS_MAX: i32 = 90;

/// Asks once about what is due; answers how many accounts that were.
///
/// # Errors
/// When the database does not answer.
pub async fn pass(pool: &PgPool, toss: &toss::Client) -> Result<usize, sqlx::Error> {
    let due: Vec<(String, DateTime<Utc>)> = sqlx::query_as(
        "update amends_payment.payment set looks = looks + 1,
             next_look_at = now() + make_interval(secs => least($2 * 2 ^ least(looks, 16), $3))
         where payment_key in (
             select payment_key from amends_payment.payment
             where virtual_account and status = 'WAITING_FOR_DEPOSIT' and next_look_at <= now()
                 and created_at > now() - make_interval(days => $4)
             order by next_look_at limit $1 for update skip locked)
         returning payment_key, now()",
    )
    .bind(TAKEN_MAX)
    .bind(PAUSE_SECONDS)
    .bind(PAUSE_SECONDS_MAX)
    .bind(OPEN_DAYS_MAX)
    .fetch_all(pool)
    .await?;
    let count = due.len();
    let results: Vec<_> = stream::iter(due)
        .map(|(key, at)| look_at(pool, toss, key, at))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    results.into_iter().collect::<Result<(), sqlx::Error>>()?;
    Ok(count)
}

async fn look_at(
    pool: &PgPool,
    toss: &toss::Client,
    payment_key: String,
    taken_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    match toss.payment(&payment_key).await {
        Ok(Some(truth)) => {
            let changed = truth.status != toss::Status::WaitingForDeposit;
            metrics::counter!("amends_payment_looks_total", "found" => if changed { "change" } else { "nothing" })
                .increment(1);
            if changed {
                let mut tx = pool.begin().await?;
                store::follow(&mut tx, &truth, taken_at).await?;
                tx.commit().await?;
            }
        }
        Ok(None) => tracing::warn!("Toss Payments does not know a virtual account that it has opened"),
        Err(error) => tracing::warn!(%error, "an open virtual account cannot be asked about"),
    }
    Ok(())
}
