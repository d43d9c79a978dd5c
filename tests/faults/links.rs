//! Members behind a bad link (rows 1, 2, 6, 7 and 8 of the fault matrix): late, in single bytes,
//! reset, closed one way, swallowed, down for a while. Each comes back and misses nothing, and
//! their neighbours notice nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::figures::{figure, is_long};
use crate::support::ledger::random;
use crate::support::link::{BOTH, Fate, Link, Manner, Passage, Way};
use crate::support::neighbours::Neighbours;
use crate::support::returning::{Crowd, run_through};
use crate::support::{Client, Hub, UNLIMITED, eventually};

/// Spaces of the neighbours: one with the members of the bad link, and another one.
const SPACES: [i32; 2] = [1, 77];
/// Silence after which a member gives a connection up: more than two pings.
const SILENCE: Duration = Duration::from_secs(3);

/// A hub that pings often, so that a dead link is soon known on both sides.
fn attentive() -> Hub {
    Hub::unlimited_with(&["--shards", "2", "--ping-period", "1s", "--pong-wait", "2500ms"])
}

fn closes(hub: &Hub, reason: &str) -> f64 {
    hub.metric(&format!("hub_closes_total{{reason=\"{reason}\"}}"))
}

pub fn members_behind_jitter_who_are_sent_single_bytes_miss_nothing_and_are_not_closed() {
    const MEMBERS: i32 = 5;
    const MESSAGES: usize = 12;
    let hub = Hub::start(&UNLIMITED);
    let link = Link::to(hub.address);
    let (latency, jitter) = (Duration::from_millis(50), Duration::from_millis(250));
    let manner = Manner { latency, jitter, ..Manner::default() };
    let single_bytes = Manner { packet_bytes: 1, ..manner };
    link.set(&[Way::ToServer], single_bytes);
    link.set(&[Way::ToClient], manner);
    let neighbours = Neighbours::of(&hub, SPACES);
    let members: Vec<_> = (1..=MEMBERS).map(|user| Client::dial(link.address, 1, user)).collect();
    // tungstenite takes an answer to the upgrade for an attack that comes in single bytes.
    link.set(&[Way::ToClient], single_bytes);
    eventually("all have joined", || (hub.metric("hub_members") >= 9.0).then_some(()));
    let begun = Instant::now();
    let seen: Vec<Vec<String>> = std::thread::scope(|scope| {
        let talk = |(user, mut client): (usize, Client)| {
            for number in 0..MESSAGES {
                client.chat(&format!("miembro {user} {number}"));
            }
            let mut seen = Vec::new();
            while seen.len() < MEMBERS as usize * MESSAGES {
                let chat = client.next_of("chat");
                let text = chat["data"]["content"].as_str().expect("a text");
                if text.starts_with("miembro") {
                    seen.push(text.to_owned());
                }
            }
            seen
        };
        let talking = members.into_iter().enumerate().map(|it| scope.spawn(move || talk(it)));
        let talking: Vec<_> = talking.collect();
        talking.into_iter().map(|it| it.join().expect("it is not closed")).collect()
    });
    let messages = seen[0].len();
    let mut once = seen[0].clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), messages, "each once");
    assert!(seen.iter().all(|it| *it == seen[0]), "all in one order");
    let rate = (MEMBERS as usize * messages) as f64 / begun.elapsed().as_secs_f64();
    figure(6, "deliveries_s", format!("{rate:.0}"), "");
    neighbours.settle(&[6]);
    for reason in ["too_slow", "pong_timeout", "protocol_error", "overloaded"] {
        assert_eq!(closes(&hub, reason), 0.0, "nobody is closed: {reason}");
    }
}

/// A crowd behind a link that is down for a while, under load. It is closed where the hub misses
/// its pongs, and comes back.
fn sit_out(hub: &mut Hub, row: u32, down: Duration) {
    let link = Link::to(hub.address);
    let neighbours = Neighbours::of(hub, SPACES);
    let own = Crowd::of(2, 8, 600, 20_261_130 + u64::from(row));
    let crowd = Crowd { by: Some(link.address), silence: SILENCE, ..own };
    let figures = run_through(hub, crowd, 1, |_, _| {
        link.stop(Passage::Down);
        std::thread::sleep(down);
        link.mend();
    });
    figure(row, "down_s", down.as_secs(), "");
    figure(row, "gaps", 0, 0);
    figure(row, "s_to_heal", format!("{:.1}", figures.healed.as_secs_f64()), "");
    figure(row, "resumes", figures.resumes, "");
    neighbours.settle(&[row]);
}

pub fn members_whose_link_is_down_for_5_s_under_load_resume_without_a_gap() {
    let mut hub = attentive();
    sit_out(&mut hub, 8, Duration::from_secs(5));
    // Whoever was there is known to be gone.
    assert!(closes(&hub, "pong_timeout") > 0.0);
}

pub fn members_whose_link_is_down_for_long_resume_without_a_gap() {
    let long = is_long();
    let mut hub = if long { Hub::unlimited_with(&["--shards", "2"]) } else { attentive() };
    sit_out(&mut hub, 7, Duration::from_secs(if long { 30 } else { 4 }));
}

