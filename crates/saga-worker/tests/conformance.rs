//! The conformance kit, run against the SDK's own example handlers.
#![allow(clippy::unwrap_used)]

mod common;

use async_trait::async_trait;
use common::Shop;
use saga_worker::Worker;
use saga_worker::testkit::{Air, Subject, conformance};
use serde_json::{Value, json};
use uuid::Uuid;

struct Booking(Shop);

#[async_trait]
impl Subject for Booking {
    fn worker(&self) -> Worker {
        self.0.worker()
    }

    fn action(&self) -> &str {
        "book"
    }

    fn compensation(&self) -> Option<&str> {
        Some("unbook")
    }

    async fn input(&self) -> Value {
        json!({ "id": Uuid::now_v7(), "amount": 3 })
    }

    async fn standing(&self, input: &Value) -> u32 {
        let id: Uuid = input["id"].as_str().unwrap().parse().unwrap();
        let count: i64 = sqlx::query_scalar("select count(*) from booking where id = $1")
            .bind(id)
            .fetch_one(&self.0.pool)
            .await
            .unwrap();
        u32::try_from(count).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transactional_worker_conforms() {
    conformance(&Booking(Shop::open().await)).await;
}

struct Payment(Shop);

#[async_trait]
impl Subject for Payment {
    fn worker(&self) -> Worker {
        self.0.worker()
    }

    fn action(&self) -> &str {
        "pay"
    }

    fn compensation(&self) -> Option<&str> {
        Some("refund")
    }

    async fn input(&self) -> Value {
        json!({ "id": Uuid::now_v7() })
    }

    async fn standing(&self, input: &Value) -> u32 {
        let id: Uuid = input["id"].as_str().unwrap().parse().unwrap();
        u32::try_from(self.0.provider.standing(id)).unwrap()
    }

    fn air(&self) -> Option<&dyn Air> {
        Some(&*self.0.provider)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_worker_conforms() {
    conformance(&Payment(Shop::open().await)).await;
}
