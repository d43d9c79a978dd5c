//! The sweep: brings cursors to the end of their logs, as far as these are secured, and private
//! frames out.
//!
//! It visits the members of dirty spaces in rotation, each with one send of all that it is owed,
//! and single members that have private frames or became writable. It works in slices of
//! `sweep_sends_max` sends, of which a long one is several, so that reads run in between, and goes
//! on where it stopped.

use super::Shard;
use super::event::{MemberKey, Sent, Sockets};
use super::member::{Member, Offered, Resume};
use super::rooms::Rooms;
use super::space::Space;
use super::turn::Turn;
use crate::limits::{SEND_BYTES, SPACE_SENDS_MAX};
use crate::metrics::{Latency, Metric};
use crate::wire::event_stream;
use crate::wire::server_message;
use crate::wire::{Dialect, Encoding, SpaceKey};

/// One slice of the sweep.
struct Slice<'a, S> {
    turn: &'a mut Turn,
    sockets: &'a mut S,
    sends_left: usize,
    /// Members that have been sent a page of what they missed.
    pages_sent: Vec<MemberKey>,
    /// Members that are being closed, and have been sent their last frames.
    finished: Vec<MemberKey>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Visited {
    /// Nothing more is owed.
    Done,
    /// The socket is full or broken.
    Stuck,
}

impl Shard {
    /// Works on what is owed to members, with at most `sweep_sends_max` sends. The turn's records
    /// are in the journal.
    pub(super) fn sweep(&mut self, sockets: &mut impl Sockets) {
        let sends_left = self.turn.limits.sweep_sends_max;
        let (pages_sent, finished) = (Vec::new(), Vec::new());
        let turn = &mut self.turn;
        let mut slice = Slice { turn, sockets, sends_left, pages_sent, finished };
        slice.run(&mut self.rooms);
        let Slice { pages_sent, finished, .. } = slice;
        for key in finished {
            self.rooms.close_sent(&mut self.turn, key);
        }
        self.rooms.settle(&mut self.turn);
        for key in pages_sent {
            self.rooms.page_sent(&mut self.turn, &mut self.commits, key);
        }
    }
}

