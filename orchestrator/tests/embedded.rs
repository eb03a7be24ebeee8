//! The embedded default dies in the middle of its work. Its bus keeps nothing, so that every command in flight
//! is gone; the next start sends them again, workers answer from their inbox, and the books balance.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use amends::dev::PrivatePostgres;
use bench::books::{self, Sources};
use bench::load::{Load, place};
use serde_json::{Value, json};
use test_support::eventually;

const ORDERS: u64 = 300;

struct Dev {
    child: Child,
    api: String,
    stock: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amends"));
    command.args(arguments).env("AMENDS_LOG", "warn").stdin(Stdio::null());
    command
}

/// Starts everything and reads where it listens, which stands behind the demo.
fn start(dir: &Path, listen: &str) -> Dev {
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../saga-defs");
    let dir = dir.to_str().unwrap();
    let mut child = command(&["dev", "--dir", dir, "--listen", listen, "--definitions", definitions])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut api, mut stock, mut seen) = (None, None, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["stock", url] => stock = url.strip_suffix("/stock").map(str::to_owned),
            ["place", "an", "order", "POST", url] => api = url.strip_suffix("/orders").map(str::to_owned),
            ["Toss", "sandbox", _] => break,
            _ => {}
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    let at = |url: Option<String>| url.unwrap_or_else(|| panic!("no addresses were printed:\n{seen}"));
    Dev { api: at(api), stock: at(stock), child }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_embedded_default_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let mut dev = start(dir.path(), &listen);
    bench::install_tls();
    let client = reqwest::Client::new();
    let sku = client.put(format!("{}/stock/crash-sku", dev.stock)).json(&json!({ "on_hand": 10_000 }));
    sku.send().await.unwrap().error_for_status().unwrap();
    let load = Load {
        api_url: dev.api.clone(),
        orders: ORDERS,
        in_flight: 100,
        skus: vec!["crash-sku".into()],
        reject_every: 10,
        stem: "crash".into(),
        patience: Duration::from_secs(120),
    };
    let placing = tokio::spawn(async move { place(&load).await });
    let count = async |api: &str, query: &str| -> u64 {
        let Ok(answer) =
            client.get(format!("{api}/sagas?limit=500&definition=order-checkout{query}")).send().await
        else {
            return 0;
        };
        answer
            .json::<Value>()
            .await
            .map_or(0, |page| page["sagas"].as_array().map_or(0, |it| it.len() as u64))
    };
    for reached in [ORDERS / 4, ORDERS / 2] {
        eventually("orders come in", 60_000, async || count(&dev.api, "").await >= reached).await;
        dev.child.kill().unwrap();
        dev.child.wait().unwrap();
        dev = start(dir.path(), &listen);
    }
    let placed = placing.await.unwrap();
    assert!(placed.refused.is_empty(), "{:?}", placed.refused);
    eventually("every saga ends", 120_000, async || {
        count(&dev.api, "&status=running").await + count(&dev.api, "&status=parked").await == 0
    })
    .await;
    let stop = Command::new("kill").arg(dev.child.id().to_string()).status().unwrap();
    assert!(stop.success() && dev.child.wait().unwrap().success(), "an orderly end");

    let postgres = PrivatePostgres::start(dir.path()).await.unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let books = dir.path().join("toss");
    let at = format!("127.0.0.1:{port}");
    let mut sandbox =
        command(&["sandbox", "--listen", &at, "--dir", books.to_str().unwrap()]).spawn().unwrap();
    let sandbox_url = format!("http://{at}");
    eventually("the sandbox answers", 20_000, async || {
        client.get(format!("{sandbox_url}/healthz")).send().await.is_ok_and(|it| it.status().is_success())
    })
    .await;
    let report = books::verify(&Sources {
        engine_url: postgres.url("amends"),
        order_url: postgres.url("amends_order"),
        stock_url: postgres.url("amends_stock"),
        payment_url: postgres.url("amends_payment"),
        sandbox_url,
    })
    .await;
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    postgres.stop().await.unwrap();
    let report = report.unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    // Three demo orders at each of three starts.
    assert_eq!(report.sagas.values().sum::<i64>(), i64::try_from(ORDERS).unwrap() + 9, "{:?}", report.sagas);
}
