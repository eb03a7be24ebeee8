//! The worker's promises, on a real Postgres: the SDK's conformance kit, and what is this worker's own.

use __PACKAGE_IDENT__::{migrate, worker};
use saga_protocol::Outcome;
use saga_worker::testkit::{Bench, Subject, again, compensate, conformance, execute};
use saga_worker::{Worker, async_trait};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions};
use uuid::Uuid;

/// A database of its own for a test.
struct Books {
    pool: PgPool,
    server: PgConnectOptions,
    name: String,
}

impl Books {
    async fn open() -> Self {
        let url = std::env::var("AMENDS_TEST_DATABASE_URL").expect("AMENDS_TEST_DATABASE_URL is set; see README.md");
        let server: PgConnectOptions = url.parse().expect("a Postgres URL");
        let name = format!("__IDENT___{}", Uuid::now_v7().simple());
        let books = Self { pool: PgPoolOptions::new().connect_lazy_with(server.clone().database(&name)), server, name };
        books.administer(format!("create database {} template template0", books.name)).await;
        migrate(&books.pool).await.expect("the migrations apply");
        books
    }

    async fn administer(&self, sql: String) {
        let mut connection = self.server.connect().await.expect("the server answers");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the role may make databases");
    }

    /// How many bookings of a subject stand.
    async fn standing(&self, subject: &str) -> u32 {
        let standing: i64 =
            sqlx::query_scalar("select count(*) from booking where subject = $1 and not cancelled")
                .bind(subject)
                .fetch_one(&self.pool)
                .await
                .expect("the books can be read");
        u32::try_from(standing).expect("few")
    }

    async fn close(self) {
        self.pool.close().await;
        self.administer(format!("drop database {} with (force)", self.name)).await;
    }
}

struct Booking<'a>(&'a Books);

#[async_trait]
impl Subject for Booking<'_> {
    fn worker(&self) -> Worker {
        worker(self.0.pool.clone())
    }
    fn action(&self) -> &str {
        "book"
    }
    fn compensation(&self) -> Option<&str> {
        Some("cancel_booking")
    }
    async fn input(&self) -> Value {
        json!({ "subject": Uuid::now_v7() })
    }
    async fn standing(&self, input: &Value) -> u32 {
        self.0.standing(input["subject"].as_str().expect("a text")).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn book_and_cancel_booking_conform() {
    let books = Books::open().await;
    conformance(&Booking(&books)).await;
    books.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_comes_twice_takes_effect_once() {
    let books = Books::open().await;
    let bench = Bench::new(worker(books.pool.clone())).await;
    bench.start();
    let book = execute("book", &json!({ "subject": "room 7" }));
    let first = bench.ask(&book).await;
    let second = bench.ask(&again(&book)).await;
    assert_eq!((first.outcome, second.outcome), (Outcome::Succeeded, Outcome::Succeeded));
    assert_eq!(first.output.map(|it| it.to_string()), second.output.map(|it| it.to_string()));
    assert_eq!(books.standing("room 7").await, 1);
    let cancel = compensate(&book, "cancel_booking", true);
    assert_eq!(bench.ask(&cancel).await.outcome, Outcome::Succeeded);
    assert_eq!(bench.ask(&again(&cancel)).await.outcome, Outcome::Succeeded);
    assert_eq!(books.standing("room 7").await, 0);
    bench.stop().await;
    books.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_that_makes_no_sense_is_rejected() {
    let books = Books::open().await;
    let bench = Bench::new(worker(books.pool.clone())).await;
    bench.start();
    for input in [json!(null), json!({}), json!({ "subject": "" }), json!({ "subject": "a\0b" }), json!({ "subject": 7 })] {
        let reply = bench.ask(&execute("book", &input)).await;
        assert_eq!((reply.outcome, reply.error.map(|it| it.code)), (Outcome::Rejected, Some("bad_input".to_owned())));
    }
    bench.stop().await;
    books.close().await;
}
