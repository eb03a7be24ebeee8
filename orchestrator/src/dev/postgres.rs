//! The embedded default's Postgres: a private cluster under `.amends/`, started and stopped with
//! this process.
//!
//! Owns the server's life, its settings, its databases and roles. It must not know what is stored,
//! nor touch any other Postgres of the machine. Durability is the production's: `fsync`,
//! `synchronous_commit` and `full_page_writes` are on.

mod binaries;
mod home;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use self::home::Home;
use super::account::{Account, run_as};
use super::guard::{Ending, Guarded, Launch, Output};
pub use binaries::Binaries;

/// The databases that `amends dev` needs, each owned by a role of the same name: the engine's, the shop's, and those of
/// the workers in other languages.
pub const DATABASES: [&str; 8] = [
    "amends",
    "amends_order",
    "amends_stock",
    "amends_payment",
    "amends_notify",
    "amends_http",
    "amends_coupon",
    "amends_points",
];

const SUPERUSER: &str = "postgres";
/// How long a server may take until it answers: crash recovery reads its log first.
const START_TIMEOUT_MS: u64 = 120_000;
/// How long what an earlier, killed run left may take to end.
const LEFTOVERS_TIMEOUT_MS: u64 = 30_000;
/// How often another port is tried when somebody takes ours before the server does.
const PORTS_MAX: u32 = 4;
/// Fast shutdown, then immediate shutdown (which the next start recovers from).
const ENDING: Ending = Ending { first: "INT", last: "QUIT", grace_s: 30 };

/// A private Postgres cluster that runs. Dropping it stops the server without waiting for it.
#[derive(Debug)]
pub struct PrivatePostgres {
    home: Home,
    server: Guarded,
    port: u16,
}

