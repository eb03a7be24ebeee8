//! Holds: starts and executes pause, compensations flow, and what was kept back goes on.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::{eventually, until_some};

use crate::server::Server;
use crate::support::{Travel, rejected};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_action_is_not_sent_until_the_hold_ends() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let why = "the hotel's system is down";
    let hold = json!({ "kind": "action", "worker": "travel", "action": "book_room", "why": why });
    let set = server.post("/ops/holds", &[], &hold).await;
    assert_eq!(set.status, 201, "{}", set.body);
    let saga = server.tour("tour-1", &[]).await.saga();
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let page = until_some("the room is held", 20_000, async || {
        let page = server.get(&format!("/sagas/{saga}")).await.body;
        (page["steps"][1]["state"] == "held").then_some(page)
    })
    .await;
    assert_eq!(page["status"], "running");
    eventually("the hold says whom it keeps back", 20_000, async || {
        server.get("/ops/holds").await.body["holds"][0]["held_back"] == 1
    })
    .await;
    assert_eq!(server.get("/sagas?health=waiting").await.body["sagas"][0]["held"], true);

    let path = format!("/ops/holds/{}?why=it%20is%20up", set.body["id"].as_str().unwrap());
    assert_eq!(server.request(Method::DELETE, &path, &[], "").await.status, 200);
    server.request(Method::DELETE, &path, &[], "").await.is_problem(404, "not-found");
    let room = travel.expect("book_room").await;
    assert_eq!(room.0.saga, saga);
    let audit = server.get("/ops/audit?what=hold.").await.body;
    let what: Vec<&Value> = audit["entries"].as_array().unwrap().iter().map(|it| &it["what"]).collect();
    assert_eq!(what, ["hold.release", "hold.set"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_hold_is_felt_also_behind_many_that_another_one_keeps_back() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let mut holds = Vec::new();
    for action in ["book_car", "book_room"] {
        let hold = json!({ "kind": "action", "worker": "travel", "action": action, "why": "an incident" });
        holds.push(server.post("/ops/holds", &[], &hold).await.body["id"].as_str().unwrap().to_owned());
    }
    let first = server.tour("tour-1", &[]).await.saga();
    eventually("it is held", 20_000, async || {
        server.stage.count("select count(*) from projection where run = 4").await == 1
    })
    .await;
    // A thousand older ones stand at a step that stays held.
    let many = "insert into projection select (jsonb_populate_record(p, jsonb_build_object(
            'saga_id', ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'step', 'room'))).*
        from projection p, generate_series(1, 1000) n where p.saga_id = $1";
    sqlx::query(many).bind(first.0).execute(&server.stage.pool).await.unwrap();
    let path = format!("/ops/holds/{}?why=it%20is%20up", holds[0]);
    assert_eq!(server.request(Method::DELETE, &path, &[], "").await.status, 200);
    let car = travel.expect("book_car").await;
    assert_eq!(car.0.saga, first);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compensations_flow_while_everything_is_held_and_starts_are_refused() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let car = travel.expect("book_car").await;
    for hold in [
        json!({ "kind": "definition", "definition": "tour", "why": "incident" }),
        json!({ "kind": "action", "worker": "travel", "why": "incident" }),
    ] {
        assert_eq!(server.post("/ops/holds", &[], &hold).await.status, 201);
    }
    let refused = server.tour("tour-2", &[]).await;
    refused.is_problem(503, "held");
    assert!(!refused.header("retry-after").is_empty());
    // Another definition's starts are taken, though its steps wait.
    assert_eq!(server.post("/sagas/trip", &[], &json!({ "id": "trip-1" })).await.status, 202);
    travel.succeed(&car).await;
    let page = until_some("the room is held", 20_000, async || {
        let page = server.get(&format!("/sagas/{saga}")).await.body;
        (page["steps"][1]["state"] == "held").then_some(page)
    })
    .await;
    let undo = json!({ "action": "compensate", "why": "the customer calls", "revision": page["revision"] });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &[], &undo).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    let undone = travel.expect("cancel_car").await;
    travel.succeed(&undone).await;
    server.until(saga, "compensated").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_held_also_when_only_an_older_version_uses_it() {
    let server = Server::start().await;
    let hop = "saga: hop\nsteps:\n  jump: { worker: frog, action: jump, compensation: sit }\n";
    server.publish(hop).await;
    server.publish(&hop.replace("frog", "hare")).await;
    for worker in ["hare", "frog"] {
        let hold = json!({ "kind": "action", "worker": worker, "action": "jump", "why": "a test" });
        let set = server.post("/ops/holds", &[], &hold).await;
        assert_eq!(set.status, 201, "{}", set.body);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_ends_by_itself_and_nonsense_is_not_held() {
    let server = Server::start().await;
    let until = (chrono::Utc::now() + chrono::TimeDelta::seconds(2)).to_rfc3339();
    let hold = json!({ "kind": "starts", "why": "a moment", "until": until });
    assert_eq!(server.post("/ops/holds", &[], &hold).await.status, 201);
    server.tour("tour-1", &[]).await.is_problem(503, "held");
    eventually("starts are taken again", 20_000, async || server.tour("tour-1", &[]).await.status == 202)
        .await;
    eventually("it is released by time", 20_000, async || {
        server.get("/ops/holds?active=false").await.body["holds"][0]["released_by"] == "time"
    })
    .await;
    for bad in [
        json!({ "kind": "everything", "why": "x" }),
        json!({ "kind": "definition", "why": "x" }),
        json!({ "kind": "definition", "definition": "nothing", "why": "x" }),
        json!({ "kind": "action", "worker": "nobody", "why": "x" }),
        json!({ "kind": "starts", "why": " " }),
        json!({ "kind": "starts", "why": "x", "until": "2020-01-01T00:00:00Z" }),
    ] {
        server.post("/ops/holds", &[], &bad).await.is_problem(422, "invalid-input");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_done_is_said_with_its_consequence() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let room = travel.expect("book_room").await;
    travel.answer(&room, &rejected(&room.0, "full")).await;
    let page = server.until(saga, "parked").await;
    let list = server.get(&format!("/sagas/{saga}/actions")).await.body;
    assert_eq!((&list["revision"], &list["status"]), (&page["revision"], &json!("parked")));
    let find = |action: &str, step: Option<&str>| {
        let all = list["actions"].as_array().unwrap();
        let fits = |it: &&Value| it["action"] == action && it["step"].as_str() == step;
        all.iter().find(fits).unwrap_or_else(|| panic!("no {action} {step:?} in {list}")).clone()
    };
    let retry = find("retry", Some("room"));
    assert_eq!(
        (&retry["allowed"], &retry["consequence"]),
        (&json!(true), &json!("Sends room (travel.book_room), round 2."))
    );
    assert_eq!(find("retry_edited", Some("room"))["input"], json!({ "car": "book_car-1" }));
    let undo = find("compensate", None);
    assert_eq!(undo["consequence"], "Undoes car (travel.cancel_car), round 1.");
    let resume = find("resume_compensation", None);
    assert_eq!(
        (&resume["allowed"], &resume["refused"]),
        (&json!(false), &json!("the saga is not being undone"))
    );
    let abandon = find("abandon", None);
    assert_eq!(
        (&abandon["uncompensated"], &abandon["needs"]),
        (&json!(["car"]), &json!(["why", "acknowledged"]))
    );
    // Nothing of all that has happened.
    assert_eq!(server.get(&format!("/sagas/{saga}")).await.body["revision"], page["revision"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_who_act_at_once_one_wins_and_the_other_is_told() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let saga = server.tour("tour-1", &[]).await.saga();
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    let room = travel.expect("book_room").await;
    travel.answer(&room, &rejected(&room.0, "full")).await;
    let page = server.until(saga, "parked").await;
    let path = format!("/sagas/{saga}/actions");
    let action = |word: &str| json!({ "action": word, "why": "now", "revision": page["revision"] });
    let (retry, undo) = (action("retry"), action("compensate"));
    let (one, two) = tokio::join!(server.post(&path, &[], &retry), server.post(&path, &[], &undo));
    let (won, lost) = if one.status == 200 { (one, two) } else { (two, one) };
    assert_eq!((won.status.as_u16(), &won.body["result"]), (200, &json!("applied")), "{}", won.body);
    lost.is_problem(409, "refused");
    assert!(lost.body["detail"].as_str().unwrap().contains("moved on"), "{}", lost.body);
    server.stop().await;
}
