//! The `amends` command: its arguments, and what each part of it prints.
//!
//! Client commands speak to the API and nothing else; server commands put the parts together that live
//! elsewhere. Nothing here decides anything about a saga.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use client::Client;
use exit::{Code, Failure};
use style::Style;

pub mod author;
pub mod check;
pub mod client;
pub mod database;
pub mod definitions;
pub mod dev;
pub mod exit;
pub mod live;
pub mod ops;
pub mod process;
pub mod saga;
pub mod saga_more;
pub mod scenarios;
pub mod serve;
pub mod shop;
pub mod sign_in;
pub mod style;
pub mod timeline;
pub mod torture;
pub mod versions;
mod watch;
pub mod worker;
pub mod worker_new;

/// Amends: sagas that make amends when a step fails.
#[derive(Debug, Parser)]
#[command(name = "amends", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 as wanted, 1 failed, 2 wrong usage, 3 not found, 4 the saga ended otherwise \
    than completed or needs a human, 5 the server cannot be reached, 6 an action changed nothing, 7 an action is kept \
    and was not taken in yet."
)]
pub struct Cli {
    /// Prints JSON, one document a line; errors too, on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once")]
enum Command {
    Dev(dev::DevArgs),
    Serve(serve::ServeArgs),
    Worker(worker::WorkerArgs),
    Sandbox(worker::SandboxArgs),
    Saga(saga::SagaArgs),
    Ops(ops::OpsArgs),
    Reconcile(ops::ReconcileArgs),
    Def(definitions::DefArgs),
    Check(check::CheckArgs),
    Test(scenarios::TestArgs),
    Simulate(scenarios::SimulateArgs),
    Db(database::DbArgs),
    Token(sign_in::TokenArgs),
    Key(sign_in::KeyArgs),
    Torture(torture::TortureArgs),
}

/// Where the API is.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// The API's address
    #[arg(long, env = "AMENDS_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
    /// A token or an API key; a server in dev mode needs none over loopback
    #[arg(long, env = "AMENDS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

impl Server {
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.url)?.with_token(self.token.clone()))
    }
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// The looks of text.
    pub style: Style,
}

impl Output {
    /// Prints JSON, on a line.
    pub fn print<T: Serialize>(&self, value: &T) {
        say(&serde_json::to_string(value).unwrap_or_default());
    }
}

/// Prints a line. A reader that has gone away (`| head`) is no reason to panic.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Runs the command.
pub fn run(cli: Cli) -> ExitCode {
    let output = Output { json: cli.json, style: if cli.json { Style::PLAIN } else { Style::of_stdout() } };
    log(match cli.command {
        Command::Serve(_) | Command::Worker(_) | Command::Sandbox(_) | Command::Db(_) => "info",
        // Alarms are what it is about.
        Command::Torture(_) => "off",
        _ => "warn",
    });
    client::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::new(Code::Failed, format!("cannot start: {error}")).tell(cli.json);
            return Code::Failed.into();
        }
    };
    let ended = runtime.block_on(dispatch(cli.command, output));
    match ended {
        Ok(code) => code.into(),
        Err(failure) => {
            failure.tell(output.json);
            failure.code.into()
        }
    }
}

async fn dispatch(command: Command, output: Output) -> Result<Code, Failure> {
    match command {
        Command::Dev(args) => dev::run(args, output).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Worker(args) => worker::run(args, output).await,
        Command::Sandbox(args) => worker::sandbox(args).await,
        Command::Saga(args) => saga::run(args, output).await,
        Command::Ops(args) => ops::run(args, output).await,
        Command::Reconcile(args) => ops::reconcile(args, output).await,
        Command::Def(args) => definitions::run(args, output).await,
        Command::Check(args) => check::run(&args, output),
        Command::Test(args) => scenarios::test(&args, output).await,
        Command::Simulate(args) => scenarios::simulate(&args, output),
        Command::Db(args) => database::run(args, output).await,
        Command::Token(args) => sign_in::token(&args, output),
        Command::Key(args) => sign_in::run(args, output).await,
        Command::Torture(args) => tokio::task::block_in_place(|| torture::run(&args, output)),
    }
}

/// Logs to standard error: `AMENDS_LOG` filters, `AMENDS_LOG_FORMAT=json` makes a document of each line.
fn log(default: &str) {
    let filter = EnvFilter::try_from_env("AMENDS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = std::env::var("AMENDS_LOG_FORMAT").is_ok_and(|it| it == "json");
    // A second subscriber is refused; the first one then goes on.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_operation_of_the_api_has_a_command() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/goldens/openapi.json")).expect("it is JSON");
        let paths = document["paths"].as_object().expect("it has paths").values();
        let operations: BTreeSet<&str> = paths
            .flat_map(|methods| methods.as_object().expect("they are methods").values())
            .filter_map(|operation| operation["operationId"].as_str())
            .filter(|it| !["healthz", "readyz", "metrics", "openapi"].contains(it))
            .collect();
        let table = include_str!("../../../docs/cli.md");
        let rows: BTreeMap<&str, &str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |")?.split_once("` | `"))
            .collect();
        assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), operations, "docs/cli.md has them all");
        for (operation, command) in rows {
            let mut at = Cli::command();
            for word in command.split(' ').skip(1) {
                let names_value = word.chars().all(|c| c.is_ascii_uppercase());
                let option = word.strip_prefix("--");
                if names_value
                    || option.is_some_and(|it| at.get_arguments().any(|arg| arg.get_long() == Some(it)))
                {
                    continue;
                }
                let next = at.find_subcommand(word).cloned();
                at = next.unwrap_or_else(|| panic!("{operation}: there is no `{command}`"));
            }
        }
    }
}
