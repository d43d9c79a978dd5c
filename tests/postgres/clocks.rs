//! The wall clock an hour forward and a day back under load, by libfaketime.

use super::stored::post;
use crate::support::faketime::WallClock;
use crate::support::ledger::{Ledger, Load};
use crate::support::postgres::Cluster;
use crate::support::trials::Outcome;
use crate::support::{Hub, UNLIMITED, eventually};

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
