//! The hub on a real PostgreSQL: each test has a hub process and a database server of its own,
//! and does to them what bad days do.
//!
//! Where PostgreSQL's programs are missing the tests show as ignored, and as failed if
//! `HUB_REQUIRE_SERVICES=1`; `scripts/test` installs them.

use std::process::ExitCode;

use support::trials::{self, Named, named};

#[path = "postgres/adopted.rs"]
mod adopted;
#[path = "postgres/crashes.rs"]
mod crashes;
#[path = "postgres/stored.rs"]
mod stored;
mod support;
#[path = "postgres/trouble.rs"]
mod trouble;

const TESTS: &[Named] = &named![
    stored::chat_is_stored_and_read_back,
    stored::pages_and_ranges_are_found_in_an_index_at_any_depth,
    stored::many_hubs_start_at_once_on_an_empty_database,
    stored::an_index_that_was_left_invalid_is_built_again,
    adopted::the_existing_servers_rows_are_read_and_not_rewritten,
    adopted::a_user_that_does_not_exist_costs_its_own_rows_only,
    adopted::users_without_pictures_are_no_fault,
    crashes::nothing_is_lost_or_doubled_by_kills_of_the_hub,
    crashes::nothing_is_lost_or_doubled_by_kills_of_the_server,
    crashes::a_session_that_is_ended_while_it_copies_loses_nothing,
    crashes::a_commit_whose_answer_is_lost_is_not_stored_again,
    trouble::while_the_server_is_away_chat_goes_on_and_is_stored_later,
    trouble::a_frozen_server_holds_up_nobody,
    trouble::a_directory_that_has_served_opens_without_the_server_and_a_new_one_waits,
    trouble::what_only_a_person_can_mend_is_named_and_mended,
];

fn main() -> ExitCode {
    // Most of them wait for a time limit most of the time.
    trials::run_with_postgres(TESTS, 6)
}
