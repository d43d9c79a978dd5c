//! Cases of whole shards: each fault that review or the simulator found, as small as it gets.
//!
//! [`Stage`] drives a shard with sockets that take a number of bytes and no more.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::event::{
    Fetch, Grant, Guise, HotSpace, Input, Join, Notification, PIECES, Post, Renewal, Seen, Sent,
    Sockets, Ticket, Verdict,
};
use super::turn::{Broken, Host, Journal};
use super::*;
use crate::limits::Rate;
use crate::wire::server_message::Resumed;
use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Dialect, SpaceId, UserId};

mod hottest;
mod looking;
mod pressure;
mod resuming;
mod sizes;
mod stored;
mod timing;

const SPACE: SpaceKey = SpaceKey::Chat(SpaceId(1));
const BEGIN: Micros = Micros(1_767_225_600_000_000);

/// What each socket still takes, and what it took; no entry: everything.
#[derive(Default)]
struct Taken {
    room: BTreeMap<MemberKey, usize>,
    bytes: BTreeMap<MemberKey, Vec<u8>>,
}

impl Sockets for Taken {
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent {
        let room = self.room.get(&member).copied().unwrap_or(usize::MAX);
        let taken = bytes.len().min(room);
        self.bytes.entry(member).or_default().extend_from_slice(&bytes[..taken]);
        self.room.entry(member).and_modify(|room| *room -= taken);
        if taken == 0 { Sent::Blocked } else { Sent::Bytes(taken) }
    }

    fn sendv(&mut self, member: MemberKey, pieces: [&[u8]; PIECES]) -> Sent {
        self.send(member, &pieces.concat())
    }

    fn finish(&mut self, _member: MemberKey) {}

    fn arm(&mut self, _member: MemberKey) {}
}

/// A journal that only counts.
struct Counting {
    end: u64,
    room: u64,
    fails: bool,
}

impl Journal for Counting {
    fn append(&mut self, records: &[u8], _highest: Id) -> Result<u64, Broken> {
        if self.fails {
            return Err(Broken);
        }
        self.end += records.len() as u64;
        Ok(self.end)
    }

    fn room(&self) -> u64 {
        self.room
    }
}

/// What the shard's turns were carried out on, and what was asked for.
struct Around {
    journal: Counting,
    sockets: Taken,
    replies: Vec<(Ticket, Reply)>,
    ended: Vec<(MemberKey, Close)>,
    fetches: Vec<Fetch>,
    readable: Vec<MemberKey>,
}

impl Host for Around {
    fn journal(&mut self) -> &mut impl Journal {
        &mut self.journal
    }

    fn sockets(&mut self) -> &mut impl Sockets {
        &mut self.sockets
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.replies.push((ticket, reply));
    }

    fn offended(&mut self, _member: MemberKey, _close: Close) {}

    fn ended(&mut self, member: MemberKey, close: Close) {
        self.ended.push((member, close));
    }

    fn fetch(&mut self, fetch: &Fetch) -> bool {
        self.fetches.push(*fetch);
        true
    }

    fn renew(&mut self, _renewal: Renewal) -> bool {
        false
    }

    fn resumed(&mut self, _member: MemberKey, _resumed: &Resumed) {}

    fn readable(&mut self, member: MemberKey) {
        self.readable.push(member);
    }

    fn occupancy(&mut self, _space: SpaceKey, _members: usize) {}
}

