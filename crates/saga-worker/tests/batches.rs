//! The transactional lane: batches, bisection, retries, records that cannot be understood, drain.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;

use common::{Shop, code};
use saga_bus::Outgoing;
use saga_protocol::envelope::TRACEPARENT;
use saga_protocol::{Command, Direction, Message, Outcome, ReplyTo, WorkerRecord};
use saga_worker::testkit::{Bench, Gate, again, compensate, execute};
use saga_worker::{CancellationToken, Tuning};
use serde_json::{Value, json};
use uuid::Uuid;

fn command(mood: &str) -> Command {
    execute("book", &json!({ "id": Uuid::now_v7(), "amount": 5, "mood": mood }))
}

/// Sends commands while the worker is down, so that they are one batch when it starts.
async fn in_one_batch(bench: &Bench, commands: &[Command]) {
    let commands: Vec<&Command> = commands.iter().collect();
    bench.send(&commands).await;
    bench.start();
}

/// Books so many at once that the worker takes it for load.
async fn booked(bench: &Bench) -> Vec<Command> {
    let commands: Vec<Command> = (0..100).map(|_| command("")).collect();
    in_one_batch(bench, &commands).await;
    for command in &commands {
        bench.reply(command).await;
    }
    commands
}

fn undo(commands: &[Command]) -> Vec<Command> {
    commands.iter().map(|command| compensate(command, "unbook", true)).collect()
}

async fn stopped() -> (Shop, Bench) {
    let shop = Shop::open().await;
    let bench = Bench::new(shop.worker()).await;
    (shop, bench)
}

