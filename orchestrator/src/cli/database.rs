//! `amends db migrate`: brings databases up to date.

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Code, Failure};
use super::shop::{self, Name};
use super::{Output, say};
use crate::store::Store;

/// Databases: migrate
#[derive(Debug, Args)]
pub struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Brings every database up to date whose URL is set: AMENDS_DATABASE_URL and those of the workers
    Migrate(MigrateArgs),
}

#[derive(Debug, Args)]
struct MigrateArgs {
    /// The engine's database
    #[arg(long, env = "AMENDS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// How many shards a new database gets; an existing one keeps its own
    #[arg(long, env = "AMENDS_SHARDS", default_value_t = 4)]
    shards: u32,
}

/// Runs the command.
///
/// # Errors
/// When no database is named, or one fails.
pub async fn run(args: DbArgs, output: Output) -> Result<Code, Failure> {
    let DbCommand::Migrate(args) = args.command;
    let mut done = Vec::new();
    if let Some(url) = &args.database_url {
        let store = Store::connect(url, 2).await.context("the engine's database (AMENDS_DATABASE_URL)")?;
        let shards =
            store.migrate(args.shards.max(1), chrono::Utc::now()).await.context("the engine's database")?;
        done.push(json!({ "database": "engine", "shards": shards }));
    }
    for name in Name::ALL {
        let Ok(url) = std::env::var(name.database_variable()) else { continue };
        let pool = shop::connect(name, &url, 2).await?;
        name.migrate(&pool).await?;
        pool.close().await;
        done.push(json!({ "database": name.as_str() }));
    }
    if done.is_empty() {
        let known: Vec<&str> = Name::ALL.iter().map(|name| name.database_variable()).collect();
        return Err(Failure::usage(format!(
            "no database is named: give --database-url, or set AMENDS_DATABASE_URL, {}",
            known.join(", ")
        )));
    }
    for it in done {
        if output.json {
            output.print(&it);
        } else {
            let shards = it["shards"].as_u64().map(|it| format!(", {it} shards")).unwrap_or_default();
            say(&format!("{} is up to date{shards}", it["database"].as_str().unwrap_or_default()));
        }
    }
    Ok(Code::Ok)
}
