//! Bulk jobs: an outage leaves many sagas parked and many compensated, and jobs bring them home.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use amends::api::ApiConfig;
use futures::StreamExt;
use saga_protocol::{Command, Direction, SagaId};
use serde_json::{Value, json};
use test_support::{eventually, until_some};

use crate::acting::PURCHASE;
use crate::server::{Answer, Server};
use crate::support::{rejected, succeeded};

/// Sagas of each kind; thousands of them, on real workers, are `make incident`.
const MANY: usize = 120;

/// The same purchase, parked and not undone when the charge is refused; and one whose payment key may be used again.
pub(crate) fn parking() -> String {
    PURCHASE
        .replace("saga: purchase", "saga: deposit")
        .replace("/purchases", "/deposits")
        .replace("action: charge\n", "action: charge\n    on_rejected: park\n")
}

/// The shop's books: what was held and charged, and given back.
#[derive(Clone, Default)]
pub(crate) struct Books {
    pub(crate) broken: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
    freed: Arc<AtomicUsize>,
    charged: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
}

impl Books {
    pub(crate) async fn open(&self, server: &Server) {
        let books = self.clone();
        let seen = std::sync::Mutex::new(BTreeSet::new());
        server
            .travel(move |command: &Command| {
                if command.action == "charge"
                    && command.direction == Direction::Execute
                    && books.broken.load(Ordering::SeqCst)
                {
                    return Some(rejected(command, "PROVIDER_DOWN"));
                }
                // A repeated command is one effect, as with every worker.
                if seen.lock().unwrap().insert(command.effect_key().to_string()) {
                    let book = match command.action.as_str() {
                        "hold_goods" => &books.held,
                        "free_goods" => &books.freed,
                        "charge" => &books.charged,
                        _ => &books.finished,
                    };
                    book.fetch_add(1, Ordering::SeqCst);
                }
                Some(succeeded(command))
            })
            .await;
    }

    pub(crate) fn now(&self) -> [usize; 4] {
        [&self.held, &self.freed, &self.charged, &self.finished].map(|it| it.load(Ordering::SeqCst))
    }
}

pub(crate) async fn start(server: &Server, path: &str, count: usize) -> Vec<SagaId> {
    futures::stream::iter(0..count)
        .map(|at| async move {
            let input =
                json!({ "id": format!("{path}-{at}"), "amount": 1_000, "payment_key": format!("key-{at}") });
            let answer = server.post(&format!("/{path}"), &[], &input).await;
            assert_eq!(answer.status, 202, "{}", answer.body);
            answer.saga()
        })
        .buffered(16)
        .collect()
        .await
}

/// How long so many sagas may take on a machine that does other things as well.
const PATIENCE_MS: u64 = 120_000 + 60 * MANY as u64;

pub(crate) async fn until_counted(server: &Server, filter: &str, status: &str, count: usize) {
    eventually(&format!("{count} are {status}"), PATIENCE_MS, async || {
        let counts = server.get(&format!("/ops/counts?{filter}")).await.body;
        counts["by_status"][status]["count"] == json!(count)
    })
    .await;
}

