//! The SDK's conformance kit, with a real Postgres and the carrier as the other side.

use std::time::{Duration, Instant};

use saga_worker::testkit::{self, Air, Subject};
use saga_worker::{Worker, async_trait};
use serde_json::{Value, json};
use sqlx::PgPool;
use test_support::{FreshDatabase, fresh_database};

use crate::carrier::Carrier;

struct Pickup {
    carrier: Carrier,
    pool: PgPool,
    _database: FreshDatabase,
}

#[async_trait]
impl Subject for Pickup {
    fn worker(&self) -> Worker {
        let calls = crate::support::calls(&self.carrier, &[]);
        worker_http::worker(self.pool.clone(), calls, worker_http::WINDOW_MS_DEFAULT)
    }

    fn action(&self) -> &str {
        "call"
    }

    fn compensation(&self) -> Option<&str> {
        Some("undo")
    }

    async fn input(&self) -> Value {
        crate::support::pickup(&self.carrier, &json!({ "order": uuid::Uuid::now_v7().to_string() }))
    }

    async fn standing(&self, input: &Value) -> u32 {
        self.carrier.standing(input["call"]["body"]["order"].as_str().unwrap())
    }

    fn air(&self) -> Option<&dyn Air> {
        Some(self)
    }
}

#[async_trait]
impl Air for Pickup {
    async fn hold(&self) {
        self.carrier.hold();
    }

    async fn in_the_air(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.carrier.held() == 0 {
            assert!(Instant::now() < until, "no request is held");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn land(&self) {
        self.carrier.release().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_and_undo_conform() {
    let database = fresh_database().await;
    let pool = database.pool(10).await;
    worker_http::migrate(&pool).await.unwrap();
    let subject = Pickup { carrier: Carrier::start().await, pool, _database: database };
    testkit::conformance(&subject).await;
}
