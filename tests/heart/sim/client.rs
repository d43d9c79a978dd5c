//! One member as its peer sees it: reads the bytes that its socket took and holds each frame
//! against the book.

use cpi_hub::shard::event::{Guise, MemberKey};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::{Id, SpaceKey};
use serde_json::Value;

use super::answers::Answers;
use super::book::{Book, join_payload};
use super::events::{self, Event};
use super::frames::{self, Frame};
use super::lobby::Reader;
use super::net::{Manner, Socket};
use super::resume::Resuming;
use super::sequence::show;

/// What stands for the answer to a handshake.
pub const OPENING: &[u8] = b"HTTP/1.1 101";

/// How far into its space a member is.
#[derive(Debug)]
pub enum Stage {
    /// It was not let in: it gets a close.
    Refused,
    /// Its own join is to come: this frame of the space, or a private one before it.
    Joining { at: usize, announced: bool },
    /// It is sent what it missed.
    Resuming(Box<Resuming>),
    /// This frame of the space is next.
    Live(usize),
    /// It reads who is online.
    Lobby(Reader),
}

/// What a reader of events is beside.
#[derive(Debug)]
pub struct Events {
    pub guise: Guise,
    /// The position that it came back with.
    pub after: Option<Id>,
    /// What it would come back with.
    pub last: Option<Id>,
}

/// A peer.
#[derive(Debug)]
pub struct Client {
    pub key: MemberKey,
    pub place: SpaceKey,
    pub user: i32,
    pub name: String,
    /// Grows with each that joins.
    pub serial: u64,
    pub v1: bool,
    /// It reads events, and says nothing.
    pub events: Option<Events>,
    /// It takes what its space says compressed.
    pub deflates: bool,
    pub socket: Socket,
    pub stage: Stage,
    pub answers: Answers,
    /// The last chat that it saw, or what its welcome said.
    pub position: Id,
    /// Members that it was told of.
    pub told_members: Option<usize>,
    /// The hub's ping waits for its pong.
    pub pinged: bool,
    /// It never answers pings.
    pub mute: bool,
    /// Its socket was not to be read; the shard says when it is again.
    pub waits_read: bool,
    /// It said goodbye, or something that ends it.
    pub went: bool,
    /// Its socket ended, whatever it was still to hear.
    pub gone: bool,
    /// It sent a close frame.
    pub said_goodbye: bool,
    /// It resumed at more than half of what a log retains.
    pub came_from_far: bool,
    /// It is in its space.
    pub seated: bool,
    opened: bool,
    welcomed: bool,
    closing: Option<u16>,
    pub closed: Option<Option<u16>>,
}

impl Client {
    pub fn new(key: MemberKey, place: SpaceKey, user: i32, name: String) -> Client {
        Client {
            key,
            place,
            user,
            name,
            serial: 0,
            v1: false,
            events: None,
            deflates: false,
            socket: Socket::new(&mut super::rng::Rng::new(u64::from(key.slot))),
            stage: Stage::Refused,
            answers: Answers::default(),
            position: Id::MIN,
            told_members: None,
            pinged: false,
            mute: false,
            waits_read: false,
            went: false,
            gone: false,
            said_goodbye: false,
            came_from_far: false,
            seated: false,
            opened: false,
            welcomed: false,
            closing: None,
            closed: None,
        }
    }

    /// Whether the others in its space are told of it.
    pub fn is_shown(&self) -> bool {
        self.events.as_ref().is_none_or(|events| events.guise == Guise::Member)
    }

    /// Whether it only watches, and is this user.
    pub fn watches_as(&self, user: i32) -> bool {
        let guise = self.events.as_ref().map(|events| events.guise);
        guise == Some(Guise::Watcher) && self.user == user
    }

    pub fn label(&self) -> String {
        format!("{:?} {} in {:?}", self.key, self.name, self.place)
    }

    /// Whether all that it was sent are whole frames, none of them a close.
    pub fn is_whole(&self) -> bool {
        self.opened && self.socket.taken.is_empty() && self.closed.is_none()
    }

    /// Where its frames begin: behind the answer to its handshake, once that is there whole.
    fn opening(&mut self, taken: &[u8]) -> Option<usize> {
        if self.opened {
            return Some(0);
        }
        let length = taken.len().min(OPENING.len());
        assert_eq!(&taken[..length], &OPENING[..length], "{}: not opened", self.label());
        self.opened = length == OPENING.len();
        self.opened.then_some(length)
    }

