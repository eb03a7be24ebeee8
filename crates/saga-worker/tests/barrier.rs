//! The barrier's rules, each by its name, on a transactional action.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Shop, code};
use saga_protocol::{Command, Outcome};
use saga_worker::testkit::{Bench, again, compensate, execute, round};
use serde_json::{Value, json};
use uuid::Uuid;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

fn booking() -> Value {
    json!({ "id": Uuid::now_v7(), "amount": 5 })
}

fn moody(mood: &str) -> Value {
    json!({ "id": Uuid::now_v7(), "amount": 5, "mood": mood })
}

async fn open() -> (Shop, Bench) {
    let shop = Shop::open().await;
    let bench = shop.bench().await;
    (shop, bench)
}

async fn bookings(shop: &Shop) -> i64 {
    shop.count("select count(*) from booking").await
}

async fn rows(shop: &Shop) -> i64 {
    shop.count("select count(*) from saga_inbox.barrier").await
}

#[tokio::test]
async fn a_second_execute_returns_the_stored_reply_and_does_nothing() {
    let (shop, bench) = open().await;
    let first = execute("book", &booking());
    let reply = bench.ask(&first).await;
    assert_eq!(reply.outcome, Outcome::Succeeded);
    // Another input under the same key would be the orchestrator's bug; the stored reply shows that
    // the handler was not asked.
    let second = Command { input: execute("book", &booking()).input, ..again(&first) };
    let stored = bench.ask(&second).await;
    assert_eq!(stored.outcome, Outcome::Succeeded);
    assert_eq!(stored.attempt, 2, "the reply answers the attempt that asked");
    assert_eq!(stored.output.unwrap().get(), reply.output.unwrap().get());
    assert_eq!(bookings(&shop).await, 1);
}

#[tokio::test]
async fn a_stored_rejection_is_answered_again_and_a_new_round_runs_anew() {
    let (shop, bench) = open().await;
    let refused = execute("book", &moody("reject"));
    for attempt in [refused.clone(), again(&refused)] {
        let reply = bench.ask(&attempt).await;
        assert_eq!((reply.outcome, code(&reply)), (Outcome::Rejected, "sold_out"));
    }
    let edited = Command { input: execute("book", &booking()).input, ..round(&refused, 2) };
    assert_eq!(bench.ask(&edited).await.outcome, Outcome::Succeeded);
    assert_eq!((bookings(&shop).await, rows(&shop).await), (1, 2), "a row a round");
}