struct Stage {
    shard: Shard,
    now: Now,
    around: Around,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        Stage::accepting(Accept::Journaled, limits)
    }

    fn accepting(accept: Accept, limits: Limits) -> Stage {
        let now = Now { mono: MonoMs(1_000), unix: BEGIN };
        let (highest, published) = (Id::MIN, Vec::new());
        let setup = ShardSetup { number: 7, limits, accept, seed: 1, highest, published, now };
        let shard = Shard::new(setup);
        let around = Around {
            journal: Counting { end: 0, room: 1 << 30, fails: false },
            sockets: Taken::default(),
            replies: Vec::new(),
            ended: Vec::new(),
            fetches: Vec::new(),
            readable: Vec::new(),
        };
        let mut stage = Stage { shard, now, around };
        stage.tick();
        stage
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.input(self.now, input);
    }

    fn tick(&mut self) {
        self.shard.tick(self.now, &self.around.journal);
    }

    /// What the next turns can't send more than to this member.
    fn takes(&mut self, key: MemberKey, bytes: usize) {
        self.around.sockets.room.insert(key, bytes);
    }

    fn committed(&mut self) {
        self.input(Input::Committed(self.around.journal.end));
    }

    fn join(&mut self, space: SpaceKey, user: i32, after: Option<Id>) -> MemberKey {
        let (user, dialect) = (UserId(user), Dialect::V1);
        let username = "Ana".into();
        let opening = BytesMut::new();
        let (encoding, guise) = (Encoding::Frames, Guise::Member);
        let (address, grant) = (None, Grant::ALL);
        let join = Join {
            opening,
            space,
            user,
            username,
            dialect,
            encoding,
            guise,
            after,
            address,
            grant,
        };
        self.shard.join(self.now, join)
    }

    fn say(&mut self, key: MemberKey, data: &str) {
        let mut json = format!("{{\"type\":\"chat\",\"data\":{{{data}}}}}").into_bytes();
        self.input(Input::Message(key, &mut json));
    }

    fn post(&mut self, ticket: u64, bytes: usize, nonce: Option<&str>) -> Id {
        let content = "x".repeat(bytes).into();
        self.input(Input::Post(
            Ticket(ticket),
            Post {
                space: SpaceId(1),
                user: UserId(9),
                username: "Beto".into(),
                content,
                image: "".into(),
                nonce: nonce.map(Into::into),
                address: None,
            },
        ));
        self.shard.commits.highest()
    }

    fn slice(&mut self) -> bool {
        self.shard.turn(self.now, &mut self.around)
    }

    fn sweep(&mut self) {
        while self.slice() {}
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.unix.0 += ms as i64 * 1_000;
        self.tick();
    }

    fn heard(&self, key: MemberKey) -> String {
        let bytes = self.around.sockets.bytes.get(&key).map_or(&[][..], Vec::as_slice);
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn count(&mut self, metric: Metric) -> u64 {
        self.shard.counts().get(metric)
    }

    fn end_of(&self, key: MemberKey) -> Option<Close> {
        self.around.ended.iter().find(|(ended, _)| *ended == key).map(|(_, close)| *close)
    }
}

fn off() -> Limits {
    let off = Rate::new(0, 0);
    Limits { message_rate: off, user_message_rate: off, ..Limits::default() }
}

#[test]
fn a_join_after_the_clock_went_back_a_little_says_no_earlier_time() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    stage.say(ana, r#""content":"hola""#);
    stage.now.unix.0 -= 1_000_000;
    stage.join(SPACE, 2, None);
    stage.sweep();
    let heard = stage.heard(ana);
    let times: Vec<&str> =
        heard.match_indices("\"timestamp\":\"").map(|(at, _)| &heard[at + 13..at + 45]).collect();
    assert!(times.len() >= 5 && times.is_sorted(), "{times:?}");
    // A clock that was set is followed.
    stage.now.unix.0 -= 3_600_000_000;
    stage.join(SPACE, 3, None);
    stage.sweep();
    let heard = stage.heard(ana);
    let (at, _) = heard.rmatch_indices("\"timestamp\":\"").next().expect("a join");
    assert!(heard[at + 13..at + 45].starts_with("2025-12-31T19:59:59"), "{heard}");
}

