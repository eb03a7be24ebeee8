//! One suite for both buses: whatever the engine and the workers rely on holds on each of them.
#![allow(clippy::unwrap_used)]

mod benches;
mod groups;
mod logs;
mod members;
mod publishing;

use benches::{InProcessBench, KafkaBench};

/// Runs each check on both buses.
macro_rules! on_both {
    ($($module:ident :: $check:ident),* $(,)?) => {
        mod in_process {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    super::$module::$check(&super::InProcessBench::new()).await;
                }
            )*
        }
        mod kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    super::$module::$check(&super::KafkaBench::new().await).await;
                }
            )*
        }
    };
}

on_both!(
    publishing::records_arrive_whole_and_in_order,
    publishing::a_key_chooses_the_same_partition_on_every_bus,
    publishing::empty_data_is_a_tombstone,
    publishing::what_cannot_be_published_says_so_and_hurts_no_neighbour,
    publishing::many_publishers_lose_nothing,
    logs::watermarks_follow_the_records,
    logs::a_topic_that_exists_is_left_as_it_is,
    logs::a_topic_made_again_is_another_log,
    logs::a_tail_reads_all_partitions_without_a_group,
    logs::a_tail_that_is_behind_reads_everything,
    logs::a_missing_topic_is_named,
    members::committed_offsets_are_where_the_next_member_begins,
    members::a_start_may_be_given,
    members::an_offset_that_is_gone_stops_its_partition_until_a_seek,
    members::an_offset_beyond_the_end_is_out_of_range,
    members::a_log_that_is_cut_while_it_is_read_is_noticed,
    members::a_seek_goes_back,
    members::a_paused_partition_waits_and_loses_nothing,
    members::a_reader_that_is_slow_loses_nothing,
    members::declined_partitions_are_offered_again,
    members::a_position_is_known_before_the_first_record,
    members::a_position_never_leads_what_was_handed_on,
    members::an_offset_that_is_gone_leaves_no_position_until_a_seek,
    groups::two_members_share_and_hand_over,
    groups::an_owner_commits_until_it_has_let_go,
    groups::who_does_not_own_cannot_commit,
    groups::who_leaves_frees_its_partitions,
    groups::a_dropped_subscription_leaves,
    groups::a_slow_member_still_hands_over,
    groups::an_expelled_member_learns_what_it_lost,
    groups::closing_ends_everything,
);