pub(crate) async fn job_until(server: &Server, job: &Answer, state: &str) -> Value {
    assert_eq!(job.status, 201, "{}", job.body);
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    until_some(&format!("the job is {state}"), 2 * PATIENCE_MS, async || {
        let body = server.get(&path).await.body;
        (body["state"] == state).then_some(body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_made_good_by_two_jobs_also_when_the_server_dies_in_the_middle() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server.publish(&parking()).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let count = MANY;
    let compensated = start(&server, "purchases", count).await;
    start(&server, "deposits", count).await;
    until_counted(&server, "definition=deposit", "parked", count).await;
    until_counted(&server, "definition=purchase", "compensated", count).await;

    // While the provider is down, the canary says so, and nothing else is touched.
    let retry = json!({ "kind": "action", "action": "retry", "filter": "definition=deposit&status=parked",
        "why": "after the incident", "canary": 5, "rate_per_s": 1_000 });
    let preview = server.post("/ops/jobs/preview", &[], &retry).await.body;
    assert_eq!(
        (&preview["sagas"], &preview["by_step"]),
        (&json!(count), &json!([{ "step": "charge", "sagas": count }])),
        "{preview}"
    );
    assert_eq!(preview["amount"], json!([{ "currency": "KRW", "amount": 1_000 * count, "sagas": count }]));
    let job = server.post("/ops/jobs", &[], &retry).await;
    let stopped = job_until(&server, &job, "stopped").await;
    assert_eq!(stopped["stopped_because"], "the canary failed: 5 of 5: failed again: charge: PROVIDER_DOWN");
    assert_eq!(
        (&stopped["counts"]["failed_again"], &stopped["counts"]["waiting"]),
        (&json!(5), &json!(count - 5)),
        "{stopped}"
    );

    // It is fixed. The first job's canary has changed; the others go on, and the server dies on the way.
    books.broken.store(false, Ordering::SeqCst);
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    let resumed = server.post(&format!("{path}/resume"), &[], &json!({ "why": "it is fixed" })).await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    let first = server.post("/ops/jobs", &[], &retry).await;
    eventually("some are done", 120_000, async || {
        server.get(&path).await.body["counts"]["succeeded"].as_i64().unwrap() >= 5
    })
    .await;
    let server = Server::on(server.crash(), "b", ApiConfig::default(), None).await;
    let done = job_until(&server, &job, "done").await;
    assert_eq!(
        (&done["counts"]["succeeded"], &done["counts"]["failed_again"]),
        (&json!(count - 5), &json!(5)),
        "{done}"
    );
    // The second had frozen all of them: those that the first brought home have changed meanwhile.
    let second = job_until(&server, &first, "done").await["counts"].clone();
    let of = |what: &str| second[what].as_i64().unwrap();
    assert_eq!(of("succeeded") + of("changed"), of("total"), "{second}");
    assert!(of("succeeded") >= 5, "the canary of the first: {second}");
    until_counted(&server, "definition=deposit", "completed", count).await;

    // The compensated are replayed: each needs a key of its own.
    let fresh: serde_json::Map<String, Value> = compensated
        .iter()
        .map(|saga| (saga.to_string(), json!({ "/payment_key": format!("fresh-{saga}") })))
        .collect();
    let replay = json!({ "kind": "replay", "filter": "definition=purchase&status=compensated", "why": "after the incident",
        "canary": 3, "rate_per_s": 1_000, "fresh": fresh });
    let preview = server.post("/ops/jobs/preview", &[], &replay).await.body;
    assert_eq!(
        (&preview["sagas"], &preview["needs_fresh"]),
        (&json!(count), &json!(["/payment_key"])),
        "{preview}"
    );
    let mut few = replay.clone();
    few["sagas_max"] = json!(count - 1);
    let grown = server.post("/ops/jobs", &[], &few).await;
    grown.is_problem(422, "invalid-input");
    assert_eq!(grown.body["errors"][0]["pointer"], "/sagas_max", "{}", grown.body);
    let mut replay = replay;
    replay["sagas_max"] = json!(count);
    replay["merge"] = json!({ "amount": 900, "coupon": "sorry" });
    let job = server.post("/ops/jobs", &[], &replay).await;
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    eventually("some are done", 120_000, async || {
        server.get(&path).await.body["counts"]["succeeded"].as_i64().unwrap() >= 5
    })
    .await;
    let server = Server::on(server.crash(), "c", ApiConfig::default(), None).await;
    let done = job_until(&server, &job, "done").await;
    assert_eq!(done["counts"]["succeeded"], json!(count), "{done}");

    // Every one is accounted for, once.
    let mut new = BTreeSet::new();
    let mut after = 0;
    loop {
        let page = server.get(&format!("{path}/items?outcome=succeeded&limit=500&after={after}")).await.body;
        for it in page["items"].as_array().unwrap() {
            assert_eq!(it["words"], "now succeeded");
            assert!(new.insert(it["new_saga"].as_str().unwrap().to_owned()), "{it}");
        }
        match page["next"].as_i64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(new.len(), count);
    until_counted(&server, "definition=purchase", "completed", count).await;
    assert_eq!(
        server.stage.count("select count(*) from saga where replay_of is not null").await,
        count as i64
    );
    // Each with the input that the job has changed.
    let one = new.first().unwrap();
    let input = server.get(&format!("/sagas/{one}")).await.body["input"].clone();
    assert_eq!((&input["amount"], &input["coupon"]), (&json!(900), &json!("sorry")), "{input}");
    // The books: what was held is sold or was freed, and each sale was charged once.
    assert_eq!(books.now(), [3 * count, count, 2 * count, 2 * count]);
    server.stage.histories_are_whole().await;
    let none = server.post("/ops/jobs", &[], &replay).await;
    none.is_problem(422, "invalid-input");
    assert!(none.body.to_string().contains("it was replayed already"), "{}", none.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_stops_when_the_same_failure_repeats_and_can_be_paused_and_cancelled() {
    let server = Server::start().await;
    server.publish(&parking()).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    start(&server, "deposits", 12).await;
    until_counted(&server, "definition=deposit", "parked", 12).await;
    let retry = json!({ "kind": "action", "action": "retry", "filter": "definition=deposit", "why": "try",
        "canary": 0, "rate_per_s": 2, "stop_after_same": 3 });
    let job = server.post("/ops/jobs", &[], &retry).await;
    let stopped = job_until(&server, &job, "stopped").await;
    let because = stopped["stopped_because"].as_str().unwrap();
    assert_eq!(because, "the same failure 3 times in a row: failed again: charge: PROVIDER_DOWN");
    assert!(stopped["counts"]["waiting"].as_i64().unwrap() >= 6, "{stopped}");
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    let why = json!({ "why": "enough" });
    server.post(&format!("{path}/pause"), &[], &why).await.is_problem(409, "conflict");
    assert_eq!(server.post(&format!("{path}/cancel"), &[], &why).await.body["state"], "cancelled");
    server.post(&format!("{path}/resume"), &[], &why).await.is_problem(409, "conflict");

    let slow = json!({ "kind": "action", "action": "compensate", "filter": "definition=deposit", "why": "give up",
        "rate_per_s": 1, "canary": 2 });
    let job = server.post("/ops/jobs", &[], &slow).await;
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    assert_eq!(server.post(&format!("{path}/pause"), &[], &why).await.body["state"], "paused");
    let paused = until_some("what was begun is told", 30_000, async || {
        let body = server.get(&path).await.body;
        (body["counts"]["acting"] == 0).then_some(body)
    })
    .await;
    assert!(paused["counts"]["waiting"].as_i64().unwrap() >= 10, "{paused}");
    assert_eq!(server.post(&format!("{path}/resume"), &[], &why).await.body["state"], "canary");
    job_until(&server, &job, "running").await;
    server.post(&format!("{path}/cancel"), &[], &why).await;
    for (bad, at) in [
        (json!({ "kind": "action", "action": "skip", "filter": "status=parked", "why": "x" }), "/kind"),
        (json!({ "kind": "action", "action": "retry", "why": "x" }), ""),
        (json!({ "kind": "action", "action": "retry", "filter": "status=parked", "why": "" }), "/why"),
        (
            json!({ "kind": "action", "action": "abandon", "filter": "status=parked", "why": "x" }),
            "/acknowledged",
        ),
        (
            json!({ "kind": "action", "action": "retry", "filter": "status=parked", "why": "x", "rate_per_s": 0 }),
            "/rate_per_s",
        ),
    ] {
        let answer = server.post("/ops/jobs", &[], &bad).await;
        answer.is_problem(422, "invalid-input");
        assert_eq!(answer.body["errors"][0]["pointer"], at, "{}", answer.body);
    }
    let bad = json!({ "kind": "action", "action": "retry", "filter": "colour=red", "why": "x" });
    server.post("/ops/jobs/preview", &[], &bad).await.is_problem(400, "bad-request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_moved_since_it_was_found_is_not_acted_on() {
    let server = Server::start().await;
    server.publish(&parking()).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let sagas = start(&server, "deposits", 2).await;
    until_counted(&server, "definition=deposit", "parked", 2).await;
    let seen = "select count(*) from projection where status = 1";
    eventually("both are in the lists", 20_000, async || server.stage.count(seen).await == 2).await;
    // What lists and groups are found by is a copy, which may be of another moment than the saga.
    let moved = "update projection set revision = revision + 1 where saga_id = $1";
    sqlx::query(moved).bind(sagas[0].0).execute(&server.stage.pool).await.unwrap();
    let undo =
        json!({ "kind": "action", "action": "compensate", "filter": "step=charge", "why": "x", "canary": 0 });
    let preview = server.post("/ops/jobs/preview", &[], &undo).await.body;
    let left_out = json!([{ "reason": "it has moved since it was found: look again", "sagas": 1 }]);
    assert_eq!((&preview["sagas"], &preview["excluded"]), (&json!(1), &left_out), "{preview}");
    let job = server.post("/ops/jobs", &[], &undo).await;
    job_until(&server, &job, "done").await;
    server.until(sagas[1], "compensated").await;
    assert_eq!(server.get(&format!("/sagas/{}", sagas[0])).await.body["status"], "parked");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_asked_for_twice_with_one_key_is_one() {
    let server = Server::start().await;
    server.publish(&parking()).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let sagas = start(&server, "deposits", 3).await;
    until_counted(&server, "definition=deposit", "parked", 3).await;
    let undo = json!({ "kind": "action", "action": "compensate", "sagas": sagas, "why": "the shop closes" });
    let key: &[(&str, &str)] = &[("idempotency-key", "close-1")];
    let (one, two) = tokio::join!(server.post("/ops/jobs", key, &undo), server.post("/ops/jobs", key, &undo));
    assert_eq!(one.body["id"], two.body["id"], "{} {}", one.body, two.body);
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201]);
    until_counted(&server, "definition=deposit", "compensated", 3).await;
    // Nothing is left to do, and the repetition is told what was done all the same.
    let again = server.post("/ops/jobs", key, &undo).await;
    assert_eq!((again.status.as_u16(), &again.body["id"]), (200, &one.body["id"]), "{}", again.body);
    let other = json!({ "kind": "action", "action": "compensate", "sagas": sagas, "why": "for fun" });
    server.post("/ops/jobs", key, &other).await.is_problem(422, "key-reused");
    let others =
        json!({ "kind": "action", "action": "compensate", "sagas": [sagas[0]], "why": "the shop closes" });
    server.post("/ops/jobs", key, &others).await.is_problem(422, "key-reused");
    let more = json!({ "kind": "action", "action": "compensate", "why": "the shop closes",
        "sagas": [sagas[0], sagas[1], sagas[2], "01a1fddc-ac14-74a1-8a00-10fb14d90753"] });
    server.post("/ops/jobs", key, &more).await.is_problem(422, "key-reused");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replays_of_one_saga_at_once_are_one_also_without_a_business_key() {
    let server = Server::start().await;
    server.publish(&PURCHASE.replace("key: ${input.id}\n", "")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "purchases", 1).await[0];
    server.until(saga, "compensated").await;
    books.broken.store(false, Ordering::SeqCst);
    let path = format!("/sagas/{saga}/replay");
    let one = json!({ "why": "again", "fresh": { "/payment_key": "fresh-1" } });
    let two = json!({ "why": "again", "fresh": { "/payment_key": "fresh-2" } });
    let fresh = BTreeMap::from([(saga.to_string(), json!({ "/payment_key": "fresh-3" }))]);
    let job = json!({ "kind": "replay", "sagas": [saga], "why": "again", "fresh": fresh, "canary": 0 });
    let (one, two, job) = tokio::join!(
        server.post(&path, &[("idempotency-key", "kim-1")], &one),
        server.post(&path, &[], &two),
        server.post("/ops/jobs", &[], &job),
    );
    if job.status == 201 {
        job_until(&server, &job, "done").await;
    }
    let answers = format!("{} {} {}", one.body, two.body, job.body);
    assert_eq!(
        server.stage.count("select count(*) from saga where replay_of is not null").await,
        1,
        "{answers}"
    );
    eventually("it is paid once", 30_000, async || books.now()[2] == 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_job_says_that_starts_are_held_and_goes_on_when_they_are_not() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let sagas = start(&server, "purchases", 3).await;
    until_counted(&server, "definition=purchase", "compensated", 3).await;
    books.broken.store(false, Ordering::SeqCst);
    let hold = json!({ "kind": "starts", "why": "an incident" });
    let hold = server.post("/ops/holds", &[], &hold).await;
    let fresh: serde_json::Map<String, Value> = sagas
        .iter()
        .map(|saga| (saga.to_string(), json!({ "/payment_key": format!("fresh-{saga}") })))
        .collect();
    let replay = json!({ "kind": "replay", "sagas": sagas, "why": "after the incident", "canary": 0, "fresh": fresh,
        "rate_per_s": 1_000 });
    let job = server.post("/ops/jobs", &[], &replay).await;
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    let stalled = until_some("it says why it does not come along", 30_000, async || {
        server.get(&path).await.body["stalled"].as_str().map(str::to_owned)
    })
    .await;
    assert!(stalled.contains("starts are held by anonymous: an incident"), "{stalled}");
    // A paused one gives back what it has not begun.
    let why = json!({ "why": "lunch" });
    assert_eq!(server.post(&format!("{path}/pause"), &[], &why).await.body["state"], "paused");
    let paused = until_some("all wait again", 30_000, async || {
        let body = server.get(&path).await.body;
        (body["counts"]["waiting"] == 3).then_some(body)
    })
    .await;
    assert!(paused["stalled"].is_null(), "{paused}");
    assert_eq!(server.post(&format!("{path}/resume"), &[], &why).await.body["state"], "running");
    let release = format!("/ops/holds/{}?why=over", hold.body["id"].as_str().unwrap());
    assert_eq!(server.request(reqwest::Method::DELETE, &release, &[], "").await.status, 200);
    let done = job_until(&server, &job, "done").await;
    assert_eq!((&done["counts"]["succeeded"], &done["stalled"]), (&json!(3), &Value::Null), "{done}");
    assert_eq!(server.stage.count("select count(*) from saga where replay_of is not null").await, 3);
    assert_eq!(server.get("/ops/audit?what=saga.replay").await.body["entries"].as_array().unwrap().len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_stops_also_when_the_same_is_refused_at_once() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    start(&server, "purchases", 12).await;
    until_counted(&server, "definition=purchase", "compensated", 12).await;
    // Nobody has given fresh keys.
    let mut replay = json!({ "kind": "replay", "filter": "definition=purchase", "why": "again", "canary": 0,
        "rate_per_s": 2, "stop_after_same": 3 });
    let job = server.post("/ops/jobs", &[], &replay).await;
    let stopped = job_until(&server, &job, "stopped").await;
    let because = stopped["stopped_because"].as_str().unwrap();
    assert!(
        because.starts_with("the same failure 3 times in a row: /payment_key must be fresh"),
        "{because}"
    );
    assert!(stopped["counts"]["waiting"].as_i64().unwrap() >= 7, "{stopped}");
    replay["canary"] = json!(2);
    let job = server.post("/ops/jobs", &[], &replay).await;
    let stopped = job_until(&server, &job, "stopped").await;
    let because = stopped["stopped_because"].as_str().unwrap();
    assert!(because.starts_with("the canary failed: 2 of 2: /payment_key must be fresh"), "{because}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replayed_is_not_replayed_again_whoever_acknowledges_it() {
    let server = Server::start().await;
    server.publish(&PURCHASE.replace("key: ${input.id}\n", "")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "purchases", 1).await[0];
    server.until(saga, "compensated").await;
    let path = format!("/sagas/{saga}/replay");
    let again = |key: &str| json!({ "why": "again", "fresh": { "/payment_key": key }, "acknowledged": true });
    let (kims, lees) = (again("fresh-1"), again("fresh-2"));
    let (one, two) = tokio::join!(
        server.post(&path, &[("idempotency-key", "kim-1")], &kims),
        server.post(&path, &[("idempotency-key", "lee-1")], &lees),
    );
    let new = if one.status == 201 { &one } else { &two };
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", one.body, two.body);
    let fresh = BTreeMap::from([(saga.to_string(), json!({ "/payment_key": "fresh-3" }))]);
    let job =
        json!({ "kind": "replay", "sagas": [saga], "why": "again", "fresh": fresh, "acknowledged": true });
    let none = server.post("/ops/jobs", &[], &job).await;
    none.is_problem(422, "invalid-input");
    assert!(none.body.to_string().contains("it was replayed already"), "{}", none.body);
    // The new one did not end well either: that one is replayed.
    let new = new.saga();
    server.until(new, "compensated").await;
    books.broken.store(false, Ordering::SeqCst);
    let third = server.post(&format!("/sagas/{new}/replay"), &[], &again("fresh-4")).await;
    assert_eq!(third.status, 201, "{}", third.body);
    server.until(third.saga(), "completed").await;
    assert_eq!(books.now()[2], 1, "it is paid once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_looked_at_whole_is_not_acted_on_in_part() {
    let server = Server::start().await;
    server.publish(&parking()).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "deposits", 1).await[0];
    until_counted(&server, "definition=deposit", "parked", 1).await;
    let owner = json!({ "owner": "kim", "why": "mine" });
    let path = format!("/sagas/{saga}/owner");
    let headers = [("content-type", "application/json")];
    let set = server.request(reqwest::Method::PUT, &path, &headers, owner.to_string()).await;
    assert!(set.status.is_success(), "{}", set.body);
    let retry = json!({ "kind": "action", "action": "retry", "filter": "owner=kim", "why": "mine" });
    assert_eq!(server.post("/ops/jobs/preview", &[], &retry).await.body["sagas"], 1);
    let many = "insert into care (saga_id, owner, by) select gen_random_uuid(), 'kim', 'kim' from generate_series(1, 10000)";
    sqlx::query(many).execute(&server.stage.pool).await.unwrap();
    for path in ["/ops/jobs/preview", "/ops/jobs"] {
        let answer = server.post(path, &[], &retry).await;
        answer.is_problem(422, "invalid-input");
        assert!(answer.body.to_string().contains("narrow it"), "{}", answer.body);
    }
    // What abandoning leaves undone is told before anybody says that they know it.
    let abandon = json!({ "kind": "action", "action": "abandon", "sagas": [saga], "why": "the shop closes" });
    let preview = server.post("/ops/jobs/preview", &[], &abandon).await;
    assert_eq!(preview.body["uncompensated"], json!([{ "step": "hold", "sagas": 1 }]), "{}", preview.body);
    server.post("/ops/jobs", &[], &abandon).await.is_problem(422, "invalid-input");
    server.stop().await;
}
