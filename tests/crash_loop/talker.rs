//! A member of the second dialect that talks and listens, and one of the seed's that listens:
//! both come back after each end of their connection, with the last id they have seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::book::{Message, Receiver, Sender, id};
use super::link::{Link, Next};
use super::load::Shared;

/// What one may have sent that is neither accepted nor refused.
const OPEN_MAX: usize = 64;
/// Commits that one waits for; the hub takes some more.
const DURABLE_WAITS_MAX: usize = 512;
/// How long one waits for what comes.
pub const READ_WAIT: Duration = Duration::from_millis(20);
/// Someone who was held up does not send all at once what was due meanwhile.
const LATE_MAX: Duration = Duration::from_millis(100);

/// Whether the hub knows the nonces of earlier runs (P7): if not, what is sent again after a kill
/// may be stored again.
pub const PUBLISH_ONCE_SURVIVES_KILLS: bool = true;

/// Talks and listens.
pub struct Talker {
    shared: Arc<Shared>,
    user: i32,
    interval: Duration,
    next: Instant,
    sender: Sender,
    receiver: Receiver,
    /// Whether the store may have been away when this connection began.
    began_away: bool,
    /// Sent, and not answered.
    open: Vec<usize>,
    /// Accepted, and to be told of as durable.
    waits: usize,
    /// To be sent again.
    again: Vec<usize>,
}

impl Talker {
    /// A talker that sends a message each `interval`.
    pub fn new(shared: Arc<Shared>, (space, user): (i32, i32), interval: Duration) -> Talker {
        Talker {
            sender: Sender::new(format!("s{space}u{user}"), space),
            receiver: Receiver::new(space),
            next: shared.now(),
            began_away: false,
            open: Vec::new(),
            again: Vec::new(),
            waits: 0,
            shared,
            user,
            interval,
        }
    }

    /// Talks until it is told to stop.
    pub fn run(mut self) -> (Sender, Receiver) {
        while !self.shared.is_stopped() {
            let shared = Arc::clone(&self.shared);
            let talks = shared.connected(|address| {
                let path = self.path();
                self.talk(Link::open(address, &path, Some("cpi-hub.v1"))?)
            });
            if talks.is_none() && !self.shared.is_stopped() {
                self.shared.pause();
            }
        }
        (self.sender, self.receiver)
    }

    fn path(&self) -> String {
        let path = format!("/v1/ws/spaces/{}?user_id={}", self.receiver.space, self.user);
        path + &after(&self.receiver)
    }

    /// One connection, to its end or the load's.
    fn talk(&mut self, mut link: Link) -> Option<()> {
        self.receiver.connect();
        self.began_away = self.shared.is_store_away();
        self.open.clear();
        self.waits = 0;
        self.next = self.shared.now();
        let asked =
            |message: &Message| message.asks_durable && !message.durable && !message.refused;
        let again = |message: &Message| {
            message.is_open() || (PUBLISH_ONCE_SURVIVES_KILLS && asked(message))
        };
        let messages = self.sender.messages.iter().enumerate().rev();
        // The lowest number last: it is taken first.
        self.again = messages.filter(|(_, it)| again(it)).map(|(number, _)| number).collect();
        while !self.shared.is_stopped() {
            self.send_due(&mut link)?;
            self.shared.settle(&self.sender.name, self.is_settled());
            let wait = self.next.saturating_duration_since(self.shared.now()).min(READ_WAIT);
            match link.next(if self.open.len() < OPEN_MAX { wait } else { READ_WAIT }) {
                Next::Message(message) => self.read(&message),
                Next::Nothing => {}
                Next::Ended => return None,
            }
        }
        Some(())
    }

    /// Whether nothing is on its way.
    fn is_settled(&self) -> bool {
        self.open.is_empty() && self.again.is_empty() && self.waits == 0
    }

