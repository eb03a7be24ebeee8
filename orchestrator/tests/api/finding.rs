//! Finding sagas, and what needs people: through the projection, on a real Postgres.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use saga_protocol::{Command, Outcome, Reply, SagaId};
use serde_json::{Value, json};
use test_support::{eventually, until_some};

use crate::acting::PURCHASE;
use crate::server::Server;
use crate::support::{rejected, succeeded};

/// With money in it, and a name that is nobody's business.
const CRUISE: &str = r#"
saga: cruise
description: Books a cabin, then pays.
owner: sea
runbook: docs/runbooks/cruise.md
trigger: { http: { method: POST, path: /cruises } }
key: ${input.id}
amount: ${input.amount}
currency: KRW
labels: { sea: "${input.sea}", class: "${input.class}", channel: web }
input:
  type: object
  required: [id, amount, name]
  properties: { id: { type: string }, amount: { type: integer }, name: { type: string, personal: true } }
steps:
  cabin: { worker: travel, action: book_cabin, compensation: cancel_cabin, input: { name: "${input.name}" } }
  pay:
    after: [cabin]
    worker: travel
    action: pay
    compensation: refund
    input: { id: "${input.id}" }
    on_rejected: park
    on_exhausted: park
    retry: { attempts: 100, initial: 10m, max: 20m }
  done: { after: [pay], pivot: true, worker: travel, action: finish, input: { id: "${input.id}" } }
"#;

async fn cruise(server: &Server, id: &str, amount: i64) -> SagaId {
    let input = json!({ "id": id, "amount": amount, "name": "Kim Minsu" });
    server.post("/cruises", &[], &input).await.saga()
}

/// Pays by the saga's id: `no…` is rejected, `slow…` asked to try again, everything else succeeds.
fn travel(command: &Command) -> Option<Reply> {
    let id: Value = serde_json::from_str(command.input.get()).unwrap();
    let id = id["id"].as_str().unwrap_or_default();
    if command.action == "book_cabin" {
        let mut reply = Reply::to(command, Outcome::Succeeded);
        let output = json!({ "number": "A1", "for": "Kim Minsu" });
        reply.output = Some(serde_json::value::to_raw_value(&output).unwrap());
        return Some(reply);
    }
    if command.action == "pay" && id.starts_with("no") {
        let mut reply = rejected(command, "card_refused");
        if let Some(error) = &mut reply.error {
            error.message = format!("order {id}-4711 was refused after {} ms", id.len() * 17);
        }
        return Some(reply);
    }
    if command.action == "pay" && id.starts_with("slow") {
        let mut reply = rejected(command, "provider_busy");
        reply.outcome = Outcome::Retryable;
        return Some(reply);
    }
    Some(succeeded(command))
}

async fn labelled(server: &Server, id: &str, sea: &str, class: &Value) -> SagaId {
    let input = json!({ "id": id, "amount": 1_000, "name": "Kim Minsu", "sea": sea, "class": class });
    server.post("/cruises", &[], &input).await.saga()
}

async fn found(server: &Server, query: &str) -> Vec<String> {
    let page = server.get(&format!("/sagas?{query}")).await;
    assert_eq!(page.status, 200, "{query}: {}", page.body);
    let text = |it: &Value| it["saga"].as_str().unwrap().to_owned();
    page.body["sagas"].as_array().unwrap().iter().map(text).collect()
}