pub fn a_crowd_whose_link_breaks_in_every_way_misses_nothing() {
    const SWALLOWED: Duration = Duration::from_secs(4);
    let mut hub = attentive();
    let link = Link::to(hub.address);
    let neighbours = Neighbours::of(&hub, SPACES);
    let own = Crowd::of(2, 8, 1_000, 20_261_201);
    let crowd = Crowd { by: Some(link.address), silence: SILENCE, ..own };
    let slow = Manner { bytes_per_second: 150_000, packet_bytes: 100, ..Manner::default() };
    // Some come and go by themselves: whoever is there is cut, and somebody is.
    let end = |fate: Fate| {
        let ended = || Some(link.end_all(fate)).filter(|ended| *ended > 0);
        eventually("there is a connection to end", ended)
    };
    let mut cut = 0;
    let figures = run_through(&mut hub, crowd, 7, |_, number| match number {
        0 => cut += end(Fate::Reset),
        1 => cut += end(Fate::Closed),
        2 => link.half_close(Way::ToServer),
        3 => link.half_close(Way::ToClient),
        4 => link.corrupt(Way::ToServer, 20),
        5 => {
            link.stop(Passage::Swallowing);
            std::thread::sleep(SWALLOWED);
            link.mend();
        }
        _ => link.set(&BOTH, slow),
    });
    assert!(cut >= 2 && link.swallowed() > 0, "{cut} cut, {} swallowed", link.swallowed());
    figure(1, "connections_reset_and_closed", cut, "");
    eprintln!("{figures:?}: gaps 0, doubles 0");
    neighbours.settle(&[1]);
}

pub fn a_member_reset_in_the_middle_of_a_message_leaves_once_and_its_part_is_discarded() {
    let hub = Hub::start(&[&UNLIMITED[..], &["--log", "info"]].concat());
    let link = Link::to(hub.address);
    let neighbours = Neighbours::of(&hub, SPACES);
    let mut watcher = hub.join_v1(1, 1, "");
    watcher.next_of("join");
    // What it says at its start is about the machine.
    let start = hub.log().len();
    let mut slowest = Duration::ZERO;
    let mut state = 1;
    for round in 0..10 {
        let user = 100 + round;
        let mut member = Client::dial(link.address, 1, user);
        while watcher.next_of("join")["user_id"] != user {}
        let text = json!({"type": "chat", "data": {"content": "entero"}}).to_string();
        let frame = crate::support::frame(0x81, text.as_bytes());
        let part = 1 + random(&mut state) as usize % (frame.len() - 1);
        std::io::Write::write_all(member.stream(), &frame[..part]).expect("the link reads");
        let begun = Instant::now();
        link.end_all(Fate::Reset);
        // The neighbour's chats pass meanwhile.
        let left = loop {
            let message = watcher.next_that(|kind| kind == "leave" || kind == "chat");
            if message["type"] == "leave" {
                break message;
            }
            assert_ne!(message["data"]["content"], "entero", "half a message is none");
        };
        assert_eq!(left["user_id"], user);
        slowest = slowest.max(begun.elapsed());
    }
    let slowest = slowest.as_secs_f64() * 1_000.0;
    figure(1, "ms_to_leave_max", format!("{slowest:.1}"), "");
    neighbours.settle(&[1]);
    let log = hub.log();
    let is_loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let loud: Vec<&str> = log[start..].lines().filter(is_loud).collect();
    assert!(start > 0 && loud.is_empty(), "above info: {loud:?}");
}

pub fn a_half_open_peer_is_announced_as_gone_when_its_pong_is_due() {
    let long = is_long();
    let limits: &[&str] = if long { &[] } else { &["--ping-period", "2s", "--pong-wait", "3s"] };
    let hub = Hub::unlimited_with(limits);
    let due = Duration::from_secs(if long { 60 } else { 3 });
    let neighbours = Neighbours::of(&hub, SPACES);
    let mut watcher = hub.join_v1(1, 1, "");
    watcher.next_of("join");
    let link = Link::to(hub.address);
    let mut silent = Client::dial(link.address, 1, 2);
    while watcher.next_of("join")["user_id"] != 2 {}
    silent.chat("lo último");
    while silent.next_of("chat")["data"]["content"] != "lo último" {}
    link.stop(Passage::Swallowing);
    let begun = Instant::now();
    let deadline = due + Duration::from_secs(1);
    // Nothing but its leave ends this; reads of a minute need a longer patience.
    watcher.stream().set_read_timeout(Some(2 * deadline)).expect("a timeout");
    while watcher.next_of("leave")["user_id"] != 2 {}
    let took = begun.elapsed();
    figure(2, "s_to_leave", format!("{:.1}", took.as_secs_f64()), deadline.as_secs());
    // Its last byte may have come a little before.
    assert!(took < deadline + Duration::from_secs(1), "{took:?}");
    neighbours.settle(&[2]);
}