impl<S: Sockets> Slice<'_, S> {
    fn run(&mut self, rooms: &mut Rooms) {
        // Single members first, but they leave half of the sends to the spaces.
        let half = self.sends_left / 2;
        while self.sends_left > half
            && let Some(key) = self.turn.due.pop_member()
        {
            self.single(rooms, key);
        }
        // One visit may use more sends than were left; the spaces still get their half.
        self.sends_left = self.sends_left.max(half).max(1);
        let mut spaces = self.turn.due.spaces();
        while self.sends_left > 0
            && spaces > 0
            && let Some(slot) = self.turn.due.pop_space()
        {
            spaces -= 1;
            self.space(rooms, slot);
        }
    }

    /// Visits a member that is due by itself.
    fn single(&mut self, rooms: &mut Rooms, key: MemberKey) {
        let Some(member) = rooms.members.get_mut(key) else { return };
        member.dequeued();
        if !member.is_seated() {
            if self.detached(key, member) == Visited::Done {
                self.finished.push(key);
            }
            return;
        }
        let Some(space) = rooms.spaces.at_mut(member.space()) else { return };
        // Only a lagging member can keep the log from being trimmed or its space paused. A full
        // round settles the space at its end.
        let lagged = member.is_lagging();
        if self.member(key, member, space) == Visited::Done && lagged {
            self.turn.due.unsettle(space.slot());
        }
    }

    /// Visits members of a space in their order, as far as the space's share of sends goes.
    fn space(&mut self, rooms: &mut Rooms, slot: u32) {
        let Some(space) = rooms.spaces.at_mut(slot) else { return };
        let stop = self.sends_left.saturating_sub(SPACE_SENDS_MAX);
        while self.sends_left > stop
            && let Some(member) = space.next_visit()
        {
            if let Some((key, member)) = rooms.members.tenant_mut(member) {
                self.member(key, member, space);
            }
        }
        if space.goes_on() {
            self.turn.due.push_space(slot);
        } else {
            self.turn.due.unsettle(slot);
        }
    }

    /// Sends a member all that it is owed, private frames at frame boundaries only.
    fn member(&mut self, key: MemberKey, member: &mut Member, space: &mut Space) -> Visited {
        if member.is_blocked() {
            return Visited::Stuck;
        }
        loop {
            let is_between_frames = member.queue.is_between_frames();
            if is_between_frames {
                let target = self.compose(member, space);
                member.queue.aim(target);
            }
            let sent = match member.queue.has_log_only() {
                true => self.send_log(key, member, space, is_between_frames),
                false => self.send_all(key, member, space, is_between_frames),
            };
            match sent {
                Some(true) => {}
                Some(false) => break,
                None => {
                    // Nothing was taken: what is due by the next try goes first.
                    if is_between_frames {
                        member.queue.aim(member.queue.cursor());
                    }
                    space.set_lagging(member, true);
                    return Visited::Stuck;
                }
            }
        }
        if !member.is_plain()
            && member.catch_up().is_some_and(|catch_up| catch_up.waits_for_socket())
        {
            self.pages_sent.push(key);
        }
        if member.is_lagging() && member.queue.cursor() == space.secured(member.who.encoding) {
            space.set_lagging(member, false);
        }
        Visited::Done
    }

    /// Sends a member what it is owed of the log, the usual case. Returns whether there may be
    /// more; `None`: it is stuck.
    #[inline]
    fn send_log(
        &mut self,
        key: MemberKey,
        member: &mut Member,
        space: &Space,
        is_aimed: bool,
    ) -> Option<bool> {
        let (cursor, boundary) = (member.queue.cursor(), member.queue.boundary());
        if cursor == boundary {
            return Some(false);
        }
        let (first, second) = space.slices(member.who.encoding, cursor, boundary);
        let sent = if second.is_empty() {
            self.sockets.send(key, first)
        } else {
            self.sockets.sendv(key, [&[], first, second, &[]])
        };
        let bytes = self.note(key, member, sent)?;
        member.queue.sent_log(bytes);
        // Who has nothing but the log, and was aimed at its end in this visit, has it all.
        let has_all = is_aimed && member.queue.cursor() == boundary && member.is_plain();
        Some(!has_all)
    }

    /// As [`Slice::send_log`], private frames too.
    fn send_all(
        &mut self,
        key: MemberKey,
        member: &mut Member,
        space: &Space,
        is_between_frames: bool,
    ) -> Option<bool> {
        let next = Next::of(member, space, is_between_frames);
        if next.is_nothing() {
            return Some(false);
        }
        let (sent, offered) = (next.send(self.sockets, key), next.lengths());
        let bytes = self.note(key, member, sent)?;
        member.queue.sent(&mut self.turn.counts, bytes, offered);
        Some(true)
    }

    /// Sends a member that is in no space any more its last private frames.
    fn detached(&mut self, key: MemberKey, member: &mut Member) -> Visited {
        if member.is_blocked() {
            return Visited::Stuck;
        }
        while member.queue.private_bytes() > 0 {
            let last = member.queue.head(true);
            let offered = Offered { head: last.len(), ..Offered::default() };
            let sent = self.sockets.send(key, last);
            let Some(bytes) = self.note(key, member, sent) else { return Visited::Stuck };
            member.queue.sent(&mut self.turn.counts, bytes, offered);
        }
        self.sockets.finish(key);
        Visited::Done
    }

    /// Counts a send; `None`: the member is stuck.
    fn note(&mut self, key: MemberKey, member: &mut Member, sent: Sent) -> Option<usize> {
        self.sends_left = self.sends_left.saturating_sub(1);
        self.turn.counts.add(Metric::Sends, 1);
        match sent {
            Sent::Bytes(bytes) => {
                // What is long takes long: others come between.
                self.sends_left = self.sends_left.saturating_sub(bytes / SEND_BYTES);
                self.turn.counts.add(Metric::SentBytes, bytes as u64);
                member.took_bytes();
                return Some(bytes);
            }
            Sent::Blocked => {
                self.turn.counts.add(Metric::SendsBlocked, 1);
                self.sockets.arm(key);
            }
            // A read will show it too; until then it counts as full.
            Sent::Broken => {}
        }
        member.block(self.turn.now.mono, &mut self.turn.counts);
        None
    }

    /// Between two frames: makes those that are due there, if any. Says up to where the log may be
    /// sent now.
    fn compose(&mut self, member: &mut Member, space: &Space) -> u64 {
        if member.is_plain() {
            space.tell_count(self.turn, member);
            return space.secured(member.who.encoding);
        }
        self.compose_rare(member, space);
        space.tell_count(self.turn, member);
        log_target(member, space)
    }

    fn compose_rare(&mut self, member: &mut Member, space: &Space) {
        let (cursor, secured) = (member.queue.cursor(), space.secured(member.who.encoding));
        let ends = |it: &Resume| it.end == cursor && cursor <= secured;
        let Some(resume) = member.resume().filter(ends) else {
            return space.tell_online(self.turn, member);
        };
        member.end_resume();
        let took = self.turn.now.micros_since(resume.came);
        self.turn.counts.observe(Latency::Resume, took);
        if member.who.dialect == Dialect::V1 {
            let (at, resumed) = (self.turn.at(), &resume.resumed);
            let encoding = member.who.encoding;
            member.queue.push(&mut self.turn.counts, |out| match encoding {
                Encoding::Events => event_stream::resumed(out, resumed, &at),
                Encoding::Frames | Encoding::Deflated => {
                    server_message::resumed(out, resumed, &at);
                }
            });
        }
        if let SpaceKey::Chat(id) = space.key()
            && resume.own_join
        {
            member.tell_join(self.turn, id);
        }
    }
}

