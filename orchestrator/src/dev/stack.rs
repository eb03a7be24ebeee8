//! The servers of `amends dev --bus kafka`: a private Postgres, Redis and Apache Kafka under
//! `.amends/`, and the processes that use them.
//!
//! Owns their start, their addresses and the order in which all stop. It must not know what the
//! processes do, nor touch servers that it did not start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::guard::{Ending, Guarded, Launch, Output, afterwards};
use super::postgres::PrivatePostgres;
use super::supervisor::{Printer, Process, Supervisor};

const REDIS_PORT: u16 = 16379;
const KAFKA_PORT: u16 = 19092;
/// Apache Kafka's controller listens this far above its broker.
const CONTROLLER_DISTANCE: u16 = 1000;
const REDIS_TIMEOUT_MS: u64 = 30_000;
const PORTS_MAX: u32 = 4;
/// The folder that has `kafka/kafka`, when it is not `deploy` in the current folder or above.
const DEPLOY_VARIABLE: &str = "AMENDS_DEPLOY";

/// The servers, and the processes on them.
#[derive(Debug)]
pub struct Stack {
    supervisor: Supervisor,
    kafka: Kafka,
    redis: Redis,
    postgres: PrivatePostgres,
}

impl Stack {
    /// Starts the servers, each on data of its own in `dir`.
    ///
    /// # Errors
    /// When one cannot be started; the others are stopped then.
    pub async fn start(dir: &Path, printer: Printer) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let (postgres, redis, kafka) =
            tokio::join!(PrivatePostgres::start(&dir), Redis::start(&dir), Kafka::start(&dir));
        match (postgres, redis, kafka) {
            (Ok(postgres), Ok(redis), Ok(kafka)) => {
                Ok(Self { supervisor: Supervisor::new(printer), kafka, redis, postgres })
            }
            (postgres, redis, kafka) => {
                let problem = [postgres.as_ref().err(), redis.as_ref().err(), kafka.as_ref().err()];
                let problem: Vec<String> =
                    problem.iter().flatten().map(|error| format!("{error:#}")).collect();
                stop_servers(kafka.ok(), redis.ok(), postgres.ok()).await;
                bail!(problem.join("; "))
            }
        }
    }

    /// The private Postgres.
    pub fn postgres(&self) -> &PrivatePostgres {
        &self.postgres
    }

    /// Kafka's bootstrap servers.
    pub fn kafka(&self) -> &str {
        &self.kafka.bootstrap
    }

    /// Redis's URL.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis.port)
    }

    /// The variables by which processes find the servers.
    pub fn environment(&self) -> Vec<(String, String)> {
        let postgres = &self.postgres;
        let variables = [
            ("AMENDS_BUS", "kafka".to_owned()),
            ("AMENDS_KAFKA", self.kafka.bootstrap.clone()),
            ("AMENDS_REDIS_URL", self.redis_url()),
            ("AMENDS_DATABASE_URL", postgres.url("amends")),
            ("AMENDS_ORDER_DATABASE_URL", postgres.url("amends_order")),
            ("AMENDS_STOCK_DATABASE_URL", postgres.url("amends_stock")),
            ("AMENDS_PAYMENT_DATABASE_URL", postgres.url("amends_payment")),
            ("AMENDS_NOTIFY_DATABASE_URL", postgres.url("amends_notify")),
            ("AMENDS_HTTP_DATABASE_URL", postgres.url("amends_http")),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Starts a process and restarts it when it dies. They stop in the reverse order, so the API
    /// is started last.
    pub fn keep(&mut self, process: Process) {
        self.supervisor.keep(process);
    }

    /// Resolves with the reason when the stack cannot go on: a server ended, or a process died too
    /// often. Can be dropped and called again.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            why = self.supervisor.failed() => why,
            why = self.postgres.ended() => why,
            ended = self.redis.server.ended() => format!("Redis ended ({ended:?}); see {}", self.redis.log.display()),
        }
    }

    /// Stops everything in order: the processes, the last started one first; Kafka; Redis; Postgres.
    pub async fn stop(self) {
        self.supervisor.stop().await;
        stop_servers(Some(self.kafka), Some(self.redis), Some(self.postgres)).await;
    }
}

async fn stop_servers(kafka: Option<Kafka>, redis: Option<Redis>, postgres: Option<PrivatePostgres>) {
    if let Some(kafka) = kafka
        && let Err(error) = kafka.stopper.end().await
    {
        tracing::warn!(%error, "stopping Kafka");
    }
    if let Some(redis) = redis
        && let Err(error) = redis.server.end().await
    {
        tracing::warn!(%error, "stopping Redis");
    }
    if let Some(postgres) = postgres
        && let Err(error) = postgres.stop().await
    {
        tracing::warn!(error = format!("{error:#}"), "stopping Postgres");
    }
}

