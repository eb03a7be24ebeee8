//! The rules of outside calls, each by its name.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Shop, code, policy};
use saga_protocol::{Command, Outcome, Reply};
use saga_worker::testkit::{Air, Bench, again, compensate, execute, round};
use saga_worker::{BreakerPolicy, ExternalPolicy};
use serde_json::json;
use uuid::Uuid;

/// not-after (60 s) + client timeout (10 s) + window (600 s), and a little.
const HORIZON_MS: i64 = 670_001;

async fn open() -> (Shop, Bench) {
    let shop = Shop::open().await;
    let bench = shop.bench().await;
    (shop, bench)
}

/// A payment, and what the provider does with its calls.
fn payment(shop: &Shop, script: &[&'static str]) -> (Uuid, Command) {
    let id = Uuid::now_v7();
    if !script.is_empty() {
        shop.provider.script(id, script);
    }
    (id, execute("pay", &json!({ "id": id })))
}

fn is(reply: &Reply, outcome: Outcome, expected: &str) {
    assert_eq!((reply.outcome, code(reply)), (outcome, expected), "{reply:?}");
}

async fn settled(shop: &Shop) -> Vec<String> {
    sqlx::query_scalar("select outcome from settled order by effect_key").fetch_all(&shop.pool).await.unwrap()
}

async fn intents(shop: &Shop) -> i64 {
    shop.count("select count(*) from saga_inbox.barrier where execute = 1 or compensate = 1").await
}

#[tokio::test]
async fn an_intent_is_on_record_before_the_call() {
    let (shop, bench) = open().await;
    let (_, command) = payment(&shop, &[]);
    shop.provider.hold().await;
    bench.send(&[&command]).await;
    shop.provider.in_the_air().await;
    assert_eq!(intents(&shop).await, 1);
    shop.provider.land().await;
    assert_eq!(bench.reply(&command).await.outcome, Outcome::Succeeded);
    assert_eq!(intents(&shop).await, 0);
}

#[tokio::test]
async fn a_result_is_stored_with_the_books_and_answered_again() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &[]);
    let first = bench.ask(&command).await;
    let second = bench.ask(&again(&command)).await;
    is(&first, Outcome::Succeeded, "");
    assert_eq!(first.output.unwrap().get(), second.output.unwrap().get());
    assert_eq!(shop.provider.calls(id), 1);
    assert_eq!(settled(&shop).await, ["Succeeded"]);
    let stored: String =
        sqlx::query_scalar("select effect_key from settled").fetch_one(&shop.pool).await.unwrap();
    assert_eq!(stored, command.effect_key().to_string(), "the provider's idempotency key is the effect key");
}

#[tokio::test]
async fn a_compensate_is_told_the_output_that_was_kept_when_the_orchestrator_does_not_know_it() {
    let (shop, bench) = open().await;
    let (_, command) = payment(&shop, &[]);
    is(&bench.ask(&command).await, Outcome::Succeeded, "");
    let compensate = compensate(&command, "refund", false);
    assert!(compensate.output.is_none());
    is(&bench.ask(&compensate).await, Outcome::Succeeded, "");
    assert_eq!(shop.provider.told(), [Some(command.effect_key().to_string())]);
}

#[tokio::test]
async fn a_decline_of_the_only_call_is_final() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["decline", "ok"]);
    is(&bench.ask(&command).await, Outcome::Rejected, "REJECT_CARD");
    is(&bench.ask(&again(&command)).await, Outcome::Rejected, "REJECT_CARD");
    assert_eq!(shop.provider.calls(id), 1);
    is(&bench.ask(&compensate(&command, "refund", false)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.calls(id), shop.provider.standing(id)), (1, 0), "there is nothing to refund");
}

#[tokio::test]
async fn a_decline_is_not_final_while_another_call_may_land() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_lost", "decline"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    let reply = bench.ask(&again(&command)).await;
    is(&reply, Outcome::Retryable, "fate_open");
    assert!(reply.uncharged && reply.retry_after_ms.is_some());
    // The first call does land, late.
    shop.provider.land_late(&command.effect_key().to_string(), id);
    is(&bench.ask(&again(&again(&command))).await, Outcome::Succeeded, "");
    assert_eq!(shop.provider.calls(id), 2, "found by inquiry");
}

