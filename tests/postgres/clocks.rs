//! The wall clock an hour forward and a day back under load, by libfaketime.

use super::stored::{post, until_store_is};
use crate::support::faketime::WallClock;
use crate::support::ledger::{Ledger, Load};
use crate::support::postgres::Cluster;
use crate::support::trials::Outcome;
use crate::support::{Hub, UNLIMITED, eventually, run_hub};

pub fn another_offset_than_that_of_the_stored_times_is_refused_in_one_line() {
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let mut hub = Hub::start(&["--database-url", &url, "--utc-offset", "+05:30"]);
    until_store_is(&hub, "ready");
    hub.stop("TERM");
    // Nothing is stored yet.
    hub.restart_with(&["--database-url", &url, "--utc-offset", "-03:00"]);
    assert_eq!(post(&hub, (1, 9), "uno").0, 200);
    hub.stop("TERM");
    let other = tempfile::tempdir().expect("a directory");
    for dir in [hub.data_dir(), other.path()] {
        let dir = dir.to_str().expect("a text path");
        let args = ["--listen", "127.0.0.1:0", "--data-dir", dir, "--utc-offset", "+00:00"];
        let out = run_hub(&[&args[..], &["--log", "error"]].concat(), &[("DATABASE_URL", &url)]);
        let line = String::from_utf8(out.stderr).expect("a text");
        assert_eq!((out.status.code(), line.lines().count()), (Some(78), 1), "{line}");
        let expected = "cpi-hub: utc_offset: +00:00, and the store's times are of -03:00";
        assert!(line.starts_with(expected), "{line}");
        assert!(line.ends_with("give --utc-offset -03:00 again\n"), "{line}");
    }
    hub.restart();
    assert_eq!(post(&hub, (1, 9), "dos").0, 200);
    assert_eq!(hub.contents(1), ["uno", "dos"]);
}

fn newest_id(hub: &Hub, asked: &str) -> String {
    post(hub, (1, 9), asked).1["id"].as_str().expect("an id").to_owned()
}

pub fn ids_ascend_though_the_clock_jumps_forward_and_back() -> Outcome {
    let clock = WallClock::new()?;
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let mut hub = Hub::start_in(tempfile::tempdir().expect("a directory"), &args, &clock.env());
    let load = Load::start(&hub, 0);
    let mut last = newest_id(&hub, "qué hora es");
    for (jump, offset) in (1..).zip(["+1h", "-1d", "+0", "+1h", "-1d"]) {
        clock.set(offset);
        let received = load.received();
        load.reach(received + 500);
        let id = newest_id(&hub, &format!("salto {jump}"));
        assert!(id > last, "{offset}: {id} after {last}");
        last = id;
    }
    hub.kill();
    let mut ledger = Ledger::default();
    ledger.add(load);
    // The next run knows of no jumps.
    hub.restart();
    ledger.check(&hub);
    let id = newest_id(&hub, "y ahora");
    assert!(id > last, "ids go on above those of a clock that was ahead");
    // Where the hub has followed it back, which it does not at once.
    let fell = "SELECT count(*) <= 3 FROM (SELECT timestamp < lag(timestamp) OVER \
                (PARTITION BY space_id ORDER BY id COLLATE \"C\") AS fell \
                FROM chat_messages) AS times WHERE fell";
    eventually("times fall with the clock only", || {
        (cluster.sql("hub", fell) == ["t"]).then_some(())
    });
    eprintln!("5 jumps of the clock, {}", ledger.summary());
    Ok(())
}
