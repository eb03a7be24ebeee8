//! `amends serve`: the engine and its API.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker_payment::toss;

use super::exit::{Code, Failure};
use super::process::{BusArgs, node, until_asked_to_stop};
use super::sign_in::AuthArgs;
use crate::api::limit::Rate;
use crate::api::{Api, ApiConfig};
use crate::reconcile::Reconciler;
use crate::reconcile::books::Sources;
use crate::store::Store;
use crate::{Engine, EngineConfig};

/// How long the bus may take to send what is queued, in ms.
const CLOSE_TIMEOUT_MS: u64 = 10_000;

/// Runs the engine and its API
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    bus: BusArgs,
    /// The engine's database
    #[arg(long, env = "AMENDS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Most connections to the database, for hot statements and for reads each
    #[arg(long, env = "AMENDS_CONNECTIONS", default_value_t = 8)]
    connections: u32,
    /// Brings the database up to date first
    #[arg(long)]
    migrate: bool,
    /// How many shards a new database gets; an existing one keeps its own
    #[arg(long, env = "AMENDS_SHARDS", default_value_t = 4)]
    shards: u32,
    /// How many partitions a worker's new command topics get; as many as there are shards when absent. Few are
    /// fast: the broker and the workers are paid by the partition; more than one lets several workers share
    #[arg(long, env = "AMENDS_COMMAND_PARTITIONS", value_name = "COUNT")]
    command_partitions: Option<u32>,
    /// Where the API listens
    #[arg(long, env = "AMENDS_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The process ends (exit code 70) when its lane has hung for so long, in s: others take its shards
    #[arg(long, env = "AMENDS_WATCHDOG_S", default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    watchdog_s: u64,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    books: BookArgs,
}

/// The books that the reconciliation compares.
#[derive(Clone, Debug, Args)]
pub struct BookArgs {
    /// The orders' database, read only; with the next one and a secret key the books are compared each ten minutes
    #[arg(long, env = "AMENDS_RECONCILE_ORDER_URL", hide_env_values = true, value_name = "URL")]
    reconcile_order_url: Option<String>,
    /// The stock's database, read only
    #[arg(long, env = "AMENDS_RECONCILE_STOCK_URL", hide_env_values = true, value_name = "URL")]
    reconcile_stock_url: Option<String>,
    /// What is younger is left alone, in ms; twice the longest timeout of an action when absent
    #[arg(long, env = "AMENDS_RECONCILE_GRACE_MS", value_name = "MS")]
    reconcile_grace_ms: Option<i64>,
    /// Toss Payments, for the reconciliation
    #[arg(long, env = "TOSS_BASE_URL", default_value = toss::client::BASE_URL, value_name = "URL")]
    toss_base_url: String,
    /// The shop's secret key, for the reconciliation
    #[arg(long, env = "TOSS_SECRET_KEY", hide_env_values = true, value_name = "KEY")]
    toss_secret_key: Option<String>,
}

impl BookArgs {
    fn reconciler(&self) -> Option<Reconciler> {
        let sources = Sources {
            order_url: self.reconcile_order_url.clone()?,
            stock_url: self.reconcile_stock_url.clone()?,
            toss: toss::Config::new(
                self.toss_base_url.clone(),
                toss::SecretKey::new(self.toss_secret_key.clone()?),
            ),
        };
        Some(Reconciler::new(sources, self.reconcile_grace_ms))
    }
}

/// The bounds of the API.
#[derive(Clone, Debug, Args)]
pub struct LimitArgs {
    /// The largest body of a start, in bytes
    #[arg(long, env = "AMENDS_BODY_BYTES_MAX", default_value_t = 1024 * 1024, value_name = "BYTES")]
    body_bytes_max: usize,
    /// Requests a second that one address may make of this process; 0 for no limit
    #[arg(long, env = "AMENDS_RATE_PER_S", default_value_t = 20_000, value_name = "N")]
    rate_per_s: u32,
    /// Requests a second that one principal may make, of all processes together where --redis-url is given; 0 for
    /// no limit
    #[arg(long, env = "AMENDS_PRINCIPAL_RATE_PER_S", default_value_t = 10_000, value_name = "N")]
    principal_rate_per_s: u32,
    /// The Redis by which processes count a principal's requests together; without it each counts for itself
    #[arg(long, env = "AMENDS_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Balancers in front of the API, whose `X-Forwarded-For` counts: addresses or networks such as 10.0.0.0/8
    #[arg(long, env = "AMENDS_TRUSTED_PROXIES", value_delimiter = ',', value_name = "NETWORK", value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    /// Starts in the making at one time
    #[arg(long, env = "AMENDS_STARTS_MAX", default_value_t = 4_096, value_name = "N")]
    starts_max: usize,
}

impl LimitArgs {
    /// The bounds.
    /// Processes with the same `prefix` count together.
    pub fn config(&self, prefix: &str) -> ApiConfig {
        ApiConfig {
            body_bytes_max: self.body_bytes_max,
            rate: Rate::per_s(self.rate_per_s),
            principal_rate: Rate::per_s(self.principal_rate_per_s),
            redis: self.redis_url.clone().map(|url| (url, prefix.to_owned())),
            trusted_proxies: self.trusted_proxies.clone(),
            starts_max: self.starts_max,
            ..ApiConfig::default()
        }
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "neither an address nor a network such as 10.0.0.0/8".to_owned())
}

/// Runs until it is asked to stop: the API first, then the engine.
///
/// # Errors
/// When it cannot start, or the engine ends by itself.
pub async fn run(args: ServeArgs) -> Result<Code, Failure> {
    // The port first: a second server on it must not touch anything.
    let auth = args.auth.auth()?;
    crate::api::check_api_listen(args.listen, &auth)?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    if auth.is_dev() {
        tracing::warn!(
            "DEV MODE: no sign-in is configured; everybody who reaches this loopback port is an administrator"
        );
    }
    let asked = until_asked_to_stop()?;
    let store = Store::connect(&args.database_url, args.connections.max(2))
        .await
        .context("the engine's database (AMENDS_DATABASE_URL) does not answer")?;
    if args.migrate {
        store
            .migrate(args.shards.max(1), chrono::Utc::now())
            .await
            .context("migrating the engine's database")?;
    }
    let node = node();
    let (bus, topics) = args.bus.connect(format!("amends-{}", std::process::id())).await?;
    let config = EngineConfig {
        node: node.clone(),
        command_partitions: args.command_partitions.unwrap_or(args.shards).max(1),
    };
    let engine_stop = CancellationToken::new();
    let (engine, running) = Engine::start(config, store, bus.clone(), topics, engine_stop.clone()).await?;

    engine.health.watch(Duration::from_secs(args.watchdog_s));
    let closing = asked.child_token();
    let config =
        ApiConfig { auth, reconciler: args.books.reconciler(), ..args.limits.config(args.bus.prefix()) };
    let api = Api::new(engine, config, closing.clone());
    tracing::info!(node, address = %args.listen, "the engine runs and its API listens");
    let serving = api.serve(listener);
    tokio::pin!(serving);
    let failed = tokio::select! {
        served = &mut serving => served.context("serving the API").err(),
        // The engine cancels its own token when it cannot go on.
        () = engine_stop.cancelled() => {
            closing.cancel();
            let _ = serving.await;
            Some(anyhow::anyhow!("the engine has ended by itself; its log says why"))
        }
    };
    engine_stop.cancel();
    running.ended().await;
    bus.close(CLOSE_TIMEOUT_MS).await;
    match failed {
        None => Ok(Code::Ok),
        Some(error) => Err(error.into()),
    }
}
