//! Definitions over the API.

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, TOUR, tour};

const YAML: [(&str, &str); 1] = [("content-type", "application/yaml")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_adds_the_route_without_a_restart() {
    let server = Server::start().await;
    server.post("/cruises", &[], &tour("tour-1")).await.is_problem(404, "not-found");
    let source = TOUR.replace("saga: tour", "saga: cruise").replace("/tours", "/cruises");
    let published = server.publish(&source).await;
    assert_eq!((published.status.as_u16(), &published.body["fresh"]), (201, &json!(true)));
    let again = server.publish(&format!("# a comment changes nothing\n{source}")).await;
    assert_eq!((again.status.as_u16(), &again.body["version"]), (200, &published.body["version"]));
    assert_eq!(server.post("/cruises", &[], &tour("tour-1")).await.status, 202);
    let names: Vec<String> = server.get("/definitions").await.body["definitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["cruise", "tour", "trip"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_is_for_new_sagas_only() {
    let server = Server::start().await;
    let before = server.tour("tour-1", &[]).await.saga();
    let source = TOUR
        .replace("Books a car, then a room, then pays.", "Another one.")
        .replace("minLength: 3", "minLength: 6");
    server.publish(&source).await;
    let after = server.tour("tour-2", &[]).await.saga();
    let version = async |saga| server.get(&format!("/sagas/{saga}")).await.body["version"].clone();
    let (old, new) = (version(before).await, version(after).await);
    assert_ne!(old, new);
    let page = server.get("/definitions/tour").await.body;
    assert_eq!((&page["version"], &page["description"]), (&new, &json!("Another one.")));
    let versions = page["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!((&versions[0]["version"], &versions[0]["active"]), (&new, &json!(true)));
    assert_eq!((&versions[1]["version"], &versions[1]["active"]), (&old, &json!(false)));
    assert_eq!(versions[1]["source"], TOUR, "as it was written");
    server.post("/tours", &[], &tour("short")).await.is_problem(422, "invalid-input");
    server.get("/definitions/nothing").await.is_problem(404, "not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_which_version_he_replaces_replaces_no_other() {
    let server = Server::start().await;
    let publish = async |over: &str, attempts: &str| {
        let source = TOUR
            .replace("saga: tour", "saga: stroll")
            .replace("/tours", "/strolls")
            .replace("pays.", attempts);
        server.request(Method::POST, &format!("/definitions?over={over}"), &YAML, source).await
    };
    publish("ab12", "one").await.is_problem(400, "bad-request");
    publish("12345678", "one").await.is_problem(409, "conflict");
    server.get("/definitions/stroll").await.is_problem(404, "not-found");
    let one = publish("none", "one").await;
    assert_eq!(one.status, 201);
    let first = one.body["version"].as_str().unwrap().to_owned();
    publish("none", "two").await.is_problem(409, "conflict");
    let two = publish(&first[..8], "two").await;
    assert_eq!(two.status, 201);
    // Who has not seen the second one does not replace it unseen; a repetition of what is current does no harm.
    let refused = publish(&first, "three").await;
    let second = two.body["version"].as_str().unwrap();
    assert!(refused.body["detail"].as_str().unwrap().contains(second), "{:?}", refused.body);
    refused.is_problem(409, "conflict");
    assert_eq!(publish(&first, "two").await.status, 200);
    assert_eq!(server.get("/definitions/stroll").await.body["versions"].as_array().unwrap().len(), 2);
    // Of many at once one wins.
    let all = futures::future::join_all(["a", "b", "c", "d"].map(|it| publish(second, it))).await;
    let mut statuses: Vec<u16> = all.iter().map(|it| it.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_goes_back_to_a_version_that_was_right_when_it_was_published() {
    let server = Server::start().await;
    // Once, an optional step did not have to say what undoes it.
    let old = "saga: lax\nsteps:\n  a: { worker: travel, action: book_car, optional: true }\n  b: { after: [a], worker: travel, action: pay, compensation: refund }\n";
    let publish = async |source: &str| {
        server.request(Method::POST, "/definitions?waive=as+before", &YAML, source.to_owned()).await
    };
    publish(old).await.is_problem(422, "invalid-definition");
    let version = saga_core::definition::load_published(old).unwrap().version.0;
    sqlx::query("insert into definition (name, version, source) values ('lax', $1, $2)")
        .bind(&version)
        .bind(old)
        .execute(&server.stage.pool)
        .await
        .unwrap();
    publish(&old.replace("book_car", "book_room")).await.is_problem(422, "invalid-definition");
    let back = publish(old).await;
    assert_eq!((back.status.as_u16(), &back.body["version"]), (200, &json!(version)), "{}", back.body);
    let proof = server.request(Method::POST, "/authoring/prove", &YAML, old.to_owned()).await;
    assert_eq!(proof.status, 200, "{}", proof.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_listed_with_place_and_remedy_and_publish_nothing() {
    let server = Server::start().await;
    let source = TOUR
        .replace("after: [car]", "after: [cart]")
        .replace("${input.id}\" } }\n  room", "${input.id\" } }\n  room");
    let answer = server.request(Method::POST, "/definitions", &YAML, source).await;
    answer.is_problem(422, "invalid-definition");
    let errors = answer.body["errors"].as_array().unwrap();
    assert!(errors.len() >= 2, "all at once: {}", answer.body);
    for error in errors {
        assert!(error["code"].is_string() && error["line"].as_u64().is_some_and(|it| it > 0), "{error}");
        assert!(error["remedy"].is_string(), "{error}");
    }
    assert_eq!(server.stage.count("select count(*) from definition").await, 2);
    server.request(Method::POST, "/definitions", &[], "saga: x").await.is_problem(415, "media-type");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_clashes_is_not_published() {
    let server = Server::start().await;
    for (path, says) in [
        ("/tours", "starts `tour` already"),
        ("/sagas", "the API's own"),
        ("/definitions/x", "the API's own"),
    ] {
        let source = TOUR.replace("saga: tour", "saga: other").replace("/tours", path);
        let answer = server.request(Method::POST, "/definitions", &YAML, source).await;
        answer.is_problem(422, "invalid-definition");
        assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_proved_is_refused_unless_the_reason_is_given_and_recorded() {
    let server = Server::start().await;
    // Correct as far as each step goes, and yet one of them can never run.
    let source = TOUR
        .replace("saga: tour", "saga: sleepy")
        .replace("/tours", "/sleepies")
        .replace("steps:\n", "deadline: 1m\nsteps:\n  nap: { wait: { for: 2m } }\n")
        .replace("after: [car]", "after: [car, nap]");
    let refused = server.request(Method::POST, "/definitions", &YAML, source.clone()).await;
    let body = refused.body.clone();
    refused.is_problem(422, "unproved-definition");
    assert_eq!(body["errors"][0]["code"], "reachable", "{body}");
    server.get("/definitions/sleepy").await.is_problem(404, "not-found");
    let waived = async |path: &str| server.request(Method::POST, path, &YAML, source.clone()).await;
    waived("/definitions?waive=%20").await.is_problem(400, "bad-request");
    waived("/definitions?wave=x").await.is_problem(400, "bad-request");
    let answer = waived("/definitions?waive=only%20until%20Friday").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["verdict"]),
        (201, &json!("refuted")),
        "{}",
        answer.body
    );
    let version = server.get("/definitions/sleepy").await.body["versions"][0].clone();
    assert_eq!((&version["verdict"], &version["waiver"]), (&json!("refuted"), &json!("only until Friday")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_and_its_parent_are_published_only_as_they_fit_each_other() {
    let server = Server::start().await;
    let stay = "saga: stay\ninput: { type: object, required: [id], properties: { id: { type: string } } }\nsteps:\n  room: { worker: travel, action: book_room, compensation: cancel_room }\n";
    server.publish(stay).await;
    let week = |given: &str| {
        format!(
            "saga: week\ninput: {{ type: object, required: [id], properties: {{ id: {{ type: string }} }} }}\nsteps:\n  stay: {{ saga: stay, input: {{ {given}: \"${{input.id}}\" }} }}\n"
        )
    };
    let misspelt = server.request(Method::POST, "/definitions", &YAML, week("ident")).await;
    let error = misspelt.body["errors"][0].clone();
    misspelt.is_problem(422, "unproved-definition");
    assert_eq!(error["code"], "reachable");
    assert_eq!(error["detail"], "`stay` can never start `stay`: it takes no `input` without `id`");
    server.publish(&week("id")).await;
    let wants_more = stay.replace("required: [id]", "required: [id, nights]");
    let refused = server.request(Method::POST, "/definitions", &YAML, wants_more).await;
    let detail = refused.body["errors"][0]["detail"].as_str().unwrap_or_default().to_owned();
    refused.is_problem(422, "unproved-definition");
    assert!(detail.starts_with("`week` starts it, and could no longer: "), "{detail}");
    server.stop().await;
}

/// What was proved of a parent was proved with its child as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_could_no_longer_be_undone_is_not_published_under_its_parents() {
    let server = Server::start().await;
    let undone =
        "saga: stay\nsteps:\n  room: { worker: travel, action: book_room, compensation: cancel_room }\n";
    server.publish(undone).await;
    server
        .publish("saga: week\nsteps:\n  stay: { saga: stay }\n  car: { after: [stay], worker: travel, action: book_car, compensation: cancel_car }\n")
        .await;
    let stands =
        undone.replace("action: book_room, compensation: cancel_room", "action: book_room, pivot: true");
    let refused = server.request(Method::POST, "/definitions", &YAML, stands.clone()).await;
    let detail = refused.body["errors"][0]["detail"].as_str().unwrap_or_default().to_owned();
    refused.is_problem(422, "unproved-definition");
    assert!(detail.contains("`week` starts it in step `stay`"), "{detail}");
    let waived =
        server.request(Method::POST, "/definitions?waive=nobody%20starts%20weeks", &YAML, stands).await;
    assert_eq!(
        (waived.status.as_u16(), &waived.body["verdict"]),
        (201, &json!("refuted")),
        "{}",
        waived.body
    );
    server.stop().await;
}
