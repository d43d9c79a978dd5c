//! The wall clock an hour forward and a day back under load, by libfaketime.

use std::path::{Path, PathBuf};

use super::stored::post;
use crate::support::ledger::{Ledger, Load};
use crate::support::postgres::Cluster;
use crate::support::trials::{Lack, Outcome};
use crate::support::{Hub, UNLIMITED, eventually};

/// The library that lies about the time.
fn faketime() -> Result<PathBuf, Lack> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = folders.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    let missing = || Lack("libfaketime is missing: `scripts/test` installs it".into());
    found.find(|path| path.exists()).ok_or_else(missing)
}

/// Sets the hub's clock.
fn set(clock: &Path, offset: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, offset).expect("a file");
    std::fs::rename(new, clock).expect("a file");
}

fn newest_id(hub: &Hub, asked: &str) -> String {
    post(hub, (1, 9), asked).1["id"].as_str().expect("an id").to_owned()
}

pub fn ids_ascend_though_the_clock_jumps_forward_and_back() -> Outcome {
    let library = faketime()?;
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let clock = dir.path().join("clock");
    set(&clock, "+0");
    let env = [
        ("LD_PRELOAD", library.to_str().expect("a text path")),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a text path")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut hub = Hub::start_in(tempfile::tempdir().expect("a directory"), &args, &env);
    let load = Load::start(&hub, 0);
    let mut last = newest_id(&hub, "qué hora es");
    for (jump, offset) in (1..).zip(["+1h", "-1d", "+0", "+1h", "-1d"]) {
        set(&clock, offset);
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
    let fell = "SELECT count(*) FROM (SELECT timestamp < lag(timestamp) OVER \
                (PARTITION BY space_id ORDER BY id COLLATE \"C\") AS fell \
                FROM chat_messages) AS times WHERE fell";
    eventually("no time falls in id order", || (cluster.sql("hub", fell) == ["0"]).then_some(()));
    eprintln!("5 jumps of the clock, {}", ledger.summary());
    Ok(())
}
