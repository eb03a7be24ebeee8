//! The servers of a stack of one's own, to be hurt. It must never be pointed at a stack that others use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A stack that belongs to this run alone, as `tests/faults/run` starts it.
#[derive(Clone, Debug)]
pub struct Servers {
    folder: PathBuf,
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

impl Servers {
    /// The stack that `AMENDS_FAULTS_STACK` names.
    ///
    /// # Errors
    /// When there is none: the usual one belongs to other tests too.
    pub fn own() -> anyhow::Result<Self> {
        let folder = std::env::var_os("AMENDS_FAULTS_STACK").filter(|it| !it.is_empty());
        let folder = folder.ok_or_else(|| {
            anyhow::anyhow!("this hurts its servers and needs a stack of its own; run it by tests/faults/run")
        })?;
        anyhow::ensure!(
            std::env::var_os("AMENDS_STACK").is_some_and(|it| it == folder),
            "AMENDS_STACK and AMENDS_FAULTS_STACK are not the same folder"
        );
        Ok(Self { folder: folder.into() })
    }

    /// Postgres dies without a checkpoint and comes back: what `pg_ctl restart -m immediate` does.
    pub fn restart_postgres_immediately(&self) {
        let file = self.folder.join("postgres/data/postmaster.pid");
        let text = std::fs::read_to_string(&file).expect("Postgres runs");
        let pid = text.lines().next().expect("its first line is the process's id");
        run(Command::new("kill").args(["-QUIT", pid]));
        // Gone when its file is.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while file.exists() {
            assert!(std::time::Instant::now() < until, "Postgres does not die");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.up("postgres");
    }

    /// `kill -9` for the broker.
    pub fn kill_kafka(&self) {
        self.kafka("kill");
    }

    /// The broker dies and loses its disk.
    pub fn wipe_kafka(&self) {
        self.kafka("wipe");
    }

    /// Starts what was stopped, and waits until it answers.
    pub fn up(&self, service: &str) {
        run(script("deploy/stack").arg("up").env("AMENDS_STACK_SERVICES", service));
    }

    /// Stops a service.
    pub fn down(&self, service: &str) {
        run(script("deploy/stack").arg("down").env("AMENDS_STACK_SERVICES", service));
    }

    fn kafka(&self, command: &str) {
        run(script("deploy/kafka/kafka").arg(command).arg("--data").arg(self.folder.join("kafka")));
    }
}

fn script(path: &str) -> Command {
    let mut command = Command::new(Path::new(ROOT).join(path));
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
