//! What clients and the edge say: chats, pings, junk, posts and notifications, with what each
//! may be answered.

use bytes::BytesMut;
use cpi_hub::limits::STORED_WAIT;
use cpi_hub::metrics::Metric;
use cpi_hub::shard::event::{Fed, Input, MemberKey, Notification, Post, Present, Reply, Ticket};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::record::Record;
use cpi_hub::wire::reject::Reject;
use cpi_hub::wire::server_message::{self, Chat};
use cpi_hub::wire::time::MonoMs;
use cpi_hub::wire::{Id, SpaceId, SpaceKey, UserId};

use super::answers::Said;
use super::book::{First, quote};
use super::host::Store;
use super::net::Manner;
use super::world::World;

/// A request of the edge's that waits.
#[derive(Debug)]
pub enum Asked {
    Post {
        made: Option<Id>,
        first: Option<Id>,
        may: Vec<&'static str>,
    },
    /// Answered; its commit is to come.
    Durable(Id),
    Count(u32),
    /// Some of them may be on their way out.
    AtMost(u32),
    /// Held against the book when it was asked.
    Presence(Present),
}

/// What is said, however it comes.
struct Words {
    content: String,
    image: String,
    nonce: Option<String>,
}

const JUNK: [&str; 12] = [
    "",
    "{",
    "[]",
    "1",
    "{}",
    "null",
    r#"{"type":7}"#,
    r#"{"type":"join"}"#,
    r#"{"type":"chat"}"#,
    r#"{"type":"chat","data":[]}"#,
    r#"{"type":"chat","type":"ping"}"#,
    r#"{"type":"chat","data":{"content":4}}"#,
];
const JUNK_CODES: [&str; 4] =
    ["invalid_message_format", "unknown_message_type", "invalid_chat_message", "content_empty"];

impl World {
    /// A member whose client may speak now.
    fn speaker(&mut self) -> Option<MemberKey> {
        let keys = self.net.keys();
        if keys.is_empty() {
            return None;
        }
        let key = *self.rng.pick(&keys);
        let may_read = self.shard.may_read(key);
        let client = self.net.get(key);
        if client.went || client.closed.is_some() || client.events.is_some() {
            return None;
        }
        client.waits_read |= !may_read;
        (!client.waits_read).then_some(key)
    }

