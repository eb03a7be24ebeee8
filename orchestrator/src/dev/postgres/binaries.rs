//! Finding the Postgres server's programs, and getting them when there are none.
//!
//! Owns where they are looked for and how they are installed. It must not start any of them.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use crate::dev::account::run_as;

/// The oldest major version that the engine's SQL runs on.
const MAJOR_MIN: u32 = 14;
/// The folder with the programs, when the user names one.
const VARIABLE: &str = "AMENDS_POSTGRES_BIN";
/// What Maven Central carries: the programs alone, for machines without root.
const MAVEN_VERSION: &str = "17.5.0";

/// A folder with `postgres`, `initdb` and `pg_ctl` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The folder.
    pub folder: PathBuf,
    /// The major version, such as 17.
    pub major: u32,
}

impl Binaries {
    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Finds the programs, newest version first, and installs them when there are none. `major`
    /// asks for the version that made an existing cluster; `cache` keeps what is downloaded, and
    /// the server's account must be able to enter it.
    ///
    /// # Errors
    /// When none of a usable version can be found or installed; the message says what to do.
    pub async fn find(major: Option<u32>, cache: &Path) -> anyhow::Result<Self> {
        let found = Self::on_this_machine(cache).await?;
        if let Some(binaries) = pick(found, major) {
            return Ok(binaries);
        }
        let problem = match install(cache).await {
            Ok(()) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(binaries) = pick(Self::on_this_machine(cache).await?, major) {
            return Ok(binaries);
        }
        let wanted = major.map_or_else(|| format!("{MAJOR_MIN} or newer"), |major| major.to_string());
        bail!(
            "no Postgres server {wanted} on this machine{}. Install it (Debian, Ubuntu: sudo apt-get install \
             postgresql; then nothing needs to be started), or set {VARIABLE} to the folder of its programs",
            problem.map(|problem| format!(", and installing one failed: {problem}")).unwrap_or_default()
        )
    }

    async fn on_this_machine(cache: &Path) -> anyhow::Result<Vec<Self>> {
        if let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
            let named = Self::in_folder(Path::new(&folder)).await;
            let named = named.with_context(|| format!("{VARIABLE}={}", folder.display()))?;
            ensure!(
                named.major >= MAJOR_MIN,
                "{VARIABLE} has Postgres {}, not {MAJOR_MIN} or newer",
                named.major
            );
            return Ok(vec![named]);
        }
        let mut found: Vec<Self> = Vec::new();
        for folder in places(cache).await {
            if let Ok(binaries) = Self::in_folder(&folder).await
                && binaries.major >= MAJOR_MIN
                && !found.contains(&binaries)
            {
                found.push(binaries);
            }
        }
        Ok(found)
    }

    async fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize()?;
        for name in ["initdb", "pg_ctl"] {
            ensure!(folder.join(name).is_file(), "{} has no {name}", folder.display());
        }
        let text = run_as(None, &folder.join("postgres"), &[OsStr::new("--version")]).await?;
        let major = major_version(&text).with_context(|| format!("`postgres --version` printed {text:?}"))?;
        Ok(Self { folder, major })
    }
}

