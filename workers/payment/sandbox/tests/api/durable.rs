//! The journal: what was answered outlives the process, a torn line does not matter, damage does.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use toss_sandbox::{DEFAULT_SECRET_KEY, Sandbox, SandboxConfig};

use crate::support::{Server, refusal, reply};

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("toss-sandbox-{}", uuid::Uuid::now_v7())))
    }

    fn config(&self) -> SandboxConfig {
        SandboxConfig { data_dir: Some(self.0.clone()), ..SandboxConfig::default() }
    }

    fn journal(&self) -> PathBuf {
        self.0.join("toss-sandbox.jsonl")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn ledger(toss: &Server) -> Value {
    toss.get("/sandbox/ledger").await.1
}

#[tokio::test]
async fn books_and_kept_answers_outlive_a_restart() {
    let dir = Dir::new();
    let toss = Server::start_with(dir.config()).await;
    let request =
        |toss: &Server| toss.confirming("tviva_1", "order-0001", 100).header("Idempotency-Key", "k1");
    let first = reply(request(&toss)).await;
    toss.confirm("tviva_reject_card", "order-0002", 100).await;
    toss.cancel("tviva_1", json!({ "cancelReason": "r", "cancelAmount": 30 })).await;
    let (before, payment) = (ledger(&toss).await, toss.inquire("tviva_1").await);
    toss.stop().await;

    let toss = Server::start_with(dir.config()).await;
    assert_eq!(ledger(&toss).await, before);
    assert_eq!(before["movements"].as_array().unwrap().len(), 2);
    assert_eq!(toss.inquire("tviva_1").await, payment);
    assert_eq!(reply(request(&toss)).await, first);
    assert_eq!(toss.inquire("tviva_reject_card").await.1["status"], "ABORTED");
    assert_eq!(toss.totals("order-0001").await, (100, 30));
}

#[tokio::test]
async fn an_answered_confirm_is_in_the_file() {
    let dir = Dir::new();
    let toss = Server::start_with(dir.config()).await;
    reply(toss.confirming("tviva_1", "order-0001", 100).header("Idempotency-Key", "k1")).await;
    let text = fs::read_to_string(dir.journal()).unwrap();
    assert!(text.ends_with('\n') && text.contains("tviva_1"), "{text}");
    assert!(!text.contains(DEFAULT_SECRET_KEY), "{text}");
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_the_journal_goes_on() {
    let dir = Dir::new();
    let toss = Server::start_with(dir.config()).await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    toss.stop().await;
    let mut text = fs::read_to_string(dir.journal()).unwrap();
    text.push_str("{\"payment\":{\"payment_k");
    fs::write(dir.journal(), &text).unwrap();

    let toss = Server::start_with(dir.config()).await;
    toss.confirm("tviva_2", "order-0002", 100).await;
    toss.stop().await;
    let toss = Server::start_with(dir.config()).await;
    assert_eq!(ledger(&toss).await["movements"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn damage_in_the_middle_refuses_to_start() {
    let dir = Dir::new();
    let toss = Server::start_with(dir.config()).await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    toss.stop().await;
    let text = fs::read_to_string(dir.journal()).unwrap();
    fs::write(dir.journal(), format!("{{broken\n{text}")).unwrap();
    let error = Sandbox::open(dir.config()).unwrap_err().to_string();
    assert!(error.contains("damaged in line 1"), "{error}");
}

#[tokio::test]
async fn two_processes_cannot_write_one_journal() {
    let dir = Dir::new();
    let _first = Sandbox::open(dir.config()).unwrap();
    let error = Sandbox::open(dir.config()).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
}

#[tokio::test]
async fn many_confirms_at_once_are_all_in_the_books_after_a_restart() {
    let dir = Dir::new();
    let toss = Server::start_with(dir.config()).await;
    let confirms = (0..200).map(|number| {
        tokio::spawn(reply(toss.confirming(&format!("tviva_{number}"), &format!("order-{number:04}"), 10)))
    });
    for confirm in confirms.collect::<Vec<_>>() {
        assert_eq!(confirm.await.unwrap().0, 200);
    }
    toss.stop().await;
    let toss = Server::start_with(dir.config()).await;
    let (_, totals) = toss.get("/sandbox/ledger/totals").await;
    assert_eq!(
        totals,
        json!({ "captured": 2_000, "refunded": 0, "orders": 200, "orders_paid": 200, "orders_captured_twice": 0 })
    );
    let (_, page) = toss.get("/sandbox/ledger?after=150&limit=30").await;
    assert_eq!((page["movements"].as_array().unwrap().len(), &page["next"]), (30, &json!(180)));
    assert_eq!(page["movements"][0]["number"], 151);
    let again = toss.confirm("tviva_7", "order-0007", 10).await;
    assert_eq!(refusal(&again).1, "ALREADY_PROCESSED_PAYMENT");
}
