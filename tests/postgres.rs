//! The hub on a real PostgreSQL: each test has a hub process and a database server of its own,
//! and does to them what bad days do.
//!
//! Where PostgreSQL's programs are missing the tests show as ignored, and as failed if
//! `HUB_REQUIRE_SERVICES=1`; `scripts/test` installs them.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "postgres/adopted.rs"]
mod adopted;
#[path = "postgres/crashes.rs"]
mod crashes;
#[path = "postgres/returns.rs"]
mod returns;
#[path = "postgres/stored.rs"]
mod stored;
mod support;
#[path = "postgres/tls.rs"]
mod tls;
#[path = "postgres/tools.rs"]
mod tools;
#[path = "postgres/trouble.rs"]
mod trouble;

/// A test's name, which is a sentence, and the test.
type Named = (&'static str, fn());

/// Makes a test's name of its function's.
macro_rules! named {
    ($($test:path),* $(,)?) => { [$((stringify!($test), $test as fn())),*] };
}

const TESTS: &[Named] = &named![
    stored::chat_is_stored_and_read_back,
    stored::pages_and_ranges_are_found_in_an_index_at_any_depth,
    stored::many_hubs_start_at_once_on_an_empty_database,
    stored::an_index_that_was_left_invalid_is_built_again,
    adopted::the_existing_servers_rows_are_read_and_not_rewritten,
    adopted::a_user_that_does_not_exist_costs_its_own_rows_only,
    adopted::a_post_of_nobody_is_seen_by_nobody,
    adopted::who_does_not_exist_is_told_so_and_then_refused_at_the_door,
    adopted::users_without_pictures_are_no_fault,
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
    tools::a_dry_run_prints_what_migrate_does_and_changes_nothing,
    tools::migrate_says_what_it_did_and_what_it_can_not_do,
    tools::dead_letters_are_stored_once_their_users_are_there,
    trouble::while_the_server_is_away_chat_goes_on_and_is_stored_later,
    trouble::a_frozen_server_holds_up_nobody,
    trouble::a_directory_that_has_served_opens_without_the_server_and_a_new_one_waits,
    trouble::what_only_a_person_can_mend_is_named_and_mended,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of them wait for a time limit most of the time.
    arguments.test_threads.get_or_insert(6);
    let missing = support::postgres::Cluster::programs().is_none();
    let required = std::env::var_os("HUB_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    if missing {
        eprintln!("PostgreSQL's programs are missing: `scripts/test` installs them");
    }
    let trial = |(name, test): &Named| {
        let test = *test;
        let run = move || match missing {
            true => Err("PostgreSQL's programs are missing: `scripts/test` installs them".into()),
            false => {
                test();
                Ok(())
            }
        };
        Trial::test(*name, run).with_ignored_flag(missing && !required)
    };
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit_code()
}