async fn finds(server: &Server, query: &str, wanted: &[SagaId]) {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    eventually(&format!("`{query}` finds {wanted:?}"), 20_000, async || found(server, query).await == wanted)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_are_found_by_where_they_stand_and_what_went_wrong() {
    let server = Server::start().await;
    server.publish(CRUISE).await;
    server.travel(travel).await;
    let first = cruise(&server, "no-1", 39_000).await;
    let second = cruise(&server, "no-2", 81_000).await;
    let slow = cruise(&server, "slow-1", 5_000).await;
    let good = cruise(&server, "good-1", 1_000).await;
    server.until(first, "parked").await;
    server.until(second, "parked").await;
    server.until(good, "completed").await;

    finds(&server, "health=parked", &[second, first]).await;
    finds(&server, "health=retrying", &[slow]).await;
    finds(&server, "step=pay&status=parked", &[second, first]).await;
    finds(&server, "error_code=provider_busy", &[slow]).await;
    finds(&server, "worker=travel&status=running", &[slow]).await;
    // The beginning of two keys, and all that the third's error says.
    finds(&server, "text=no-", &[slow, second, first]).await;
    finds(&server, "text=slow-", &[slow]).await;
    finds(&server, "text=refused+after", &[second, first]).await;
    // The last word may be unfinished; what joins words parts them; case does not matter.
    finds(&server, "text=Order+4711+was+refu", &[second, first]).await;
    finds(&server, "text=card_ref&status=parked&step=pay", &[second, first]).await;
    finds(&server, "text=refused&status=running", &[]).await;
    finds(&server, "text=nowhere+refused", &[]).await;
    finds(&server, "text=%27%26%7C%21%3A*%28", &[]).await;
    finds(&server, &format!("text={good}"), &[good]).await;
    finds(&server, "key=good-1", &[good]).await;
    finds(&server, "key=good", &[]).await;
    finds(&server, "definition=cruise&status=completed", &[good]).await;
    finds(&server, "definition=cruise", &[good, slow, second, first]).await;
    finds(&server, "definition=tour", &[]).await;
    finds(&server, "older_than_s=3600", &[]).await;
    finds(
        &server,
        "started_after=2020-01-01T00:00:00Z&started_before=2100-01-01T00:00:00Z",
        &[good, slow, second, first],
    )
    .await;
    let version = server.get("/definitions/cruise").await.body["version"].as_str().unwrap()[..8].to_owned();
    finds(&server, &format!("version={version}&health=parked"), &[second, first]).await;
    let bad =
        ["health=well", "version=xyz", "text=a", "colour=red", "definition=%00", "text=no%00pe", "key=%00"];
    for bad in bad {
        server.get(&format!("/sagas?{bad}")).await.is_problem(400, "bad-request");
    }

    let list = server.get("/sagas?health=retrying").await.body;
    let row = &list["sagas"][0];
    assert_eq!(
        (&row["step"], &row["direction"], &row["worker"]),
        (&json!("pay"), &json!("execute"), &json!("travel"))
    );
    assert_eq!((&row["error"]["code"], &row["attempts_max"]), (&json!("provider_busy"), &json!(100)));
    assert!(row["next_at"].is_string() && row["since"].is_string() && list["lag_ms"].is_number(), "{row}");

    let counts = server.get("/ops/counts?definition=cruise").await.body;
    assert_eq!((&counts["total"]["count"], &counts["by_status"]["parked"]["count"]), (&json!(4), &json!(2)));
    assert_eq!(
        (&counts["by_health"]["parked"], &counts["by_health"]["retrying"]),
        (&json!(2), &json!(1)),
        "{counts}"
    );
    // What is counted from sums is the same whether or not they were added up.
    let by_place = async || {
        let mut all = Vec::new();
        for filter in [
            "",
            "step=pay",
            "step=pay&worker=travel&error_code=card_refused",
            "health=retrying",
            "step=nowhere",
        ] {
            let counts = server.get(&format!("/ops/counts?{filter}")).await.body;
            all.push(json!([
                counts["total"]["count"],
                counts["by_status"]["parked"]["count"],
                counts["by_health"]
            ]));
        }
        all
    };
    let before = by_place().await;
    let health = |parked: i64, retrying: i64| json!({ "on_time": 0, "late": 0, "queued": 0, "waiting": 0, "retrying": retrying, "parked": parked });
    let wanted = [(4, 2, 2, 1), (3, 2, 2, 1), (2, 2, 2, 0), (1, 0, 0, 1), (0, 0, 0, 0)];
    let wanted: Vec<Value> = wanted
        .into_iter()
        .map(|(total, parked, at, retrying)| json!([total, parked, health(at, retrying)]))
        .collect();
    assert_eq!(before, wanted);
    server.node.engine.store.sum_standing(0).await.unwrap();
    assert!(server.stage.count("select count(*) from standing").await > 0);
    assert_eq!(by_place().await, before);
    server.stage.standing_is_true().await;

    // The parked queue: the worst first.
    let queue = server.get("/ops/parked").await.body;
    let parked = queue["parked"].as_array().unwrap();
    assert_eq!(parked.iter().map(|it| it["amount"].as_i64().unwrap()).collect::<Vec<_>>(), [81_000, 39_000]);
    assert_eq!(queue["at_risk"], json!([{ "currency": "KRW", "amount": 120_000, "sagas": 2 }]));
    let it = &parked[0];
    assert_eq!(
        (&it["why"], &it["step"], &it["suggested"]),
        (&json!("rejected"), &json!("pay"), &json!("retry"))
    );
    assert_eq!((&it["team"], &it["runbook"]), (&json!("sea"), &json!("docs/runbooks/cruise.md")));
    let page = server.get("/ops/parked?sort=age&limit=1").await.body;
    let oldest = page["parked"][0].clone();
    for sort in ["age", "-age", "amount"] {
        // Page by page, everybody comes once.
        let first = server.get(&format!("/ops/parked?sort={sort}&limit=1")).await.body;
        let next = first["next"].as_str().unwrap();
        let last = server.get(&format!("/ops/parked?sort={sort}&limit=1&after={next}")).await.body;
        assert_eq!((last["parked"].as_array().unwrap().len(), &last["next"]), (1, &Value::Null), "{last}");
        assert_ne!(first["parked"][0]["saga"], last["parked"][0]["saga"]);
    }
    for bad in ["1", "x~1~1~", "1~1~nothing~"] {
        server.get(&format!("/ops/parked?after={bad}")).await.is_problem(400, "bad-request");
    }
    let next = page["next"].as_str().unwrap();
    let page = server.get(&format!("/ops/parked?sort=age&limit=1&after={next}")).await.body;
    // Which of the two parked first is up to who answered first.
    let youngest = &page["parked"][0];
    let mut both = [oldest["saga"].as_str().unwrap(), youngest["saga"].as_str().unwrap()];
    both.sort_unstable();
    assert_eq!(both, [first.to_string(), second.to_string()]);
    assert!(oldest["since"].as_str().unwrap() <= youngest["since"].as_str().unwrap(), "{oldest} {youngest}");

    // One group, though the messages differ in numbers.
    let groups = server.get("/ops/failures?definition=cruise").await.body;
    let groups = groups["failures"].as_array().unwrap();
    let group = groups.iter().find(|it| it["code"] == "card_refused").unwrap();
    assert_eq!(
        (&group["count"], &group["now"]["parked"], groups.len()),
        (&json!(2), &json!(2), 2),
        "{groups:?}"
    );
    assert_eq!(group["trend"].as_array().unwrap().iter().map(|it| it.as_i64().unwrap()).sum::<i64>(), 2);
    let id = group["id"].as_str().unwrap();
    finds(&server, &format!("failure={id}"), &[second, first]).await;
    // A refused card is no outage.
    assert_eq!(group["kind"], "rejected");
    for (refused, kind) in [("true", "rejected"), ("false", "retryable")] {
        let page = server.get(&format!("/ops/failures?definition=cruise&refused={refused}")).await.body;
        let kinds: Vec<&Value> = page["failures"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
        assert_eq!(kinds, [&json!(kind)], "{page}");
    }
    let overview = server.get("/ops/overview").await.body;
    assert_eq!(
        overview["failures"].as_array().unwrap().last().unwrap()["id"],
        json!(id),
        "after what is trouble"
    );
    assert_eq!(server.get(&format!("/ops/failures/{id}")).await.body["id"], json!(id));
    server.get("/ops/failures/nothing").await.is_problem(404, "not-found");

    let overview = until_some("the minute is counted", 20_000, async || {
        let body = server.get("/ops/overview").await.body;
        let minutes = body["minutes"].as_array().unwrap();
        let sum = |what: &str| minutes.iter().map(|it| it[what].as_i64().unwrap()).sum::<i64>();
        (sum("started") == 4 && sum("completed") == 1 && sum("parked") == 2).then(|| body.clone())
    })
    .await;
    // A minute in which nothing happened is one, too: a chart that left it out would show the last good one for ever.
    let at: Vec<i64> = overview["minutes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| chrono::DateTime::parse_from_rfc3339(it["at"].as_str().unwrap()).unwrap().timestamp())
        .collect();
    assert_eq!(at.len(), 60, "{overview}");
    assert!(at.windows(2).all(|it| it[1] - it[0] == 60), "{at:?}");
    assert_eq!(
        (&overview["now"]["parked"], &overview["now"]["retrying"]),
        (&json!(2), &json!(1)),
        "{overview}"
    );
    assert!(overview["to_end"]["p50_ms"].as_i64().is_some_and(|ms| ms > 0), "{overview}");
    let pile = &overview["in_flight"][0];
    assert_eq!(
        (&pile["definition"], &pile["step"], &pile["count"]),
        (&json!("cruise"), &json!("pay"), &json!(3))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_that_missed_everything_is_made_good() {
    let server = Server::start().await;
    server.publish(CRUISE).await;
    server.travel(travel).await;
    let parked = cruise(&server, "no-1", 39_000).await;
    let slow = cruise(&server, "slow-1", 5_000).await;
    server.until(parked, "parked").await;
    finds(&server, "step=pay", &[slow, parked]).await;
    // As if the process had died before it wrote its rows.
    sqlx::query("delete from projection").execute(&server.stage.pool).await.unwrap();
    finds(&server, "step=pay", &[slow, parked]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_are_found_by_their_labels() {
    let server = Server::start().await;
    server.publish(CRUISE).await;
    server.travel(travel).await;
    let tour = server.tour("tour-1", &[]).await.saga();
    let east = labelled(&server, "no-1", "east: 동해", &json!(1)).await;
    let west = labelled(&server, "good-1", "west", &json!(true)).await;
    let both = labelled(&server, "no-2", "west", &json!(["no", "label"])).await;
    server.until(east, "parked").await;
    server.until(both, "parked").await;
    server.until(west, "completed").await;
    finds(&server, "health=parked", &[both, east]).await;
    finds(&server, "label=channel:web", &[both, west, east]).await;
    finds(&server, "label=sea:west", &[both, west]).await;
    finds(&server, "label=sea:east%3A+%EB%8F%99%ED%95%B4", &[east]).await;
    finds(&server, "label=class:true", &[west]).await;
    finds(&server, "label=sea:wes", &[]).await;
    // With whatever else is asked for.
    finds(&server, "label=sea:west&status=parked", &[both]).await;
    finds(&server, "label=channel:web&health=parked&step=pay", &[both, east]).await;
    finds(&server, "label=sea:west&definition=tour", &[]).await;
    finds(&server, "label=sea:west&text=refused", &[both]).await;
    finds(&server, "label=sea:west&key=good-1", &[west]).await;
    finds(&server, &format!("label=channel:web&after={west}"), &[east]).await;
    let counts = server.get("/ops/counts?label=channel:web").await.body;
    assert_eq!(
        (&counts["total"]["count"], &counts["by_health"]["parked"]),
        (&json!(3), &json!(2)),
        "{counts}"
    );
    let job = json!({ "kind": "action", "action": "retry", "filter": "label=sea:west&status=parked", "why": "calm again" });
    let preview = server.post("/ops/jobs/preview", &[], &job).await.body;
    assert_eq!(preview["sagas"], json!(1), "{preview}");
    let page = server.get(&format!("/sagas/{east}")).await.body;
    assert_eq!(page["labels"], json!({ "sea": "east: 동해", "class": "1", "channel": "web" }));
    assert_eq!(
        server.get(&format!("/sagas/{both}")).await.body["labels"],
        json!({ "sea": "west", "channel": "web" })
    );
    assert_eq!(server.get(&format!("/sagas/{tour}")).await.body.get("labels"), None);
    for bad in ["west", ":west", "sea:", ""] {
        server.get(&format!("/sagas?label={bad}")).await.is_problem(400, "bad-request");
    }
    let known = async |begin: &str| server.get(&format!("/ops/labels?{begin}")).await.body;
    assert_eq!(known("").await, json!({ "names": ["channel", "class", "sea"], "labels": [] }));
    assert_eq!(known("begin=c").await["names"], json!(["channel", "class"]));
    assert_eq!(known("begin=sea:").await, json!({ "names": [], "labels": ["sea:east: 동해", "sea:west"] }));
    assert_eq!(known("begin=sea:w").await["labels"], json!(["sea:west"]));
    assert_eq!(known("begin=cla&limit=1").await["names"], json!(["class"]));
    assert_eq!(known("begin=class:&limit=1").await["labels"], json!(["class:1"]));
    assert_eq!(known("begin=z").await, json!({ "names": [], "labels": [] }));
    // A label of very many is looked for among what else is asked for; one of few is not.
    let fill = "insert into saga_label (label, saga_id) select 'sea:west', gen_random_uuid() from generate_series(1, 20001)";
    sqlx::query(fill).execute(&server.stage.pool).await.unwrap();
    finds(&server, "label=sea:west&status=parked", &[both]).await;
    finds(&server, "label=sea:west&status=completed", &[west]).await;
    finds(&server, "label=sea:west&definition=cruise", &[both, west]).await;
    finds(&server, "label=sea:west&key=good-1", &[west]).await;
    finds(&server, "label=sea:west&text=refused", &[both]).await;
    finds(&server, "label=sea:west", &[both, west]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_have_undone_is_no_failure_and_a_group_says_since_when_it_fails() {
    let server = Server::start().await;
    server.publish(CRUISE).await;
    server.travel(travel).await;
    let undo = async |saga: SagaId, revision: &Value| {
        let action = json!({ "action": "compensate", "why": "the customer called", "revision": revision });
        let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &action).await;
        assert_eq!(acted.body["result"], "applied", "{}", acted.body);
        server.until(saga, "compensated").await;
    };
    let group = async |query: &str| {
        until_some("the group is there", 20_000, async || {
            let groups = server.get(&format!("/ops/failures?{query}")).await.body["failures"].clone();
            groups.as_array().unwrap().first().cloned()
        })
        .await
    };
    // Nothing had failed: it belongs to no group, and is found by why.
    let held = json!({ "kind": "action", "worker": "travel", "action": "pay", "why": "a look" });
    let held = server.post("/ops/holds", &[], &held).await.body;
    let wanted = cruise(&server, "good-1", 1_000).await;
    let page = until_some("the room is booked", 20_000, async || {
        let page = server.get(&format!("/sagas/{wanted}")).await.body;
        (page["steps"][0]["execute"]["state"] == "succeeded").then_some(page)
    })
    .await;
    undo(wanted, &page["revision"]).await;
    finds(&server, "error_code=operator", &[wanted]).await;
    let row = server.get("/sagas?error_code=operator").await.body["sagas"][0].clone();
    assert_eq!((&row["failure"], &row["error"]["code"]), (&Value::Null, &json!("operator")), "{row}");
    assert_eq!(server.get("/ops/failures?open=false").await.body["failures"], json!([]));
    let path = format!("/ops/holds/{}?why=enough", held["id"].as_str().unwrap());
    assert_eq!(server.request(Method::DELETE, &path, &[], "").await.status, 200);

    // What had failed and was given up stays with its failure, and is not counted again.
    let refused = cruise(&server, "no-1", 1_000).await;
    let page = server.until(refused, "parked").await;
    let parked = group("").await;
    undo(refused, &page["revision"]).await;
    finds(&server, &format!("failure={}&status=compensated", parked["id"].as_str().unwrap()), &[refused])
        .await;
    let after = group("open=false").await;
    assert_eq!(
        (&after["code"], &after["count"], &after["now"]["compensated"]),
        (&json!("card_refused"), &json!(1), &json!(1)),
        "{after}"
    );

    // It has failed since it was seen first, until it stops for an hour.
    assert_eq!(after["since"], after["first_seen"]);
    let age = async |minutes: i32| {
        let sql = "update failure set first_seen = first_seen - $1 * interval '1 minute',
            since = since - $1 * interval '1 minute', last_seen = last_seen - $1 * interval '1 minute'";
        sqlx::query(sql).bind(minutes).execute(&server.stage.pool).await.unwrap();
    };
    let again = async |id: &str, count: i64| {
        let saga = cruise(&server, id, 1_000).await;
        server.until(saga, "parked").await;
        until_some("it is counted", 20_000, async || {
            let now = group("open=false").await;
            (now["count"] == json!(count)).then_some(now)
        })
        .await
    };
    age(50).await;
    let before = group("open=false").await;
    let going_on = again("no-2", 2).await;
    assert_eq!((&going_on["since"], &going_on["first_seen"]), (&before["since"], &before["first_seen"]));
    age(120).await;
    let before = group("open=false").await;
    let anew = again("no-3", 3).await;
    assert_eq!(anew["first_seen"], before["first_seen"]);
    assert!(anew["since"].as_str() > before["last_seen"].as_str(), "{anew} {before}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_recovers_leaves_the_queue_and_is_counted_as_recovered() {
    let server = Server::start().await;
    server.publish(CRUISE).await;
    server.travel(travel).await;
    let saga = cruise(&server, "no-1", 39_000).await;
    let page = server.until(saga, "parked").await;
    finds(&server, "health=parked", &[saga]).await;
    let skip = json!({ "action": "skip", "step": "pay", "why": "paid by hand", "revision": page["revision"], "output": {} });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &skip).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    server.until(saga, "completed").await;
    finds(&server, "health=parked", &[]).await;
    let group = server.get("/ops/failures?open=false").await.body["failures"][0].clone();
    assert_eq!((&group["recovered"], &group["now"]["parked"]), (&json!(1), &json!(0)), "{group}");
    let audit = server.get(&format!("/ops/audit?target={saga}")).await.body;
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["what"], &entry["why"], &entry["who"]),
        (&json!("saga.skip"), &json!("paid by hand"), &json!("anonymous"))
    );
    assert_eq!(
        (&entry["before"]["status"], &entry["after"]["result"]),
        (&json!("parked"), &json!("applied"))
    );
    // How it stood before, and then.
    let moved = entry["after"]["revision"].as_i64().unwrap() - entry["before"]["revision"].as_i64().unwrap();
    assert_eq!((&entry["after"]["status"], moved), (&json!("running"), 1), "{entry}");
    let export = server.get("/ops/audit/export?what=saga.").await;
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_take_a_saga_at_once_one_has_it() {
    let server = Server::start().await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let path = format!("/sagas/{saga}/owner");
    let take = async |who: String| {
        let body = json!({ "owner": who, "was": "", "why": "mine" }).to_string();
        server
            .request(Method::PUT, &path, &[("content-type", "application/json")], body)
            .await
            .status
            .as_u16()
    };
    let mut all = futures::future::join_all((0..4).map(|it| take(format!("operator-{it}")))).await;
    all.sort_unstable();
    assert_eq!(all, [200, 409, 409, 409]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_sagas_age_counts_from_when_it_was_parked() {
    let server = Server::start().await;
    let source =
        "saga: patience\nsteps:\n  consent: { wait: { signal: consent, timeout: 2s }, on_exhausted: park }\n";
    server.publish(source).await;
    let saga = server.post("/sagas/patience", &[], &json!({})).await.saga();
    server.until(saga, "parked").await;
    finds(&server, "health=parked", &[saga]).await;
    // Nothing was said that went wrong: silence parked it, two seconds after its start.
    let late = "select count(*) from projection p join saga s on s.id = p.saga_id
        where p.status = 1 and p.since_ms >= extract(epoch from s.started_at) * 1000 + 1500";
    assert_eq!(server.stage.count(late).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_write_notes_take_sagas_over_and_save_filters() {
    let server = Server::start().await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let path = format!("/sagas/{saga}");
    let note = server.post(&format!("{path}/notes"), &[], &json!({ "text": "asked the hotel" })).await;
    assert_eq!((note.status.as_u16(), &note.body["text"]), (201, &json!("asked the hotel")));
    server
        .post(&format!("{path}/notes"), &[], &json!({ "text": " " }))
        .await
        .is_problem(422, "invalid-input");
    let put = async |path: &str, body: Value| {
        server.request(Method::PUT, path, &[("content-type", "application/json")], body.to_string()).await
    };
    let owner = put(&format!("{path}/owner"), json!({ "owner": "lee", "why": "my shift" })).await;
    assert_eq!(owner.body, json!({ "owner": "lee" }));
    let page = server.get(&path).await.body;
    assert_eq!((&page["owner"], &page["notes"][0]["text"]), (&json!("lee"), &json!("asked the hotel")));
    finds(&server, "owner=lee", &[saga]).await;
    finds(&server, "text=hotel", &[saga]).await;
    // Who took it for free is told that it is not, and so is who took it for somebody else's.
    for was in ["", "park"] {
        let late = put(&format!("{path}/owner"), json!({ "owner": "choi", "was": was, "why": "mine" })).await;
        assert!(
            late.body["detail"].as_str().is_some_and(|it| it.starts_with("lee looks after it")),
            "{}",
            late.body
        );
        late.is_problem(409, "conflict");
    }
    let over =
        put(&format!("{path}/owner"), json!({ "owner": "choi", "was": "lee", "why": "a new shift" })).await;
    assert_eq!(over.body, json!({ "owner": "choi" }));
    put(&format!("{path}/owner"), json!({ "owner": null, "why": "done" })).await;
    finds(&server, "owner=lee", &[]).await;

    let saved = put("/ops/filters/my%20parked", json!({ "query": "status=parked&owner=lee" })).await;
    assert_eq!(saved.body["filters"][0]["name"], "my parked", "{}", saved.body);
    put("/ops/filters/bad", json!({ "query": "status=well" })).await.is_problem(400, "bad-request");
    let gone = server.request(Method::DELETE, "/ops/filters/my%20parked", &[], "").await;
    assert_eq!(gone.body["filters"], json!([]));
    server.request(Method::DELETE, "/ops/filters/my%20parked", &[], "").await.is_problem(404, "not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_changes_arrive_resume_and_say_when_something_was_missed() {
    let server = Server::start().await;
    let stream = async |after: Option<&str>| {
        let request = server.http.get(format!("{}/ops/live", server.url));
        let request = if let Some(after) = after { request.header("last-event-id", after) } else { request };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer.bytes_stream()
    };
    let read =
        async |stream: &mut (dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + Send),
               until: &str| {
            let mut text = String::new();
            while !text.contains(until) {
                let chunk = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect(until);
                text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
            }
            text
        };
    let mut first = stream(None).await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let text = read(&mut first, &saga.to_string()).await;
    assert!(text.contains("event: saga") && text.contains(r#""status":"running""#), "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    let other = server.tour("tour-2", &[]).await.saga();
    drop(first);
    let mut again = stream(Some(&id)).await;
    let text = read(&mut again, &other.to_string()).await;
    assert!(!text.contains("event: reset") && !text.contains(&saga.to_string()), "only what is new: {text}");
    let mut lost = stream(Some("ffffffff-7")).await;
    assert!(read(&mut lost, "event: reset").await.contains("event: reset"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_shown_sent_again_or_discarded_once() {
    let server = Server::start().await;
    let mut travel = crate::support::Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let car = travel.expect("book_car").await;
    // An answer for a saga that is nowhere.
    let mut reply = succeeded(&car.0);
    reply.saga = "01a1fddc-ac14-74a1-8a00-10fb14d90753".parse().unwrap();
    travel.answer(&car, &reply).await;
    let letter = until_some("the letter is kept", 20_000, async || {
        server.get("/ops/dead-letters?state=kept").await.body["dead_letters"]
            .as_array()
            .unwrap()
            .first()
            .cloned()
    })
    .await;
    assert_eq!((&letter["saga"], &letter["resendable"]), (&json!(reply.saga), &json!(true)), "{letter}");
    // On the timeline of whose it is: one for the other saga, that has none.
    let lines = async |saga: SagaId, query: &str| {
        server.get(&format!("/sagas/{saga}/history{query}")).await.body["dead_letters"].clone()
    };
    assert_eq!(lines(saga, "").await, Value::Null);
    sqlx::query("update dead_letter set saga_id = $1")
        .bind(saga.0)
        .execute(&server.stage.pool)
        .await
        .unwrap();
    let line = lines(saga, "").await[0].clone();
    assert_eq!(
        (&line["id"], &line["reason"], &line["state"]),
        (&letter["id"], &letter["reason"], &json!("kept")),
        "{line}"
    );
    assert_eq!(lines(saga, "?after=1").await, Value::Null, "it stands on the page of its time");
    let path = format!("/ops/dead-letters/{}", letter["id"]);
    assert!(server.get(&path).await.body["data"].as_str().unwrap().contains("book_car-1"));
    let why = json!({ "why": "tried once more" });
    let sent = server.post(&format!("{path}/resend"), &[], &why).await;
    assert_eq!((sent.status.as_u16(), &sent.body["state"]), (200, &json!("sent")), "{}", sent.body);
    server.post(&format!("{path}/discard"), &[], &why).await.is_problem(409, "conflict");
    // It fits no saga still: a new letter, which is discarded.
    let again = until_some("a new letter is kept", 20_000, async || {
        server.get("/ops/dead-letters?state=kept").await.body["dead_letters"]
            .as_array()
            .unwrap()
            .first()
            .cloned()
    })
    .await;
    let discarded = server.post(&format!("/ops/dead-letters/{}/discard", again["id"]), &[], &why).await;
    assert_eq!(discarded.body["state"], "discarded");
    server.get("/ops/dead-letters/999999").await.is_problem(404, "not-found");
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["status"], "running");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_undoing_takes_is_learnt_from_what_was_undone() {
    let server = Server::start().await;
    server.publish(PURCHASE).await;
    server
        .travel(|command| match command.action.as_str() {
            "charge" => Some(rejected(command, "card_refused")),
            _ => Some(succeeded(command)),
        })
        .await;
    let input = json!({ "id": "p-1", "amount": 1_000, "payment_key": "bad" });
    let saga = server.post("/purchases", &[], &input).await.saga();
    server.until(saga, "compensated").await;
    // Nobody completed: what is learnt of undoing comes from this one.
    eventually("the time of the undoing is kept", 20_000, async || {
        server.stage.count("select count(*) from step_stat where step = 'hold' and direction = 1").await == 1
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_one_of_the_way_forward_also_while_what_was_done_is_undone() {
    let server = Server::start().await;
    server.publish(&CRUISE.replace("on_rejected: park", "on_rejected: compensate")).await;
    // What was booked is never answered to be given back.
    server.travel(|command| (command.action != "cancel_cabin").then(|| travel(command)).flatten()).await;
    let saga = cruise(&server, "no-1", 39_000).await;
    let group = until_some("the refusal has a group", 20_000, async || {
        let groups = server.get("/ops/failures").await.body;
        groups["failures"].as_array().and_then(|all| all.first().cloned())
    })
    .await;
    let page = server.get(&format!("/sagas/{saga}")).await.body;
    assert_eq!((&page["status"], &page["phase"]), (&json!("running"), &json!("unwinding")), "{page}");
    assert_eq!(
        (&group["code"], &group["kind"], &group["direction"]),
        (&json!("card_refused"), &json!("rejected"), &json!("execute")),
        "{group}"
    );
    server.stop().await;
}
