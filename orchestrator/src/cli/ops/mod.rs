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
}

/// Runs it.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn reconcile(args: ReconcileArgs, output: Output) -> Result<Code, Failure> {
    settle::reconcile(&args.server.client()?, args.last, output).await
}

/// Rows below their heads, each column as wide as it must be.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    std::iter::once(&heads).chain(&rows).map(line).collect::<Vec<_>>().join("\n")
}

/// How long ago, in words.
pub(super) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ago", span((now - at).num_milliseconds().max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = vec![
            vec!["a".into(), "주문 1".into(), String::new()],
            vec!["long".into(), "b".into(), "c".into()],
        ];
        assert_eq!(table(&["x", "y", "z"], rows), "x     y     z\na     주문 1\nlong  b     c");
    }
}
