//! `cpi-hub doctor`: planted problems are found, with what to do about them.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::{command, ended, free_port, json, url};
use crate::support::{Hub, eventually};

/// The finding of a name.
#[track_caller]
fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: {report}"))
}

#[track_caller]
fn graded(report: &Value, name: &str, grade: &str) {
    let finding = finding(report, name);
    assert_eq!(finding["grade"], grade, "{finding}");
    let needs_a_fix = matches!(grade, "warning" | "problem");
    assert_eq!(finding["fix"].is_string(), needs_a_fix, "{finding}");
}

#[test]
fn a_sound_hub_is_looked_at_from_all_sides() {
    let hub = Hub::start(&[]);
    let data = hub.data_dir().to_str().expect("a text path");
    let before = std::fs::read_dir(hub.data_dir()).expect("a directory").count();
    let args = ["doctor", "--data-dir", data, "--pinned", "false", "--url", &url(&hub)];
    let (code, report) = json(&[&args[..], &["--json"]].concat());
    for name in ["authentication", "ping_period", "certificate", "database", "schema", "data_dir"] {
        graded(&report, name, "ok");
    }
    for name in ["hub", "hub_clock", "ready", "hub_latency", "sockets"] {
        graded(&report, name, "ok");
    }
    for name in ["descriptors", "net.core.somaxconn", "memory", "clock", "disk_room", "flushes"] {
        assert!(finding(&report, name)["what"].as_str().is_some_and(|what| !what.is_empty()));
    }
    // This machine may have something to be said of it; then the exit code says so.
    let has = |grade: &str| {
        let findings = report["findings"].as_array().expect("findings");
        findings.iter().any(|finding| finding["grade"] == grade)
    };
    let expected = if has("problem") { 1 } else { 2 * i32::from(has("warning")) };
    assert_eq!(code, expected, "{report}");
    assert_eq!(std::fs::read_dir(hub.data_dir()).expect("a directory").count(), before);
    let (again, out, err) = command(&args);
    assert_eq!((again, err.as_str()), (Some(code), ""));
    assert!(!out.contains('\u{1b}'), "no colours but on a terminal");
    assert!(out.lines().last().is_some_and(|line| line.contains(" looked at: ")), "{out}");
}

#[test]
fn few_descriptors_are_a_problem() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut under = Command::new("prlimit");
    under.args(["--nofile=512:512", env!("CARGO_BIN_EXE_cpi-hub"), "doctor", "--json"]);
    let output = under.arg("--data-dir").arg(dir.path()).env_clear().output().expect("it runs");
    let (code, out, err) = ended(output);
    assert_eq!(code, Some(1), "{err}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    graded(&report, "descriptors", "problem");
    assert_eq!(report["status"], "problems");
}

#[test]
fn settings_that_hurt_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().to_str().expect("a text path");
    set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let args = ["doctor", "--json", "--data-dir", data, "--listen", "0.0.0.0:0", "--insecure"];
    let pings = ["--pong-wait", "3m", "--ping-period", "2m", "--debug-endpoints"];
    let (_, report) = json(&[&args[..], &pings].concat());
    for name in ["authentication", "plain_http", "ping_period", "debug_endpoints", "data_dir"] {
        graded(&report, name, "warning");
    }
    let trusted = ["--trusted-proxies", "127.0.0.1"];
    let (code, report) = json(&[&args[..], &pings, &trusted].concat());
    graded(&report, "ping_period", "problem");
    assert_eq!(code, 1);
    let (code, _, err) = command(&["doctor", "--write-wait", "never"]);
    assert_eq!(code, Some(78));
    assert!(err.starts_with("cpi-hub: --write-wait: "), "{err}");
}

#[test]
fn what_a_running_hub_says_of_itself_is_told_with_what_to_do() {
    let hub = Hub::start(&[]);
    set_permissions(hub.data_dir(), Permissions::from_mode(0o755)).expect("it is ours");
    eventually("the hub says so", || hub.has_condition("data_directory_open").then_some(()));
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path().to_str().expect("a text path");
    let (_, report) = json(&["doctor", "--json", "--data-dir", data, "--url", &url(&hub)]);
    graded(&report, "condition", "warning");
    let what = finding(&report, "condition")["what"].as_str().expect("a text");
    assert!(what.starts_with("data_directory_open: "), "{what}");
    graded(&report, "ready", "ok");
}

#[test]
fn a_hub_that_is_not_ready_or_not_there_is_a_problem() {
    // A database that nobody serves is waited for: the hub is new to it.
    let starting = Hub::start_waiting(&["--database-url", "postgresql://hub@127.0.0.1:1/hub"]);
    let data = tempfile::tempdir().expect("a directory");
    let args = ["doctor", "--json", "--data-dir", data.path().to_str().expect("a text path")];
    let (code, report) = json(&[&args[..], &["--url", &url(&starting)]].concat());
    graded(&report, "hub", "ok");
    graded(&report, "ready", "problem");
    graded(&report, "sockets", "problem");
    assert_eq!(code, 1);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let (code, report) = json(&[&args[..], &["--url", &nowhere]].concat());
    graded(&report, "hub", "problem");
    assert_eq!(code, 1);
}

#[test]
fn a_database_that_is_away_is_a_problem_and_its_password_is_not_shown() {
    let url = "postgresql://hub:s3cret@127.0.0.1:1/hub";
    let data = tempfile::tempdir().expect("a directory");
    let args = ["doctor", "--json", "--data-dir", data.path().to_str().expect("a text path")];
    let (code, out, err) = ended(crate::support::run_hub(&args, &[("DATABASE_URL", url)]));
    assert_eq!(code, Some(1), "{err}");
    assert!(!out.contains("s3cret"), "{out}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    graded(&report, "database", "problem");
}
