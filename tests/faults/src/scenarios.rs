//! What goes wrong with the real stack, under load, one command each. After each of them every saga has ended, the
//! books balance, and there are as many sagas as orders.

use std::path::Path;
use std::time::{Duration, Instant};

use bench::load::Load;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::topic_partition_list::Offset;
use saga_bus::{Bus, Kafka, KafkaConfig, Outgoing, Pace};
use saga_protocol::{Direction, Headers, Message, Topics};
use serde_json::json;
use test_support::eventually;

mod machine;

use crate::echo::Echo;
use crate::proxy::Proxy;
use crate::servers::Servers;
use crate::shop::{Plan, Shop, WORKERS};
use crate::traffic::{Traffic, probe};

/// A fault on the real stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens.
    pub what: &'static str,
    /// It hurts servers that others use too, unless they are this run's own.
    pub needs_own_servers: bool,
}

/// All of them, those that need no servers of their own first.
pub const ALL: [Scenario; 16] = [
    of(
        "connections-cut",
        "connections to Postgres are cut: before a statement, half-way, and before its answer",
        false,
    ),
    of("duplicates", "20 % of all commands and replies come again, up to 3 s later", false),
    of("poison", "rubbish in every topic, among the orders", false),
    of("frozen", "an owner, then each worker, is stopped for longer than its session and woken", false),
    of("rebalance", "a second orchestrator comes and goes every 2 s, by turns asked to and killed", false),
    of("sandbox", "Toss is slow, silent, wrong, and late", false),
    of("log-truncated", "Kafka loses the records that nobody has read yet", false),
    of(
        "lane-hangs",
        "the engine's lane stands still for ever: the process ends, and another one takes over",
        false,
    ),
    of("clock-moved", "the engine's clock, then each worker's, is an hour ahead, and set back", false),
    of("redis-gone", "Redis goes away and comes back", true),
    of("postgres-restart", "Postgres is restarted three times in immediate mode", true),
    of("broker-restart", "the broker is killed and restarted", true),
    of("one-of-three", "each of three brokers, by turns, is killed and comes back", true),
    of("postgres-full", "Postgres has no room left on its disk", true),
    of("kafka-full", "the broker has no room left on its disk", true),
    of("log-wiped", "the broker loses its disk: another cluster at the same address", true),
];

const fn of(name: &'static str, what: &'static str, needs_own_servers: bool) -> Scenario {
    Scenario { name, what, needs_own_servers }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Orders, each a saga that has ended.
    pub orders: u64,
    /// How long it all took.
    pub took: Duration,
    /// What else is worth knowing.
    pub notes: String,
}

/// Orders in flight.
const IN_FLIGHT: usize = 16;

