//! What the SDK's own tests share: a worker with a transactional and an external action, small but
//! real: bookings in Postgres, payments at a provider with a memory of its own.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod bookings;
pub mod provider;

use std::sync::Arc;

use saga_worker::testkit::Bench;
use saga_worker::{BreakerPolicy, ExternalPolicy, Worker};
use sqlx::PgPool;
use test_support::{FreshDatabase, fresh_database};

use self::bookings::Bookings;
use self::provider::{Payments, Provider};

/// A database, a provider and a worker over both.
pub struct Shop {
    pub database: FreshDatabase,
    pub pool: PgPool,
    pub provider: Arc<Provider>,
    pub bookings: Arc<Bookings>,
}

impl Shop {
    pub async fn open() -> Self {
        let database = fresh_database().await;
        let pool = database.pool(8).await;
        saga_worker::migrate(&pool).await.unwrap();
        bookings::migrate(&pool).await;
        provider::migrate(&pool).await;
        Self { database, pool, provider: Arc::default(), bookings: Arc::default() }
    }

    pub fn worker(&self) -> Worker {
        self.worker_with(policy())
    }

    pub fn worker_with(&self, policy: ExternalPolicy) -> Worker {
        Worker::builder("shop", "1.2.3", self.pool.clone())
            .transactional("book", Some("unbook"), self.bookings.clone())
            .transactional("tick", None, self.bookings.clone())
            .external("pay", Some("refund"), Payments(self.provider.clone()), policy)
            .build()
    }

    /// A started worker.
    pub async fn bench(&self) -> Bench {
        self.bench_with(policy()).await
    }

    pub async fn bench_with(&self, policy: ExternalPolicy) -> Bench {
        let bench = Bench::new(self.worker_with(policy)).await;
        bench.start();
        bench
    }

    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }
}

/// Ten minutes of window, as Toss has; calls may begin for one minute.
pub fn policy() -> ExternalPolicy {
    ExternalPolicy {
        concurrency: 16,
        per_second: None,
        client_timeout_ms: 10_000,
        window_ms: 600_000,
        not_after_ms: 60_000,
        recheck_ms: 20,
        breaker: BreakerPolicy { failures: 1_000, open_ms: 1_000, open_max_ms: 8_000 },
    }
}

/// What a reply's error says.
pub fn code(reply: &saga_protocol::Reply) -> &str {
    reply.error.as_ref().map_or("", |fault| &fault.code)
}
