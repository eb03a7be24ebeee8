//! Four eyes: what a definition says that one person must not do alone.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use amends::api::ApiConfig;
use amends::auth::{Auth, AuthConfig};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use test_support::{eventually, until_some};

use crate::acting::PURCHASE;
use crate::issuer::{Issuer, Pair};
use crate::jobs::{Books, job_until, parking, start, until_counted};
use crate::server::Server;
use crate::sign_in;

/// A key of this role, for a request's header.
async fn key(server: &Server, name: &str, role: &str) -> String {
    let made =
        server.post("/ops/keys", &[], &json!({ "name": name, "roles": [role], "why": "a test" })).await;
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
    let kim = key(&server, "kim", "operator").await;
    let lee = key(&server, "lee", "operator").await;
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
    let all = items["items"].as_array().unwrap().len();
    for (reason, wanted) in [("now+compensated", all), ("now", 0)] {
        let some = server.get(&format!("{path}/items?outcome=succeeded&reason={reason}")).await.body;
        assert_eq!(some["items"].as_array().unwrap().len(), wanted, "{some}");
    }
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
    let lee = key(&server, "lee", "operator").await;
    let why = json!({ "why": "the card was topped up" });
    let approved = server.post(&format!("{job_path}/approve"), &[("authorization", &lee)], &why).await;
    assert_eq!(approved.status, 200, "{}", approved.body);
    assert_eq!(job_until(&server, &job, "done").await["counts"]["succeeded"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_wait_for_a_second_person_are_in_nobodys_way() {
    let server = Server::start().await;
    server.publish(&parking().replace("[skip, abandon], above: 50000", "[compensate], above: 500")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let sagas = start(&server, "deposits", 11).await;
    until_counted(&server, "definition=deposit", "parked", 11).await;
    books.broken.store(false, Ordering::SeqCst);
    for saga in &sagas[1..] {
        let undo =
            json!({ "kind": "action", "action": "compensate", "sagas": [saga], "why": "the shop closes" });
        assert_eq!(server.post("/ops/jobs", &[], &undo).await.status, 201);
    }
    eventually("all wait for a second person", 60_000, async || {
        server.stage.count("select count(*) from job_item where outcome = 'awaiting_approval'").await == 10
    })
    .await;
    let retry = json!({ "kind": "action", "action": "retry", "sagas": [sagas[0]], "why": "it is fixed" });
    let job = server.post("/ops/jobs", &[], &retry).await;
    assert_eq!(job_until(&server, &job, "done").await["counts"]["succeeded"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_person_sees_what_a_replay_changes_and_a_viewer_only_where() {
    let server = Server::start().await;
    server.publish(&PURCHASE.replace("[skip, abandon], above: 50000", "[replay], above: 5000")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "purchases", 1).await[0];
    server.until(saga, "compensated").await;
    let fresh = BTreeMap::from([(saga.to_string(), json!({ "/payment_key": "fresh" }))]);
    let mut again = json!({ "kind": "replay", "sagas": [saga], "why": "again", "fresh": fresh });
    assert_eq!(server.post("/ops/jobs/preview", &[], &again).await.body["approval"], 0, "1,000 is little");
    // A changed input may be about any amount.
    again["merge"] = json!({ "amount": 9_000, "note": null });
    assert_eq!(server.post("/ops/jobs/preview", &[], &again).await.body["approval"], 1);
    let job = server.post("/ops/jobs", &[], &again).await;
    let seen = |body: &Value| (body["merge"].clone(), body["fresh"].clone(), body["amount"].clone());
    let amount = json!([{ "currency": "KRW", "amount": 1_000, "sagas": 1 }]);
    assert_eq!(
        seen(&job.body),
        (json!({ "amount": 9_000, "note": null }), json!(["/payment_key"]), amount.clone()),
        "{}",
        job.body
    );
    let viewer = key(&server, "park", "viewer").await;
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    let headers = [("authorization", viewer.as_str())];
    let masked = server.request(reqwest::Method::GET, &path, &headers, "").await.body;
    assert_eq!(
        seen(&masked),
        (json!({ "amount": "•••", "note": null }), json!(["/payment_key"]), amount),
        "{masked}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_approved_begins_with_a_canary_of_its_own() {
    let server = Server::start().await;
    // Some need a second person, and some do not.
    server.publish(&parking().replace("[skip, abandon], above: 50000", "[retry], above: 1500")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let little = start(&server, "deposits", 4).await;
    let much: Vec<SagaId> = {
        let mut all = Vec::new();
        for at in 0..12 {
            let input = json!({ "id": format!("much-{at}"), "amount": 2_000, "payment_key": "key" });
            all.push(server.post("/deposits", &[], &input).await.saga());
        }
        all
    };
    until_counted(&server, "definition=deposit", "parked", 16).await;
    books.broken.store(false, Ordering::SeqCst);
    let all: Vec<SagaId> = little.into_iter().chain(much).collect();
    let retry = json!({ "kind": "action", "action": "retry", "sagas": all, "why": "it is fixed", "canary": 3,
        "rate_per_s": 1_000 });
    let kim = key(&server, "kim", "operator").await;
    let job = server.post("/ops/jobs", &[("authorization", &kim)], &retry).await;
    let path = format!("/ops/jobs/{}", job.body["id"].as_str().unwrap());
    until_some("twelve wait for a second person", 60_000, async || {
        let counts = server.get(&path).await.body["counts"].clone();
        (counts["awaiting_approval"] == 12 && counts["succeeded"] == 4).then_some(())
    })
    .await;
    // It breaks again before they are approved: only a canary of them finds out.
    books.broken.store(true, Ordering::SeqCst);
    let why = json!({ "why": "I have looked at the set" });
    assert_eq!(server.post(&format!("{path}/approve"), &[], &why).await.status, 200);
    let stopped = job_until(&server, &job, "stopped").await;
    assert_eq!(stopped["stopped_because"], "the canary failed: 3 of 3: failed again: charge: PROVIDER_DOWN");
    assert_eq!(stopped["counts"]["waiting"], 9, "{stopped}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_ones_own_making_is_no_second_person() {
    let ed = Pair::ed();
    let issuer = Issuer::start(&[("one", &ed)]).await;
    let server = Server::signed_in(sign_in::config(&issuer), sign_in::ADMIN_KEY).await;
    let token = |who: &str, role: &str| {
        format!("Bearer {}", ed.token(&sign_in::header(&ed, "one"), &issuer.claims(who, &[role])))
    };
    let (kim, lee) = (token("kim", "admin"), token("lee", "operator"));
    let make = async |name: &str| {
        let body = json!({ "name": name, "roles": ["operator"], "why": "a script" });
        let made = server.post("/ops/keys", &[("authorization", &kim)], &body).await;
        format!("Bearer {}", made.body["key"].as_str().unwrap())
    };
    let body = json!({ "name": "admin", "roles": ["operator"], "why": "a script" });
    server.post("/ops/keys", &[("authorization", &kim)], &body).await.is_problem(422, "invalid-input");
    let (one, two) = (make("one").await, make("two").await);
    server.publish(&parking().replace("[skip, abandon], above: 50000", "[compensate], above: 500")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "deposits", 1).await[0];
    let page = server.until(saga, "parked").await;
    let undo = json!({ "action": "compensate", "why": "the shop closes", "revision": page["revision"] });
    let asked = server.post(&format!("/sagas/{saga}/actions"), &[("authorization", &kim)], &undo).await;
    assert_eq!(asked.body["result"], "awaiting_approval", "{}", asked.body);
    let decide = format!("/ops/approvals/{}", asked.body["approval"].as_str().unwrap());
    let approve = json!({ "decision": "approve", "why": "fine" });
    let job = json!({ "kind": "action", "action": "compensate", "sagas": [saga], "why": "the shop closes" });
    let job = server.post("/ops/jobs", &[("authorization", &one)], &job).await;
    let job = format!("/ops/jobs/{}/approve", job.body["id"].as_str().unwrap());
    let why = json!({ "why": "fine" });
    server.post(&decide, &[("authorization", &one)], &approve).await.is_problem(403, "own-approval");
    // The administrator's key is nobody's, and whoever has it could make as many keys as it takes.
    let root = format!("Bearer {}", sign_in::ADMIN_KEY);
    let body = json!({ "name": "three", "roles": ["operator"], "why": "a script" });
    let made = server.post("/ops/keys", &[("authorization", &root)], &body).await;
    let three = format!("Bearer {}", made.body["key"].as_str().unwrap());
    for own in [&one, &two, &kim, &root, &three] {
        server.post(&job, &[("authorization", own)], &why).await.is_problem(403, "own-approval");
    }
    for own in [&root, &three] {
        server.post(&decide, &[("authorization", own)], &approve).await.is_problem(403, "own-approval");
    }
    assert_eq!(server.post(&job, &[("authorization", &lee)], &why).await.status, 200);
    assert_eq!(server.post(&decide, &[("authorization", &lee)], &approve).await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_can_sign_in_keys_are_people() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let auth = AuthConfig::Real { jwt: None, admin_key: Some(sign_in::ADMIN_KEY.to_owned()) };
    let config = ApiConfig { auth: Auth::new(auth).unwrap(), ..ApiConfig::default() };
    let server = Server::signed_in(config, sign_in::ADMIN_KEY).await;
    let (kim, lee) = (key(&server, "kim", "operator").await, key(&server, "lee", "operator").await);
    server.publish(&parking().replace("[skip, abandon], above: 50000", "[compensate], above: 500")).await;
    let books = Books::default();
    books.open(&server).await;
    books.broken.store(true, Ordering::SeqCst);
    let saga = start(&server, "deposits", 1).await[0];
    let page = server.until(saga, "parked").await;
    let undo = json!({ "action": "compensate", "why": "the shop closes", "revision": page["revision"] });
    let asked = server.post(&format!("/sagas/{saga}/actions"), &[("authorization", &kim)], &undo).await;
    let decide = format!("/ops/approvals/{}", asked.body["approval"].as_str().unwrap());
    let approve = json!({ "decision": "approve", "why": "fine" });
    let root = format!("Bearer {}", sign_in::ADMIN_KEY);
    for own in [&kim, &root] {
        server.post(&decide, &[("authorization", own)], &approve).await.is_problem(403, "own-approval");
    }
    assert_eq!(server.post(&decide, &[("authorization", &lee)], &approve).await.status, 200);
    server.stop().await;
}
