//! Connections as the engine and its workers have them.

use std::str::FromStr as _;

use anyhow::Context as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

/// Connects to the database in an environment variable, makes its tables, and forces the plans that
/// `orchestrator/src/store` forces: they must not depend on the statistics of tables that were empty once.
pub(crate) async fn open(variable: &str, tables: &'static str) -> anyhow::Result<PgConnection> {
    let mut connection = connect(variable).await?;
    sqlx::raw_sql(tables).execute(&mut connection).await.context("making the tables")?;
    Ok(connection)
}

/// The same without tables.
pub(crate) async fn connect(variable: &str) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(&crate::variable(variable)?)?.options([
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("lock_timeout", "3s"),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("tcp_user_timeout", "5000"),
    ]);
    options.connect().await.with_context(|| format!("the database of {variable}"))
}
