//! What the engine does beside its sagas: history partitions, dead letters.

#![allow(clippy::unwrap_used)]

mod support;

use chrono::{Datelike, Days, NaiveDate, Utc};
use saga_bus::{Bus, Outgoing, Pace};
use saga_protocol::{DEAD_REASON, Direction, Message};
use sqlx::AssertSqlSafe;
use support::{Stage, Travel, succeeded};
use test_support::eventually;
use tokio::time::{Duration, timeout};

const COMPLETED: i16 = 2;
const IN_DEFAULT: &str = "select count(*) from history_default";
const PARTITIONS: &str = "select count(*) from pg_inherits where inhparent = 'history'::regclass
     and inhrelid <> 'history_default'::regclass";

/// The partition of the week that begins `weeks` after this one.
fn week(weeks: u64) -> String {
    let today: NaiveDate = Utc::now().date_naive();
    let monday = today - Days::new(u64::from(today.weekday().num_days_from_monday()));
    format!("history_{}", (monday + Days::new(7 * weeks)).format("%Y_%m_%d"))
}

async fn sql(stage: &Stage, text: String) {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&stage.pool).await.unwrap();
}

#[tokio::test]
async fn rows_of_a_week_without_a_partition_move_into_it_at_the_next_start() {
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    eventually("it owns the shard", 10_000, async || node.engine.health.shards() == 1).await;
    // As in a week that nobody has made: the week before this process was started may be long ago. Both weeks,
    // in case the test runs across a Sunday's midnight.
    sql(&stage, format!("drop table {}; drop table {}", week(0), week(1))).await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let car = travel.expect("book_car").await;
    node.stop().await;
    assert!(stage.count(IN_DEFAULT).await > 0);
    let node = stage.node("b").await;
    eventually("they have moved", 30_000, async || stage.count(IN_DEFAULT).await == 0).await;
    eventually("the other week's is made", 30_000, async || stage.count(PARTITIONS).await == 5).await;
    travel.succeed(&car).await;
    travel.serve(|command| Some(succeeded(command)));
    stage.ends(saga, COMPLETED).await;
    stage.histories_are_whole().await;
    assert_eq!(stage.count(IN_DEFAULT).await, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_migration_does_not_stand_in_the_way_of_sagas_for_long_and_is_tried_again() {
    let stage = Stage::new(1).await;
    let store = amends::store::Store::connect(&stage.database.url, 2).await.unwrap();
    // As before an upgrade.
    let back = "delete from _sqlx_migrations where version = 240; alter table saga drop column labels; drop table saga_label";
    sql(&stage, back.to_owned()).await;
    let mut reader = stage.pool.begin().await.unwrap();
    sqlx::query("select * from saga").fetch_all(&mut *reader).await.unwrap();
    let waiting = "select count(*) from pg_locks where not granted and relation = 'saga'::regclass";
    let reading = async {
        for expected in [1, 0, 1, 0] {
            eventually("it waits, gives up, and waits again", 30_000, async || {
                stage.count(waiting).await == expected
            })
            .await;
        }
        reader.rollback().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(store.migrate(1, Utc::now()), reading);
    migrated.unwrap();
    assert_eq!(stage.count("select count(*) from saga_label").await, 0);
}

#[tokio::test]
async fn a_week_that_cannot_be_made_keeps_no_other_from_being_made() {
    let stage = Stage::new(1).await;
    let store = amends::store::Store::connect(&stage.database.url, 2).await.unwrap();
    sql(&stage, format!("drop table {}; drop table {}", week(1), week(3))).await;
    // A table's row type has its name, which is taken.
    sql(&stage, format!("create domain {} as integer", week(1))).await;
    store.make_partitions(Utc::now()).await.unwrap_err();
    assert_eq!(stage.count(PARTITIONS).await, 4);
    sql(&stage, format!("drop domain {}", week(1))).await;
    store.make_partitions(Utc::now()).await.unwrap();
    assert_eq!(stage.count(PARTITIONS).await, 5);
}

#[tokio::test]
async fn making_a_partition_gives_up_soon_and_two_at_once_do_not_disturb_each_other() {
    let stage = Stage::new(1).await;
    let store = amends::store::Store::connect(&stage.database.url, 5).await.unwrap();
    sql(&stage, format!("drop table {}", week(2))).await;
    // Somebody reads, and takes long.
    let mut reader = stage.pool.begin().await.unwrap();
    sqlx::query("select * from history_default").fetch_all(&mut *reader).await.unwrap();
    let gave_up = timeout(Duration::from_secs(20), store.make_partitions(Utc::now())).await;
    gave_up.expect("it does not wait for the reader").unwrap_err();
    reader.rollback().await.unwrap();
    let (one, other) = tokio::join!(store.make_partitions(Utc::now()), store.make_partitions(Utc::now()));
    one.unwrap();
    other.unwrap();
    assert_eq!(stage.count(PARTITIONS).await, 5);
}

#[tokio::test]
async fn a_workers_dead_letter_is_kept_with_its_reason_and_counted() {
    let counted = || {
        let text = amends::api::ops::recorder().unwrap().render();
        let line = text.lines().find_map(|line| line.strip_prefix("amends_dead_letters_total "));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    amends::api::ops::recorder().unwrap();
    let stage = Stage::new(1).await;
    let node = stage.node("a").await;
    let mut travel = Travel::join(stage.bus.clone(), &stage.topics).await;
    let saga = node.begin("trip-1").await.unwrap().saga;
    let (command, reply_to) = travel.expect("book_car").await;
    let mut message: Message = command.encode(&reply_to, None);
    let reason = "record_missing: the execute is known to have succeeded";
    message.headers.push(DEAD_REASON, reason);
    message.headers.push("amends_dead_topic", stage.topics.commands("travel", Direction::Execute));
    let before = counted();
    let letter = Outgoing { topic: stage.topics.dead_letters().into(), partition: Some(0), message };
    for kept in stage.bus.publish(vec![letter], Pace::Now).await.await {
        kept.unwrap();
    }
    eventually("it is kept", 10_000, async || stage.count("select count(*) from dead_letter").await == 1)
        .await;
    let (kept, whose): (String, uuid::Uuid) =
        sqlx::query_as("select reason, saga_id from dead_letter").fetch_one(&stage.pool).await.unwrap();
    assert_eq!((kept.as_str(), whose), (reason, saga.0));
    eventually("it is counted", 10_000, async || counted() == before + 1).await;
    node.stop().await;
}

/// While an upgrade rolls, processes of both versions start on a database that the new one has migrated.
#[tokio::test]
async fn an_old_process_starts_on_a_database_of_a_newer_version() {
    let stage = Stage::new(1).await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a newer version', true, '', 1)";
    sql(&stage, newer.to_owned()).await;
    stage.node("a").await.stop().await;
    let store = amends::store::Store::connect(&stage.database.url, 2).await.unwrap();
    assert_eq!(store.migrate(1, Utc::now()).await.unwrap(), 1);
}
