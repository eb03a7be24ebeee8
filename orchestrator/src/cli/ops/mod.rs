//! `amends ops`: what is stuck and why, and putting it right, over the API.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

use super::exit::{Code, Failure};
use super::style::span;
use super::{Output, Server};

mod jobs;
mod look;
mod settle;

/// Operators: what needs people, holds, bulk jobs, approvals, dead letters, the audit
#[derive(Debug, Args)]
pub struct OpsArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: OpsCommand,
}

#[derive(Debug, Subcommand)]
enum OpsCommand {
    #[command(flatten)]
    Look(look::Look),
    #[command(flatten)]
    Settle(settle::Settle),
    /// Bulk jobs: preview, make, watch and steer them
    Job(jobs::JobArgs),
}

/// Runs it.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn run(args: OpsArgs, output: Output) -> Result<Code, Failure> {
    let client = args.server.client()?;
    match args.command {
        OpsCommand::Look(look) => look::run(look, &client, output).await,
        OpsCommand::Settle(settle) => settle::run(settle, &client, output).await,
        OpsCommand::Job(job) => jobs::run(job, &client, output).await,
    }
}

/// Compares the vendor's ledger, orders and stock with the sagas; exit code 4 when something does not fit
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    #[command(flatten)]
    server: Server,
    /// Shows what the newest run found, without another one
    #[arg(long)]
    last: bool,
    /// Goes on after the page before, without another one
    #[arg(long)]
    after: Option<i32>,
}

/// Runs it.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn reconcile(args: ReconcileArgs, output: Output) -> Result<Code, Failure> {
    settle::reconcile(&args.server.client()?, (args.last, args.after), output).await
}

/// How long ago, in words.
pub(super) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ago", span((now - at).num_milliseconds().max(0)))
}
