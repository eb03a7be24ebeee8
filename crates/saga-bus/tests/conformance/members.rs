//! One member: where it begins, what it reads, what it can do.

use saga_bus::{BusError, Event, Start, TopicPartition};

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

/// A position is noted a moment after the answer to the offer.
async fn position(member: &Member, at: &TopicPartition) -> i64 {
    test_support::eventually("a position", 30_000, async || member.control.position(at).await.is_ok()).await;
    member.control.position(at).await.unwrap()
}

pub(crate) async fn a_position_is_known_before_the_first_record(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 4).await;
    let [read, empty, cut, given] = [0, 1, 2, 3].map(|partition| at(&name, partition));
    for full in [&read, &cut, &given] {
        publish_numbers(bus, full, 0, 5).await;
    }
    bench.delete_before(&cut, 5).await;
    let mut first = Member::begin(bus, &name, &name, Start::Committed).await;
    first.read(10).await;
    first.control.commit(vec![(read.clone(), 5)]).await.unwrap();
    first.leave().await;

    let mut member = Member::join(bus, &name, &name).await;
    let (partitions, answer) = member.offer().await;
    let refused = member.control.position(&read).await;
    assert!(matches!(refused, Err(BusError::NotOwner(_))), "not accepted yet: {refused:?}");
    let start = |of: &TopicPartition| if *of == given { Start::At(5) } else { Start::Committed };
    answer.send(partitions.into_iter().map(|of| (of.clone(), start(&of))).collect()).unwrap();
    for (of, expected) in [(&read, 5), (&empty, 0), (&cut, 5), (&given, 5)] {
        assert_eq!(position(&member, of).await, expected, "{of:?}");
    }
    assert!(member.events.is_empty(), "there was no record to come");

    let reaches = async |control: &dyn saga_bus::Control, offset| {
        test_support::eventually("the position", 30_000, async || control.position(&cut).await == Ok(offset))
            .await;
    };
    publish_numbers(bus, &cut, 5, 2).await;
    member.read(2).await;
    reaches(&*member.control, 7).await;
    member.control.seek(cut.clone(), Start::At(6)).await.unwrap();
    member.read(1).await;
    reaches(&*member.control, 7).await;
    let elsewhere = member.control.position(&at(&name, 9)).await;
    assert!(matches!(elsewhere, Err(BusError::NotOwner(_))), "{elsewhere:?}");
    let control = member.control.clone();
    member.leave().await;
    let left = control.position(&read).await;
    assert!(matches!(left, Err(BusError::NotOwner(_))), "{left:?}");
}

pub(crate) async fn a_position_never_leads_what_was_handed_on(bench: &dyn Bench) {
    const COUNT: usize = 10_000;
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    let mut member = Member::begin(bus, &name, &name, Start::Earliest).await;
    position(&member, &only).await;
    let publisher = {
        let (bus, only) = (bus.clone(), only.clone());
        tokio::spawn(async move {
            for from in (0..COUNT).step_by(100) {
                publish_numbers(&bus, &only, from, 100).await;
            }
        })
    };
    let mut received = 0;
    while received < COUNT {
        let position = usize::try_from(member.control.position(&only).await.unwrap()).unwrap();
        // Whatever is below the position can be received at once.
        while received < position {
            let event = member.events.try_recv().expect("the position leads");
            let Event::Records(records) = event else { panic!("{event:?}") };
            assert_eq!(number(&records[0]), received);
            received += records.len();
        }
        tokio::task::yield_now().await;
    }
    publisher.await.unwrap();
    // The last event is received a moment before the position counts it.
    test_support::eventually("the end", 30_000, async || {
        member.control.position(&only).await == Ok(i64::try_from(COUNT).unwrap())
    })
    .await;
}

pub(crate) async fn an_offset_that_is_gone_leaves_no_position_until_a_seek(bench: &dyn Bench) {
    let bus = bench.bus();
    let name = topic(bus, 1).await;
    let only = at(&name, 0);
    publish_numbers(bus, &only, 0, 5).await;
    bench.delete_before(&only, 3).await;
    let mut member = Member::begin(bus, &name, &name, Start::At(1)).await;
    assert_eq!(member.out_of_range().await, only);
    let gone = member.control.position(&only).await;
    assert!(matches!(gone, Err(BusError::NotOwner(_))), "{gone:?}");
    member.control.seek(only.clone(), Start::Earliest).await.unwrap();
    assert!((3..=5).contains(&position(&member, &only).await));
    member.read(2).await;
    test_support::eventually("the end", 30_000, async || member.control.position(&only).await == Ok(5)).await;
}
