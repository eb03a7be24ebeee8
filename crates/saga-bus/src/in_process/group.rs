//! Consumer groups in memory: who is a member, who should have which partition, what was committed.
//! Pure: it must not send, wait or know the logs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::TopicPartition;

/// A member, unique in this process.
pub(super) type MemberId = u64;

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<MemberId, Membership>,
    pub(super) committed: HashMap<TopicPartition, i64>,
}

#[derive(Debug)]
pub(super) struct Membership {
    pub(super) topics: Vec<Arc<str>>,
    /// Wakes the member's task.
    pub(super) wake: Arc<Notify>,
    /// What the group wants it to have.
    pub(super) target: BTreeSet<TopicPartition>,
    /// What it has, from the offer until the revocation is answered. Nobody else has it meanwhile.
    pub(super) owned: BTreeSet<TopicPartition>,
    /// What it has accepted, and how far it has read.
    pub(super) reading: BTreeMap<TopicPartition, Reading>,
    /// What was taken from it without asking, to be told.
    pub(super) lost: Vec<TopicPartition>,
    /// It declined or was expelled, and joins again later.
    pub(super) away: bool,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) next: i64,
    /// Below here everything was handed on; behind `next` while records are on their way to the member.
    pub(super) handed: i64,
    pub(super) paused: bool,
    pub(super) range: Range,
}

/// Whether the log has what is to be read next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Range {
    Good,
    /// Found out, not told yet.
    Gone,
    /// Told; waits for a seek.
    Told,
}

impl Membership {
    pub(super) fn new(topics: Vec<Arc<str>>, wake: Arc<Notify>) -> Self {
        Self {
            topics,
            wake,
            target: BTreeSet::new(),
            owned: BTreeSet::new(),
            reading: BTreeMap::new(),
            lost: Vec::new(),
            away: false,
        }
    }
}

impl Group {
    /// Spreads the partitions over the members: evenly, and moving as few as possible.
    pub(super) fn rebalance(&mut self, partitions_of: impl Fn(&str) -> u32) {
        let mut all: BTreeSet<TopicPartition> = BTreeSet::new();
        for topic in self.members.values().filter(|it| !it.away).flat_map(|it| &it.topics) {
            for partition in 0..partitions_of(topic) {
                all.insert(TopicPartition { topic: topic.clone(), partition: partition.cast_signed() });
            }
        }
        let mut free = all.clone();
        for member in self.members.values_mut() {
            let away = member.away;
            member.target.retain(|at| !away && all.contains(at) && free.remove(at));
        }
        for at in free {
            if let Some(id) = self.candidates(&at).min_by_key(|(_, load)| *load).map(|(id, _)| id) {
                self.give(id, at);
            }
        }
        while let Some((from, to, at)) = self.unfair() {
            if let Some(member) = self.members.get_mut(&from) {
                member.target.remove(&at);
            }
            self.give(to, at);
        }
        for member in self.members.values() {
            member.wake.notify_one();
        }
    }

    /// Whether nobody has the partition.
    pub(super) fn is_free(&self, at: &TopicPartition) -> bool {
        !self.members.values().any(|it| it.owned.contains(at))
    }

    fn give(&mut self, id: MemberId, at: TopicPartition) {
        if let Some(member) = self.members.get_mut(&id) {
            member.target.insert(at);
        }
    }

    /// The members that could have the partition, with how many they have.
    fn candidates(&self, at: &TopicPartition) -> impl Iterator<Item = (MemberId, usize)> {
        self.members
            .iter()
            .filter(|(_, it)| !it.away && it.topics.contains(&at.topic))
            .map(|(id, it)| (*id, it.target.len()))
    }

    /// A partition that should move: its owner has at least two more than another candidate.
    fn unfair(&self) -> Option<(MemberId, MemberId, TopicPartition)> {
        for (from, member) in &self.members {
            for at in &member.target {
                let (to, load) = self.candidates(at).min_by_key(|(_, load)| *load)?;
                if member.target.len() >= load + 2 {
                    return Some((*from, to, at.clone()));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group: &mut Group, id: MemberId, topics: &[&str]) {
        let topics = topics.iter().map(|&topic| Arc::from(topic)).collect();
        group.members.insert(id, Membership::new(topics, Arc::default()));
        group.rebalance(|_| 4);
    }

    fn loads(group: &Group) -> Vec<usize> {
        group.members.values().map(|it| it.target.len()).collect()
    }

    #[test]
    fn partitions_are_spread_evenly_and_move_little() {
        let mut group = Group::default();
        join(&mut group, 1, &["t"]);
        assert_eq!(loads(&group), [4]);
        let before = group.members[&1].target.clone();
        join(&mut group, 2, &["t"]);
        assert_eq!(loads(&group), [2, 2]);
        assert!(group.members[&1].target.is_subset(&before));
        join(&mut group, 3, &["t"]);
        assert_eq!(loads(&group).iter().sum::<usize>(), 4);
        assert!(loads(&group).iter().all(|load| (1..=2).contains(load)), "{:?}", loads(&group));
        let kept = group.members[&3].target.clone();
        group.members.remove(&1);
        group.rebalance(|_| 4);
        assert_eq!(loads(&group), [2, 2]);
        assert!(kept.is_subset(&group.members[&3].target));
    }

    #[test]
    fn a_member_gets_only_topics_that_it_asked_for() {
        let mut group = Group::default();
        join(&mut group, 1, &["a", "b"]);
        join(&mut group, 2, &["a"]);
        assert_eq!(loads(&group), [4, 4]);
        assert!(group.members[&2].target.iter().all(|at| &*at.topic == "a"));
    }

    #[test]
    fn who_is_away_gets_nothing() {
        let mut group = Group::default();
        join(&mut group, 1, &["t"]);
        join(&mut group, 2, &["t"]);
        if let Some(member) = group.members.get_mut(&1) {
            member.away = true;
        }
        group.rebalance(|_| 4);
        assert_eq!(loads(&group), [0, 4]);
    }
}