#[derive(Debug)]
struct Redis {
    server: Guarded,
    port: u16,
    log: PathBuf,
}

impl Redis {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        let folder = dir.join("redis");
        std::fs::create_dir_all(&folder)?;
        let log = dir.join("redis.log");
        for tries in 0..PORTS_MAX {
            let port = free_port(if tries == 0 { REDIS_PORT } else { 0 }, 0)?;
            let port_text = port.to_string();
            // Notifications are kept over a restart, as everything in `.amends/` is.
            let args = [
                "--bind",
                "127.0.0.1",
                "--port",
                &port_text,
                "--appendonly",
                "yes",
                "--save",
                "",
                "--daemonize",
                "no",
            ];
            let launch = Launch {
                program: PathBuf::from("redis-server"),
                args: args.iter().map(OsString::from).collect(),
                env: Vec::new(),
                folder: folder.clone(),
                account: None,
                output: Output::File(log.clone()),
                ending: Ending { first: "TERM", last: "KILL", grace_s: 15 },
            };
            let mut server = launch.start()?;
            match until_pong(&mut server, port).await {
                Ok(true) => return Ok(Self { server, port, log }),
                // Somebody took the port meanwhile; any other reason shows again at the next try.
                Ok(false) => drop(server.end().await?),
                Err(error) => {
                    server.end().await?;
                    return Err(error);
                }
            }
        }
        bail!("Redis does not start (Debian, Ubuntu: redis-server); see {}", log.display())
    }
}

/// True once it answers, false when it has ended.
async fn until_pong(server: &mut Guarded, port: u16) -> anyhow::Result<bool> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(REDIS_TIMEOUT_MS);
    loop {
        let answered = tokio::time::timeout(Duration::from_secs(1), pong(port)).await;
        // Whoever answers while ours has ended is somebody else's.
        if server.has_ended()?.is_some() {
            return Ok(false);
        }
        if matches!(answered, Ok(Ok(true))) {
            return Ok(true);
        }
        ensure!(tokio::time::Instant::now() < deadline, "Redis does not answer after {REDIS_TIMEOUT_MS} ms");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

async fn pong(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"+PONG\r\n")
}

#[derive(Debug)]
struct Kafka {
    bootstrap: String,
    /// Runs `kafka stop` once it is ended or this process is gone.
    stopper: Guarded,
}

impl Kafka {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        let script = kafka_script()?;
        let data = dir.join("kafka");
        std::fs::create_dir_all(&data)?;
        let data_args = [OsString::from("--data"), data.clone().into_os_string()];
        // Before the start: a start that is interrupted half-way is stopped too.
        let stop_args: Vec<OsString> =
            [OsString::from("stop")].into_iter().chain(data_args.clone()).collect();
        let stopper = afterwards(&script, &stop_args, &dir.join("kafka.log"))?;
        let mut command = Command::new(&script);
        command.arg("start").args(data_args);
        // The script remembers the port of a cluster that exists.
        if !data.join("settings").exists() {
            let port = free_port(KAFKA_PORT, CONTROLLER_DISTANCE)?;
            command.args(["--brokers", "1", "--port", &port.to_string()]);
        }
        let output = command.stdin(Stdio::null()).process_group(0).output().await;
        let output = output.with_context(|| format!("running {}", script.display()))?;
        if !output.status.success() {
            stopper.end().await?;
            bail!("Kafka does not start: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let bootstrap = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { bootstrap, stopper })
    }
}

fn kafka_script() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os(DEPLOY_VARIABLE).map(|deploy| PathBuf::from(deploy).join("kafka/kafka"));
    let here = std::env::current_dir()?;
    let above = here.ancestors().map(|folder| folder.join("deploy/kafka/kafka"));
    let found = named.into_iter().chain(above).find(|script| script.is_file());
    found.with_context(|| {
        format!(
            "no deploy/kafka/kafka in {} or above: run it in the repository, or set {DEPLOY_VARIABLE}",
            here.display()
        )
    })
}

/// `preferred` when it is free, any free one otherwise; one whose neighbour at `distance` is free too.
fn free_port(preferred: u16, distance: u16) -> anyhow::Result<u16> {
    for port in [preferred, 0, 0, 0] {
        let Ok(first) = std::net::TcpListener::bind(("127.0.0.1", port)) else { continue };
        let port = first.local_addr()?.port();
        let neighbour = port.checked_add(distance);
        if distance == 0
            || neighbour.is_some_and(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        {
            return Ok(port);
        }
    }
    bail!("no free port on loopback")
}
