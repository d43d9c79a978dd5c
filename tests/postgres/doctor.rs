//! `cpi-hub doctor` on a real PostgreSQL: what is sound, and what is planted in settings and
//! rights.

use serde_json::Value;

use crate::support::postgres::Cluster;
use crate::support::run_hub;

/// What it finds, and the exit code.
fn report(url: &str) -> (Option<i32>, Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let args = ["doctor", "--json", "--data-dir", dir.path().to_str().expect("a text path")];
    let output = run_hub(&args, &[("DATABASE_URL", url)]);
    let report = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), report)
}

#[track_caller]
fn graded(report: &Value, name: &str, grade: &str) {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name}: {report}"));
    assert_eq!(found["grade"], grade, "{found}");
}

pub fn a_sound_database_is_well_and_one_that_is_new_lacks_its_tables() {
    let cluster = Cluster::start(&["fsync=on", "full_page_writes=on"]);
    let (_, new) = report(&cluster.url());
    graded(&new, "schema", "warning");
    assert!(run_hub(&["migrate"], &[("DATABASE_URL", &cluster.url())]).status.success());
    let (_, sound) = report(&cluster.url());
    for name in [
        "database",
        "encoding",
        "rights",
        "writable",
        "max_connections",
        "pooler",
        "database_clock",
        "synchronous_commit",
        "schema",
    ] {
        graded(&sound, name, "ok");
    }
    let findings = sound["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|finding| finding["name"] == "database_latency"), "{sound}");
    assert!(findings.iter().all(|finding| finding["name"] != "fsync"), "{sound}");
}

pub fn what_hurts_in_settings_and_rights_is_found() {
    let cluster = Cluster::start(&["fsync=off", "full_page_writes=off", "max_connections=12"]);
    assert!(run_hub(&["migrate"], &[("DATABASE_URL", &cluster.url())]).status.success());
    let plant = "CREATE ROLE ana LOGIN; GRANT SELECT ON chat_messages TO ana; \
        ALTER ROLE ana SET idle_session_timeout = '1min'; \
        ALTER ROLE ana SET default_transaction_read_only = on";
    cluster.sql("hub", plant);
    let (code, found) = report(&cluster.url_of("ana", "hub"));
    for name in ["fsync", "full_page_writes", "rights", "writable"] {
        graded(&found, name, "problem");
    }
    graded(&found, "idle_timeout", "warning");
    assert_eq!(code, Some(1), "{found}");
    let (code, found) = report(&cluster.url_of("nobody", "hub"));
    graded(&found, "database", "problem");
    assert_eq!(code, Some(1), "{found}");
}
