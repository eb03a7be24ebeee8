//! The action `decide`: what the conformance kit does not ask.

use saga_protocol::Outcome;
use saga_worker::testkit::{self, Bench};
use serde_json::json;
use test_support::fresh_database;

use crate::support::{Toss, order};

#[tokio::test(flavor = "multi_thread")]
async fn it_refuses_when_it_is_asked_to_and_keeps_nothing() {
    let database = fresh_database().await;
    let pool = database.pool(5).await;
    worker_payment::migrate(&pool).await.unwrap();
    let toss = Toss::start().await;
    let bench = Bench::new(worker_payment::worker(pool.clone(), toss.client.clone())).await;
    bench.start();
    let good = testkit::execute("decide", &json!({ "order_id": order(), "amount": 100 }));
    let inputs = [
        (json!({ "order_id": order(), "amount": 100, "reject": true }), "payment_refused"),
        (json!({ "order_id": order(), "amount": 0 }), "payment_refused"),
        (json!({ "order_id": "short", "amount": 100 }), "bad_input"),
    ];
    let bad: Vec<_> = inputs.iter().map(|(input, _)| testkit::execute("decide", input)).collect();
    bench.send(&[&bad[0], &good, &bad[1], &bad[2]]).await;
    assert_eq!(bench.reply(&good).await.outcome, Outcome::Succeeded);
    for (command, (_, code)) in bad.iter().zip(&inputs) {
        let reply = bench.reply(command).await;
        assert_eq!((reply.outcome, reply.error.unwrap().code.as_str()), (Outcome::Rejected, *code));
    }
    let rows: i64 =
        sqlx::query_scalar("select count(*) from amends_payment.decision").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 1);
    bench.stop().await;
}
