//! Child processes that never outlive this one.
//!
//! Owns how a child is started, ended and prevented from becoming an orphan. It must not know what
//! the child is, nor restart it.
//!
//! Each child runs under a few lines of shell that hold the other end of a pipe. When this process
//! ends, however it ends (`kill -9` included), the pipe closes and the shell stops the child. The
//! child is in a process group of its own, so that Ctrl-C in the terminal reaches this process alone
//! and everything is stopped in the order that [`super`] decides.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::account::Account;

/// Runs `$4…`, and stops it by signal `$1`, then `$2` after `$3` seconds, once standard input ends.
const RUN: &str = r#"
first=$1 last=$2 grace_s=$3; shift 3
exec 3<&0 </dev/null
trap : HUP INT QUIT TERM
"$@" 3<&- &
pid=$!
{
    trap - HUP INT QUIT TERM
    read -r _ <&3
    kill -s "$first" "$pid"
    left=$((grace_s * 10))
    while [ "$left" -gt 0 ] && kill -0 "$pid"; do sleep 0.1; left=$((left - 1)); done
    kill -s "$last" "$pid"
} >/dev/null 2>&1 &
watcher=$!
exec 3<&-
while :; do
    wait "$pid"; code=$?
    kill -0 "$pid" 2>/dev/null || break
done
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// Runs `$@` once standard input ends.
const AFTERWARDS: &str = r#"
trap : HUP INT QUIT TERM
while read -r _; do :; done
exec "$@" </dev/null
"#;

/// Where a child's standard output and error go.
#[derive(Clone, Debug)]
pub enum Output {
    /// Appended to a file of mode 0600.
    File(PathBuf),
    /// Read by [`Guarded::output`], both as one stream.
    Piped,
}

/// How a child is asked to end.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The first signal's name, without `SIG`.
    pub first: &'static str,
    /// The signal for a child that still runs after `grace_s`.
    pub last: &'static str,
    /// How long the first signal may take, in seconds.
    pub grace_s: u32,
}

/// A child to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program; looked up in `PATH` unless it is a path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables in addition to those of this process.
    pub env: Vec<(String, String)>,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// The account that it runs as; this process's when absent.
    pub account: Option<Account>,
    /// Where its output goes.
    pub output: Output,
    /// How it is asked to end.
    pub ending: Ending,
}

/// A running child. Dropping it asks the child to end without waiting for it.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    /// Not left in `child`, whose `wait` would close it.
    lifeline: Option<ChildStdin>,
    output: Option<ChildStdout>,
}

impl Launch {
    /// Starts the child.
    ///
    /// # Errors
    /// When it cannot be started or its log cannot be opened. A program that does not exist shows
    /// only as an early end with code 127.
    pub fn start(self) -> anyhow::Result<Guarded> {
        let Ending { first, last, grace_s } = self.ending;
        let script = match &self.output {
            Output::File(_) => RUN.to_owned(),
            Output::Piped => format!("exec 2>&1{RUN}"),
        };
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg("guard").args([first, last, &grace_s.to_string()]);
        command.arg(&self.program).args(&self.args).envs(self.env).current_dir(&self.folder);
        command.process_group(0).stdin(Stdio::piped());
        match &self.output {
            Output::File(path) => {
                let log = open_log(path)?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            Output::Piped => {
                command.stdout(Stdio::piped()).stderr(Stdio::null());
            }
        }
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        spawn(command).with_context(|| format!("starting {}", self.program.display()))
    }
}

/// Runs a command once this process has ended, or the value is dropped; for servers that something
/// else started.
///
/// # Errors
/// When the waiting shell cannot be started.
pub fn afterwards(program: &Path, args: &[OsString], log: &Path) -> anyhow::Result<Guarded> {
    let log = open_log(log)?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", AFTERWARDS, "afterwards"]).arg(program).args(args);
    command.process_group(0).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    spawn(command).with_context(|| format!("waiting to run {}", program.display()))
}

fn spawn(mut command: Command) -> std::io::Result<Guarded> {
    let mut child = command.spawn()?;
    Ok(Guarded { lifeline: child.stdin.take(), output: child.stdout.take(), child })
}

fn open_log(path: &Path) -> anyhow::Result<std::fs::File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening the log {}", path.display()))
}

impl Guarded {
    /// The child's output, once, when it is [`Output::Piped`].
    pub fn output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// Waits until the child has ended. Can be dropped and called again.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// How the child has ended, when it has.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn has_ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks the child to end and waits until it has; the shell's last signal bounds the wait.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub async fn end(mut self) -> std::io::Result<ExitStatus> {
        drop(self.lifeline.take());
        self.child.wait().await
    }
}
