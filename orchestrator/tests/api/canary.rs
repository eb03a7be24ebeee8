//! Canaries: a share of the starts takes another version, and what comes of both is shown side by side.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server, TOUR};
use crate::support::{rejected, succeeded};

const YAML: [(&str, &str); 1] = [("content-type", "application/yaml")];

fn bolder() -> String {
    TOUR.replace("Books a car, then a room, then pays.", "Takes nobody without a name.")
        .replace("action: book_car", "action: book_cart")
}

async fn publish(server: &Server, query: &str, source: String) -> Answer {
    server.request(Method::POST, &format!("/definitions?{query}"), &YAML, source).await
}

async fn version_of(server: &Server, started: &Answer) -> Value {
    server.get(&format!("/sagas/{}", started.saga())).await.body["version"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_takes_its_share_and_what_comes_of_both_is_side_by_side() {
    let server = Server::start().await;
    server
        .travel(|command| {
            Some(match command.action.as_str() {
                "book_cart" => rejected(command, "no_carts"),
                _ => succeeded(command),
            })
        })
        .await;
    let current = server.get("/definitions/tour").await.body["version"].clone();
    let published = publish(&server, "canary=30", bolder()).await;
    assert_eq!(
        (published.status.as_u16(), &published.body["canary_percent"]),
        (201, &json!(30)),
        "{}",
        published.body
    );
    let canary = published.body["version"].clone();
    assert_eq!(server.get("/definitions/tour").await.body["version"], current, "it is not the current one");

    let (mut took, mut of_canary) = (Vec::new(), 0);
    for n in 0..60 {
        let started = server.tour(&format!("tour-{n}"), &[]).await;
        assert_eq!(started.status, 202, "{}", started.body);
        let version = version_of(&server, &started).await;
        assert!(version == canary || version == current);
        of_canary += usize::from(version == canary);
        took.push((started.saga(), version));
    }
    // 18 are expected, 3.5 is the deviation; the ids are fixed, so it never comes out otherwise.
    assert!((6..=32).contains(&of_canary), "{of_canary} of 60");
    for (n, (saga, version)) in took.iter().enumerate() {
        let again = server.tour(&format!("tour-{n}"), &[]).await;
        assert_eq!(
            (again.saga(), &version_of(&server, &again).await),
            (*saga, version),
            "repeated, it is the same"
        );
        let end = if *version == canary { "compensated" } else { "completed" };
        server.until(*saga, end).await;
    }
    let list = server.get("/definitions").await.body;
    let shown =
        list["definitions"].as_array().unwrap().iter().find(|it| it["name"] == "tour").unwrap()["canary"]
            .clone();
    assert_eq!((&shown["version"], &shown["percent"]), (&canary, &json!(30)));
    assert_eq!(shown["outcomes"]["compensated"], json!(of_canary));
    assert_eq!(shown["current"]["completed"], json!(60 - of_canary));
    assert_eq!(
        (&shown["outcomes"]["failure_rate"], &shown["current"]["failure_rate"]),
        (&json!(1.0), &json!(0.0))
    );
    let page = server.get("/definitions/tour").await.body;
    assert_eq!(page["versions"][0]["canary_percent"], 30);

    // A greater share keeps those that it had.
    assert_eq!(publish(&server, "canary=99", bolder()).await.status, 200);
    let wider = server.get("/definitions/tour").await.body["canary"].clone();
    assert_eq!((&wider["percent"], &wider["since"]), (&json!(99), &shown["since"]));

    let withdrawn = server
        .post("/definitions/tour/withdraw", &[], &json!({ "version": canary, "why": "it finds no carts" }))
        .await;
    assert_eq!((withdrawn.status.as_u16(), withdrawn.body.get("canary")), (200, None), "{}", withdrawn.body);
    for n in 60..80 {
        let started = server.tour(&format!("tour-{n}"), &[]).await;
        assert_eq!(version_of(&server, &started).await, current);
    }
    let audit = server.get("/ops/audit?what=definition.").await.body["entries"].clone();
    let deeds: Vec<&str> = audit.as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(
        deeds,
        ["definition.withdraw", "definition.publish", "definition.publish", "definition.publish"],
        "{audit}"
    );
    assert_eq!((&audit[0]["why"], &audit[0]["before"]["canary"]), (&json!("it finds no carts"), &json!(99)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_promoted_and_one_that_is_none_is_refused() {
    let server = Server::start().await;
    let current = server.get("/definitions/tour").await.body["version"].clone();
    let refused = async |query: &str, source: String, says: &str| {
        let answer = publish(&server, query, source).await;
        assert!(answer.status.is_client_error(), "{}", answer.body);
        assert!(answer.body.to_string().contains(says), "{says}: {}", answer.body);
    };
    refused("canary=10", TOUR.to_owned(), "this is the current version").await;
    refused("canary=10", bolder().replace("/tours", "/carts"), "its trigger must be the same").await;
    refused(
        "canary=10",
        bolder().replace("saga: tour", "saga: cart").replace("/tours", "/carts"),
        "no current version",
    )
    .await;
    refused("canary=0", bolder(), "1 to 99").await;
    refused("canary=100", bolder(), "1 to 99").await;
    let none = json!({ "version": current });
    server.post("/definitions/tour/promote", &[], &none).await.is_problem(409, "conflict");
    server.post("/definitions/nothing/promote", &[], &none).await.is_problem(404, "not-found");

    let canary = publish(&server, "canary=1", bolder()).await.body["version"].clone();
    server.post("/definitions/tour/promote", &[], &none).await.is_problem(409, "conflict");
    server
        .post("/definitions/tour/promote", &[], &json!({ "version": "" }))
        .await
        .is_problem(422, "invalid-input");
    let short: String = canary.as_str().unwrap().chars().take(12).collect();
    let promoted = server.post("/definitions/tour/promote", &[], &json!({ "version": short })).await;
    assert_eq!((promoted.status.as_u16(), &promoted.body["version"]), (200, &canary), "{}", promoted.body);
    let started = server.tour("tour-1", &[]).await;
    assert_eq!(version_of(&server, &started).await, canary);
    server
        .post("/definitions/tour/withdraw", &[], &json!({ "version": canary }))
        .await
        .is_problem(409, "conflict");

    // Whoever publishes for all starts ends the canary.
    publish(&server, "canary=50", TOUR.to_owned()).await;
    server.publish(&bolder().replace("minLength: 3", "minLength: 2")).await;
    assert_eq!(server.get("/definitions/tour").await.body.get("canary"), None);
    server.stop().await;
}