    /// Judges what its socket took since the last time.
    pub fn read(&mut self, book: &mut Book) {
        let taken = std::mem::take(&mut self.socket.taken);
        let Some(mut at) = self.opening(&taken) else {
            self.socket.taken = taken;
            return;
        };
        while let Some(event) = self.events.as_ref().and_then(|_| events::next(&taken[at..])) {
            assert!(self.closed.is_none(), "{}: nothing follows a closing", self.label());
            at += event.bytes;
            self.event(&event, book);
        }
        while self.events.is_none()
            && let Some((frame, length)) = frames::next(&taken[at..])
        {
            at += length;
            assert!(self.closed.is_none(), "{}: nothing follows a close", self.label());
            match frame {
                Frame::Text(payload) => self.text(payload, book),
                Frame::Deflated(payload) => {
                    assert!(self.deflates, "{}: it has not agreed to that", self.label());
                    book.coverage.deflated_frames += 1;
                    self.text(&frames::inflated(payload), book);
                }
                Frame::Close(code, reason) => self.close(code, reason),
                Frame::Ping(payload) => {
                    assert!(payload.is_empty());
                    self.pinged = true;
                }
                // What stands in the place of a chat that the store has refused is blank.
                Frame::Pong(payload) if payload.iter().all(|byte| *byte == b' ') => {
                    book.coverage.blanks_skipped += 1;
                }
                Frame::Pong(payload) => {
                    let seen = self.seen(book);
                    self.answers.protocol_pong(payload, seen);
                }
            }
        }
        self.socket.taken = taken;
        self.socket.taken.drain(..at);
    }

    /// An event, or a comment: its payload is what others are sent in a frame.
    fn event(&mut self, event: &Event<'_>, book: &mut Book) {
        let Some(payload) = event.data else {
            book.coverage.event_pings += 1;
            return;
        };
        assert_eq!(event.name, Some(kind(payload)), "{}: named by its type", self.label());
        let named = matches!(kind(payload), "chat" | "welcome" | "resumed");
        assert_eq!(event.id.is_some(), named, "{}: {}", self.label(), show(payload));
        let waits = matches!(kind(payload), "welcome" | "closing");
        assert_eq!(event.retry.is_some(), waits, "{}: {}", self.label(), show(payload));
        if let Some(id) = chat_id(payload) {
            assert_eq!(event.id, Some(id), "{}: a chat's id is the event's", self.label());
        }
        self.text(payload, book);
        let events = self.events.as_mut().expect("it reads events");
        if kind(payload) == "welcome" {
            // Who has missed something keeps its position until it has had that.
            assert_eq!(event.id, events.after.or(Some(self.position)));
        }
        if let Some(id) = event.id {
            events.last = Some(id);
        }
    }

    /// With what it would come back.
    pub fn comes_back_with(&self) -> Id {
        self.events.as_ref().and_then(|events| events.last).unwrap_or(self.position)
    }

    /// How many of its space's frames it has seen, or might have in an earlier life.
    fn seen(&self, book: &mut Book) -> usize {
        match &self.stage {
            Stage::Live(next) => book.sequence(self.place).next(*next),
            Stage::Resuming(resuming) => resuming.seen(book, self.v1),
            _ => 0,
        }
    }

    fn text(&mut self, payload: &[u8], book: &mut Book) {
        let kind = kind(payload);
        if self.v1 && !self.welcomed && kind != "welcome" {
            // After a failed append nothing of the turn is said.
            let refused = matches!(self.stage, Stage::Refused) || book.failed;
            assert!(refused && kind == "closing", "{}: {}", self.label(), show(payload));
        }
        assert!(self.closing.is_none(), "{}: after closing: {}", self.label(), show(payload));
        book.coverage.deliveries += 1;
        match (kind, self.place) {
            ("join" | "leave" | "chat", SpaceKey::Chat(space)) => {
                self.public(space.0, payload, book);
            }
            ("user_status", SpaceKey::Lobby) => {
                let Stage::Lobby(reader) = &mut self.stage else { panic!("not let in") };
                reader.status(self.user, payload);
            }
            ("notification" | "event", SpaceKey::Inbox(_)) => self.push(payload, book),
            _ => self.private(kind, payload, book),
        }
    }

    fn push(&mut self, payload: &[u8], book: &mut Book) {
        let whose = self.label();
        let Stage::Live(next) = &mut self.stage else { panic!("{whose}: not let in") };
        book.sequence(self.place).check(*next, payload, &whose);
        *next += 1;
    }

