//! `amends worker NAME`, `amends worker new` and `amends sandbox`: a process each.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use saga_worker::Limit;
use toss_sandbox::{Sandbox, SandboxConfig};
use worker_payment::deposit::EngineConfig;
use worker_payment::toss;

use super::Output;
use super::exit::{Code, Failure};
use super::process::{BusArgs, ListenArgs, node, until_asked_to_stop};
use super::shop::{HTTP_ALLOW, HTTP_ROUTES, HttpSettings, Name, Service, Settings};
use super::worker_new::{self, NewWorkerArgs};

/// How long the bus may take to send what is queued, in ms.
const CLOSE_TIMEOUT_MS: u64 = 10_000;

/// Runs one of the shop's workers, or the one that makes the calls of `http` steps; `new` writes one of your own
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct WorkerArgs {
    #[command(subcommand)]
    task: Option<Task>,
    /// Which one
    #[arg(required = true)]
    name: Option<Name>,
    #[command(flatten)]
    bus: BusArgs,
    /// Its database; AMENDS_ORDER_DATABASE_URL and so on when absent
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Brings the database up to date first
    #[arg(long)]
    migrate: bool,
    /// Most connections to the database
    #[arg(long, env = "AMENDS_WORKER_CONNECTIONS", default_value_t = 8)]
    connections: u32,
    /// How many partitions its command topics get when they do not exist yet
    #[arg(long, env = "AMENDS_COMMAND_PARTITIONS", default_value_t = 4, value_name = "COUNT")]
    command_partitions: u32,
    /// Bounds the calls that an action makes of others, in each direction of this process: `confirm=20` at once,
    /// `confirm=50/s` begun in a second; may be repeated. What waits is queued
    #[arg(long, env = "AMENDS_WORKER_LIMITS", value_delimiter = ',', value_name = "ACTION=N", value_parser = limit)]
    limit: Vec<(String, Limit)>,
    /// Where its read API listens; 127.0.0.1:8081 to 8085 when absent
    #[arg(long, env = "AMENDS_WORKER_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    anywhere: ListenArgs,
    /// Where notices go between processes (notify)
    #[arg(long, env = "AMENDS_REDIS_URL", value_name = "URL")]
    redis_url: Option<String>,
    /// Toss Payments (payment)
    #[arg(long, env = "TOSS_BASE_URL", default_value = toss::client::BASE_URL, value_name = "URL")]
    toss_base_url: String,
    /// The shop's secret key (payment); better given by the environment than on the command line
    #[arg(long, env = "TOSS_SECRET_KEY", hide_env_values = true, value_name = "KEY")]
    toss_secret_key: Option<String>,
    /// How long Toss may take to answer, in ms (payment)
    #[arg(long, env = "TOSS_TIMEOUT_MS", default_value_t = toss::client::TIMEOUT_MS_DEFAULT, value_name = "MS")]
    toss_timeout_ms: u64,
    /// Hosts of the inside network that may be called, with or without a port, separated by commas (http)
    #[arg(long, env = HTTP_ALLOW, default_value = "", value_name = "HOSTS")]
    http_allow: String,
    /// Hosts that are reached elsewhere, such as a sandbox: HOST=ADDRESS, separated by commas (http)
    #[arg(long, env = HTTP_ROUTES, default_value = "", value_name = "ROUTES")]
    http_routes: String,
    /// For how long after a client has given up its request may still take effect, in ms (http)
    #[arg(long, env = "AMENDS_HTTP_WINDOW_MS", default_value_t = worker_http::WINDOW_MS_DEFAULT, value_name = "MS")]
    http_window_ms: u32,
    /// The engine's API, which is told of deposits into virtual accounts (payment)
    #[arg(long, env = "AMENDS_URL", value_name = "URL")]
    engine_url: Option<String>,
    /// A key of that API with the role `worker` (payment); better given by the environment than on the command line
    #[arg(long, env = "AMENDS_API_KEY", hide_env_values = true, value_name = "KEY")]
    engine_key: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Task {
    New(NewWorkerArgs),
}

/// `confirm=20` or `confirm=50/s`.
fn limit(text: &str) -> Result<(String, Limit), String> {
    let wanted = || "write ACTION=20 (at once) or ACTION=50/s".to_owned();
    let (action, count) = text.trim().split_once('=').ok_or_else(wanted)?;
    let (count, a_second) = count.strip_suffix("/s").map_or((count, false), |it| (it, true));
    let count: NonZeroU32 = count.parse().map_err(|_| wanted())?;
    let limit = if a_second { Limit::PerSecond(count) } else { Limit::AtOnce(count) };
    Ok((action.to_owned(), limit))
}

/// Runs a worker until it is asked to stop, or writes a new one.
///
/// # Errors
/// When it cannot start, or ends by itself.
pub async fn run(args: WorkerArgs, output: Output) -> Result<Code, Failure> {
    let name = match (args.task, args.name) {
        (Some(Task::New(new)), _) => return worker_new::run(&new, output),
        (None, Some(name)) => name,
        (None, None) => return Err(Failure::usage("say which worker")),
    };
    let database_url = args.database_url.or_else(|| std::env::var(name.database_variable()).ok());
    let database_url = database_url.ok_or_else(|| {
        Failure::usage(format!("no database: give --database-url, or set {}", name.database_variable()))
    })?;
    let settings = Settings {
        database_url,
        connections_max: args.connections.max(2),
        redis_url: args.redis_url,
        toss: args.toss_secret_key.map(|key| toss::Config {
            base_url: args.toss_base_url,
            secret_key: toss::SecretKey::new(key),
            timeout_ms: args.toss_timeout_ms,
        }),
        http: HttpSettings {
            allowed: args.http_allow,
            routes: args.http_routes,
            secrets: Vec::new(),
            window_ms: args.http_window_ms,
        },
        // A variable that is set to nothing is not set.
        engine: args
            .engine_url
            .filter(|url| !url.is_empty())
            .map(|url| EngineConfig { url, api_key: args.engine_key.filter(|key| !key.is_empty()) }),
    };
    let address = args.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], name.port())));
    let listener = args.anywhere.open(address).await?;
    let shutdown = until_asked_to_stop()?;
    let service = Service::open(name, settings, args.migrate).await?;
    let service = service.with_command_partitions(args.command_partitions.max(1));
    let service = service.with_limits(&args.limit).map_err(|it| Failure::usage(it.to_string()))?;
    let (bus, topics) = args.bus.connect(format!("amends-{}-{}", name.as_str(), std::process::id())).await?;
    tracing::info!(worker = name.as_str(), node = node(), %address, "a worker starts");
    let ended = service.run(bus.clone(), topics, listener, shutdown).await;
    bus.close(CLOSE_TIMEOUT_MS).await;
    ended?;
    Ok(Code::Ok)
}

