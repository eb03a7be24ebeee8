//! What is published is what arrives.

use std::sync::Arc;

use bytes::Bytes;
use saga_bus::{Bus, InProcess, Outgoing, Pace, RECORD_BYTES_MAX, Start};
use saga_protocol::{Headers, Message};

use crate::benches::{Bench, Member, at, by_partition, outgoing, publish, publish_numbers, text, topic};

pub(crate) async fn records_arrive_whole_and_in_order(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let headers = Headers(vec![
        ("ce_id".into(), Bytes::from("saga:step:x1:1")),
        ("twice".into(), Bytes::from("one")),
        ("twice".into(), Bytes::from("two")),
        ("empty".into(), Bytes::new()),
        ("binary".into(), Bytes::from_static(&[0, 255, 128])),
    ]);
    let large = "z".repeat(RECORD_BYTES_MAX - 100);
    let mut records = Vec::new();
    for (number, data) in ["{}", "\u{0}", large.as_str()].into_iter().enumerate() {
        let message = Message {
            key: Bytes::from(format!("key {number}")),
            headers: headers.clone(),
            data: Bytes::from(data.to_owned()),
        };
        records.push(Outgoing { topic: name.clone(), partition: None, message });
    }
    publish(bus, records.clone()).await;
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    let read = member.read(records.len()).await;
    for (offset, (record, sent)) in read.iter().zip(&records).enumerate() {
        assert_eq!(record.at, at(&name, 0));
        assert_eq!(record.offset, i64::try_from(offset).unwrap());
        assert_eq!(record.key.as_ref(), Some(&sent.message.key));
        assert_eq!(record.headers, sent.message.headers);
        assert!(record.data.as_ref() == Some(&sent.message.data), "record {offset} arrived with other data");
    }
}

pub(crate) async fn a_key_chooses_the_same_partition_on_every_bus(bench: &dyn Bench) {
    let elsewhere: Arc<dyn Bus> = InProcess::new();
    let mut placed = Vec::new();
    for bus in [bench.bus(), &elsewhere] {
        let name = topic(bus, 7).await;
        let records = (0..50).map(|n| {
            let key = Bytes::from(format!("0197b3a0-0000-7000-8000-{n:012}"));
            let message = Message { key, headers: Headers::default(), data: Bytes::from("x") };
            Outgoing { topic: name.clone(), partition: None, message }
        });
        publish(bus, records.collect()).await;
        let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
        let mut seen: Vec<_> =
            member.read(50).await.into_iter().map(|it| (it.key, it.at.partition)).collect();
        seen.sort();
        placed.push(seen);
    }
    assert_eq!(placed[0], placed[1]);
    let used: std::collections::BTreeSet<i32> = placed[0].iter().map(|(_, partition)| *partition).collect();
    assert_eq!(used.len(), 7, "50 keys in {used:?}");
}

pub(crate) async fn empty_data_is_a_tombstone(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let keyless = Message { key: Bytes::new(), headers: Headers::default(), data: Bytes::from("hint") };
    let keyless = Outgoing { topic: name.clone(), partition: None, message: keyless };
    publish(bus, vec![outgoing(&at(&name, 0), ""), keyless]).await;
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    let read = member.read(2).await;
    assert_eq!((read[0].key.as_deref(), read[0].data.as_deref()), (Some(&b"key"[..]), None));
    assert_eq!((read[1].key.as_deref(), read[1].data.as_deref()), (None, Some(&b"hint"[..])));
}

pub(crate) async fn what_cannot_be_published_says_so_and_hurts_no_neighbour(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let good = at(&name, 0);
    let missing: Arc<str> = test_support::unique_prefix("missing").into();
    let records = vec![
        outgoing(&good, "first"),
        outgoing(&good, "x".repeat(RECORD_BYTES_MAX + 1)),
        outgoing(&at(&name, 5), "no such partition"),
        outgoing(&at(&missing, 0), "no such topic"),
        outgoing(&good, "last"),
    ];
    let results = bus.publish(records, Pace::Now).await.await;
    let permanent: Vec<Option<bool>> =
        results.iter().map(|it| it.as_ref().err().map(|it| it.permanent)).collect();
    assert_eq!(permanent, [None, Some(true), Some(true), Some(true), None], "{results:?}");
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    let read = member.read(2).await;
    assert_eq!(read.iter().map(text).collect::<Vec<_>>(), ["first", "last"]);
    assert!(bus.publish(vec![], Pace::Batch).await.await.is_empty());
}

pub(crate) async fn many_publishers_lose_nothing(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 4).await;
    let publishers = (0..4).map(|partition| {
        let (bus, at) = (bus.clone(), at(&name, partition));
        tokio::spawn(async move {
            for batch in 0..20 {
                publish_numbers(&bus, &at, batch * 50, 50).await;
            }
            let paced = (1_000..1_200).map(|n: usize| outgoing(&at, n.to_string())).collect();
            for result in bus.publish(paced, Pace::Batch).await.await {
                result.unwrap();
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    let numbers = by_partition(&member.read(4 * 1_200).await);
    for partition in 0..4 {
        assert!(
            numbers[&partition].iter().copied().eq(0..1_200),
            "partition {partition}: {:?}",
            numbers[&partition]
        );
    }
}