impl Scenario {
    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|it| it.name == name)
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// When what it needs is not there.
    ///
    /// # Panics
    /// When anything was lost, done twice, or does not end.
    pub async fn run(&self, amends: &Path) -> anyhow::Result<Outcome> {
        let _turn = crate::one_at_a_time().await;
        let servers = self.needs_own_servers.then(Servers::own).transpose()?;
        let mut plan = Plan::new(amends, self.name);
        let mut proxy = None;
        if self.name == "connections-cut" {
            let before = Proxy::before(postgres_address()).await?;
            plan.postgres_port = Some(before.port);
            proxy = Some(before);
        }
        let mut disk = None;
        let mut brokers = None;
        match (self.name, &servers) {
            ("clock-moved", _) => plan.fake_clock = Some(machine::fake_clock()?),
            ("one-of-three", Some(servers)) => {
                plan.kafka = Some(brokers.insert(servers.three_brokers()).address())
            }
            ("postgres-full", Some(servers)) => disk = Some(servers.on_a_small_disk("postgres")?),
            ("kafka-full", Some(servers)) => disk = Some(servers.on_a_small_disk("kafka")?),
            _ => {}
        }
        let mut shop = Shop::with(plan).await;
        let began = Instant::now();
        let mut load = shop.load(0, IN_FLIGHT);
        load.patience = Duration::from_secs(240);
        if self.name == "frozen" {
            shop.start_again("second").await;
            shop.owners_are(&["orchestrator", "second"]).await;
            load.api_url = shop.url("second");
        }
        let traffic = Traffic::start(load.clone());
        traffic.more(30).await;
        let notes = match (self.name, &servers) {
            ("connections-cut", _) => connections_cut(&traffic, proxy.as_ref()).await,
            ("duplicates", _) => duplicates(&shop, &traffic).await?,
            ("poison", _) => poison(&shop, &traffic).await?,
            ("frozen", _) => frozen(&shop, &traffic).await,
            ("rebalance", _) => rebalance(&mut shop, &traffic).await,
            ("sandbox", _) => sandbox(&shop, &traffic).await?,
            ("log-truncated", _) => log_truncated(&mut shop, &traffic).await?,
            ("redis-gone", Some(servers)) => redis_gone(&traffic, servers).await,
            ("postgres-restart", Some(servers)) => postgres_restart(&load, &traffic, servers).await,
            ("broker-restart", Some(servers)) => broker_restart(&load, &traffic, servers).await,
            ("log-wiped", Some(servers)) => log_wiped(&mut shop, &load, servers).await,
            ("lane-hangs", _) => machine::lane_hangs(&mut shop, &traffic).await,
            ("clock-moved", _) => machine::clock_moved(&shop, &traffic).await,
            ("one-of-three", _) => machine::one_of_three(&traffic, brokers.as_ref()).await,
            ("postgres-full" | "kafka-full", _) => {
                machine::disk_full(&shop, &load, &traffic, disk.as_ref()).await
            }
            (other, _) => anyhow::bail!("`{other}` is in the list and cannot be run"),
        };
        // It goes on as before.
        traffic.more(50).await;
        let probes = u64::from(notes.probes);
        let orders = traffic.stop().await + probes;
        shop.everything_ends().await;
        let report = shop.balance().await;
        let sagas: i64 = report.sagas.values().sum();
        assert_eq!(sagas, i64::try_from(orders)?, "an order a saga: {:?}", report.sagas);
        Ok(Outcome { orders, took: began.elapsed(), notes: notes.text })
    }
}

/// What a fault has to say, and how many orders it placed itself.
struct Notes {
    text: String,
    probes: u32,
}

impl From<String> for Notes {
    fn from(text: String) -> Self {
        Self { text, probes: 0 }
    }
}

/// `host:port` of the stack's Postgres.
fn postgres_address() -> String {
    let url = test_support::database_url();
    let host = url.rsplit_once('@').map_or(url.as_str(), |(_, rest)| rest);
    host.split('/').next().unwrap_or(host).to_owned()
}

async fn connections_cut(traffic: &Traffic, proxy: Option<&Proxy>) -> Notes {
    let proxy = proxy.expect("it was put before Postgres");
    proxy.cut(3_000);
    eventually("connections are cut", 300_000, async || proxy.cuts() >= 40).await;
    proxy.cut(0);
    traffic.more(20).await;
    format!("{} connections cut", proxy.cuts()).into()
}

async fn duplicates(shop: &Shop, traffic: &Traffic) -> anyhow::Result<Notes> {
    let echo = Echo::start(&Topics::new(shop.prefix()), 20).await?;
    traffic.more(400).await;
    assert!(echo.count() > 200, "only {} records came again", echo.count());
    Ok(format!("{} records came again", echo.count()).into())
}

