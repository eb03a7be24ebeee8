//! The processes of `amends dev --processes`: started one after another, restarted when they die,
//! stopped in the reverse order.
//!
//! Owns restarting and the prefixed log. It must not know what a process does.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guard::{Ending, Guarded, Launch, Output};

/// A process that ends this often within [`ENDS_WINDOW_MS`] is not restarted any more.
const ENDS_MAX: usize = 5;
const ENDS_WINDOW_MS: u64 = 60_000;
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 5_000;
/// Workers finish what they have begun.
const DRAIN_S: u32 = 30;
/// A longer line is cut, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Where the processes' lines go: the process's name and the line.
pub type Printer = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// A process to keep running.
#[derive(Clone, Debug)]
pub struct Process {
    /// What its lines are prefixed with.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables in addition to those of this process.
    pub env: Vec<(String, String)>,
}

impl Process {
    /// The `amends` command that runs now, with other arguments.
    ///
    /// Not by its path: a build may put another one there meanwhile, and a process that is started
    /// again would not be of the same version as the others, or not be there at all.
    pub fn amends<A: Into<OsString>>(
        name: impl Into<String>,
        args: impl IntoIterator<Item = A>,
        env: Vec<(String, String)>,
    ) -> Self {
        let program = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
        Self { name: name.into(), program, args: args.into_iter().map(Into::into).collect(), env }
    }
}

/// Keeps processes running. Dropping it asks all to end, at once and without waiting.
pub struct Supervisor {
    kept: Vec<Kept>,
    printer: Printer,
    gave_up: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

struct Kept {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("processes", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Without a process yet.
    pub fn new(printer: Printer) -> Self {
        Self { kept: Vec::new(), printer, gave_up: mpsc::channel(1) }
    }

    /// Starts a process and keeps it running until [`Supervisor::stop`].
    pub fn keep(&mut self, process: Process) {
        let shutdown = CancellationToken::new();
        let keeper = Keeper {
            process,
            printer: Arc::clone(&self.printer),
            shutdown: shutdown.clone(),
            ends: VecDeque::new(),
        };
        let gave_up = self.gave_up.0.clone();
        let task = tokio::spawn(async move {
            if let Err(why) = keeper.run().await {
                // Full when another one gave up before: one reason is enough.
                let _ = gave_up.try_send(why);
            }
        });
        self.kept.push(Kept { shutdown, task });
    }

    /// Resolves when a process has died too often. Can be dropped and called again.
    pub async fn failed(&mut self) -> String {
        match self.gave_up.1.recv().await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Stops the processes, the last started one first, each before the next.
    pub async fn stop(mut self) {
        while let Some(mut kept) = self.kept.pop() {
            kept.shutdown.cancel();
            if let Err(error) = (&mut kept.task).await {
                tracing::error!(%error, "a process's keeper failed");
            }
        }
    }
}

struct Keeper {
    process: Process,
    printer: Printer,
    shutdown: CancellationToken,
    ends: VecDeque<Instant>,
}

impl Keeper {
    async fn run(mut self) -> Result<(), String> {
        let name = self.process.name.clone();
        loop {
            let how = match self.launch() {
                Ok((mut running, lines)) => {
                    let ended = tokio::select! {
                        ended = running.ended() => Some(ended),
                        () = self.shutdown.cancelled() => None,
                    };
                    let how = match ended {
                        Some(ended) => {
                            ended.map_or_else(|error| error.to_string(), |status| status.to_string())
                        }
                        None => {
                            let stopped = running.end().await;
                            drain(lines).await;
                            if let Ok(status) = stopped
                                && !status.success()
                            {
                                tracing::warn!(process = name, %status, "did not stop cleanly");
                            }
                            return Ok(());
                        }
                    };
                    drain(lines).await;
                    how
                }
                Err(error) => format!("{error:#}"),
            };
            let Some(pause) = self.pause() else {
                return Err(format!(
                    "{name} ended {ENDS_MAX} times within a minute, the last time with: {how}"
                ));
            };
            tracing::warn!(
                process = name,
                how,
                restart_in_ms = pause.as_millis(),
                "ended; starting it again"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => return Ok(()),
            }
        }
    }

    fn launch(&self) -> anyhow::Result<(Guarded, JoinHandle<()>)> {
        let launch = Launch {
            program: self.process.program.clone(),
            args: self.process.args.clone(),
            env: self.process.env.clone(),
            folder: std::env::current_dir()?,
            account: None,
            output: Output::Piped,
            ending: Ending { first: "TERM", last: "KILL", grace_s: DRAIN_S },
        };
        let mut running = launch.start()?;
        let output = running.output().expect("piped, and taken only here");
        let (name, printer) = (self.process.name.clone(), Arc::clone(&self.printer));
        Ok((running, tokio::spawn(print_lines(name, output, printer))))
    }

    /// How long to wait before the next start; `None` when it has ended too often.
    fn pause(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.ends.push_back(now);
        let window = Duration::from_millis(ENDS_WINDOW_MS);
        while self.ends.front().is_some_and(|end| now - *end > window) {
            self.ends.pop_front();
        }
        let ends = self.ends.len();
        let pause_ms = BACKOFF_FIRST_MS.saturating_mul(1 << (2 * (ends - 1)).min(16)).min(BACKOFF_MAX_MS);
        (ends < ENDS_MAX).then(|| Duration::from_millis(pause_ms))
    }
}

/// The rest of the output; bounded, because what the process started may hold the pipe.
async fn drain(mut lines: JoinHandle<()>) {
    if tokio::time::timeout(Duration::from_secs(2), &mut lines).await.is_err() {
        lines.abort();
    }
}

async fn print_lines(name: String, output: ChildStdout, printer: Printer) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                line.truncate(LINE_BYTES_MAX);
                printer(&name, String::from_utf8_lossy(&line).trim_end());
            }
        }
    }
}

/// Prints to standard error as `name | line`, the name coloured on a terminal.
pub fn to_stderr(name_width: usize) -> Printer {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Arc::new(move |name, line| {
        let colour = 31 + name.bytes().fold(0u32, |sum, byte| sum + u32::from(byte)) % 6;
        let text = if colours {
            format!("\x1b[{colour}m{name:name_width$} |\x1b[0m {line}\n")
        } else {
            format!("{name:name_width$} | {line}\n")
        };
        // One write, so that lines do not mix. A closed standard error is no reason to stop.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    })
}
