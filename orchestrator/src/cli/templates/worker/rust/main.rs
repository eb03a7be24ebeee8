//! The process: a database, a Kafka, and an orderly end.

use __PACKAGE_IDENT__::{NAME, migrate, worker};
use anyhow::Context;
use saga_bus::{Bus, Kafka, KafkaConfig};
use saga_worker::{CancellationToken, Topics};
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const CONNECTIONS_MAX: u32 = 8;
const CLOSE_TIMEOUT_MS: u64 = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let database_url = variable("__ENV___DATABASE_URL")?;
    let bootstrap = variable("AMENDS_KAFKA")?;
    let topics = Topics::new(std::env::var("AMENDS_TOPIC_PREFIX").unwrap_or_else(|_| "amends".to_owned()));

    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect(&database_url).await;
    let pool = pool.context("the database (__ENV___DATABASE_URL)")?;
    migrate(&pool).await.context("bringing the database up to date")?;
    let config = KafkaConfig { bootstrap, client_id: NAME.to_owned(), ..KafkaConfig::default() };
    let bus = Kafka::connect(config).await.context("the bus (AMENDS_KAFKA)")?;

    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        asked.cancel();
    });
    let ended = worker(pool).run(bus.clone(), topics, shutdown).await;
    bus.close(CLOSE_TIMEOUT_MS).await;
    Ok(ended?)
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("set {name}; see README.md"))
}
