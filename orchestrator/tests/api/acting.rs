//! Acting on one saga: approval by a second person, what happened, replays.

use amends::api::ApiConfig;
use chrono::Utc;
use saga_bus::{Bus, Outgoing, Pace};
use saga_protocol::{ActionInfo, Announcement, Command, Reply, SagaId, WorkerRecord};
use serde_json::{Value, json};
use test_support::eventually;

use crate::server::Server;
use crate::support::{rejected, succeeded};

/// A payment key lives for minutes, and money needs four eyes.
pub(crate) const PURCHASE: &str = r#"
saga: purchase
description: Holds the goods, then charges.
trigger: { http: { method: POST, path: /purchases } }
key: ${input.id}
amount: ${input.amount}
currency: KRW
approval: { actions: [skip, abandon], above: 50000 }
input:
  type: object
  required: [id, amount, payment_key]
  properties:
    id: { type: string }
    amount: { type: integer }
    payment_key: { type: string, fresh: true }
steps:
  hold: { worker: travel, action: hold_goods, compensation: free_goods, input: { id: "${input.id}" } }
  charge:
    after: [hold]
    worker: travel
    action: charge
    compensation: refund
    input: { id: "${input.id}", key: "${input.payment_key}" }
  done: { after: [charge], pivot: true, worker: travel, action: finish, input: { id: "${input.id}" } }
"#;

fn purchase(id: &str, amount: i64, key: &str) -> Value {
    json!({ "id": id, "amount": amount, "payment_key": key })
}

/// A key that begins with `bad` is refused.
fn shop(command: &Command) -> Option<Reply> {
    let input: Value = serde_json::from_str(command.input.get()).unwrap();
    let bad = input["key"].as_str().is_some_and(|it| it.starts_with("bad"));
    Some(if command.action == "charge" && bad {
        rejected(command, "KEY_EXPIRED")
    } else {
        succeeded(command)
    })
}