    pub fn talk(&mut self) {
        let Some(key) = self.speaker() else { return };
        match self.rng.below(100) {
            0..75 => self.say(key),
            75..85 => self.message(key, r#"{"type":"ping"}"#.into(), None),
            _ => {
                let junk = *self.rng.pick(&JUNK);
                self.message(key, junk.into(), None);
            }
        }
    }

    /// Much in one turn, so that answers pile up.
    pub fn flood(&mut self) {
        let Some(key) = self.speaker() else { return };
        let stalled = self.net.get(key).socket.manner == Manner::Stalled;
        let each = if stalled { 100 } else { 400 };
        let max = (self.plan.limits.private_bytes_max / each).min(300) as u64;
        for _ in 0..self.rng.range(1, max) {
            let Some(client) = self.net.find(key).filter(|client| !client.went) else { return };
            // One that reads is not to be drowned in answers before it is visited.
            let owed = client.answers.waiting() * 300;
            if client.socket.manner != Manner::Stalled && owed > self.plan.limits.private_bytes_max
            {
                return;
            }
            match self.rng.below(3) {
                0 => self.message(key, r#"{"type":"ping"}"#.into(), None),
                1 => self.message(key, "junk".into(), None),
                _ => {
                    let ask = r#"{"type":"chat","data":{"content":"x"}}"#;
                    let content = Words { content: "x".into(), image: String::new(), nonce: None };
                    self.message(key, ask.into(), Some((content, None)));
                }
            }
        }
    }

    fn chat(&mut self) -> Words {
        self.serial += 1;
        let content = match self.rng.below(20) {
            0 => String::new(),
            1 => "nul\0".into(),
            2 => "\u{1F600}\u{1}\"\\ñ\u{2028}".repeat(self.rng.range(1, 20) as usize),
            _ if self.rng.permille(self.plan.long) => {
                let max = self.plan.limits.message_bytes_max as u64;
                "x".repeat(self.rng.range(max / 4, max) as usize)
            }
            _ => format!("hola {}", self.serial),
        };
        let image = match self.rng.below(12) {
            0 => "https://x/\"y\".png".into(),
            1 => "i".repeat(self.rng.range(1, 60) as usize),
            _ => String::new(),
        };
        let fresh = format!("n{}", self.serial);
        let nonce = match self.rng.below(10) {
            0..4 => None,
            4..8 => Some(fresh),
            _ => Some(format!("again{}", self.rng.below(3))),
        };
        // A nonce that comes again mostly says the same.
        let again = nonce.as_deref().is_some_and(|nonce| nonce.starts_with("again"));
        if again && self.rng.permille(800) {
            return Words { content: "otra vez".into(), image: String::new(), nonce };
        }
        Words { content, image, nonce }
    }

    fn say(&mut self, key: MemberKey) {
        let v1 = self.net.get(key).v1;
        let chat = self.chat();
        let mut json =
            format!("{{\"type\":\"chat\",\"data\":{{\"content\":{}", quote(&chat.content));
        if !chat.image.is_empty() {
            json += &format!(",\"image\":{}", quote(&chat.image));
        }
        let mut ack = None;
        if let Some(nonce) = &chat.nonce {
            json += &format!(",\"nonce\":{}", quote(nonce));
            ack = *self.rng.pick(&[None, Some("none"), Some("accepted"), Some("durable")]);
            if let Some(ack) = ack {
                json += &format!(",\"ack\":\"{ack}\"");
            }
        }
        json += "}}";
        if json.len() <= self.plan.limits.message_bytes_max {
            // The seed's dialect knows neither nonces nor acks.
            let chat = Words { nonce: chat.nonce.filter(|_| v1), ..chat };
            return self.message(key, json, Some((chat, ack.filter(|_| v1))));
        }
        // The frame reader stops at the header.
        self.ends(key, Close::MessageTooBig);
    }

    fn message(&mut self, key: MemberKey, json: String, chat: Option<(Words, Option<&str>)>) {
        let client = self.net.get(key);
        let (user, v1) = (client.user, client.v1);
        let SpaceKey::Chat(SpaceId(space)) = client.place else {
            self.input(Input::Unheard(key, json.len()), "");
            return;
        };
        let is_ping = json.contains("ping\"}") && !json.contains("chat");
        let mut may = Vec::new();
        let mut said = Said::default();
        let mut image = "";
        if let Some((chat, ack)) = &chat {
            let first = self.first(user, space, chat);
            may = self.refusals(chat, first.as_ref(), v1);
            said.first = first.map(|first| first.id);
            said.nonce = chat.nonce.clone();
            said.durable = *ack == Some("durable");
            image = &chat.image;
        } else if !is_ping {
            may.extend(JUNK_CODES);
            may.push("validation_error");
        }
        self.rate_refusals(&mut may);
        let earlier = said.first.is_some_and(|first| first <= self.book.began_above);
        let duplicates = self.count(Metric::ChatsDuplicate);
        let made = self.input(Input::Message(key, &mut json.into_bytes()), image);
        self.check_late(made);
        let is_taken = made.is_some() || self.count(Metric::ChatsDuplicate) > duplicates;
        let repeated = made.is_none() && is_taken && earlier;
        self.book.coverage.repeats_after_restarts += u64::from(repeated);
        let mut wants_ack = false;
        if let Some((chat, ack)) = chat {
            wants_ack = chat.nonce.is_some() && ack != Some("none");
            self.note_first(user, space, chat, made);
        }
        if !is_taken || wants_ack {
            // Behind all that was said before it in its space, its own chat too.
            let behind = self.book.space(space).frames.len();
            let (asked, newest) = (self.now.mono, Some(self.book.made));
            let said = Said { is_ping, made, is_taken, may, behind, asked, newest, ..said };
            if let Some(client) = self.net.find(key) {
                client.answers.expect(said);
            }
        }
    }

    fn first(&mut self, user: i32, space: i32, chat: &Words) -> Option<First> {
        let nonce = chat.nonce.clone()?;
        self.book.firsts.get(&(user, space, nonce)).cloned()
    }

    fn note_first(&mut self, user: i32, space: i32, chat: Words, made: Option<Id>) {
        let (Some(nonce), Some(id)) = (chat.nonce, made) else { return };
        let unix_us = self.now.unix.0;
        let said = (chat.content, self.shown(&chat.image));
        let first = First { id, said, unix_us };
        let key = (user, space, nonce);
        if let Some(before) = self.book.firsts.insert(key.clone(), first) {
            self.book.older_firsts.push((key, before.clone()));
            let age = (unix_us - before.unix_us) as u64 / 1_000;
            assert!(age > self.plan.limits.nonce_window, "published twice within {age} ms");
        }
    }

    fn shown(&self, image: &str) -> String {
        if image.len() > self.plan.limits.image_bytes_max { "".into() } else { image.into() }
    }

    fn rate_refusals(&self, may: &mut Vec<&'static str>) {
        if self.plan.limits.user_message_rate.per_second > 0 {
            may.push("rate_limited");
        }
    }

    /// The refusals that would be right for a chat.
    fn refusals(&mut self, chat: &Words, first: Option<&First>, v1: bool) -> Vec<&'static str> {
        let mut may = Vec::new();
        let content = &chat.content;
        if content.is_empty() {
            may.push("content_empty");
        } else if content.chars().count() > self.plan.limits.content_chars_max {
            may.push("content_too_long");
        } else if content.contains('\0') {
            may.push("content_invalid");
        }
        if !may.is_empty() && !v1 {
            may = vec!["validation_error"];
        }
        if let Some(first) = first
            && (first.said.0 != *content || first.said.1 != self.shown(&chat.image))
        {
            may.push("nonce_reused");
        }
        if self.draining {
            may.push("draining");
        }
        let pressed = self.count(Metric::LogBytes) > self.plan.limits.logs_bytes_max as u64;
        if pressed {
            may.push("overloaded");
        }
        if self.book.failed || self.store.room < 1 << 20 || self.is_late() {
            may.push("store_unavailable");
        }
        may
    }

    /// Whether chat is refused because the store takes too long with what it was given.
    pub fn is_late(&self) -> bool {
        let Store { told, told_earlier, times, .. } = &self.store;
        let is_over = |at: &MonoMs| self.now.mono.since(*at) >= STORED_WAIT;
        self.plan.by_store && (!told_earlier || times.get(*told).is_some_and(is_over))
    }

    /// A chat was made, or not, by one call.
    fn check_late(&mut self, made: Option<Id>) {
        if self.is_late() {
            self.book.coverage.late_refusals += 1;
            assert_eq!(made, None, "accepted, though the store takes none");
        }
    }

    pub fn post(&mut self) {
        let space = self.rng.range(1, self.plan.spaces) as i32;
        let user = self.rng.range(1, self.plan.users) as i32;
        let mut chat = self.chat();
        if self.rng.permille(self.plan.long) {
            let max = self.plan.limits.content_chars_max as u64;
            chat.content = "\u{2}".repeat(self.rng.range(max / 2, max) as usize);
            chat.nonce = None;
        }
        let first = self.first(user, space, &chat);
        let mut may = self.refusals(&chat, first.as_ref(), true);
        self.rate_refusals(&mut may);
        may.push("overloaded");
        self.serial += 1;
        let ticket = Ticket(self.serial);
        let post = Post {
            space: SpaceId(space),
            user: UserId(user),
            username: format!("P{user}").into(),
            content: chat.content.as_str().into(),
            image: chat.image.as_str().into(),
            nonce: chat.nonce.as_deref().map(Into::into),
            address: Some(9).filter(|_| self.serial.is_multiple_of(2)),
        };
        let image = chat.image.clone();
        self.book.coverage.posts += 1;
        let made = self.input(Input::Post(ticket, post), &image);
        self.check_late(made);
        let first = first.map(|first| first.id);
        self.note_first(user, space, chat, made);
        self.tickets.insert(ticket, Asked::Post { made, first, may });
    }

    pub fn notify(&mut self) {
        let user = self.rng.range(1, self.plan.users) as i32;
        self.serial += 1;
        let ticket = Ticket(self.serial);
        let kind = *self.rng.pick(&["notification", "event"]);
        let timestamp = self.rng.permille(300).then_some("2026-01-02T03:04:05.678901-03:00");
        let bytes = if self.rng.permille(self.plan.long) { self.rng.below(9_000) } else { 3 };
        let data = format!("{{\"n\":{},\"x\":\"{}\"}}", self.serial, "y".repeat(bytes as usize));
        let push = Notification {
            kind: kind.into(),
            data: data.as_str().into(),
            timestamp: timestamp.map(Into::into),
        };
        let pushed = self.count(Metric::NotificationsPushed);
        self.input(Input::Notify(ticket, UserId(user), Box::new(push)), "");
        let mut count = 0;
        if self.count(Metric::NotificationsPushed) > pushed {
            let at = timestamp.map_or_else(|| self.book.at(), Into::into);
            let payload = format!("{{\"type\":\"{kind}\",\"data\":{data},\"timestamp\":\"{at}\"}}");
            let mono = self.now.mono.0;
            let inbox = self.book.sequence(SpaceKey::Inbox(UserId(user)));
            inbox.push(mono, payload.into_bytes());
            self.book.coverage.notifications += 1;
            let open = |client: &&super::client::Client| {
                client.place == SpaceKey::Inbox(UserId(user)) && client.closed.is_none()
            };
            count = self.net.all().filter(open).count() as u32;
        }
        self.tickets.insert(ticket, Asked::AtMost(count));
    }

    /// Another shard, which has stored it, gives a frame to this one.
    pub fn feed(&mut self) {
        // What was said here until now is in the journal, so that its ids lie below.
        self.slice();
        if self.book.failed {
            return;
        }
        self.serial += 1;
        let (space, user) = (SpaceId(self.rng.range(1, self.plan.spaces) as i32), UserId(77));
        let long = if self.rng.permille(self.plan.long) { self.rng.below(6_000) } else { 0 };
        let content = format!("from elsewhere {} {}", self.serial, "x".repeat(long as usize));
        let username = "Eva";
        self.elsewhere.start_above(self.book.newest);
        self.book.called(self.now);
        let (id, at) = self.elsewhere.next_id(self.now.unix.max(self.book.stamp()));
        let image = "";
        let mut frame = BytesMut::new();
        let chat = Chat { id, space, user, username, content: &content, image };
        let text = self.book.text(at);
        server_message::chat(&mut frame, &chat, &text);
        let fed = Fed { frame: &frame, chat: Some(id) };
        assert_eq!(self.input(Input::Fed(SpaceKey::Chat(space), fed), ""), None);
        let record = Record { id, at, space, user, username, content: &content, nonce: None };
        self.book.feed(&record);
    }

    /// The edge gets a reply.
    pub fn answered(&mut self, ticket: Ticket, reply: Reply) {
        let asked = self.tickets.remove(&ticket);
        let asked = asked.unwrap_or_else(|| panic!("{ticket:?} is not waiting for {reply:?}"));
        match (asked, reply) {
            (Asked::Post { made, first, .. }, Reply::Posted { id, duplicate, .. }) => {
                let is_told = !self.book.by_store || self.book.is_stored(id);
                assert!(is_told, "a post is answered that is not stored: {id}");
                let expected = made.or(first);
                assert_eq!((Some(id), duplicate), (expected, made.is_none()));
                self.book.coverage.duplicates += u64::from(duplicate);
                self.tickets.insert(ticket, Asked::Durable(id));
            }
            (Asked::Post { made, first, .. }, Reply::Rejected(Reject::StoreRefused)) => {
                let id = made.or(first).expect("the store refuses what it was given");
                assert!(self.book.by_store && self.book.refused.contains(&id), "{id}");
                self.book.coverage.durable_errors += 1;
            }
            (Asked::Post { made, may, .. }, Reply::Rejected(reject)) => {
                assert!(made.is_none() || self.book.failed, "{reject:?} of what was accepted");
                let code = reject.code();
                let failed = self.book.failed && code == "store_unavailable";
                assert!(failed || may.contains(&code), "{code} is not one of {may:?}");
            }
            (Asked::Durable(id), Reply::Durable(Ok(()))) => {
                assert!(id <= self.book.told, "durable before the commit");
                assert!(!self.book.refused.contains(&id), "durable, though it was refused");
                self.book.coverage.durable_acks += 1;
            }
            (Asked::Durable(id), Reply::Durable(Err(reject))) => {
                assert!(self.book.refused.contains(&id), "{reject:?} of what was not refused");
                self.book.coverage.durable_errors += 1;
            }
            (Asked::Count(count), Reply::Count(told)) => assert_eq!(told, count),
            (Asked::AtMost(count), Reply::Count(told)) => assert!(told <= count),
            (Asked::Presence(expected), Reply::Presence(told)) => assert_eq!(told, expected),
            (asked, reply) => panic!("{reply:?} is no answer to {asked:?}"),
        }
    }
}
