//! The hub told to stop while its database is away, or killed while it stops.

use super::stored::{post, until_store_is};
use super::trouble::{assert_stored_in_order, chat_without_a_store};
use crate::support::ledger::{Ledger, Load};
use crate::support::link::gate::{Fate, Gate, Point};
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

fn quick_to_stop(url: &str) -> Hub {
    let own = ["--database-url", url, "--drain-window", "100ms", "--stop-wait", "3s"];
    Hub::start(&own.into_iter().chain(UNLIMITED).collect::<Vec<_>>())
}

pub fn a_stop_while_the_database_is_away_says_what_is_left_for_the_next_start() {
    let mut cluster = Cluster::start(&[]);
    let mut hub = quick_to_stop(&cluster.url());
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    cluster.end("INT");
    let mut said = chat_without_a_store(&hub);
    let left = said.len();
    said.insert(0, "antes".into());
    assert_eq!(hub.stop("TERM").code(), Some(0));
    assert!(hub.log().contains(&format!("\"records\":{left}")), "{}", hub.log());
    cluster.restart();
    hub.restart();
    assert_stored_in_order(&cluster, &said);
    until_store_is(&hub, "ready");
}

pub fn a_kill_in_the_midst_of_a_stop_loses_and_doubles_nothing() {
    let cluster = Cluster::start(&[]);
    let gate = Gate::start(&cluster.socket());
    let mut hub = quick_to_stop(&gate.url());
    let mut ledger = Ledger::default();
    for (round, point) in (0..).zip([Point::BeforeCommit, Point::AfterCommit]) {
        let load = Load::start(&hub, round);
        load.reach(200);
        gate.stop_at(point);
        let received = load.received();
        load.reach(received + 200);
        hub.signal("TERM");
        eventually("it stops", || (hub.get("/readyz").status == 503).then_some(()));
        hub.kill();
        ledger.add(load);
        gate.let_go(Fate::Lost);
        hub.restart();
        ledger.check(&hub);
    }
    eprintln!("2 kills of a hub that stops, {}", ledger.summary());
}