    /// A frame that everyone in the space gets.
    fn public(&mut self, space: i32, payload: &[u8], book: &mut Book) {
        let whose = || format!("{:?} {}", self.key, self.name);
        let own = self.is_own_join(space, payload);
        match &mut self.stage {
            Stage::Live(next) => {
                let at = book.space(space).frames.next(*next);
                let visible = book.visible(self.place);
                assert!(at < visible, "{}: sent what is not stored: {}", whose(), show(payload));
                book.space(space).frames.check(at, payload, &whose());
                *next = at + 1;
            }
            Stage::Joining { at, announced } => {
                let at = *at;
                assert!(own, "{}: its own join comes first: {}", whose(), show(payload));
                if *announced {
                    book.space(space).frames.check(at, payload, &whose());
                    self.stage = Stage::Live(at + 1);
                } else {
                    self.stage = Stage::Live(at);
                }
            }
            Stage::Resuming(resuming) if own => {
                let next = resuming.finish(book, self.v1, &whose());
                if resuming.announced {
                    book.space(space).frames.check(next - 1, payload, &whose());
                }
                self.stage = Stage::Live(next);
            }
            Stage::Resuming(resuming) => {
                if let Some(id) = chat_id(payload) {
                    let is_stored = !book.by_store || id <= book.told || book.is_known(id);
                    assert!(is_stored, "{}: sent what is not stored: {id}", whose());
                }
                resuming.frame(payload);
            }
            Stage::Refused | Stage::Lobby(_) => panic!("{}: {}", whose(), show(payload)),
        }
        if let Some(id) = chat_id(payload) {
            self.position = self.position.max(id);
        }
    }

    fn is_own_join(&self, space: i32, payload: &[u8]) -> bool {
        if kind(payload) != "join" {
            return false;
        }
        // All but its instant; names are unique.
        let end = join_payload(space, self.user, &self.name, "");
        let timestamp = b"\"timestamp\":\"\"";
        let tail = end.windows(timestamp.len()).position(|found| found == timestamp);
        let tail = tail.expect("a join has its instant") + timestamp.len();
        payload.ends_with(&end[tail..])
    }

