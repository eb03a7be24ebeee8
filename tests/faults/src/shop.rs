//! The shop as processes on a real Kafka, Postgres and Redis: started, killed and started again.

#![allow(clippy::unwrap_used, reason = "whatever fails here fails the run")]

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bench::books::{self, Report, Sources};
use bench::load::Load;
use serde_json::{Value, json};
use test_support::{FreshDatabase, eventually, fresh_database, kafka, redis_url, unique_prefix, until_some};
use tokio::sync::{Mutex, MutexGuard};

const SECRET_KEY: &str = "test_sk_amends";
/// Units of each SKU: more than any run can order.
const ON_HAND: u64 = 1_000_000;
const SKUS: [&str; 5] = ["apple", "pear", "plum", "fig", "quince"];
/// How long a run may take to come to rest, in ms.
const REST_MS: u64 = 180_000;

static TURN: Mutex<()> = Mutex::const_new(());

/// These tests load the whole machine: one at a time.
pub async fn one_at_a_time() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// How a shop is set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `amends` command.
    pub amends: PathBuf,
    /// Part of the topics' names.
    pub name: String,
    /// Where the processes find Postgres, when not where it is: a proxy's port.
    pub postgres_port: Option<u16>,
    /// Whether the sandbox's webhooks reach the payment worker.
    pub webhooks: bool,
    /// What is younger, in ms, the reconciliation leaves alone; as usual when absent.
    pub reconcile_grace_ms: Option<i64>,
    /// Kafka's brokers, `host:port,…`; the stack's when absent.
    pub kafka: Option<String>,
    /// The library that fakes a process's clock, where clocks are to be moved.
    pub fake_clock: Option<PathBuf>,
}

impl Plan {
    /// The usual one.
    pub fn new(amends: impl Into<PathBuf>, name: &str) -> Self {
        Self {
            amends: amends.into(),
            name: name.to_owned(),
            postgres_port: None,
            webhooks: false,
            reconcile_grace_ms: None,
            kafka: None,
            fake_clock: None,
        }
    }
}

/// Databases, topics and processes of one run.
#[derive(Debug)]
pub struct Shop {
    plan: Plan,
    databases: HashMap<&'static str, FreshDatabase>,
    engine: sqlx::PgPool,
    prefix: String,
    ports: HashMap<String, u16>,
    children: HashMap<String, Child>,
    folder: tempfile::TempDir,
}

/// The worker of `http` steps, which is started where one is tested.
pub const HTTP: &str = "http";
/// The shop's workers.
pub const WORKERS: [&str; 4] = ["order", "stock", "payment", "notify"];

impl Shop {
    /// Fresh databases and topics, every process started, and the stock filled. `amends` is the command's path.
    pub async fn open(amends: &str, name: &str) -> Self {
        Self::with(Plan::new(amends, name)).await
    }

