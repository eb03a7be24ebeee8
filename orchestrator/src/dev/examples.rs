//! The workers in other languages that `amends dev --bus kafka` starts beside the shop's: coupons in TypeScript, points
//! in Python.
//!
//! Owns how they are made ready and started. What they need may be missing on a machine (Python, Node, a way to their
//! package registries): then they are left out, with the reason, and so are the definitions that ask them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::supervisor::Process;

/// How long getting a worker's packages, or giving it something to begin with, may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A worker in another language.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Its name in definitions and topics.
    pub name: &'static str,
    /// Its folder in `examples/workers`, which is named after its language.
    pub folder: &'static str,
    /// The variable that holds its database's URL.
    pub variable: &'static str,
    /// What it is told once, so that there is something to try: its arguments.
    pub seed: &'static [&'static str],
}

/// All of them.
pub const EXAMPLES: [Example; 2] = [
    Example {
        name: "coupon",
        folder: "typescript",
        variable: "COUPON_DATABASE_URL",
        seed: &["add", "SPRING-*", "1000"],
    },
    Example {
        name: "points",
        folder: "python",
        variable: "POINTS_DATABASE_URL",
        seed: &["credit", "kim", "100000"],
    },
];

/// One that can be started.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which.
    pub example: Example,
    script: PathBuf,
}

impl Example {
    /// Its database.
    pub fn database(&self) -> String {
        format!("amends_{}", self.name)
    }

    /// Gets what it needs.
    ///
    /// # Errors
    /// Why it cannot be started on this machine.
    pub async fn prepare(self) -> anyhow::Result<Ready> {
        let here = std::env::current_dir()?;
        let within = format!("examples/workers/{}/run", self.folder);
        let script = here.ancestors().map(|folder| folder.join(&within)).find(|script| script.is_file());
        let script = script.with_context(|| format!("there is no {within} here or above"))?;
        let ready = Ready { example: self, script };
        ready.told(&["--prepare"], &[]).await?;
        Ok(ready)
    }
}

impl Ready {
    /// Gives it something to begin with.
    ///
    /// # Errors
    /// What it says.
    pub async fn seed(&self, env: &[(String, String)]) -> anyhow::Result<()> {
        self.told(self.example.seed, env).await
    }

    /// The process to keep.
    pub fn process(&self, env: Vec<(String, String)>) -> Process {
        let name = self.example.name.to_owned();
        Process { name, program: self.script.clone(), args: Vec::<OsString>::new(), env }
    }

    async fn told(&self, args: &[&str], env: &[(String, String)]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.script);
        command.args(args).envs(env.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.with_context(|| format!("it takes longer than {} s", PATIENCE.as_secs()))?;
        let output = output.with_context(|| format!("running {}", self.script.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.lines().last().unwrap_or("it says nothing"));
        }
        Ok(())
    }
}
