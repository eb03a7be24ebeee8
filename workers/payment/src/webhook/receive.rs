//! `POST /webhooks/toss`: kept durably, then answered 200; nothing else happens before the answer.
//!
//! Deliveries that come while others are written are written together, next.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::is_of_data;
use super::notice::Notice;

/// The largest webhook that is taken, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
const TRANSMISSION_ID: &str = "tosspayments-webhook-transmission-id";
const TRANSMISSION_ID_CHARS_MAX: usize = 200;

/// How many deliveries may wait to be kept; beyond, the vendor is to repeat them.
const QUEUE_MAX: usize = 1_024;
/// How many are kept at once.
const GROUP_MAX: usize = 128;

/// How long one is left alone, in s. The vendor sends it while it answers our call: once that answer is recorded there
/// is nothing to ask.
const LEFT_ALONE_SECONDS: f64 = 0.25;

/// A delivery that waits to be kept.
struct Delivery {
    transmission_id: String,
    body: String,
    /// Told once it is durable; dropped when it cannot be kept.
    kept: oneshot::Sender<()>,
}

/// The route, and a task behind it that lives as long as the route does.
pub(crate) fn routes(pool: PgPool) -> Router {
    let (queue, deliveries) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(keep(pool, deliveries));
    Router::new()
        .route("/webhooks/toss", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(queue)
}

async fn receive(State(queue): State<mpsc::Sender<Delivery>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(text) = std::str::from_utf8(&body) else { return StatusCode::BAD_REQUEST };
    if Notice::read(text).is_none() {
        return StatusCode::BAD_REQUEST;
    }
    let (kept, answered) = oneshot::channel();
    let delivery =
        Delivery { transmission_id: transmission_id(&headers, &body), body: text.to_owned(), kept };
    if let Err(error) = queue.try_send(delivery) {
        tracing::warn!(%error, waiting_max = QUEUE_MAX, "a webhook is refused; the vendor will repeat it");
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if answered.await.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Keeps deliveries until nobody can send any more and none is left.
async fn keep(pool: PgPool, mut deliveries: mpsc::Receiver<Delivery>) {
    let mut group = Vec::new();
    while deliveries.recv_many(&mut group, GROUP_MAX).await > 0 {
        let mut failed = insert(&pool, &group).await.err();
        if failed.as_ref().is_some_and(|error| !is_of_data(error)) {
            // A connection that has died since it was used last, most likely.
            failed = insert(&pool, &group).await.err();
        }
        let alone = group.len() > 1 && failed.as_ref().is_some_and(is_of_data);
        for one in group.drain(..) {
            if alone {
                failed = insert(&pool, std::slice::from_ref(&one)).await.err();
            }
            if let Some(error) = &failed {
                tracing::error!(%error, "a webhook could not be kept; the vendor will repeat it");
            } else {
                // Whoever has hung up meanwhile repeats what is kept.
                let _ = one.kept.send(());
            }
        }
    }
}

/// A repeat of one that is settled is only counted.
async fn insert(pool: &PgPool, group: &[Delivery]) -> Result<(), sqlx::Error> {
    // A statement may meet a row only once; sorted, as whoever finishes them locks them in this order too.
    let mut once: BTreeMap<&str, (&str, i32)> = BTreeMap::new();
    for one in group {
        once.entry(&one.transmission_id).or_insert((&one.body, 0)).1 += 1;
    }
    let (ids, rest): (Vec<&str>, Vec<(&str, i32)>) = once.into_iter().unzip();
    let (bodies, counts): (Vec<&str>, Vec<i32>) = rest.into_iter().unzip();
    sqlx::query(
        "insert into amends_payment.webhook as it (transmission_id, body, deliveries, next_try_at)
         select *, now() + make_interval(secs => $4) from unnest($1::text[], $2::text[], $3::int[])
         on conflict (transmission_id) do update set deliveries = it.deliveries + excluded.deliveries",
    )
    .bind(ids)
    .bind(bodies)
    .bind(counts)
    .bind(LEFT_ALONE_SECONDS)
    .execute(pool)
    .await?;
    Ok(())
}

/// What repeats of a transmission have in common: the vendor's id, else what was sent.
fn transmission_id(headers: &HeaderMap, body: &[u8]) -> String {
    let id = headers.get(TRANSMISSION_ID).and_then(|it| it.to_str().ok());
    if let Some(id) = id.filter(|it| !it.is_empty() && it.len() <= TRANSMISSION_ID_CHARS_MAX) {
        return id.to_owned();
    }
    Sha256::digest(body).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
