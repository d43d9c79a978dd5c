//! Which test plants which condition, finds it in `/readyz`, the metric and the log, and finds it
//! gone there once it is mended. A new condition is a line here, and a test that calls the helpers
//! of `tests/support/health.rs`.

use cpi_hub::conditions::Condition;

use super::source::Source;

/// A condition, the file of its test, and the test.
pub type Planted = (Condition, &'static str, &'static str);

/// Sorted as the table of `src/conditions.rs`.
pub const PLANTED: &[Planted] = &[
    (Condition::AnotherHub, "postgres/nodes", "a_second_hub_waits_says_for_whom_and_takes_over"),
    (Condition::ClaimLost, "postgres/nodes", "a_hub_that_lost_its_claim_closes_its_members"),
    (Condition::DatabaseRefuses, "faults/outage", "sqlite_refuses_single_rows_alone"),
    (Condition::DatabaseUnusable, "postgres/health", "a_database_that_lacks_a_column_is_unusable"),
    (
        Condition::StoreAwaited,
        "faults/stored",
        "nobody_sees_a_chat_that_the_store_does_not_take_and_then_it_is_refused",
    ),
    (Condition::RightsMissing, "postgres/rights", "holds_up_nobody_where_users_can_not_be_read"),
    (Condition::PartEnded, "postgres/watched", "a_thread_that_dies_ends_the_hub_at_once"),
    (Condition::PartHangs, "faults/hanging", "a_shard_that_hangs_is_told"),
    (
        Condition::PartPanicked,
        "faults/blast",
        "a_connection_that_panics_is_closed_and_nobody_else_notices",
    ),
    (Condition::JournalBroken, "postgres/failing", "a_write_that_fails_is_seen_by_nobody"),
    (Condition::JournalSegment, "postgres/shortages", "a_segment_that_can_not_be_synced"),
    (
        Condition::JournalFilling,
        "postgres/disks",
        "a_journal_that_fills_while_the_database_is_away",
    ),
    (Condition::JournalUnread, "postgres/health", "a_journal_that_can_not_be_opened_is_read_later"),
    (
        Condition::JournalKept,
        "postgres/health",
        "a_journal_that_can_not_be_removed_is_removed_later",
    ),
    (Condition::NoncesLost, "postgres/health", "nonces_that_can_not_be_kept_are_kept_later"),
    (Condition::DescriptorsShort, "faults/attacks/places", "a_shortage_of_descriptors_is_told"),
    (Condition::MemoryShort, "hub/memory", "bodies_beyond_the_bound_are_told_and_that_passes"),
    (
        Condition::MemoryFull,
        "faults/memory/bound",
        "nobody_is_let_in_while_others_use_the_memory_up",
    ),
    (Condition::AnotherStore, "postgres/truth", "a_new_address_that_is_away_is_waited_for"),
    (Condition::MessagesMissing, "postgres/truth", "what_no_journal_holds_is_named_until"),
    (Condition::DataDirectory, "faults/store_truth", "a_directory_that_is_moved_away_is_noticed"),
    (
        Condition::DataDirectoryOpen,
        "hub/private",
        "a_directory_that_is_opened_to_others_under_the_hub",
    ),
    (Condition::LogBlocked, "hub/logs", "a_log_that_nobody_reads_holds_up_nobody"),
    (Condition::ClockJumped, "faults/clocks", "a_clock_that_jumps_by_years_is_told"),
    (Condition::DatabaseFile, "faults/store_truth", "a_directory_that_is_moved_away_is_noticed"),
    (Condition::DatabaseChecking, "faults/store_truth", "a_large_database_is_checked_beside"),
    (Condition::DatabaseDamaged, "faults/store_truth", "a_database_that_is_damaged_under_the_hub"),
    (Condition::Unauthenticated, "hub/auth/open", "is_open_to_other_machines_says_so"),
    (
        Condition::CertificateEnds,
        "hub/tls/certificates",
        "a_certificate_that_ends_soon_is_told_before",
    ),
    (Condition::CertificateEnded, "hub/tls/certificates", "a_certificate_that_has_ended_is_told"),
    (Condition::CertificateUnread, "hub/tls/certificates", "a_broken_one_changes_nothing"),
    (Condition::DeadLetters, "hub/letters", "dead_letters_are_told_and_counted"),
    (Condition::DeadLettersFull, "hub/letters", "dead_letters_have_a_bound"),
    (
        Condition::HistoryUnreadable,
        "faults/store_truth",
        "a_database_that_is_damaged_under_the_hub",
    ),
    (Condition::TracesUnsent, "hub/telemetry/mod", "a_collector_that_is_away_hurts_nobody"),
];

/// What begins and what ends a condition in a test, or begins it where the hub ends with it, or
/// where it is of the log itself.
const BEGINS: [&str; 4] = ["planted(", "planted_by(", "told(", "shown("];
const ENDS: [&str; 5] = ["mended(", "mended_by(", "begun_anew(", "begun_anew_by(", ".wait()"];

/// The conditions that no test plants as the table says, and what is wrong.
pub fn unplanted(all: &[Condition], planted: &[Planted], sources: &[Source]) -> Vec<String> {
    let check = |condition: &Condition| {
        let name = format!("{condition:?}");
        let lines: Vec<_> = planted.iter().filter(|(it, ..)| it == condition).collect();
        let [(_, file, test)] = &lines[..] else {
            return Some(format!("{name}: {} lines of tests/tidy/health.rs", lines.len()));
        };
        let path = format!("tests/{file}.rs");
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            return Some(format!("{name}: there is no {path}"));
        };
        let functions = source.functions();
        let Some(function) = functions.iter().find(|function| function.name.contains(test)) else {
            return Some(format!("{name}: {path} has no test {test}"));
        };
        let lines = source.text.lines().skip(function.line - 1).take(function.lines);
        let body: String = lines.collect();
        let of = |helpers: &[&str]| helpers.iter().any(|helper| body.contains(helper));
        let whole = body.contains(&format!("Condition::{name}")) && of(&BEGINS) && of(&ENDS);
        (!whole).then(|| format!("{name}: {test} does not see it begin and end"))
    };
    all.iter().filter_map(check).collect()
}
