//! Members that share a topic.

use std::collections::BTreeSet;

use saga_bus::{BusError, Event, Pace, Start, TopicPartition};

use crate::benches::{Bench, Member, at, by_partition, number, outgoing, publish_numbers, topic};

const PARTITIONS: i32 = 4;

async fn publish_everywhere(bench: &dyn Bench, topic: &std::sync::Arc<str>, from: usize, count: usize) {
    for partition in 0..PARTITIONS {
        publish_numbers(bench.bus(), &at(topic, partition), from, count).await;
    }
}

fn numbers_of(partitions: &[TopicPartition]) -> BTreeSet<i32> {
    partitions.iter().map(|it| it.partition).collect()
}

pub(crate) async fn two_members_share_and_hand_over(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 4).await;
    publish_everywhere(bench, &name, 0, 10).await;
    let mut first = Member::join(bus, &name, &name).await;
    assert_eq!(numbers_of(&first.accept(Start::Committed).await), (0..PARTITIONS).collect());
    first.read(40).await;
    let mut second = Member::join(bus, &name, &name).await;
    let (revoked, done) = first.revocation().await;
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    // What the first has done with them counts: the second begins there.
    first.control.commit(revoked.iter().map(|at| (at.clone(), 7)).collect()).await.unwrap();
    assert!(second.events.try_recv().is_err(), "offered before the first has let go");
    done.send(()).unwrap();
    let moved = second.accept(Start::Committed).await;
    assert_eq!(numbers_of(&moved), numbers_of(&revoked));
    let numbers = by_partition(&second.read(6).await);
    assert!(numbers.values().all(|it| it[..] == [7, 8, 9]), "{numbers:?}");
    // From now on each reads its own.
    publish_everywhere(bench, &name, 10, 10).await;
    let (by_first, by_second) = (by_partition(&first.read(20).await), by_partition(&second.read(20).await));
    assert_eq!(by_second.keys().copied().collect::<BTreeSet<_>>(), numbers_of(&moved));
    for numbers in by_first.values().chain(by_second.values()) {
        assert!(numbers.iter().copied().eq(10..20), "{numbers:?}");
    }
    assert_eq!(by_first.len() + by_second.len(), 4);
}

pub(crate) async fn an_owner_commits_until_it_has_let_go(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 4).await;
    let mut first = Member::join(bus, &name, &name).await;
    let (partitions, answer) = first.offer().await;
    // Between the offer and its answer: whoever claims a shard commits first.
    first.control.commit(partitions.iter().map(|at| (at.clone(), 0)).collect()).await.unwrap();
    answer.send(partitions.iter().map(|at| (at.clone(), Start::Committed)).collect()).unwrap();
    let _second = Member::join(bus, &name, &name).await;
    let (revoked, done) = first.revocation().await;
    first.control.commit(vec![(revoked[0].clone(), 0)]).await.unwrap();
    drop(done);
    test_support::eventually("a revoked partition is not the first's any more", 30_000, async || {
        matches!(first.control.commit(vec![(revoked[0].clone(), 0)]).await, Err(BusError::NotOwner(_)))
    })
    .await;
    let kept = (0..PARTITIONS).map(|it| at(&name, it)).find(|it| !revoked.contains(it)).unwrap();
    first.control.commit(vec![(kept, 0)]).await.unwrap();
}

pub(crate) async fn who_does_not_own_cannot_commit(bench: &dyn Bench) {
    let bus = bench.bus();
    let (name, other) = (topic(bus, 1).await, topic(bus, 1).await);
    let member = Member::begin(bus, &name, &name, Start::Committed).await;
    let foreign = member.control.commit(vec![(at(&name, 0), 0), (at(&other, 0), 0)]).await;
    assert!(matches!(foreign, Err(BusError::NotOwner(_))), "{foreign:?}");
    let control = member.control.clone();
    control.commit(vec![]).await.unwrap();
    member.leave().await;
    let late = control.commit(vec![(at(&name, 0), 0)]).await;
    assert!(matches!(late, Err(BusError::NotOwner(_))), "{late:?}");
    assert!(control.seek(at(&name, 0), Start::Earliest).await.is_err());
    assert!(control.pause(vec![at(&name, 0)], true).await.is_err());
    control.leave().await;
}

pub(crate) async fn who_leaves_frees_its_partitions(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 4).await;
    let (first, mut second) = pair(bench, &name).await;
    first.leave().await;
    let gained = second.accept(Start::Earliest).await;
    assert_eq!(gained.len(), 2);
    publish_everywhere(bench, &name, 0, 5).await;
    assert_eq!(by_partition(&second.read(20).await).len(), 4);
}

pub(crate) async fn a_dropped_subscription_leaves(bench: &dyn Bench) {
    let name = topic(bench.bus(), 4).await;
    let (first, mut second) = pair(bench, &name).await;
    drop(first);
    assert_eq!(second.accept(Start::Earliest).await.len(), 2);
}

