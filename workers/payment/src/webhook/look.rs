//! Looks into webhooks that were kept: asks the vendor, compares the secret, follows what it says.
//!
//! Several instances share the work: taking a row moves its next try ahead, which is a lease while it
//! is looked into and a backoff when that came to nothing.
//!
//! Nearly all webhooks tell what the answer to our own call has told already: they change no payment, and are finished
//! together. One that changes a payment is followed and finished in a transaction of its own: rows of several payments,
//! locked in one transaction, could deadlock with the worker's results, which lock them in the order of their sagas.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::FusedStream;
use futures::{StreamExt, stream};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::is_of_data;
use super::notice::Notice;
use crate::toss::{self, Client};
use crate::{poll, store};

/// How many are taken at once.
const TAKEN_MAX: usize = 128;
/// How many of them the vendor is asked about, all at once: the others stay due.
const AT_ONCE: usize = 32;
/// What is answered within this time is finished together; it does not wait for those that are answered later.
const TOGETHER: Duration = Duration::from_millis(500);
/// How many payments are changed at once, each on a connection of its own.
const CHANGED_AT_ONCE: usize = 4;
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
    /// What the vendor says is asked for after this instant of the database's clock.
    taken_at: DateTime<Utc>,
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

/// A webhook, and what came of it.
struct Ended {
    transmission_id: String,
    outcome: Outcome,
}

impl Kept {
    fn end(&self, outcome: Outcome) -> Ended {
        Ended { transmission_id: self.transmission_id.clone(), outcome }
    }
}

/// What asking came to.
enum Found {
    /// What the vendor says of the payment.
    Truth(toss::Payment),
    /// Nothing to follow.
    End(Outcome),
}

/// Looks into webhooks until `shutdown`.
pub async fn run(pool: PgPool, toss: Client, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        poll::rest("webhooks", pass(&pool, &toss).await, TAKEN_MAX, &shutdown).await;
    }
}

/// Looks once into what is due; answers how many that were.
///
/// # Errors
/// When the database does not answer.
pub async fn pass(pool: &PgPool, toss: &Client) -> Result<usize, sqlx::Error> {
    let (count, open) = take(pool).await?;
    let asked = stream::iter(open).map(async |kept| (ask(toss, &kept).await, kept));
    let mut asked = pin!(asked.buffer_unordered(AT_ONCE));
    while !asked.is_terminated() {
        let answered: Vec<_> = asked.as_mut().take_until(tokio::time::sleep(TOGETHER)).collect().await;
        if !answered.is_empty() {
            settle(pool, answered).await?;
        }
    }
    Ok(count)
}

/// Finishes what is due and tells nothing new, and leases others; answers how many were due, and the leased ones.
async fn take(pool: &PgPool) -> Result<(usize, Vec<Kept>), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let due: Vec<Kept> = sqlx::query_as(
        "select transmission_id, body, tries + 1 as tries, now() as taken_at from amends_payment.webhook
         where outcome is null and next_try_at <= now()
         order by next_try_at limit $1 for update skip locked",
    )
    .bind(i64::try_from(TAKEN_MAX).expect("a small number"))
    .fetch_all(&mut *tx)
    .await?;
    let count = due.len();
    let (known, mut open) = known(&mut tx, due).await?;
    open.truncate(AT_ONCE);
    lease(&mut tx, open.iter().map(|it| it.transmission_id.as_str())).await?;
    match finish(&mut tx, &known).await {
        Ok(()) => {
            tx.commit().await?;
            known.iter().for_each(tell);
        }
        Err(error) if is_of_data(&error) => {
            tx.rollback().await?;
            let all =
                open.iter().map(|it| &it.transmission_id).chain(known.iter().map(|it| &it.transmission_id));
            lease(&mut *pool.acquire().await?, all.map(String::as_str)).await?;
            finish_all(pool, &known).await?;
        }
        Err(error) => return Err(error),
    }
    Ok((count, open))
}

