//! Topics and their logs.

use saga_bus::{BusError, From, Record, Tail, Watermarks};

use crate::benches::{Bench, at, by_partition, make, publish_numbers, topic};

pub(crate) async fn watermarks_follow_the_records(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 2).await;
    let one = at(&name, 1);
    assert_eq!(bus.watermarks(&one).await.unwrap(), Watermarks { low: 0, high: 0 });
    publish_numbers(bus, &one, 0, 7).await;
    assert_eq!(bus.watermarks(&one).await.unwrap(), Watermarks { low: 0, high: 7 });
    assert_eq!(bus.watermarks(&at(&name, 0)).await.unwrap().high, 0);
    bench.delete_before(&one, 3).await;
    assert_eq!(bus.watermarks(&one).await.unwrap(), Watermarks { low: 3, high: 7 });
}

pub(crate) async fn a_topic_that_exists_is_left_as_it_is(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 3).await;
    publish_numbers(bus, &at(&name, 0), 0, 1).await;
    make(bus, &name, 5).await;
    assert_eq!(bus.partitions(&name).await.unwrap(), 3);
    assert_eq!(bus.watermarks(&at(&name, 0)).await.unwrap().high, 1);
}

pub(crate) async fn a_topic_made_again_is_another_log(bench: &dyn Bench) {
    let bus = bench.bus();
    let (name, other) = (topic(bus, 1).await, topic(bus, 1).await);
    publish_numbers(bus, &at(&name, 0), 0, 5).await;
    let before = bus.log_id(&name).await.unwrap();
    let neighbour = bus.log_id(&other).await.unwrap();
    assert_eq!(bus.log_id(&name).await.unwrap(), before);
    assert_eq!(before.cluster, neighbour.cluster);
    assert_ne!(before.topic, neighbour.topic);
    bench.make_again(&name, 1).await;
    let after = bus.log_id(&name).await.unwrap();
    assert_eq!(after.cluster, before.cluster);
    assert_ne!(after.topic, before.topic);
    assert_eq!(bus.log_id(&other).await.unwrap(), neighbour);
    assert_eq!(bus.watermarks(&at(&name, 0)).await.unwrap(), Watermarks { low: 0, high: 0 });
    publish_numbers(bus, &at(&name, 0), 0, 2).await;
    assert_eq!(bus.watermarks(&at(&name, 0)).await.unwrap().high, 2, "the new log can be written");
}

pub(crate) async fn a_tail_reads_all_partitions_without_a_group(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 2).await;
    for partition in 0..2 {
        publish_numbers(bus, &at(&name, partition), 0, 3).await;
    }
    let mut all = bus.tail(&name, From::Earliest).await.unwrap();
    let mut new = bus.tail(&name, From::Latest).await.unwrap();
    for partition in 0..2 {
        publish_numbers(bus, &at(&name, partition), 3, 3).await;
    }
    let numbers = by_partition(&read(&mut all, 12).await);
    assert_eq!((&numbers[&0], &numbers[&1]), (&vec![0, 1, 2, 3, 4, 5], &vec![0, 1, 2, 3, 4, 5]));
    let numbers = by_partition(&read(&mut new, 6).await);
    assert_eq!((&numbers[&0], &numbers[&1]), (&vec![3, 4, 5], &vec![3, 4, 5]));
}

pub(crate) async fn a_tail_that_is_behind_reads_everything(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 3).await;
    for partition in 0..3 {
        publish_numbers(bus, &at(&name, partition), 0, 1_500).await;
    }
    let mut tail = bus.tail(&name, From::Earliest).await.unwrap();
    let numbers = by_partition(&read(&mut tail, 4_500).await);
    assert!(numbers.values().all(|it| it.iter().copied().eq(0..1_500)));
}

async fn read(tail: &mut Tail, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let next = tokio::time::timeout(std::time::Duration::from_secs(30), tail.records.recv()).await;
        records.extend(next.expect("records in time").expect("the tail goes on"));
    }
    assert_eq!(records.len(), count, "more than was published");
    records
}

pub(crate) async fn a_missing_topic_is_named(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = test_support::unique_prefix("missing");
    assert!(matches!(bus.partitions(&name).await, Err(BusError::NoTopic(_))));
    assert!(matches!(bus.log_id(&name).await, Err(BusError::NoTopic(_))));
    assert!(matches!(bus.tail(&name, From::Latest).await, Err(BusError::NoTopic(_))));
    let nowhere = at(&name.as_str().into(), 0);
    assert!(matches!(bus.watermarks(&nowhere).await, Err(BusError::NoTopic(_))));
}
