//! Calls one by one: what is sent where, and what each answer means.

use saga_worker::External;
use serde_json::{Value, json, value::to_raw_value};
use worker_http::network::Routes;
use worker_http::secrets::Secrets;
use worker_http::{Calls, Config};

use crate::carrier::Carrier;
use crate::support::{call, calls, commands, found, kind, pickup, plain, step};

#[tokio::test]
async fn a_pickup_is_requested_found_and_called_off() {
    let carrier = Carrier::start().await;
    let calls = calls(&carrier, &[]);
    let (execute, mut undo) = commands(&pickup(&carrier, &json!({ "order": "o-1" })));
    assert_eq!(found(&calls.inquire(&call(&execute)).await), "not found");

    let first = kind(&calls.call(&call(&execute)).await);
    assert!(first.starts_with("done") && first.contains(r#""id":"o-1""#), "{first}");
    // The same effect has the same key in every attempt: the carrier sees one request.
    let again = saga_worker::testkit::again(&execute);
    assert_eq!(kind(&calls.call(&call(&again)).await), first);
    assert_eq!(carrier.standing("o-1"), 1);
    assert_eq!(found(&calls.inquire(&call(&execute)).await), first.replace("done", "found"));

    undo.output = Some(to_raw_value(&json!({ "pickup": { "id": "o-1" } })).unwrap());
    assert_eq!(kind(&calls.call(&call(&undo)).await), "done -");
    assert_eq!(carrier.standing("o-1"), 0);
    assert_eq!(kind(&calls.call(&call(&undo)).await), "done -", "what is gone is undone");
}

#[tokio::test]
async fn what_undoes_finds_the_output_by_itself_when_it_is_not_told() {
    let carrier = Carrier::start().await;
    let calls = calls(&carrier, &[]);
    let (execute, undo) = commands(&pickup(&carrier, &json!({ "order": "o-2" })));
    assert_eq!(kind(&calls.call(&call(&undo)).await), "done -", "there is nothing to undo");
    calls.call(&call(&execute)).await;
    assert_eq!(kind(&calls.call(&call(&undo)).await), "done -");
    assert_eq!(carrier.standing("o-2"), 0);
}

#[tokio::test]
async fn every_status_has_a_meaning() {
    let carrier = Carrier::start().await;
    let calls = calls(&carrier, &[]);
    for (status, expected) in [
        (201, r#"done {"card":"4330-1234","message":"because"}"#),
        (302, "unknown http_302"),
        (304, "unknown http_304"),
        (400, "declined http_400"),
        (401, "own http_401"),
        (404, "declined http_404"),
        (409, "declined http_409"),
        (408, "unknown http_408"),
        (429, "not sent http_429"),
        (500, "unknown http_500"),
        (501, "unknown http_501"),
        (503, "unknown http_503"),
    ] {
        let (execute, _) = commands(&plain(&carrier, &format!("/status/{status}")));
        assert_eq!(kind(&calls.call(&call(&execute)).await), expected, "{status}");
    }
    let url = format!("{}/status/409", carrier.base);
    let lines = format!("    http: {{ method: PUT, url: '{url}', success: [409] }}\n    compensation: none");
    let (execute, _) = commands(&step(&lines, &Value::Null));
    assert!(kind(&calls.call(&call(&execute)).await).starts_with("done"));
    // A success that is not listed may stand: only a refusal is final.
    let url = format!("{}/status/202", carrier.base);
    let lines = format!("    http: {{ method: POST, url: '{url}', success: [201] }}\n    compensation: none");
    let (execute, _) = commands(&step(&lines, &Value::Null));
    assert_eq!(kind(&calls.call(&call(&execute)).await), "unknown http_202");
    // Of an undoing nobody can find out: it is not sent again and again.
    for status in [202, 301] {
        let url = format!("{}/status/{status}", carrier.base);
        let lines = format!(
            "    http: {{ method: POST, url: '{0}/status/201', check: {{ url: '{0}/status/404' }} }}\n    compensation: {{ http: {{ method: POST, url: '{url}', success: [201] }} }}",
            carrier.base
        );
        let (_, undo) = commands(&step(&lines, &Value::Null));
        assert_eq!(kind(&calls.call(&call(&undo)).await), format!("declined http_{status}"));
    }
}

#[tokio::test]
async fn long_answers_redirects_and_silence() {
    let carrier = Carrier::start().await;
    let calls = calls(&carrier, &[]);
    for (path, expected) in
        [("/long", "done -"), ("/moved", "unknown http_302"), ("/silent", "unknown no_answer")]
    {
        let (execute, _) = commands(&plain(&carrier, path));
        assert_eq!(kind(&calls.call(&call(&execute)).await), expected, "{path}");
    }
    assert!(carrier.books.lock().unwrap().pickups.is_empty(), "the redirect was not followed");
    let (execute, _) = commands(&step(
        "    http: { method: POST, url: 'http://127.0.0.1:1/' }\n    compensation: none",
        &Value::Null,
    ));
    let anywhere = worker_http::network::Allowed::parse("127.0.0.1").unwrap();
    let calls = Calls::new(Config { allowed: anywhere, ..Config::default() }).unwrap();
    assert_eq!(kind(&calls.call(&call(&execute)).await), "not sent no_connection");
}

#[tokio::test]
async fn the_inside_network_is_out_of_reach_unless_it_is_allowed() {
    let carrier = Carrier::start().await;
    let calls = Calls::new(Config::default()).unwrap();
    let by_name = carrier.base.replace("127.0.0.1", "localhost");
    let by_number = carrier.base.replace("127.0.0.1", "2130706433");
    for base in [&carrier.base, &by_name, &by_number] {
        let lines = format!("    http: {{ method: POST, url: '{base}/status/200' }}\n    compensation: none");
        let (execute, _) = commands(&step(&lines, &Value::Null));
        assert_eq!(kind(&calls.call(&call(&execute)).await), "not sent address_not_allowed", "{base}");
    }
    assert!(carrier.books.lock().unwrap().seen.is_empty());
}

#[tokio::test]
async fn secrets_go_to_their_host_and_nowhere_else() {
    let carrier = Carrier::start().await;
    let secret = [("AMENDS_HTTP_SECRET_KEY", "s3cret"), ("AMENDS_HTTP_SECRET_KEY_HOST", carrier.host())];
    let calls = calls(&carrier, &secret);
    let lines = |base: &str, secret: &str| {
        format!(
            "    http:\n      method: POST\n      url: '{base}/status/200'\n      headers: {{ Authorization: {{ \
             secret: {secret}, prefix: 'Bearer ' }}, X-Who: \"${{input.who}}\" }}\n    compensation: none"
        )
    };
    let try_one = async |lines: String, input: Value| {
        let (execute, _) = commands(&step(&lines, &input));
        kind(&calls.call(&call(&execute)).await)
    };
    let kim = json!({ "who": "kim" });
    assert!(try_one(lines(&carrier.base, "key"), kim.clone()).await.starts_with("done"));
    let seen = carrier.books.lock().unwrap().seen.clone();
    assert_eq!(seen[0]["authorization"], "Bearer s3cret");
    assert_eq!(seen[0]["x-who"], "kim");
    assert!(!format!("{calls:?}").contains("s3cret"));
    assert_eq!(try_one(lines(&carrier.base, "other"), kim.clone()).await, "own secret_withheld");
    assert_eq!(try_one(lines("https://api.example.com", "key"), kim).await, "own secret_withheld");
    // Who chooses a header's value cannot ask for a secret, nor add a header.
    for who in [json!({ "secret": "key" }), json!("a\r\nX-Admin: 1")] {
        assert_eq!(try_one(lines(&carrier.base, "key"), json!({ "who": who })).await, "declined bad_input");
    }
    assert_eq!(carrier.books.lock().unwrap().seen.len(), 1);
}

#[tokio::test]
async fn a_host_that_is_reached_elsewhere_keeps_its_secrets() {
    let carrier = Carrier::start().await;
    let variables =
        [("AMENDS_HTTP_SECRET_KEY", "s3cret"), ("AMENDS_HTTP_SECRET_KEY_HOST", "api.example.com")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let routes = Routes::parse(&format!("api.example.com={}", carrier.base)).unwrap();
    let secrets = Secrets::from_variables(variables).unwrap();
    let calls = Calls::new(Config { routes, secrets, ..Config::default() }).unwrap();
    let lines = "    http: { method: POST, url: https://api.example.com/status/200, headers: { Authorization: { secret: key } } }\n    compensation: none";
    let (execute, _) = commands(&step(lines, &Value::Null));
    assert!(kind(&calls.call(&call(&execute)).await).starts_with("done"));
    assert_eq!(carrier.books.lock().unwrap().seen[0]["authorization"], "s3cret");
}

#[tokio::test]
async fn an_unanswered_call_without_a_check_is_made_again_unless_somebody_may_want_it_undone() {
    let carrier = Carrier::start().await;
    let calls = calls(&carrier, &[]);
    let (execute, _) = commands(&plain(&carrier, "/status/200"));
    assert_eq!(found(&calls.inquire(&call(&execute)).await), "not found");
    let mut input = pickup(&carrier, &json!({ "order": "o-3" }));
    input.as_object_mut().unwrap().remove("check");
    let (execute, _) = commands(&input);
    assert_eq!(found(&calls.inquire(&call(&execute)).await), "unknown no_check");
}