    fn send_due(&mut self, link: &mut Link) -> Option<()> {
        while self.open.len() < OPEN_MAX {
            if let Some(number) = self.again.pop() {
                self.send(link, number)?;
                continue;
            }
            let now = self.shared.now();
            self.next = self.next.max(now.checked_sub(LATE_MAX).unwrap_or(now));
            if self.next > now || self.shared.is_finishing() {
                break;
            }
            self.next += self.interval;
            self.sender.messages.push(Message::default());
            self.shared.count(|counts| &counts.sent);
            self.send(link, self.sender.messages.len() - 1)?;
        }
        Some(())
    }

    fn send(&mut self, link: &mut Link, number: usize) -> Option<()> {
        let text = self.sender.text(number);
        let message = &mut self.sender.messages[number];
        message.runs.push(self.shared.run());
        let durable = self.waits < DURABLE_WAITS_MAX && number.is_multiple_of(2);
        let level = if durable { "durable" } else { "accepted" };
        message.asks_durable = durable;
        self.waits += usize::from(durable);
        self.open.push(number);
        let data = json!({"content": text, "nonce": text, "ack": level});
        link.send(json!({"type": "chat", "data": data}).to_string())
    }

    fn read(&mut self, message: &Value) {
        let data = &message["data"];
        let text = |key: &str| data[key].as_str().unwrap_or_else(|| panic!("{key}: {message}"));
        match message["type"].as_str() {
            Some("chat") => {
                self.receiver.receive(id(text("id")));
                self.shared.count(|counts| &counts.received);
            }
            Some("resumed") => {
                let complete = data["complete"] == true;
                self.receiver.resumed(complete);
                if !self.shared.note_resume(complete, self.began_away) {
                    eprintln!("a hole: {message}");
                }
            }
            Some("ack") => self.told(text("nonce"), text("id"), text("level") == "durable"),
            Some("error") => self.refused(data["ref"].as_str(), message),
            _ => {}
        }
    }

    fn told(&mut self, nonce: &str, told: &str, durable: bool) {
        let number = self.sender.number(nonce).expect("a nonce of ours");
        let message = &mut self.sender.messages[number];
        message.accept(id(told));
        if durable {
            self.waits -= 1;
            message.durable = true;
            self.shared.durable(id(told));
        } else {
            self.open.retain(|open| *open != number);
            self.shared.count(|counts| &counts.accepted);
        }
    }

    fn refused(&mut self, nonce: Option<&str>, why: &Value) {
        let number = nonce.and_then(|nonce| self.sender.number(nonce));
        let number = number.unwrap_or_else(|| panic!("an error of nothing of ours: {why}"));
        let code = why["data"]["code"].as_str().expect("a code");
        assert!(["draining", "overloaded", "store_unavailable"].contains(&code), "{why}");
        let message = &mut self.sender.messages[number];
        message.refused = true;
        self.waits -= usize::from(message.asks_durable);
        self.open.retain(|open| *open != number);
        self.shared.count(|counts| &counts.refused);
    }
}

/// Listens in the seed's dialect.
pub fn listen(shared: &Shared, space: i32) -> Receiver {
    let mut receiver = Receiver::new(space);
    while !shared.is_stopped() {
        let path = format!("/v1/ws/spaces/{space}?user_id=99&username=Ana");
        let path = path + &after(&receiver);
        let heard = shared.connected(|address| {
            let mut link = Link::open(address, &path, None)?;
            receiver.connect();
            while !shared.is_stopped() {
                match link.next(READ_WAIT) {
                    Next::Message(message) if message["type"] == "chat" => {
                        receiver.receive(id(message["data"]["id"].as_str().expect("an id")));
                        shared.count(|counts| &counts.received);
                    }
                    Next::Message(_) | Next::Nothing => {}
                    Next::Ended => return None,
                }
            }
            Some(())
        });
        if heard.is_none() && !shared.is_stopped() {
            shared.pause();
        }
    }
    receiver
}

pub fn after(receiver: &Receiver) -> String {
    let last = receiver.last();
    last.map_or_else(String::new, |id| format!("&after={}", String::from_utf8_lossy(&id)))
}
