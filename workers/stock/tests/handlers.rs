//! The actions on a real Postgres: what each command of a batch becomes, and what the books say.
#![allow(clippy::unwrap_used)]

mod common;

use common::{book, database, execute, fault, new_saga, release, run, seed, summary, units};
use serde_json::json;
use worker_stock::commit::Commit;
use worker_stock::reserve::Reserve;
use worker_stock::restock::Restock;

#[tokio::test]
async fn reserve_then_commit_is_a_sale() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 10), ("cup", 5)]).await;
    let saga = new_saga();
    let input = units("order-1", &[("tea", 2), ("cup", 1), ("tea", 1)]);
    assert_eq!(summary(&run(&pool, &Reserve, &[execute(saga, "reserve", input.clone())]).await), ["ok"]);
    assert_eq!((book(&pool, "tea").await, book(&pool, "cup").await), ((7, 3, 0), (4, 1, 0)));
    for _ in 0..2 {
        let commit = [execute(saga, "commit", json!({ "order_id": "order-1" }))];
        assert_eq!(summary(&run(&pool, &Commit, &commit).await), ["ok"]);
        assert_eq!((book(&pool, "tea").await, book(&pool, "cup").await), ((7, 0, 3), (4, 0, 1)));
    }
    let answers = run(&pool, &Reserve, &[release(saga, input)]).await;
    assert_eq!(summary(&answers), ["rejected reservation_sold"]);
    assert_eq!(book(&pool, "tea").await, (7, 0, 3));
}

#[tokio::test]
async fn release_puts_back_exactly_what_its_reserve_took() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 10)]).await;
    let (one, two) = (new_saga(), new_saga());
    let input = |n| units("order-1", &[("tea", n)]);
    run(&pool, &Reserve, &[execute(one, "reserve", input(4)), execute(two, "reserve", input(5))]).await;
    for _ in 0..2 {
        assert_eq!(summary(&run(&pool, &Reserve, &[release(one, input(4))]).await), ["ok"]);
        assert_eq!(book(&pool, "tea").await, (5, 5, 0));
    }
    let commit = [
        execute(one, "commit", json!({ "order_id": "order-1" })),
        execute(two, "commit", json!({ "order_id": "order-1" })),
        execute(two, "commit", json!({ "order_id": "order-9" })),
        execute(two, "commit", json!({})),
    ];
    assert_eq!(
        summary(&run(&pool, &Commit, &commit).await),
        ["rejected reservation_released", "ok", "rejected nothing_reserved", "rejected invalid_commit"]
    );
    assert_eq!(book(&pool, "tea").await, (5, 0, 5));
}

#[tokio::test]
async fn a_release_whose_reservation_was_lost_is_undecidable() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 1)]).await;
    let answers = run(&pool, &Reserve, &[release(new_saga(), units("order-1", &[("tea", 1)]))]).await;
    assert_eq!(summary(&answers), ["undecidable reservation_missing"]);
    assert_eq!(book(&pool, "tea").await, (1, 0, 0));
}

#[tokio::test]
async fn rounds_and_items_are_reservations_of_their_own() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 10)]).await;
    let saga = new_saga();
    let with = |item: Option<u32>, round: u32| {
        let mut command = execute(saga, "reserve", units("order-1", &[("tea", 1)]));
        command.wire.item = item;
        command.wire.round = round;
        command
    };
    let batch = [with(None, 1), with(None, 2), with(Some(0), 1), with(Some(1), 1)];
    assert_eq!(summary(&run(&pool, &Reserve, &batch).await), ["ok"; 4]);
    assert_eq!(book(&pool, "tea").await, (6, 4, 0));
    let mut undo = release(saga, units("order-1", &[("tea", 1)]));
    undo.wire.item = Some(1);
    run(&pool, &Reserve, &[undo]).await;
    assert_eq!(book(&pool, "tea").await, (7, 3, 0));
    run(&pool, &Commit, &[execute(saga, "commit", json!({ "order_id": "order-1" }))]).await;
    assert_eq!(book(&pool, "tea").await, (7, 0, 3), "commit sells what the order still holds");
}