/// Runs the stand-ins for Toss Payments and for a carrier
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Where it listens
    #[arg(long, env = "AMENDS_SANDBOX_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
    #[command(flatten)]
    anywhere: ListenArgs,
    /// Where its books lie; without it nothing outlives the process
    #[arg(long, env = "AMENDS_SANDBOX_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Where webhooks go
    #[arg(long, env = "AMENDS_SANDBOX_WEBHOOK_URL", value_name = "URL")]
    webhook_url: Option<String>,
    /// The secret key that it accepts
    #[arg(long, env = "TOSS_SECRET_KEY", default_value = toss_sandbox::DEFAULT_SECRET_KEY, hide_env_values = true)]
    secret_key: String,
}

/// Runs the sandbox until it is asked to stop.
///
/// # Errors
/// When it cannot start.
pub async fn sandbox(args: SandboxArgs) -> Result<Code, Failure> {
    let listener = args.anywhere.open(args.listen).await?;
    let shutdown = until_asked_to_stop()?;
    let carrier_dir = args.dir.as_ref().map(|dir| dir.join("carrier"));
    let config = SandboxConfig {
        secret_keys: vec![args.secret_key],
        data_dir: args.dir,
        webhook_url: args.webhook_url,
        ..SandboxConfig::default()
    };
    let carrier = carrier_sandbox::Config { data_dir: carrier_dir, ..carrier_sandbox::Config::default() };
    let carrier = carrier_sandbox::routes(carrier).context("the carrier's sandbox")?;
    let sandbox = Sandbox::open(config).context("the sandbox")?;
    tracing::info!(address = %args.listen, "the sandboxes of Toss and the carrier start");
    sandbox.serve_with(carrier, listener, shutdown.cancelled_owned()).await.context("serving the sandbox")?;
    Ok(Code::Ok)
}
