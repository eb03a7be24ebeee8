//! Reading: one saga whole, its history, and lists.

use serde_json::{Value, json};

use crate::server::Server;
use crate::support::{Travel, rejected};

fn states(saga: &Value) -> Vec<(String, String)> {
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    saga["steps"].as_array().unwrap().iter().map(|it| (text(&it["step"]), text(&it["state"]))).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_shows_every_step_also_those_that_it_has_not_touched() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let started = server.tour("tour-1", &[]).await;
    let path = format!("/sagas/{}", started.saga());
    let car = travel.expect("book_car").await;
    let saga = server.get(&path).await.body;
    assert_eq!(states(&saga), pairs(&[("car", "running"), ("room", "pending"), ("pay", "pending")]));
    assert_eq!(
        (&saga["phase"], &saga["revision"], &saga["key"]),
        (&json!("forward"), &json!(1), &json!("tour-1"))
    );
    assert_eq!(saga["input"]["guests"][0]["name"], "Kim");
    let execute = &saga["steps"][0]["execute"];
    assert_eq!(
        (&execute["round"], &execute["attempt"], &execute["charged"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(execute["first_sent_at"], execute["last_sent_at"]);
    assert_eq!((&saga["next"]["what"], &saga["next"]["step"]), (&json!("timeout"), &json!("car")));
    assert_eq!((&saga["steps"][1]["after"], &saga["steps"][2]["pivot"]), (&json!(["car"]), &json!(true)));

    travel.succeed(&car).await;
    let room = travel.expect("book_room").await;
    travel.succeed(&room).await;
    let pay = travel.expect("pay").await;
    assert_eq!(server.get(&path).await.body["phase"], "pivot_open");
    travel.answer(&pay, &rejected(&pay.0, "no_money")).await;
    let undo = travel.expect("cancel_room").await;
    let saga = server.get(&path).await.body;
    assert_eq!(states(&saga), pairs(&[("car", "succeeded"), ("room", "compensating"), ("pay", "rejected")]));
    assert_eq!(saga["cause"], json!({ "kind": "rejected", "step": "pay" }));
    assert_eq!(saga["steps"][0]["execute"]["output"], json!({ "number": "book_car-1" }));
    travel.succeed(&undo).await;
    let undo = travel.expect("cancel_car").await;
    travel.succeed(&undo).await;
    let saga = server.until(started.saga(), "compensated").await;
    assert_eq!(states(&saga), pairs(&[("car", "compensated"), ("room", "compensated"), ("pay", "rejected")]));
    assert_eq!(saga["error"], json!({ "step": "pay", "code": "no_money", "message": "no" }));
    assert!(saga["ended_at"].is_string() && saga["next"].is_null() && saga["output"].is_null());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_paged_by_revision() {
    let server = Server::start().await;
    server.travel_succeeds().await;
    let started = server.tour("tour-1", &[("prefer", "wait=20")]).await;
    let path = format!("/sagas/{}/history", started.saga());
    let all = server.get(&path).await.body;
    let events = all["events"].as_array().unwrap().clone();
    let kinds: Vec<&str> = events.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "answer", "answer", "answer"]);
    assert_eq!(all["next"], Value::Null);
    assert_eq!((&events[0]["payload"]["id"], &events[0]["revision"]), (&json!("tour-1"), &json!(1)));
    assert_eq!((&events[2]["step"], &events[2]["outcome"]), (&json!("room"), &json!("succeeded")));
    assert_eq!(events[2]["payload"], json!({ "number": "book_room-1" }));

    let mut paged = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = server.get(&format!("{path}?limit=1&after={after}")).await.body;
        paged.extend(page["events"].as_array().unwrap().clone());
        after = page["next"].clone();
    }
    assert_eq!(paged, events);
    server.get(&format!("{path}?limit=many")).await.is_problem(400, "bad-request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_paged_newest_first() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(server.tour(&format!("tour-{number}"), &[]).await.saga().to_string());
    }
    let trip = server.post("/sagas/trip", &[], &json!({ "id": "trip-1" })).await.saga().to_string();
    server.travel_succeeds().await;
    for id in &ids {
        server.until(id.parse().unwrap(), "completed").await;
    }
    ids.reverse();
    let of = |page: &Value| -> Vec<String> {
        page["sagas"].as_array().unwrap().iter().map(|it| it["saga"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&server.get("/sagas?definition=tour&status=completed").await.body), ids);
    assert_eq!(of(&server.get("/sagas?definition=trip").await.body), [trip]);
    assert_eq!(of(&server.get("/sagas?key=tour-3").await.body), [ids[1].clone()]);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/sagas?definition=tour&limit=2{after}")).await.body;
        seen.extend(of(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    server.get("/sagas?status=stuck").await.is_problem(400, "bad-request");
    server.get("/sagas?colour=red").await.is_problem(400, "bad-request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_nothing_can_be_read_with_its_reason() {
    let server = Server::start().await;
    let mut travel = Travel::join(server.stage.bus.clone(), &server.stage.topics).await;
    let started = server.tour("tour-1", &[]).await;
    let car = travel.expect("book_car").await;
    travel.succeed(&car).await;
    travel.expect("book_room").await;
    travel.succeed(&car).await;
    let path = format!("/sagas/{}/ignored", started.saga());
    let ignored = test_support::until_some("the duplicate is ignored", 10_000, async || {
        server.get(&path).await.body["ignored"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!((&ignored["kind"], &ignored["step"]), (&json!("answer"), &json!("car")));
    assert!(ignored["reason"].as_str().is_some_and(|it| !it.is_empty()));
    assert_eq!(
        server.get(&format!("/sagas/{}", started.saga())).await.body["revision"],
        2,
        "and changes nothing"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_saga_is_not_found() {
    let server = Server::start().await;
    for path in ["/sagas/nonsense", "/sagas/01a1fddc-ac14-74a1-8a00-10fb14d90753"] {
        for end in ["", "/history", "/ignored"] {
            server.get(&format!("{path}{end}")).await.is_problem(404, "not-found");
        }
    }
    server.stop().await;
}
