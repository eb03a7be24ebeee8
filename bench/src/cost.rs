//! What a load costs: processor time by part, commits, and bytes of write-ahead log.
//!
//! Reads `/proc` and the database's own counters; it must not touch what it measures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::{ConnectOptions, Connection};

/// The kernel counts processor time in hundredths of a second, whatever its own clock (`proc(5)`, `USER_HZ`).
const TICKS_PER_S: f64 = 100.0;

/// Where the stack of `amends dev --bus kafka` is.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its data's folder, absolute.
    pub dir: PathBuf,
    /// The process that started it all.
    pub pid: i32,
    /// The engine's database.
    pub engine_url: String,
}

/// Counters at one moment.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Processor seconds by process: part, process id.
    cpu_s: BTreeMap<(String, i32), f64>,
    /// Commits by database.
    commits: BTreeMap<String, i64>,
    /// Bytes of write-ahead log, of the whole server.
    wal_bytes: i64,
}

/// What was spent between two moments.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Processor seconds by part.
    pub cpu_s: BTreeMap<String, f64>,
    /// Commits by database.
    pub commits: BTreeMap<String, i64>,
    /// Bytes of write-ahead log.
    pub wal_bytes: i64,
}

impl Stack {
    /// The counters now.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn counters(&self) -> anyhow::Result<Counters> {
        let options: sqlx::postgres::PgConnectOptions = self.engine_url.parse()?;
        let mut connection = options.connect().await.context("the engine's database")?;
        let commits: Vec<(String, i64)> = sqlx::query_as(
            "select datname, xact_commit from pg_stat_database where datname like 'amends%' order by 1",
        )
        .fetch_all(&mut connection)
        .await?;
        let wal_bytes: i64 = sqlx::query_scalar("select wal_bytes::bigint from pg_stat_wal")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Counters { cpu_s: self.processes(), commits: commits.into_iter().collect(), wal_bytes })
    }

    /// The processes of a part, such as "engine and API".
    pub fn pids(&self, part: &str) -> Vec<i32> {
        self.processes().into_keys().filter(|(of, _)| of == part).map(|(_, pid)| pid).collect()
    }

    /// Processor time of each process that belongs to the stack, and of this one.
    fn processes(&self) -> BTreeMap<(String, i32), f64> {
        let postmaster = std::fs::read_to_string(self.dir.join("postgres/data/postmaster.pid")).ok();
        let postmaster = postmaster.and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
        let kafka = self.dir.join("kafka").display().to_string();
        let (mut found, mut running) = (BTreeMap::new(), BTreeMap::new());
        let Ok(entries) = std::fs::read_dir("/proc") else { return found };
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|it| it.parse::<i32>().ok());
            if let Some(pid) = pid
                && let Some(process) = read(&entry.path())
            {
                running.insert(pid, process);
            }
        }
        for (&pid, process) in &running {
            let part = if pid == i32::try_from(std::process::id()).unwrap_or_default() {
                "client".to_owned()
            } else if process.arguments.iter().any(|it| it.starts_with(&kafka)) {
                "Kafka".to_owned()
            } else if postmaster.is_some_and(|it| it == pid || it == process.parent) {
                postgres_part(&process.arguments)
            } else if descends(&running, pid, self.pid) {
                part_of(&process.arguments)
            } else {
                continue;
            };
            found.insert((part, pid), process.cpu_s);
        }
        found
    }
}

impl Counters {
    /// What was spent since an earlier moment. A process that has ended meanwhile is left out.
    pub fn since(&self, earlier: &Self) -> Cost {
        let mut cost = Cost { wal_bytes: self.wal_bytes - earlier.wal_bytes, ..Cost::default() };
        for (process, cpu_s) in &self.cpu_s {
            let before = earlier.cpu_s.get(process).copied().unwrap_or(0.0);
            *cost.cpu_s.entry(process.0.clone()).or_default() += cpu_s - before;
        }
        for (database, commits) in &self.commits {
            let before = earlier.commits.get(database).copied().unwrap_or(0);
            cost.commits.insert(database.clone(), commits - before);
        }
        cost
    }
}

struct Process {
    parent: i32,
    cpu_s: f64,
    arguments: Vec<String>,
}

/// Whether a process was started by another one, or by one of those that it has started.
fn descends(running: &BTreeMap<i32, Process>, pid: i32, from: i32) -> bool {
    let parent = |pid: &i32| running.get(pid).map(|it| it.parent);
    std::iter::successors(parent(&pid), parent).any(|it| it == from)
}

/// `None` when it has just ended.
fn read(folder: &Path) -> Option<Process> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The second field is the name, in parentheses, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let arguments = String::from_utf8_lossy(&std::fs::read(folder.join("cmdline")).ok()?).into_owned();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        cpu_s: ticks / TICKS_PER_S,
        arguments: arguments.split('\0').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
    })
}

/// `amends serve …`, `amends worker order …`, the same of the spike, or a server.
fn part_of(arguments: &[String]) -> String {
    match arguments.get(1).map(String::as_str) {
        Some("serve" | "engine") => "engine and API".to_owned(),
        Some("worker") => format!("worker {}", arguments.get(2).map_or("?", String::as_str)),
        Some("sandbox") => "Toss sandbox".to_owned(),
        _ if arguments.first().is_some_and(|it| it.contains("redis")) => "Redis".to_owned(),
        _ => "other".to_owned(),
    }
}

/// `postgres: USER DATABASE …` names its database; whatever else it does is the server's.
fn postgres_part(arguments: &[String]) -> String {
    let title = arguments.join(" ");
    let database = title.strip_prefix("postgres: ").and_then(|rest| rest.split(' ').nth(1));
    match database.filter(|it| it.starts_with("amends")) {
        Some(database) => format!("Postgres, {database}"),
        None => "Postgres, itself".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_from_command_lines() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(part_of(&words("amends serve --migrate")), "engine and API");
        assert_eq!(part_of(&words("amends worker stock --migrate")), "worker stock");
        assert_eq!(part_of(&words("redis-server *:1")), "Redis");
        assert_eq!(
            postgres_part(&words("postgres: amends_stock amends_stock 127.0.0.1(1) idle")),
            "Postgres, amends_stock"
        );
        assert_eq!(postgres_part(&words("postgres: walwriter")), "Postgres, itself");
    }

    #[test]
    fn only_what_was_spent_between_counts() {
        let at = |cpu_s: f64, commits: i64, wal_bytes: i64| Counters {
            cpu_s: BTreeMap::from([(("client".to_owned(), 7), cpu_s)]),
            commits: BTreeMap::from([("amends".to_owned(), commits)]),
            wal_bytes,
        };
        let cost = at(3.5, 12, 900).since(&at(1.5, 2, 100));
        assert_eq!((cost.cpu_s["client"], cost.commits["amends"], cost.wal_bytes), (2.0, 10, 800));
    }
}
