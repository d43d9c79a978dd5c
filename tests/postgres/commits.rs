//! The hub killed while its transaction is at a certain point; a gate before PostgreSQL knows
//! where it is.

use crate::support::ledger::{Ledger, Load};
use crate::support::link::gate::{Fate, Gate, Point};
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

pub fn a_hub_killed_around_its_commit_stores_each_message_once() {
    let cluster = Cluster::start(&[]);
    let gate = Gate::start(&cluster.socket());
    let url = gate.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let mut hub = Hub::start(&args);
    let mut ledger = Ledger::default();
    let rounds = [
        (Point::InCopy, Fate::Lost),
        (Point::InCopy, Fate::Sent),
        (Point::BeforeCommit, Fate::Lost),
        (Point::BeforeCommit, Fate::Sent),
        (Point::AfterCommit, Fate::Lost),
    ];
    for (round, (point, fate)) in (0..).zip(rounds) {
        let load = Load::start(&hub, round);
        load.reach(200);
        gate.stop_at(point);
        let received = load.received();
        load.reach(received + 200);
        hub.kill();
        ledger.add(load);
        if fate == Fate::Lost {
            gate.let_go(fate);
        }
        hub.restart();
        if fate == Fate::Sent {
            // The transaction of the run that was killed ends only once its successor asks.
            let asks = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                        AND query LIKE '%hub_positions%'";
            eventually("the next run waits", || {
                (!cluster.sql("hub", asks).is_empty()).then_some(())
            });
            gate.let_go(fate);
        }
        ledger.check(&hub);
    }
    assert!(!hub.data_dir().join("dead-letters.jsonl").exists(), "no row met itself");
    eprintln!("{} kills around a commit, {}", rounds.len(), ledger.summary());
}