#[tokio::test]
async fn a_decline_is_final_once_the_other_calls_horizon_has_passed() {
    let (shop, bench) = open().await;
    let (_, command) = payment(&shop, &["unknown_lost", "decline"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&again(&command)).await, Outcome::Retryable, "fate_open");
    bench.clock.advance_ms(HORIZON_MS);
    is(&bench.ask(&again(&again(&command))).await, Outcome::Rejected, "REJECT_CARD");
    assert_eq!(settled(&shop).await, ["Rejected"]);
}

#[tokio::test]
async fn an_effect_that_has_become_impossible_settles_the_key_at_once() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_aborted"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&again(&command)).await, Outcome::Rejected, "ABORTED");
    is(&bench.ask(&compensate(&command, "refund", false)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.calls(id), shop.provider.standing(id)), (1, 0));
    assert_eq!(settled(&shop).await, ["Rejected"]);
}

#[tokio::test]
async fn a_compensate_need_not_wait_for_an_effect_that_has_become_impossible() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_aborted"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&compensate(&command, "refund", false)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.calls(id), settled(&shop).await), (1, vec!["Rejected".to_owned()]));
    is(&bench.ask(&again(&command)).await, Outcome::Rejected, "ABORTED");
}

#[tokio::test]
async fn a_repeated_call_inquires_first() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_landed"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&again(&command)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.calls(id), shop.provider.standing(id)), (1, 1));
    assert_eq!(settled(&shop).await, ["Succeeded"]);
}

#[tokio::test]
async fn a_repeated_call_whose_inquiry_fails_is_not_made() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_lost", "ok"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    shop.provider.fail_inquiries(true);
    is(&bench.ask(&again(&command)).await, Outcome::Retryable, "scripted");
    assert_eq!(shop.provider.calls(id), 1);
    shop.provider.fail_inquiries(false);
    is(&bench.ask(&again(&again(&command))).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.calls(id), shop.provider.standing(id)), (2, 1));
}

#[tokio::test]
async fn what_was_certainly_not_sent_leaves_no_intent() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["not_sent", "own_trouble", "decline"]);
    let reply = bench.ask(&command).await;
    is(&reply, Outcome::Retryable, "scripted");
    assert!(!reply.uncharged);
    assert_eq!(intents(&shop).await, 0);
    let reply = bench.ask(&again(&command)).await;
    is(&reply, Outcome::Retryable, "scripted");
    assert!(reply.uncharged, "the worker's own trouble burns no budget");
    assert_eq!(intents(&shop).await, 0);
    // So the decline that follows is the only call's, and final; nothing had to be inquired.
    is(&bench.ask(&again(&again(&command))).await, Outcome::Rejected, "REJECT_CARD");
    assert_eq!((shop.provider.calls(id), shop.provider.inquiries()), (3, 0));
}

#[tokio::test]
async fn a_call_that_was_not_sent_does_not_settle_an_earlier_one() {
    let (shop, bench) = open().await;
    let (_, command) = payment(&shop, &["unknown_lost", "not_sent", "decline"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&again(&command)).await, Outcome::Retryable, "scripted");
    assert_eq!(intents(&shop).await, 1, "the first call's");
    is(&bench.ask(&again(&again(&command))).await, Outcome::Retryable, "fate_open");
}

#[tokio::test]
async fn a_compensate_over_an_intent_waits_for_the_result() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &[]);
    shop.provider.hold().await;
    bench.send(&[&command]).await;
    shop.provider.in_the_air().await;
    let undo = compensate(&command, "refund", false);
    let reply = bench.ask(&undo).await;
    is(&reply, Outcome::Retryable, "fate_open");
    assert!(reply.uncharged && reply.retry_after_ms == Some(20), "{reply:?}");
    shop.provider.land().await;
    is(&bench.reply(&command).await, Outcome::Succeeded, "");
    assert_eq!(shop.provider.standing(id), 1);
    is(&bench.ask(&again(&undo)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), shop.provider.calls(id)), (0, 2));
}

#[tokio::test]
async fn a_mark_stops_every_further_call() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_lost", "ok"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&compensate(&command, "refund", false)).await, Outcome::Retryable, "fate_open");
    is(&bench.ask(&again(&command)).await, Outcome::Retryable, "marked");
    assert_eq!(shop.provider.calls(id), 1);
}

