//! `amends dev --bus kafka`: every part a process of its own, on the servers of [`super::stack`].
//!
//! Owns which processes there are and how they are told where things are. Each is the same `amends` command.

use std::net::SocketAddr;
use std::path::Path;

use toss_sandbox::DEFAULT_SECRET_KEY;

use super::environment::EnvironmentFile;
use super::examples::{EXAMPLES, Ready};
use super::places::{Place, SANDBOX_PORT, Urls};
use super::stack::Stack;
use super::supervisor::{Process, to_stderr};
use crate::auth::dev::DevKey;
use crate::cli::shop::{CARRIER_SECRET, HTTP_ROUTES, HttpSettings, Name};

/// The widest name of a process.
const NAME_WIDTH: usize = 7;

/// Everything in processes.
#[derive(Debug)]
pub struct Processes {
    stack: Stack,
    urls: Urls,
    /// Where everything is, for whoever comes from outside; gone when this is.
    environment: EnvironmentFile,
    /// The workers in other languages that run, by name.
    examples: Vec<&'static str>,
}

impl Processes {
    /// Starts the servers and the processes on the data in `dir`, with the workers in other languages or without.
    /// `log` is their logs' filter.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub async fn start(
        dir: &Path,
        api_address: SocketAddr,
        log: &str,
        examples: bool,
    ) -> anyhow::Result<Self> {
        let ready = async { if examples { ready().await } else { Vec::new() } };
        let (stack, ready) = tokio::join!(Stack::start(dir, to_stderr(NAME_WIDTH)), ready);
        let mut stack = stack?;
        let examples = keep_examples(&mut stack, ready).await;
        let started = keep_all(&mut stack, dir, api_address, log).await.and_then(|urls| {
            let environment = EnvironmentFile::write(dir, &stack.environment(), &urls)?;
            Ok((urls, environment))
        });
        match started {
            Ok((urls, environment)) => Ok(Self { stack, urls, environment, examples }),
            Err(error) => {
                stack.stop().await;
                Err(error)
            }
        }
    }

    /// Where everything listens.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The workers in other languages that run.
    pub fn examples(&self) -> &[&'static str] {
        &self.examples
    }

    /// Resolves with the reason when it cannot go on. Can be dropped and called again.
    pub async fn failed(&mut self) -> String {
        self.stack.failed().await
    }

    /// Stops everything in order.
    pub async fn stop(self) {
        drop(self.environment);
        self.stack.stop().await;
    }
}

/// The workers in other languages for which this machine has what they need.
async fn ready() -> Vec<Ready> {
    let mut ready = Vec::new();
    for (example, prepared) in
        EXAMPLES.iter().zip(futures::future::join_all(EXAMPLES.map(|it| it.prepare())).await)
    {
        match prepared {
            Ok(it) => ready.push(it),
            Err(error) => {
                eprintln!("{}: the worker in {} is left out: {error:#}", example.name, example.folder)
            }
        }
    }
    ready
}

/// Starts them. One that cannot have its database is left out like one that cannot be made ready.
async fn keep_examples(stack: &mut Stack, ready: Vec<Ready>) -> Vec<&'static str> {
    let mut kept = Vec::new();
    for it in ready {
        let mut env = stack.environment();
        // What stands behind the question mark is for sqlx, and other drivers refuse it.
        let url = stack.postgres().url(&it.example.database());
        env.push((it.example.variable.to_owned(), url.split('?').next().unwrap_or_default().to_owned()));
        if let Err(error) = it.seed(&env).await {
            eprintln!("{}: the worker in {} is left out: {error:#}", it.example.name, it.example.folder);
            continue;
        }
        stack.keep(it.process(env));
        kept.push(it.example.name);
    }
    kept
}

async fn keep_all(stack: &mut Stack, dir: &Path, api: SocketAddr, log: &str) -> anyhow::Result<Urls> {
    let dir = dir.canonicalize()?;
    // Held open until all are known, so that no two get the same; the processes then open them themselves.
    let api = Place::open("API", api).await?;
    let sandbox = Place::on_loopback("Toss sandbox", SANDBOX_PORT).await?;
    let mut places = Vec::new();
    for name in Name::ALL {
        places.push(Place::on_loopback(name.as_str(), name.port()).await?);
    }
    let [order, stock, payment, notify, http] = [0, 1, 2, 3, 4].map(|at: usize| places[at].url());
    let urls = Urls { api: api.url(), order, stock, payment, notify, http, sandbox: sandbox.url() };
    let addresses: Vec<SocketAddr> = places.iter().map(|place| place.address).collect();
    let (api_address, sandbox_address) = (api.address, sandbox.address);
    drop((api, sandbox, places));

    let mut environment = stack.environment();
    // Whatever the environment says: the demo's payments are never real.
    environment.push(("TOSS_BASE_URL".to_owned(), urls.sandbox.clone()));
    environment.push(("TOSS_SECRET_KEY".to_owned(), DEFAULT_SECRET_KEY.to_owned()));
    environment.push((HTTP_ROUTES.to_owned(), HttpSettings::with_sandbox(&urls.sandbox).routes));
    let secret = CARRIER_SECRET.map(|(name, value)| (name.to_owned(), value.to_owned()));
    environment.extend(secret);
    environment.push(("AMENDS_LOG".to_owned(), log.to_owned()));
    // Dev mode, whatever the environment says.
    let dev_key = dir.join("dev-token.pk8");
    environment.push(("AMENDS_DEV_KEY".to_owned(), dev_key.display().to_string()));
    // Where the payment worker tells of deposits.
    environment.push(("AMENDS_URL".to_owned(), urls.api.clone()));
    environment.push(("AMENDS_API_KEY".to_owned(), DevKey::open(&dev_key)?.worker_token()?));
    let books = dir.join("toss").display().to_string();
    let webhooks = format!("{}/webhooks/toss", urls.payment);
    let sandbox_address = sandbox_address.to_string();
    let sandbox = ["sandbox", "--listen", &sandbox_address, "--dir", &books, "--webhook-url", &webhooks];
    stack.keep(Process::amends("toss", sandbox, environment.clone()));
    for (name, address) in Name::ALL.into_iter().zip(addresses) {
        let address = address.to_string();
        let worker = ["worker", name.as_str(), "--migrate", "--listen", &address];
        stack.keep(Process::amends(name.as_str(), worker, environment.clone()));
    }
    // Last, so that it stops first.
    let api_address = api_address.to_string();
    stack.keep(Process::amends("serve", ["serve", "--migrate", "--listen", &api_address], environment));
    Ok(urls)
}
