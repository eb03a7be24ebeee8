//! One member: where it begins, what it reads, what it can do.

use saga_bus::{BusError, Start};

use crate::benches::{Bench, Member, at, by_partition, number, publish_numbers, topic};

pub(crate) async fn committed_offsets_are_where_the_next_member_begins(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    publish_numbers(bus, &only, 0, 10).await;
    let mut first = Member::begin(bus, "readers", &name, Start::Committed).await;
    assert!(first.read(10).await.iter().map(number).eq(0..10), "without a commit from the earliest");
    first.control.commit(vec![(only.clone(), 4)]).await.unwrap();
    first.leave().await;
    let mut second = Member::begin(bus, "readers", &name, Start::Committed).await;
    assert!(second.read(6).await.iter().map(number).eq(4..10));
    second.leave().await;
    bench.delete_before(&only, 8).await;
    let mut third = Member::begin(bus, "readers", &name, Start::Committed).await;
    assert!(third.read(2).await.iter().map(number).eq(8..10), "a committed offset that is gone");
    let mut stranger = Member::begin(bus, "strangers", &name, Start::Committed).await;
    assert!(stranger.read(2).await.iter().map(number).eq(8..10), "another group has its own");
}

pub(crate) async fn a_start_may_be_given(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 3).await;
    for partition in 0..3 {
        publish_numbers(bus, &at(&name, partition), 0, 10).await;
    }
    let mut member = Member::join(bus, &name, &name).await;
    let (partitions, answer) = member.offer().await;
    assert_eq!(partitions.len(), 3);
    let starts =
        vec![(at(&name, 0), Start::At(7)), (at(&name, 1), Start::At(10)), (at(&name, 2), Start::Earliest)];
    answer.send(starts).unwrap();
    let numbers = by_partition(&member.read(13).await);
    assert_eq!(numbers[&0], [7, 8, 9]);
    assert!(!numbers.contains_key(&1), "the end is where nothing is yet");
    assert_eq!(numbers[&2].len(), 10);
    publish_numbers(bus, &at(&name, 1), 10, 1).await;
    assert_eq!(by_partition(&member.read(1).await)[&1], [10]);
}

pub(crate) async fn an_offset_that_is_gone_stops_its_partition_until_a_seek(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 2).await;
    let (cut, whole) = (at(&name, 0), at(&name, 1));
    publish_numbers(bus, &cut, 0, 10).await;
    publish_numbers(bus, &whole, 0, 3).await;
    bench.delete_before(&cut, 5).await;
    let mut member = Member::join(bus, &name, &name).await;
    let (_, answer) = member.offer().await;
    answer.send(vec![(cut.clone(), Start::At(2)), (whole.clone(), Start::At(3))]).unwrap();
    assert_eq!(member.out_of_range().await, cut);
    publish_numbers(bus, &cut, 10, 1).await;
    publish_numbers(bus, &whole, 3, 2).await;
    assert_eq!(
        by_partition(&member.read(2).await),
        [(1, vec![3, 4])].into(),
        "only the other partition goes on"
    );
    member.control.seek(cut.clone(), Start::Earliest).await.unwrap();
    assert!(member.read(6).await.iter().map(number).eq(5..11));
    publish_numbers(bus, &cut, 11, 1).await;
    assert_eq!(by_partition(&member.read(1).await), [(0, vec![11])].into());
    member.control.commit(vec![(cut, 12), (whole, 5)]).await.unwrap();
}

pub(crate) async fn an_offset_beyond_the_end_is_out_of_range(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    publish_numbers(bus, &only, 0, 3).await;
    let mut member = Member::begin(bus, &name, &name, Start::At(1_000)).await;
    assert_eq!(member.out_of_range().await, only);
    member.control.seek(only.clone(), Start::At(2)).await.unwrap();
    assert!(member.read(1).await.iter().map(number).eq(2..3));
    for offset in [1_000, -1] {
        member.control.seek(only.clone(), Start::At(offset)).await.unwrap();
        assert_eq!(member.out_of_range().await, only, "{offset}");
    }
    member.control.seek(only.clone(), Start::Earliest).await.unwrap();
    assert!(member.read(3).await.iter().map(number).eq(0..3));
}

pub(crate) async fn a_log_that_is_cut_while_it_is_read_is_noticed(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    publish_numbers(bus, &only, 0, 1).await;
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    member.read(1).await;
    member.control.pause(vec![only.clone()], true).await.unwrap();
    publish_numbers(bus, &only, 1, 9).await;
    bench.delete_before(&only, 6).await;
    member.control.pause(vec![only.clone()], false).await.unwrap();
    assert_eq!(member.out_of_range().await, only);
    member.control.seek(only, Start::Earliest).await.unwrap();
    assert!(member.read(4).await.iter().map(number).eq(6..10));
}

pub(crate) async fn a_seek_goes_back(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    publish_numbers(bus, &only, 0, 10).await;
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    member.read(10).await;
    member.control.seek(only.clone(), Start::At(6)).await.unwrap();
    assert!(member.read(4).await.iter().map(number).eq(6..10));
    member.control.commit(vec![(only.clone(), 9)]).await.unwrap();
    member.control.seek(only, Start::Committed).await.unwrap();
    assert!(member.read(1).await.iter().map(number).eq(9..10));
    let elsewhere = member.control.seek(at(&name, 4), Start::Earliest).await;
    assert!(matches!(elsewhere, Err(BusError::NotOwner(_))), "{elsewhere:?}");
}

pub(crate) async fn a_paused_partition_waits_and_loses_nothing(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 2).await;
    let (held, free) = (at(&name, 0), at(&name, 1));
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    // Once a record of it was read, it surely flows.
    publish_numbers(bus, &held, 0, 1).await;
    member.read(1).await;
    member.control.pause(vec![held.clone()], true).await.unwrap();
    publish_numbers(bus, &held, 1, 5).await;
    for n in 0..5 {
        publish_numbers(bus, &free, n, 1).await;
        assert_eq!(by_partition(&member.read(1).await), [(1, vec![n])].into());
    }
    member.control.pause(vec![held.clone()], false).await.unwrap();
    assert!(member.read(5).await.iter().map(number).eq(1..6));
    let elsewhere = member.control.pause(vec![at(&name, 9)], true).await;
    assert!(matches!(elsewhere, Err(BusError::NotOwner(_))), "{elsewhere:?}");
}

pub(crate) async fn a_reader_that_is_slow_loses_nothing(bench: &dyn Bench) {
    const COUNT: usize = 20_000;
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    publish_numbers(bus, &only, 0, COUNT).await;
    test_support::eventually("the channel is full", 30_000, async || member.events.len() >= 16).await;
    // Longer than a full channel is waited for, so that the partitions are paused and resumed.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(member.events.len() <= 17, "{} events: the memory is not bounded", member.events.len());
    member.control.commit(vec![(only, 0)]).await.unwrap();
    assert!(member.read(COUNT).await.iter().map(number).eq(0..COUNT));
}

pub(crate) async fn declined_partitions_are_offered_again(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 2).await;
    publish_numbers(bus, &at(&name, 0), 0, 3).await;
    let mut member = Member::join(bus, &name, &name).await;
    for _ in 0..2 {
        let (partitions, answer) = member.offer().await;
        assert_eq!(partitions.len(), 2);
        drop(answer);
    }
    assert_eq!(member.accept(Start::Earliest).await.len(), 2);
    assert!(member.read(3).await.iter().map(number).eq(0..3));
}
