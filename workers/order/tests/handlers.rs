//! The actions on a real Postgres: what each command of a batch becomes, and what the tables hold.
#![allow(clippy::unwrap_used)]

mod common;

use common::{cancel, database, execute, fault, new_saga, order, run, summary};
use serde_json::{Value, json};
use sqlx::PgPool;
use worker_order::complete::Complete;
use worker_order::create::Create;

async fn rows(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("select order_id, status from amends_order.orders order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn lines(pool: &PgPool) -> Vec<(String, i32, String, i32, i64)> {
    sqlx::query_as(
        "select order_id, line, sku, quantity, unit_price
         from amends_order.order_lines join amends_order.orders using (id) order by order_id, line",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_batch_of_creates_writes_every_order_with_its_lines() {
    let (_database, pool) = database().await;
    let batch =
        [execute(new_saga(), "create", order("order-b")), execute(new_saga(), "create", order("order-a"))];
    assert_eq!(summary(&run(&pool, &Create, &batch).await), ["ok", "ok"]);
    assert_eq!(
        lines(&pool).await,
        [
            ("order-a".into(), 1, "tea".into(), 2, 1_500),
            ("order-a".into(), 2, "cup".into(), 1, 9_000),
            ("order-b".into(), 1, "tea".into(), 2, 1_500),
            ("order-b".into(), 2, "cup".into(), 1, 9_000),
        ]
    );
}

#[tokio::test]
async fn a_create_that_breaks_a_rule_is_rejected_with_the_rule_and_the_others_stand() {
    let (_database, pool) = database().await;
    let with = |change: fn(&mut Value)| {
        let mut input = order("order-x");
        change(&mut input);
        input
    };
    let broken = [
        (with(|it| it["order_id"] = json!("short")), "order_id must be 6 to 64"),
        (with(|it| it["order_id"] = json!("with space")), "order_id must be 6 to 64"),
        (with(|it| it["customer_id"] = json!("")), "customer_id must be"),
        (with(|it| it["customer_id"] = json!("a\u{0}b")), "customer_id must be"),
        (with(|it| it["currency"] = json!("krw")), "currency must be"),
        (with(|it| it["items"] = json!([])), "items must be 1 to 100 lines"),
        (with(|it| it["items"][1]["quantity"] = json!(0)), "items[1]: quantity must be"),
        (with(|it| it["items"][0]["quantity"] = json!(1.5)), "invalid type: floating point"),
        (with(|it| it["items"][0]["quantity"] = json!("2")), "invalid type: string"),
        (with(|it| it["items"][0]["unit_price"] = json!(-1)), "items[0]: unit_price must not be negative"),
        (with(|it| it["items"][0]["unit_price"] = json!(i64::MAX)), "items[0]: unit_price is too large"),
        (with(|it| it["items"][0]["sku"] = json!("a/b")), "items[0]: sku must be"),
        (with(|it| it["amount"] = json!(11_999)), "amount is 11999, but the lines sum to 12000"),
        (with(|it| it.as_object_mut().unwrap().retain(|key, _| key != "amount")), "missing field `amount`"),
        (json!("order-x"), "invalid type: string"),
    ];
    let mut batch: Vec<_> =
        broken.iter().map(|(input, _)| execute(new_saga(), "create", input.clone())).collect();
    batch.push(execute(new_saga(), "create", order("order-good")));
    let answers = run(&pool, &Create, &batch).await;
    for (answer, (input, reason)) in answers.iter().zip(&broken) {
        assert_eq!(fault(answer).code, "invalid_order", "{input}");
        assert!(fault(answer).message.contains(reason), "{input}: {}", fault(answer).message);
    }
    assert_eq!(summary(&answers[broken.len()..]), ["ok"]);
    assert_eq!(rows(&pool).await, [("order-good".into(), "created".into())]);
}

#[tokio::test]
async fn an_id_that_stands_is_not_given_twice_not_even_within_a_batch() {
    let (_database, pool) = database().await;
    let first = [
        execute(new_saga(), "create", order("order-1")),
        execute(new_saga(), "create", order("order-1")),
        execute(new_saga(), "create", order("order-2")),
    ];
    let answers = run(&pool, &Create, &first).await;
    assert_eq!(summary(&answers), ["ok", "rejected order_exists", "ok"]);
    let again =
        [execute(new_saga(), "create", order("order-2")), execute(new_saga(), "create", order("order-3"))];
    assert_eq!(summary(&run(&pool, &Create, &again).await), ["rejected order_exists", "ok"]);
    assert_eq!(lines(&pool).await.len(), 6);
}

#[tokio::test]
async fn cancel_keeps_the_row_and_frees_the_id_for_a_replay() {
    let (_database, pool) = database().await;
    let (failed, replay) = (new_saga(), new_saga());
    run(&pool, &Create, &[execute(failed, "create", order("order-1"))]).await;
    for _ in 0..2 {
        assert_eq!(summary(&run(&pool, &Create, &[cancel(failed, order("order-1"))]).await), ["ok"]);
    }
    assert_eq!(rows(&pool).await, [("order-1".into(), "cancelled".into())]);

    assert_eq!(summary(&run(&pool, &Create, &[execute(replay, "create", order("order-1"))]).await), ["ok"]);
    let named = json!({ "order_id": "order-1" });
    // What comes late from the failed saga does not touch the replay's order.
    let late = [execute(failed, "complete", named.clone())];
    assert_eq!(summary(&run(&pool, &Complete, &late).await), ["rejected order_cancelled"]);
    assert_eq!(summary(&run(&pool, &Create, &[cancel(failed, order("order-1"))]).await), ["ok"]);
    assert_eq!(summary(&run(&pool, &Complete, &[execute(replay, "complete", named)]).await), ["ok"]);
    assert_eq!(
        rows(&pool).await,
        [("order-1".into(), "cancelled".into()), ("order-1".into(), "completed".into())]
    );
}

#[tokio::test]
async fn complete_answers_by_where_the_order_stands() {
    let (_database, pool) = database().await;
    let (one, two) = (new_saga(), new_saga());
    run(
        &pool,
        &Create,
        &[execute(one, "create", order("order-1")), execute(two, "create", order("order-2"))],
    )
    .await;
    run(&pool, &Create, &[cancel(two, order("order-2"))]).await;
    let batch = [
        execute(one, "complete", json!({ "order_id": "order-1" })),
        execute(two, "complete", json!({ "order_id": "order-2" })),
        execute(two, "complete", json!({ "order_id": "order-1" })),
        execute(one, "complete", json!({ "order_id": "order-9" })),
        execute(one, "complete", json!({ "order_id": 9 })),
    ];
    assert_eq!(
        summary(&run(&pool, &Complete, &batch).await),
        [
            "ok",
            "rejected order_cancelled",
            "rejected order_unknown",
            "rejected order_unknown",
            "rejected invalid_order"
        ]
    );
    assert_eq!(
        summary(&run(&pool, &Complete, &batch[..1]).await),
        ["ok"],
        "a second complete changes nothing"
    );
    assert_eq!(
        rows(&pool).await,
        [("order-1".into(), "completed".into()), ("order-2".into(), "cancelled".into())]
    );
}

#[tokio::test]
async fn a_cancel_is_refused_where_it_would_be_a_lie() {
    let (_database, pool) = database().await;
    let saga = new_saga();
    run(&pool, &Create, &[execute(saga, "create", order("order-1"))]).await;
    run(&pool, &Complete, &[execute(saga, "complete", json!({ "order_id": "order-1" }))]).await;
    let batch = [cancel(saga, order("order-1")), cancel(saga, order("order-lost"))];
    assert_eq!(
        summary(&run(&pool, &Create, &batch).await),
        ["rejected order_completed", "undecidable order_missing"]
    );
    assert_eq!(rows(&pool).await, [("order-1".into(), "completed".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_want_the_same_ids_in_opposite_orders_do_not_deadlock() {
    let (_database, pool) = database().await;
    let ids: Vec<String> = (0..50).map(|at| format!("order-{at:03}")).collect();
    let mut running = tokio::task::JoinSet::new();
    for at in 0..8 {
        let (pool, mut ids) = (pool.clone(), ids.clone());
        running.spawn(async move {
            if at % 2 == 0 {
                ids.reverse();
            }
            let batch: Vec<_> = ids.iter().map(|id| execute(new_saga(), "create", order(id))).collect();
            let answers = run(&pool, &Create, &batch).await;
            summary(&answers).iter().filter(|answer| *answer == "ok").count()
        });
    }
    let created: usize = running.join_all().await.into_iter().sum();
    assert_eq!(created, ids.len(), "each id was given exactly once");
    assert_eq!(lines(&pool).await.len(), ids.len() * 2);
}

#[tokio::test]
async fn migrations_can_run_again_and_leave_the_public_schema_alone() {
    let (_database, pool) = database().await;
    worker_order::migrate(&pool).await.unwrap();
    let public: i64 =
        sqlx::query_scalar("select count(*) from information_schema.tables where table_schema = 'public'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(public, 0);
}