#[tokio::test]
async fn retryable_is_never_stored() {
    let (shop, bench) = open().await;
    let command = execute("book", &moody("later"));
    let reply = bench.ask(&command).await;
    assert_eq!((reply.outcome, code(&reply)), (Outcome::Retryable, "busy"));
    assert_eq!((reply.retry_after_ms, reply.uncharged), (Some(7), false));
    assert_eq!(rows(&shop).await, 0);
    let better = Command { input: execute("book", &booking()).input, ..again(&command) };
    assert_eq!(bench.ask(&better).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_compensate_whose_execute_never_ran_is_empty_and_its_late_execute_hangs() {
    let (shop, bench) = open().await;
    let command = execute("book", &booking());
    let undo = compensate(&command, "unbook", false);
    assert_eq!(bench.ask(&undo).await.outcome, Outcome::Succeeded);
    for attempt in [command.clone(), again(&command)] {
        let reply = bench.ask(&attempt).await;
        assert_eq!((reply.outcome, code(&reply)), (Outcome::Rejected, "hanging"));
    }
    assert_eq!(bench.ask(&again(&undo)).await.outcome, Outcome::Succeeded);
    assert_eq!((bookings(&shop).await, rows(&shop).await), (0, 1));
}

#[tokio::test]
async fn a_compensate_undoes_once_however_often_it_comes() {
    let (shop, bench) = open().await;
    let input = booking();
    let (mine, other) = (execute("book", &input), execute("book", &input));
    bench.ask(&mine).await;
    bench.ask(&other).await;
    let undo = compensate(&mine, "unbook", true);
    for attempt in [undo.clone(), again(&undo), round(&undo, 2)] {
        assert_eq!(bench.ask(&attempt).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(bookings(&shop).await, 1, "the other saga's booking of the same id stands");
}

#[tokio::test]
async fn a_compensate_of_a_rejected_execute_succeeds_with_nothing_done() {
    let (shop, bench) = open().await;
    let command = execute("book", &moody("reject"));
    bench.ask(&command).await;
    sqlx::query("insert into booking values ($1::text::uuid, 1)")
        .bind(serde_json::from_str::<Value>(command.input.get()).unwrap()["id"].as_str().unwrap())
        .execute(&shop.pool)
        .await
        .unwrap();
    assert_eq!(bench.ask(&compensate(&command, "unbook", false)).await.outcome, Outcome::Succeeded);
    assert_eq!(bookings(&shop).await, 1, "the handler was not asked");
}

#[tokio::test]
async fn a_rejected_compensate_runs_again_in_a_round_of_its_own() {
    let (shop, bench) = open().await;
    let command = execute("book", &moody("stubborn"));
    bench.ask(&command).await;
    let undo = compensate(&command, "unbook", true);
    for attempt in [undo.clone(), again(&undo)] {
        assert_eq!(code(&bench.ask(&attempt).await), "not_yet");
    }
    assert_eq!(bench.ask(&round(&undo, 2)).await.outcome, Outcome::Succeeded);
    assert_eq!(bookings(&shop).await, 0);
    let stale = bench.ask(&again(&again(&undo))).await;
    assert_eq!((stale.outcome, code(&stale)), (Outcome::Retryable, "superseded"));
}

#[tokio::test]
async fn a_compensate_undoes_the_execute_round_that_it_names() {
    let (shop, bench) = open().await;
    let refused = execute("book", &moody("reject"));
    bench.ask(&refused).await;
    let second = Command { input: execute("book", &booking()).input, ..round(&refused, 2) };
    bench.ask(&second).await;
    assert_eq!(bench.ask(&compensate(&refused, "unbook", false)).await.outcome, Outcome::Succeeded);
    assert_eq!(bookings(&shop).await, 1);
    // Compensates count rounds of their own, across the executes of the step.
    let undo = round(&compensate(&second, "unbook", true), 2);
    assert_eq!(bench.ask(&undo).await.outcome, Outcome::Succeeded);
    assert_eq!(bookings(&shop).await, 0);
}

#[tokio::test]
async fn items_of_a_foreach_have_rows_of_their_own() {
    let (shop, bench) = open().await;
    let whole = execute("book", &booking());
    for item in [None, Some(0), Some(1)] {
        assert_eq!(bench.ask(&Command { item, ..whole.clone() }).await.outcome, Outcome::Succeeded);
    }
    assert_eq!((bookings(&shop).await, rows(&shop).await), (3, 3));
}

#[tokio::test]
async fn an_expired_execute_is_rejected_by_taking_the_row() {
    let (shop, bench) = open().await;
    let command = execute("book", &booking());
    let expired = Command { expires_at_ms: command.sent_at_ms, ..command.clone() };
    for attempt in [expired, again(&command)] {
        let reply = bench.ask(&attempt).await;
        assert_eq!((reply.outcome, code(&reply)), (Outcome::Rejected, "expired"));
    }
    assert_eq!((bookings(&shop).await, rows(&shop).await), (0, 1));
}

#[tokio::test]
async fn a_stored_reply_is_answered_also_after_expiry() {
    let (_shop, bench) = open().await;
    let command = execute("book", &booking());
    bench.ask(&command).await;
    let late = Command { expires_at_ms: command.sent_at_ms, ..again(&command) };
    assert_eq!(bench.ask(&late).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_known_success_without_a_record_gets_no_answer_and_a_dead_letter() {
    let (shop, bench) = open().await;
    let undo = compensate(&execute("book", &booking()), "unbook", true);
    let reply = bench.ask(&undo).await;
    assert_eq!((reply.outcome, code(&reply)), (Outcome::Undecidable, "record_missing"));
    let letter = bench.until("the dead letter", || bench.dead_letters().pop()).await;
    assert!(letter.headers.get("amends_dead_reason").unwrap().starts_with("record_missing"));
    let (kept, _) = Command::decode(&letter.headers, letter.data.as_deref().unwrap()).unwrap();
    assert_eq!(kept.effect_key(), undo.effect_key(), "the dead letter is the command as it came");
    assert_eq!(rows(&shop).await, 0);
}

#[tokio::test]
async fn a_known_success_that_the_row_denies_gets_no_answer() {
    let (_shop, bench) = open().await;
    let command = execute("book", &moody("reject"));
    bench.ask(&command).await;
    let reply = bench.ask(&compensate(&command, "unbook", true)).await;
    assert_eq!((reply.outcome, code(&reply)), (Outcome::Undecidable, "record_contradicts"));
}

#[tokio::test]
async fn past_retention_there_is_no_answer_in_either_direction() {
    let (shop, bench) = open().await;
    let command = execute("book", &booking());
    assert_eq!(bench.ask(&command).await.outcome, Outcome::Succeeded);
    bench.clock.advance_ms(31 * DAY_MS);
    let fresh = execute("book", &booking());
    for late in [again(&command), fresh, compensate(&command, "unbook", false)] {
        let late = Command { expires_at_ms: i64::MAX, ..late };
        let reply = bench.ask(&late).await;
        assert_eq!((reply.outcome, code(&reply)), (Outcome::Undecidable, "past_retention"), "{late:?}");
    }
    assert_eq!(bookings(&shop).await, 1);
}

#[tokio::test]
async fn a_missing_row_of_an_old_saga_proves_nothing() {
    let (_shop, bench) = open().await;
    bench.clock.advance_ms(31 * DAY_MS);
    // The compensate is new, but its execute may have been sent in the saga's first hour.
    let now_ms = saga_worker::Clock::now_ms(&*bench.clock);
    let undo = compensate(&execute("book", &booking()), "unbook", false);
    let undo = Command { first_sent_at_ms: now_ms, expires_at_ms: i64::MAX, ..undo };
    let reply = bench.ask(&undo).await;
    assert_eq!((reply.outcome, code(&reply)), (Outcome::Undecidable, "past_retention"));
}

#[tokio::test]
async fn a_compensate_does_not_expire_before_the_inbox_forgets() {
    let (shop, bench) = open().await;
    let command = execute("book", &booking());
    bench.ask(&command).await;
    // Stopped, and found by its operator four weeks later.
    let undo = compensate(&command, "unbook", true);
    bench.clock.advance_ms(28 * DAY_MS);
    assert!(undo.expires_at_ms < saga_worker::Clock::now_ms(&*bench.clock));
    assert_eq!(bench.ask(&undo).await.outcome, Outcome::Succeeded);
    assert_eq!(bookings(&shop).await, 0);
}

#[tokio::test]
async fn a_week_is_dropped_whole_and_what_must_be_kept_moves() {
    let (shop, bench) = open().await;
    let (old, kept) = (execute("book", &booking()), execute("book", &booking()));
    // A saga of today whose step is first sent in 40 days.
    let kept = Command { first_sent_at_ms: kept.first_sent_at_ms + 40 * DAY_MS, ..kept };
    bench.ask(&old).await;
    bench.clock.advance_ms(40 * DAY_MS);
    let kept = Command { expires_at_ms: i64::MAX, ..kept };
    bench.ask(&kept).await;
    assert_eq!(rows(&shop).await, 2);
    // Maintenance runs at every start.
    bench.stop().await;
    bench.start();
    bench.until_async("the old row is gone", async || rows(&shop).await == 1).await;
    let stored = bench.ask(&again(&kept)).await;
    assert_eq!(stored.outcome, Outcome::Succeeded);
    assert_eq!(bookings(&shop).await, 2, "the kept row still answers");
}
