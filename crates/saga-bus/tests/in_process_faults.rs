//! Faults of the in-process bus, as its users see them. Seeds are fixed: a failure repeats.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use saga_bus::{
    Bus, Event, Faults, InProcess, Outgoing, Pace, Start, Subscription, TopicPartition, TopicSpec,
};
use saga_protocol::{Headers, Message};

const TOPIC: &str = "faulty";
const COUNT: usize = 1_000;

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    let outgoing = |n: usize| Outgoing {
        topic: TOPIC.into(),
        partition: Some(0),
        message: Message { key: "key".into(), headers: Headers::default(), data: n.to_string().into() },
    };
    numbers.map(outgoing).collect()
}

async fn reader(bus: &Arc<InProcess>) -> Subscription {
    let spec = TopicSpec { name: TOPIC.to_owned(), partitions: 1, compacted: false, retention_ms: 3_600_000 };
    bus.ensure_topics(&[spec]).await.unwrap();
    let mut member = bus.subscribe("group", &[TOPIC.to_owned()]).await.unwrap();
    let Some(Event::Assigned { partitions, start }) = member.events.recv().await else { panic!("no offer") };
    start.send(partitions.into_iter().map(|at| (at, Start::Earliest)).collect()).unwrap();
    member
}

/// Reads until `last` arrives.
async fn read_until(member: &mut Subscription, last: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while !numbers.contains(&last) {
        let event = tokio::time::timeout(Duration::from_secs(30), member.events.recv()).await;
        let Event::Records(records) = event.expect("in time").unwrap() else { panic!("not records") };
        numbers.extend(
            records
                .iter()
                .map(|it| std::str::from_utf8(it.data.as_ref().unwrap()).unwrap().parse::<usize>().unwrap()),
        );
    }
    numbers
}

/// Publishes under the faults, then a last record without any, after whatever was on its way.
async fn published_under(faults: Faults) -> (Vec<usize>, usize) {
    let bus = InProcess::with_faults(faults);
    let mut member = reader(&bus).await;
    let results = bus.publish(numbered(0..COUNT), Pace::Batch).await.await;
    let failed = results.iter().filter(|it| it.is_err()).count();
    assert!(results.iter().flat_map(|it| it.as_ref().err()).all(|it| !it.permanent));
    bus.set_faults(Faults::default());
    test_support::eventually("everything has arrived", 10_000, async || bus.on_their_way() == 0).await;
    bus.publish(numbered(COUNT..COUNT + 1), Pace::Now).await.await[0].clone().unwrap();
    let mut numbers = read_until(&mut member, COUNT).await;
    numbers.pop();
    (numbers, failed)
}

fn times(numbers: &[usize]) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for number in numbers {
        *times.entry(*number).or_insert(0) += 1;
    }
    times
}

#[tokio::test]
async fn delay_keeps_order_and_loses_nothing() {
    let (numbers, failed) = published_under(Faults { seed: 1, delay_max_ms: 50, ..Faults::default() }).await;
    assert!(numbers.iter().copied().eq(0..COUNT));
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn duplicates_and_reordering_lose_nothing() {
    let faults = Faults { seed: 2, duplicate: 0.2, reorder: 0.2, delay_max_ms: 5, ..Faults::default() };
    let (numbers, failed) = published_under(faults).await;
    let times = times(&numbers);
    assert_eq!((times.len(), failed), (COUNT, 0));
    let twice = times.values().filter(|it| **it == 2).count();
    assert!((130..270).contains(&twice) && times.values().all(|it| *it <= 2), "{twice} twice");
    assert!(!numbers.is_sorted());
}

#[tokio::test]
async fn what_is_lost_was_acknowledged_and_what_failed_may_have_landed() {
    let (numbers, failed) = published_under(Faults { seed: 3, lose: 0.2, ..Faults::default() }).await;
    assert!((730..870).contains(&numbers.len()), "{} arrived", numbers.len());
    assert_eq!(failed, 0);
    let (numbers, failed) = published_under(Faults { seed: 4, fail_publish: 0.4, ..Faults::default() }).await;
    assert!((330..470).contains(&failed), "{failed} failed");
    let landed_all_the_same = numbers.len() - (COUNT - failed);
    assert!((130..270).contains(&landed_all_the_same), "{landed_all_the_same} landed all the same");
}

#[tokio::test]
async fn a_wiped_log_is_another_one_and_its_reader_learns_it() {
    let bus = InProcess::new();
    let mut member = reader(&bus).await;
    bus.publish(numbered(0..5), Pace::Now).await.await;
    read_until(&mut member, 4).await;
    let before = bus.log_id(TOPIC).await.unwrap();
    bus.wipe(TOPIC);
    let wiped = bus.log_id(TOPIC).await.unwrap();
    assert!(wiped.cluster == before.cluster && wiped.topic != before.topic);
    let at = TopicPartition { topic: TOPIC.into(), partition: 0 };
    let Some(Event::OutOfRange { partition }) = member.events.recv().await else {
        panic!("not out of range")
    };
    assert_eq!(partition, at);
    member.control.seek(at, Start::Earliest).await.unwrap();
    bus.publish(numbered(7..8), Pace::Now).await.await;
    assert_eq!(read_until(&mut member, 7).await, [7]);
    bus.wipe_all();
    let other = bus.log_id(TOPIC).await.unwrap();
    assert!(other.cluster != before.cluster && other.topic != wiped.topic);
}
