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

    /// Another cluster of Kafka beside the stack's, of three brokers.
    pub fn three_brokers(&self) -> Brokers {
        let port: u16 =
            std::env::var("AMENDS_STACK_KAFKA_PORT").ok().and_then(|it| it.parse().ok()).unwrap_or(27_092);
        let brokers = Brokers { data: self.folder.join("three-brokers"), port: port + 10 };
        brokers.run(&["wipe"]);
        brokers.run(&["start", "--brokers", "3", "--port", &brokers.port.to_string()]);
        brokers
    }

    /// Moves a service's data (`postgres` or `kafka`) to a disk that [`SmallDisk::fill`] can fill.
    ///
    /// # Errors
    /// When this is not root, who alone can mount one.
    pub fn on_a_small_disk(&self, service: &'static str) -> anyhow::Result<SmallDisk> {
        let folder = match service {
            "postgres" => self.folder.join("postgres/data"),
            _ => self.folder.join("kafka/node-1"),
        };
        let folder = folder.canonicalize()?;
        let kept = folder.with_extension("kept");
        self.down(service);
        if kept.exists() {
            // Of a run that was killed; the stack has been reset since.
            std::fs::remove_dir_all(&kept)?;
        }
        std::fs::rename(&folder, &kept)?;
        std::fs::create_dir(&folder)?;
        let disk = SmallDisk { servers: self.clone(), service, folder, kept };
        let size = format!("size={SMALL_DISK_MB}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk.folder).output()?;
        anyhow::ensure!(
            mounted.status.success(),
            "a small disk cannot be mounted, which takes root: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        // With the owner and the mode of the folder itself, which Postgres looks at.
        run(Command::new("cp").args(["-aT"]).arg(&disk.kept).arg(&disk.folder));
        self.up(service);
        Ok(disk)
    }

    fn kafka(&self, command: &str) {
        run(script("deploy/kafka/kafka").arg(command).arg("--data").arg(self.folder.join("kafka")));
    }
}

/// Room for a fresh server and some thousand orders, in MB.
const SMALL_DISK_MB: u32 = 800;

/// The disk of one of the servers. Dropped, the server has its old disk and its old data again.
#[derive(Debug)]
pub struct SmallDisk {
    servers: Servers,
    /// Whose it is.
    pub service: &'static str,
    folder: PathBuf,
    kept: PathBuf,
}

impl SmallDisk {
    /// Takes all the room that is left.
    pub fn fill(&self) {
        let filler = format!("of={}", self.folder.join("filler").display());
        let filled =
            Command::new("dd").args(["if=/dev/zero", &filler, "bs=64K"]).output().expect("dd can be run");
        let said = String::from_utf8_lossy(&filled.stderr);
        assert!(!filled.status.success() && said.contains("No space left"), "the disk is not full: {said}");
    }

    /// Makes room, and starts the server when it has died.
    pub fn make_room(&self) {
        std::fs::remove_file(self.folder.join("filler")).expect("the disk was full");
        self.servers.up(self.service);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.servers.down(self.service);
        // While a server still dies, its disk is busy.
        for _ in 0..100 {
            let gone = Command::new("umount").arg(&self.folder).output().is_ok_and(|it| it.status.success());
            if gone {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let back = std::fs::remove_dir(&self.folder).and_then(|()| std::fs::rename(&self.kept, &self.folder));
        match back {
            Ok(()) => self.servers.up(self.service),
            Err(error) => eprintln!("{} has not got its disk back: {error}", self.service),
        }
    }
}

/// Three brokers. Dropped, they are gone with their data.
#[derive(Debug)]
pub struct Brokers {
    data: PathBuf,
    port: u16,
}

impl Brokers {
    /// Where they listen: `host:port,…`.
    pub fn address(&self) -> String {
        (0..3).map(|n| format!("127.0.0.1:{}", self.port + n)).collect::<Vec<_>>().join(",")
    }

    /// `kill -9` for one of them, 1 to 3.
    pub fn kill(&self, node: u8) {
        self.run(&["kill", "--node", &node.to_string()]);
    }

    /// Starts it again, and waits until it answers.
    pub fn start(&self, node: u8) {
        self.run(&["start", "--node", &node.to_string()]);
    }

    fn run(&self, arguments: &[&str]) {
        run(script("deploy/kafka/kafka").args(arguments).arg("--data").arg(&self.data));
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        let _ = script("deploy/kafka/kafka").arg("wipe").arg("--data").arg(&self.data).output();
        let _ = std::fs::remove_dir_all(&self.data);
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