impl PrivatePostgres {
    /// Starts the cluster in `dir/postgres`, which is made the first time, and creates the missing
    /// ones of [`DATABASES`] and their roles. Recovers from any crash of before.
    ///
    /// # Errors
    /// When Postgres cannot be found, installed or started, or another process uses the cluster.
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        let account = Account::for_servers().await?;
        let home = Home::open(dir, account.as_ref()).await?;
        let binaries = Binaries::find(home.major()?, &home.cache).await?;
        if home.major()?.is_none() {
            initialize(&home, &binaries, account.as_ref()).await?;
        }
        end_orphan(&home, &binaries, account.as_ref()).await;
        home.clear_leftovers(LEFTOVERS_TIMEOUT_MS).await?;
        let (server, port) = launch(&home, &binaries, account.as_ref()).await?;
        let cluster = Self { home, server, port };
        if let Err(error) = cluster.create_databases(&DATABASES).await {
            cluster.stop().await?;
            return Err(error);
        }
        Ok(cluster)
    }

    /// The URL of a database, as the role that owns it; as the superuser for `postgres`.
    pub fn url(&self, database: &str) -> String {
        let password =
            if database == SUPERUSER { self.home.password.clone() } else { self.role_password(database) };
        options(self.port, database, &password).to_url_lossy().to_string()
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that the cluster is in, also when `.amends/postgres` is a link to it.
    pub fn folder(&self) -> &Path {
        &self.home.folder
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.home.log()
    }

    /// Resolves when the server has ended by itself, with the end of its log. Can be dropped and called again.
    pub async fn ended(&mut self) -> String {
        let how = match self.server.ended().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("Postgres ended ({how}):\n{}", tail(&self.home.log(), 0))
    }

    /// Stops the server: a fast shutdown, which commits nothing half and leaves nothing to recover.
    ///
    /// # Errors
    /// When the operating system cannot tell whether it has ended.
    pub async fn stop(self) -> anyhow::Result<()> {
        let status = self.server.end().await.context("stopping Postgres")?;
        if !status.success() {
            tracing::warn!(%status, "Postgres did not stop cleanly; its next start recovers");
        }
        Ok(())
    }

    /// Creates databases and their roles where they are missing; names are lower case.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_databases(&self, names: &[&str]) -> anyhow::Result<()> {
        let mut connection =
            PgConnection::connect_with(&options(self.port, SUPERUSER, &self.home.password)).await?;
        for name in names {
            let safe = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            ensure!(safe && *name != SUPERUSER, "`{name}` cannot be a database's name");
            create_database(&mut connection, name, &self.role_password(name)).await?;
        }
        connection.close().await?;
        Ok(())
    }

    /// One a role, so that no service can pass for another; derived, so that only one is kept.
    fn role_password(&self, role: &str) -> String {
        let hash = Sha256::digest(format!("{}/{role}", self.home.password));
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

async fn create_database(connection: &mut PgConnection, name: &str, password: &str) -> anyhow::Result<()> {
    let role: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    let verb = if role { "alter" } else { "create" };
    let database: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    let mut statements = vec![format!("{verb} role {name} login password '{password}'")];
    if !database {
        statements.push(format!("create database {name} owner {name}"));
    }
    statements.push(format!("revoke all on database {name} from public"));
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Makes the cluster beside its place and moves it there when complete: an interrupted `initdb` is
/// never taken for a cluster.
async fn initialize(home: &Home, binaries: &Binaries, account: Option<&Account>) -> anyhow::Result<()> {
    tracing::info!(version = binaries.major, folder = %home.folder.display(), "making a private Postgres cluster");
    let fresh = home.folder.join("data.new");
    let password = home.folder.join("password.new");
    remove_if_there(&fresh)?;
    remove_if_there(&password)?;
    let mut file = std::fs::File::options();
    let mut file = file.create_new(true).write(true).mode(0o600).open(&password)?;
    std::io::Write::write_all(&mut file, home.password.as_bytes())?;
    if let Some(account) = account {
        account.own(&password)?;
    }
    let mut pwfile = OsString::from("--pwfile=");
    pwfile.push(&password);
    let args = ["-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "-D"];
    let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    args.extend([fresh.as_os_str(), pwfile.as_os_str()]);
    let made = run_as(account, &binaries.program("initdb"), &args).await;
    std::fs::remove_file(&password)?;
    made.context("making the cluster")?;
    std::fs::rename(&fresh, home.data()).context("moving the new cluster into its place")
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Stops a server that outlived the run that it belonged to. The lock is ours, so nobody uses it.
async fn end_orphan(home: &Home, binaries: &Binaries, account: Option<&Account>) {
    if home.processes().is_empty() {
        return;
    }
    let data = home.data();
    let args = ["stop", "-m", "fast", "-w", "-t", "30", "-D"].map(OsStr::new);
    let args: Vec<&OsStr> = args.into_iter().chain([data.as_os_str()]).collect();
    if let Err(error) = run_as(account, &binaries.program("pg_ctl"), &args).await {
        // It may have ended meanwhile; what is still there is found by who waits for it to go.
        tracing::debug!(%error, "an earlier Postgres was not stopped");
    }
}

async fn launch(
    home: &Home,
    binaries: &Binaries,
    account: Option<&Account>,
) -> anyhow::Result<(Guarded, u16)> {
    for tries in 0..PORTS_MAX {
        let port = home.port(tries)?;
        let log_from = home.begin_log()?;
        let launch = Launch {
            program: binaries.program("postgres"),
            args: arguments(&home.data(), port),
            // The log is searched for a message.
            env: vec![("LC_MESSAGES".to_owned(), "C".to_owned())],
            folder: PathBuf::from("/"),
            account: account.cloned(),
            output: Output::File(home.log()),
            ending: ENDING,
        };
        let mut server = launch.start()?;
        match until_it_answers(&mut server, port, &home.password).await {
            Ok(()) => return Ok((server, port)),
            Err(error) => {
                let ended = server.has_ended()?.is_some();
                server.end().await?;
                let log = tail(&home.log(), log_from);
                if ended && log.contains("could not create any TCP/IP sockets") {
                    tracing::info!(port, "somebody else took the port; trying another");
                    continue;
                }
                return Err(error.context(format!("Postgres did not start; the end of its log:\n{log}")));
            }
        }
    }
    bail!("no free port for Postgres after {PORTS_MAX} tries")
}

fn arguments(data: &Path, port: u16) -> Vec<OsString> {
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // No socket file: its path would have to be short, and of both accounts.
        "unix_socket_directories=".to_owned(),
        "fsync=on".to_owned(),
        "synchronous_commit=on".to_owned(),
        "full_page_writes=on".to_owned(),
        "max_connections=200".to_owned(),
        format!("shared_buffers={}MB", shared_buffers_mb()),
        "max_wal_size=2GB".to_owned(),
        "wal_compression=on".to_owned(),
        "jit=off".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "lc_messages=C".to_owned(),
        "logging_collector=off".to_owned(),
        "log_min_messages=warning".to_owned(),
    ];
    let mut arguments = vec![OsString::from("-D"), data.as_os_str().to_owned()];
    for setting in settings {
        arguments.extend([OsString::from("-c"), OsString::from(setting)]);
    }
    arguments
}

/// An eighth of the memory, between 64 MB and 1 GB: the engine and the workers run beside it.
fn shared_buffers_mb() -> u64 {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kb: Option<u64> = total.and_then(|total| total.trim().trim_end_matches("kB").trim().parse().ok());
    kb.map_or(128, |kb| (kb / 1024 / 8).clamp(64, 1024))
}

/// Answers to *our* password: whatever else listens on the port does not know it.
async fn until_it_answers(server: &mut Guarded, port: u16, password: &str) -> anyhow::Result<()> {
    let options = options(port, SUPERUSER, password);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(START_TIMEOUT_MS);
    loop {
        let problem = match PgConnection::connect_with(&options).await {
            Ok(connection) => return Ok(connection.close().await?),
            Err(error) => error,
        };
        if let Some(status) = server.has_ended()? {
            bail!("it ended with {status}");
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(problem).with_context(|| format!("it does not answer after {START_TIMEOUT_MS} ms"));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn options(port: u16, database: &str, password: &str) -> PgConnectOptions {
    // Not `new`, which looks for a .pgpass file.
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);
    let options = options.database(database).username(database).password(password);
    options.ssl_mode(sqlx::postgres::PgSslMode::Disable)
}

/// The last lines that a log got after its first `from` bytes.
fn tail(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let from = from.max(file.metadata()?.len().saturating_sub(64 * 1024));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
