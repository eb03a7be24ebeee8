//! Tells the engine of deposits, until it has answered each.
//!
//! Several instances share the work: a row that is taken is leased. A process that dies between the engine's answer
//! and its note tells it again under the same id, which the engine takes as a repetition.

use futures::{StreamExt, stream};
use sqlx::PgPool;

use super::SIGNAL;
use super::engine::{Engine, Told};
use super::rows::{self, Deposit};

const AT_ONCE: usize = 8;

/// Tells once what is due; answers how many that were. Without an engine each is only complained about, once.
///
/// # Errors
/// When the database does not answer.
pub async fn pass(pool: &PgPool, engine: Option<&Engine>) -> Result<usize, sqlx::Error> {
    let Some(engine) = engine else {
        for deposit in rows::untold(pool).await? {
            count("unconfigured");
            tracing::error!(
                order.id = deposit.order_id,
                saga.id = %deposit.saga,
                "a deposit has come and its saga is not told: set AMENDS_URL and AMENDS_API_KEY, and restart, or send \
                 the signal `{SIGNAL}` by hand"
            );
        }
        return Ok(0);
    };
    let taken = rows::take(pool).await?;
    let count = taken.len();
    let results: Vec<_> =
        stream::iter(taken).map(|it| deliver(pool, engine, it)).buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect::<Result<(), sqlx::Error>>()?;
    Ok(count)
}

async fn deliver(pool: &PgPool, engine: &Engine, deposit: Deposit) -> Result<(), sqlx::Error> {
    let Deposit { id, saga, tries, ref order_id, .. } = deposit;
    match engine.tell(&deposit).await {
        Told::Kept => {
            count("told");
            tracing::info!(order.id = order_id, saga.id = %saga, "the saga was told of its deposit");
            rows::finish(pool, id, "told", None).await
        }
        Told::Refused(why) => {
            count("refused");
            tracing::error!(
                order.id = order_id,
                saga.id = %saga,
                why,
                "the engine refuses to hear of a deposit: look at the saga, and refund the payment if it was undone"
            );
            rows::finish(pool, id, "refused", Some(&why)).await
        }
        Told::Locked(why) => {
            count("locked_out");
            tracing::error!(
                order.id = order_id,
                saga.id = %saga,
                tries,
                why,
                "the engine does not let us in: set AMENDS_API_KEY to a key with the role `worker`"
            );
            rows::put_off(pool, id, &why).await
        }
        Told::NotNow(why) => {
            count("later");
            tracing::warn!(order.id = order_id, saga.id = %saga, tries, why, "the engine will be told again");
            rows::put_off(pool, id, &why).await
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("amends_payment_deposits_total", "outcome" => outcome).increment(1);
}
