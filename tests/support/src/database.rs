//! A database of its own for each test, on the throw-away cluster. It must not share anything with
//! another test but the server.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// An empty database that is dropped with this value (its connections included).
#[derive(Debug)]
pub struct FreshDatabase {
    /// Its URL, as the superuser.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// Creates an empty database with a unique name.
///
/// # Panics
/// When `AMENDS_TEST_DATABASE_URL` is not set or its server cannot be used.
pub async fn fresh_database() -> FreshDatabase {
    let server = server();
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect_with(&server).await.expect("the test cluster answers");
    // template0: unlike template1, nobody can be connected to it, which would fail the statement.
    sqlx::query(AssertSqlSafe(format!("create database {name} template template0")))
        .execute(&mut connection)
        .await
        .expect("a superuser creates databases");
    connection.close().await.expect("the connection closes");
    let url = server.database(&name).to_url_lossy().to_string();
    FreshDatabase { url, name }
}

impl FreshDatabase {
    /// A pool of at most `connections_max` connections.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn pool(&self, connections_max: u32) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections_max)
            .connect(&self.url)
            .await
            .expect("the fresh database answers")
    }
}

impl Drop for FreshDatabase {
    /// Best effort: what stays is gone with the throw-away cluster. On a thread of its own that nobody waits
    /// for: a drop waits for every backend of the cluster, also for one that is just being authenticated by
    /// the runtime that would be blocked here.
    fn drop(&mut self) {
        let (name, sql) = (self.name.clone(), format!("drop database if exists {} with (force)", self.name));
        std::thread::spawn(move || {
            let dropped = tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
                runtime.block_on(async {
                    let mut connection = PgConnection::connect_with(&server()).await?;
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
                    connection.close().await
                })
            });
            if !matches!(dropped, Ok(Ok(()))) {
                eprintln!("database {name} stays: {dropped:?}");
            }
        });
    }
}

fn server() -> PgConnectOptions {
    PgConnectOptions::from_str(&crate::database_url()).expect("AMENDS_TEST_DATABASE_URL is a Postgres URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_empty_of_its_own_and_gone_afterwards() {
        let one = fresh_database().await;
        let two = fresh_database().await;
        assert_ne!(one.name, two.name);
        let pool = one.pool(2).await;
        let name: String =
            sqlx::query_scalar("select current_database()").fetch_one(&pool).await.expect("a row");
        assert_eq!(name, one.name);
        let dropped = one.name.clone();
        drop(one); // while the pool is still connected
        let others = two.pool(1).await;
        crate::eventually("the database is gone", 30_000, async || {
            let left: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
                .bind(&dropped)
                .fetch_one(&others)
                .await
                .expect("a row");
            left == 0
        })
        .await;
    }
}
