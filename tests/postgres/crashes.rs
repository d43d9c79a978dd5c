//! Kills under load: a ledger holds what clients received and were told against what is stored.

use std::time::{Duration, Instant};

use super::stored::{hub_on, until_store_is};
use crate::support::figures::figure;
use crate::support::ledger::{Ledger, Load, random};
use crate::support::link::commits::LostCommits;
use crate::support::postgres::Cluster;
use crate::support::trials::is_slow;
use crate::support::{Hub, UNLIMITED, eventually};

fn rounds() -> u64 {
    if is_slow() { 10 } else { 3 }
}

/// Ends the load by a kill of its hub, and holds the history of the next run against it.
fn settle(hub: &mut Hub, load: Load, ledger: &mut Ledger) {
    hub.kill();
    ledger.add(load);
    hub.restart();
    ledger.check(hub);
}

pub fn nothing_is_lost_or_doubled_by_kills_of_the_hub() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let (mut state, mut ledger) = (20_261_125, Ledger::default());
    eprintln!("seed {state}");
    for round in 0..rounds() {
        let load = Load::start(&hub, round);
        load.reach(50 + (random(&mut state) % 2_000) as usize);
        settle(&mut hub, load, &mut ledger);
    }
    eprintln!("{} kills of the hub, {}", rounds(), ledger.summary());
}

pub fn nothing_is_lost_or_doubled_by_kills_of_the_server() {
    // What it says is committed has to survive it.
    let mut cluster = Cluster::start(&["fsync=on"]);
    let mut hub = hub_on(&cluster);
    let (mut state, mut ledger) = (20_261_126, Ledger::default());
    let mut slowest = Duration::ZERO;
    eprintln!("seed {state}");
    for round in 0..rounds() {
        let load = Load::start(&hub, round);
        load.reach(50 + (random(&mut state) % 2_000) as usize);
        cluster.end(["KILL", "QUIT", "INT"][round as usize % 3]);
        let received = load.received();
        load.reach(received + 100);
        cluster.restart();
        let begun = Instant::now();
        until_store_is(&hub, "ready");
        slowest = slowest.max(begun.elapsed());
        load.reach(received + 1_000);
        settle(&mut hub, load, &mut ledger);
    }
    figure(55, "kills", rounds(), "");
    figure(55, "lost_or_doubled", 0, 0);
    figure(55, "s_to_drain", format!("{:.1}", slowest.as_secs_f64()), "");
    eprintln!("{} kills of the server, {}", rounds(), ledger.summary());
}

pub fn a_session_that_is_ended_while_it_copies_loses_nothing() {
    let cluster = Cluster::start(&[]);
    // Each row takes its time, so that sessions are met in the middle of a COPY.
    let mut hub = hub_on(&cluster);
    cluster.sql(
        "hub",
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON chat_messages FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let mut ledger = Ledger::default();
    let load = Load::start(&hub, 0);
    for _ in 0..5 {
        eventually("a session is met", || {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE query LIKE 'COPY%' AND state = 'active'";
            (!cluster.sql("hub", end).is_empty()).then_some(())
        });
        let received = load.received();
        load.reach(received + 20);
    }
    cluster.sql("hub", "DROP TRIGGER slow ON chat_messages");
    settle(&mut hub, load, &mut ledger);
    eprintln!("5 sessions ended, {}", ledger.summary());
}

pub fn a_commit_whose_answer_is_lost_is_not_stored_again() {
    let cluster = Cluster::start(&[]);
    let link = LostCommits::start(&cluster.socket());
    let url = link.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let mut hub = Hub::start(&args);
    let mut ledger = Ledger::default();
    let load = Load::start(&hub, 0);
    let enough = || link.cuts() >= 12 && link.resets() >= 3;
    eventually("commits are cut, also by resets", || enough().then_some(()));
    settle(&mut hub, load, &mut ledger);
    assert!(!hub.data_dir().join("dead-letters.jsonl").exists(), "no row met itself");
    eprintln!("{} commits cut, {}", link.cuts(), ledger.summary());
}