/// Two members with two partitions each.
async fn pair(bench: &dyn Bench, topic: &std::sync::Arc<str>) -> (Member, Member) {
    let bus = bench.bus();
    let mut first = Member::begin(bus, topic, topic, Start::Earliest).await;
    let mut second = Member::join(bus, topic, topic).await;
    let (_, done) = first.revocation().await;
    done.send(()).unwrap();
    second.accept(Start::Earliest).await;
    (first, second)
}

pub(crate) async fn a_slow_member_still_hands_over(bench: &dyn Bench) {
    const COUNT: usize = 4_000;
    let bus = bench.bus();
    let name = topic(bus, 4).await;
    let mut slow = Member::begin(bus, &name, &name, Start::Earliest).await;
    publish_everywhere(bench, &name, 0, COUNT).await;
    test_support::eventually("the channel is full", 30_000, async || slow.events.len() >= 16).await;
    let mut second = Member::join(bus, &name, &name).await;
    let mut records = Vec::new();
    let revoked = loop {
        match slow.event().await {
            Event::Records(more) => {
                // A commit in the middle of a rebalance, while the channel is full.
                let last = more.last().unwrap();
                slow.control.commit(vec![(last.at.clone(), last.offset + 1)]).await.unwrap();
                records.extend(more);
            }
            Event::Revoked { partitions, done } => {
                done.send(()).unwrap();
                break partitions;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(numbers_of(&second.accept(Start::Earliest).await), numbers_of(&revoked));
    // What the slow one keeps, it reads to the end, without a gap.
    while by_partition(&records).iter().any(|(it, numbers)| !has(&revoked, *it) && numbers.len() < COUNT)
        || by_partition(&records).keys().filter(|it| !has(&revoked, **it)).count() < 2
    {
        let Event::Records(more) = slow.event().await else { panic!("not records") };
        assert!(more.iter().all(|it| !has(&revoked, it.at.partition)), "a record after its revocation");
        records.extend(more);
    }
    for (partition, numbers) in by_partition(&records) {
        assert!(numbers.iter().copied().eq(0..numbers.len()), "a gap in partition {partition}");
    }
    let numbers = by_partition(&second.read(2 * COUNT).await);
    assert!(numbers.values().all(|it| it.iter().copied().eq(0..COUNT)));
}

fn has(partitions: &[TopicPartition], partition: i32) -> bool {
    partitions.iter().any(|it| it.partition == partition)
}

pub(crate) async fn an_expelled_member_learns_what_it_lost(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 2).await;
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    publish_numbers(bus, &at(&name, 0), 0, 1).await;
    publish_numbers(bus, &at(&name, 1), 0, 1).await;
    member.read(2).await;
    member.control.commit(vec![(at(&name, 0), 1), (at(&name, 1), 1)]).await.unwrap();
    bench.expel(&name, &at(&name, 0), &mut member).await;
    let Event::Lost { partitions } = member.event().await else { panic!("not lost") };
    assert!(!partitions.is_empty());
    let refused = member.control.commit(vec![(partitions[0].clone(), 0)]).await;
    assert!(matches!(refused, Err(BusError::NotOwner(_))), "{refused:?}");
    // It joins again by itself, and goes on where it has committed.
    let mut regained = BTreeSet::new();
    while regained.len() < 2 {
        match member.event().await {
            Event::Assigned { partitions, start } => {
                regained.extend(numbers_of(&partitions));
                start.send(partitions.into_iter().map(|at| (at, Start::Committed)).collect()).unwrap();
            }
            Event::Revoked { partitions, done } => {
                regained.retain(|it| !has(&partitions, *it));
                done.send(()).unwrap();
            }
            Event::Lost { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    publish_numbers(bus, &at(&name, 0), 1, 1).await;
    publish_numbers(bus, &at(&name, 1), 1, 1).await;
    assert!(member.read(2).await.iter().all(|it| number(it) == 1));
}

pub(crate) async fn closing_ends_everything(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    let mut tail = bus.tail(&name, saga_bus::From::Latest).await.unwrap();
    let receipt = bus.publish(vec![outgoing(&at(&name, 0), "last")], Pace::Batch).await;
    bus.close(10_000).await;
    assert_eq!(receipt.await, [Ok(())], "what was handed over before is sent");
    let end = async {
        while member.events.recv().await.is_some() {}
        while tail.records.recv().await.is_some() {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), end)
        .await
        .expect("the events and the records end");
    assert!(bus.watermarks(&at(&name, 0)).await.is_err());
    assert!(bus.subscribe(&name, &[name.to_string()]).await.is_err());
    let refused = bus.publish(vec![outgoing(&at(&name, 0), "too late")], Pace::Now).await.await;
    assert!(refused[0].as_ref().is_err_and(|it| !it.permanent), "{refused:?}");
}