#[tokio::test]
async fn many_commands_are_few_transactions() {
    let (shop, bench) = stopped().await;
    let commands: Vec<Command> = (0..400).map(|_| command("")).collect();
    in_one_batch(&bench, &commands).await;
    for command in &commands {
        assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(shop.count("select count(*) from booking").await, 400);
    let batches = shop.bookings.batches.load(Ordering::SeqCst);
    assert!(batches <= 20, "400 commands took {batches} batches");
}

#[tokio::test]
async fn a_first_sending_that_comes_twice_is_answered_from_its_row() {
    let (shop, bench) = stopped().await;
    bench.start();
    let commands: Vec<Command> = (0..20).map(|_| command("")).collect();
    bench.send(&commands.iter().collect::<Vec<_>>()).await;
    for command in &commands {
        bench.reply(command).await;
    }
    let others: Vec<Command> = (0..20).map(|_| command("")).collect();
    bench.send(&commands.iter().chain(&others).collect::<Vec<_>>()).await;
    for command in &others {
        assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
    }
    for command in &commands {
        let replies = bench.replies(command, 2).await;
        assert_eq!(replies[0].output.as_ref().unwrap().get(), replies[1].output.as_ref().unwrap().get());
    }
    assert_eq!(shop.count("select count(*) from booking").await, 40, "each is booked once");
}

#[tokio::test]
async fn compensates_ride_along_with_executes() {
    let (shop, bench) = stopped().await;
    let mut before = booked(&bench).await;
    // Which of them arrive together is chance, that all are answered is not.
    for _ in 0..100 {
        let next: Vec<Command> = (0..20).map(|_| command("")).collect();
        let undone = undo(&before[..5]);
        bench.send(&undone.iter().chain(&next).collect::<Vec<_>>()).await;
        for command in undone.iter().chain(&next) {
            assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
        }
        let together = "select count(*) from saga_inbox.barrier c join saga_inbox.barrier e \
                        on e.xmin = c.xmin and e.compensate = 0 where c.compensate = 2";
        if shop.count(together).await > 0 {
            return;
        }
        before = next;
    }
    panic!("no compensate was in a transaction with executes");
}

#[tokio::test]
async fn compensates_among_executes_that_fail_are_answered_once_each() {
    let (shop, bench) = stopped().await;
    let mut before = booked(&bench).await;
    // Whether one of them boards is chance; whoever does must not share what becomes of the executes.
    for _ in 0..20 {
        let mut next: Vec<Command> = (0..20).map(|_| command("")).collect();
        next.push(command("panic"));
        next.push(command("later"));
        let undone = undo(&before[..5]);
        bench.send(&undone.iter().chain(&next).collect::<Vec<_>>()).await;
        for command in undone.iter().chain(&next[..20]) {
            assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
        }
        for command in &next[20..] {
            assert_eq!(bench.reply(command).await.outcome, Outcome::Retryable);
        }
        next.truncate(20);
        before = next;
    }
    let left = "select count(*) from saga_inbox.barrier where execute = 2 and compensate = 0";
    assert_eq!(shop.count("select count(*) from booking").await, shop.count(left).await);
}

#[tokio::test]
async fn a_compensate_that_no_execute_takes_along_goes_by_itself() {
    let (shop, bench) = stopped().await;
    for command in &booked(&bench).await[..3] {
        assert_eq!(bench.ask(&compensate(command, "unbook", true)).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(shop.count("select count(*) from booking").await, 97);
}

#[tokio::test]
async fn a_command_that_fails_for_its_data_is_found_and_the_others_go_on() {
    let (shop, bench) = stopped().await;
    let mut commands: Vec<Command> = (0..50).map(|_| command("")).collect();
    let bad: Value = json!({ "id": Uuid::now_v7(), "amount": -1 });
    commands.insert(17, execute("book", &bad));
    commands.insert(40, command("panic"));
    in_one_batch(&bench, &commands).await;
    for (index, command) in commands.iter().enumerate() {
        let reply = bench.reply(command).await;
        let expected = match index {
            17 => (Outcome::Retryable, "sqlstate_23514"),
            40 => (Outcome::Retryable, "panic"),
            _ => (Outcome::Succeeded, ""),
        };
        assert_eq!((reply.outcome, code(&reply)), expected, "command {index}");
        assert!(!reply.uncharged, "the data's fault is charged");
    }
    assert_eq!(shop.count("select count(*) from booking").await, 50);
    assert_eq!(shop.count("select count(*) from saga_inbox.barrier").await, 50);
}

#[tokio::test]
async fn a_serialization_error_repeats_the_batch_and_is_never_answered() {
    let (shop, bench) = stopped().await;
    shop.bookings.conflicts.store(3, Ordering::SeqCst);
    let commands: Vec<Command> = (0..5).map(|_| command("")).collect();
    in_one_batch(&bench, &commands).await;
    for command in &commands {
        assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(bench.heard_replies().len(), 5);
    assert_eq!(shop.count("select count(*) from booking").await, 5);
}

#[tokio::test]
async fn a_lost_connection_repeats_the_batch() {
    let (shop, bench) = stopped().await;
    bench.start();
    bench.ask(&command("")).await;
    let admin = shop.database.pool(1).await;
    for _ in 0..5 {
        let next = command("");
        bench.send(&[&next]).await;
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .execute(&admin)
            .await
            .unwrap();
        assert_eq!(bench.reply(&next).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(shop.count("select count(*) from booking").await, 6);
}

#[tokio::test]
async fn the_workers_own_trouble_is_uncharged() {
    let (shop, bench) = stopped().await;
    in_one_batch(&bench, &[command("broken")]).await;
    let reply = bench.until("a reply", || bench.heard_replies().pop()).await;
    assert_eq!((reply.outcome, code(&reply), reply.uncharged), (Outcome::Retryable, "sqlstate_42P01", true));
    assert_eq!(shop.count("select count(*) from saga_inbox.barrier").await, 0);
}

#[tokio::test]
async fn an_output_that_is_too_large_is_found_before_the_commit() {
    let (shop, bench) = stopped().await;
    let commands = [command(""), command("large"), command("")];
    in_one_batch(&bench, &commands).await;
    let reply = bench.reply(&commands[1]).await;
    assert_eq!((reply.outcome, code(&reply)), (Outcome::Retryable, "output_too_large"));
    for index in [0, 2] {
        assert_eq!(bench.reply(&commands[index]).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(shop.count("select count(*) from booking").await, 2, "nothing of it was committed");
}

#[tokio::test]
async fn several_commands_of_one_row_act_as_if_in_order() {
    let (shop, bench) = stopped().await;
    let first = command("");
    let commands = [first.clone(), again(&first), command(""), again(&again(&first))];
    in_one_batch(&bench, &commands).await;
    for command in &commands {
        assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(shop.count("select count(*) from booking").await, 2);
}

#[tokio::test]
async fn a_handlers_undecidable_is_a_dead_letter_and_not_stored() {
    let (shop, bench) = stopped().await;
    in_one_batch(&bench, &[command("undecidable")]).await;
    let reply = bench.until("a reply", || bench.heard_replies().pop()).await;
    assert_eq!((reply.outcome, code(&reply)), (Outcome::Undecidable, "odd"));
    bench.until("the dead letter", || bench.dead_letters().pop()).await;
    assert_eq!(shop.count("select count(*) from saga_inbox.barrier").await, 0);
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_dead_letter_and_stops_nothing() {
    let (_shop, bench) = stopped().await;
    let reply_to = ReplyTo { topic: bench.topics.inbox(), partition: 0 };
    let topic: std::sync::Arc<str> = bench.topics.commands("shop", Direction::Execute).into();
    let to = |message: Message| Outgoing { topic: topic.clone(), partition: Some(0), message };
    let garbage = Message { key: "k".into(), headers: Default::default(), data: "not a command".into() };
    let wrong_way = compensate(&command(""), "unbook", false).encode(&reply_to, None);
    let good = command("");
    bench.publish(vec![to(garbage), to(wrong_way), to(good.encode(&reply_to, None))]).await;
    bench.start();
    assert_eq!(bench.reply(&good).await.outcome, Outcome::Succeeded);
    let dead = bench.until("two dead letters", || {
        let dead = bench.dead_letters();
        (dead.len() == 2).then_some(dead)
    });
    let dead = dead.await;
    let reason = |index: usize| dead[index].headers.get("amends_dead_reason").unwrap().to_owned();
    assert!(reason(0).contains("ce_type"), "{}", reason(0));
    assert!(reason(1).contains("direction"), "{}", reason(1));
    assert_eq!(dead[0].headers.get("amends_dead_topic"), Some(&*topic));
    assert_eq!(dead[0].headers.get("amends_dead_offset"), Some("0"));
    assert_eq!(dead[0].data.as_deref(), Some(&b"not a command"[..]));
}

#[tokio::test]
async fn an_unknown_action_is_retryable_and_uncharged() {
    let (_shop, bench) = stopped().await;
    bench.start();
    let reply = bench.ask(&execute("fly", &json!({}))).await;
    assert_eq!((reply.outcome, code(&reply), reply.uncharged), (Outcome::Retryable, "unknown_action", true));
}

#[tokio::test]
async fn the_trace_reaches_the_handler_and_the_reply() {
    let (_shop, bench) = stopped().await;
    bench.start();
    let reply = bench.ask(&command("trace")).await;
    let seen: String = serde_json::from_str(reply.output.unwrap().get()).unwrap();
    assert!(seen.starts_with("00-4bf92f35"));
    let mut tail =
        saga_bus::Bus::tail(&*bench.bus, &bench.topics.inbox(), saga_bus::From::Earliest).await.unwrap();
    let record = tail.records.recv().await.unwrap().swap_remove(0);
    assert_eq!(record.headers.get(TRACEPARENT), Some(&*seen));
    assert_eq!(record.headers.get("ce_source"), Some("/workers/shop"));
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_it_has_and_says_that_it_leaves() {
    let (shop, bench) = stopped().await;
    bench.start();
    let commands: Vec<Command> = (0..200).map(|_| command("")).collect();
    bench.send(&commands.iter().collect::<Vec<_>>()).await;
    bench.reply(&commands[0]).await;
    bench.stop().await;
    let leaving = |record: &WorkerRecord| matches!(record, WorkerRecord::Announcement(it) if it.leaving);
    bench.until("the farewell", || bench.said().iter().any(leaving).then_some(())).await;
    let answered = bench.heard_replies().len();
    // What was committed was also answered, and what was answered is not asked again.
    assert_eq!(shop.count("select count(*) from booking").await, i64::try_from(answered).unwrap());
    bench.start();
    for command in &commands {
        bench.reply(command).await;
    }
    assert_eq!(shop.count("select count(*) from booking").await, 200);
    assert_eq!(bench.heard_replies().len(), 200, "offsets were committed: nothing was answered twice");
}

#[tokio::test]
async fn a_stopping_worker_does_not_wait_for_a_bus_that_is_gone() {
    let shop = Shop::open().await;
    let topics = saga_protocol::Topics::new("gone");
    let gate = Gate::new(saga_bus::InProcess::new(), topics.workers());
    let tuning = Tuning { drain_ms: 100, progress_ms: 20, announce_ms: 20, ..Tuning::default() };
    let shutdown = CancellationToken::new();
    gate.swallow();
    let running = tokio::spawn(shop.worker().with_tuning(tuning).run(gate.clone(), topics, shutdown.clone()));
    test_support::eventually("an announcement", 30_000, async || gate.held() > 0).await;
    shutdown.cancel();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), running).await;
    ended.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn the_worker_announces_itself_and_how_far_it_has_read() {
    let (_shop, bench) = stopped().await;
    bench.start();
    let sent = command("");
    bench.ask(&sent).await;
    let announcement = bench.until("an announcement", || {
        bench.said().into_iter().find_map(|record| match record {
            WorkerRecord::Announcement(it) => Some(it),
            WorkerRecord::Progress(_) => None,
        })
    });
    let announcement = announcement.await;
    assert_eq!((&*announcement.worker, &*announcement.version), ("shop", "1.2.3"));
    let actions: Vec<_> =
        announcement.actions.iter().map(|it| (&*it.action, it.compensation.as_deref())).collect();
    assert_eq!(actions, [("book", Some("unbook")), ("tick", None), ("pay", Some("refund"))]);
    // Every partition of both topics is drained, so each claims a later instant than the command's.
    bench
        .until("progress of all four partitions", || {
            let mut drained = std::collections::BTreeSet::new();
            for record in bench.said() {
                if let WorkerRecord::Progress(it) = record
                    && it.reached_ms > sent.sent_at_ms
                {
                    drained.insert((it.topic, it.partition));
                }
            }
            (drained.len() == 4).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_held_reply_holds_progress_back() {
    let (_shop, bench) = stopped().await;
    bench.start();
    bench.ask(&command("")).await;
    bench.gate.shut();
    let held = command("");
    bench.send(&[&held]).await;
    bench.until("a reply at the gate", || (bench.gate.held() > 0).then_some(())).await;
    bench.clock.advance_ms(60_000);
    let rounds = bench.said().len() + 12;
    // The other partitions go on claiming, so that time has passed when they have.
    bench.until("more heartbeats", || (bench.said().len() > rounds).then_some(())).await;
    let topic = bench.topics.commands("shop", Direction::Execute);
    let over_claimed = bench.said().into_iter().filter(|record| {
        matches!(record, WorkerRecord::Progress(it) if it.topic == topic && it.reached_ms >= held.sent_at_ms)
    });
    let claims: Vec<_> = over_claimed.collect();
    let partitions: std::collections::BTreeSet<i32> = claims
        .iter()
        .filter_map(|record| match record {
            WorkerRecord::Progress(it) => Some(it.partition),
            WorkerRecord::Announcement(_) => None,
        })
        .collect();
    assert_eq!(partitions.len(), 1, "the partition of the unanswered command claims nothing: {claims:?}");
    bench.gate.open();
    assert_eq!(bench.reply(&held).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn no_offset_moves_before_its_reply_is_acknowledged() {
    let (shop, bench) = stopped().await;
    bench.start();
    bench.ask(&command("")).await;
    bench.gate.swallow();
    let lost = command("");
    bench.send(&[&lost]).await;
    bench.until("a swallowed reply", || (bench.gate.held() > 0).then_some(())).await;
    // Offsets are committed before each round of heartbeats.
    let rounds = bench.said().len() + 12;
    bench.until("more heartbeats", || (bench.said().len() > rounds).then_some(())).await;
    bench.crash().await;
    bench.gate.open();
    bench.start();
    assert_eq!(bench.reply(&lost).await.outcome, Outcome::Succeeded, "it was read again");
    assert_eq!(shop.count("select count(*) from booking").await, 2);
}

#[tokio::test]
async fn a_wiped_log_is_met_by_the_inbox() {
    let (shop, bench) = stopped().await;
    bench.start();
    let first = command("");
    bench.ask(&first).await;
    bench.bus.wipe(&bench.topics.commands("shop", Direction::Execute));
    bench.send(&[&again(&first)]).await;
    assert_eq!(bench.reply(&again(&first)).await.outcome, Outcome::Succeeded);
    assert_eq!(shop.count("select count(*) from booking").await, 1);
}

/// The newest claim for each partition of the command topics.
fn claims(bench: &Bench) -> std::collections::BTreeMap<(String, i32), i64> {
    let progress = bench.said().into_iter().filter_map(|record| match record {
        WorkerRecord::Progress(it) => Some(((it.topic, it.partition), it.reached_ms)),
        WorkerRecord::Announcement(_) => None,
    });
    progress.collect()
}

#[tokio::test]
async fn a_worker_that_restarts_idle_moves_its_progress_on() {
    let (_shop, bench) = stopped().await;
    bench.start();
    // Every partition has records, read and committed.
    for _ in 0..8 {
        let done = command("");
        bench.ask(&done).await;
        bench.ask(&compensate(&done, "unbook", true)).await;
    }
    bench.stop().await;
    bench.clock.advance_ms(60_000);
    let mut since_ms = saga_worker::Clock::now_ms(&*bench.clock);
    bench.start();
    // From the start on, and again and again.
    for _ in 0..2 {
        bench
            .until("a later claim of all four partitions", || {
                let claims = claims(&bench);
                (claims.len() == 4 && claims.values().all(|reached_ms| *reached_ms > since_ms)).then_some(())
            })
            .await;
        bench.clock.advance_ms(60_000);
        since_ms += 60_000;
    }
}

#[tokio::test]
async fn a_partition_with_unread_records_claims_nothing_after_a_restart() {
    let (_shop, bench) = stopped().await;
    bench.start();
    bench.ask(&command("")).await;
    bench.stop().await;
    bench.clock.advance_ms(60_000);
    let sent_at_ms = saga_worker::Clock::now_ms(&*bench.clock);
    bench.gate.shut();
    let unread: Vec<Command> = (0..200).map(|_| Command { sent_at_ms, ..command("") }).collect();
    bench.send(&unread.iter().collect::<Vec<_>>()).await;
    bench.clock.advance_ms(60_000);
    bench.start();
    bench.until("a reply at the gate", || (bench.gate.held() > 0).then_some(())).await;
    let rounds = bench.said().len() + 12;
    bench.until("more heartbeats", || (bench.said().len() > rounds).then_some(())).await;
    let topic = bench.topics.commands("shop", Direction::Execute);
    let over_claimed = claims(&bench).into_iter().find(|((of, _), ms)| *of == topic && *ms >= sent_at_ms);
    assert_eq!(over_claimed, None);
    bench.gate.open();
    for command in &unread {
        bench.reply(command).await;
    }
}

#[tokio::test]
async fn a_wiped_log_of_the_same_length_is_never_claimed_unread() {
    let (_shop, bench) = stopped().await;
    let topic: std::sync::Arc<str> = bench.topics.commands("shop", Direction::Execute).into();
    let reply_to = ReplyTo { topic: bench.topics.inbox(), partition: 0 };
    let to_first = |command: &Command| Outgoing {
        topic: topic.clone(),
        partition: Some(0),
        message: command.encode(&reply_to, None),
    };
    bench.start();
    let first = command("");
    bench.publish(vec![to_first(&first)]).await;
    bench.reply(&first).await;
    bench.bus.wipe(&topic);
    bench.gate.shut();
    // One record, as the old log had: its end is where the worker stands.
    let second = Command { sent_at_ms: saga_worker::Clock::now_ms(&*bench.clock) + 1, ..command("") };
    bench.publish(vec![to_first(&second)]).await;
    bench.until("its reply at the gate", || (bench.gate.held() > 0).then_some(())).await;
    let claimed = claims(&bench).get(&(topic.to_string(), 0)).copied();
    assert!(claimed.is_none_or(|reached_ms| reached_ms < second.sent_at_ms), "{claimed:?}");
    bench.gate.open();
    assert_eq!(bench.reply(&second).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn poison_alone_neither_stops_commits_nor_claims_the_future() {
    let (_shop, bench) = stopped().await;
    let topic: std::sync::Arc<str> = bench.topics.commands("shop", Direction::Execute).into();
    let garbage = Message { key: "k".into(), headers: Default::default(), data: "not a command".into() };
    bench.publish(vec![Outgoing { topic: topic.clone(), partition: Some(0), message: garbage }]).await;
    bench.start();
    let since_ms = saga_worker::Clock::now_ms(&*bench.clock);
    bench.until("the dead letter", || bench.dead_letters().pop()).await;
    bench
        .until("a claim of its partition", || {
            let claimed = claims(&bench).get(&(topic.to_string(), 0)).copied();
            claimed.filter(|reached_ms| *reached_ms > since_ms)
        })
        .await;
    let now_ms = saga_worker::Clock::now_ms(&*bench.clock);
    assert!(claims(&bench).values().all(|reached_ms| *reached_ms <= now_ms), "{:?}", claims(&bench));
    bench.stop().await;
    bench.start();
    bench.ask(&command("")).await;
    assert_eq!(bench.dead_letters().len(), 1, "its offset was committed");
}

#[tokio::test]
async fn a_bus_that_duplicates_reorders_and_fails_changes_nothing() {
    let (shop, bench) = stopped().await;
    let faults = saga_bus::in_process::Faults {
        seed: 7,
        duplicate: 0.3,
        reorder: 0.3,
        fail_publish: 0.2,
        delay_max_ms: 5,
        ..Default::default()
    };
    bench.bus.set_faults(faults);
    bench.start();
    let mut commands: Vec<Command> = (0..200).map(|_| command("")).collect();
    let reply_to = ReplyTo { topic: bench.topics.inbox(), partition: 0 };
    let topic: std::sync::Arc<str> = bench.topics.commands("shop", Direction::Execute).into();
    let publish = async |command: &Command| {
        let message = command.encode(&reply_to, None);
        let record = Outgoing { topic: topic.clone(), partition: None, message };
        saga_bus::Bus::publish(&*bench.bus, vec![record], saga_bus::Pace::Now)
            .await
            .await
            .swap_remove(0)
            .is_ok()
    };
    for command in &mut commands {
        while !publish(command).await {
            *command = again(command);
        }
    }
    for command in &commands {
        assert_eq!(bench.reply(command).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(shop.count("select count(*) from booking").await, 200);
}
