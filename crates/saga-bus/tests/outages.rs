//! A broker that goes away: killed and back, and back without its disk. With a broker of its own each,
//! started by deploy/kafka.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use saga_bus::{
    Bus, BusError, Event, Kafka, KafkaConfig, LogId, Outgoing, Pace, Start, Subscription, TopicPartition,
    TopicSpec,
};
use saga_protocol::{Headers, Message};
use test_support::eventually;

const TOPIC: &str = "outages";

/// A broker of the test's own, gone with it.
struct Broker {
    data: PathBuf,
    port: u16,
}

impl Broker {
    fn start() -> Self {
        let data = std::env::temp_dir().join(test_support::unique_prefix("amends-kafka"));
        let broker = Self { data, port: free_port() };
        broker.run("start");
        broker
    }

    fn run(&self, command: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kafka/kafka");
        let mut process = Command::new(script);
        process.arg(command).arg("--data").arg(&self.data);
        if command == "start" {
            process.arg("--port").arg(self.port.to_string());
        }
        let output = process.output().expect("deploy/kafka/kafka can be run");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn connect(&self) -> Arc<dyn Bus> {
        let config = KafkaConfig {
            bootstrap: format!("127.0.0.1:{}", self.port),
            client_id: "outages".to_owned(),
            ..KafkaConfig::default()
        };
        Kafka::connect(config).await.unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run("wipe");
        // Only the lock file is left.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A port whose neighbour 1000 above, the controller's, is free too.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if let Some(controller) = port.checked_add(1_000)
            && TcpListener::bind(("127.0.0.1", controller)).is_ok()
        {
            return port;
        }
    }
}

async fn make_topic(bus: &Arc<dyn Bus>) {
    let spec = TopicSpec { name: TOPIC.to_owned(), partitions: 1, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[spec]).await.unwrap();
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    let outgoing = |n: usize| Outgoing {
        topic: TOPIC.into(),
        partition: Some(0),
        message: Message { key: "key".into(), headers: Headers::default(), data: n.to_string().into() },
    };
    numbers.map(outgoing).collect()
}

/// Takes events until every one of the numbers was read, answering what is asked; returns what else
/// happened.
async fn read_all(
    member: &mut Subscription,
    start: Start,
    mut missing: BTreeSet<usize>,
) -> Vec<&'static str> {
    let mut happened = Vec::new();
    while !missing.is_empty() {
        let event = tokio::time::timeout(Duration::from_secs(90), member.events.recv()).await;
        match event.unwrap_or_else(|_| panic!("in time; missing {missing:?} after {happened:?}")).unwrap() {
            Event::Records(records) => {
                for record in records {
                    let data = record.data.unwrap();
                    missing.remove(&std::str::from_utf8(&data).unwrap().parse().unwrap());
                }
            }
            Event::Assigned { partitions, start: answer } => {
                happened.push("assigned");
                answer.send(partitions.into_iter().map(|at| (at, start)).collect()).unwrap();
            }
            Event::Revoked { done, .. } => {
                happened.push("revoked");
                done.send(()).unwrap();
            }
            Event::Lost { .. } => happened.push("lost"),
            Event::OutOfRange { partition } => {
                happened.push("out of range");
                match member.control.seek(partition, Start::Earliest).await {
                    // The group has moved on meanwhile: another assignment follows.
                    Ok(()) | Err(BusError::NotOwner(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    happened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_killed_and_comes_back_loses_nothing() {
    let broker = Broker::start();
    let bus = broker.connect().await;
    make_topic(&bus).await;
    let id = bus.log_id(TOPIC).await.unwrap();
    let mut member = bus.subscribe("group", &[TOPIC.to_owned()]).await.unwrap();
    assert!(bus.publish(numbered(0..10), Pace::Now).await.await.iter().all(Result::is_ok));
    read_all(&mut member, Start::Committed, (0..10).collect()).await;
    let at = TopicPartition { topic: TOPIC.into(), partition: 0 };
    member.control.commit(vec![(at.clone(), 10)]).await.unwrap();

    broker.run("kill");
    // Handed over while nobody is there: it waits, and its receipt with it, for as long as a record may.
    let receipt = bus.publish(numbered(10..20), Pace::Batch).await;
    assert!(bus.watermarks(&at).await.is_err(), "a broker that is dead answers");
    broker.run("start");
    if !receipt.await.iter().all(Result::is_ok) {
        // The broker was away longer than that, and whoever publishes is told and does it again.
        eventually("records are taken again", 90_000, async || {
            bus.publish(numbered(10..20), Pace::Batch).await.await.iter().all(Result::is_ok)
        })
        .await;
    }
    read_all(&mut member, Start::Committed, (10..20).collect()).await;
    assert_eq!(bus.log_id(TOPIC).await.unwrap(), id, "the same log");
    member.control.commit(vec![(at, 20)]).await.unwrap();
    bus.close(10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_lost_its_disk_is_another_log_and_is_gone_on_with() {
    let broker = Broker::start();
    let bus = broker.connect().await;
    make_topic(&bus).await;
    let before = bus.log_id(TOPIC).await.unwrap();
    let mut member = bus.subscribe("group", &[TOPIC.to_owned()]).await.unwrap();
    assert!(bus.publish(numbered(0..10), Pace::Now).await.await.iter().all(Result::is_ok));
    read_all(&mut member, Start::Earliest, (0..10).collect()).await;

    broker.run("wipe");
    broker.run("start");
    eventually("the topic can be made again", 60_000, async || {
        let spec =
            TopicSpec { name: TOPIC.to_owned(), partitions: 1, compacted: false, retention_ms: 3_600_000 };
        bus.ensure_topics(&[spec]).await.is_ok()
    })
    .await;
    let after: LogId = bus.log_id(TOPIC).await.unwrap();
    assert_ne!(after.cluster, before.cluster);
    assert_ne!(after.topic, before.topic);
    // The same bus publishes again, whatever its producers remember of the old log.
    eventually("records are taken again", 90_000, async || {
        bus.publish(numbered(100..103), Pace::Now).await.await.iter().all(Result::is_ok)
    })
    .await;
    let happened = read_all(&mut member, Start::Earliest, (100..103).collect()).await;
    assert!(!happened.is_empty(), "the member was told nothing");
    bus.close(10_000).await;
}
