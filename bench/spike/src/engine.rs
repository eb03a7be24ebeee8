//! The engine's process: HTTP in front, the starts' group commit, and the lane on a thread of its own.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rdkafka::ClientContext;
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::lane::Lane;
use crate::starts::{self, Pending};
use crate::{database, kafka, saga};

/// Starts that may wait for their group.
const QUEUE_MAX: usize = 4_096;

/// Shaped like the engine's: two tables a saga, history written once, a thin outbox. The state leaves the hot table when
/// the saga ends.
const TABLES: &str = "
create table if not exists shard (
    id integer primary key, epoch bigint not null, token uuid, seq bigint not null, next_offset bigint not null
) with (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
insert into shard values (0, 0, null, 0, 0) on conflict do nothing;
create table if not exists saga (
    id uuid primary key, shard integer not null, definition integer not null, status smallint not null,
    started_at timestamptz not null, ended_at timestamptz, key text not null, amount bigint not null,
    final_state bytea, constraint saga_key unique (key)
) with (fillfactor = 85);
create index if not exists saga_status_idx on saga (status, id);
create table if not exists saga_state (
    shard integer not null, id uuid not null, revision integer not null, due bigint, state bytea not null,
    primary key (shard, id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
create table if not exists history (
    saga_id uuid not null, revision integer not null, event text not null, payload text,
    primary key (saga_id, revision)
);
create table if not exists outbox (
    shard integer not null, saga_id uuid not null, command smallint not null,
    created_at timestamptz not null default now(), primary key (shard, saga_id, command)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
";

/// A command's row in the outbox: saga and number.
pub(crate) type Row = (Uuid, i16);

/// Publishes commands; says which rows have been delivered.
pub(crate) type Publisher = ThreadedProducer<Deliveries>;

/// Tells the lane of deliveries.
pub(crate) struct Deliveries(std_mpsc::Sender<anyhow::Result<Row>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Row>;

    fn delivery(&self, result: &DeliveryResult<'_>, row: Box<Row>) {
        let delivered = match result {
            Ok(_) => Ok(*row),
            Err((error, _)) => Err(anyhow::anyhow!("a command was not delivered: {error}")),
        };
        // The lane is gone when the process ends.
        let _ = self.0.send(delivered);
    }
}

/// Serves until something fails.
pub(crate) async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let bootstrap = crate::variable("AMENDS_KAFKA")?;
    let starts_connection = database::open("AMENDS_DATABASE_URL", TABLES).await?;
    let (delivered, deliveries) = std_mpsc::channel();
    let publisher: Arc<Publisher> = Arc::new(kafka::producer(&bootstrap, Deliveries(delivered))?);
    let (hand_over, handovers) = std_mpsc::channel();
    let (lane_ended, mut lane) = oneshot::channel();
    let lane_publisher = Arc::clone(&publisher);
    std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
        let _ = lane_ended.send(Lane::run(&bootstrap, lane_publisher, handovers, deliveries));
    })?;
    let (queue, pending) = mpsc::channel(QUEUE_MAX);
    let group = starts::Group { connection: starts_connection, publisher, hand_over };
    let mut starts = tokio::spawn(group.run(pending));
    let routes = Router::new().route("/ready", get(async || "ready")).route("/bare-orders", post(place));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let routes = routes.with_state(queue);
    tokio::select! {
        ended = axum::serve(listener, routes) => ended.context("serving"),
        ended = &mut starts => ended?.context("the starts"),
        ended = &mut lane => ended?.context("the lane"),
    }
}

#[derive(Serialize)]
struct Answer {
    saga: Uuid,
    status: &'static str,
}

/// Starts a saga, and waits for its end whatever the request prefers.
async fn place(
    State(queue): State<mpsc::Sender<Pending>>,
    body: axum::body::Bytes,
) -> Result<Json<Answer>, (StatusCode, String)> {
    let bad = |error: serde_json::Error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "busy".to_owned());
    let input: Box<serde_json::value::RawValue> = serde_json::from_slice(&body).map_err(bad)?;
    let order: saga::Order = serde_json::from_str(input.get()).map_err(bad)?;
    let (answer, answered) = oneshot::channel();
    let pending = Pending::new(order, input, answer);
    let saga = pending.running.id;
    queue.try_send(pending).map_err(|_| busy())?;
    let status = answered.await.map_err(|_| busy())?.word();
    Ok(Json(Answer { saga, status }))
}
