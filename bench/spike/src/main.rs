//! `spike`: the least that an engine of this shape can cost on this machine.
//!
//! DESIGN.md, section 5, with nothing but its happy path and the rejected one: group-committed starts, a lane that
//! commits a batch in one fenced statement, an outbox, workers with an inbox of their own, all over a real Kafka and a
//! Postgres that keeps what it commits. No retries, timers, recovery, takeover or semantics. It is a measuring stick for
//! the engine (`make bench-spike` beside `make bench`), and no product.

mod books;
mod client;
mod database;
mod engine;
mod kafka;
mod lane;
mod saga;
mod starts;
mod worker;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use amends::dev::supervisor::to_stderr;
use amends::dev::{Process, Stack};
use anyhow::Context as _;
use bench::measure::Series;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::worker::Worker;

/// A bare spike of the engine's design, to set the engine's throughput against
#[derive(Debug, Parser)]
#[command(name = "spike", version)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Starts servers and processes on a new folder, puts the load on, and stops everything again
    Run {
        /// Where the servers keep their data
        #[arg(long, value_name = "FOLDER")]
        dir: PathBuf,
        /// Options of `spike client`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        client: Vec<String>,
    },
    /// Serves starts, and drives sagas
    Engine {
        /// Where it listens
        listen: SocketAddr,
    },
    /// Executes one step's commands
    Worker {
        /// Whose
        name: Worker,
    },
    /// Puts the load on, says what it cost, and verifies the books
    Client {
        #[command(flatten)]
        series: Series,
    },
}

fn main() -> anyhow::Result<()> {
    use tokio::runtime::Builder;
    let (mut one_thread, mut threads) = (Builder::new_current_thread(), Builder::new_multi_thread());
    let runtime = |builder: &mut Builder| builder.enable_all().build();
    match Arguments::parse().command {
        Subcommands::Run { dir, client } => runtime(&mut threads)?.block_on(run(&dir, &client)),
        Subcommands::Engine { listen } => runtime(&mut threads)?.block_on(engine::run(listen)),
        // Its one loop waits in librdkafka; what it asks of Postgres is answered on the same thread.
        Subcommands::Worker { name } => runtime(&mut one_thread)?.block_on(worker::run(name)),
        Subcommands::Client { series } => runtime(&mut threads)?.block_on(client::run(&series)),
    }
}

/// The servers are those of `amends dev --bus kafka`, started by the same code.
async fn run(dir: &Path, client: &[String]) -> anyhow::Result<()> {
    let print = to_stderr(7);
    // That they end when they are told to is no news.
    let print = Arc::new(move |name: &str, line: &str| {
        if line != "Terminated" {
            print(name, line);
        }
    });
    let mut stack = Stack::start(dir, print).await?;
    let outcome = loaded(&mut stack, &dir.canonicalize()?, client).await;
    stack.stop().await;
    outcome
}

async fn loaded(stack: &mut Stack, dir: &Path, client: &[String]) -> anyhow::Result<()> {
    kafka::make_topics(stack.kafka()).await?;
    let environment = stack.environment();
    for name in ["order", "stock", "payment"] {
        stack.keep(Process::amends(name, ["worker", name], environment.clone()));
    }
    // Free a moment ago.
    let listen = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
    stack.keep(Process::amends("engine", ["engine", &listen], environment.clone()));
    let mut client = tokio::process::Command::new("/proc/self/exe")
        .arg("client")
        .args(client)
        .envs(environment)
        .env("AMENDS_URL", format!("http://{listen}"))
        .env("AMENDS_DIR", dir)
        .kill_on_drop(true)
        .spawn()
        .context("starting the client")?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = client.wait() => {
            let ended = ended?;
            anyhow::ensure!(ended.success(), "the client: {ended}");
            Ok(())
        }
        why = stack.failed() => anyhow::bail!(why),
        _ = terminated.recv() => anyhow::bail!("terminated"),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

/// A variable that `run` has set.
pub(crate) fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: start it by `spike run`"))
}
