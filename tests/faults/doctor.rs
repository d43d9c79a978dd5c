//! `cpi-hub doctor` where the machine itself is not well: a disk that is full, a clock that is
//! wrong.

use std::path::Path;

use serde_json::Value;

use crate::support::disk::Disk;
use crate::support::faketime::WallClock;
use crate::support::run_hub;
use crate::support::trials::Outcome;

/// A finding, and the exit code.
fn finding(data_dir: &Path, env: &[(&str, &str)], name: &str) -> (Option<i32>, Value) {
    let data_dir = data_dir.to_str().expect("a text path");
    let output = run_hub(&["doctor", "--json", "--data-dir", data_dir], env);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name}: {report}"));
    (output.status.code(), found.clone())
}

pub fn a_full_disk_is_a_problem_and_one_in_memory_a_warning() -> Outcome {
    let disk = Disk::mount(64)?;
    let (_, kind) = finding(disk.path(), &[], "file_system");
    assert_eq!(kind["grade"], "warning", "{kind}");
    let (_, room) = finding(disk.path(), &[], "disk_room");
    assert_eq!(room["grade"], "warning", "journals may take more: {room}");
    disk.fill();
    for name in ["disk_room", "flushes"] {
        let (code, found) = finding(disk.path(), &[], name);
        assert_eq!((code, &found["grade"]), (Some(1), &"problem".into()), "{found}");
        assert!(found["fix"].is_string(), "{found}");
    }
    disk.free();
    let (_, flushes) = finding(disk.path(), &[], "flushes");
    assert_eq!(flushes["grade"], "ok", "nothing is left behind: {flushes}");
    Ok(())
}

pub fn a_clock_that_is_years_behind_is_a_problem() -> Outcome {
    let clock = WallClock::new()?;
    clock.set("-4000d");
    let dir = tempfile::tempdir().expect("a directory");
    let (code, found) = finding(dir.path(), &clock.env(), "clock");
    assert_eq!((code, &found["grade"]), (Some(1), &"problem".into()), "{found}");
    Ok(())
}
