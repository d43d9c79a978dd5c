//! What each signal asks of the hub, and that nothing else does.

use serde_json::Value;

use crate::support::{GOOD, Hub, eventually};

#[test]
fn signals_that_ask_for_nothing_end_nothing() {
    let mut hub = Hub::start(&["--drain-window", "0"]);
    for signal in ["HUP", "USR1", "USR2", "PIPE", "XFSZ", "HUP"] {
        hub.signal(signal);
        assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200, "{signal}");
    }
    assert_eq!(hub.stop("TERM").code(), Some(0));
}

#[test]
fn a_quit_waits_for_no_member_and_loses_nothing() {
    let mut hub = Hub::start(&["--drain-window", "50m", "--stop-wait", "1h"]);
    let member = hub.join(1, 1, "Ana");
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    assert_eq!(hub.stop("QUIT").code(), Some(0));
    drop(member);
    hub.restart();
    assert_eq!(hub.history_of(1, 1)[0]["content"], "hola");
}

/// The last line of the log that holds a text.
fn line(hub: &Hub, text: &str) -> Value {
    eventually(text, || {
        let log = hub.log();
        let line = log.lines().rfind(|line| line.contains(text))?;
        serde_json::from_str(line).ok()
    })
}

#[test]
fn a_hang_up_reloads_the_log_filter_and_says_what_waits_for_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("hub.toml");
    let path = file.to_str().expect("a text path").to_owned();
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    write("write_wait = \"4s\"\nlog_format = \"json\"\n");
    // The log of the harness's command line can't be changed by a file.
    let mut hub = Hub::start_by_file(&path);
    assert!(!hub.log().contains("DEBUG"));
    hub.signal("HUP");
    line(&hub, "no setting has changed");
    write("log = \"debug\"\nlog_format = \"json\"\n");
    hub.signal("HUP");
    let told = line(&hub, "the rest waits for a restart");
    assert_eq!((&told["reloaded"], &told["unchanged"]), (&"log".into(), &"write_wait".into()));
    drop(hub.join(1, 1, "Ana"));
    line(&hub, "DEBUG");
    write("log = \"debug\"\nwrite_wait = \"soon\"\n");
    hub.signal("HUP");
    let told = line(&hub, "nothing is reloaded");
    let problem = format!("{path}: write_wait: `soon` is not a time such as 250ms, 10s or 5m");
    assert_eq!(told["message"], format!("nothing is reloaded: {problem}"));
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    hub.stop("TERM");
}
