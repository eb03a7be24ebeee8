//! Sign-in: every endpoint × every role × every kind of token. Only the allowed cell passes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use amends::api::ApiConfig;
use amends::auth::rights::{Need, RIGHTS};
use amends::auth::role::{Role, Roles};
use amends::auth::token::JwtConfig;
use amends::auth::{Auth, AuthConfig};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer, Pair, message};
use crate::server::{Answer, Server, tour};

pub(crate) const ADMIN_KEY: &str = "an-administrators-key-of-this-test-alone";

pub(crate) fn config(issuer: &Issuer) -> ApiConfig {
    let jwt = JwtConfig {
        issuer: issuer.url.clone(),
        audience: AUDIENCE.to_owned(),
        jwks_url: format!("{}/.well-known/jwks.json", issuer.url),
        roles_claim: "realm_access.roles".to_owned(),
        role_names: HashMap::from([("shop-ops".to_owned(), Role::Operator)]),
        leeway_s: 5,
        client_id: Some("dashboard".to_owned()),
        scopes: Some("openid".to_owned()),
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let auth = AuthConfig::Real { jwt: Some(jwt), admin_key: Some(ADMIN_KEY.to_owned()) };
    ApiConfig { auth: Auth::new(auth).unwrap(), ..ApiConfig::default() }
}

pub(crate) fn header(pair: &Pair, id: &str) -> Value {
    json!({ "alg": pair.algorithm(), "kid": id, "typ": "JWT" })
}

async fn with_token(server: &Server, method: Method, path: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if method == Method::GET { "" } else { r#"{"nonsense":1}"# };
    server.request(method, path, &headers, body).await
}

/// A path of the table with nothing behind its parameters, so that nobody changes anything.
fn spelled(path: &str) -> String {
    path.replace("{id}", "01a1fddc-ac14-74a1-8a00-10fb14d90753")
        .replace("{name}", "nothing")
        .replace("{*path}", "x")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_lets_in_its_roles_and_nobody_else() {
    let (ed, foreign) = (Pair::ed(), Pair::ed());
    let issuer = Issuer::start(&[("one", &ed)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let good = header(&ed, "one");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = issuer.claims("mallory", &["admin"]);
        change(&mut claims);
        ed.token(&good, &claims)
    };
    let now_s = chrono::Utc::now().timestamp();
    let admin = issuer.claims("mallory", &["admin"]);
    let hs = json!({ "alg": "HS256", "kid": "one", "typ": "JWT" });
    let hs = {
        let message = message(&hs, &admin);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &ed.public()), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let none = format!("{}.", message(&json!({ "alg": "none", "kid": "one", "typ": "JWT" }), &admin));
    let whole = ed.token(&good, &admin);
    let mut parts: Vec<&str> = whole.split('.').collect();
    let more = URL_SAFE_NO_PAD.encode(issuer.claims("root", &["admin"]).to_string());
    parts[1] = &more;
    let tampered = parts.join(".");
    let bad = [
        ("expired", with(&|it| it["exp"] = json!(now_s - 60))),
        ("without expiry", with(&|it| drop(it.as_object_mut().unwrap().remove("exp")))),
        ("expiry of another type", with(&|it| it["exp"] = json!("never"))),
        ("not yet valid", with(&|it| it["nbf"] = json!(now_s + 3_600))),
        ("of another audience", with(&|it| it["aud"] = json!("shop"))),
        ("without audience", with(&|it| drop(it.as_object_mut().unwrap().remove("aud")))),
        ("of another issuer", with(&|it| it["iss"] = json!("https://evil.example"))),
        ("without issuer", with(&|it| drop(it.as_object_mut().unwrap().remove("iss")))),
        ("without subject", with(&|it| drop(it.as_object_mut().unwrap().remove("sub")))),
        ("in an API key's name", with(&|it| it["sub"] = json!("key:shop"))),
        ("in a saga's name", with(&|it| it["sub"] = json!("saga:01a1fde6-2213-7055-8e5e-8925bfcf0a1a/pay"))),
        ("signed by a foreign key", foreign.token(&good, &admin)),
        ("with an unknown key id", ed.token(&header(&ed, "two"), &admin)),
        ("of algorithm none", none),
        ("HS256 with the public key", hs),
        ("tampered with", tampered),
        ("no token at all", "nonsense".to_owned()),
        ("an invented API key", "amk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
    ];
    // A definition's trigger is an endpoint, too: the tour's names no role.
    let starts = Roles::ACT.iter().chain([Role::Customer]).collect();
    for (method, path, need) in RIGHTS.iter().copied().chain([("POST", "/tours", Need::Any(starts))]) {
        let (method, path) = (Method::from_bytes(method.as_bytes()).unwrap(), spelled(path));
        let live = path.ends_with("/live");
        let nobody = server.request(method.clone(), &path, &[("authorization", "")], "").await.status;
        let Need::Any(roles) = need else {
            assert!(nobody != 401 && nobody != 403, "{method} {path} is public, and answered {nobody}");
            continue;
        };
        assert_eq!(nobody, 401, "{method} {path} without a token");
        for (what, token) in &bad {
            let answer = with_token(&server, method.clone(), &path, token).await;
            answer.is_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path} with a token {what}");
        }
        for role in Role::ALL {
            let token = ed.token(&good, &issuer.claims("lee", &[role.word()]));
            // What is endless once it is let in is tested elsewhere.
            if live && roles.has(role) {
                continue;
            }
            let answer = with_token(&server, method.clone(), &path, &token).await;
            if roles.has(role) {
                let let_in = answer.status != 401 && answer.status != 403;
                assert!(let_in, "{method} {path} as {role}: {} {}", answer.status, answer.body);
                assert!(answer.status != 500, "{method} {path} as {role}: {}", answer.body);
            } else {
                answer.is_problem(403, "forbidden");
            }
        }
        let nothing = ed.token(&good, &issuer.claims("lee", &["cook"]));
        with_token(&server, method.clone(), &path, &nothing).await.is_problem(403, "forbidden");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_has_every_path_of_the_document() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.body;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let trigger = operation["x-amends-trigger"].is_string();
            let known = RIGHTS.iter().any(|(its, at, _)| its.eq_ignore_ascii_case(method) && at == path);
            assert!(trigger || known, "{method} {path} stands in no table of rights");
        }
    }
    for (method, path, _) in RIGHTS {
        if *path == "/" || path.starts_with("/ui") {
            continue;
        }
        let it = &document["paths"][path][method.to_ascii_lowercase()];
        assert!(it.is_object(), "{method} {path} stands in the table of rights and not in the document");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens_longer_than_their_token_lasts() {
    let ed = Pair::ed();
    let issuer = Issuer::start(&[("one", &ed)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let mut claims = issuer.claims("park", &["viewer"]);
    claims["exp"] = json!(chrono::Utc::now().timestamp() + 2);
    let bearer = format!("Bearer {}", ed.token(&header(&ed, "one"), &claims));
    let request = server.http.get(format!("{}/ops/live", server.url)).header("authorization", bearer);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let whole = tokio::time::timeout(std::time::Duration::from_secs(30), answer.text());
    assert!(whole.await.expect("it ends").is_ok());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_starts_by_the_trigger_and_sees_only_their_own() {
    let ed = Pair::ed();
    let issuer = Issuer::start(&[("one", &ed)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let token = |who: &str, role: &str| {
        format!("Bearer {}", ed.token(&header(&ed, "one"), &issuer.claims(who, &[role])))
    };
    let (kim, lee, viewer) = (token("kim", "customer"), token("lee", "customer"), token("park", "viewer"));
    let saga = server.post("/tours", &[("authorization", &kim)], &tour("tour-1")).await.saga();
    server.post("/tours", &[("authorization", &viewer)], &tour("tour-2")).await.is_problem(403, "forbidden");
    server
        .post("/sagas/tour", &[("authorization", &kim)], &tour("tour-2"))
        .await
        .is_problem(403, "forbidden");
    for end in ["", "/history", "/ignored"] {
        let path = format!("/sagas/{saga}{end}");
        let get = async |who: &str| server.request(Method::GET, &path, &[("authorization", who)], "").await;
        assert_eq!(get(&kim).await.status, 200);
        get(&lee).await.is_problem(404, "not-found");
        assert_eq!(get(&viewer).await.status, 200);
    }
    let list = async |who: &str| {
        let answer = server.request(Method::GET, "/sagas?key=tour-1", &[("authorization", who)], "").await;
        answer.body["sagas"].as_array().unwrap().len()
    };
    assert_eq!((list(&kim).await, list(&lee).await, list(&viewer).await), (1, 0, 1));
    // What operators write about it is theirs.
    let operator = token("choi", "operator");
    let headers = [("authorization", operator.as_str())];
    let note = json!({ "text": "looks like fraud" });
    assert_eq!(server.post(&format!("/sagas/{saga}/notes"), &headers, &note).await.status, 201);
    let see = async |who: &str, path: &str| {
        server.request(Method::GET, path, &[("authorization", who)], "").await.body.to_string()
    };
    for path in [format!("/sagas/{saga}"), "/sagas?key=tour-1".to_owned()] {
        assert!(see(&viewer, &path).await.contains("looks like fraud"), "{path}");
        assert!(!see(&kim, &path).await.contains("looks like fraud"), "{path}");
    }
    // And what they do with it: that it was done is no secret.
    let path = format!("/sagas/{saga}/history");
    let acting = json!({ "action": "compensate", "why": "looks like fraud", "revision": 1 });
    let acted = server.post(&format!("/sagas/{saga}/actions"), &headers, &acting).await;
    assert_eq!(acted.body["result"], "applied", "{}", acted.body);
    assert!(see(&viewer, &path).await.contains("choi"));
    let own = see(&kim, &path).await;
    assert!(own.contains("operator") && !own.contains("choi") && !own.contains("fraud"), "{own}");
    // The key is another customer's: it is taken, and nothing is said of whose it is.
    let taken = server.post("/tours", &[("authorization", &lee)], &tour("tour-1")).await;
    taken.is_problem(409, "key-taken");
    assert!(!taken.body.to_string().contains(&saga.to_string()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_key_signals_sagas_and_does_nothing_else() {
    let ed = Pair::ed();
    let issuer = Issuer::start(&[("one", &ed)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let request = json!({ "name": "payment", "roles": ["worker"], "why": "deposits" });
    let made = server.post("/ops/keys", &[], &request).await;
    let worker = format!("Bearer {}", made.body["key"].as_str().unwrap());
    let sent = |method: Method, path: String| {
        let (server, worker) = (&server, &worker);
        async move { server.request(method, &path, &[("authorization", worker)], "").await }
    };
    let saga = server.post("/tours", &[], &tour("tour-1")).await.saga();
    assert_eq!(sent(Method::POST, format!("/sagas/{saga}/signals/deposited")).await.status, 202);
    for end in ["", "/history", "/ignored"] {
        sent(Method::GET, format!("/sagas/{saga}{end}")).await.is_problem(404, "not-found");
    }
    sent(Method::POST, format!("/sagas/{saga}/actions")).await.is_problem(403, "forbidden");
    sent(Method::GET, "/ops/counts".to_owned()).await.is_problem(403, "forbidden");
    let start = server.post("/tours", &[("authorization", &worker)], &tour("tour-2")).await;
    start.is_problem(403, "forbidden");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_all_three_algorithms_work_rotate_and_are_not_asked_for_in_a_storm() {
    let (ed, ec, rsa) = (Pair::ed(), Pair::ec(), Pair::rsa());
    let issuer = Issuer::start(&[("ed", &ed), ("ec", &ec), ("rsa", &rsa)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let me = async |pair: &Pair, id: &str, role: &str| {
        let token = pair.token(&header(pair, id), &issuer.claims("lee", &[role]));
        with_token(&server, Method::GET, "/auth/me", &token).await
    };
    for (id, pair) in [("ed", &ed), ("ec", &ec), ("rsa", &rsa)] {
        let answer = me(pair, id, "shop-ops").await;
        assert_eq!(answer.body["roles"], json!(["operator"]), "{id}: {}", answer.body);
        assert_eq!((&answer.body["principal"], &answer.body["kind"]), (&json!("lee"), &json!("token")));
    }
    // A key is for its own algorithm, whatever the header says.
    let crossed = ed.token(&json!({ "alg": "ES256", "kid": "ed" }), &issuer.claims("lee", &["admin"]));
    with_token(&server, Method::GET, "/auth/me", &crossed).await.is_problem(401, "unauthorized");
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "one look is enough for all");
    for _ in 0..20 {
        assert_eq!(me(&ed, "invented", "admin").await.status, 401);
    }
    assert!(issuer.asked.load(Ordering::Relaxed) <= 2, "invented ids are no load on the issuer");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_found_once_the_issuer_may_be_asked_again() {
    let (old, new) = (Pair::ed(), Pair::ed());
    let issuer = Issuer::start(&[("old", &old)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let me = async |pair: &Pair, id: &str| {
        let token = pair.token(&header(pair, id), &issuer.claims("lee", &["viewer"]));
        with_token(&server, Method::GET, "/auth/me", &token).await.status.as_u16()
    };
    assert_eq!(me(&old, "old").await, 200);
    issuer.rotate(&[("old", &old), ("new", &new)]);
    test_support::eventually("the new key is known", 30_000, async || me(&new, "new").await == 200).await;
    assert_eq!(me(&old, "old").await, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_works_until_it_is_revoked_and_is_nowhere_kept() {
    let ed = Pair::ed();
    let issuer = Issuer::start(&[("one", &ed)]).await;
    let server = Server::signed_in(config(&issuer), ADMIN_KEY).await;
    let request = json!({ "name": "shop", "roles": ["customer", "viewer"], "why": "the shop's backend" });
    let made = server.post("/ops/keys", &[], &request).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let key = made.body["key"].as_str().unwrap().to_owned();
    server.post("/ops/keys", &[], &request).await.is_problem(409, "conflict");
    let me = with_token(&server, Method::GET, "/auth/me", &key).await;
    assert_eq!(
        (&me.body["principal"], &me.body["roles"]),
        (&json!("key:shop"), &json!(["customer", "viewer"]))
    );
    let kept: String =
        sqlx::query_scalar("select api_key::text from api_key").fetch_one(&server.stage.pool).await.unwrap();
    assert!(!kept.contains(&key) && kept.contains(&key[..10]), "{kept}");
    let path = format!("/ops/keys/{}?why=left", made.body["id"].as_str().unwrap());
    let revoked = server.request(Method::DELETE, &path, &[], "").await;
    assert!(revoked.body["revoked_at"].is_string() && revoked.body["key"].is_null(), "{}", revoked.body);
    test_support::eventually("it does not work any more", 20_000, async || {
        with_token(&server, Method::GET, "/auth/me", &key).await.status == 401
    })
    .await;
    let audited: Vec<(String, String, Option<String>)> =
        sqlx::query_as("select what, who, why from audit where what like 'key.%' order by id")
            .fetch_all(&server.stage.pool)
            .await
            .unwrap();
    let made = ("key.make".to_owned(), "key:admin".to_owned(), Some("the shop's backend".to_owned()));
    assert_eq!(audited, [made, ("key.revoke".to_owned(), "key:admin".to_owned(), Some("left".to_owned()))]);
    for sql in ["update audit set who = 'nobody'", "delete from audit", "truncate audit"] {
        let refused = sqlx::query(sql).execute(&server.stage.pool).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_mode_is_for_this_machine_and_no_foreign_page() {
    let server = Server::start().await;
    let me = server.get("/auth/me").await.body;
    assert_eq!(
        (&me["dev"], &me["roles"].as_array().unwrap().len()),
        (&json!(true), &Roles::ALL.iter().count())
    );
    for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        server.request(Method::GET, "/sagas", &[header], "").await.is_problem(401, "unauthorized");
    }
    let own = [("origin", "http://localhost:5173"), ("sec-fetch-site", "same-origin")];
    assert_eq!(server.request(Method::GET, "/sagas", &own, "").await.status, 200);
    server.stop().await;
}
