//! The shop's four workers and the built-in one as this binary runs them: database, worker, read API, and what else
//! belongs to each.
//!
//! It must not know sagas: a worker sees commands.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use saga_bus::Bus;
use saga_protocol::Topics;
use saga_worker::{Limit, NoSuchLimit, Tuning, Worker};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker_notify::Feed;
use worker_payment::deposit::{self, EngineConfig};
use worker_payment::toss;

use crate::api::ops;

/// A worker of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Name {
    /// Orders: create, cancel, complete; returns: open_return, close_return, decide_return
    Order,
    /// Stock: reserve, release, commit, restock
    Stock,
    /// Payments at Toss: confirm, cancel, refund
    Payment,
    /// Notices: order completed, order cancelled
    Notify,
    /// REST calls of `http` steps
    Http,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Order, Self::Stock, Self::Payment, Self::Notify, Self::Http];

    /// The worker's name in definitions and topics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => worker_order::NAME,
            Self::Stock => worker_stock::NAME,
            Self::Payment => worker_payment::NAME,
            Self::Notify => worker_notify::NAME,
            Self::Http => worker_http::NAME,
        }
    }

    /// The port that it listens on unless told otherwise.
    pub const fn port(self) -> u16 {
        match self {
            Self::Order => 8081,
            Self::Stock => 8082,
            Self::Payment => 8083,
            Self::Notify => 8084,
            Self::Http => 8085,
        }
    }

    /// The variable that holds its database's URL.
    pub const fn database_variable(self) -> &'static str {
        match self {
            Self::Order => "AMENDS_ORDER_DATABASE_URL",
            Self::Stock => "AMENDS_STOCK_DATABASE_URL",
            Self::Payment => "AMENDS_PAYMENT_DATABASE_URL",
            Self::Notify => "AMENDS_NOTIFY_DATABASE_URL",
            Self::Http => "AMENDS_HTTP_DATABASE_URL",
        }
    }

    /// Its database.
    pub const fn database(self) -> &'static str {
        match self {
            Self::Order => "amends_order",
            Self::Stock => "amends_stock",
            Self::Payment => "amends_payment",
            Self::Notify => "amends_notify",
            Self::Http => "amends_http",
        }
    }

    /// Brings its database up to date.
    ///
    /// # Errors
    /// When the database cannot be reached or a migration fails.
    pub async fn migrate(self, pool: &PgPool) -> anyhow::Result<()> {
        let migrated = match self {
            Self::Order => worker_order::migrate(pool).await,
            Self::Stock => worker_stock::migrate(pool).await,
            Self::Payment => worker_payment::migrate(pool).await,
            Self::Notify => worker_notify::migrate(pool).await,
            Self::Http => worker_http::migrate(pool).await,
        };
        migrated.with_context(|| format!("migrating the database of worker `{}`", self.as_str()))
    }
}

/// What a worker is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its database.
    pub database_url: String,
    /// Bounds its connections.
    pub connections_max: u32,
    /// Where notices go between processes; within this one when absent.
    pub redis_url: Option<String>,
    /// Toss Payments, for the payment worker.
    pub toss: Option<toss::Config>,
    /// Calls that stand in definitions, for the worker `http`.
    pub http: HttpSettings,
    /// The engine that is told of deposits, for the payment worker; without it nobody is told.
    pub engine: Option<EngineConfig>,
}

/// How the worker `http` makes calls.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The hosts of the inside network that it may call, separated by commas.
    pub allowed: String,
    /// The hosts that are reached elsewhere, `HOST=ADDRESS` each, separated by commas.
    pub routes: String,
    /// Variables that hold secrets, over those of the environment: a sandbox's.
    pub secrets: Vec<(&'static str, &'static str)>,
    /// For how long after a client has given up its request may still take effect, in ms.
    pub window_ms: u32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allowed: String::new(),
            routes: String::new(),
            secrets: Vec::new(),
            window_ms: worker_http::WINDOW_MS_DEFAULT,
        }
    }
}