#[tokio::test]
async fn a_compensate_finds_the_effect_by_inquiry_and_records_it() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_landed", "ok"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    is(&bench.ask(&compensate(&command, "refund", false)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), shop.provider.calls(id)), (0, 2));
    assert_eq!(settled(&shop).await.len(), 2, "the charge and the refund, each in the books");
    is(&bench.ask(&again(&command)).await, Outcome::Succeeded, "");
}

#[tokio::test]
async fn not_found_proves_nothing_before_the_horizon_and_everything_after() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_lost"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    let undo = compensate(&command, "refund", false);
    is(&bench.ask(&undo).await, Outcome::Retryable, "fate_open");
    bench.clock.advance_ms(HORIZON_MS - 30_000);
    is(&bench.ask(&round(&undo, 1).attempt(2)).await, Outcome::Retryable, "fate_open");
    bench.clock.advance_ms(30_000);
    is(&bench.ask(&undo.attempt(3)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.calls(id), intents(&shop).await), (1, 0), "nothing was refunded");
    is(&bench.ask(&again(&command)).await, Outcome::Rejected, "never_landed");
}

#[tokio::test]
async fn what_lands_before_the_horizon_is_refunded() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_lost", "ok"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    let undo = compensate(&command, "refund", false);
    is(&bench.ask(&undo).await, Outcome::Retryable, "fate_open");
    bench.clock.advance_ms(HORIZON_MS - 30_000);
    shop.provider.land_late(&command.effect_key().to_string(), id);
    bench.clock.advance_ms(60_000);
    is(&bench.ask(&again(&undo)).await, Outcome::Succeeded, "");
    assert_eq!(shop.provider.standing(id), 0);
}

#[tokio::test]
async fn a_failed_inquiry_settles_no_fate_even_after_the_horizon() {
    let (shop, bench) = open().await;
    let (_, command) = payment(&shop, &["unknown_lost"]);
    bench.ask(&command).await;
    bench.clock.advance_ms(HORIZON_MS);
    shop.provider.fail_inquiries(true);
    let reply = bench.ask(&compensate(&command, "refund", false)).await;
    is(&reply, Outcome::Retryable, "scripted");
    assert!(!reply.uncharged);
}

#[tokio::test]
async fn an_expired_execute_over_an_intent_is_retryable() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["unknown_lost", "ok"]);
    bench.ask(&command).await;
    let expired = Command { expires_at_ms: command.sent_at_ms, ..again(&command) };
    is(&bench.ask(&expired).await, Outcome::Retryable, "expired");
    assert_eq!(shop.provider.calls(id), 1);
}

#[tokio::test]
async fn a_call_is_not_sent_after_its_not_after() {
    let shop = Shop::open().await;
    let bench = shop.bench().await;
    let (id, command) = payment(&shop, &[]);
    // It expires before any call could begin: an execute's not-after is never later than its expiry.
    let now_ms = saga_worker::Clock::now_ms(&*bench.clock);
    let call = saga_worker::Call::for_test(
        saga_worker::Command { wire: command.clone(), traceparent: None },
        now_ms,
        bench.clock.clone(),
    );
    assert!(!call.may_send());
    let result = saga_worker::External::call(&common::provider::Payments(shop.provider.clone()), &call).await;
    assert!(matches!(result, saga_worker::CallResult::NotSent(_)));
    assert_eq!(shop.provider.calls(id), 0);
}

#[tokio::test]
async fn a_compensation_is_a_call_with_an_intent_of_its_own() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["ok", "unknown_landed", "ok"]);
    bench.ask(&command).await;
    let undo = compensate(&command, "refund", true);
    is(&bench.ask(&undo).await, Outcome::Retryable, "scripted");
    assert_eq!(intents(&shop).await, 1);
    is(&bench.ask(&again(&undo)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), shop.provider.calls(id)), (0, 2), "found, not refunded twice");
}

#[tokio::test]
async fn a_compensating_call_is_made_also_after_a_week() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["ok", "unknown_lost", "ok"]);
    bench.ask(&command).await;
    let undo = compensate(&command, "refund", true);
    is(&bench.ask(&undo).await, Outcome::Retryable, "scripted");
    bench.clock.advance_ms(8 * 24 * 3_600 * 1_000);
    assert!(undo.expires_at_ms < saga_worker::Clock::now_ms(&*bench.clock));
    is(&bench.settle(&again(&undo)).await, Outcome::Succeeded, "");
    assert_eq!(shop.provider.standing(id), 0);
}