    /// The same, set up otherwise.
    pub async fn with(plan: Plan) -> Self {
        bench::install_tls();
        let mut databases = HashMap::new();
        for database in ["engine", "order", "stock", "payment", "notify", "http"] {
            databases.insert(database, fresh_database().await);
        }
        let engine = databases["engine"].pool(3).await;
        let mut shop = Self {
            databases,
            engine,
            prefix: unique_prefix(&plan.name),
            plan,
            ports: HashMap::new(),
            children: HashMap::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        let mut migrate = shop.amends(&["db", "migrate"]);
        let migrated = migrate.output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        shop.start_again("sandbox").await;
        for worker in WORKERS {
            shop.start_again(worker).await;
        }
        shop.start_again("orchestrator").await;
        let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/../../saga-defs/order-checkout.yaml");
        shop.publish(&std::fs::read_to_string(checkout).unwrap());
        shop.fill_stock().await;
        shop
    }

    /// Publishes a definition.
    pub fn publish(&self, definition: &str) {
        let file = self.folder.path().join("definition.yaml");
        std::fs::write(&file, definition).unwrap();
        let url = self.url("orchestrator");
        let published =
            self.amends(&["def", "--url", &url, "publish", file.to_str().unwrap()]).output().unwrap();
        assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    }

    /// The binary, with everything it needs in its environment.
    pub fn amends(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.plan.amends);
        command
            .args(arguments)
            .env("AMENDS_BUS", "kafka")
            .env("AMENDS_KAFKA", self.plan.kafka.clone().unwrap_or_else(kafka))
            .env("AMENDS_TOPIC_PREFIX", &self.prefix)
            .env("AMENDS_REDIS_URL", redis_url())
            .env("AMENDS_SHARDS", "4")
            .env("AMENDS_DATABASE_URL", self.database_url("engine"))
            .env_remove("AMENDS_FAILPOINT")
            .env_remove("AMENDS_URL")
            .env_remove("AMENDS_API_KEY")
            .env("TOSS_SECRET_KEY", SECRET_KEY)
            .env("AMENDS_RECONCILE_ORDER_URL", self.database_url("order"))
            .env("AMENDS_RECONCILE_STOCK_URL", self.database_url("stock"))
            .env("AMENDS_LOG", "info")
            .stdin(Stdio::null());
        if let Some(grace_ms) = self.plan.reconcile_grace_ms {
            command.env("AMENDS_RECONCILE_GRACE_MS", grace_ms.to_string());
        }
        if let Some(port) = self.ports.get("sandbox") {
            command.env("TOSS_BASE_URL", format!("http://127.0.0.1:{port}"));
        }
        for worker in WORKERS.into_iter().chain([HTTP]) {
            let variable = format!("AMENDS_{}_DATABASE_URL", worker.to_uppercase());
            command.env(variable, self.database_url(worker));
        }
        command
    }

    /// A database as the processes reach it.
    fn database_url(&self, database: &str) -> String {
        let url = &self.databases[database].url;
        let Some(port) = self.plan.postgres_port else { return url.clone() };
        let (head, path) = url.rsplit_once('/').unwrap();
        let (head, _) = head.rsplit_once(':').unwrap();
        format!("{head}:{port}/{path}")
    }

    /// Starts a process under the name and port that it had, and waits until it answers.
    pub async fn start_again(&mut self, name: &str) {
        let command = self.process(name);
        self.spawn(name, command);
        self.answers(name).await;
    }

    /// Starts a process whose thread stands still for ever when it comes by the failpoint for the `times`-th time,
    /// and whose watchdog waits for so many seconds.
    pub fn start_hanging(&mut self, name: &str, failpoint: &str, times: u32, watchdog_s: u64) {
        let mut command = self.process(name);
        command
            .env("AMENDS_FAILPOINT", format!("{failpoint}={times}:hang"))
            .env("AMENDS_WATCHDOG_S", watchdog_s.to_string());
        self.spawn(name, command);
    }

    /// Starts a worker in another language by its script in `examples/workers`, on a database of its own whose URL it
    /// finds in `variable`, after it was told `seeds`; waits until the engine knows it.
    pub async fn start_example(
        &mut self,
        name: &'static str,
        folder: &str,
        variable: &str,
        seeds: &[&[&str]],
    ) {
        self.databases.insert(name, fresh_database().await);
        // What stands behind the question mark is for sqlx.
        let url = self.database_url(name);
        let url = url.split('?').next().unwrap().to_owned();
        let script = format!("{}/../../examples/workers/{folder}/run", env!("CARGO_MANIFEST_DIR"));
        let command = || {
            let mut command = Command::new(&script);
            let kafka = self.plan.kafka.clone().unwrap_or_else(kafka);
            command
                .env("AMENDS_KAFKA", kafka)
                .env("AMENDS_TOPIC_PREFIX", &self.prefix)
                .env(variable, &url)
                .stdin(Stdio::null());
            command
        };
        for seed in seeds {
            let told = command().args(*seed).output().unwrap();
            assert!(told.status.success(), "{name}: {}", String::from_utf8_lossy(&told.stderr));
        }
        let worker = command();
        self.spawn(name, worker);
        let workers = format!("{}/ops/workers", self.url("orchestrator"));
        eventually(&format!("{name} announces itself"), 120_000, async || {
            let told = reqwest::get(&workers).await.unwrap().text().await.unwrap();
            told.contains(&format!("\"{name}\""))
        })
        .await;
    }

