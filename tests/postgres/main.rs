//! The hub on a real PostgreSQL: each test has a hub process and a database server of its own,
//! and does to them what bad days do.
//!
//! Where PostgreSQL's programs are missing the tests show as ignored, and as failed if
//! `HUB_REQUIRE_SERVICES=1`; `scripts/test` installs them.

use std::process::ExitCode;

use support::trials::{self, Named, named};

mod adopted;
mod clocks;
mod commits;
mod costs;
mod crashes;
mod disks;
mod doctor;
mod drains;
mod failing;
mod health;
mod journals;
mod layouts;
mod links;
mod nodes;
mod odd;
mod pictures;
mod poison;
mod refusals;
mod returns;
mod rights;
mod search;
mod secured;
mod servers;
mod sessions;
mod shortages;
mod states;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tools;
mod trouble;
mod truth;
mod watched;

const TESTS: &[Named] = &named![
    stored::chat_is_stored_and_read_back,
    stored::pages_and_ranges_are_found_in_an_index_at_any_depth,
    stored::pages_and_ranges_of_others_tables_are_found_in_an_index_too,
    stored::of_many_hubs_that_start_at_once_one_serves_at_a_time,
    stored::an_index_that_was_left_invalid_is_built_again,
    search::a_search_finds_what_a_look_at_each_row_finds,
    search::a_search_of_others_tables_finds_what_a_look_at_each_row_finds,
    search::the_index_of_words_comes_and_goes_with_the_setting_beside_a_hub_that_serves,
    search::an_owner_makes_the_index_of_words_for_a_hub_that_may_not,
    layouts::a_row_of_a_new_database_costs_one_index,
    layouts::a_table_of_an_earlier_build_is_changed_while_a_hub_writes_and_others_read,
    layouts::a_change_that_was_cut_between_any_two_steps_is_finished,
    layouts::a_change_that_panics_ends_the_hub_with_a_word_and_is_made_at_the_next_start,
    layouts::a_hub_that_is_killed_while_it_builds_the_key_builds_it_at_the_next_start,
    layouts::tables_of_others_and_restored_ones_stay_as_they_are,
    layouts::a_table_that_others_have_built_on_stays_as_it_is_and_is_told,
    layouts::a_role_that_owns_nothing_serves_as_before_until_the_owner_changes_the_table,
    layouts::replicas_go_on_through_the_change,
    layouts::pages_of_a_space_that_is_newer_than_the_statistics_cost_no_more,
    layouts::nothing_that_is_looked_up_reads_the_whole_table,
    adopted::the_existing_servers_rows_are_read_and_not_rewritten,
    adopted::the_way_back_to_the_existing_server_leaves_its_database_as_it_was,
    adopted::a_user_that_does_not_exist_costs_its_own_rows_only,
    adopted::a_post_of_nobody_is_seen_by_nobody,
    adopted::who_does_not_exist_is_told_so_and_then_refused_at_the_door,
    adopted::users_without_pictures_are_no_fault,
    adopted::spaces_are_called_as_the_database_calls_them,
    odd::rows_with_times_that_nobody_can_show_and_without_values_are_shown,
    odd::texts_that_are_no_text_are_shown_as_far_as_they_are,
    odd::history_that_can_not_be_read_is_told_until_it_can,
    pictures::a_page_of_great_pictures_is_bounded_and_each_can_be_had,
    pictures::pictures_count_row_by_row_and_what_does_not_fit_is_left_out,
    pictures::pages_of_pictures_that_nobody_reads_hold_a_share_of_the_memory,
    crashes::nothing_is_lost_or_doubled_by_kills_of_the_hub,
    crashes::nothing_is_lost_or_doubled_by_kills_of_the_server,
    crashes::a_session_that_is_ended_while_it_copies_loses_nothing,
    crashes::a_commit_whose_answer_is_lost_is_not_stored_again,
    returns::many_that_keep_dropping_miss_nothing_through_a_kill,
    returns::of_more_than_a_resume_brings_the_newest_are_sent,
    tls::each_sslmode_means_what_libpq_means_by_it,
    tls::of_allow_and_prefer_the_server_has_its_choice,
    tls::a_certificate_that_was_given_by_hand_is_trusted,
    tls::a_password_is_bound_to_the_connection,
    tls::sink_and_reader_go_over_tls_and_say_who_has_to_act,
    doctor::a_sound_database_is_well_and_one_that_is_new_lacks_its_tables,
    doctor::what_hurts_in_settings_and_rights_is_found,
    tools::a_dry_run_prints_what_migrate_does_and_changes_nothing,
    tools::migrate_says_what_it_did_and_what_it_can_not_do,
    tools::dead_letters_are_stored_once_their_users_are_there,
    tools::dead_letters_are_tried_again_while_the_hub_serves_and_no_copies_are_made,
    trouble::while_the_server_is_away_chat_goes_on_and_is_stored_later,
    trouble::a_frozen_server_holds_up_nobody,
    trouble::a_directory_that_has_served_opens_without_the_server_and_a_new_one_waits,
    trouble::what_only_a_person_can_mend_is_named_and_mended,
    secured::nobody_sees_a_chat_while_the_server_is_frozen_and_then_it_is_refused,
    secured::a_hub_killed_around_its_commit_has_shown_nothing_that_is_not_stored,
    secured::a_user_that_does_not_exist_is_heard_by_nobody,
    commits::a_hub_killed_around_its_commit_stores_each_message_once,
    states::a_server_that_swallows_everything_holds_up_nobody,
    states::a_locked_table_is_waited_for_and_told_once,
    states::a_dropped_column_that_is_put_back_has_cost_nothing,
    states::connections_that_are_refused_are_tried_again_and_told_once,
    states::a_wrong_password_at_the_start_is_named_until_it_is_right,
    links::over_a_link_that_is_slow_late_and_in_pieces_all_is_stored_once,
    links::connections_that_are_reset_again_and_again_lose_and_double_nothing,
    links::a_database_behind_a_black_hole_holds_up_nobody_and_gets_all_of_it_later,
    poison::a_row_that_a_trigger_refuses_is_alone_in_the_dead_letters,
    poison::a_row_that_is_there_already_is_alone_in_the_dead_letters,
    refusals::a_text_too_long_for_an_index_is_alone_in_the_dead_letters,
    refusals::whatever_is_said_of_one_row_holds_up_no_other,
    refusals::a_missing_partition_is_waited_for_and_costs_no_message,
    refusals::a_trigger_that_drops_all_is_waited_for_and_one_that_drops_some_costs_those,
    refusals::a_space_without_a_partition_holds_up_no_other,
    refusals::a_right_that_is_taken_away_is_waited_for_and_named,
    refusals::a_policy_against_one_user_costs_that_users_rows_only,
    rights::a_role_with_the_rights_of_the_readme_lacks_nothing,
    rights::a_user_that_does_not_exist_holds_up_nobody_where_users_can_not_be_read,
    rights::a_user_that_does_not_exist_holds_up_nobody_without_a_table_of_spaces,
    rights::a_table_of_users_that_messages_do_not_refer_to_is_not_asked,
    servers::a_server_that_swallows_everything_is_passed_by,
    servers::each_kind_of_server_that_libpq_knows_can_be_wanted,
    sessions::behind_a_pooler_of_transactions_all_works_and_nothing_is_left_on_its_sessions,
    sessions::no_statement_sets_what_outlives_its_transaction,
    sessions::the_table_that_the_search_path_finds_is_adopted_and_told,
    sessions::an_index_is_built_though_the_role_has_time_limits_that_are_shorter,
    sessions::an_index_that_somebody_else_builds_is_waited_for_and_kept,
    drains::a_stop_while_the_database_is_away_says_what_is_left_for_the_next_start,
    drains::a_kill_in_the_midst_of_a_stop_loses_and_doubles_nothing,
    failing::a_flush_that_fails_ends_the_hub_and_loses_nothing,
    failing::a_write_that_fails_is_seen_by_nobody_and_stops_chat_until_a_restart,
    disks::a_full_data_disk_loses_nothing,
    disks::a_full_log_disk_loses_nothing,
    disks::a_journal_that_fills_while_the_database_is_away_shows_in_readyz_and_metrics,
    disks::a_full_journal_disk_refuses_unseen_and_loses_nothing,
    journals::a_second_hub_on_a_directory_is_turned_away_in_one_line,
    journals::a_torn_tail_is_cut_and_all_before_it_is_stored,
    journals::damage_in_the_middle_is_refused_with_its_offset,
    journals::a_journal_shorter_than_what_is_stored_loses_nothing,
    nodes::a_second_hub_waits_says_for_whom_and_takes_over_when_the_first_ends,
    nodes::a_second_hub_takes_over_from_one_that_was_killed,
    nodes::a_restart_on_the_same_directory_waits_for_nobody,
    nodes::a_hub_that_lost_its_claim_closes_its_members_and_loses_nothing,
    nodes::a_hub_that_started_without_the_database_ends_if_another_serves_it,
    nodes::a_restart_of_the_database_changes_no_claim,
    nodes::a_transaction_that_is_stuck_holds_up_no_take_over,
    nodes::a_copied_directory_is_another_hubs,
    truth::an_older_database_is_given_again_what_the_journals_hold,
    truth::an_older_database_at_a_start_is_given_again_what_the_journals_hold,
    truth::positions_that_are_gone_cost_nothing_and_double_nothing,
    truth::what_no_journal_holds_is_named_until_it_is_acknowledged,
    truth::what_finished_journals_held_is_named_too,
    truth::journals_wait_for_the_store_that_they_were_made_for,
    truth::journals_are_taken_to_another_store_if_it_is_said,
    truth::a_new_address_that_is_away_is_waited_for_and_told,
    truth::another_store_at_the_same_address_ends_the_hub_before_a_row_is_written,
    clocks::another_offset_than_that_of_the_stored_times_is_refused_in_one_line,
    clocks::ids_ascend_though_the_clock_jumps_forward_and_back,
    costs::restarts_that_nobody_says_a_word_to_cost_nothing,
    costs::restarts_with_one_message_each_cost_what_the_messages_take,
    costs::a_hub_that_is_killed_while_it_waits_for_a_new_database_leaves_nothing,
    shortages::a_hub_without_descriptors_goes_on_and_stores_all_that_it_took,
    shortages::a_segment_that_can_not_be_synced_is_made_later_and_leaves_no_file,
    health::a_database_that_lacks_a_column_is_unusable_until_it_has_it,
    health::a_journal_that_can_not_be_opened_is_read_later,
    health::a_journal_that_can_not_be_removed_is_removed_later,
    health::nonces_that_can_not_be_kept_are_kept_later,
    watched::a_thread_that_dies_ends_the_hub_at_once_with_its_name,
    watched::a_claim_that_nobody_renews_any_more_ends_the_hub_with_a_word,
    watched::a_hub_column_of_another_type_is_read_all_the_same,
    watched::a_hub_column_that_can_not_be_read_is_named_and_blames_no_row,
];

fn main() -> ExitCode {
    // Most of them wait for a time limit most of the time.
    trials::run_with_postgres(TESTS, 6)
}
