//! The embedded default: orchestrator, the four workers and the Toss sandbox in this process, on the
//! in-process bus and a private Postgres.
//!
//! Owns their start and the order in which they stop. The bus keeps nothing: after a crash, commands in flight
//! are sent again, and workers answer from their inbox.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use saga_bus::{Bus, InProcess};
use saga_protocol::Topics;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use toss_sandbox::{DEFAULT_SECRET_KEY, Sandbox, SandboxConfig};
use worker_payment::{deposit, toss};

use super::places::{Place, SANDBOX_PORT, Urls};
use super::postgres::PrivatePostgres;
use crate::api::{Api, ApiConfig};
use crate::auth::dev::DevKey;
use crate::auth::{Auth, AuthConfig};
use crate::cli::process::node;
use crate::cli::shop::{Name, Service, Settings};
use crate::reconcile::Reconciler;
use crate::reconcile::books::Sources;
use crate::store::Store;
use crate::{Engine, EngineConfig, Running};

/// How many shards a new database gets: one lane serves them all.
const SHARDS: u32 = 4;
const CONNECTIONS: u32 = 6;

type Parts = JoinSet<(&'static str, anyhow::Result<()>)>;

/// Everything in one process.
#[derive(Debug)]
pub struct Embedded {
    postgres: PrivatePostgres,
    engine: Engine,
    running: Running,
    engine_stop: CancellationToken,
    api: Parts,
    api_stop: CancellationToken,
    workers: Parts,
    workers_stop: CancellationToken,
    sandbox: Parts,
    sandbox_stop: CancellationToken,
    urls: Urls,
}

impl Embedded {
    /// Starts everything on the data in `dir`.
    ///
    /// # Errors
    /// When a part cannot be started; what runs already is stopped by being dropped.
    pub async fn start(dir: &Path, api_address: SocketAddr) -> anyhow::Result<Self> {
        // Ports first: a second `amends dev` learns its own before anything is touched.
        let api_place = Place::open("API", api_address).await?;
        let sandbox_place = Place::on_loopback("Toss sandbox", SANDBOX_PORT).await?;
        let mut worker_places = Vec::new();
        for name in Name::ALL {
            worker_places.push((name, Place::on_loopback(name.as_str(), name.port()).await?));
        }
        let url_of = |name: Name| {
            worker_places.iter().find(|(it, _)| *it == name).map(|(_, place)| place.url()).unwrap_or_default()
        };
        let urls = Urls {
            api: api_place.url(),
            order: url_of(Name::Order),
            stock: url_of(Name::Stock),
            payment: url_of(Name::Payment),
            notify: url_of(Name::Notify),
            sandbox: sandbox_place.url(),
        };
        let postgres = PrivatePostgres::start(dir).await.context("the private Postgres")?;
        let (bus, topics): (_, Topics) = (InProcess::new(), Topics::default());
        let bus: std::sync::Arc<dyn Bus> = bus;

        let sandbox_stop = CancellationToken::new();
        let mut sandbox: Parts = JoinSet::new();
        let books = Sandbox::open(SandboxConfig {
            data_dir: Some(dir.join("toss")),
            webhook_url: Some(format!("{}/webhooks/toss", urls.payment)),
            ..SandboxConfig::default()
        })
        .context("the Toss sandbox")?;
        let stop = sandbox_stop.clone();
        sandbox.spawn(async move {
            let served = books.serve(sandbox_place.listener, stop.cancelled_owned()).await;
            ("the Toss sandbox", served.map_err(Into::into))
        });

        let store =
            Store::connect(&postgres.url("amends"), CONNECTIONS).await.context("the engine's database")?;
        store.migrate(SHARDS, chrono::Utc::now()).await.context("migrating the engine's database")?;
        let engine_stop = CancellationToken::new();
        let config = EngineConfig { node: node(), command_partitions: SHARDS };
        let (engine, running) =
            Engine::start(config, store, bus.clone(), topics.clone(), engine_stop.clone()).await?;

        let dev_key = DevKey::open(&dir.join("dev-token.pk8"))?;
        let api_key = dev_key.worker_token()?;
        let workers_stop = CancellationToken::new();
        let mut workers: Parts = JoinSet::new();
        for (name, place) in worker_places {
            let settings = Settings {
                database_url: postgres.url(name.database()),
                connections_max: CONNECTIONS,
                redis_url: None,
                // Whatever the environment says: the demo's payments are never real.
                toss: Some(toss::Config::new(urls.sandbox.clone(), toss::SecretKey::new(DEFAULT_SECRET_KEY))),
                engine: Some(deposit::EngineConfig { url: urls.api.clone(), api_key: Some(api_key.clone()) }),
            };
            let service = Service::open(name, settings, true).await?;
            let running = service.run(bus.clone(), topics.clone(), place.listener, workers_stop.clone());
            workers.spawn(async move { (name.as_str(), running.await) });
        }

        let api_stop = CancellationToken::new();
        let mut api: Parts = JoinSet::new();
        let auth = Auth::new(AuthConfig::Dev(dev_key))?;
        let sources = Sources {
            order_url: postgres.url(Name::Order.database()),
            stock_url: postgres.url(Name::Stock.database()),
            toss: toss::Config::new(urls.sandbox.clone(), toss::SecretKey::new(DEFAULT_SECRET_KEY)),
        };
        let reconciler = Some(Reconciler::new(sources, None));
        let config = ApiConfig { auth, reconciler, ..ApiConfig::default() };
        let serving = Api::new(engine.clone(), config, api_stop.clone()).serve(api_place.listener);
        api.spawn(async move { ("the API", serving.await.map_err(Into::into)) });
        Ok(Self {
            postgres,
            engine,
            running,
            engine_stop,
            api,
            api_stop,
            workers,
            workers_stop,
            sandbox,
            sandbox_stop,
            urls,
        })
    }

    /// Where everything listens.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Resolves with the reason when it cannot go on. Can be dropped and called again.
    pub async fn failed(&mut self) -> String {
        let ended = |ended: Option<Result<(&'static str, anyhow::Result<()>), _>>| match ended {
            Some(Ok((name, Err(error)))) => format!("{name}: {error:#}"),
            Some(Ok((name, Ok(())))) => format!("{name} ended by itself"),
            Some(Err(panic)) => format!("a part panicked: {panic}"),
            None => "nothing runs any more".to_owned(),
        };
        tokio::select! {
            why = self.postgres.ended() => why,
            () = self.engine_stop.cancelled() => "the engine ended by itself; its log says why".to_owned(),
            it = self.api.join_next() => ended(it),
            it = self.workers.join_next() => ended(it),
            it = self.sandbox.join_next() => ended(it),
        }
    }

    /// Stops everything in order: the API, the workers with what they have begun, the engine, the sandbox,
    /// Postgres.
    ///
    /// # Errors
    /// When the operating system cannot tell whether Postgres has ended.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self {
            postgres,
            engine,
            running,
            engine_stop,
            api,
            api_stop,
            workers,
            workers_stop,
            sandbox,
            sandbox_stop,
            ..
        } = self;
        for (parts, stop) in [(api, api_stop), (workers, workers_stop)] {
            end(parts, &stop).await;
        }
        engine_stop.cancel();
        // The last handle: its starts end, and with them the group commit.
        drop(engine);
        running.ended().await;
        end(sandbox, &sandbox_stop).await;
        postgres.stop().await
    }
}

async fn end(mut parts: Parts, stop: &CancellationToken) {
    stop.cancel();
    while let Some(ended) = parts.join_next().await {
        match ended {
            Ok((name, Err(error))) => {
                tracing::warn!(part = name, error = format!("{error:#}"), "while stopping")
            }
            Err(error) => tracing::warn!(%error, "while stopping"),
            Ok((_, Ok(()))) => {}
        }
    }
}
