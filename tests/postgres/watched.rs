//! Threads that die, and hub tables that others have changed: nothing goes on beside a dead part,
//! and nothing dies of what a database answers.

use super::failing::Failing;
use super::stored::{hub_on, post, until_store_is};
use crate::support::health::told;
use crate::support::postgres::Cluster;
use crate::support::trials::Outcome;
use crate::support::{Hub, eventually};
use cpi_hub::conditions::Condition;

pub fn a_thread_that_dies_ends_the_hub_at_once_with_its_name() -> Outcome {
    let cluster = Cluster::start(&[]);
    for name in ["hub-store", "hub-reader", "shard-0"] {
        let mut hub = hub_on(&cluster);
        assert_eq!(post(&hub, (1, 2), "antes").0, 200);
        assert_eq!(hub.get("/v1/messages?space_id=1").status, 200, "its reader has connected");
        let ana = hub.join(1, 1, "Ana");
        // The thread's runtime can't ask for events any more, which is a panic.
        let dying = Failing::start_in_thread(&hub, name, "epoll_wait,epoll_pwait", "EBADF")?;
        let status = hub.wait();
        drop(dying);
        assert_eq!(status.code(), Some(1), "{name}: {status}");
        let log = hub.log();
        assert!(log.contains(&format!("{name} has ended")), "{name}: {log}");
        assert!(told(&log, Condition::PartEnded), "{name}: {log}");
        assert!(log.contains("a panic: "), "where it was is told: {log}");
        assert!(ana.until_closed().1.code.is_none_or(|code| code == 1012), "{name}");
        hub.restart();
        until_store_is(&hub, "ready");
        assert_eq!(post(&hub, (1, 2), "después").0, 200);
    }
    Ok(())
}

pub fn a_claim_that_nobody_renews_any_more_ends_the_hub_with_a_word() -> Outcome {
    let cluster = Cluster::start(&[]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    let mut hub = Hub::start_with_env(&["--database-url", &cluster.url()], &env);
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    std::fs::write(&file, "the claim's renewal").expect("a file");
    let status = hub.wait();
    let log = hub.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("the claim's renewal has ended in a panic"), "{log}");
    assert!(told(&log, Condition::PartEnded), "{log}");
    std::fs::remove_file(&file).expect("a file");
    hub.restart();
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 2), "después").0, 200);
    // An end that is meant tells nothing.
    assert!(hub.stop("TERM").success());
    let added = hub.log().split_off(log.len());
    assert!(!added.contains("has ended"), "{added}");
    Ok(())
}

/// Does something to the hub's tables, and has every session begin anew.
fn change(cluster: &Cluster, sql: &str) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'cpi-hub'";
    cluster.sql("hub", &format!("{sql}; {end}"));
}

pub fn a_hub_column_of_another_type_is_read_all_the_same() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    // A session that ends while the hub still connects begins with another question.
    until_store_is(&hub, "ready");
    let mut said = Vec::new();
    for sql in [
        "ALTER TABLE hub_migrations ALTER number TYPE bigint",
        "ALTER TABLE hub_migrations ALTER number TYPE numeric",
        "ALTER TABLE hub_migrations ALTER number TYPE text",
        "ALTER TABLE hub_migrations ALTER checksum TYPE char(8)",
        "ALTER TABLE hub_positions ALTER position TYPE numeric",
        "ALTER TABLE hub_positions ALTER position TYPE integer",
        "ALTER TABLE hub_positions ALTER highest TYPE char(26)",
    ] {
        change(&cluster, sql);
        said.push(sql);
        assert!([200, 202].contains(&post(&hub, (1, 2), sql).0), "{sql}");
        eventually(sql, || (cluster.sql("hub", STORED) == said).then_some(()));
        assert_eq!(hub.get("/v1/messages?space_id=1").status, 200, "{sql}");
    }
    until_store_is(&hub, "ready");
    assert!(!hub.data_dir().join("dead-letters.jsonl").exists());
}

const STORED: &str = "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"";

pub fn a_hub_column_that_can_not_be_read_is_named_and_blames_no_row() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    // A session that ends while the hub still connects begins with another question.
    until_store_is(&hub, "ready");
    let mut said = Vec::new();
    for (harm, mend, told) in [
        (
            "ALTER TABLE hub_positions ALTER position TYPE text",
            "ALTER TABLE hub_positions ALTER position TYPE bigint USING position::bigint",
            "move positions",
        ),
        (
            "ALTER TABLE hub_positions ADD CONSTRAINT none CHECK (position < 0) NOT VALID",
            "ALTER TABLE hub_positions DROP CONSTRAINT none",
            "violates check constraint",
        ),
        (
            "ALTER TABLE hub_positions ALTER highest TYPE bytea USING highest::bytea",
            "ALTER TABLE hub_positions ALTER highest TYPE text USING convert_from(highest, 'UTF8')",
            "collations are not supported",
        ),
        (
            "ALTER TABLE hub_migrations ADD kept text, ALTER checksum DROP NOT NULL; \
             UPDATE hub_migrations SET kept = checksum, checksum = NULL",
            "UPDATE hub_migrations SET checksum = kept; ALTER TABLE hub_migrations DROP kept",
            "checksum is text",
        ),
        (
            "ALTER TABLE hub_migrations ALTER number TYPE text USING 'x' || number",
            "ALTER TABLE hub_migrations ALTER number TYPE int USING substr(number, 2)::int",
            "invalid input syntax",
        ),
    ] {
        let saved = "CREATE TABLE saved AS SELECT * FROM hub_positions";
        change(&cluster, &format!("{saved}; {harm}"));
        assert_eq!(post(&hub, (1, 2), harm).0, 202, "{harm}");
        said.push(harm);
        until_store_is(&hub, "refused");
        eventually(told, || hub.log().contains(told).then_some(()));
        assert_eq!(hub.get("/readyz").status, 200, "chat goes on");
        let back = "UPDATE hub_positions now SET position = saved.position FROM saved \
                    WHERE saved.journal = now.journal; DROP TABLE saved";
        change(&cluster, &format!("{mend}; {back}"));
        eventually(mend, || (cluster.sql("hub", STORED) == said).then_some(()));
        until_store_is(&hub, "ready");
        assert_eq!(hub.contents(1), said);
    }
    assert!(!hub.data_dir().join("dead-letters.jsonl").exists());
}
