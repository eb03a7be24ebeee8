//! Bulk jobs: an outage leaves many sagas parked and many compensated, and jobs bring them home.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use std::time::Instant;

use amends::api::ApiConfig;
use futures::StreamExt;
use saga_protocol::{Command, Direction, SagaId};
use serde_json::{Value, json};
use test_support::{eventually, until_some};

use crate::acting::PURCHASE;
use crate::server::{Answer, Server};
use crate::support::{rejected, succeeded};

/// Sagas of each kind. `AMENDS_TEST_JOB_SAGAS=5000` makes it the incident that it is about.
fn many() -> usize {
    std::env::var("AMENDS_TEST_JOB_SAGAS").ok().and_then(|it| it.parse().ok()).unwrap_or(120)
}

/// The same purchase, parked and not undone when the charge is refused; and one whose payment key may be used again.
fn parking() -> String {
    PURCHASE
        .replace("saga: purchase", "saga: deposit")
        .replace("/purchases", "/deposits")
        .replace("action: charge\n", "action: charge\n    on_rejected: park\n")
}

/// The shop's books: what was held and charged, and given back.
#[derive(Clone, Default)]
struct Books {
    broken: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
    freed: Arc<AtomicUsize>,
    charged: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
}

impl Books {
    async fn open(&self, server: &Server) {
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

    fn now(&self) -> [usize; 4] {
        [&self.held, &self.freed, &self.charged, &self.finished].map(|it| it.load(Ordering::SeqCst))
    }
}

async fn start(server: &Server, path: &str, count: usize) -> Vec<SagaId> {
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
fn patience_ms() -> u64 {
    120_000 + 60 * many() as u64
}

async fn until_counted(server: &Server, filter: &str, status: &str, count: usize) {
    eventually(&format!("{count} are {status}"), patience_ms(), async || {
        let counts = server.get(&format!("/ops/counts?{filter}")).await.body;
        counts["by_status"][status]["count"] == json!(count)
    })
    .await;
}

async fn job_until(server: &Server, job: &Answer, state: &str) -> Value {
    assert_eq!(job.status, 201, "{}", job.body);
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    until_some(&format!("the job is {state}"), 2 * patience_ms(), async || {
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
    let count = many();
    let began = Instant::now();
    let tell = |what: &str| eprintln!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    let compensated = start(&server, "purchases", count).await;
    start(&server, "deposits", count).await;
    until_counted(&server, "definition=deposit", "parked", count).await;
    until_counted(&server, "definition=purchase", "compensated", count).await;
    tell(&format!("the provider is down: {count} parked, {count} compensated"));

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
    tell("a bulk retry's canary has stopped it; the provider is fixed");

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
    tell("killed and restarted on the way, the bulk retry is done: all completed");

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
    tell("killed and restarted on the way, the bulk replay is done: all completed");

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
    tell("every saga is accounted for once, and the books balance");
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

/// An operator with a key of their own.
async fn operator(server: &Server, name: &str) -> String {
    let made =
        server.post("/ops/keys", &[], &json!({ "name": name, "roles": ["operator"], "why": "a test" })).await;
    format!("Bearer {}", made.body["key"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_needs_four_eyes_waits_for_one_approval_of_it_all() {
    let server = Server::start().await;
    // More than 500 needs a second person: all of these do.
    server.publish(&parking().replace("[skip, abandon], above: 50000", "[compensate], above: 500")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    start(&server, "deposits", 12).await;
    until_counted(&server, "definition=deposit", "parked", 12).await;
    let undo = json!({ "kind": "action", "action": "compensate", "filter": "definition=deposit", "why": "the shop closes",
        "canary": 3, "rate_per_s": 1_000 });
    assert_eq!(server.post("/ops/jobs/preview", &[], &undo).await.body["approval"], 12);
    let kim = operator(&server, "kim").await;
    let lee = operator(&server, "lee").await;
    let job = server.post("/ops/jobs", &[("authorization", &kim)], &undo).await;
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    until_some("all wait for a second person", 30_000, async || {
        let body = server.get(&path).await.body;
        (body["counts"]["awaiting_approval"] == 12).then_some(body)
    })
    .await;
    assert_eq!(books.now()[1], 0, "nothing is undone before");
    assert_eq!(server.get("/ops/overview").await.body["approvals"], 1, "it is seen");
    let approve = format!("{path}/approve");
    let why = json!({ "why": "I have looked at the set" });
    let own = server.post(&approve, &[("authorization", &kim)], &why).await;
    own.is_problem(403, "own-approval");
    server
        .post(&approve, &[("authorization", &lee)], &json!({ "why": "" }))
        .await
        .is_problem(422, "invalid-input");
    let approved = server.post(&approve, &[("authorization", &lee)], &why).await;
    assert_eq!(approved.body["approved_by"], "key:lee", "{}", approved.body);
    let again = server.post(&approve, &[("authorization", &lee)], &why).await;
    assert_eq!(again.status, 200, "a repetition: {}", again.body);
    server.post(&approve, &[], &why).await.is_problem(409, "conflict");
    let done = job_until(&server, &job, "done").await;
    assert_eq!(done["counts"]["succeeded"], 12, "{done}");
    assert_eq!(books.now()[..2], [12, 12], "what was held is free again");
    let items = server.get(&format!("{path}/items")).await.body;
    let saga = items["items"][0]["saga"].as_str().unwrap();
    let history = server.get(&format!("/sagas/{saga}/history")).await.body;
    let who = history["events"].as_array().unwrap().iter().find_map(|it| it["who"].as_str()).unwrap();
    assert_eq!(who, "key:kim, approved by key:lee");
    let audit = server.get(&format!("/ops/audit?target={}", job.body["id"].as_str().unwrap())).await.body;
    let what: Vec<&str> =
        audit["entries"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["job.approve", "job.create"]);
    assert_eq!(server.get("/ops/overview").await.body["approvals"], 0);
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
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_needs_four_eyes_is_a_job_that_somebody_else_approves() {
    let server = Server::start().await;
    server.publish(&PURCHASE.replace("[skip, abandon], above: 50000", "[replay], above: 500")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "purchases", 1).await[0];
    server.until(saga, "compensated").await;
    books.broken.store(false, Ordering::SeqCst);
    let path = format!("/sagas/{saga}/replay");
    assert_eq!(server.get(&path).await.body["approval"], true);
    let fresh = json!({ "/payment_key": "fresh" });
    let alone = server.post(&path, &[], &json!({ "why": "again", "fresh": fresh })).await;
    alone.is_problem(409, "conflict");
    assert!(alone.body["detail"].as_str().unwrap().contains("second person"), "{}", alone.body);
    let fresh = BTreeMap::from([(saga.to_string(), fresh)]);
    let again = json!({ "kind": "replay", "sagas": [saga], "why": "again", "fresh": fresh });
    assert_eq!(server.post("/ops/jobs/preview", &[], &again).await.body["approval"], 1);
    let job = server.post("/ops/jobs", &[], &again).await;
    let job_path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    eventually("it waits for a second person", 30_000, async || {
        server.get(&job_path).await.body["counts"]["awaiting_approval"] == 1
    })
    .await;
    assert_eq!(server.stage.count("select count(*) from saga").await, 1);
    let lee = operator(&server, "lee").await;
    let why = json!({ "why": "the card was topped up" });
    let approved = server.post(&format!("{job_path}/approve"), &[("authorization", &lee)], &why).await;
    assert_eq!(approved.status, 200, "{}", approved.body);
    assert_eq!(job_until(&server, &job, "done").await["counts"]["succeeded"], 1);
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
