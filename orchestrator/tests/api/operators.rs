//! Operators' actions and signals, through the mailbox.

use reqwest::Method;
use saga_protocol::SagaId;
use serde_json::{Value, json};

use crate::server::{Answer, Server};
use crate::support::{Travel, rejected};

/// A tour whose room was rejected, which parks it.
async fn parked(server: &Server, travel: &mut Travel) -> (SagaId, Value) {
    let saga = server.tour("tour-1", &[]).await.saga();
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let room = travel.expect("book_room").await;
    travel.answer(&room, &rejected(&room.0, "full")).await;
    (saga, server.until(saga, "parked").await)
}

fn action(word: &str, revision: &Value) -> Value {
    json!({ "action": word, "who": "lee", "why": "the hotel has called", "revision": revision })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_saga_says_why_and_is_retried() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let (saga, page) = parked(&server, &mut travel).await;
    assert_eq!((&page["parked"]["why"], &page["parked"]["step"]), (&json!("rejected"), &json!("room")));
    assert!(page["parked"]["message"].as_str().unwrap().contains("full: no"), "{}", page["parked"]);
    assert!(page["parked"]["since"].is_string());

    let path = format!("/sagas/{saga}/actions");
    let acted =
        server.post(&path, &[("idempotency-key", "retry-1")], &action("retry", &page["revision"])).await;
    assert_eq!((acted.status.as_u16(), &acted.body["result"]), (200, &json!("applied")), "{}", acted.body);
    assert_eq!(acted.body["status"], "running");
    let room = travel.expect("book_room").await;
    assert_eq!(room.0.round, 2, "a retry after a rejection is a new round");
    // The repetition is the same piece of mail: applied once, answered again.
    let again =
        server.post(&path, &[("idempotency-key", "retry-1")], &action("retry", &page["revision"])).await;
    assert_eq!((again.status.as_u16(), &again.body["id"]), (200, &acted.body["id"]));
    assert_eq!(again.body["result"], "applied");
    travel.succeed(&room).await;
    let pay = travel.expect("pay").await;
    travel.succeed(&pay).await;
    server.until(saga, "completed").await;
    let history = server.get(&format!("/sagas/{saga}/history")).await.body;
    let operator: Vec<&Value> =
        history["events"].as_array().unwrap().iter().filter(|it| it["kind"] == "operator").collect();
    assert_eq!(operator.len(), 1, "once");
    assert_eq!((&operator[0]["who"], &operator[0]["why"]), (&json!("lee"), &json!("the hotel has called")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_action_and_another_body_under_it_is_refused() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let (saga, page) = parked(&server, &mut travel).await;
    let (path, key) = (format!("/sagas/{saga}/actions"), [("idempotency-key", "mine")]);
    // A signal's keys are not an action's.
    let signal = server.request(Method::POST, &format!("/sagas/{saga}/signals/go"), &key, "").await;
    assert_eq!((signal.status.as_u16(), &signal.body["repeated"]), (200, &Value::Null));
    let refused = server.post(&path, &key, &action("retry", &json!(1))).await;
    refused.is_problem(409, "refused");
    let retry = action("retry", &page["revision"]);
    server.post(&path, &key, &retry).await.is_problem(422, "key-reused");
    let mut other = action("retry", &json!(1));
    other["why"] = json!("another reason");
    server.post(&path, &key, &other).await.is_problem(422, "key-reused");
    server.post(&path, &key, &action("retry", &json!(1))).await.is_problem(409, "refused");
    for (again, repeated) in [(r#"{"n":1}"#, Value::Null), (r#"{ "n": 1 }"#, json!(true))] {
        let headers = [("idempotency-key", "with"), ("content-type", "application/json")];
        let path = format!("/sagas/{saga}/signals/go");
        let kept = server.request(Method::POST, &path, &headers, again).await;
        assert_eq!((kept.status.as_u16(), &kept.body["repeated"]), (200, &repeated));
        server.request(Method::POST, &path, &headers, r#"{"n":2}"#).await.is_problem(422, "key-reused");
    }
    let other = server.request(Method::POST, &format!("/sagas/{saga}/signals/stop"), &key, "").await;
    other.is_problem(422, "key-reused");
    // What was refused under the key stays so; a new key is a new action.
    let acted = server.post(&path, &[("idempotency-key", "new")], &retry).await;
    assert_eq!((acted.status.as_u16(), &acted.body["result"]), (200, &json!("applied")), "{}", acted.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_on_a_saga_that_has_moved_on_is_refused() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let (saga, page) = parked(&server, &mut travel).await;
    let answer = server.post(&format!("/sagas/{saga}/actions"), &[], &action("retry", &json!(1))).await;
    answer.is_problem(409, "refused");
    assert_eq!(answer.body["revision"], page["revision"], "says where it is now");
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["revision"], page["revision"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skip_goes_on_with_the_given_output() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let (saga, page) = parked(&server, &mut travel).await;
    let mut skip = action("skip", &page["revision"]);
    skip["step"] = json!("room");
    skip["output"] = json!({ "number": "sofa" });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &skip).await;
    assert_eq!((acted.status.as_u16(), &acted.body["result"]), (200, &json!("applied")), "{}", acted.body);
    let pay = travel.expect("pay").await;
    travel.succeed(&pay).await;
    assert_eq!(server.until(saga, "completed").await["output"], json!({ "room": "sofa" }));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_with_faults_lists_them_and_leaves_no_mail() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let (saga, _) = parked(&server, &mut travel).await;
    let path = format!("/sagas/{saga}/actions");
    let body = json!({ "action": "mark_compensated", "who": "", "why": "x".repeat(1_001), "revision": 1, "step": "rome" });
    let answer = server.post(&path, &[], &body).await;
    answer.is_problem(422, "invalid-input");
    let pointers: Vec<&str> =
        answer.body["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/who", "/why", "/step", "/evidence"]);
    server.post(&path, &[], &json!({ "action": "explode" })).await.is_problem(422, "invalid-input");
    assert_eq!(server.stage.count("select count(*) from mailbox").await, 0);
    let nobody = "/sagas/01a1fddc-ac14-74a1-8a00-10fb14d90753/actions";
    server.post(nobody, &[], &action("retry", &json!(1))).await.is_problem(404, "not-found");
    server.stop().await;
}

const APPROVAL: &str = r#"
saga: approval
key: ${input.id}
input: { type: object, required: [id], properties: { id: { type: string } } }
steps:
  approve: { wait: { signal: approved, timeout: 24h } }
output: { by: "${steps.approve.output.by}" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_is_kept_once_and_ends_the_wait() {
    let server = Server::start().await;
    server.publish(APPROVAL).await;
    let saga = server.post("/sagas/approval", &[], &json!({ "id": "a-1" })).await.saga();
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["steps"][0]["state"], "waiting");
    let path = format!("/sagas/{saga}/signals/approved");
    let key = [("idempotency-key", "signal-1")];
    let first = server.post(&path, &key, &json!({ "by": "lee" })).await;
    let came = |answer: &Answer| {
        (answer.status.as_u16(), answer.body["result"].clone(), answer.body["repeated"].clone())
    };
    assert_eq!(came(&first), (200, json!("applied"), Value::Null), "{}", first.body);
    let again = server.post(&path, &key, &json!({ "by": "lee" })).await;
    assert_eq!(came(&again), (200, json!("applied"), json!(true)));
    assert_eq!(again.body["id"], first.body["id"]);
    assert_eq!(server.until(saga, "completed").await["output"], json!({ "by": "lee" }));
    assert_eq!(server.stage.count("select count(*) from mailbox").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_nothing_waits_for_is_said_and_stands_with_the_saga() {
    let server = Server::start().await;
    server.publish(APPROVAL).await;
    let saga = server.post("/sagas/approval", &[], &json!({ "id": "a-1" })).await.saga();
    let started = server.get(&format!("/ops/audit?what=saga.start&target={saga}")).await.body;
    assert_eq!(started["entries"].as_array().map(Vec::len), Some(1), "{started}");
    let misspelt = server.post(&format!("/sagas/{saga}/signals/aproved"), &[], &json!({ "by": "lee" })).await;
    assert_eq!(
        (misspelt.status.as_u16(), &misspelt.body["result"]),
        (200, &json!("ignored")),
        "{}",
        misspelt.body
    );
    assert_eq!(misspelt.body["reason"], "nothing in the definition waits for this signal");
    let ignored = server.get(&format!("/sagas/{saga}/ignored")).await.body;
    let kept = &ignored["ignored"][0];
    assert_eq!((&kept["kind"], &kept["signal"]), (&json!("signal"), &json!("aproved")), "{ignored}");
    // An operator says why; a worker has no reason of its own.
    for (role, why, status) in
        [("operator", "", 400), ("operator", "?why=it+came+by+fax", 200), ("worker", "", 202)]
    {
        let made = json!({ "name": format!("{role}-{status}"), "roles": [role], "why": "a test" });
        let key = server.post("/ops/keys", &[], &made).await.body["key"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {key}");
        let path = format!("/sagas/{saga}/signals/denied{why}");
        let sent = server.request(Method::POST, &path, &[("authorization", &bearer)], "").await;
        assert_eq!(sent.status.as_u16(), status, "{role} {why}: {}", sent.body);
    }
    // What an operator did in vain was said to him, and is in the audit.
    let page = server.get(&format!("/sagas/{saga}")).await.body;
    let retry = action("retry", &page["revision"]);
    let in_vain = server.post(&format!("/sagas/{saga}/actions"), &[], &retry).await;
    assert_ne!(in_vain.body["result"], "applied", "{}", in_vain.body);
    let ignored = server.get(&format!("/sagas/{saga}/ignored")).await.body["ignored"].to_string();
    assert!(!ignored.contains("\"operator\""), "{ignored}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_are_checked_at_the_door() {
    let server = Server::start().await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let empty = server.request(Method::POST, &format!("/sagas/{saga}/signals/go"), &[], "").await;
    assert_eq!(empty.status, 200, "a payload is no must: {}", empty.body);
    let untyped = server.request(Method::POST, &format!("/sagas/{saga}/signals/go"), &[], "{}").await;
    untyped.is_problem(415, "media-type");
    let name = "x".repeat(65);
    for bad in ["9lives", "a%20b", name.as_str()] {
        let path = format!("/sagas/{saga}/signals/{bad}");
        server.request(Method::POST, &path, &[], "").await.is_problem(400, "bad-request");
    }
    let nobody = "/sagas/01a1fddc-ac14-74a1-8a00-10fb14d90753/signals/go";
    server.request(Method::POST, nobody, &[], "").await.is_problem(404, "not-found");
    assert_eq!(server.stage.count("select count(*) from mailbox").await, 1);
    server.stop().await;
}
