//! The account that a server runs as.
//!
//! Postgres refuses to run as root, so root hands it to another account. Owns finding that account
//! and acting as it; must not know what is run.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

/// The accounts that root may hand a server to, in order. The second one is created when the first
/// does not exist.
const CANDIDATES: [&str; 2] = ["postgres", "amends-postgres"];

/// An account of the operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
}

impl Account {
    /// The account to hand a server to: none unless this process runs as root.
    ///
    /// # Errors
    /// When this process is root and no other account exists or can be created.
    pub async fn for_servers() -> anyhow::Result<Option<Self>> {
        if id(&["-u"]).await? != Some(0) {
            return Ok(None);
        }
        for name in CANDIDATES {
            if let Some(account) = Self::named(name).await? {
                return Ok(Some(account));
            }
        }
        let name = CANDIDATES[1];
        tracing::info!(account = name, "creating a system account, because Postgres does not run as root");
        let created = Command::new("useradd")
            .args(["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name])
            .stdin(Stdio::null())
            .output()
            .await;
        match created {
            Ok(output) if output.status.success() => {}
            Ok(output) => bail!("useradd {name}: {}", String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => bail!("Postgres does not run as root; create the account `postgres` ({error})"),
        }
        Ok(Some(Self::named(name).await?.context("useradd created no account")?))
    }

    async fn named(name: &str) -> anyhow::Result<Option<Self>> {
        let (uid, gid) = (id(&["-u", name]).await?, id(&["-g", name]).await?);
        Ok(uid.zip(gid).map(|(uid, gid)| Self { name: name.to_owned(), uid, gid }))
    }

    /// Gives a file or folder to the account.
    ///
    /// # Errors
    /// When this process may not.
    pub fn own(&self, path: &Path) -> anyhow::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to {}", path.display(), self.name))
    }

    /// Whether the account can enter a folder, its parents included.
    ///
    /// # Errors
    /// When this process cannot act as the account.
    pub async fn can_enter(&self, folder: &Path) -> anyhow::Result<bool> {
        let mut command = Command::new("/usr/bin/test");
        command.arg("-x").arg(folder).stdin(Stdio::null()).current_dir("/").uid(self.uid).gid(self.gid);
        let status = command.status().await.with_context(|| format!("acting as {}", self.name))?;
        Ok(status.success())
    }
}

/// Runs a short command as `account` (as this process when none) and returns its standard output.
///
/// # Errors
/// When it cannot be run or fails; the message has its standard error.
pub(super) async fn run_as(
    account: Option<&Account>,
    program: &Path,
    args: &[&std::ffi::OsStr],
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).current_dir("/").env("LC_ALL", "C");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    let output = command.output().await.with_context(|| format!("running {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `id` with `args`; `None` when there is no such account.
async fn id(args: &[&str]) -> anyhow::Result<Option<u32>> {
    let output = Command::new("id").args(args).stdin(Stdio::null()).output().await.context("running id")?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Some(text.trim().parse().with_context(|| format!("id printed {text:?}"))?))
}