/// What a member is sent in one call: what is due at its cursor, the log, answers behind that.
struct Next<'a> {
    head: &'a [u8],
    log: (&'a [u8], &'a [u8]),
    tail: &'a [u8],
}

impl<'a> Next<'a> {
    fn of(member: &'a Member, space: &'a Space, is_between_frames: bool) -> Next<'a> {
        let queue = &member.queue;
        let (cursor, boundary) = (queue.cursor(), queue.boundary());
        if queue.is_answer_cut() {
            return Next { head: &[], log: (&[], &[]), tail: queue.tail(cursor) };
        }
        let log = log(space, member.who.encoding, (cursor, boundary));
        if member.is_behind_by_choice() {
            // What it missed, and that this is all, comes before any answer.
            return Next { head: queue.head(is_between_frames), log, tail: &[] };
        }
        // A part of the log that takes more than two pieces is not at its end here.
        let reached = cursor + (log.0.len() + log.1.len()) as u64;
        Next { head: queue.head(is_between_frames), log, tail: queue.tail(reached) }
    }

    fn is_nothing(&self) -> bool {
        self.head.is_empty() && self.log.0.is_empty() && self.tail.is_empty()
    }

    fn lengths(&self) -> Offered {
        let log = self.log.0.len() + self.log.1.len();
        Offered { head: self.head.len(), log, tail: self.tail.len() }
    }

    fn send(&self, sockets: &mut impl Sockets, key: MemberKey) -> Sent {
        let Next { head, log: (first, second), tail } = *self;
        match (head.is_empty(), second.is_empty(), tail.is_empty()) {
            (true, true, true) => sockets.send(key, first),
            (false, _, true) if first.is_empty() => sockets.send(key, head),
            (true, _, false) if first.is_empty() => sockets.send(key, tail),
            _ => sockets.sendv(key, [head, first, second, tail]),
        }
    }
}

/// The pieces of a space's log between two offsets.
fn log(space: &Space, encoding: Encoding, (from, to): (u64, u64)) -> (&[u8], &[u8]) {
    if from == to { (&[], &[]) } else { space.slices(encoding, from, to) }
}

/// Up to where the log may be sent now.
fn log_target(member: &Member, space: &Space) -> u64 {
    if member.is_held_back() {
        return member.queue.cursor();
    }
    let secured = space.secured(member.who.encoding);
    // Who came back with a position that is not yet secured stands behind that.
    member.resume().map_or(secured, |it| it.end.min(secured).max(member.queue.cursor()))
}