    /// A frame for this member alone.
    fn private(&mut self, kind: &str, payload: &[u8], book: &mut Book) {
        let value: Value = serde_json::from_slice(payload)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.label(), show(payload)));
        let data = &value["data"];
        assert_eq!(value["timestamp"].as_str().map(str::len), Some(32), "{value}");
        book.coverage.private_frames += 1;
        let (seen, shown) = (self.seen(book), self.is_shown());
        match (kind, self.v1) {
            ("pong", _) => self.answers.pong(book, seen),
            ("error", true) if data.get("id").is_some() => self.answers.refused(data, book),
            ("error", v1) => self.answers.error(data, v1, (book, seen)),
            ("ack", true) => self.answers.ack(data, book, seen),
            ("welcome", true) => self.welcome(data, book),
            ("closing", true) => {
                let code = data["code"].as_u64().expect("a code");
                self.closing = Some(u16::try_from(code).expect("a close code"));
                if self.events.is_some() {
                    // Nothing but the end of the stream comes behind it.
                    book.coverage.event_closings += 1;
                    self.closed = Some(self.closing);
                }
            }
            ("resumed", true) => match &mut self.stage {
                Stage::Resuming(resuming) => {
                    resuming.resumed(data);
                    if !shown {
                        let next = resuming.finish(book, true, &format!("{:?}", self.key));
                        self.stage = Stage::Live(next);
                    }
                }
                other => panic!("nothing was resumed: {other:?}"),
            },
            ("presence", true) if self.place == SpaceKey::Lobby => {
                assert!(data.get("space_id").is_none() && data["members"].is_u64(), "{value}");
                book.coverage.lobby_counts += 1;
            }
            ("presence", true) => {
                let SpaceKey::Chat(space) = self.place else { panic!("no count here: {value}") };
                assert_eq!(data["space_id"], space.0);
                let members = data["members"].as_u64().expect("a count") as usize;
                assert!(book.space(space.0).counts.contains(&members), "never so many: {value}");
                self.told_members = Some(members);
                book.coverage.presence_counts += 1;
            }
            _ => panic!("{}: not for it: {value}", self.label()),
        }
    }

    fn welcome(&mut self, data: &Value, book: &mut Book) {
        assert!(!self.welcomed, "one welcome");
        self.welcomed = true;
        if self.events.as_ref().is_some_and(|events| events.guise == Guise::Nobody) {
            assert!(data.get("user_id").is_none() && data.get("username").is_none(), "{data}");
        } else {
            assert_eq!(data["user_id"], self.user);
            assert_eq!(data["username"], self.name.as_str());
        }
        let expected = format!("7-{}-{}", self.key.slot, self.key.generation);
        assert_eq!(data["connection_id"], expected.as_str());
        let SpaceKey::Chat(space) = self.place else {
            assert!(data.get("position").is_none() && data.get("members").is_none());
            return;
        };
        assert_eq!(data["space_id"], space.0);
        assert_eq!(data["members"].as_u64().map(|members| members as usize), self.told_members);
        let position = Id::parse(data["position"].as_str().expect("a position")).expect("an id");
        // Its position was the space's newest chat when it joined.
        assert!(position >= self.position && position <= book.newest, "{data}");
        let is_told = !book.by_store || !book.is_waiting(space.0, position);
        assert!(is_told, "welcomed with what is not stored: {data}");
        self.position = position;
    }

    fn close(&mut self, code: Option<u16>, reason: &str) {
        if let Some(closing) = self.closing {
            assert_eq!(code, Some(closing), "closing names the close");
        }
        assert!(code.is_none() || self.went || !reason.is_empty(), "a close of ours has a reason");
        self.closed = Some(code);
    }

    /// Its socket is shut. `was_swept`: it was sent what it was owed before.
    pub fn ended(&self, close: Close, was_swept: bool) {
        let whose = self.label();
        let cut = self.socket.taken.len();
        // Its close frame answers ours, whether it has seen that or not.
        let excused = self.gone || !was_swept || self.said_goodbye && close.is_ours();
        let eager = self.socket.manner == Manner::Eager && !excused;
        if let Some(code) = self.closed {
            assert_eq!(code, close.code(), "{whose}: closed as {close:?}");
            assert_eq!(self.v1 && close.is_ours(), self.closing.is_some(), "{whose}: {close:?}");
        } else if eager {
            panic!("{whose}: it takes everything and heard no close ({close:?}, {cut} bytes cut)");
        }
        assert!(!eager || cut == 0, "{whose}: a frame was cut");
        assert!(!eager || self.mute || close != Close::PongTimeout, "{whose}: it answers pings");
        // One that comes back from far behind starts where readers fall out of the log, and who
        // was not swept for long stands there too.
        let takes_all = match self.socket.manner {
            Manner::Eager => true,
            Manner::Prompt => !self.came_from_far && was_swept,
            _ => false,
        };
        if takes_all {
            assert!(close != Close::TooSlow, "{whose}: evicted, though it takes what it is sent");
        }
    }

    /// Nothing is owed to it now, but what waits for a commit.
    pub fn is_caught_up(&self, book: &mut Book) {
        let whose = || self.label();
        assert!(self.socket.taken.is_empty(), "{}: a frame was cut", whose());
        match &self.stage {
            Stage::Live(next) => {
                let visible = book.visible(self.place);
                let frames = book.sequence(self.place);
                let (next, visible) = (frames.next(*next), frames.next(visible));
                assert_eq!(next, visible, "{}: it was passed over", whose());
            }
            Stage::Resuming(resuming) => {
                let visible = book.visible(self.place);
                let waits = resuming.joined_at.is_some_and(|joined_at| visible < joined_at);
                assert!(waits, "{}: not live: {resuming:?}", whose());
                book.coverage.resumes_behind_waiting += 1;
                return;
            }
            Stage::Lobby(reader) => assert!(reader.len() > 0, "{}: no status", whose()),
            other => panic!("{}: not live: {other:?}", whose()),
        }
        assert!(self.welcomed == self.v1, "{}: no welcome", whose());
        let pending = self.answers.pending(book);
        assert_eq!(pending, 0, "{}: no answer: {:?}", whose(), self.answers);
        let overdue = self.answers.overdue(book.told);
        assert_eq!(overdue, 0, "{}: committed and not told: {:?}", whose(), self.answers);
    }
}

/// The message's type.
fn kind(payload: &[u8]) -> &str {
    let rest = payload.strip_prefix(b"{\"type\":\"").unwrap_or_else(|| {
        panic!("a message begins with its type: {}", show(payload));
    });
    let end = rest.iter().position(|byte| *byte == b'"').expect("a string ends");
    std::str::from_utf8(&rest[..end]).expect("UTF-8")
}

/// The id of a chat frame.
pub fn chat_id(payload: &[u8]) -> Option<Id> {
    let rest = payload.strip_prefix(b"{\"type\":\"chat\",\"data\":{\"id\":\"")?;
    let id = std::str::from_utf8(rest.get(..Id::TEXT_BYTES)?).ok()?;
    Some(Id::parse(id).expect("a chat has an id"))
}
