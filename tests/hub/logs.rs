//! A log that nobody reads, or that has nowhere to go: it holds up nothing, and what was lost is
//! told.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use cpi_hub::conditions::Condition;
use serde_json::Value;

use crate::operator::{Process, ask};
use crate::support::health::{mended_by, shown};
use crate::support::{Answer, GOOD, Hub, eventually};

fn answer(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    ask(address, request).0
}

fn get(address: SocketAddr, path: &str) -> String {
    answer(address, path).text()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no panic")
}

fn post(address: SocketAddr) -> u16 {
    let request = format!(
        "POST /v1/ws/spaces/1/chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    ask(address, request).0.status
}

fn condition(address: SocketAddr, name: &str) -> Option<Value> {
    let health: Value = serde_json::from_str(&get(address, "/readyz")).expect("JSON");
    health["conditions"].as_array()?.iter().find(|it| it["name"] == name).cloned()
}

fn lost(address: SocketAddr) -> u64 {
    let metrics = get(address, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("hub_log_lines_lost_total "));
    line.expect("the metric is there").parse().expect("a number")
}

/// A hub whose log nobody reads, which has logged more than is kept for a reader.
fn unread(dir: &Path) -> (Process, SocketAddr) {
    let file = dir.join("hub.toml");
    let path = file.to_str().expect("a text path");
    std::fs::write(&file, "drain_window = 0\n").expect("a file");
    let hub = Process::serve(&dir.join("data"), &["--config", path]);
    let address = hub.address();
    // Each hang-up is a line that says what is wrong with it.
    let wrong = "x".repeat(50_000);
    std::fs::write(&file, format!("write_wait = \"{wrong}\"\n")).expect("a file");
    eventually("lines are lost", || {
        hub.signal("HUP");
        assert_eq!(get(address, "/livez"), "ok");
        (lost(address) > 0).then_some(())
    });
    (hub, address)
}

fn ended(hub: &mut Process) -> ExitStatus {
    eventually("it ends", || hub.child.try_wait().expect("our child"))
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody_and_says_later_what_was_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut hub, address) = unread(dir.path());
    assert_eq!(post(address), 200);
    let mut asked = |path: &str| answer(address, path);
    // The line that tells its begin may be lost with the others.
    let detail = eventually("it shows", || shown(&mut asked, Condition::LogBlocked));
    assert!(detail.contains("lost"), "{detail}");
    let stderr = BufReader::new(hub.child.stderr.take().expect("it is piped"));
    let log = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&log);
    let reading = std::thread::spawn(move || {
        for line in stderr.lines() {
            lock(&into).push_str(&format!("{}\n", line.expect("text")));
        }
    });
    mended_by(asked, || lock(&log).clone(), Condition::LogBlocked);
    hub.signal("TERM");
    assert_eq!(ended(&mut hub).code(), Some(0));
    reading.join().expect("lines");
    let json = |line: &str| serde_json::from_str::<Value>(line).expect("whole lines");
    let lines: Vec<Value> = lock(&log).lines().map(json).collect();
    let told =
        lines.iter().filter(|line| line["message"] == "log lines were lost: nobody took them");
    let told: u64 = told.map(|line| line["lines"].as_u64().expect("their number")).sum();
    assert!(told > 0, "the number of lost lines is told");
    let last = lines.last().expect("the last line");
    assert_eq!(last["message"], "stopped", "what was logged before the end is written");
}

#[test]
fn a_hub_whose_log_is_stuck_ends_in_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut hub, _) = unread(dir.path());
    hub.signal("TERM");
    assert_eq!(ended(&mut hub).code(), Some(0));
}

#[test]
fn a_log_on_a_full_disk_holds_up_nobody_and_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let full = File::options().write(true).open("/dev/full").expect("a full disk");
    let data_dir = dir.path().to_str().expect("a text path");
    let mut hub = Process::start_with(
        &["serve", "--listen", "127.0.0.1:0", "--pinned", "false", "--data-dir", data_dir],
        full.into(),
    );
    let address = hub.address();
    let told = eventually("it is told", || condition(address, "log_blocked"));
    let detail = told["detail"].as_str().expect("a text");
    assert!(detail.contains("No space left on device"), "{detail}");
    assert!(lost(address) > 0);
    assert_eq!(post(address), 200);
    hub.signal("TERM");
    assert_eq!(ended(&mut hub).code(), Some(0));
}

/// A pipe that takes nothing more.
fn full_pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let (give, given) = std::sync::mpsc::sync_channel(0);
    let mut filling = writer.try_clone().expect("a descriptor");
    // The thread ends with the test's process, or when the reader goes.
    std::thread::spawn(move || {
        while filling.write_all(&[b'.'; 4096]).is_ok() {
            if give.send(()).is_err() {
                return;
            }
        }
    });
    while given.recv_timeout(std::time::Duration::from_secs(1)).is_ok() {}
    (reader, writer.into())
}

#[test]
fn a_refused_start_ends_though_nobody_reads_why() {
    let (reader, writer) = full_pipe();
    let mut refused = Process::start_with(&["--write-wiat", "1s"], writer.into());
    assert_eq!(ended(&mut refused).code(), Some(78));
    drop(reader);
}

#[test]
fn a_reader_that_leaves_early_is_no_fault_of_a_tool() {
    for (args, lines) in [(&["config"][..], 1), (&["serve", "--help"], 0), (&["--version"], 0)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        command.args(args).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tool = command.spawn().expect("it starts");
        let mut stdout = BufReader::new(tool.stdout.take().expect("it is piped"));
        for _ in 0..lines {
            stdout.read_line(&mut String::new()).expect("a line");
        }
        drop(stdout);
        let mut said = String::new();
        tool.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
        assert!(tool.wait().expect("it ends").code() == Some(0) && said.is_empty(), "{said}");
    }
}

#[test]
fn metrics_are_there_while_the_store_is_not_open() {
    let hub = Hub::start_waiting(&["--database-url", "postgresql://hub@127.0.0.1:1/hub"]);
    let metrics = hub.get("/metrics").text();
    assert!(metrics.contains("hub_store_state{state=\"connecting\"} 1\n"), "{metrics}");
    assert!(
        metrics.contains("hub_condition{name=\"another_hub\",effect=\"refusing\"} 0\n"),
        "{metrics}"
    );
}