#[tokio::test]
async fn a_declined_compensation_is_rejected_and_tried_again_in_a_new_round() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &["ok", "decline", "ok"]);
    bench.ask(&command).await;
    let undo = compensate(&command, "refund", true);
    is(&bench.ask(&undo).await, Outcome::Rejected, "REJECT_CARD");
    is(&bench.ask(&again(&undo)).await, Outcome::Rejected, "REJECT_CARD");
    is(&bench.ask(&round(&undo, 2)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), shop.provider.calls(id)), (0, 3));
}

#[tokio::test]
async fn books_that_fail_leave_the_intent_and_the_effect_is_found_again() {
    let (shop, bench) = open().await;
    let id = Uuid::now_v7();
    let command = execute("pay", &json!({ "id": id, "mood": "books_fail" }));
    let (other_id, other) = payment(&shop, &[]);
    bench.send(&[&command, &other]).await;
    is(&bench.reply(&command).await, Outcome::Retryable, "data");
    is(&bench.reply(&other).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), intents(&shop).await), (1, 1));
    let mended = Command { input: execute("pay", &json!({ "id": id })).input, ..again(&command) };
    is(&bench.ask(&mended).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), shop.provider.calls(id)), (1, 1));
    assert_eq!(shop.provider.standing(other_id), 1);
}

#[tokio::test]
async fn an_outside_output_that_is_too_large_is_undone_all_the_same() {
    let (shop, bench) = open().await;
    let id = Uuid::now_v7();
    let command = execute("pay", &json!({ "id": id, "mood": "large" }));
    is(&bench.ask(&command).await, Outcome::Retryable, "output_too_large");
    assert_eq!(shop.provider.standing(id), 1);
    bench.settle(&compensate(&command, "refund", false)).await;
    assert_eq!(shop.provider.standing(id), 0);
}

#[tokio::test]
async fn a_panic_in_a_call_is_unknown() {
    let (shop, bench) = open().await;
    let (_, command) = payment(&shop, &["panic"]);
    is(&bench.ask(&command).await, Outcome::Retryable, "panic");
    assert_eq!(intents(&shop).await, 1);
}

#[tokio::test]
async fn a_call_longer_than_the_client_timeout_is_unknown() {
    let shop = Shop::open().await;
    let bench = shop.bench_with(ExternalPolicy { client_timeout_ms: 50, ..policy() }).await;
    let (id, command) = payment(&shop, &[]);
    shop.provider.hold().await;
    is(&bench.ask(&command).await, Outcome::Retryable, "client_timeout");
    assert_eq!(intents(&shop).await, 1);
    shop.provider.land().await;
    is(&bench.ask(&again(&command)).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), shop.provider.calls(id)), (1, 1));
}

#[tokio::test]
async fn no_more_calls_are_in_the_air_than_the_policy_says_and_duplicates_wait() {
    let shop = Shop::open().await;
    let bench = shop.bench_with(ExternalPolicy { concurrency: 2, ..policy() }).await;
    shop.provider.hold().await;
    let payments: Vec<_> = (0..6).map(|_| payment(&shop, &[])).collect();
    let twice = again(&payments[0].1);
    let mut commands: Vec<&Command> = payments.iter().map(|(_, command)| command).collect();
    commands.insert(1, &twice);
    bench.send(&commands).await;
    let in_the_air = || payments.iter().map(|(id, _)| shop.provider.calls(*id)).sum::<u32>();
    bench.until("two calls in the air", || (in_the_air() == 2).then_some(())).await;
    assert_eq!(intents(&shop).await, 2, "a waiting command has no intent: its not-after would run");
    shop.provider.land().await;
    for command in &commands {
        is(&bench.reply(command).await, Outcome::Succeeded, "");
    }
    assert_eq!(in_the_air(), 6, "the duplicate met the stored reply");
}

