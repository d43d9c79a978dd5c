//! A bad link between the hub and its database (rows 56 and 57 of the fault matrix): late and in
//! single bytes, reset again and again, a black hole. Chat goes on, each message is stored
//! once, and neighbours notice nothing.

use std::time::{Duration, Instant};

use super::stored::post;
use crate::support::figures::{figure, is_long};
use crate::support::ledger::{Ledger, Load, random};
use crate::support::link::{BOTH, Fate, Link, Manner, Passage, Way};
use crate::support::neighbours::Neighbours;
use crate::support::postgres::Cluster;
use crate::support::{Hub, PATIENCE, UNLIMITED, eventually};

/// Beside the spaces of the load: one of its own shard, and another one.
const SPACES: [i32; 2] = [1, 77];

fn hub_behind(link: &Link) -> Hub {
    let url = link.database_url();
    let own = ["--database-url", &*url, "--durable-wait-max", "500ms"];
    Hub::start(&[&own[..], &UNLIMITED].concat())
}

/// Ends the load by a kill, and holds the history of the next run against it.
fn settle(mut hub: Hub, load: Load, link: &Link) -> String {
    hub.kill();
    let mut ledger = Ledger::default();
    ledger.add(load);
    link.mend();
    hub.restart();
    ledger.check(&hub);
    assert!(!hub.data_dir().join("dead-letters.jsonl").exists(), "no row was to blame");
    ledger.summary()
}

pub fn over_a_link_that_is_slow_late_and_in_pieces_all_is_stored_once() {
    let cluster = Cluster::start(&[]);
    let link = Link::to(&*cluster.socket());
    let hub = hub_behind(&link);
    let neighbours = Neighbours::of(&hub, SPACES);
    let (latency, jitter) = (Duration::from_millis(5), Duration::from_millis(40));
    let late = Manner { latency, jitter, packet_bytes: 7, ..Manner::default() };
    link.set(&BOTH, Manner { bytes_per_second: 200_000, ..late });
    let load = Load::start(&hub, 0);
    load.reach(3_000);
    assert_eq!(hub.get("/readyz").status, 200);
    neighbours.settle(&[56]);
    eprintln!("{}", settle(hub, load, &link));
}

pub fn connections_that_are_reset_again_and_again_lose_and_double_nothing() {
    const RESETS: usize = 20;
    let cluster = Cluster::start(&[]);
    let link = Link::to(&*cluster.socket());
    let hub = hub_behind(&link);
    let neighbours = Neighbours::of(&hub, SPACES);
    let load = Load::start(&hub, 0);
    let (mut reset, mut state) = (0, 20_261_130);
    for _ in 0..RESETS {
        let received = load.received();
        load.reach(received + 20 + random(&mut state) as usize % 300);
        // Wherever it is: in a COPY, at its commit, before the answer.
        reset += eventually("there is a connection", || {
            Some(link.end_all(Fate::Reset)).filter(|ended| *ended > 0)
        });
    }
    figure(56, "connections_reset", reset, "");
    figure(56, "doubled", 0, 0);
    neighbours.settle(&[56]);
    eprintln!("{}", settle(hub, load, &link));
}

/// What a database takes is gone, or its answers are: both ways in turn, and both at once.
pub fn a_database_behind_a_black_hole_holds_up_nobody_and_gets_all_of_it_later() {
    let cluster = Cluster::start(&[]);
    let link = Link::to(&*cluster.socket());
    let hub = hub_behind(&link);
    let neighbours = Neighbours::of(&hub, SPACES);
    let load = Load::start(&hub, 0);
    let swallow = Manner { passage: Passage::Swallowing, ..Manner::default() };
    let time = Duration::from_secs(if is_long() { 60 } else { 6 });
    let (mut peak, mut slowest) = (0.0_f64, Duration::ZERO);
    for (round, ways) in [&[Way::ToServer][..], &[Way::ToClient], &BOTH].into_iter().enumerate() {
        let received = load.received();
        load.reach(received + 100);
        link.set(ways, swallow);
        // It is told within the time that a statement has, whichever it was that got no answer.
        eventually("it is told", || {
            let state = hub.get("/readyz").json()["store"].clone();
            (state == "behind" || state == "connecting").then_some(())
        });
        let told = Instant::now();
        while told.elapsed() < time / 3 {
            peak = peak.max(hub.metric("hub_journal_bytes"));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(post(&hub, (1, 2), &format!("esperado {round}")).0, 202);
        assert_eq!(hub.get("/readyz").status, 200, "chat goes on");
        link.mend();
        let mended = Instant::now();
        until_all_is_stored(&hub);
        slowest = slowest.max(mended.elapsed());
    }
    assert!(peak > 0.0, "the journal has what the database has not");
    figure(57, "black_hole_s", time.as_secs(), "");
    figure(57, "journal_bytes_peak", peak, "");
    figure(57, "s_to_heal", format!("{:.1}", slowest.as_secs_f64()), "");
    neighbours.settle(&[57]);
    eprintln!("{}", settle(hub, load, &link));
}

/// What has gathered may take a while to be stored, beside other tests on the same cores.
fn until_all_is_stored(hub: &Hub) {
    let until = Instant::now() + 4 * PATIENCE;
    while hub.get("/readyz").json()["store"] != "ready" {
        assert!(Instant::now() < until, "the store is not ready again");
        std::thread::sleep(Duration::from_millis(50));
    }
}
