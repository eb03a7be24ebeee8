//! What integration tests share: the addresses of real servers, databases of their own, and bounded
//! waiting. It must not stand in for anything real: a server that is missing fails the test.

pub mod database;
pub mod waiting;

pub use database::{FreshDatabase, fresh_database};
pub use waiting::{eventually, until_some};

/// What to do when a server's address is missing; part of every such failure.
const REMEDY: &str = "run `make test`, or `eval \"$(deploy/stack env)\"` after `deploy/stack up`";

/// Bootstrap servers of a real Apache Kafka.
///
/// # Panics
/// When `AMENDS_TEST_KAFKA` is not set.
pub fn kafka() -> String {
    address("AMENDS_TEST_KAFKA", "bootstrap servers of an Apache Kafka")
}

/// The URL of a real Redis. Other tests use it at the same time: take keys from [`unique_prefix`],
/// and never flush it.
///
/// # Panics
/// When `AMENDS_TEST_REDIS_URL` is not set.
pub fn redis_url() -> String {
    address("AMENDS_TEST_REDIS_URL", "the URL of a Redis")
}

/// The URL of a superuser on the database `postgres` of a throw-away cluster.
///
/// # Panics
/// When `AMENDS_TEST_DATABASE_URL` is not set.
pub fn database_url() -> String {
    address("AMENDS_TEST_DATABASE_URL", "a superuser's URL of a throw-away Postgres")
}

/// A prefix for topics, keys and names that nothing else uses: `<stem>-<random>`.
pub fn unique_prefix(stem: &str) -> String {
    format!("{stem}-{}", uuid::Uuid::now_v7().simple())
}

fn address(variable: &str, meaning: &str) -> String {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{variable} ({meaning}) is not set: {REMEDY}"),
    }
}
