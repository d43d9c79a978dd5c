//! What survives SIGKILL: everything that anyone received, or was told is accepted (P4-P6).
//!
//! A ledger knows what was sent, received and acked; the hub is killed at a random moment under
//! load, started again on the same data, and asked for its history.

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use support::{Client, Hub, eventually};
use tungstenite::Message;

const SPACES: i32 = 3;
const CLIENTS_A_SPACE: i32 = 2;

/// What one client knows when its connection has ended.
#[derive(Default)]
struct Ledger {
    /// id -> content of each chat received.
    received: HashMap<String, String>,
    /// Ids acked, at either level.
    acked: Vec<String>,
}

/// One client: keeps a few messages in flight until the hub is gone.
fn chatter(mut client: Client, name: String, received: Arc<AtomicUsize>) -> Ledger {
    let mut ledger = Ledger::default();
    let mut number = 0;
    let mut say = |client: &mut Client| {
        number += 1;
        let nonce = format!("{name}-{number}");
        let ack = if number % 2 == 0 { "durable" } else { "accepted" };
        let data = json!({"content": nonce, "nonce": nonce, "ack": ack});
        client.try_send(Message::text(json!({"type": "chat", "data": data}).to_string()))
    };
    for _ in 0..8 {
        if say(&mut client).is_err() {
            return ledger;
        }
    }
    while let Ok(message) = client.try_next() {
        let data = &message["data"];
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        if message["type"] == "chat" {
            ledger.received.insert(text(&data["id"]), text(&data["content"]));
            received.fetch_add(1, Ordering::Relaxed);
        } else if message["type"] == "ack" {
            ledger.acked.push(text(&data["id"]));
            if data["level"] == "accepted" && say(&mut client).is_err() {
                break;
            }
        }
    }
    ledger
}

fn start_chatters(
    hub: &Hub,
    round: u64,
    received: &Arc<AtomicUsize>,
) -> Vec<(i32, JoinHandle<Ledger>)> {
    let mut chatters = Vec::new();
    for space in 1..=SPACES {
        for user in 1..=CLIENTS_A_SPACE {
            let client = hub.join_v1(space, user, "");
            let (name, received) = (format!("r{round}s{space}u{user}"), Arc::clone(received));
            chatters.push((space, std::thread::spawn(move || chatter(client, name, received))));
        }
    }
    chatters
}

/// SplitMix64: the moments of the kills.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn kill_under_load(kills: u64, seed: u64) {
    eprintln!("seed {seed}");
    let mut hub = Hub::unlimited();
    let mut state = seed;
    let mut known: Vec<HashMap<String, String>> = vec![HashMap::new(); SPACES as usize + 1];
    let mut acks = 0;
    for round in 0..kills {
        let received = Arc::new(AtomicUsize::new(0));
        let chatters = start_chatters(&hub, round, &received);
        let moment = 50 + (random(&mut state) % 2_000) as usize;
        eventually("the load runs", || (received.load(Ordering::Relaxed) >= moment).then_some(()));
        hub.kill();
        let mut acked: Vec<(i32, String)> = Vec::new();
        for (space, chatter) in chatters {
            let ledger = chatter.join().expect("no panic");
            acked.extend(ledger.acked.into_iter().map(|id| (space, id)));
            known[space as usize].extend(ledger.received);
        }
        acks += acked.len();
        hub.restart();
        for space in 1..=SPACES {
            let must = &known[space as usize];
            let ours = acked.iter().filter(|(of, _)| *of == space).map(|(_, id)| id);
            let mut wanted: HashSet<&String> = must.keys().chain(ours).collect();
            let rows = eventually("everything received and acked is in history", || {
                let rows = hub.history(space);
                for row in &rows {
                    wanted.remove(&row["id"].as_str().expect("an id").to_owned());
                }
                wanted.is_empty().then_some(rows)
            });
            let mut stored: HashMap<&str, &str> = HashMap::new();
            for row in &rows {
                let text = |key: &str| row[key].as_str().expect("a string");
                assert!(stored.insert(text("id"), text("content")).is_none(), "stored twice");
            }
            let contents: HashSet<&str> = stored.values().copied().collect();
            assert_eq!(contents.len(), stored.len(), "one content under two ids");
            for (id, content) in must {
                assert_eq!(stored.get(id.as_str()), Some(&content.as_str()), "round {round}");
            }
        }
    }
    let messages: usize = known.iter().map(HashMap::len).sum();
    eprintln!("{kills} kills, {messages} messages received, {acks} acks: lost 0, doubled 0");
}

#[test]
fn nothing_received_or_acked_is_missing_after_kills_under_load() {
    let slow = std::env::var_os("HUB_SLOW_TESTS").is_some();
    kill_under_load(if slow { 20 } else { 3 }, 20_261_124);
}

#[test]
fn a_stopped_hub_has_stored_everything_and_says_goodbye() {
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

#[test]
fn ids_go_on_ascending_after_a_restart_with_another_number_of_shards() {
    let mut hub = Hub::unlimited();
    let mut last = String::new();
    for shards in ["1", "3", "2"] {
        let args: Vec<&str> = support::UNLIMITED.into_iter().chain(["--shards", shards]).collect();
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

#[test]
fn a_second_signal_ends_the_hub_though_members_are_not_closed_yet() {
    let mut hub = Hub::start(&["--drain-window", "30m", "--stop-wait", "1h"]);
    let mut members = [1, 2].map(|user| hub.join(1, user, "Ana"));
    hub.signal("TERM");
    eventually("it drains", || (hub.get("/readyz").status == 503).then_some(()));
    // Still served: the window is long.
    members[1].send(r#"{"type":"ping"}"#);
    members[1].next_of("pong");
    assert_eq!(hub.stop("TERM").code(), Some(0));
}