impl HttpSettings {
    /// What the variables say, and the carrier's host at its sandbox, whatever they say: a demo calls no real one.
    pub fn with_sandbox(sandbox: &str) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|it: &String| !it.is_empty());
        let others = variable(HTTP_ROUTES).map(|it| format!(",{it}")).unwrap_or_default();
        Self {
            allowed: variable(HTTP_ALLOW).unwrap_or_default(),
            routes: format!("{}={sandbox}{others}", carrier_sandbox::HOST),
            secrets: CARRIER_SECRET.to_vec(),
            ..Self::default()
        }
    }

    fn calls(&self) -> anyhow::Result<worker_http::Calls> {
        let allowed = worker_http::network::Allowed::parse(&self.allowed).context(HTTP_ALLOW)?;
        let routes = worker_http::network::Routes::parse(&self.routes).context(HTTP_ROUTES)?;
        // A variable that is no text holds no secret of ours.
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let over = self.secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let secrets = worker_http::secrets::Secrets::from_variables(texts.chain(over))?;
        Ok(worker_http::Calls::new(worker_http::Config { allowed, routes, secrets })?)
    }
}

/// The variable that names the inside hosts that may be called.
pub const HTTP_ALLOW: &str = "AMENDS_HTTP_ALLOW";
/// The variable that names the hosts that are reached elsewhere.
pub const HTTP_ROUTES: &str = "AMENDS_HTTP_ROUTES";
/// The variables that hold the key of the carrier's sandbox.
pub const CARRIER_SECRET: [(&str, &str); 2] = [
    ("AMENDS_HTTP_SECRET_CARRIER_KEY", carrier_sandbox::DEFAULT_KEY),
    ("AMENDS_HTTP_SECRET_CARRIER_KEY_HOST", carrier_sandbox::HOST),
];

/// A worker that is ready to run.
pub struct Service {
    name: Name,
    pool: PgPool,
    worker: Worker,
    also: Also,
}

/// What runs beside the worker itself.
enum Also {
    Nothing,
    /// Looks into webhooks, and follows deposits.
    Payments(toss::Client, Option<Box<deposit::Engine>>),
    /// Carries notices to their followers.
    Relay(Arc<dyn Feed>),
}

/// Connects to a worker's database.
///
/// # Errors
/// When it does not answer.
pub async fn connect(name: Name, url: &str, connections_max: u32) -> anyhow::Result<PgPool> {
    let variable = name.database_variable();
    // A database that falls silent, or a lock that nobody gives back, must not stall a lane without a word.
    let options = PgConnectOptions::from_str(url)
        .with_context(|| format!("{variable} is no Postgres URL"))?
        .application_name(&format!("amends worker {}", name.as_str()))
        .options([
            // Plans must not depend on statistics: a table that is empty at start-up would otherwise teach the
            // planner to scan it, and it keeps that plan for thousands of orders.
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("lock_timeout", "10s"),
            ("statement_timeout", "60s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("tcp_user_timeout", "10000"),
        ]);
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(10))
        // A lane finds out by itself that a connection is gone, and tries again.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .with_context(|| format!("the database of worker `{}` ({})", name.as_str(), name.database_variable()))
}

