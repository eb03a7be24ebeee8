//! Postgres: the engine's statements and what they return.
//!
//! Owns every SQL statement of the engine and the options of its connections. It must not decide anything
//! about a saga.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Row};

pub(crate) use database::{Database, Purpose, Session};

pub mod approvals;
pub mod audit;
pub mod batch;
pub mod canary;
pub mod care;
pub mod children;
pub mod claim;
pub(crate) mod database;
pub mod definitions;
pub mod erase;
pub mod find;
pub mod jobs;
mod labels;
pub mod load;
pub mod mail;
pub mod migrate;
pub mod projection;
pub mod queues;
pub mod read;
pub mod reconciliation;
pub mod retention;
mod standing;
pub mod start;
pub mod sweep;
mod text;

/// How long a hot session may idle within a transaction, and how long unacknowledged data may stay on its
/// socket, in seconds: a frozen owner must not hold its shards' rows for longer.
const SESSION_TIMEOUT_S: u32 = 5;

/// The longest wait for a statement of the engine: longer than the server itself lets it take, so that only a
/// connection that has gone silent gets here.
const SILENCE: Duration = Duration::from_secs(35);

/// Gives up a statement that is never answered. Whether it was carried out is unknown, and the connection is not to be
/// used again.
pub(crate) async fn in_time<T>(
    statement: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(SILENCE, statement)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unknown(sqlx::Error::PoolTimedOut)))
}

/// Access to the engine's database.
#[derive(Clone, Debug)]
pub struct Store {
    hot: PgPool,
    reads: PgPool,
    lane: PgConnectOptions,
}

/// Why a statement failed, as far as the engine cares.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data is at fault (SQLSTATE class 22, 23, or 54 for what is too large for a row or an index):
    /// repeating cannot help, bisecting can.
    #[error("the database refuses the data: {0}")]
    Data(#[source] sqlx::Error),
    /// Deciding panicked before anything was written: our own bug, met by this data.
    #[error("panic: {0}")]
    Panic(String),
    /// Anything else. Whether a commit took place is unknown.
    #[error("the database failed: {0}")]
    Unknown(#[source] sqlx::Error),
    /// A row cannot be read by this build.
    #[error("a row cannot be read: {0}")]
    Unreadable(String),
}

impl StoreError {
    /// Whether a value that somebody asked with cannot be one: a text with a NUL character, or a number or an instant
    /// out of the database's range.
    pub(crate) fn is_out_of_range(&self) -> bool {
        let Self::Data(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| matches!(&*code, "22021" | "22P05" | "22003" | "22008"))
    }

    /// Whether nothing was written because of the data: bisecting finds what is at fault.
    pub(crate) const fn is_the_datas(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Panic(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let data = error
            .as_database_error()
            .and_then(|it| it.code())
            .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)));
        if data { Self::Data(error) } else { Self::Unknown(error) }
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    tokio::time::timeout(Duration::from_secs(u64::from(SESSION_TIMEOUT_S)), options.connect())
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)?
}

impl Store {
    /// Opens the pools. `url` is a `postgres://` URL; `connections_max` bounds each pool.
    ///
    /// # Errors
    /// When the URL is bad or the server does not answer within 10 s.
    pub async fn connect(url: &str, connections_max: u32) -> Result<Self, sqlx::Error> {
        let base = PgConnectOptions::from_str(url)?.log_statements(tracing::log::LevelFilter::Trace);
        // Plans of hot statements must not depend on statistics: tables that are empty at start-up would
        // otherwise teach the planner to scan them.
        let hot = base.clone().options([
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
        let pool = |max| PgPoolOptions::new().max_connections(max).acquire_timeout(Duration::from_secs(10));
        let reads = pool(connections_max)
            .connect_with(
                // What people ask for differs by orders of magnitude: each question gets a plan of its own.
                base.clone().application_name("amends reads").options([
                    ("statement_timeout", "30s"),
                    ("plan_cache_mode", "force_custom_plan"),
                    ("jit", "off"),
                ]),
            )
            .await?;
        let lane = hot.clone().application_name("amends lane");
        let hot = pool(connections_max).connect_with(hot.application_name("amends")).await?;
        Ok(Self { hot, reads, lane })
    }

    /// A connection for a lane alone, so that its backend is known to who takes over.
    pub(crate) async fn lane_connection(&self) -> Result<PgConnection, sqlx::Error> {
        connect(&self.lane).await
    }

    /// A connection for the starts of this process alone: one group at a time needs no pool.
    pub(crate) async fn start_connection(&self) -> Result<PgConnection, sqlx::Error> {
        connect(&self.lane.clone().application_name("amends starts")).await
    }

    /// The pool of the engine's statements.
    pub(crate) fn hot(&self) -> &PgPool {
        &self.hot
    }

    /// The pool of reads for people: ordinary plans.
    pub fn reads(&self) -> &PgPool {
        &self.reads
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.reads).await?;
        Ok(())
    }

    /// How many shards there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shards(&self) -> Result<u32, StoreError> {
        let row = sqlx::query("select count(*) from shard").fetch_one(&self.reads).await?;
        let count: i64 = row.try_get(0)?;
        Ok(u32::try_from(count).unwrap_or(0))
    }
}