#[test]
fn nothing_of_a_failed_turn_is_sent_and_nothing_is_left() {
    let mut stage = Stage::new(off());
    let [ana, beto, cut] = [1, 2, 3].map(|user| stage.join(SPACE, user, None));
    stage.takes(cut, 100);
    stage.sweep();
    stage.say(ana, r#""content":"secret","nonce":"a""#);
    stage.input(Input::Close(beto, Close::Peer(1_000)));
    stage.post(1, 10, None);
    stage.around.journal.fails = true;
    stage.slice();
    stage.sweep();
    assert_eq!(stage.around.replies, [(Ticket(1), Reply::Rejected(Reject::StoreUnavailable))]);
    for key in [ana, beto, cut] {
        assert!(!stage.heard(key).contains("secret"), "{}", stage.heard(key));
        assert!(!stage.heard(key).contains("leave"), "{}", stage.heard(key));
    }
    assert!(stage.heard(ana).contains("\"code\":1011"));
    assert!(stage.end_of(cut) == Some(Close::Internal), "the middle of a frame can't be left");
    stage.pass(2_000);
    stage.pass(300_000);
    let gauges = [Metric::PrivateBytes, Metric::LogBytes, Metric::Spaces, Metric::Members];
    assert_eq!(gauges.map(|gauge| stage.count(gauge)), [0; 4]);
}

#[test]
fn earlier_posts_still_hear_of_their_commit_after_a_failed_append() {
    let mut stage = Stage::new(off());
    let first = stage.post(1, 10, Some("n"));
    stage.slice();
    stage.around.replies.clear();
    stage.post(2, 10, Some("n"));
    let repeated = &stage.shard.effects().replies[0].1;
    assert!(matches!(repeated, Reply::Posted { id, .. } if *id == first));
    stage.post(3, 20, None);
    stage.around.journal.fails = true;
    stage.slice();
    stage.committed();
    stage.slice();
    let refused = Reply::Rejected(Reject::StoreUnavailable);
    let expected =
        [(Ticket(2), refused.clone()), (Ticket(3), refused), (Ticket(1), Reply::Durable(Ok(())))];
    assert_eq!(stage.around.replies, expected);
}

#[test]
fn a_second_tab_in_the_middle_of_a_round_leaves_nobody_out() {
    let mut stage = Stage::new(Limits { sweep_sends_max: 1, ..off() });
    let tabs: Vec<MemberKey> = (1..5).map(|user| stage.join(SpaceKey::Lobby, user, None)).collect();
    stage.sweep();
    // The round begins somewhere in the middle; then one comes whose user is online already.
    let left = stage.join(SpaceKey::Lobby, 9, None);
    stage.slice();
    stage.input(Input::Close(left, Close::Gone));
    stage.join(SpaceKey::Lobby, 1, None);
    stage.sweep();
    for tab in tabs {
        let heard = stage.heard(tab);
        assert!(heard.contains("\"user_id\":9,\"status\":\"offline\""), "{heard}");
    }
}

#[test]
fn of_long_sends_a_slice_has_fewer() {
    let mut stage = Stage::new(Limits { sweep_sends_max: 8, ..off() });
    let members: Vec<MemberKey> = (1..7).map(|user| stage.join(SPACE, user, None)).collect();
    stage.sweep();
    let mut before = vec![0; members.len()];
    let mut reached = |stage: &Stage| {
        let heard: Vec<usize> = members.iter().map(|it| stage.heard(*it).len()).collect();
        let earlier = std::mem::replace(&mut before, heard);
        earlier.iter().zip(&before).filter(|(earlier, now)| earlier < now).count()
    };
    reached(&stage);
    stage.post(1, 10, None);
    stage.slice();
    assert_eq!(reached(&stage), 6, "a short send is one");
    // Some 32 KiB: five sends.
    for ticket in 2..30 {
        stage.post(ticket, 900, None);
    }
    for slice in 1..4 {
        stage.slice();
        assert_eq!(reached(&stage), 2, "slice {slice}");
    }
    stage.slice();
    assert_eq!(reached(&stage), 0);
}

#[test]
fn everyone_is_visited_however_often_a_round_is_lengthened() {
    let mut stage = Stage::new(Limits { sweep_sends_max: 2, ..off() });
    let inbox = SpaceKey::Inbox(UserId(5));
    let mut sockets = vec![stage.join(inbox, 5, None), stage.join(inbox, 5, None)];
    for push in 0..20 {
        let data = format!("{{\"push\":{push}}}").into();
        let push = Notification { kind: "event".into(), data, timestamp: None };
        stage.input(Input::Notify(Ticket(0), UserId(5), Box::new(push)));
        stage.slice();
        sockets.push(stage.join(inbox, 5, None));
    }
    stage.sweep();
    for (at, socket) in sockets.iter().enumerate() {
        let first = at.saturating_sub(1);
        let heard = stage.heard(*socket);
        let pushes = (0..20).filter(|push| heard.contains(&format!("\"push\":{push}}}"))).count();
        assert_eq!(pushes, 20 - first.min(20), "socket {at}");
    }
}

#[test]
fn a_resume_that_is_cut_short_is_sent_nothing_live() {
    let mut stage = Stage::new(off());
    let first = stage.post(1, 10, None);
    for ticket in 2..40 {
        stage.post(ticket, 900, None);
    }
    stage.sweep();
    let ana = stage.join(SPACE, 1, Some(first));
    stage.takes(ana, 20_000);
    stage.sweep();
    stage.input(Input::Close(ana, Close::Kicked));
    stage.around.sockets.room.remove(&ana);
    stage.input(Input::Writable(ana));
    stage.sweep();
    let heard = stage.heard(ana);
    assert!(!heard.contains("\"type\":\"join\"") && heard.contains("\"code\":4009"));
}

#[test]
fn a_resume_in_a_big_space_finds_its_log_however_late_it_is_visited() {
    let limits = Limits { announce_members_max: 0, resume_window: 1_000, ..off() };
    let mut stage = Stage::new(limits);
    let first = stage.post(1, 10, None);
    stage.post(2, 10, None);
    let ana = stage.join(SPACE, 1, Some(first));
    stage.pass(5_000);
    stage.pass(5_000);
    stage.sweep();
    let heard = stage.heard(ana);
    assert!(heard.contains("\"count\":1,\"complete\":true"), "{heard}");
}

#[test]
fn what_is_kept_for_resumes_neither_pauses_a_space_nor_evicts() {
    let limits = Limits { log_bytes_max: 64 << 10, resume_bytes_max: 64 << 10, ..off() };
    let mut stage = Stage::new(limits);
    let ana = stage.join(SPACE, 1, None);
    let first = stage.post(1, 900, None);
    for ticket in 2..70 {
        stage.post(ticket, 900, None);
        stage.slice();
    }
    let beto = stage.join(SPACE, 2, Some(first));
    stage.takes(beto, 100);
    stage.post(70, 900, None);
    stage.sweep();
    assert_eq!(stage.count(Metric::SpacePauses), 0);
    assert!(stage.shard.may_read(ana));
    assert_eq!(stage.shard.counts().closes(Close::TooSlow.kind()), 0);
}

#[test]
fn a_space_that_nobody_is_in_keeps_what_a_resume_needs_and_no_more() {
    let mut stage = Stage::new(Limits { resume_bytes_max: 0, ..off() });
    for ticket in 1..400 {
        stage.post(ticket, 900, None);
        stage.slice();
    }
    let held = stage.count(Metric::LogBytes);
    assert!(held < 150 << 10, "{held} bytes held");
}

#[test]
fn a_member_that_is_closed_has_close_wait_whatever_it_takes() {
    let mut stage = Stage::new(Limits { close_wait: 1_000, ..off() });
    let ana = stage.join(SPACE, 1, None);
    stage.sweep();
    stage.takes(ana, 0);
    stage.post(1, 500, None);
    stage.sweep();
    stage.input(Input::Close(ana, Close::Kicked));
    for _ in 0..5 {
        stage.takes(ana, 1);
        stage.input(Input::Writable(ana));
        stage.sweep();
        stage.pass(300);
    }
    assert_eq!(stage.end_of(ana), Some(Close::Kicked));
}

#[test]
fn who_asks_for_much_at_once_and_reads_it_is_not_too_slow() {
    let mut stage = Stage::new(Limits { private_bytes_max: 4 << 10, ..off() });
    let ana = stage.join(SPACE, 1, None);
    for nonce in 0..150 {
        stage.say(ana, &format!(r#""content":"x","nonce":"{nonce}","ack":"durable""#));
    }
    stage.sweep();
    stage.committed();
    stage.sweep();
    let heard = stage.heard(ana);
    assert_eq!(heard.matches("\"level\":\"accepted\"").count(), 150);
    assert_eq!(heard.matches("\"level\":\"durable\"").count(), 150);
    assert_eq!(stage.shard.counts().closes(Close::TooSlow.kind()), 0);
}

#[test]
fn who_reads_none_of_its_answers_is_too_slow() {
    let mut stage = Stage::new(Limits { private_bytes_max: 4 << 10, ..off() });
    let ana = stage.join(SPACE, 1, None);
    stage.takes(ana, 0);
    stage.sweep();
    for _ in 0..30 {
        stage.say(ana, r#""content":"x","nonce":"1""#);
    }
    assert_eq!(stage.shard.counts().closes(Close::TooSlow.kind()), 1);
    assert!(stage.count(Metric::PrivateBytes) < 9 << 10);
}