    /// Starts a process that dies when it comes by the failpoint for the `times`-th time. It may die at once, so
    /// nobody waits for it.
    pub fn start_armed(&mut self, name: &str, failpoint: &str, times: u32) {
        let mut command = self.process(name);
        command.env("AMENDS_FAILPOINT", format!("{failpoint}={times}"));
        self.spawn(name, command);
    }

    fn process(&mut self, name: &str) -> Command {
        let listen = format!("127.0.0.1:{}", self.port(name));
        match name {
            "sandbox" => {
                let books = self.folder.path().join("sandbox");
                let mut sandbox =
                    self.amends(&["sandbox", "--listen", &listen, "--dir", books.to_str().unwrap()]);
                if self.plan.webhooks {
                    let payment = self.port("payment");
                    sandbox.args(["--webhook-url", &format!("http://127.0.0.1:{payment}/webhooks/toss")]);
                }
                sandbox
            }
            "payment" => {
                let engine = self.port("orchestrator");
                let mut payment = self.amends(&["worker", "payment", "--listen", &listen]);
                payment.env("AMENDS_URL", format!("http://127.0.0.1:{engine}"));
                payment
            }
            HTTP => {
                let sandbox = self.port("sandbox");
                let mut http = self.amends(&["worker", "http", "--listen", &listen]);
                http.env("AMENDS_HTTP_ROUTES", format!("api.carrier.example=http://127.0.0.1:{sandbox}"))
                    .env("AMENDS_HTTP_SECRET_CARRIER_KEY", "carrier_test_key")
                    .env("AMENDS_HTTP_SECRET_CARRIER_KEY_HOST", "api.carrier.example");
                http
            }
            worker if WORKERS.contains(&worker) => self.amends(&["worker", worker, "--listen", &listen]),
            _ => self.amends(&["serve", "--listen", &listen]),
        }
    }

    fn port(&mut self, name: &str) -> u16 {
        *self
            .ports
            .entry(name.to_owned())
            .or_insert_with(|| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
    }

    /// Where a process listens.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports[name])
    }

    /// Sets a process's clock ahead of the machine's by so many seconds.
    pub fn set_clock(&self, name: &str, ahead_s: i64) {
        std::fs::write(self.clock(name), format!("+{ahead_s}")).unwrap();
    }

    fn clock(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.clock"))
    }

