//! What survives SIGKILL: everything that anyone received, or was told is accepted (P4-P6).
//!
//! A ledger knows what was sent, received and acked; the hub is killed at a random moment under
//! load, started again on the same data, and asked for its history.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::figures::figure;
use crate::support::ledger::{Ledger, Load, random};
use crate::support::trials::is_slow;
use crate::support::{Hub, eventually};

fn kill_under_load(kills: u64, seed: u64) {
    eprintln!("seed {seed}");
    let mut hub = Hub::unlimited();
    let (mut state, mut ledger) = (seed, Ledger::default());
    let mut slowest = Duration::ZERO;
    for round in 0..kills {
        let load = Load::start(&hub, round);
        load.reach(50 + (random(&mut state) % 2_000) as usize);
        hub.kill();
        ledger.add(load);
        let begun = Instant::now();
        hub.restart();
        eventually("ready", || (hub.get("/readyz").status == 200).then_some(()));
        slowest = slowest.max(begun.elapsed());
        ledger.check(&hub);
    }
    figure(54, "kills", kills, "");
    figure(54, "lost_or_doubled", 0, 0);
    figure(54, "s_to_ready", format!("{:.1}", slowest.as_secs_f64()), "");
    eprintln!("{kills} kills, {}", ledger.summary());
}

pub fn nothing_received_or_acked_is_missing_after_kills_under_load() {
    kill_under_load(if is_slow() { 20 } else { 3 }, 20_261_124);
}

pub fn a_stopped_hub_has_stored_everything_and_says_goodbye() {
    let mut hub = Hub::start(&["--drain-window", "300ms"]);
    let mut seed = hub.join(1, 1, "Ana");
    let mut v1 = hub.join_v1(1, 2, "");
    // A handshake is answered before its member has joined.
    v1.next_of("join");
    for number in 0..20 {
        seed.chat(&number.to_string());
        v1.next_of("chat");
    }
    assert_eq!(hub.stop("TERM").code(), Some(0));
    let (texts, how) = v1.until_closed();
    assert_eq!((how.code, how.reason.as_str()), (Some(1012), "restart"));
    let closing: Value = serde_json::from_str(texts.last().expect("closing")).expect("JSON");
    assert_eq!((&closing["type"], &closing["data"]["code"]), (&json!("closing"), &json!(1012)));
    assert!(closing["data"]["retry_after_ms"].is_u64());
    let (texts, how) = seed.until_closed();
    assert_eq!(how.code, Some(1012));
    assert!(texts.iter().all(|text| !text.contains("closing")));
    hub.restart();
    assert_eq!(hub.history(1).len(), 20);
}

pub fn ids_go_on_ascending_after_a_restart_with_another_number_of_shards() {
    let mut hub = Hub::unlimited();
    let mut last = String::new();
    for shards in ["1", "3", "2"] {
        let args: Vec<&str> =
            crate::support::UNLIMITED.into_iter().chain(["--shards", shards]).collect();
        hub.kill();
        hub.restart_with(&args);
        for space in 1..=5 {
            let mut client = hub.join(space, 1, "Ana");
            client.chat("hola");
            let id = client.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned();
            if space == 1 {
                assert!(id > last);
                last = id;
            }
        }
    }
    for space in 1..=5 {
        assert_eq!(hub.history_of(space, 3).len(), 3);
    }
}

pub fn a_second_signal_ends_the_hub_though_members_are_not_closed_yet() {
    let mut hub = Hub::start(&["--drain-window", "30m", "--stop-wait", "1h"]);
    let mut members = [1, 2].map(|user| hub.join(1, user, "Ana"));
    // A handshake is answered before its member has joined; one that comes to a drain is closed.
    eventually("both have joined", || (hub.metric("hub_members") == 2.0).then_some(()));
    hub.signal("TERM");
    eventually("it drains", || (hub.get("/readyz").status == 503).then_some(()));
    // Still served: the window is long.
    members[1].send(r#"{"type":"ping"}"#);
    members[1].next_of("pong");
    assert_eq!(hub.stop("TERM").code(), Some(0));
}

pub fn a_drain_spreads_its_closes_over_the_window() {
    let mut hub = Hub::start(&["--drain-window", "2s", "--connection-rate", "off"]);
    let members: Vec<_> = (0..40).map(|user| hub.join(1, user, "Ana")).collect();
    crate::support::eventually("all have joined", || {
        (hub.metric("hub_members") == 40.0).then_some(())
    });
    let begun = Instant::now();
    hub.signal("TERM");
    let readers: Vec<_> = members
        .into_iter()
        .map(|member| {
            std::thread::spawn(move || {
                let (_, how) = member.until_closed();
                assert_eq!((how.code, how.reason.as_str()), (Some(1012), "restart"));
                begun.elapsed().as_millis()
            })
        })
        .collect();
    let mut ends: Vec<u128> = readers.into_iter().map(|it| it.join().expect("1012")).collect();
    assert!(hub.wait().success());
    ends.sort_unstable();
    // Not when, but that no half of the window takes nearly all of them.
    let half = ends.iter().filter(|end| **end < 1_000).count();
    assert!((5..=35).contains(&half), "{ends:?}");
}