/// The newest, or the one of the wanted version.
fn pick(found: Vec<Binaries>, major: Option<u32>) -> Option<Binaries> {
    let fits = found.into_iter().filter(|one| major.is_none_or(|major| one.major == major));
    // `max_by_key` takes the last of equals; the first place is the preferred one.
    fits.rev().max_by_key(|one| one.major)
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Folders that may have the programs, the preferred one first.
async fn places(cache: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Ok(text) = run_as(None, Path::new("pg_config"), &[OsStr::new("--bindir")]).await {
        places.push(PathBuf::from(text.trim()));
    }
    // Debian and its kin; Red Hat and its kin.
    places.extend(children("/usr/lib/postgresql").into_iter().map(|version| version.join("bin")));
    places.extend(
        children("/usr")
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pgsql-")))
            .map(|version| version.join("bin")),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        // A link in PATH leads to the folder that has the other programs and their libraries.
        if let Ok(program) = folder.join("initdb").canonicalize() {
            places.extend(program.parent().map(Path::to_path_buf));
        }
    }
    places.push(downloaded(cache).join("bin"));
    places
}

fn children(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn downloaded(cache: &Path) -> PathBuf {
    cache.join(format!("postgres-{MAVEN_VERSION}"))
}

/// By the package manager when this process may, from Maven Central otherwise.
async fn install(cache: &Path) -> anyhow::Result<()> {
    ensure!(std::env::var_os(VARIABLE).is_none_or(|folder| folder.is_empty()), "{VARIABLE} is set");
    let by_apt = by_apt().await;
    if by_apt.is_ok() {
        return Ok(());
    }
    from_maven(cache).await.map_err(|from_maven| match by_apt {
        Err(by_apt) => from_maven.context(format!("{by_apt:#}")),
        Ok(()) => from_maven,
    })
}

async fn by_apt() -> anyhow::Result<()> {
    let root = run_as(None, Path::new("id"), &[OsStr::new("-u")]).await?.trim() == "0";
    ensure!(root, "not root, so not by the package manager");
    ensure!(Path::new("/usr/bin/apt-get").exists(), "no apt-get");
    tracing::info!("installing Postgres by the package manager; no system cluster is created");
    // Debian's package creates and starts a cluster on port 5432 unless told not to.
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    if !settings.exists() {
        std::fs::create_dir_all("/etc/postgresql-common")?;
        std::fs::write(settings, "create_main_cluster = false\n")?;
    }
    let apt = Path::new("/usr/bin/apt-get");
    run(apt, Path::new("/"), &["update", "-q"].map(OsStr::new)).await?;
    run(
        apt,
        Path::new("/"),
        &["install", "-q", "-y", "--no-install-recommends", "postgresql"].map(OsStr::new),
    )
    .await
}

/// Gets the jar by Maven, whose settings (mirrors, proxies) then hold here too, and unpacks the
/// archive that it carries.
async fn from_maven(cache: &Path) -> anyhow::Result<()> {
    let platform = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64v8",
        other => bail!("no Postgres for {other} on Maven Central"),
    };
    tracing::info!(version = MAVEN_VERSION, "getting Postgres from Maven Central");
    std::fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
    let fresh = tempfile_in(cache)?;
    let artifact =
        format!("io.zonky.test.postgres:embedded-postgres-binaries-linux-{platform}:{MAVEN_VERSION}");
    let maven = [
        "-B".to_owned(),
        "-q".to_owned(),
        "-ntp".to_owned(),
        "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack".to_owned(),
        format!("-Dartifact={artifact}"),
        format!("-DoutputDirectory={}", fresh.display()),
    ];
    let maven: Vec<&OsStr> = maven.iter().map(OsStr::new).collect();
    // It notes in the current folder what it has unpacked, and does not do it again.
    run(Path::new("mvn"), &fresh, &maven).await.context("Maven (Debian, Ubuntu: maven)")?;
    let archive = children(&fresh.to_string_lossy())
        .into_iter()
        .find(|path| path.extension() == Some(OsStr::new("txz")));
    let archive = archive.context("the jar carries no archive")?;
    let unpacked = fresh.join("unpacked");
    std::fs::create_dir(&unpacked)?;
    let tar = [OsStr::new("-xJf"), archive.as_os_str(), OsStr::new("-C"), unpacked.as_os_str()];
    run(Path::new("tar"), &fresh, &tar).await.context("tar with xz (Debian, Ubuntu: xz-utils)")?;
    std::fs::set_permissions(&unpacked, std::fs::Permissions::from_mode(0o755))?;
    // Moved into place when complete: an interrupted download is never taken for Postgres.
    let target = downloaded(cache);
    if !target.exists() {
        std::fs::rename(&unpacked, &target).with_context(|| format!("creating {}", target.display()))?;
    }
    std::fs::remove_dir_all(&fresh)?;
    Ok(())
}

fn tempfile_in(cache: &Path) -> anyhow::Result<PathBuf> {
    let fresh = cache.join(format!("postgres.{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&fresh).with_context(|| format!("creating {}", fresh.display()))?;
    Ok(fresh)
}

/// Runs an installer without a terminal; its output is only for the message of a failure.
async fn run(program: &Path, folder: &Path, args: &[&OsStr]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive");
    let output = command.output().await.with_context(|| format!("running {}", program.display()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let end = &lines[lines.len().saturating_sub(5)..];
    ensure!(output.status.success(), "{} failed: {}", program.display(), end.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn binaries(folder: &str, major: u32) -> Binaries {
        Binaries { folder: folder.into(), major }
    }

    #[test]
    fn the_version_is_read_from_what_postgres_prints() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("postgres"), None);
    }

    #[test]
    fn the_newest_is_taken_unless_a_cluster_asks_for_its_own() {
        let found = vec![binaries("/a", 15), binaries("/b", 17), binaries("/c", 17)];
        assert_eq!(pick(found.clone(), None).unwrap().folder, Path::new("/b"));
        assert_eq!(pick(found.clone(), Some(15)).unwrap().folder, Path::new("/a"));
        assert_eq!(pick(found, Some(16)), None);
    }

    /// The way of a machine without root, for real; Maven downloads only the first time.
    #[tokio::test]
    async fn maven_central_carries_a_server_that_runs() {
        let cache = tempfile::tempdir().unwrap();
        from_maven(cache.path()).await.unwrap();
        let binaries = Binaries::in_folder(&downloaded(cache.path()).join("bin")).await.unwrap();
        assert_eq!(binaries.major, 17);
    }
}