async fn poison(shop: &Shop, traffic: &Traffic) -> anyhow::Result<Notes> {
    let topics = Topics::new(shop.prefix());
    let bus =
        Kafka::connect(KafkaConfig { bootstrap: test_support::kafka(), ..KafkaConfig::default() }).await?;
    let mut names = vec![topics.inbox(), topics.saga_events(), topics.workers(), topics.dead_letters()];
    for worker in WORKERS {
        names.extend([Direction::Execute, Direction::Compensate].map(|it| topics.commands(worker, it)));
    }
    let bodies: [&[u8]; 5] =
        [b"\0\xff", b"{}", b"{\"saga\":1}", &[b'['; 100_000], &[b'9'; saga_bus::RECORD_BYTES_MAX - 1_000]];
    let mut sent = 0;
    for kind in ["amends.command", "amends.reply", "amends.nudge", "\0"] {
        for name in &names {
            let records: Vec<Outgoing> = bodies
                .iter()
                .map(|body| {
                    let mut headers = Headers::default();
                    headers.push("ce_type", kind);
                    headers.push("ce_replyto", "nowhere/0");
                    let message = Message { key: "k".into(), headers, data: body.to_vec().into() };
                    Outgoing { topic: name.as_str().into(), partition: Some(0), message }
                })
                .collect();
            sent += records.len();
            for result in bus.publish(records, Pace::Batch).await.await {
                result?;
            }
        }
        traffic.more(20).await;
    }
    bus.close(5_000).await;
    let engine = shop.pool("engine").await;
    let understood = sent / names.len() * (1 + 1 + 2 * WORKERS.len());
    eventually("each is a dead letter, with a reason", 60_000, async || {
        let sql = "select count(*) from dead_letter where reason <> ''";
        let kept: i64 = sqlx::query_scalar(sql).fetch_one(&engine).await.unwrap_or_default();
        kept >= i64::try_from(understood).unwrap_or(i64::MAX)
    })
    .await;
    Ok(format!("{sent} records of rubbish, {understood} of them dead letters").into())
}

/// Longer than a session of the group, so that others take over.
const FROZEN: Duration = Duration::from_secs(9);

async fn frozen(shop: &Shop, traffic: &Traffic) -> Notes {
    shop.signal("orchestrator", "STOP");
    shop.owners_are(&["second"]).await;
    traffic.more(30).await;
    shop.signal("orchestrator", "CONT");
    // It learns that it was fenced, and becomes a member again.
    shop.owners_are(&["orchestrator", "second"]).await;
    traffic.more(30).await;
    for worker in WORKERS {
        shop.signal(worker, "STOP");
        // How long it is stopped is the fault; nothing waits for it.
        tokio::time::sleep(FROZEN).await;
        shop.signal(worker, "CONT");
        traffic.more(20).await;
    }
    "one owner and four workers frozen and woken".to_owned().into()
}