#[tokio::test]
async fn a_batch_is_served_in_its_order_and_a_refusal_says_what_is_short() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 5), ("cup", 5)]).await;
    let want = |at: i64, wanted: &[(&str, i64)]| {
        execute(new_saga(), "reserve", units(&format!("order-{at}"), wanted))
    };
    let batch = [
        want(1, &[("tea", 3)]),
        want(2, &[("cup", 1), ("tea", 4)]),
        want(3, &[("tea", 0)]),
        want(4, &[("tea", 2)]),
        want(5, &[("cup", 1), ("pot", 1)]),
        want(6, &[("cup", 5)]),
    ];
    let answers = run(&pool, &Reserve, &batch).await;
    assert_eq!(
        summary(&answers),
        ["ok", "rejected out_of_stock", "rejected invalid_reservation", "ok", "rejected unknown_sku", "ok"]
    );
    assert_eq!(fault(&answers[1]).message, "tea: 4 asked for, 2 left");
    assert_eq!(fault(&answers[4]).message, "pot is not in the books");
    assert_eq!((book(&pool, "tea").await, book(&pool, "cup").await), ((0, 5, 0), (0, 5, 0)));
    let rows: i64 =
        sqlx::query_scalar("select count(*) from amends_stock.reservations").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 3, "a refusal leaves nothing behind");
}

#[tokio::test]
async fn many_commands_on_one_sku_are_one_row_update() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 1_000), ("cup", 1_000)]).await;
    sqlx::raw_sql(
        "create table row_updates (sku text);
         create function count_update() returns trigger language plpgsql as
         $$ begin insert into row_updates values (new.sku); return new; end $$;
         create trigger counted before update on amends_stock.stock for each row execute function count_update();",
    )
    .execute(&pool)
    .await
    .unwrap();
    let updates = async || -> i64 {
        let sql = "with taken as (delete from row_updates returning 1) select count(*) from taken";
        sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
    };
    let sagas: Vec<_> = (0..200).map(|_| new_saga()).collect();
    let input = units("order-1", &[("tea", 1), ("cup", 2)]);
    let reserves: Vec<_> = sagas.iter().map(|saga| execute(*saga, "reserve", input.clone())).collect();
    assert_eq!(summary(&run(&pool, &Reserve, &reserves).await), ["ok"; 200]);
    assert_eq!(updates().await, 2, "one for each SKU");
    let commits: Vec<_> =
        sagas[..100].iter().map(|saga| execute(*saga, "commit", json!({ "order_id": "order-1" }))).collect();
    run(&pool, &Commit, &commits).await;
    assert_eq!(updates().await, 2);
    let releases: Vec<_> = sagas[100..].iter().map(|saga| release(*saga, input.clone())).collect();
    run(&pool, &Reserve, &releases).await;
    assert_eq!(updates().await, 2);
    assert_eq!((book(&pool, "tea").await, book(&pool, "cup").await), ((900, 0, 100), (800, 0, 200)));
}

#[tokio::test]
async fn the_tables_refuse_false_books_whoever_writes_them() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 5)]).await;
    for (change, constraint) in [
        ("available = -1, on_hand = -1, received = -1", "stock_available_not_negative"),
        ("available = 6", "stock_on_hand_is_available_or_reserved"),
        ("available = 6, on_hand = 6", "stock_received_is_on_hand_or_sold"),
        ("sold = 1", "stock_received_is_on_hand_or_sold"),
        ("reserved = -1, available = 6", "stock_reserved_not_negative"),
    ] {
        let sql = sqlx::AssertSqlSafe(format!("update amends_stock.stock set {change}"));
        let error = sqlx::query(sql).execute(&pool).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().constraint(), Some(constraint), "{change}");
    }
}

#[tokio::test]
async fn migrations_can_run_again_and_leave_the_public_schema_alone() {
    let (_database, pool) = database().await;
    worker_stock::migrate(&pool).await.unwrap();
    let public: i64 =
        sqlx::query_scalar("select count(*) from information_schema.tables where table_schema = 'public'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(public, 0);
}

#[tokio::test]
async fn what_was_sold_comes_back_to_the_shelf_and_no_more() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 10), ("cup", 5)]).await;
    let saga = new_saga();
    run(&pool, &Reserve, &[execute(saga, "reserve", units("order-1", &[("tea", 4), ("cup", 1)]))]).await;
    run(&pool, &Commit, &[execute(saga, "commit", json!({ "order_id": "order-1" }))]).await;
    let back = |lines| execute(new_saga(), "restock", units("order-1", lines));
    let batch = [
        back(&[("tea", 2), ("cup", 1), ("tea", 1)]),
        back(&[("tea", 2)]),
        back(&[("tea", 1)]),
        back(&[("moon", 1)]),
        back(&[("tea", 0)]),
    ];
    let answers = run(&pool, &Restock, &batch).await;
    assert_eq!(
        summary(&answers),
        ["ok", "rejected not_sold", "ok", "rejected not_sold", "rejected invalid_restock"]
    );
    assert_eq!(fault(&answers[1]).message, "2 of tea come back, and 1 were sold");
    assert_eq!((book(&pool, "tea").await, book(&pool, "cup").await), ((10, 0, 0), (5, 0, 0)));
}
