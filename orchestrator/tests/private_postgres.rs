//! The embedded default's Postgres, on the real programs: it starts, keeps its data, survives being
//! killed, and is never left behind.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use amends::dev::PrivatePostgres;
use sqlx::{Connection, PgConnection};

/// A folder of its own for a cluster, wherever the cluster's data ends up.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn data(&self) -> PathBuf {
        self.dir().join("postgres").canonicalize().unwrap().join("data")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(folder) = self.dir().join("postgres").canonicalize() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The processes that work in the cluster's data.
fn servers(data: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)).collect()
}

fn postmaster(data: &Path) -> u32 {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
}

async fn number(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

async fn text(url: &str, sql: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

async fn run(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn it_keeps_data_port_and_passwords_and_leaves_no_process() {
    let place = Place::new();
    let first = PrivatePostgres::start(place.dir()).await.unwrap();
    let (url, port) = (first.url("amends"), first.port());
    run(&url, "create table kept (n bigint)").await;
    run(&url, "insert into kept values (42)").await;
    for (setting, wanted) in [
        ("select current_setting('fsync')", "on"),
        ("select current_setting('synchronous_commit')", "on"),
        ("select current_setting('full_page_writes')", "on"),
        ("select current_setting('server_encoding')", "UTF8"),
        ("select datcollate::text from pg_database where datname = current_database()", "C.UTF-8"),
        ("select current_user::text", "amends"),
    ] {
        assert_eq!(text(&url, setting).await, wanted, "{setting}");
    }
    first.stop().await.unwrap();
    assert_eq!(servers(&place.data()), Vec::<u32>::new());

    let second = PrivatePostgres::start(place.dir()).await.unwrap();
    assert_eq!(second.port(), port);
    assert_eq!(second.url("amends"), url);
    assert_eq!(number(&url, "select n from kept").await, 42);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn each_service_reaches_its_own_database_only() {
    let place = Place::new();
    let cluster = PrivatePostgres::start(place.dir()).await.unwrap();
    for name in amends::dev::postgres::DATABASES {
        let url = cluster.url(name);
        run(&url, "create table mine (n bigint)").await;
    }
    let stock = cluster.url("amends_stock");
    let other = format!("{}/amends_payment", stock.rsplit_once('/').unwrap().0);
    let refused = PgConnection::connect(&other).await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
    let wrong = cluster.url("amends").replacen("amends:", "amends:x", 1);
    let refused = PgConnection::connect(&wrong).await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
    for name in ["postgres", "Amends", "a; drop database amends", ""] {
        assert!(cluster.create_databases(&[name]).await.is_err(), "{name:?}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(place.dir().join("postgres.password")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_refused_while_the_first_one_runs() {
    let place = Place::new();
    let first = PrivatePostgres::start(place.dir()).await.unwrap();
    let refused = PrivatePostgres::start(place.dir()).await.unwrap_err().to_string();
    assert!(refused.contains("another `amends dev` uses"), "{refused}");
    assert_eq!(number(&first.url("amends"), "select 1::bigint").await, 1);
    first.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_committed_survives_kill_9_of_the_server() {
    let place = Place::new();
    let mut cluster = PrivatePostgres::start(place.dir()).await.unwrap();
    let url = cluster.url("amends");
    run(&url, "create table kept (n bigint)").await;
    run(&url, "insert into kept values (7)").await;
    signal("KILL", postmaster(&place.data()));
    let why = cluster.ended().await;
    assert!(why.contains("Postgres ended"), "{why}");
    drop(cluster);
    // Its number belongs to a living process that is no Postgres: this test. Postgres by itself
    // would take that for a running server when it has the same account.
    let pid_file = place.data().join("postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();

    let again = PrivatePostgres::start(place.dir()).await.unwrap();
    assert_eq!(number(&again.url("amends"), "select n from kept").await, 7);
    again.stop().await.unwrap();
}

#[tokio::test]
async fn another_port_is_taken_when_somebody_has_ours() {
    let place = Place::new();
    let cluster = PrivatePostgres::start(place.dir()).await.unwrap();
    let port = cluster.port();
    cluster.stop().await.unwrap();
    let _somebody = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let cluster = PrivatePostgres::start(place.dir()).await.unwrap();
    assert_ne!(cluster.port(), port);
    assert_eq!(number(&cluster.url("amends"), "select 1::bigint").await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_interrupted_initdb_is_begun_anew() {
    let place = Place::new();
    let cluster = PrivatePostgres::start(place.dir()).await.unwrap();
    cluster.stop().await.unwrap();
    let data = place.data();
    std::fs::rename(&data, data.with_extension("new")).unwrap();
    let cluster = PrivatePostgres::start(place.dir()).await.unwrap();
    assert_eq!(number(&cluster.url("amends"), "select 1::bigint").await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_password_is_said_and_destroys_nothing() {
    let place = Place::new();
    PrivatePostgres::start(place.dir()).await.unwrap().stop().await.unwrap();
    std::fs::remove_file(place.dir().join("postgres.password")).unwrap();
    let refused = PrivatePostgres::start(place.dir()).await.unwrap_err().to_string();
    assert!(refused.contains("postgres.password is gone"), "{refused}");
    assert!(place.data().join("PG_VERSION").exists());
}

/// What the tests below run as a process of its own, to kill it: starts the cluster and waits.
#[test]
fn child_that_runs_a_cluster() {
    let Some(dir) = std::env::var_os("AMENDS_TEST_CHILD_DIR") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _cluster = runtime.block_on(PrivatePostgres::start(Path::new(&dir))).unwrap();
    std::fs::write(Path::new(&dir).join("ready"), "").unwrap();
    loop {
        std::thread::park();
    }
}

fn no_server_survives(by: &str) {
    let place = Place::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_runs_a_cluster", "--nocapture"])
        .env("AMENDS_TEST_CHILD_DIR", place.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the child's cluster runs", || {
        assert!(child.try_wait().unwrap().is_none(), "the child ended early");
        place.dir().join("ready").exists()
    });
    let data = place.data();
    assert!(!servers(&data).is_empty());
    signal(by, child.id());
    child.wait().unwrap();
    until("the server is gone", || servers(&data).is_empty());
    // It was asked to stop: a server that was only killed leaves its pid file.
    until("it stopped cleanly", || !data.join("postmaster.pid").exists());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let again = PrivatePostgres::start(place.dir()).await.unwrap();
        assert_eq!(number(&again.url("amends"), "select 1::bigint").await, 1);
        again.stop().await.unwrap();
    });
}

#[test]
fn no_server_survives_kill_9_of_this_process() {
    no_server_survives("KILL");
}

#[test]
fn no_server_survives_sigterm_of_this_process() {
    no_server_survives("TERM");
}
