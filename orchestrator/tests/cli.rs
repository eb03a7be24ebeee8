//! The command against a real API: what it prints, and how it exits.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "api/server.rs"]
#[allow(dead_code)]
mod server;
mod support;

use std::process::Output;

use amends::api::ApiConfig;
use amends::reconcile::Reconciler;
use amends::reconcile::books::Sources;
use serde_json::{Value, json};
use server::{Server, tour};
use support::{rejected, succeeded};
use test_support::{FreshDatabase, fresh_database, until_some};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use toss_sandbox::{DEFAULT_SECRET_KEY, Sandbox, SandboxConfig};
use worker_payment::toss;

/// Runs the command; nothing of this process's environment reaches it.
async fn amends(url: &str, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_amends"));
    command.args(args).env_clear().env("AMENDS_URL", url).stdin(std::process::Stdio::null());
    command.output().await.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_prints_the_id_and_with_wait_the_timeline() {
    let server = Server::start().await;
    let input = tour("tour-1").to_string();
    let started = amends(&server.url, &["saga", "start", "tour", "--input", &input]).await;
    assert_eq!(code(&started), 0, "{}", err(&started));
    let id = out(&started).trim().to_owned();
    assert_eq!(server.get(&format!("/sagas/{id}")).await.status, 200);
    assert!(
        err(&started).contains("warning: no live worker announces `travel.book_car`"),
        "{}",
        err(&started)
    );
    server.travel_succeeds().await;
    let waited = amends(&server.url, &["saga", "start", "tour", "--input", &input, "--wait"]).await;
    assert_eq!(code(&waited), 0, "{}", err(&waited));
    let text = out(&waited);
    assert!(text.contains(&id) && text.contains("✓ completed after"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours into a pipe");
    let watched = amends(&server.url, &["saga", "watch", &id, "--json"]).await;
    assert_eq!(code(&watched), 0);
    let lines: Vec<Value> = out(&watched).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "four transitions and the saga");
    assert_eq!(lines[4]["status"], "completed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_does_not_complete_exits_with_4() {
    let server = Server::start().await;
    server
        .travel(|command| {
            Some(match command.action.as_str() {
                "pay" => rejected(command, "no_money"),
                _ => succeeded(command),
            })
        })
        .await;
    let undone =
        amends(&server.url, &["saga", "start", "tour", "--input", &tour("tour-1").to_string(), "--wait"])
            .await;
    assert_eq!(code(&undone), 4);
    assert!(out(&undone).contains("⤺ compensated after"), "{}", out(&undone));
    assert!(out(&undone).contains("because pay: no_money (no)"), "{}", out(&undone));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_saga_is_acted_upon() {
    let server = Server::start().await;
    server
        .travel(|command| {
            Some(if command.action == "book_room" { rejected(command, "full") } else { succeeded(command) })
        })
        .await;
    let input = tour("tour-1").to_string();
    let parked = amends(&server.url, &["saga", "start", "tour", "--input", &input, "--wait", "--json"]).await;
    assert_eq!(code(&parked), 4);
    let page: Value = serde_json::from_str(&out(&parked)).unwrap();
    let (id, revision) = (page["saga"]["saga"].as_str().unwrap(), page["saga"]["revision"].to_string());
    let act = ["saga", "act", id, "compensate", "--who", "lee", "--why", "no room in town"];
    let stale = amends(&server.url, &[&act[..], &["--revision", "1"]].concat()).await;
    assert_eq!(code(&stale), 1);
    assert!(err(&stale).contains(&format!("the saga is at revision {revision} now")), "{}", err(&stale));
    let acted = amends(&server.url, &[&act[..], &["--revision", &revision]].concat()).await;
    assert_eq!(code(&acted), 0, "{}", err(&acted));
    assert!(out(&acted).starts_with("applied; the saga is "), "{}", out(&acted));
    server.until(id.parse().unwrap(), "compensated").await;
    let shown = amends(&server.url, &["saga", "show", id]).await;
    assert_eq!(code(&shown), 0, "showing works, however the saga ended");
    assert!(out(&shown).contains("operator: compensate by lee: no room in town"), "{}", out(&shown));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_nobody_has_taken_in_yet_is_no_success() {
    let mut server = Server::start().await;
    let id = server.tour("tour-1", &[]).await.saga().to_string();
    // The engine ends; the API goes on, as that of a node without shards would.
    server.node.halt().await;
    let act = ["saga", "act", &id, "compensate", "--who", "lee", "--why", "late", "--revision", "1"];
    let kept = amends(&server.url, &act).await;
    assert_eq!(code(&kept), 7, "{}", err(&kept));
    assert!(out(&kept).starts_with("accepted; the saga is "), "{}", out(&kept));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_definitions_are_printed_as_text_and_as_json() {
    let server = Server::start().await;
    let empty = amends(&server.url, &["saga", "list"]).await;
    assert_eq!((code(&empty), out(&empty).as_str()), (0, "no sagas\n"));
    let id = server.tour("tour-1", &[]).await.saga().to_string();
    let list = amends(&server.url, &["saga", "list", "--definition", "tour"]).await;
    assert!(out(&list).lines().nth(1).unwrap().starts_with(&id), "{}", out(&list));
    let list = amends(&server.url, &["--json", "saga", "list", "--status", "running"]).await;
    let page: Value = serde_json::from_str(&out(&list)).unwrap();
    assert_eq!(page["sagas"][0]["saga"], id);
    let definitions = amends(&server.url, &["def", "list"]).await;
    assert!(out(&definitions).contains("POST /tours"), "{}", out(&definitions));
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
    std::fs::write(&good, server::TOUR.replace("saga: tour", "saga: cruise").replace("/tours", "/cruises"))
        .unwrap();
    std::fs::write(&bad, "saga: Bad Name\nsteps: {}\n").unwrap();
    let published =
        amends(&server.url, &["def", "publish", bad.to_str().unwrap(), good.to_str().unwrap()]).await;
    assert_eq!(code(&published), 1);
    assert!(out(&published).starts_with("cruise "), "the good one is published: {}", out(&published));
    assert!(err(&published).contains("bad.yaml"), "{}", err(&published));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_exit_codes_and_say_what_to_do() {
    let server = Server::start().await;
    let unknown = amends(&server.url, &["saga", "show", "01a1fddc-ac14-74a1-8a00-10fb14d90753"]).await;
    assert_eq!(code(&unknown), 3, "{}", err(&unknown));
    let invalid = amends(&server.url, &["saga", "start", "tour", "--input", r#"{"id":"x"}"#]).await;
    assert_eq!(code(&invalid), 1);
    assert!(err(&invalid).contains("/id: ") && err(&invalid).contains("the body: "), "{}", err(&invalid));
    let json = amends(&server.url, &["--json", "saga", "start", "tour", "--input", r#"{"id":"x"}"#]).await;
    let told: Value = serde_json::from_str(&err(&json)).unwrap();
    assert_eq!((&told["exit"], told["problem"]["errors"].as_array().unwrap().len()), (&Value::from(1), 2));
    assert_eq!(code(&amends(&server.url, &["saga", "show", "nonsense"]).await), 2);
    assert_eq!(code(&amends(&server.url, &["saga", "start", "tour", "--input", "/no/such/file"]).await), 2);
    let url = server.url.clone();
    server.stop().await;
    let gone = amends(&url, &["saga", "list"]).await;
    assert_eq!(code(&gone), 5);
    assert!(err(&gone).contains("amends serve") && err(&gone).contains("AMENDS_URL"), "{}", err(&gone));
}

#[tokio::test]
async fn servers_refuse_what_would_be_unsafe_or_useless() {
    let database = ["--database-url", "postgres://nobody@127.0.0.1:1/none"];
    let open = amends("-", &[&["serve", "--listen", "0.0.0.0:0"][..], &database].concat()).await;
    assert_eq!(code(&open), 1);
    assert!(err(&open).contains("--auth-issuer"), "{}", err(&open));
    let alone = amends(
        "-",
        &["worker", "order", "--bus", "in-process", "--database-url", "x", "--listen", "127.0.0.1:0"],
    )
    .await;
    assert_ne!(code(&alone), 0);
    let nothing = amends("-", &["db", "migrate"]).await;
    assert_eq!(code(&nothing), 2);
    assert!(err(&nothing).contains("AMENDS_DATABASE_URL"), "{}", err(&nothing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_shown_drawn_and_compared() {
    let server = Server::start().await;
    server.tour("tour-1", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tour.yaml");
    let file = file.to_str().unwrap();
    std::fs::write(file, server::TOUR.replace("saga: tour", "saga: tour\ndeadline: 1h")).unwrap();
    let compared = amends(&server.url, &["def", "diff", file]).await;
    assert_eq!(code(&compared), 0, "{}", err(&compared));
    let text = out(&compared);
    assert!(text.starts_with("tour@") && text.contains(" (1 open saga) → "), "{text}");
    assert!(text.lines().skip(1).eq(["  + deadline: 1h"]), "{text}");
    let drawn = amends(&server.url, &["def", "diff", file, "tour", "--format", "svg"]).await;
    assert!(out(&drawn).starts_with("<svg "), "{}", err(&drawn));
    assert_eq!(code(&amends(&server.url, &["def", "publish", file]).await), 0);
    let same = amends(&server.url, &["def", "diff", file]).await;
    assert!(out(&same).contains("no difference"), "{}", out(&same));
    let shown = amends(&server.url, &["def", "show", "tour"]).await;
    let versions: Vec<String> = out(&shown).lines().skip(2).map(str::to_owned).collect();
    let [.., new, old] = &versions[..] else { panic!("{versions:?}") };
    assert!(new.starts_with("● ") && new.ends_with("no open sagas  proved"), "{new}");
    assert!(old.contains("  1 open saga  "), "{old}");
    let old = format!("tour@{}", old.split_whitespace().next().unwrap());
    let source = amends(&server.url, &["def", "show", &old, "--source"]).await;
    assert_eq!(out(&source).trim(), server::TOUR.trim());
    let graph = amends(&server.url, &["def", "graph", &old]).await;
    assert!(
        out(&graph).starts_with("flowchart LR\n") && out(&graph).contains("travel.book_car"),
        "{}",
        out(&graph)
    );
    assert_eq!(code(&amends(&server.url, &["def", "show", "tour@ffffffffffff"]).await), 3);
    assert_eq!(code(&amends(&server.url, &["def", "diff", "tour"]).await), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_new_definition_is_spelled_well_proved_and_tested() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (defs, scenarios) = (path("defs"), path("sagas"));
    let new = ["def", "new", "order-gift", "--defs", &defs, "--scenarios", &scenarios];
    let made = amends("-", &new).await;
    assert_eq!(code(&made), 2, "an address that is none is wrong usage: {}", err(&made));
    let url = "http://127.0.0.1:1";
    let made = amends(url, &new).await;
    assert_eq!(code(&made), 0, "{}", err(&made));
    assert_eq!(code(&amends(url, &new).await), 2, "nothing is overwritten");
    let file = format!("{defs}/order-gift.yaml");
    let checked = amends(url, &["check", &file]).await;
    assert_eq!(code(&checked), 0, "{}", out(&checked));
    let tested = amends(url, &["test", &format!("{scenarios}/order-gift.yaml"), "--defs", &defs]).await;
    assert_eq!(code(&tested), 0, "{}", out(&tested));
    assert!(out(&tested).contains("4 passed"), "{}", out(&tested));
    assert_eq!(code(&amends(url, &["def", "fmt", "--check", &file]).await), 0);
    let untidy = std::fs::read_to_string(&file).unwrap().replace("deadline: 10m\n", "deadline: 10m   \n\n\n");
    std::fs::write(&file, &untidy).unwrap();
    let told = amends(url, &["def", "fmt", "--check", &file]).await;
    assert_eq!((code(&told), out(&told).trim()), (1, file.as_str()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), untidy, "--check writes nothing");
    assert_eq!(code(&amends(url, &["def", "fmt", &file]).await), 0);
    assert_eq!(code(&amends(url, &["def", "fmt", "--check", &file]).await), 0);
    // A child saga is found beside its parent; one that nobody knows proves nothing, and a circle is none.
    let step = "{ worker: w, action: a, compensation: u }";
    let write = |name: &str, text: &str| std::fs::write(format!("{defs}/{name}.yaml"), text).unwrap();
    write("trip", &format!("saga: trip\nsteps:\n  a: {step}\n  b: {{ after: [a], saga: stay }}\n"));
    let trip = format!("{defs}/trip.yaml");
    let unknown = amends(url, &["check", &trip]).await;
    assert_eq!(code(&unknown), 3, "{}", out(&unknown));
    assert!(out(&unknown).contains("nothing is known of its child saga `stay`"), "{}", out(&unknown));
    write("stay", &format!("saga: stay\nsteps:\n  a: {step}\n"));
    assert_eq!(code(&amends(url, &["check", &trip]).await), 0);
    write("stay", "saga: stay\nsteps:\n  a: { saga: trip }\n");
    let circle = amends(url, &["check", &trip]).await;
    assert_eq!(code(&circle), 1, "{}", out(&circle));
    assert!(out(&circle).contains("a child saga of itself"), "{}", out(&circle));
    let bad = amends(url, &["def", "new", "Bad Name", "--defs", &defs, "--scenarios", &scenarios]).await;
    assert_eq!(code(&bad), 2);
    let schema = amends(url, &["def", "schema"]).await;
    let schema: Value = serde_json::from_str(&out(&schema)).unwrap();
    assert_eq!(schema["title"], "Amends saga definition");
}

/// Looks at one saga and at all, holds, and lets a job replay. Returns a saga that went back.
async fn looks_around(night: &mut Night<'_>) -> String {
    let input = tour("tour-1").to_string();
    let id = out(&amends(&night.server.url, &["saga", "start", "tour", "--input", &input]).await)
        .trim()
        .to_owned();
    let _ = amends(&night.server.url, &["saga", "watch", &id]).await;
    night.run("saga list", &id).await;
    night.run(&format!("saga show {id}"), "compensated").await;
    night.run(&format!("saga can {id}"), "not now").await;
    night.run(&format!("saga note {id} 'seen 확인'"), "noted").await;
    night.run(&format!("saga owner {id} minji --why 'on call'"), "minji looks after it").await;
    night.run(&format!("saga replay {id}"), "runs again").await;
    night.run(&format!("saga erase {id} --why asked"), "are erased").await;
    for (line, holds) in [
        ("ops overview", "at risk"),
        ("ops parked", "nothing needs a human"),
        ("ops failures", "no_money"),
        ("ops count status=compensated", "1"),
        ("ops workers", "worker"),
        ("ops anomalies", "no anomalies"),
        ("ops dead-letters", "no dead letters"),
        ("ops save-filter night 'status=compensated'", "saga list --saved night"),
        ("ops filters", "night"),
        ("saga list --saved night", "tour-1"),
        ("ops drop-filter night", "dropped"),
        ("ops retention", "week of history"),
        ("ops retention tour --days 90 --why policy", "90 days"),
        ("ops holds", "nothing is held"),
        ("ops hold --definition tour --why incident", "release it"),
        ("ops approvals", "nothing waits"),
        ("ops labels", "no labels"),
        ("ops job preview replay --filter status=compensated", "would be acted on"),
        ("ops job make replay --filter status=compensated --why fixed --acknowledge", "job"),
        ("ops job list", "fixed"),
        ("ops audit", "saga.owner"),
        ("key list", "no keys"),
        ("key whoami", "DEV MODE"),
        ("def list", "tour"),
        ("def show tour", "trigger"),
    ] {
        night.run_twice(line, holds).await;
    }
    for hold in night.json("ops holds").await["holds"].as_array().unwrap() {
        let id = hold["id"].as_str().unwrap();
        night.run(&format!("ops release {id} --why over"), "released").await;
    }
    let job = night.json("ops job list").await["jobs"][0]["id"].as_str().unwrap().to_owned();
    night.run(&format!("ops job show {job}"), "fixed").await;
    night.run(&format!("ops job items {job}"), &id).await;
    night.run("ops audit --export", "\"saga.owner\"").await;
    let failure = night.json("ops failures").await["failures"][0]["id"].as_str().unwrap().to_owned();
    night.run(&format!("ops failures {failure}"), "no_money").await;
    let input = tour("tour-2").to_string();
    let other = out(&amends(&night.server.url, &["saga", "start", "tour", "--input", &input]).await);
    let other = other.trim();
    let _ = amends(&night.server.url, &["saga", "watch", other]).await;
    night.run(&format!("saga replay {other} --why 'the bank works again' --acknowledge"), "saga").await;
    id
}

/// A job and single deeds that need two people, and the keys of those.
async fn asks_a_second_person(night: &mut Night<'_>) {
    night.run("key make kim --role operator --why 'a test'", "amk_").await;
    let kim =
        night.json("key make lee --role operator --why a-test").await["key"].as_str().unwrap().to_owned();
    let mut sagas = Vec::new();
    for _ in 0..4 {
        let saga = night.server.post("/bigs", &[], &json!({ "amount": 1_000 })).await.saga();
        night.server.until(saga, "parked").await;
        sagas.push(saga.to_string());
    }
    for (saga, verb, holds) in [(&sagas[0], "approve", "applied"), (&sagas[1], "reject", "rejected")] {
        let revision = night.json(&format!("saga show {saga}")).await["saga"]["revision"].clone();
        let skip = json!({ "action": "skip", "step": "pay", "output": { "receipt": "by-hand" }, "why": "paid", "revision": revision });
        let asked = night.post(&format!("/sagas/{saga}/actions"), &kim, skip).await;
        let approval = asked["approval"].as_str().unwrap();
        // Who approves sees what.
        let list = night.run("ops approvals", approval).await;
        assert!(list.contains("skip pay") && list.contains("by-hand"), "{list}");
        night.run(&format!("ops {verb} {approval} --why looked"), holds).await;
    }
    let undo = |saga: &String| json!({ "kind": "action", "action": "compensate", "sagas": [saga], "why": "the shop closes" });
    let first = night.post("/ops/jobs", &kim, undo(&sagas[2])).await["id"].as_str().unwrap().to_owned();
    night.run(&format!("ops job pause {first} --why wait"), "paused").await;
    night.run(&format!("ops job resume {first} --why go"), "job").await;
    let waiting = format!("/ops/jobs/{first}");
    until_some("it waits for its approval", 30_000, async || {
        (night.server.get(&waiting).await.body["counts"]["awaiting_approval"] == 1).then_some(())
    })
    .await;
    night.run(&format!("ops job approve {first} --why looked"), "approved").await;
    night.server.until(sagas[2].parse().unwrap(), "compensated").await;
    let second = night.post("/ops/jobs", &kim, undo(&sagas[3])).await["id"].as_str().unwrap().to_owned();
    night.run(&format!("ops job cancel {second} --why enough"), "cancelled").await;
    let key = night.json("key list").await["keys"][0]["id"].as_str().unwrap().to_owned();
    night.run(&format!("key revoke {key} --why over"), "revoked").await;
}

/// Two canaries: one becomes the current version, the other does not; and what a candidate would have made of the past.
async fn publishes(night: &mut Night<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.yaml");
    let path = file.to_str().unwrap().to_owned();
    for verb in ["promote", "withdraw"] {
        std::fs::write(&file, format!("{BIG}description: to {verb}\n")).unwrap();
        night.run(&format!("def publish {path} --canary 10%"), "10").await;
        let version = night.json("def show big").await["canary"]["version"].as_str().unwrap().to_owned();
        night.run(&format!("def {verb} big {version} --why looked"), "takes all starts").await;
    }
    night.run(&format!("ops what-if {path} --filter definition=big"), "saga").await;
}

/// Commands as in a night with an incident; which ones there were.
struct Night<'a> {
    server: &'a Server,
    ran: Vec<Vec<String>>,
}

impl Night<'_> {
    /// Runs a line, in which quotes hold words together: it succeeds, and its text holds this.
    async fn run(&mut self, line: &str, holds: &str) -> String {
        self.exits(0, line, holds).await
    }

    /// The same, with another exit code.
    async fn exits(&mut self, with: i32, line: &str, holds: &str) -> String {
        let mut args: Vec<String> = Vec::new();
        for (at, part) in line.split('\'').enumerate() {
            if at % 2 == 0 {
                args.extend(part.split_whitespace().map(str::to_owned))
            } else {
                args.push(part.into())
            }
        }
        self.ran.push(args.clone());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = amends(&self.server.url, &args).await;
        assert_eq!(code(&output), with, "{line}: {}{}", out(&output), err(&output));
        assert!(out(&output).contains(holds), "{line}: {}", out(&output));
        out(&output)
    }

    /// The same, and once more for a program: asked a second time, some change nothing more; none is misunderstood.
    async fn run_twice(&mut self, line: &str, holds: &str) {
        self.run(line, holds).await;
        let args = self.ran.last().unwrap().clone();
        let args: Vec<&str> = args.iter().map(String::as_str).chain(["--json"]).collect();
        let json = amends(&self.server.url, &args).await;
        let told = if json.status.success() { json.stdout } else { json.stderr };
        assert!(
            serde_json::from_slice::<Value>(&told).is_ok(),
            "{line} --json: {}",
            String::from_utf8_lossy(&told)
        );
    }

    /// What a line says to a program.
    async fn json(&self, line: &str) -> Value {
        let args: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
        serde_json::from_str(&out(&amends(&self.server.url, &args).await)).unwrap()
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> Value {
        let answer = self.server.post(path, &[("authorization", &format!("Bearer {key}"))], &body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
        answer.body
    }
}

/// Books with one order that is completed and was never paid.
async fn books() -> (Reconciler, [FreshDatabase; 2], CancellationToken) {
    let (orders, stock) = (fresh_database().await, fresh_database().await);
    worker_stock::migrate(&stock.pool(2).await).await.unwrap();
    let pool = orders.pool(2).await;
    worker_order::migrate(&pool).await.unwrap();
    for sql in [
        "insert into amends_order.orders (order_id, saga, customer_id, amount, currency, status, created_at)
         values ('unpaid', gen_random_uuid(), 'kim', 10000, 'KRW', 'created', now() - interval '1 hour')",
        "update amends_order.orders set status = 'completed', completed_at = now() - interval '30 minutes'",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let sandbox = Sandbox::open(SandboxConfig::default()).unwrap();
    tokio::spawn(async move { sandbox.serve(listener, stopped).await.unwrap() });
    let toss = toss::Config::new(url, toss::SecretKey::new(DEFAULT_SECRET_KEY));
    let sources = Sources { order_url: orders.url.clone(), stock_url: stock.url.clone(), toss };
    (Reconciler::new(sources, Some(0)), [orders, stock], stop)
}

const BIG: &str = "saga: big
trigger: { http: { method: POST, path: /bigs } }
amount: ${input.amount}
currency: KRW
approval: { actions: [skip, compensate], above: 500 }
input: { type: object, required: [amount], properties: { amount: { type: integer } } }
steps:
  pay: { worker: travel, action: pay, compensation: none, on_rejected: park }
";

/// What asks and steers, one command after the other as in a night with an incident; each of them is understood by the
/// server, and the server by each of them. No operation's command is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operators_command_prints_what_can_be_acted_on() {
    let (reconciler, _databases, stop) = books().await;
    let config = ApiConfig { reconciler: Some(reconciler), ..ApiConfig::default() };
    let server = Server::with(config).await;
    server.publish(BIG).await;
    server
        .travel(|command| {
            Some(if command.action == "pay" { rejected(command, "no_money") } else { succeeded(command) })
        })
        .await;
    let mut night = Night { server: &server, ran: Vec::new() };
    let id = looks_around(&mut night).await;
    asks_a_second_person(&mut night).await;
    publishes(&mut night).await;
    // 4: there are findings.
    night.exits(4, "reconcile", "unpaid").await;
    night.exits(4, "reconcile --last", "unpaid").await;
    night
        .run("ops settle-finding completed_but_unpaid unpaid --why 'paid in cash'", "0 findings are open")
        .await;
    for sql in [
        "insert into anomaly (saga_id, effect_key, kind, at_ms) select id, 'pay/-/execute/1', 'test', 0 from saga limit 1",
        "insert into dead_letter (at, source, reason, headers, data) values (now(), 'somewhere', 'not understood', '{}', 'x')",
    ] {
        sqlx::query(sql).execute(&server.stage.pool).await.unwrap();
    }
    let anomaly = night.json("ops anomalies").await["anomalies"][0]["saga"].as_str().unwrap().to_owned();
    night.run(&format!("ops resolve {anomaly} pay/-/execute/1 test --why looked"), "settled").await;
    let letter = night.json("ops dead-letters").await["dead_letters"][0]["id"].to_string();
    night.run(&format!("ops dead-letters {letter}"), "not understood").await;
    night.run(&format!("ops discard {letter} --why rubbish"), "is discarded").await;
    let sent = "insert into dead_letter (at, source, reason, headers, data) values (now(), 'elsewhere', 'not now', $1, 'x')";
    let headers =
        json!({ "amends_dead_topic": server.stage.topics.inbox().as_str(), "amends_dead_partition": "0" });
    sqlx::query(sent).bind(headers.to_string()).execute(&server.stage.pool).await.unwrap();
    let letter = night.json("ops dead-letters").await["dead_letters"][0]["id"].to_string();
    night.run(&format!("ops resend {letter} --why 'it is understood now'"), "is sent again").await;

    let late = amends(&server.url, &["saga", "signal", &id, "go", "--why", "it went"]).await;
    assert_eq!(code(&late), 6, "{}", out(&late));
    assert!(out(&late).contains("nothing in the definition waits for this signal"), "{}", out(&late));
    let blind = amends(&server.url, &["saga", "act", &id, "retry", "--why", "x"]).await;
    assert_eq!(code(&blind), 2);
    assert!(err(&blind).contains("amends saga can"), "{}", err(&blind));
    // Starts and deeds on one saga have tests of their own; what needs no server has, too.
    let elsewhere = ["saga signal", "saga act", "saga start", "saga watch", "check", "test", "simulate"];
    let table = include_str!("../../docs/cli.md");
    for row in table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |")?.split_once("` | `amends "))
    {
        let words: Vec<&str> =
            row.1.split(' ').filter(|word| !word.chars().all(|c| c.is_ascii_uppercase())).collect();
        let has = |args: &Vec<String>| words.iter().all(|word| args.iter().any(|arg| arg == word));
        assert!(
            elsewhere.contains(&row.1) || night.ran.iter().any(has),
            "{}: `amends {}` was not run",
            row.0,
            row.1
        );
    }
    server.stop().await;
    stop.cancel();
}