    fn spawn(&mut self, name: &str, mut command: Command) {
        if let Some(library) = &self.plan.fake_clock {
            let clock = self.clock(name);
            if !clock.exists() {
                self.set_clock(name, 0);
            }
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", clock)
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let log = self.folder.path().join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.children.insert(name.to_owned(), command.spawn().unwrap());
    }

    /// Waits until a process answers.
    pub async fn answers(&self, name: &str) {
        let health = format!("{}/healthz", self.url(name));
        let client = reqwest::Client::new();
        eventually(&format!("{name} answers"), 60_000, async || {
            client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Whether the engine says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("{}/readyz", self.url("orchestrator"))).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// A gauge or counter without labels.
    pub async fn metric(&self, name: &str, metric: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.url(name))).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("there is no metric {metric}")).trim().parse().unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.children.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A process's id.
    pub fn pid(&self, name: &str) -> u32 {
        self.children[name].id()
    }

    /// Sends a process a signal, such as `STOP`, `CONT` or `TERM`.
    pub fn signal(&self, name: &str, signal: &str) {
        let pid = self.pid(name).to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    /// Stops a process as an operator does, and waits for it.
    pub async fn stop(&mut self, name: &str) {
        self.signal(name, "TERM");
        self.dies(name).await;
    }

    /// Waits until a process has died by itself, and how.
    pub async fn dies(&mut self, name: &str) -> ExitStatus {
        let mut child = self.children.remove(name).unwrap();
        until_some(&format!("{name} dies"), REST_MS, async || child.try_wait().unwrap()).await
    }

    /// The prefix of the topics.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn fill_stock(&self) {
        let client = reqwest::Client::new();
        for sku in SKUS {
            let url = format!("{}/stock/{sku}", self.url("stock"));
            let answer = client.put(url).json(&json!({ "on_hand": ON_HAND })).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
        }
    }

    /// Orders, every tenth card rejected.
    pub fn load(&self, orders: u64, in_flight: usize) -> Load {
        Load {
            api_url: self.url("orchestrator"),
            orders,
            in_flight,
            skus: SKUS.map(str::to_owned).to_vec(),
            reject_every: 10,
            stem: "order".to_owned(),
            patience: Duration::from_secs(120),
        }
    }

    /// So many sagas were started.
    pub async fn orders_reach(&self, count: u64) {
        let count = i64::try_from(count).unwrap();
        eventually("orders come in", REST_MS, async || {
            let started: i64 = self.count("select count(*) from saga").await;
            started >= count
        })
        .await;
    }

    /// So many sagas run at the same time.
    pub async fn are_running(&self, count: u64) {
        let count = i64::try_from(count).unwrap();
        eventually("all are in flight", REST_MS, async || {
            self.count("select count(*) from saga where status = 0").await == count
        })
        .await;
    }

    /// So many sagas have ended.
    pub async fn orders_end(&self, count: u64) {
        let count = i64::try_from(count).unwrap();
        eventually("orders are worked off", REST_MS, async || {
            self.count("select count(*) from saga where status > 1").await >= count
        })
        .await;
    }

    /// The shards are owned by exactly these processes.
    pub async fn owners_are(&self, names: &[&str]) {
        let mut expected: Vec<String> =
            names.iter().map(|name| self.children[*name].id().to_string()).collect();
        expected.sort();
        eventually("the shards have their owners", 60_000, async || {
            let owners: Vec<Option<String>> =
                sqlx::query_scalar("select owner from shard").fetch_all(&self.engine).await.unwrap();
            let mut pids: Vec<String> = owners
                .into_iter()
                .flatten()
                .filter_map(|owner| owner.rsplit('/').next().map(str::to_owned))
                .collect();
            pids.sort();
            pids.dedup();
            pids == expected
        })
        .await;
    }

    /// No saga is left running or parked.
    pub async fn everything_ends(&self) {
        let waiting = eventually("every saga ends", REST_MS, async || {
            self.count("select count(*) from saga where status in (0, 1)").await == 0
        });
        if tokio::time::timeout(Duration::from_millis(REST_MS * 2), waiting).await.is_err() {
            panic!("the wait itself hung");
        }
        eventually("delivered commands leave the outbox", 30_000, async || {
            self.count("select count(*) from outbox").await == 0
        })
        .await;
    }

    /// A number out of the engine's database.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.engine).await.unwrap()
    }

    /// The books balance, order by order, against the sandbox's own ledger, after so many orders of which every
    /// tenth card was rejected.
    pub async fn books_balance(&self, orders: u64) {
        let report = self.balance().await;
        let sagas: i64 = report.sagas.values().sum();
        assert_eq!(sagas, i64::try_from(orders).unwrap(), "an order a saga: {:?}", report.sagas);
        assert_eq!(report.sagas["compensated"], i64::try_from(orders / 10).unwrap(), "{:?}", report.sagas);
        assert!(report.captured > 0);
    }

    /// The books balance.
    pub async fn balance(&self) -> Report {
        let report = books::verify(&Sources {
            engine_url: self.databases["engine"].url.clone(),
            order_url: self.databases["order"].url.clone(),
            stock_url: self.databases["stock"].url.clone(),
            payment_url: self.databases["payment"].url.clone(),
            sandbox_url: self.url("sandbox"),
        })
        .await
        .unwrap();
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
        report
    }

    /// A process's database.
    pub async fn pool(&self, database: &str) -> sqlx::PgPool {
        self.databases[database].pool(2).await
    }

    /// A saga as the API shows it.
    pub async fn saga(&self, id: &str) -> Value {
        let url = format!("{}/sagas/{id}", self.url("orchestrator"));
        reqwest::get(url).await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// Posts an order and returns the answer.
    pub async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> reqwest::Response {
        let mut request =
            reqwest::Client::new().post(format!("{}{path}", self.url("orchestrator"))).json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        request.send().await.unwrap()
    }
}

impl Drop for Shop {
    /// Nothing outlives a test; when it failed, the logs' ends say why.
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
                let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                eprintln!("--- {}\n{tail}", entry.path().display());
            }
        }
    }
}
