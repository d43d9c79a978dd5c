//! The ledger of a crash test: what clients under load have received and were told is accepted,
//! held against what the hub's history has after kills.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tungstenite::Message;

use super::{Client, Hub, eventually};

const SPACES: i32 = 3;
const CLIENTS_A_SPACE: i32 = 2;

/// What one client knows when its connection has ended.
#[derive(Default)]
struct Seen {
    /// id -> content of each chat received.
    received: HashMap<String, String>,
    /// Ids acked, at either level.
    acked: Vec<String>,
}

/// One client: keeps a few messages in flight until the hub is gone.
fn chatter(mut client: Client, name: String, received: Arc<AtomicUsize>) -> Seen {
    let mut seen = Seen::default();
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
            return seen;
        }
    }
    while let Ok(message) = client.try_next() {
        let data = &message["data"];
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        if message["type"] == "chat" {
            seen.received.insert(text(&data["id"]), text(&data["content"]));
            received.fetch_add(1, Ordering::Relaxed);
        } else if message["type"] == "ack" {
            seen.acked.push(text(&data["id"]));
            if data["level"] == "accepted" && say(&mut client).is_err() {
                break;
            }
        }
    }
    seen
}

fn start_chatters(
    hub: &Hub,
    round: u64,
    received: &Arc<AtomicUsize>,
) -> Vec<(i32, JoinHandle<Seen>)> {
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
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Clients under load on a hub.
pub struct Load {
    chatters: Vec<(i32, JoinHandle<Seen>)>,
    received: Arc<AtomicUsize>,
}

impl Load {
    /// Begins to chat; `round` sets contents apart.
    pub fn start(hub: &Hub, round: u64) -> Load {
        let received = Arc::new(AtomicUsize::new(0));
        Load { chatters: start_chatters(hub, round, &received), received }
    }

    /// Waits until this many messages were received in all.
    pub fn reach(&self, messages: usize) {
        let reached = || self.received.load(Ordering::Relaxed) >= messages;
        eventually("the load runs", || reached().then_some(()));
    }

    /// How many messages were received so far.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}

/// What all rounds have brought.
pub struct Ledger {
    known: Vec<HashMap<String, String>>,
    acked: Vec<(i32, String)>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { known: vec![HashMap::new(); SPACES as usize + 1], acked: Vec::new() }
    }
}

impl Ledger {
    /// Takes in what a load has seen; its hub is gone.
    pub fn add(&mut self, load: Load) {
        for (space, chatter) in load.chatters {
            let seen = chatter.join().expect("no panic");
            self.acked.extend(seen.acked.into_iter().map(|id| (space, id)));
            self.known[space as usize].extend(seen.received);
        }
    }

    /// Holds a hub's history against it: nothing lost, nothing doubled.
    pub fn check(&self, hub: &Hub) {
        for space in 1..=SPACES {
            let must = &self.known[space as usize];
            let ours = self.acked.iter().filter(|(of, _)| *of == space).map(|(_, id)| id);
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
                assert_eq!(stored.get(id.as_str()), Some(&content.as_str()), "space {space}");
            }
        }
    }

    /// The ids of all that anybody has received, or was told is accepted.
    pub fn shown(&self) -> impl Iterator<Item = &str> {
        let received = self.known.iter().flat_map(HashMap::keys);
        received.chain(self.acked.iter().map(|(_, id)| id)).map(String::as_str)
    }

    /// A line for the log.
    pub fn summary(&self) -> String {
        let messages: usize = self.known.iter().map(HashMap::len).sum();
        format!("{messages} messages received, {} acks: lost 0, doubled 0", self.acked.len())
    }
}
