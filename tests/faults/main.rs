//! A hub to which bad days are done: killed, its files taken away, its store locked, and everything
//! attacked that it has a limited number of (descriptors, places, memory).
//!
//! One test at a time: each may load the whole machine, and some put themselves in a memory group.
//! What a machine doesn't allow (such a group, PostgreSQL) shows as an ignored test.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::trials::{self, Named, named};

mod attacks;
mod blast;
mod clocks;
mod crowding;
mod deep_pages;
mod doctor;
mod drain;
mod hanging;
mod link_itself;
mod links;
mod memory;
mod networks;
mod outage;
mod parts;
mod publish_once;
mod rebuild;
mod search;
mod standstill;
mod store_truth;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod survival;

const TESTS: &[Named] = &named![
    survival::nothing_received_or_acked_is_missing_after_kills_under_load,
    survival::a_stopped_hub_has_stored_everything_and_says_goodbye,
    survival::ids_go_on_ascending_after_a_restart_with_another_number_of_shards,
    survival::a_second_signal_ends_the_hub_though_members_are_not_closed_yet,
    survival::a_drain_spreads_its_closes_over_the_window,
    drain::a_drain_under_load_spreads_its_closes_evenly_and_loses_nothing,
    outage::a_full_journal_refuses_chat_unseen_and_nothing_accepted_is_lost,
    outage::sqlite_refuses_single_rows_alone_and_gets_all_rows_once_it_is_mended,
    stored::nobody_sees_a_chat_that_the_store_does_not_take_and_then_it_is_refused,
    stored::what_a_killed_hub_had_shown_is_in_its_table,
    stored::a_chat_that_the_store_refuses_is_seen_by_nobody,
    clocks::a_clock_that_jumps_by_years_is_told_and_times_follow_it_back_also_over_a_restart,
    clocks::a_clock_that_is_wrong_for_a_moment_is_told_and_makes_no_wrong_time,
    doctor::a_full_disk_is_a_problem_and_one_in_memory_a_warning,
    doctor::a_clock_that_is_years_behind_is_a_problem,
    hanging::a_disk_that_hangs_keeps_no_hub_from_its_end,
    hanging::a_second_signal_ends_a_hub_at_once_whatever_hangs,
    hanging::a_start_that_hangs_can_be_ended,
    hanging::a_name_server_that_hangs_keeps_no_start_from_its_end,
    hanging::a_shard_that_hangs_is_told_and_the_watchdog_is_fed_no_more_until_it_goes_on,
    link_itself::a_link_delays_slows_and_holds_bytes_and_loses_none,
    link_itself::jitter_and_single_bytes_change_no_order,
    link_itself::a_link_changes_and_cuts_what_it_is_told_to,
    link_itself::what_is_swallowed_is_gone_and_its_connection_is_of_no_more_use,
    links::members_behind_jitter_who_are_sent_single_bytes_miss_nothing_and_are_not_closed,
    links::members_whose_link_is_down_for_5_s_under_load_resume_without_a_gap,
    links::members_whose_link_is_down_for_long_resume_without_a_gap,
    links::a_crowd_whose_link_breaks_in_every_way_misses_nothing,
    links::a_member_reset_in_the_middle_of_a_message_leaves_once_and_its_part_is_discarded,
    links::a_half_open_peer_is_announced_as_gone_when_its_pong_is_due,
    networks::members_on_a_network_that_loses_packets_and_is_parted_resume_without_a_gap,
    networks::members_on_a_network_that_is_parted_for_5_s_resume_without_a_gap,
    networks::a_member_that_a_partition_took_is_announced_as_gone_when_its_pong_is_due,
    standstill::a_hub_that_stands_still_calls_nobody_dead_or_slow,
    standstill::a_hub_with_a_fifth_of_a_processor_calls_nobody_dead_or_slow,
    crowding::one_that_stops_reading_is_closed_alone_and_its_neighbours_notice_nothing,
    crowding::who_comes_and_goes_without_end_leaves_nothing_behind,
    crowding::spaces_that_are_touched_once_are_freed_after_their_window,
    crowding::at_default_rates_no_healthy_member_falls_out_of_the_log,
    parts::a_part_that_panics_ends_the_hub_with_its_name,
    parts::a_check_that_panics_ends_the_hub_with_its_name,
    parts::a_checkpoint_that_panics_ends_the_hub_with_its_name,
    parts::a_first_listener_that_panics_ends_the_start,
    parts::a_log_that_panics_goes_on_with_the_next_line,
    blast::a_connection_that_panics_is_closed_and_nobody_else_notices,
    blast::a_thread_of_the_store_that_panics_begins_anew_and_nothing_is_lost_or_doubled,
    blast::a_checkpoint_that_panics_is_made_by_the_next_one,
    blast::a_shard_that_panics_closes_its_members_and_the_other_shards_do_not_notice,
    blast::a_crowd_misses_nothing_though_its_shards_panic,
    publish_once::what_is_sent_again_after_a_kill_is_there_once,
    publish_once::a_nonce_is_forgotten_when_its_window_is_over_also_across_a_restart,
    store_truth::a_database_that_is_removed_under_the_hub_is_noticed_and_nothing_more_is_taken,
    store_truth::a_log_of_the_database_that_is_removed_under_the_hub_is_noticed,
    store_truth::a_directory_that_is_moved_away_is_noticed_and_heals_when_it_is_back,
    store_truth::a_directory_that_is_removed_ends_in_no_silence,
    store_truth::a_missing_journal_folder_lock_or_journal_is_noticed,
    store_truth::a_database_that_is_replaced_under_the_hub_is_noticed,
    store_truth::an_older_database_at_a_start_is_given_again_what_the_journals_hold,
    store_truth::messages_that_wait_for_the_embedded_database_go_to_no_other,
    store_truth::a_copy_with_the_log_of_another_state_beside_it_is_refused_at_the_start,
    store_truth::a_database_that_is_damaged_under_the_hub_is_told_and_takes_no_more,
    store_truth::a_large_database_is_checked_beside_the_hub,
    search::an_index_of_words_that_is_killed_while_it_is_made_goes_on_and_misses_nothing,
    rebuild::an_earlier_database_is_laid_out_anew_through_kills_with_all_that_it_holds,
    attacks::places::connections_of_every_sort_leave_the_journal_its_descriptors,
    attacks::places::who_waits_for_its_peer_makes_room_and_who_is_served_does_not,
    attacks::places::slow_bodies_do_not_keep_all_places,
    attacks::places::members_leave_places_to_http,
    attacks::places::a_shortage_of_descriptors_is_told_and_passes,
    attacks::places::the_limit_of_open_files_is_raised_as_far_as_it_may_be,
    attacks::places::too_few_descriptors_are_refused_in_one_line,
    attacks::costs::a_connection_that_says_nothing_costs_next_to_nothing,
    attacks::costs::heads_that_are_still_coming_have_one_bound,
    attacks::costs::messages_that_nobody_reads_are_not_kept,
    attacks::costs::the_own_control_group_bounds_memory,
    attacks::floods::floods_of_frames_slow_no_other_space_and_stay_out_for_a_while,
    attacks::floods::those_who_read_nothing_hold_no_room,
    attacks::herd::under_attack_everything_accepted_is_stored,
    deep_pages::a_crowd_that_asks_deep_pages_delays_nobody_else,
    memory::slow_large_bodies,
    memory::slow_readers_of_big_pages,
    memory::pages_of_great_pictures,
    memory::slow_heads,
    memory::floods_of_frames,
    memory::members_that_read_nothing,
    memory::a_lobby_of_thousands,
    memory::members_that_take_nothing_make_room,
    memory::nobody_is_let_in_while_others_use_the_memory_up,
    memory::thousands_chat_while_a_tenth_of_them_reads_nothing,
];

fn main() -> ExitCode {
    // Attackers need descriptors too.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard one");
    trials::run(TESTS, 1)
}