async fn parked_purchase(server: &Server, id: &str, amount: i64) -> (SagaId, Value) {
    server.publish(&PURCHASE.replace("action: charge\n", "action: charge\n    on_rejected: park\n")).await;
    server.travel(shop).await;
    let saga = server.post("/purchases", &[], &purchase(id, amount, "bad-1")).await.saga();
    let page = server.until(saga, "parked").await;
    (saga, page)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_action_also_when_that_waits_for_a_second_person() {
    let server = Server::start().await;
    let (saga, page) = parked_purchase(&server, "p-1", 60_000).await;
    let path = format!("/sagas/{saga}/actions");
    let retry = json!({ "action": "retry", "step": "charge", "why": "again", "who": "kim", "revision": 1 });
    let skip = json!({ "action": "skip", "step": "charge", "why": "paid by hand", "who": "kim",
        "output": {}, "revision": page["revision"] });
    // The retry is of an old revision, and changes nothing; its key is taken all the same.
    server.post(&path, &[("idempotency-key", "op-1")], &retry).await;
    assert_eq!(server.post(&path, &[("idempotency-key", "op-1")], &skip).await.status, 422);
    assert_eq!(server.get("/ops/approvals").await.body["approvals"], json!([]));
    let asked = server.post(&path, &[("idempotency-key", "op-2")], &skip).await;
    assert_eq!(asked.body["result"], "awaiting_approval", "{}", asked.body);
    assert_eq!(server.post(&path, &[("idempotency-key", "op-2")], &retry).await.status, 422);
    // Once it is decided, repeating the request tells what came of it.
    let decide = format!("/ops/approvals/{}", asked.body["approval"].as_str().unwrap());
    let rejected = server.post(&decide, &[], &json!({ "decision": "reject", "why": "no receipt" })).await;
    assert_eq!(rejected.body["state"], "rejected", "{}", rejected.body);
    let again = server.post(&path, &[("idempotency-key", "op-2")], &skip).await;
    assert!(again.body.to_string().contains("rejected"), "{} {}", again.status, again.body);
    server.stop().await;
}

/// A success with another output than its definition promises is neither taken back nor passed on; a human puts it right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_does_not_fit_parks_until_somebody_gives_one_that_does() {
    let server = Server::start().await;
    let promised = "output_schema: { type: object, required: [number], properties: { number: { type: integer } } }, input";
    let definition = PURCHASE.replacen(
        "input: { id: \"${input.id}\" } }",
        &format!("{promised}: {{ id: \"${{input.id}}\" }} }}"),
        1,
    );
    let definition = definition.replace(
        "input: { id: \"${input.id}\", key",
        "input: { number: \"${steps.hold.output.number}\", key",
    );
    server.publish(&definition).await;
    // Its number is a text.
    server.travel(shop).await;
    let saga = server.post("/purchases", &[], &purchase("p-1", 10_000, "good-1")).await.saga();
    let page = server.until(saga, "parked").await;
    assert_eq!(
        (&page["parked"]["why"], &page["parked"]["step"]),
        (&json!("output_unfit"), &json!("hold")),
        "{page}"
    );
    let message = page["parked"]["message"].as_str().unwrap();
    assert!(message.ends_with("it is not of type \"integer\" at /number"), "{message}");
    let path = format!("/sagas/{saga}/actions");
    let can = server.get(&path).await.body;
    let may = |word: &str| {
        can["actions"].as_array().unwrap().iter().any(|it| it["action"] == word && it["allowed"] == true)
    };
    assert!(may("skip") && may("compensate") && may("abandon"), "{can}");
    let skip = |output: Value| json!({ "action": "skip", "step": "hold", "why": "by the books", "output": output, "revision": page["revision"] });
    let refused = server.post(&path, &[], &skip(json!({ "number": "7" }))).await;
    assert!(refused.body.to_string().contains("does not fit the step's output_schema"), "{}", refused.body);
    let done = server.post(&path, &[], &skip(json!({ "number": 7 }))).await;
    assert_eq!(done.body["result"], "applied", "{} {}", done.status, done.body);
    let page = server.until(saga, "completed").await;
    assert_eq!(page["steps"][0]["execute"]["output"], json!({ "number": 7 }), "{page}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_above_an_amount_waits_for_a_second_person() {
    let server = Server::start().await;
    let (saga, page) = parked_purchase(&server, "p-1", 60_000).await;
    let path = format!("/sagas/{saga}/actions");
    let can = server.get(&path).await.body;
    let skips = |it: &&Value| it["action"] == "skip";
    assert_eq!(can["actions"].as_array().unwrap().iter().find(skips).unwrap()["approval"], true);
    let skip = json!({ "action": "skip", "step": "charge", "why": "paid by hand", "who": "kim",
        "output": {}, "revision": page["revision"] });
    let asked = server.post(&path, &[("idempotency-key", "skip-1")], &skip).await;
    assert_eq!(
        (asked.status.as_u16(), &asked.body["result"]),
        (202, &json!("awaiting_approval")),
        "{}",
        asked.body
    );
    // The same request again is the same approval; another one under its key is not.
    let again = server.post(&path, &[("idempotency-key", "skip-1")], &skip).await;
    assert_eq!(again.body["approval"], asked.body["approval"]);
    let mut other = skip.clone();
    other["why"] = json!("for fun");
    assert_eq!(server.post(&path, &[("idempotency-key", "skip-1")], &other).await.status, 422);
    let list = server.get("/ops/approvals").await.body;
    let approval = &list["approvals"][0];
    assert_eq!(
        (list["approvals"].as_array().unwrap().len(), &approval["asked_by"]),
        (1, &json!("kim")),
        "{list}"
    );
    assert_eq!((&approval["action"]["action"], &approval["amount"]), (&json!("skip"), &json!(60_000)));
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["approvals"][0]["id"], approval["id"]);
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["status"], "parked", "nothing happened yet");

    let decide = format!("/ops/approvals/{}", approval["id"].as_str().unwrap());
    server
        .post(&decide, &[], &json!({ "decision": "maybe", "why": "x" }))
        .await
        .is_problem(422, "invalid-input");
    let approved = server.post(&decide, &[], &json!({ "decision": "approve", "why": "receipt seen" })).await;
    assert_eq!(
        (&approved.body["state"], &approved.body["result"]),
        (&json!("approved"), &json!("applied")),
        "{}",
        approved.body
    );
    server.until(saga, "completed").await;
    server
        .post(&decide, &[], &json!({ "decision": "approve", "why": "again" }))
        .await
        .is_problem(409, "conflict");
    let history = server.get(&format!("/sagas/{saga}/history")).await.body;
    let who = history["events"].as_array().unwrap().iter().find_map(|it| it["who"].as_str()).unwrap();
    assert!(who.starts_with("kim, approved by "), "{who}");
    let audit = server.get(&format!("/ops/audit?target={saga}")).await.body;
    let what: Vec<&str> =
        audit["entries"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["approval.approve", "approval.ask"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_approves_their_own_action_and_small_amounts_need_nobody() {
    let server = Server::start().await;
    let (saga, page) = parked_purchase(&server, "p-1", 60_000).await;
    let me = server.get("/auth/me").await.body["principal"].clone();
    let skip = json!({ "action": "skip", "step": "charge", "why": "paid by hand", "who": me,
        "output": {}, "revision": page["revision"] });
    let asked = server.post(&format!("/sagas/{saga}/actions"), &[], &skip).await;
    let decide = format!("/ops/approvals/{}", asked.body["approval"].as_str().unwrap());
    server
        .post(&decide, &[], &json!({ "decision": "approve", "why": "me" }))
        .await
        .is_problem(403, "own-approval");
    // Taking it back is no approval.
    let rejected = server.post(&decide, &[], &json!({ "decision": "reject", "why": "a mistake" })).await;
    assert_eq!((rejected.status.as_u16(), &rejected.body["state"]), (200, &json!("rejected")));
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["revision"], page["revision"]);

    let small = server.post("/purchases", &[], &purchase("p-2", 50_000, "bad-2")).await.saga();
    let page = server.until(small, "parked").await;
    let skip = json!({ "action": "skip", "step": "charge", "why": "paid by hand", "output": {},
        "revision": page["revision"], "wait_s": 20 });
    let done = server.post(&format!("/sagas/{small}/actions"), &[], &skip).await;
    assert_eq!((done.status.as_u16(), &done.body["result"]), (200, &json!("applied")), "{}", done.body);
    server.until(small, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_says_what_happened_and_not_what_was_asked_for() {
    let server = Server::start().await;
    let (saga, page) = parked_purchase(&server, "p-1", 1_000).await;
    let retry = json!({ "action": "retry", "why": "again", "revision": page["revision"], "wait_s": 30 });
    let path = format!("/sagas/{saga}/actions");
    let done = server.post(&path, &[], &retry).await;
    assert_eq!(done.body["happened"], "parked: charge: KEY_EXPIRED (no)", "{}", done.body);
    let edited = json!({ "action": "retry_edited", "step": "charge", "why": "a new key", "wait_s": 30,
        "input": { "id": "p-1", "key": "good-1" }, "revision": done.body["revision"] });
    let done = server.post(&path, &[], &edited).await;
    let happened = done.body["happened"].as_str().unwrap();
    assert!(happened.starts_with("charge succeeded; the saga is ") || happened == "completed", "{happened}");
    server.until(saga, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_is_told_of_the_item_that_was_acted_on_and_what_a_human_says_is_told_as_such() {
    let server = Server::start().await;
    let definition = "saga: parcels\ntrigger: { http: { method: POST, path: /parcels } }
input: { type: object, required: [parcels], properties: { parcels: { type: array, maxItems: 3, items: { type: string } } } }
steps:
  pack: { foreach: \"${input.parcels}\", worker: travel, action: pack, compensation: unpack, on_rejected: park, input: { parcel: \"${item}\" } }
  send: { after: [pack], worker: travel, action: send, compensation: none }\n";
    server.publish(definition).await;
    server
        .travel(|command| match (command.action.as_str(), command.item) {
            ("send", _) => None,
            (_, Some(1)) => Some(rejected(command, "TOO_LARGE")),
            _ => Some(succeeded(command)),
        })
        .await;
    let saga = server.post("/parcels", &[], &json!({ "parcels": ["book", "piano"] })).await.saga();
    let page = server.until(saga, "parked").await;
    let path = format!("/sagas/{saga}/actions");
    let retry = json!({ "action": "retry", "step": "pack", "item": 1, "why": "again", "revision": page["revision"], "wait_s": 30 });
    let done = server.post(&path, &[], &retry).await;
    // The other item has succeeded long since.
    assert_eq!(done.body["happened"], "parked: pack: TOO_LARGE (no)", "{}", done.body);
    let skip = json!({ "action": "skip", "step": "pack", "item": 1, "output": {}, "why": "sent by hand",
        "revision": done.body["revision"], "wait_s": 30 });
    let done = server.post(&path, &[], &skip).await;
    let happened = done.body["happened"].as_str().unwrap_or_default();
    assert!(happened.starts_with("pack[1] is skipped; the saga is running"), "{}", done.body);
    let page = server.get(&format!("/sagas/{saga}")).await.body;
    let turn = json!({ "action": "compensate", "why": "no", "revision": page["revision"] });
    server.post(&path, &[], &turn).await;
    server.stop().await;
}

/// What a child saga has done, and what cannot be undone, stands as well: whoever ends the saga there or replays it is
/// told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_undone_is_told_also_of_children_and_beyond_the_pivot() {
    let server = Server::start().await;
    let stay =
        "saga: stay\nsteps:\n  room: { worker: travel, action: hold_goods, compensation: free_goods }\n";
    let trip = "saga: trip\ntrigger: { http: { method: POST, path: /trips } }\nsteps:\n  stay: { saga: stay }
  look: { after: [stay], worker: travel, action: look, compensation: none }
  pay: { after: [look], pivot: true, worker: travel, action: pay }\n  ship: { after: [pay], worker: travel, action: ship }\n";
    server.publish(stay).await;
    server.publish(trip).await;
    server
        .travel(|command| {
            Some(if command.action == "ship" { rejected(command, "LOST") } else { succeeded(command) })
        })
        .await;
    let saga = server.post("/trips", &[], &json!({})).await.saga();
    let page = server.until(saga, "parked").await;
    let list = server.get(&format!("/sagas/{saga}/actions")).await.body;
    let abandon = list["actions"].as_array().unwrap().iter().find(|it| it["action"] == "abandon").unwrap();
    assert_eq!(abandon["uncompensated"], json!(["stay", "pay"]), "{abandon}");
    let abandon =
        json!({ "action": "abandon", "why": "test", "acknowledged": true, "revision": page["revision"] });
    let done = server.post(&format!("/sagas/{saga}/actions"), &[], &abandon).await;
    assert_eq!(done.body["result"], "applied", "{}", done.body);
    server.until(saga, "abandoned").await;
    let path = format!("/sagas/{saga}/replay");
    let plan = server.get(&path).await.body;
    assert!(plan["warnings"][0].as_str().is_some_and(|it| it.contains("stay, pay")), "{plan}");
    server.post(&path, &[], &json!({ "why": "again" })).await.is_problem(409, "conflict");
    server.stop().await;
}

/// Whoever skips a step that may still take effect has acknowledged that; whoever replays the saga is told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_skipped_while_it_may_take_effect_is_told_of_in_a_replay() {
    let server = Server::start().await;
    let step = "worker: travel, compensation: undo, timeout: 300ms, retry: { attempts: 1000, initial: 10m, max: 10m }";
    server
        .publish(&format!(
            "saga: trip\ntrigger: {{ http: {{ method: POST, path: /trips }} }}\nsteps:
  pay: {{ action: pay, {step} }}\n  ship: {{ after: [pay], worker: travel, action: ship, compensation: undo }}\n"
        ))
        .await;
    server.travel(|command| (command.action == "ship").then(|| rejected(command, "LOST"))).await;
    let saga = server.post("/trips", &[], &json!({})).await.saga();
    let page = test_support::until_some("nobody knows of it", 20_000, async || {
        let page = server.get(&format!("/sagas/{saga}")).await.body;
        (page["steps"][0]["state"] == "unknown").then_some(page)
    })
    .await;
    let skip = json!({ "action": "skip", "step": "pay", "output": {}, "why": "it is silent", "acknowledged": true,
        "revision": page["revision"] });
    let done = server.post(&format!("/sagas/{saga}/actions"), &[], &skip).await;
    assert_eq!(done.body["result"], "applied", "{}", done.body);
    server.until(saga, "compensated").await;
    let plan = server.get(&format!("/sagas/{saga}/replay")).await.body;
    assert!(plan["warnings"][0].as_str().is_some_and(|it| it.contains("pay")), "{plan}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_input_must_fit_what_the_worker_announces() {
    let server = Server::start().await;
    let schema = json!({ "type": "object", "required": ["id", "key"],
        "properties": { "id": { "type": "string" }, "key": { "type": "string", "minLength": 3 } } });
    let action = |action: &str, input_schema| ActionInfo {
        action: action.to_owned(),
        compensation: None,
        input_schema,
        output_schema: None,
    };
    let announcement = WorkerRecord::Announcement(Announcement {
        worker: "travel".to_owned(),
        instance: "one".to_owned(),
        version: "1".to_owned(),
        actions: vec![action("charge", Some(schema)), action("hold_goods", None)],
        retention_ms: 86_400_000,
        at_ms: Utc::now().timestamp_millis(),
        leaving: false,
        answered_per_minute: None,
        breakers: None,
    });
    let topic = server.stage.topics.workers().as_str().into();
    let record = Outgoing { topic, partition: Some(0), message: announcement.encode() };
    let workers = &server.node.engine.workers;
    let (saga, page) = parked_purchase(&server, "p-1", 1_000).await;
    server.stage.bus.publish(vec![record], Pace::Now).await.await;
    eventually("it is heard of", 10_000, async || workers.announced("travel", "charge")).await;
    let path = format!("/sagas/{saga}/actions");
    let edited = |input: Value| {
        json!({ "action": "retry_edited", "step": "charge", "why": "a new key", "wait_s": 30,
            "input": input, "revision": page["revision"] })
    };
    let refused = server.post(&path, &[], &edited(json!({ "id": 7, "key": "ab" }))).await;
    refused.is_problem(422, "invalid-input");
    let mut pointers: Vec<&str> =
        refused.body["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/input/id", "/input/key"], "{}", refused.body);
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["revision"], page["revision"]);
    let done = server.post(&path, &[], &edited(json!({ "id": "p-1", "key": "good-1" }))).await;
    assert_eq!(done.body["result"], "applied", "{}", done.body);
    server.until(saga, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensated_saga_is_replayed_with_a_fresh_key() {
    let server = Server::with(ApiConfig::default()).await;
    // A coupon would have to be fresh as well, but there was none.
    let key = "payment_key: { type: string, fresh: true }";
    server
        .publish(&PURCHASE.replace(key, &format!("{key}\n    coupon: {{ type: string, fresh: true }}")))
        .await;
    server.travel(shop).await;
    let old = server.post("/purchases", &[], &purchase("p-1", 1_000, "bad-1")).await.saga();
    server.until(old, "compensated").await;
    let path = format!("/sagas/{old}/replay");
    let plan = server.get(&path).await.body;
    assert_eq!(
        (&plan["allowed"], &plan["fresh"]),
        (&json!(true), &json!([{ "pointer": "/payment_key" }])),
        "{plan}"
    );
    let steps: Vec<(&str, &str, &str)> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().unwrap_or_default();
            (text("step"), text("plan"), text("was"))
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("hold", "already_undone", "compensated"),
            ("charge", "runs_again", "rejected"),
            ("done", "runs_again", "")
        ]
    );
    // Only what is marked `fresh` is given so: an amount is edited where it is seen.
    let more = json!({ "why": "more", "fresh": { "/payment_key": "good-0", "/amount": 90_000 } });
    let more = server.post(&path, &[], &more).await;
    more.is_problem(422, "invalid-input");
    assert_eq!(more.body["errors"][0]["pointer"], "/amount", "{}", more.body);
    // The old key again would only fail again.
    server.post(&path, &[], &json!({ "why": "again" })).await.is_problem(422, "invalid-input");
    let fresh = json!({ "why": "the card was topped up", "fresh": { "/payment_key": "good-1" } });
    let new = server.post(&path, &[("idempotency-key", "r-1")], &fresh).await;
    assert_eq!(new.status, 201, "{}", new.body);
    let again = server.post(&path, &[("idempotency-key", "r-1")], &fresh).await;
    assert_eq!((again.status.as_u16(), &again.body["saga"]), (200, &new.body["saga"]), "{}", again.body);
    let page = server.until(new.saga(), "completed").await;
    assert_eq!((&page["replay_of"], &page["key"]), (&json!(old), &json!("p-1")));
    let page = server.get(&format!("/sagas/{old}")).await.body;
    assert_eq!((&page["replays"], &page["status"]), (&json!([new.body["saga"]]), &json!("compensated")));
    // Once more is asked for by name only; a completed one is not repeated at all.
    let fresh = json!({ "why": "twice?", "fresh": { "/payment_key": "good-2" } });
    server.post(&path, &[], &fresh).await.is_problem(409, "conflict");
    let other = server.post(&path, &[("idempotency-key", "r-2")], &fresh).await;
    other.is_problem(409, "conflict");
    server.post(&format!("/sagas/{}/replay", new.saga()), &[], &fresh).await.is_problem(409, "conflict");
    // The newest is what the key means.
    eventually("the key finds both", 20_000, async || {
        let found = server.get("/sagas?key=p-1").await.body;
        found["sagas"].as_array().unwrap().len() == 2 && found["sagas"][0]["saga"] == new.body["saga"]
    })
    .await;
    server.stop().await;
}
