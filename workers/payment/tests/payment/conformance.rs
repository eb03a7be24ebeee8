//! The SDK's conformance kit, with a real Postgres and the sandbox as the other side.

use std::time::{Duration, Instant};

use saga_worker::testkit::{self, Air, Subject};
use saga_worker::{Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{FreshDatabase, fresh_database};

use crate::support::{Toss, key, order};

struct Confirm {
    toss: Toss,
    pool: PgPool,
    _database: FreshDatabase,
}

#[async_trait]
impl Subject for Confirm {
    fn worker(&self) -> Worker {
        worker_payment::worker(self.pool.clone(), self.toss.client.clone())
    }

    fn action(&self) -> &str {
        "confirm"
    }

    fn compensation(&self) -> Option<&str> {
        Some("cancel")
    }

    async fn input(&self) -> Value {
        crate::support::input(&key("ok"), &order(), 100)
    }

    async fn standing(&self, input: &Value) -> u32 {
        let (captured, refunded) = self.toss.totals(input["order_id"].as_str().unwrap()).await;
        u32::try_from((captured - refunded) / 100).unwrap()
    }

    fn air(&self) -> Option<&dyn Air> {
        Some(self)
    }
}

#[async_trait]
impl Air for Confirm {
    async fn hold(&self) {
        self.toss.fault(json!({ "operation": "confirm", "fault": { "hold": true } })).await;
    }

    async fn in_the_air(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.toss.dev(reqwest::Method::GET, "held", None).await["held"] == 0 {
            assert!(Instant::now() < until, "no confirm is held");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn land(&self) {
        self.toss.dev(reqwest::Method::POST, "release", None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confirm_and_cancel_conform() {
    let database = fresh_database().await;
    let pool = database.pool(10).await;
    worker_payment::migrate(&pool).await.unwrap();
    let subject = Confirm { toss: Toss::start().await, pool, _database: database };
    testkit::conformance(&subject).await;
}

struct Decide {
    pool: PgPool,
    toss: Toss,
    _database: FreshDatabase,
}

#[async_trait]
impl Subject for Decide {
    fn worker(&self) -> Worker {
        worker_payment::worker(self.pool.clone(), self.toss.client.clone())
    }

    fn action(&self) -> &str {
        "decide"
    }

    fn compensation(&self) -> Option<&str> {
        Some("undo_decide")
    }

    async fn input(&self) -> Value {
        json!({ "order_id": order(), "amount": 100 })
    }

    async fn standing(&self, input: &Value) -> u32 {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from amends_payment.decision where order_id = $1 and undone_at is null",
        )
        .bind(input["order_id"].as_str().unwrap())
        .fetch_one(&self.pool)
        .await
        .unwrap();
        u32::try_from(count).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decide_and_undo_decide_conform() {
    let database = fresh_database().await;
    let pool = database.pool(10).await;
    worker_payment::migrate(&pool).await.unwrap();
    let subject = Decide { toss: Toss::start().await, pool, _database: database };
    testkit::conformance(&subject).await;
}
