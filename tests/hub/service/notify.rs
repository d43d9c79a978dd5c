//! What a service manager is told.

use crate::support::Hub;
use crate::support::service::Told;

fn value<'a>(lines: &'a [String], name: &str) -> &'a str {
    let value = |line: &'a String| line.strip_prefix(name)?.strip_prefix('=');
    lines.iter().find_map(value).unwrap_or_else(|| panic!("no {name} in {lines:?}"))
}

#[test]
fn a_service_manager_is_told_when_the_hub_serves_reloads_and_ends() {
    let told = Told::new();
    let env = [("NOTIFY_SOCKET", &*told.name), ("WATCHDOG_USEC", "2000000")];
    let mut hub = Hub::start_with_env(&["--drain-window", "0"], &env);
    let ready = told.until("READY=1");
    assert_eq!(value(&ready, "STATUS"), format!("serving on http://{}", hub.address));
    for _ in 0..2 {
        assert_eq!(told.until("WATCHDOG=1"), ["WATCHDOG=1"]);
    }
    hub.signal("HUP");
    let reloading = told.until("RELOADING=1");
    let micros = value(&reloading, "MONOTONIC_USEC").parse::<u64>();
    assert!(micros.is_ok_and(|micros| micros > 0), "{reloading:?}");
    assert_eq!(told.until("READY=1"), ready);
    hub.signal("TERM");
    // What `stop_wait` allows, and a little more, whatever the unit's limit is.
    let stopping = told.until("STOPPING=1");
    assert_eq!(value(&stopping, "EXTEND_TIMEOUT_USEC"), "35000000");
    assert_eq!(hub.wait().code(), Some(0));
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let told = Told::new();
    let watchdog = [("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")];
    let env = [&[("NOTIFY_SOCKET", &*told.name)][..], &watchdog].concat();
    let mut hub = Hub::start_with_env(&["--drain-window", "0"], &env);
    told.until("READY=1");
    hub.signal("HUP");
    told.until("RELOADING=1");
    hub.signal("TERM");
    let mut all = Vec::new();
    while !all.iter().any(|line| line == "STOPPING=1") {
        all.extend(told.within(crate::support::PATIENCE).expect("the hub ends"));
    }
    assert!(!all.iter().any(|line| line == "WATCHDOG=1"), "{all:?}");
    assert_eq!(hub.wait().code(), Some(0));
}

#[test]
fn a_start_that_waits_for_its_database_asks_for_more_time() {
    let told = Told::without_a_file();
    let args = ["--database-url", "postgresql://hub@127.0.0.1:1/hub"];
    let mut hub = Hub::start_waiting_with_env(&args, &[("NOTIFY_SOCKET", &told.name)]);
    let starting = told.until("EXTEND_TIMEOUT_USEC=30000000");
    assert_eq!(value(&starting, "STATUS"), "starting: the store is not open yet");
    // A start that goes on says so again.
    assert_eq!(told.until(""), starting);
    assert_eq!(hub.stop("TERM").code(), Some(0));
}

#[test]
fn a_service_manager_that_is_not_there_holds_up_nobody() {
    let env = [("NOTIFY_SOCKET", "/no/such/socket"), ("WATCHDOG_USEC", "2000000")];
    let mut hub = Hub::start_with_env(&["--drain-window", "0"], &env);
    assert_eq!(hub.get("/readyz").status, 200);
    assert!(hub.log().contains("NOTIFY_SOCKET: the service manager can't be told"));
    assert_eq!(hub.stop("TERM").code(), Some(0));
}