async fn lease(connection: &mut PgConnection, ids: impl Iterator<Item = &str>) -> Result<(), sqlx::Error> {
    let mut ids: Vec<&str> = ids.collect();
    if ids.is_empty() {
        return Ok(());
    }
    ids.sort_unstable();
    sqlx::query(
        "update amends_payment.webhook as webhook set tries = tries + 1,
             next_try_at = now() + make_interval(secs => least($2 * 2 ^ tries, 3600))
         from unnest($1::text[]) as it (transmission_id) where webhook.transmission_id = it.transmission_id",
    )
    .bind(ids)
    .bind(LEASE_SECONDS)
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells what says nothing new from the others.
///
/// The vendor wants to be asked before a webhook is acted on. Where the payment's row, which follows the vendor's
/// answers to us, says the same already, there is nothing to act on, whoever has sent it; a later change has a webhook
/// of its own. Without the secret of those answers it may be forged, which the vendor is asked to tell, as it is about
/// a status that we do not know.
async fn known(
    connection: &mut PgConnection,
    due: Vec<Kept>,
) -> Result<(Vec<Ended>, Vec<Kept>), sqlx::Error> {
    let claimed: Vec<_> = due.into_iter().map(|kept| (Notice::claim(&kept.body), kept)).collect();
    let keys = claimed.iter().filter_map(|(claim, _)| Some(claim.as_ref()?.payment_key.as_str()));
    let records = store::records(connection, keys).await?;
    let (mut known, mut open) = (Vec::new(), Vec::new());
    for (claim, kept) in claimed {
        let told = claim.as_ref().and_then(|claim| {
            let record = records.get(&claim.payment_key)?;
            let nothing_new = claim.status != toss::Status::Unknown && record.says(claim);
            (nothing_new && record.knows(claim.secret.as_deref())).then_some((claim, record.saga))
        });
        match told {
            Some((claim, saga)) => known.push(kept.end(followed(&kept, claim, Some(saga)))),
            None => open.push(kept),
        }
    }
    Ok((known, open))
}

async fn ask(toss: &Client, kept: &Kept) -> Found {
    let Some(notice) = Notice::read(&kept.body) else {
        return Found::End(Outcome::Ignored("unreadable".to_owned()));
    };
    let found = match &notice {
        Notice::StatusChanged { payment_key, .. } => toss.payment(payment_key).await,
        Notice::Deposit { order_id, .. } => toss.payment_of_order(order_id).await,
        Notice::Other(kind) => return Found::End(Outcome::Ignored(kind.clone())),
    };
    match found {
        Ok(None) => Found::End(Outcome::UnknownPayment),
        Ok(Some(truth)) if !same_secret(&notice, &truth) => Found::End(Outcome::Forged),
        Ok(Some(truth)) => Found::Truth(truth),
        Err(error) => Found::End(later(kept.tries, error.to_string())),
    }
}

/// A payment without a secret has nothing to compare; its truth comes from the vendor either way.
fn same_secret(notice: &Notice, truth: &toss::Payment) -> bool {
    truth.secret.is_none() || truth.secret.as_deref() == notice.secret()
}

/// Finishes what was answered, and changes the payments of which the vendor says something new.
async fn settle(pool: &PgPool, answered: Vec<(Found, Kept)>) -> Result<(), sqlx::Error> {
    let truths = answered.iter().filter_map(|(found, _)| match found {
        Found::Truth(truth) => Some(truth),
        Found::End(_) => None,
    });
    let mut connection = pool.acquire().await?;
    let records = store::records(&mut connection, truths.map(|it| it.payment_key.as_str())).await?;
    drop(connection);
    let (mut ended, mut changed) = (Vec::new(), Vec::new());
    for (found, kept) in answered {
        match found {
            Found::End(outcome) => ended.push(kept.end(outcome)),
            Found::Truth(truth) => {
                let record = records.get(&truth.payment_key).filter(|it| it.order_id == truth.order_id);
                match record {
                    Some(record) if !record.says(&truth) => changed.push((kept, truth)),
                    _ => ended.push(kept.end(followed(&kept, &truth, record.map(|it| it.saga)))),
                }
            }
        }
    }
    finish_all(pool, &ended).await?;
    let changing = stream::iter(changed).map(|(kept, truth)| change(pool, kept, truth));
    let results: Vec<_> = changing.buffer_unordered(CHANGED_AT_ONCE).collect().await;
    results.into_iter().collect()
}

/// Follows what the vendor says and finishes the webhook, both or neither.
async fn change(pool: &PgPool, kept: Kept, truth: toss::Payment) -> Result<(), sqlx::Error> {
    let both = async {
        let mut tx = pool.begin().await?;
        let mut saga = store::follow(&mut tx, &truth, kept.taken_at).await?;
        if saga.is_none() {
            // Another webhook may have told the same.
            let mut records = store::records(&mut tx, std::iter::once(truth.payment_key.as_str())).await?;
            let record = records.remove(&truth.payment_key).filter(|it| it.says(&truth));
            saga = record.map(|it| it.saga);
        }
        let (payment_key, order_id) = (truth.payment_key.clone(), truth.order_id.clone());
        let outcome = match saga {
            Some(saga) => Outcome::Applied { payment_key, order_id, saga },
            None => later(kept.tries, "the payment has changed meanwhile".to_owned()),
        };
        let ended = kept.end(outcome);
        finish(&mut tx, std::slice::from_ref(&ended)).await?;
        tx.commit().await?;
        Ok(ended)
    };
    match both.await {
        Ok(ended) => tell(&ended),
        Err(error) if is_of_data(&error) => {
            let ended = kept.end(later(kept.tries, error.to_string()));
            finish_all(pool, std::slice::from_ref(&ended)).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What it means that a payment was brought up to the vendor's word, in the row of this saga if there is one.
fn followed(kept: &Kept, truth: &toss::Payment, saga: Option<Uuid>) -> Outcome {
    let (payment_key, order_id) = (truth.payment_key.clone(), truth.order_id.clone());
    match saga {
        Some(saga) => Outcome::Applied { payment_key, order_id, saga },
        // The webhook may have overtaken the answer to its confirm.
        None if kept.tries < TRIES_FOR_A_ROW_MAX => {
            Outcome::Later("the payment is not recorded yet".to_owned())
        }
        None => Outcome::NotOurs { payment_key, order_id },
    }
}

fn later(tries: i32, why: String) -> Outcome {
    if tries < TRIES_MAX { Outcome::Later(why) } else { Outcome::GivenUp(why) }
}

/// Finishes these together; one by one when the database refuses one of them.
async fn finish_all(pool: &PgPool, ended: &[Ended]) -> Result<(), sqlx::Error> {
    let mut groups = vec![ended];
    while let Some(group) = groups.pop() {
        let mut connection = pool.acquire().await?;
        match finish(&mut connection, group).await {
            Ok(()) => group.iter().for_each(tell),
            Err(error) if is_of_data(&error) && group.len() > 1 => groups.extend(group.chunks(1)),
            Err(error) if is_of_data(&error) => {
                let transmission = group.first().map(|it| &it.transmission_id);
                tracing::error!(transmission, %error, "what came of a webhook cannot be noted");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn finish(connection: &mut PgConnection, ended: &[Ended]) -> Result<(), sqlx::Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let (mut ids, mut names, mut details) = (Vec::new(), Vec::new(), Vec::new());
    let (mut keys, mut orders, mut sagas) = (Vec::new(), Vec::new(), Vec::new());
    // Locked in the order in which repeats are counted.
    let mut ended: Vec<&Ended> = ended.iter().collect();
    ended.sort_unstable_by_key(|it| &it.transmission_id);
    for Ended { transmission_id, outcome } in ended {
        let (payment_key, order_id, saga) = outcome.payment();
        ids.push(transmission_id.as_str());
        names.push(outcome.name());
        details.push(outcome.detail().map(store::storable));
        keys.push(payment_key.map(store::storable));
        orders.push(order_id.map(store::storable));
        sagas.push(saga);
    }
    // Whether they are open is asked of what was found by their keys: the index of what is open is full of what was.
    sqlx::query(
        "with it as materialized (
             select it.*, webhook.outcome as before
             from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[])
                 as it (transmission_id, outcome, detail, payment_key, order_id, saga)
             cross join lateral (
                 select outcome from amends_payment.webhook
                 where webhook.transmission_id = it.transmission_id for update) as webhook)
         update amends_payment.webhook as webhook set outcome = it.outcome, detail = it.detail,
             payment_key = it.payment_key, order_id = it.order_id, saga = it.saga,
             finished_at = case when it.outcome is null then null else now() end
         from it where webhook.transmission_id = it.transmission_id and it.before is null",
    )
    .bind(ids)
    .bind(names)
    .bind(details)
    .bind(keys)
    .bind(orders)
    .bind(sagas)
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells of what has been noted.
fn tell(Ended { transmission_id, outcome }: &Ended) {
    let name = outcome.name();
    if matches!(outcome, Outcome::Forged | Outcome::UnknownPayment | Outcome::GivenUp(_)) {
        tracing::warn!(transmission = transmission_id, outcome = name, "a webhook was not followed");
    }
    metrics::counter!("amends_toss_webhooks_total", "outcome" => name.unwrap_or("later")).increment(1);
}

impl Outcome {
    /// As it is recorded; `None` while it is open.
    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Applied { .. } => Some("applied"),
            Self::Forged => Some("forged"),
            Self::UnknownPayment => Some("unknown_payment"),
            Self::NotOurs { .. } => Some("not_ours"),
            Self::Ignored(_) => Some("ignored"),
            Self::GivenUp(_) => Some("given_up"),
            Self::Later(_) => None,
        }
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Self::Ignored(why) | Self::GivenUp(why) | Self::Later(why) => Some(why),
            _ => None,
        }
    }

    /// The payment's key, order and saga.
    fn payment(&self) -> (Option<&str>, Option<&str>, Option<Uuid>) {
        match self {
            Self::Applied { payment_key, order_id, saga } => (Some(payment_key), Some(order_id), Some(*saga)),
            Self::NotOurs { payment_key, order_id } => (Some(payment_key), Some(order_id), None),
            _ => (None, None, None),
        }
    }
}
