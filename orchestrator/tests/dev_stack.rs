//! The servers and processes of `amends dev --bus kafka`, for real: they start, find each other,
//! are restarted when they die, stop in order, and are never left behind.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amends::dev::supervisor::Printer;
use amends::dev::{Process, Stack, Supervisor};

type Lines = Arc<Mutex<Vec<String>>>;

fn collecting() -> (Lines, Printer) {
    let lines = Lines::default();
    let into = Arc::clone(&lines);
    (lines, Arc::new(move |name, line| into.lock().unwrap().push(format!("{name}: {line}"))))
}

fn shell(name: &str, script: &str) -> Process {
    let args = ["-c", script].map(Into::into).to_vec();
    Process { name: name.to_owned(), program: "/bin/sh".into(), args, env: Vec::new() }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
}

/// The processes that have `text` in their command line or work below it.
fn processes_of(folder: &Path) -> Vec<String> {
    let text = folder.to_str().unwrap();
    let postgres = folder.join("postgres").canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut found = Vec::new();
    for process in
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|pid| pid.parse::<u32>().is_ok()))
    {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cwd = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
        if command.contains(text) || cwd.starts_with(folder) || cwd.starts_with(&postgres) {
            found.push(format!("{:?} {command}", process.file_name()));
        }
    }
    found
}

#[tokio::test]
async fn a_process_that_is_killed_is_started_again() {
    let (lines, printer) = collecting();
    let mut supervisor = Supervisor::new(printer);
    supervisor.keep(shell("one", "echo $$; exec sleep 1000"));
    until("it runs", || lines.lock().unwrap().len() == 1).await;
    let first = lines.lock().unwrap()[0].strip_prefix("one: ").unwrap().to_owned();
    signal("KILL", &first);
    until("it runs again", || lines.lock().unwrap().len() == 2).await;
    let second = lines.lock().unwrap()[1].strip_prefix("one: ").unwrap().to_owned();
    assert_ne!(first, second);
    supervisor.stop().await;
    assert!(!Path::new(&format!("/proc/{second}")).exists(), "stopped means ended");
}

/// What the test below starts again; says its arguments.
#[test]
fn child_that_says_hello() {
    if std::env::var_os("AMENDS_TEST_HELLO").is_some() {
        eprintln!("hello");
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// What the test below runs as a process of its own, from a file that is deleted meanwhile.
#[tokio::test]
async fn child_that_starts_itself_again() {
    let Some(program) = std::env::var_os("AMENDS_TEST_DELETE") else { return };
    std::fs::remove_file(program).unwrap();
    let (lines, printer) = collecting();
    let mut supervisor = Supervisor::new(printer);
    let args = ["--exact", "child_that_says_hello", "--nocapture"];
    supervisor.keep(Process::amends("self", args, vec![("AMENDS_TEST_HELLO".to_owned(), "1".to_owned())]));
    until("the same program runs", || lines.lock().unwrap().iter().any(|line| line.ends_with("hello"))).await;
    supervisor.stop().await;
}

#[tokio::test]
async fn a_build_that_replaces_the_program_meanwhile_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let status = Command::new(&copy)
        .args(["--exact", "child_that_starts_itself_again"])
        .env("AMENDS_TEST_DELETE", &copy)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(!copy.exists(), "it ran, and deleted its file");
}

#[tokio::test]
async fn a_process_that_always_ends_is_given_up_and_says_how() {
    let (lines, printer) = collecting();
    let mut supervisor = Supervisor::new(printer);
    supervisor.keep(shell("sound", "exec sleep 1000"));
    supervisor.keep(shell("broken", "echo out; echo err >&2; exit 3"));
    let why = tokio::time::timeout(Duration::from_secs(60), supervisor.failed()).await.unwrap();
    assert_eq!(why, "broken ended 5 times within a minute, the last time with: exit status: 3");
    supervisor.stop().await;
    let lines = lines.lock().unwrap();
    assert_eq!(lines.iter().filter(|line| *line == "broken: out").count(), 5);
    assert_eq!(lines.iter().filter(|line| *line == "broken: err").count(), 5);
}

#[tokio::test]
async fn processes_stop_one_after_another_the_last_started_first() {
    let (lines, printer) = collecting();
    let mut supervisor = Supervisor::new(printer);
    for name in ["sandbox", "worker", "serve"] {
        // Takes a while, so that stopping all at once would mix the lines.
        supervisor.keep(shell(
            name,
            "trap 'echo asked; sleep 0.3; echo gone; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        ));
    }
    until("all run", || lines.lock().unwrap().len() == 3).await;
    supervisor.stop().await;
    let lines = lines.lock().unwrap();
    let order: Vec<&str> = lines[3..].iter().map(String::as_str).collect();
    assert_eq!(
        order,
        ["serve: asked", "serve: gone", "worker: asked", "worker: gone", "sandbox: asked", "sandbox: gone"]
    );
}

/// The shells that guarded the processes may take another moment, the last of their sleeps a tenth of a second.
async fn nothing_runs_in(dir: &Path) {
    until("every process is gone", || processes_of(dir).is_empty()).await;
}

fn remove(dir: &Path) {
    if let Ok(folder) = dir.join("postgres").canonicalize() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_keep_what_they_have_and_leave_no_process() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().canonicalize().unwrap();
    let (lines, printer) = collecting();
    let mut stack = Stack::start(&dir, printer.clone()).await.unwrap();
    let mut check = shell(
        "check",
        r#"redis-cli -u "$AMENDS_REDIS_URL" set kept yes; echo "$AMENDS_KAFKA"; exec sleep 1000"#,
    );
    check.env = stack.environment();
    stack.keep(check);
    until("a process reaches them", || lines.lock().unwrap().len() == 2).await;
    assert_eq!(*lines.lock().unwrap(), ["check: OK".to_owned(), format!("check: {}", stack.kafka())]);
    let kafka = stack.kafka().to_owned();
    drop(std::net::TcpStream::connect(&kafka).unwrap());
    stack.stop().await;
    nothing_runs_in(&dir).await;

    lines.lock().unwrap().clear();
    let mut stack = Stack::start(&dir, printer).await.unwrap();
    assert_eq!(stack.kafka(), kafka);
    let mut check = shell("check", r#"redis-cli -u "$AMENDS_REDIS_URL" get kept; exec sleep 1000"#);
    check.env = stack.environment();
    stack.keep(check);
    until("what Redis kept is there", || *lines.lock().unwrap() == ["check: yes"]).await;
    stack.stop().await;
    nothing_runs_in(&dir).await;
    remove(&dir);
}

/// What the test below runs as a process of its own, to kill it.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_runs_a_stack() {
    let Some(dir) = std::env::var_os("AMENDS_TEST_CHILD_DIR") else { return };
    let dir = Path::new(&dir);
    let mut stack = Stack::start(dir, collecting().1).await.unwrap();
    stack.keep(shell("worker", &format!("touch {}/ready; exec sleep 1000", dir.display())));
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_survives_kill_9_of_this_process() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().canonicalize().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_runs_a_stack", "--nocapture"])
        .env("AMENDS_TEST_CHILD_DIR", &dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the child's stack runs", || {
        assert!(child.try_wait().unwrap().is_none(), "the child ended early");
        dir.join("ready").exists()
    })
    .await;
    // The worker's shell, Redis, Kafka's broker and Postgres at the least.
    assert!(processes_of(&dir).len() >= 4, "{:?}", processes_of(&dir));
    signal("KILL", &child.id().to_string());
    child.wait().unwrap();
    nothing_runs_in(&dir).await;
    remove(&dir);
}