#[tokio::test]
async fn what_waits_for_its_second_is_queued_in_order_and_none_of_it_is_lost() {
    const CALLS: u32 = 12;
    let shop = Shop::open().await;
    let per_second = std::num::NonZeroU32::new(8);
    let bench = shop.bench_with(ExternalPolicy { concurrency: 1, per_second, ..policy() }).await;
    let payments: Vec<_> = (0..CALLS).map(|_| payment(&shop, &[])).collect();
    // Of one saga, so that all are in one partition.
    let saga = payments[0].1.saga;
    let commands: Vec<Command> = payments
        .iter()
        .zip(0_u32..)
        .map(|((_, command), at)| {
            let sent_at_ms = command.sent_at_ms + 10 * i64::from(at);
            Command { saga, item: Some(at), sent_at_ms, ..command.clone() }
        })
        .collect();
    let began = std::time::Instant::now();
    bench.send(&commands.iter().collect::<Vec<_>>()).await;
    let last = commands.last().unwrap();
    while bench.heard_replies().len() < commands.len() {
        assert!(began.elapsed().as_secs() < 60, "waited in vain");
        let past = bench.said().into_iter().filter_map(|it| match it {
            saga_protocol::WorkerRecord::Progress(it)
                if it.topic.ends_with(".execute") && it.reached_ms >= last.sent_at_ms =>
            {
                Some(it.partition)
            }
            _ => None,
        });
        // Of the two partitions the other one is empty, and claims whatever the time is.
        if past.collect::<std::collections::HashSet<_>>().len() == 2 {
            // Replies and claims are heard by two ways, in no order; the call comes before both.
            let called = shop.provider.calls(payments[CALLS as usize - 1].0);
            assert_eq!(called, 1, "a command that waits is not claimed, so it is queued");
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    // The first one has its token at once.
    assert!(seconds >= f64::from(CALLS - 1) / 8.0 - 0.05, "12 calls of 8 a second took {seconds} s");
    let replied: Vec<Option<u32>> = bench.heard_replies().iter().map(|it| it.item).collect();
    assert_eq!(
        replied,
        (0..CALLS).map(Some).collect::<Vec<_>>(),
        "in the order in which they came, each once"
    );
    for (id, _) in &payments {
        assert_eq!((shop.provider.calls(*id), shop.provider.standing(*id)), (1, 1));
    }
    let limited = shop.worker().with_limit("pay", saga_worker::Limit::PerSecond(per_second.unwrap()));
    assert!(limited.is_ok());
    for (action, says) in [("book", "calls nobody"), ("fly", "no action `fly`")] {
        let refused = shop.worker().with_limit(action, saga_worker::Limit::AtOnce(per_second.unwrap()));
        assert!(refused.err().unwrap().to_string().contains(says));
    }
}

#[tokio::test]
async fn an_open_breaker_answers_uncharged_and_compensations_have_their_own() {
    let shop = Shop::open().await;
    let breaker = BreakerPolicy { failures: 3, open_ms: 60_000, open_max_ms: 60_000 };
    let bench = shop.bench_with(ExternalPolicy { breaker, ..policy() }).await;
    let (paid_id, paid) = payment(&shop, &[]);
    bench.ask(&paid).await;
    for _ in 0..3 {
        let (_, command) = payment(&shop, &["unknown_lost"]);
        is(&bench.ask(&command).await, Outcome::Retryable, "scripted");
    }
    let (id, command) = payment(&shop, &[]);
    let reply = bench.ask(&command).await;
    is(&reply, Outcome::Retryable, "breaker_open");
    assert!(reply.uncharged && reply.retry_after_ms.is_some_and(|after_ms| after_ms > 50_000));
    assert_eq!((shop.provider.calls(id), intents(&shop).await), (0, 3), "no intent, no call");
    is(&bench.ask(&compensate(&paid, "refund", true)).await, Outcome::Succeeded, "");
    assert_eq!(shop.provider.standing(paid_id), 0);
    bench.clock.advance_ms(60_001);
    is(&bench.ask(&again(&command)).await, Outcome::Succeeded, "");
}

#[tokio::test]
async fn a_stopping_worker_waits_for_its_calls() {
    let (shop, bench) = open().await;
    let (id, command) = payment(&shop, &[]);
    shop.provider.hold().await;
    bench.send(&[&command]).await;
    shop.provider.in_the_air().await;
    let (stopped, ()) = tokio::join!(bench.stop(), shop.provider.land());
    let () = stopped;
    is(&bench.reply(&command).await, Outcome::Succeeded, "");
    assert_eq!((shop.provider.standing(id), intents(&shop).await), (1, 0));
}

/// Shorter than a struct update at each use.
trait Attempt {
    fn attempt(&self, attempt: u32) -> Command;
}

impl Attempt for Command {
    fn attempt(&self, attempt: u32) -> Command {
        Command { attempt, ..self.clone() }
    }
}