impl Service {
    /// Opens a worker's database and makes the worker.
    ///
    /// # Errors
    /// When the database does not answer, a migration fails, or a setting is missing.
    pub async fn open(name: Name, settings: Settings, migrate: bool) -> anyhow::Result<Self> {
        let pool = connect(name, &settings.database_url, settings.connections_max).await?;
        if migrate {
            name.migrate(&pool).await?;
        }
        let (worker, also) = match name {
            Name::Order => (worker_order::worker(pool.clone()), Also::Nothing),
            Name::Stock => (worker_stock::worker(pool.clone()), Also::Nothing),
            Name::Payment => {
                let config = settings
                    .toss
                    .context("the payment worker needs a secret key of Toss (TOSS_SECRET_KEY)")?;
                let client = toss::Client::new(config).context("the client of Toss Payments")?;
                let engine = settings.engine.map(deposit::Engine::new).transpose();
                let engine = engine.context("the engine's address (AMENDS_URL)")?;
                (
                    worker_payment::worker(pool.clone(), client.clone()),
                    Also::Payments(client, engine.map(Box::new)),
                )
            }
            Name::Notify => {
                let feed =
                    worker_notify::feed(settings.redis_url.as_deref()).context("the feed of notices")?;
                (worker_notify::worker(pool.clone()), Also::Relay(feed))
            }
            Name::Http => {
                let calls = settings.http.calls().context("the calls of the worker `http`")?;
                (worker_http::worker(pool.clone(), calls, settings.http.window_ms), Also::Nothing)
            }
        };
        Ok(Self { name, pool, worker, also })
    }

    /// How many partitions its command topics get when they do not exist yet.
    pub fn with_command_partitions(self, partitions: u32) -> Self {
        let tuning = Tuning { partitions, ..self.worker.tuning().clone() };
        Self { worker: self.worker.with_tuning(tuning), ..self }
    }

    /// With limits on the calls of its actions.
    ///
    /// # Errors
    /// When it has no such action, or one that calls nobody.
    pub fn with_limits(self, limits: &[(String, Limit)]) -> Result<Self, NoSuchLimit> {
        let limited =
            limits.iter().try_fold(self.worker, |worker, (action, limit)| worker.with_limit(action, *limit));
        Ok(Self { worker: limited?, ..self })
    }

    fn routes(&self, shutdown: &CancellationToken) -> Router {
        let routes = match &self.also {
            Also::Relay(feed) => worker_notify::routes(self.pool.clone(), Arc::clone(feed), shutdown.clone()),
            Also::Payments(..) => worker_payment::routes(self.pool.clone()),
            Also::Nothing if self.name == Name::Stock => worker_stock::routes(self.pool.clone()),
            Also::Nothing if self.name == Name::Http => worker_http::routes(self.pool.clone()),
            Also::Nothing => worker_order::routes(self.pool.clone()),
        };
        routes.route("/metrics", get(ops::metrics))
    }

    /// Runs until `shutdown`, then drains.
    ///
    /// # Errors
    /// When a part of it ends by itself; the rest is stopped then.
    pub async fn run(
        self,
        bus: Arc<dyn Bus>,
        topics: Topics,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let _ = ops::recorder();
        let name = self.name.as_str();
        let stop = shutdown.child_token();
        let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let served =
            axum::serve(listener, self.routes(&stop)).with_graceful_shutdown(stop.clone().cancelled_owned());
        parts.spawn(async move { served.await.context("serving") });
        match self.also {
            Also::Nothing => {}
            Also::Payments(client, engine) => {
                let webhooks = worker_payment::webhook::run(self.pool.clone(), client.clone(), stop.clone());
                let deposits = deposit::run(self.pool.clone(), client, engine.map(|it| *it), stop.clone());
                parts.spawn(async move {
                    tokio::join!(webhooks, deposits);
                    Ok(())
                });
            }
            Also::Relay(feed) => {
                let (pool, stop) = (self.pool.clone(), stop.clone());
                parts.spawn(async move {
                    worker_notify::relay(pool, feed, stop).await;
                    Ok(())
                });
            }
        }
        let running = self.worker.run(bus, topics, stop.clone());
        parts.spawn(async move { running.await.context("working") });

        let mut first: anyhow::Result<()> = Ok(());
        while let Some(ended) = parts.join_next().await {
            let ended = ended.unwrap_or_else(|panic| Err(anyhow::anyhow!("a part of it panicked: {panic}")));
            let ended = if ended.is_ok() && !stop.is_cancelled() {
                Err(anyhow::anyhow!("a part of it ended by itself"))
            } else {
                ended
            };
            stop.cancel();
            first = first.and(ended);
        }
        self.pool.close().await;
        first.with_context(|| format!("worker `{name}`"))
    }
}
