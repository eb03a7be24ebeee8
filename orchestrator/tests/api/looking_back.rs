//! What if, retention, erasing.

use chrono::{Datelike, Days, Utc};
use saga_protocol::{Command, Outcome, Reply};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::acting::PURCHASE;
use crate::server::Server;
use crate::support::{rejected, succeeded};

fn purchase(id: &str, key: &str) -> Value {
    json!({ "id": id, "amount": 1_000, "payment_key": key })
}

/// Refuses `bad…` for good, and `slow…` twice.
fn shop(command: &Command) -> Option<Reply> {
    let input: Value = serde_json::from_str(command.input.get()).unwrap();
    let key = input["key"].as_str().unwrap_or_default();
    if command.action == "charge" && key.starts_with("bad") {
        return Some(rejected(command, "KEY_EXPIRED"));
    }
    if command.action == "charge" && key.starts_with("slow") && command.attempt < 3 {
        let mut reply = rejected(command, "BUSY");
        reply.outcome = Outcome::Retryable;
        return Some(reply);
    }
    Some(succeeded(command))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_failures_are_played_against_another_definition() {
    let server = Server::start().await;
    // One try and no more: what is slow fails.
    let strict = PURCHASE.replace("fresh: true", "fresh: true, personal: true").replace(
        "action: charge\n",
        "action: charge\n    retry: { attempts: 1, initial: 10ms, max: 10ms }\n",
    );
    server.publish(&strict).await;
    server.travel(shop).await;
    let bad = server.post("/purchases", &[], &purchase("p-bad", "bad-1")).await.saga();
    let slow = server.post("/purchases", &[], &purchase("p-slow", "slow-1")).await.saga();
    server.until(bad, "compensated").await;
    server.until(slow, "compensated").await;

    let ask = |definition: &str| json!({ "filter": "status=compensated", "definition": definition });
    let same = server.post("/ops/what-if", &[], &ask(&strict)).await;
    assert_eq!((same.status.as_u16(), &same.body["would"]["compensated"]), (200, &json!(2)), "{}", same.body);
    // A charge that may fail is a warning: both would have gone on, and what history does not know is said.
    let lenient =
        strict.replace("    compensation: refund\n", "    compensation: refund\n    optional: true\n");
    let would = server.post("/ops/what-if", &[], &ask(&lenient)).await.body;
    assert_eq!((&would["sagas"], &would["would"]["completed"]), (&json!(2), &json!(2)), "{would}");
    let item = would["items"].as_array().unwrap().iter().find(|it| it["saga"] == json!(bad)).unwrap();
    assert_eq!(
        (&item["was"], &item["because"], &item["assumed"]),
        (&json!("compensated"), &json!("it goes on although this did not succeed: charge"), &json!(["done"]))
    );
    let park = strict.replace("action: charge\n", "action: charge\n    on_rejected: park\n");
    let would = server.post("/ops/what-if", &[], &ask(&park)).await.body;
    let item = would["items"].as_array().unwrap().iter().find(|it| it["saga"] == json!(bad)).unwrap();
    assert_eq!(
        (&item["would"], &item["because"]),
        (&json!("parked"), &json!("it parks at charge: charge: KEY_EXPIRED"))
    );
    // An input that does not fit is said, and a candidate's mistakes are.
    let other =
        strict.replace("required: [id, amount, payment_key]", "required: [id, amount, payment_key, coupon]");
    let would = server.post("/ops/what-if", &[], &ask(&other)).await.body;
    assert_eq!(would["would"]["unknown"], 2, "{would}");
    server.post("/ops/what-if", &[], &ask("saga: 1")).await.is_problem(422, "invalid-definition");
    // A viewer learns nothing of what is hidden from them by asking about it.
    let nosy = lenient
        .replace("payment_key: { type: string", "payment_key: { type: string, minLength: 100")
        .replace("charge:\n", "charge:\n    when: ${input.payment_key.startsWith('bad')}\n");
    let made = json!({ "name": "park", "roles": ["viewer"], "why": "a test" });
    let key = server.post("/ops/keys", &[], &made).await.body["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let masked = server.post("/ops/what-if", &[("authorization", &bearer)], &ask(&nosy)).await.body;
    assert!(!masked.to_string().contains("payment_key"), "{masked}");
    let open = server.post("/ops/what-if", &[], &ask(&nosy)).await.body;
    assert!(open.to_string().contains("payment_key"), "{open}");
    let both = json!({ "filter": "", "sagas": [bad], "name": "purchase" });
    server.post("/ops/what-if", &[], &both).await.is_problem(422, "invalid-input");
    let one = server.post("/ops/what-if", &[], &json!({ "sagas": [bad], "name": "purchase" })).await;
    assert_eq!(one.body["sagas"], 1, "{}", one.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn personal_data_is_erased_wherever_the_engine_keeps_it() {
    let server = Server::start().await;
    let source = PURCHASE.replace("{ type: string, fresh: true }", "{ type: string, personal: true }");
    server.publish(&source).await;
    server
        .travel(|command| {
            let mut reply = succeeded(command);
            let output = json!({ "echo": serde_json::from_str::<Value>(command.input.get()).unwrap() });
            reply.output = Some(serde_json::value::to_raw_value(&output).unwrap());
            (command.action != "finish").then_some(reply)
        })
        .await;
    let saga = server.post("/purchases", &[], &purchase("p-1", "card-of-kim-minsu")).await.saga();
    let path = format!("/sagas/{saga}/erase");
    let why = json!({ "why": "they asked for it" });
    server.post(&path, &[], &why).await.is_problem(409, "conflict");
    let page = server.until(saga, "running").await;
    let _ = page;
    let gone = test_support::until_some("the pivot waits", 20_000, async || {
        let page = server.get(&format!("/sagas/{saga}")).await.body;
        (page["phase"] == "pivot_open").then_some(page)
    })
    .await;
    let abandon =
        json!({ "action": "abandon", "why": "test", "acknowledged": true, "revision": gone["revision"] });
    let done = server.post(&format!("/sagas/{saga}/actions"), &[], &abandon).await;
    assert_eq!(done.body["result"], "applied", "{}", done.body);
    server.until(saga, "abandoned").await;
    let note = json!({ "text": "he gave card-of-kim-minsu on the phone" });
    let noted = server.post(&format!("/sagas/{saga}/notes"), &[], &note).await;
    assert!(noted.status.is_success(), "{}", noted.body);
    let erased = server.post(&path, &[], &why).await;
    assert_eq!((erased.status.as_u16(), &erased.body["places"]), (200, &json!(1)), "{}", erased.body);
    let left = "select (select count(*) from history where coalesce(event, '') || coalesce(payload, '') || coalesce(inputs, '')
            like '%kim-minsu%') + (select count(*) from mailbox where coalesce(body, '') || coalesce(payload, '') like '%kim-minsu%')
        + (select count(*) from note where body like '%kim-minsu%')
        + (select count(*) from audit where coalesce(before, '') || coalesce(after, '') || coalesce(why, '') like '%kim-minsu%')";
    assert_eq!(server.stage.count(left).await, 0);
    let page = server.get(&format!("/sagas/{saga}")).await.body;
    assert_eq!(
        (&page["input"]["payment_key"], &page["input"]["amount"]),
        (&json!("[erased]"), &json!(1_000))
    );
    server.stage.histories_are_whole().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_give_a_saga_is_masked_and_erased_whole() {
    let server = Server::start().await;
    let personal = PURCHASE.replace("fresh: true", "fresh: true, personal: true");
    server.publish(&personal.replace("action: charge\n", "action: charge\n    on_rejected: park\n")).await;
    server.travel(shop).await;
    let saga = server.post("/purchases", &[], &purchase("p-1", "bad-card-of-kim")).await.saga();
    let page = server.until(saga, "parked").await;
    // What a worker says may quote anything.
    let said = "update history set event = replace(event, '\"message\":\"no\"', '\"message\":\"no bad-card-of-kim\"') where saga_id = $1";
    assert!(sqlx::query(said).bind(saga.0).execute(&server.stage.pool).await.unwrap().rows_affected() > 0);
    let edited = json!({ "action": "retry_edited", "step": "charge", "why": "another card", "revision": page["revision"],
        "input": { "id": "p-1", "key": "good-card-of-park" } });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &edited).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    server.until(saga, "completed").await;
    let made = json!({ "name": "park", "roles": ["viewer"], "why": "a test" });
    let key = server.post("/ops/keys", &[], &made).await.body["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    for path in [format!("/sagas/{saga}"), format!("/sagas/{saga}/history")] {
        let open = server.get(&path).await.body.to_string();
        let masked = server.request(reqwest::Method::GET, &path, &headers, "").await.body.to_string();
        assert!(!masked.contains("card-of-park") && !masked.contains("card-of-kim"), "{masked}");
        assert!(path.ends_with("history") == open.contains("card-of-park"), "{open}");
    }
    // What a human gives in a step's place becomes its output, and is shown on the page.
    let other = server.post("/purchases", &[], &purchase("p-2", "bad-card-of-lee")).await.saga();
    let page = server.until(other, "parked").await;
    let skip = json!({ "action": "skip", "step": "charge", "why": "paid at the desk", "revision": page["revision"],
        "output": { "receipt": "of-choi", "n": 7 } });
    let acted = server.post(&format!("/sagas/{other}/actions"), &[], &skip).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    server.until(other, "completed").await;
    let path = format!("/sagas/{other}");
    let charged = |page: &Value| {
        let steps = page["steps"].as_array().unwrap();
        steps.iter().find(|it| it["step"] == "charge").unwrap()["execute"]["output"].clone()
    };
    assert_eq!(charged(&server.get(&path).await.body)["receipt"], "of-choi");
    let masked = server.request(reqwest::Method::GET, &path, &headers, "").await.body;
    assert_eq!(charged(&masked), "•••", "{masked}");
    assert!(!masked.to_string().contains("of-choi"), "{masked}");
    // What is asked of a second person quotes it, too: it stands neither in the audit for ever, nor with the approval once erased.
    let third = json!({ "id": "p-3", "amount": 60_000, "payment_key": "bad-card-of-kim" });
    let third = server.post("/purchases", &[], &third).await.saga();
    let page = server.until(third, "parked").await;
    let abandon = json!({ "action": "abandon", "why": "bad-card-of-kim again", "acknowledged": true, "revision": page["revision"] });
    let asked = server.post(&format!("/sagas/{third}/actions"), &[], &abandon).await;
    assert_eq!(asked.body["result"], "awaiting_approval", "{}", asked.body);
    let decided = json!({ "decision": "reject", "why": "no, bad-card-of-kim is fine" });
    let approval = format!("/ops/approvals/{}", asked.body["approval"].as_str().unwrap());
    assert_eq!(server.post(&approval, &[], &decided).await.status, 200);
    let audit = server.request(reqwest::Method::GET, "/ops/audit?what=approval.ask", &headers, "").await.body;
    assert!(audit.to_string().contains("abandon") && !audit.to_string().contains("card-of-kim"), "{audit}");
    let turn = json!({ "action": "compensate", "why": "the shop closes", "revision": page["revision"] });
    server.post(&format!("/sagas/{third}/actions"), &[], &turn).await;
    server.until(third, "compensated").await;
    let why = json!({ "why": "they asked for it" });
    assert_eq!(server.post(&format!("/sagas/{third}/erase"), &[], &why).await.status, 200);
    let left = "select count(*) from approval where why || decision_why like '%card-of-kim%'";
    assert_eq!(server.stage.count(left).await, 0);
    assert_eq!(server.post(&format!("/sagas/{saga}/erase"), &[], &why).await.status, 200);
    let left = "select (select count(*) from history where coalesce(event, '') || coalesce(payload, '') || coalesce(inputs, '')
        similar to '%card-of-(kim|park)%') + (select count(*) from mailbox m where payload <> '\"[erased]\"'
            and saga_id = (select id from saga where key = 'p-1'))";
    assert_eq!(server.stage.count(left).await, 0);
    server.stage.histories_are_whole().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_later_is_masked_also_where_the_input_had_nothing_personal() {
    let server = Server::start().await;
    let account = "id: { type: string }\n    account: { type: string, personal: true }";
    let source = PURCHASE.replace("action: charge\n", "action: charge\n    on_rejected: park\n");
    server.publish(&source.replace("id: { type: string }", account)).await;
    server.travel(shop).await;
    let saga = server.post("/purchases", &[], &purchase("p-1", "bad-1")).await.saga();
    let page = server.until(saga, "parked").await;
    let edited = json!({ "action": "retry_edited", "step": "charge", "why": "another account", "revision": page["revision"],
        "input": { "id": "p-1", "key": "good-1", "account": "110-222-333444" } });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &edited).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    server.until(saga, "completed").await;
    let made = json!({ "name": "park", "roles": ["viewer"], "why": "a test" });
    let key = server.post("/ops/keys", &[], &made).await.body["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let path = format!("/sagas/{saga}/history");
    assert!(server.get(&path).await.body.to_string().contains("333444"));
    let masked = server.request(reqwest::Method::GET, &path, &[("authorization", &bearer)], "").await;
    assert!(masked.status == 200 && !masked.body.to_string().contains("333444"), "{}", masked.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_write_of_personal_data_is_masked_and_a_group_of_failures_forgets_it() {
    let server = Server::start().await;
    let source = PURCHASE.replace("action: charge\n", "action: charge\n    on_rejected: park\n");
    server.publish(&source.replace("fresh: true", "fresh: true, personal: true")).await;
    server
        .travel(|command| {
            let mut reply = shop(command)?;
            if let Some(error) = &mut reply.error {
                error.message = "no such account: bad-card-of-kim".to_owned();
            }
            Some(reply)
        })
        .await;
    let saga = server.post("/purchases", &[], &purchase("p-1", "bad-card-of-kim")).await.saga();
    let page = server.until(saga, "parked").await;
    let note = json!({ "text": "bad-card-of-kim is closed" });
    assert_eq!(server.post(&format!("/sagas/{saga}/notes"), &[], &note).await.status, 201);
    let groups = "select count(*) from failure where message like '%card-of-kim%'";
    test_support::eventually("its failure is counted", 20_000, async || {
        server.stage.count(groups).await == 1
    })
    .await;
    let made = json!({ "name": "park", "roles": ["viewer"], "why": "a test" });
    let key = server.post("/ops/keys", &[], &made).await.body["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let masked = async |path: &str| {
        let open = server.get(path).await.body.to_string();
        assert!(open.contains("card-of-kim"), "{path}: {open}");
        let told = server.request(reqwest::Method::GET, path, &[("authorization", &bearer)], "").await;
        assert!(
            told.status == 200 && !told.body.to_string().contains("card-of-kim"),
            "{path}: {}",
            told.body
        );
        told.body.to_string()
    };
    for path in ["/sagas?status=parked", "/ops/parked", "/ops/failures", "/ops/overview"] {
        let told = masked(path).await;
        assert!(told.contains("no such account"), "{path}: {told}");
    }
    let edited = json!({ "action": "retry_edited", "step": "charge", "why": "not bad-card-of-kim", "revision": page["revision"],
        "input": { "id": "p-1", "key": "good-1" } });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &edited).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    server.until(saga, "completed").await;
    for path in
        [format!("/sagas/{saga}"), format!("/sagas/{saga}/history"), format!("/ops/audit?target={saga}")]
    {
        masked(&path).await;
    }
    // It stands in no group any more, once it has completed.
    test_support::eventually("it is in no list", 20_000, async || {
        server.stage.count("select count(*) from projection").await == 0
    })
    .await;
    let why = json!({ "why": "they asked for it" });
    assert_eq!(server.post(&format!("/sagas/{saga}/erase"), &[], &why).await.status, 200);
    assert_eq!(server.stage.count(groups).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_is_not_replayed_as_it_is() {
    let server = Server::start().await;
    server
        .publish(&PURCHASE.replace(
            "id: { type: string }",
            "id: { type: string }\n    to: { type: string, personal: true }",
        ))
        .await;
    server.travel(shop).await;
    let input = json!({ "id": "p-1", "amount": 1_000, "payment_key": "bad-1", "to": "Kim Minsu" });
    let old = server.post("/purchases", &[], &input).await.saga();
    server.until(old, "compensated").await;
    let why = json!({ "why": "they asked for it" });
    assert_eq!(server.post(&format!("/sagas/{old}/erase"), &[], &why).await.status, 200);
    let replay = json!({ "why": "again", "fresh": { "/payment_key": "good-1" } });
    let refused = server.post(&format!("/sagas/{old}/replay"), &[], &replay).await;
    refused.is_problem(422, "invalid-input");
    assert_eq!(refused.body["errors"][0]["pointer"], "/to", "{}", refused.body);
    let whole = json!({ "why": "again",
        "input": { "id": "p-1", "amount": 1_000, "payment_key": "good-1", "to": "Kim Minsu" } });
    let again = server.post(&format!("/sagas/{old}/replay"), &[], &whole).await;
    assert_eq!(again.status, 201, "{}", again.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_repeats_a_saga_is_erased_with_it() {
    let server = Server::start().await;
    server.publish(&PURCHASE.replace("fresh: true", "fresh: true, personal: true")).await;
    server.travel(shop).await;
    let old = server.post("/purchases", &[], &purchase("p-1", "bad-card-of-kim")).await.saga();
    server.until(old, "compensated").await;
    let replay = json!({ "why": "again", "fresh": { "/payment_key": "good-card-of-lee" } });
    let new = server.post(&format!("/sagas/{old}/replay"), &[], &replay).await.saga();
    server.until(new, "completed").await;
    let left = "select count(*) from history where coalesce(event, '') || coalesce(payload, '') || coalesce(inputs, '')
        similar to '%(card-of-kim|card-of-lee)%'";
    assert!(server.stage.count(left).await >= 2);
    let why = json!({ "why": "they asked for it" });
    let erased = server.post(&format!("/sagas/{old}/erase"), &[], &why).await;
    assert_eq!((erased.status.as_u16(), &erased.body["places"]), (200, &json!(2)), "{}", erased.body);
    assert_eq!(server.stage.count(left).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_retired_saga_is_erased_on_demand() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server.travel_succeeds().await;
    let saga = server.post("/purchases", &[], &purchase("p-1", "card-of-kim-minsu")).await.saga();
    server.until(saga, "completed").await;
    // Its retention was short, another definition's is long: the row has gone, the week of history stays for others.
    sqlx::query("delete from saga where id = $1").bind(saga.0).execute(&server.stage.pool).await.unwrap();
    let left = "select count(*) from history";
    assert!(server.stage.count(left).await > 0);
    let path = format!("/sagas/{saga}/erase");
    let erased = server.post(&path, &[], &json!({ "why": "they asked for it" })).await;
    assert_eq!(erased.status, 200, "{}", erased.body);
    assert_eq!(server.stage.count(left).await, 0);
    let audit = server.get(&format!("/ops/audit?target={saga}")).await.body;
    assert_eq!(audit["entries"][0]["what"], "saga.erase", "{audit}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_with_an_open_anomaly_is_not_retired() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server.travel_succeeds().await;
    let saga = server.post("/purchases", &[], &purchase("p-1", "good-1")).await.saga();
    server.until(saga, "completed").await;
    let rule = json!({ "days": 30, "why": "the law" }).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(server.request(reqwest::Method::PUT, "/ops/retention/*", &headers, rule).await.status, 200);
    let anomaly =
        "insert into anomaly (saga_id, effect_key, kind, at_ms) values ($1, 'charge/-/execute/1', 'test', 0)";
    sqlx::query(anomaly).bind(saga.0).execute(&server.stage.pool).await.unwrap();
    let (store, later) = (&server.node.engine.store, Utc::now() + Days::new(50));
    assert_eq!(store.retire(later).await.unwrap().1, 0, "the queue would lose it");
    // Of one saga and one moment there may be several: no page loses one.
    let more = "insert into anomaly (saga_id, effect_key, kind, at_ms)
        select saga_id, effect_key, 'test-' || n, at_ms from anomaly, generate_series(2, 4) n";
    sqlx::query(more).execute(&server.stage.pool).await.unwrap();
    let (mut after, mut seen) = (String::new(), std::collections::BTreeSet::new());
    loop {
        let page = server.get(&format!("/ops/anomalies?limit=1{after}")).await.body;
        assert!(seen.insert(page["anomalies"][0]["kind"].to_string()), "{page}");
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    sqlx::query("update anomaly set resolved_at = now()").execute(&server.stage.pool).await.unwrap();
    assert_eq!(store.retire(later).await.unwrap().1, 1);
    server.stop().await;
}

/// Mail, dead letters of sagas that are gone, and bulk jobs that nobody goes on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_no_saga_goes_by_the_longest_rule() {
    let server = Server::start().await;
    let rule = json!({ "days": 30, "why": "the law" }).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(server.request(reqwest::Method::PUT, "/ops/retention/*", &headers, rule).await.status, 200);
    for sql in [
        "insert into mailbox (id, shard, saga_id, kind, body, payload, taken_at, result)
            select gen_random_uuid(), 0, gen_random_uuid(), 'event', '{}', '1', now() - interval '40 days', 'applied'
            from generate_series(1, 700)",
        "insert into audit (who, roles, address, what, target, mail)
            select 'kim', '{}', '-', 'saga.retry', 'x', id from mailbox limit 10",
        "insert into dead_letter (at, source, reason, headers, data, saga_id)
            values (now() - interval '40 days', 'x', 'late', '{}', 'x', gen_random_uuid()), (now(), 'y', 'late', '{}', 'y', null)",
        "insert into job (id, kind, request, by, roles, why, created_at, state, canary, rate_per_s, stop_after_same, total)
            select gen_random_uuid(), 'retry', '{}', 'kim', '{}', 'x', now() - age, state, 0, 1, 1, 0 from (values
            (interval '40 days', 'stopped'), ('40 days', 'running'), ('4 days', 'paused')) as j (age, state)",
        "insert into failure (id, definition, code, message, first_seen, since, last_seen, count, sample)
            select id, 1, 'NO', 'no such person', now() - age, now() - age, now() - age, 1, gen_random_uuid()
            from (values ('gone', interval '40 days'), ('stood in', '40 days'), ('new', '4 days')) as f (id, age)",
        "insert into failure_window (failure, at, count) values ('gone', now() - interval '40 days', 1)",
        "insert into projection (saga_id, shard, definition, revision, status, since_ms, failure)
            values (gen_random_uuid(), 0, 1, 3, 1, 0, 'stood in')",
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&server.stage.pool).await.unwrap();
    }
    let store = &server.node.engine.store;
    for _ in 0..2 {
        assert_eq!(store.retire(Utc::now()).await.unwrap(), (0, 0));
    }
    let count = async |sql: &'static str| server.stage.count(sql).await;
    assert_eq!(count("select count(*) from mailbox where payload is not null").await, 0);
    assert_eq!(
        count("select count(*) from mailbox m join audit a on a.mail = m.id where m.result = 'applied'")
            .await,
        10
    );
    assert_eq!(count("select count(*) from mailbox").await, 10);
    assert_eq!(count("select count(*) from dead_letter").await, 1);
    assert_eq!(count("select count(*) from job").await, 2);
    assert_eq!(count("select count(*) from failure where id in ('stood in', 'new')").await, 2);
    assert_eq!(
        count("select count(*) from failure").await + count("select count(*) from failure_window").await,
        2
    );
    server.stop().await;
}

/// The longest rule lets a saga go with its week, a shorter one with its history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_rule_takes_a_sagas_history_along() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server.publish(&PURCHASE.replace("saga: purchase", "saga: other").replace("/purchases", "/others")).await;
    server.travel_succeeds().await;
    let short = server.post("/purchases", &[], &purchase("p-1", "card-1")).await.saga();
    let long = server.post("/others", &[], &purchase("p-2", "card-2")).await.saga();
    for saga in [short, long] {
        server.until(saga, "completed").await;
    }
    let headers = [("content-type", "application/json")];
    for (definition, days) in [("purchase", 20), ("*", 60)] {
        let rule = json!({ "days": days, "why": "the law" }).to_string();
        let path = format!("/ops/retention/{definition}");
        assert_eq!(server.request(reqwest::Method::PUT, &path, &headers, rule).await.status, 200);
    }
    let store = &server.node.engine.store;
    assert_eq!(store.retire(Utc::now() + Days::new(19)).await.unwrap(), (0, 0));
    assert_eq!(store.retire(Utc::now() + Days::new(30)).await.unwrap(), (0, 1));
    let whose = "select count(*) from history where saga_id in (select id from saga)";
    assert!(server.stage.count(whose).await > 0);
    assert_eq!(
        server.stage.count("select count(*) from history where saga_id not in (select id from saga)").await,
        0
    );
    // Its week has not passed by the rule, wherever in the week it ended: row and history go at once, later.
    let monday = Utc::now().date_naive().week(chrono::Weekday::Mon).first_day();
    let next = monday.and_time(chrono::NaiveTime::MIN).and_utc() + Days::new(67);
    assert_eq!(store.retire(next - chrono::TimeDelta::seconds(1)).await.unwrap().1, 0);
    assert_eq!(store.retire(next + chrono::TimeDelta::seconds(1)).await.unwrap().1, 1);
    assert_eq!(server.stage.count("select count(*) from history").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn age_is_counted_from_the_end_and_many_go_at_once() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server.travel_succeeds().await;
    let long = server.post("/purchases", &[], &purchase("p-long", "good-1")).await.saga();
    server.until(long, "completed").await;
    let rule = json!({ "days": 30, "why": "the law" }).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(server.request(reqwest::Method::PUT, "/ops/retention/*", &headers, rule).await.status, 200);
    let pool = &server.stage.pool;
    // More than a batch that ended at once, and one that took five weeks longer.
    let many = "insert into saga select (jsonb_populate_record(s, jsonb_build_object('id',
            (left(s.id::text, 24) || right(gen_random_uuid()::text, 12))::uuid, 'key', null))).*
        from saga s, generate_series(1, 1200) where s.id = $1";
    let late = "update saga set ended_at = now() + interval '35 days' where id = $1";
    for sql in [many, late] {
        sqlx::query(sql).bind(long.0).execute(pool).await.unwrap();
    }
    let (store, later) = (&server.node.engine.store, Utc::now() + Days::new(50));
    let (weeks, sagas) = store.retire(later).await.unwrap();
    assert!(weeks >= 1, "{weeks}");
    assert_eq!(sagas, 1_200, "in one turn, and the one that ended late stays");
    let page = server.get(&format!("/sagas/{long}")).await;
    assert_eq!((page.status.as_u16(), &page.body["input"]["id"]), (200, &json!("p-long")), "{}", page.body);
    // Then it goes, and what was moved with it.
    assert_eq!(store.retire(Utc::now() + Days::new(70)).await.unwrap().1, 1);
    assert_eq!(server.stage.count("select count(*) from history").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weeks_of_history_go_whole_and_what_has_not_ended_stays() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server
        .travel(|command| {
            (command.action != "finish" || !command.input.get().contains("p-open"))
                .then(|| succeeded(command))
        })
        .await;
    let ended = server.post("/purchases", &[], &purchase("p-1", "good-1")).await.saga();
    let open = server.post("/purchases", &[], &purchase("p-open", "good-2")).await.saga();
    server.until(ended, "completed").await;
    let none = server.get("/ops/retention").await.body;
    assert_eq!(none["retention"], json!([]));
    assert!(none["weeks"].as_array().unwrap().iter().all(|it| it["droppable_at"].is_null()), "{none}");
    let put = |path: &str, body: Value| {
        let headers = [("content-type", "application/json")];
        let path = format!("/ops/retention/{path}");
        let server = &server;
        async move { server.request(reqwest::Method::PUT, &path, &headers, body.to_string()).await }
    };
    put("*", json!({ "days": 3, "why": "too soon" })).await.is_problem(422, "invalid-input");
    put("nothing", json!({ "days": 30, "why": "x" })).await.is_problem(404, "not-found");
    let set = put("*", json!({ "days": 30, "why": "the law" })).await;
    assert_eq!((set.status.as_u16(), &set.body["retention"][0]["days"]), (200, &json!(30)), "{}", set.body);

    let store = &server.node.engine.store;
    let rows = "select count(*) from history";
    let before = server.stage.count(rows).await;
    assert_eq!(store.retire(Utc::now()).await.unwrap(), (0, 0), "nothing is old enough");
    assert_eq!(server.stage.count(rows).await, before);
    // In a while everything of these weeks may go, but for what has not ended.
    let later = Utc::now() + Days::new(50);
    let (weeks, sagas) = store.retire(later).await.unwrap();
    assert!(weeks >= 1 && sagas == 1, "{weeks} {sagas}");
    let today = Utc::now().date_naive();
    let monday = today - Days::new(u64::from(today.weekday().num_days_from_monday()));
    let partition = format!("select to_regclass('history_{}') is null", monday.format("%Y_%m_%d"));
    let dropped: bool =
        sqlx::query_scalar(AssertSqlSafe(partition)).fetch_one(&server.stage.pool).await.unwrap();
    assert!(dropped);
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    assert_eq!(server.stage.count("select count(distinct saga_id) from history").await, 1);
    let page = server.get(&format!("/sagas/{open}")).await;
    assert_eq!((page.status.as_u16(), &page.body["input"]["id"]), (200, &json!("p-open")), "{}", page.body);
    server.get(&format!("/sagas/{ended}")).await.is_problem(404, "not-found");
    let why = json!({ "why": "they asked for it" });
    server.post(&format!("/sagas/{ended}/erase"), &[], &why).await.is_problem(404, "not-found");
    // Its key still means it: no second order under an old key.
    assert_eq!(server.stage.count("select count(*) from start_key where key = 'p-1'").await, 1);
    server.stop().await;
}
