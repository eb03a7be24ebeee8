//! Where the private cluster's files are, and what a crashed run left there.
//!
//! Owns the folder, its lock, the password and the port. It must not start a server.

use std::fs::{File, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use crate::dev::account::Account;

/// Where the cluster goes when the server's account cannot enter the folder that was asked for.
const ELSEWHERE: &str = "/var/lib/amends";
/// The port that is tried first.
const PORT_PREFERRED: u16 = 15432;
/// A log that is longer is put aside at the next start.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The cluster's folder, locked for this process.
#[derive(Debug)]
pub(super) struct Home {
    /// The real folder, of the server's account.
    pub(super) folder: PathBuf,
    /// Where downloaded programs go: the server's account can enter it.
    pub(super) cache: PathBuf,
    /// The superuser's password.
    pub(super) password: String,
    settings: PathBuf,
    /// Held, not read: the lock ends with it.
    _lock: File,
}

impl Home {
    /// Prepares `dir/postgres`, or a link to a folder that `account` can enter.
    ///
    /// # Errors
    /// When the folder cannot be made or another process has it.
    pub(super) async fn open(dir: &Path, account: Option<&Account>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let (folder, cache) = place(&dir, account).await?;
        let lock = lock(&folder.join("lock"))?;
        let password = password(&dir.join("postgres.password"), &folder)?;
        Ok(Self { folder, cache, password, settings: dir, _lock: lock })
    }

    /// The cluster's data.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The server's log. It belongs to this process, which opens it for the server.
    pub(super) fn log(&self) -> PathBuf {
        self.settings.join("postgres.log")
    }

    /// The major version that made the data, when there is any.
    pub(super) fn major(&self) -> anyhow::Result<Option<u32>> {
        match std::fs::read_to_string(self.data().join("PG_VERSION")) {
            Ok(text) => Ok(Some(text.trim().parse().with_context(|| format!("PG_VERSION is {text:?}"))?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("reading PG_VERSION"),
        }
    }

    /// A port that is free now: the one of the last time, the usual one, or any. `tries` counts the
    /// times that one of them was taken between this call and the server's start.
    pub(super) fn port(&self, tries: u32) -> anyhow::Result<u16> {
        let file = self.settings.join("postgres.port");
        let last = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let preferred = [last, Some(PORT_PREFERRED)].into_iter().flatten();
        let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = match preferred.filter(|_| tries == 0).find(free) {
            Some(port) => port,
            None => std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port(),
        };
        if last != Some(port) {
            std::fs::write(&file, format!("{port}\n"))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(port)
    }

    /// Puts a long log aside and returns where the new part begins, in bytes.
    pub(super) fn begin_log(&self) -> anyhow::Result<u64> {
        let log = self.log();
        let length = std::fs::metadata(&log).map_or(0, |log| log.len());
        if length <= LOG_BYTES_MAX {
            return Ok(length);
        }
        std::fs::rename(&log, log.with_extension("log.1")).context("putting the log aside")?;
        Ok(0)
    }

    /// The processes that work in the data: an orphaned server of a run that was killed, or what
    /// is left of one. Servers run with the data as their working directory.
    pub(super) fn processes(&self) -> Vec<u32> {
        let Ok(data) = self.data().canonicalize() else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
            .collect()
    }

    /// Waits until no process works in the data, and removes the pid file that a crash left: its
    /// number may by now belong to something else, for which Postgres would refuse to start.
    ///
    /// # Errors
    /// When a process still does after `wait_ms`.
    pub(super) async fn clear_leftovers(&self, wait_ms: u64) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            // Removing the pid file under a living backend would let two servers write one cluster.
            ensure!(
                tokio::time::Instant::now() < deadline,
                "processes {left:?} of an earlier Postgres still work in {}",
                self.data().display()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match std::fs::remove_file(self.data().join("postmaster.pid")) {
            Ok(()) => tracing::info!("the last Postgres was killed; it recovers from its log now"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("removing a stale postmaster.pid"),
        }
        Ok(())
    }
}

/// The cluster's folder and the one for downloads.
async fn place(dir: &Path, account: Option<&Account>) -> anyhow::Result<(PathBuf, PathBuf)> {
    let link = dir.join("postgres");
    let Some(account) = account else {
        std::fs::create_dir_all(&link)?;
        std::fs::set_permissions(&link, Permissions::from_mode(0o700))?;
        return Ok((link, dir.to_path_buf()));
    };
    let reachable = account.can_enter(dir).await?;
    let cache = if reachable { dir.to_path_buf() } else { PathBuf::from(ELSEWHERE) };
    if let Ok(folder) = link.canonicalize() {
        ensure!(
            account.can_enter(&folder).await?,
            "{} cannot enter {}; move the repository to where it can, or delete the folder",
            account.name,
            folder.display()
        );
        return Ok((folder, cache));
    }
    let folder = if reachable {
        link
    } else {
        let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let folder = Path::new(ELSEWHERE).join(name);
        tracing::info!(
            account = account.name, folder = %folder.display(), link = %link.display(),
            "Postgres runs as another account, which cannot enter the repository: its data is elsewhere, with a link"
        );
        // Its target was deleted, or `canonicalize` would have followed it.
        let _ = std::fs::remove_file(&link);
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        symlink(&folder, &link).with_context(|| format!("creating {}", link.display()))?;
        folder
    };
    std::fs::create_dir_all(&folder)?;
    account.own(&folder)?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    Ok((folder, cache))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `amends dev` uses {}", path.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// The superuser's password, made up the first time.
fn password(path: &Path, folder: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            ensure!(text.len() >= 16, "{} is damaged", path.display());
            return Ok(text);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    }
    ensure!(
        !folder.join("data").exists(),
        "{} is gone, but the cluster that it belongs to is not; delete {} to begin anew",
        path.display(),
        folder.display()
    );
    let password: String = rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect();
    // Complete or absent: a crash in between must not leave half a password.
    let fresh = path.with_extension("password.new");
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(password.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path).with_context(|| format!("writing {}", path.display()))?;
    Ok(password)
}
