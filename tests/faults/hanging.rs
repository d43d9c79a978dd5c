//! Calls that hang while the hub is to end: a name server, a disk. It ends in its time, and what
//! was accepted is there at the next start.

use std::io::Write;
use std::time::{Duration, Instant};

use cpi_hub::conditions::Condition;

use crate::support::health::{mended, planted};
use crate::support::service::Told;
use crate::support::shim::Shim;
use crate::support::trials::Outcome;
use crate::support::{GOOD, Hub, eventually};

/// Beside `stop_wait`, for a loaded machine too.
const SPARE: Duration = Duration::from_secs(5);

fn post(hub: &Hub) -> u16 {
    hub.post("/v1/ws/spaces/1/chat", GOOD).status
}

/// Signals a hub, and waits for its end; its exit code.
fn end(hub: &mut Hub, signal: &str, within: Duration) -> Option<i32> {
    let begun = Instant::now();
    let code = hub.stop(signal).code();
    assert!(begun.elapsed() < within, "{:?}, not {within:?}", begun.elapsed());
    code
}

pub fn a_disk_that_hangs_keeps_no_hub_from_its_end() -> Outcome {
    let shim = Shim::build()?;
    let args = ["--stop-wait", "3s", "--drain-window", "0", "--durable-wait-max", "100ms"];
    let mut hub = Hub::start_with_env(&args, &shim.env());
    assert_eq!(post(&hub), 200);
    shim.hang("sync");
    assert_eq!(post(&hub), 202, "the journal has it, the store has not");
    let code = end(&mut hub, "TERM", Duration::from_secs(3) + SPARE);
    assert_eq!(code, Some(1), "what did not end in order is no success");
    assert!(hub.log().contains("the store did not end"), "{}", hub.log());
    hub.restart();
    assert_eq!(hub.history_of(1, 2).len(), 2, "nothing is lost");
    Ok(())
}

pub fn a_second_signal_ends_a_hub_at_once_whatever_hangs() -> Outcome {
    let shim = Shim::build()?;
    let args = ["--stop-wait", "1h", "--drain-window", "0", "--durable-wait-max", "100ms"];
    let mut hub = Hub::start_with_env(&args, &shim.env());
    shim.hang("sync");
    assert_eq!(post(&hub), 202);
    hub.signal("TERM");
    eventually("it ends", || (hub.get("/readyz").status == 503).then_some(()));
    assert_eq!(end(&mut hub, "QUIT", Duration::from_secs(2) + SPARE), Some(0));
    hub.restart();
    assert_eq!(hub.history_of(1, 1).len(), 1);
    Ok(())
}

pub fn a_start_that_hangs_can_be_ended() -> Outcome {
    let shim = Shim::build()?;
    shim.hang("sync");
    let mut hub = Hub::start_waiting_with_env(&[], &shim.env());
    eventually("it answers", || (hub.get("/readyz").status == 503).then_some(()));
    hub.signal("HUP");
    assert_eq!(hub.get("/livez").text(), "ok");
    assert_eq!(end(&mut hub, "TERM", Duration::from_secs(2) + SPARE), Some(0));
    shim.go_on("sync");
    hub.restart();
    assert_eq!(post(&hub), 200);
    Ok(())
}

pub fn a_name_server_that_hangs_keeps_no_start_from_its_end() -> Outcome {
    let shim = Shim::build()?;
    shim.hang("getaddrinfo");
    let url = "postgresql://hub@db.example/hub?sslmode=disable";
    let args = ["--database-url", url];
    let mut hub = Hub::start_waiting_with_env(&args, &shim.env());
    eventually("it answers", || (hub.get("/readyz").status == 503).then_some(()));
    assert_eq!(end(&mut hub, "TERM", Duration::from_secs(2) + SPARE), Some(0));
    Ok(())
}

pub fn a_shard_that_hangs_is_told_and_the_watchdog_is_fed_no_more_until_it_goes_on() -> Outcome {
    let (shim, told) = (Shim::build()?, Told::new());
    let watchdog = [("NOTIFY_SOCKET", &*told.name), ("WATCHDOG_USEC", "2000000")];
    let args = ["--shards", "1", "--drain-window", "0"];
    let mut hub = Hub::start_with_env(&args, &[shim.env(), watchdog].concat());
    told.until("READY=1");
    told.until("WATCHDOG=1");
    shim.hang("append");
    // It never comes back from its journal.
    let mut stream = hub.connect();
    let head = "POST /v1/ws/spaces/1/chat HTTP/1.1\r\nHost: localhost";
    let kind = "Content-Type: application/json\r\nContent-Length";
    let post = format!("{head}\r\n{kind}: {}\r\n\r\n{GOOD}", GOOD.len());
    stream.write_all(post.as_bytes()).expect("it is sent");
    let detail = planted(&hub, Condition::PartHangs);
    assert!(detail.starts_with("shard-0: without a sign"), "{detail}");
    let told_of = told.until("STATUS=serving on ");
    assert!(told_of[0].ends_with("/readyz tells of part_hangs"), "{told_of:?}");
    assert_eq!(told.within(Duration::from_secs(3)), None, "a second is its pace");
    shim.go_on("append");
    mended(&hub, Condition::PartHangs);
    told.until("WATCHDOG=1");
    assert_eq!(hub.stop("TERM").code(), Some(0));
    Ok(())
}