async fn rebalance(shop: &mut Shop, traffic: &Traffic) -> Notes {
    let turns = 10;
    for turn in 0..turns {
        shop.start_again("second").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if turn % 2 == 0 {
            shop.stop("second").await;
        } else {
            shop.kill("second");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    traffic.more(20).await;
    format!("{turns} arrivals and departures").into()
}

async fn sandbox(shop: &Shop, traffic: &Traffic) -> anyhow::Result<Notes> {
    let client = reqwest::Client::new();
    let faults = [
        json!({ "delay_ms": 3_000 }),
        json!({ "delay_after_ms": 3_000 }),
        json!({ "delay_after_ms": 70_000 }),
        json!({ "lost": "answer" }),
        json!({ "lost": "answer", "hang": true }),
        json!({ "lost": "request" }),
        json!({ "error": "FAILED_INTERNAL_SYSTEM_PROCESSING" }),
        json!({ "error": "FAILED_INTERNAL_SYSTEM_PROCESSING", "takes_effect": true }),
        json!({ "error": "PROVIDER_ERROR" }),
        json!({ "webhook_twice": true }),
    ];
    for fault in &faults {
        for operation in ["confirm", "cancel"] {
            let rule = json!({ "operation": operation, "times": 3, "fault": fault });
            let url = format!("{}/sandbox/faults", shop.url("sandbox"));
            client.post(url).json(&rule).send().await?.error_for_status()?;
        }
        traffic.more(20).await;
    }
    Ok(format!("{} faults of Toss, six times each", faults.len()).into())
}

async fn log_truncated(shop: &mut Shop, traffic: &Traffic) -> anyhow::Result<Notes> {
    let topics = Topics::new(shop.prefix());
    let bus =
        Kafka::connect(KafkaConfig { bootstrap: test_support::kafka(), ..KafkaConfig::default() }).await?;
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", test_support::kafka()).create()?;
    let mut lost = 0;
    for round in 0..3 {
        traffic.more(20).await;
        // While nobody reads them, the records pile up.
        let down: &[&str] = if round == 0 { &["orchestrator"] } else { &["order", "stock"] };
        down.iter().for_each(|name| shop.kill(name));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut gone = TopicPartitionList::new();
        let mut names = vec![topics.inbox()];
        names.extend(["order", "stock"].map(|worker| topics.commands(worker, Direction::Execute)));
        for name in &names {
            for partition in 0..i32::try_from(bus.partitions(name).await?)? {
                let at = saga_bus::TopicPartition { topic: name.as_str().into(), partition };
                let marks = bus.watermarks(&at).await?;
                gone.add_partition_offset(name, partition, Offset::Offset(marks.high))?;
                lost += marks.high - marks.low;
            }
        }
        admin.delete_records(&gone, &AdminOptions::new()).await?;
        for name in down {
            shop.start_again(name).await;
        }
    }
    bus.close(5_000).await;
    Ok(format!("{lost} records deleted, in three turns").into())
}

async fn redis_gone(traffic: &Traffic, servers: &Servers) -> Notes {
    for _ in 0..2 {
        servers.down("redis");
        traffic.more(40).await;
        servers.up("redis");
        traffic.more(20).await;
    }
    "orders came through without Redis".to_owned().into()
}

/// An order that is placed at the instant of the fault, while the fault goes on.
async fn recovery(load: &Load, number: u32, fault: impl FnOnce() + Send + 'static) -> Duration {
    let mut load = load.clone();
    load.stem = "probes".into();
    let began = Instant::now();
    let hurt = tokio::task::spawn_blocking(fault);
    // Placed when the fault has begun: before, it might slip through.
    tokio::time::sleep(Duration::from_millis(200)).await;
    probe(&load, u64::from(number)).await;
    hurt.await.expect("the server comes back");
    began.elapsed()
}

async fn postgres_restart(load: &Load, traffic: &Traffic, servers: &Servers) -> Notes {
    let mut all = Vec::new();
    for number in 0..3 {
        let servers = servers.clone();
        all.push(recovery(load, number, move || servers.restart_postgres_immediately()).await);
        traffic.more(20).await;
    }
    Notes { text: format!("orders came through again after {all:.1?}"), probes: 3 }
}

async fn broker_restart(load: &Load, traffic: &Traffic, servers: &Servers) -> Notes {
    let mut all = Vec::new();
    for number in 0..2 {
        let servers = servers.clone();
        let restart = move || {
            servers.kill_kafka();
            servers.up("kafka");
        };
        all.push(recovery(load, number, restart).await);
        traffic.more(20).await;
    }
    Notes { text: format!("orders came through again after {all:.1?}"), probes: 2 }
}

async fn log_wiped(shop: &mut Shop, load: &Load, servers: &Servers) -> Notes {
    let again = servers.clone();
    let wipe = move || {
        again.wipe_kafka();
        again.up("kafka");
    };
    tokio::task::spawn_blocking(wipe).await.expect("the broker comes back");
    // Topics are made when a process begins, so each begins again, as its supervisor would have it.
    for name in WORKERS.iter().chain(&["orchestrator"]) {
        shop.kill(name);
        shop.start_again(name).await;
    }
    let mut load = load.clone();
    load.stem = "probes".into();
    let took = probe(&load, 0).await;
    Notes { text: format!("orders came through again {took:.1?} after the processes had started"), probes: 1 }
}
