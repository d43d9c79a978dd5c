//! The sweep: brings cursors to the end of their logs, and private frames out.
//!
//! It visits the members of dirty spaces in rotation, each with one send of all that it is owed,
//! and single members that have private frames or became writable. It works in slices of
//! `sweep_sends_max` sends, so that reads run in between, and goes on where it stopped.

use super::Shard;
use super::arena::Key;
use super::event::{Effects, Sent, Sockets};
use super::member::Member;
use super::space::Space;
use crate::metrics::{Counts, Metric};
use crate::wire::server_message::{self, TimeText};
use crate::wire::time::{MonoMs, Now};
use crate::wire::{Dialect, SpaceKey, UserId};

/// Users of the list of who is online that are encoded at a time.
const LISTING_STEP: usize = 32;
/// Sends of one space before the next dirty one has its turn.
const SPACE_SENDS: usize = 32;

/// What a visit needs beside the member and its space.
struct Visit<'a, S> {
    sockets: &'a mut S,
    counts: &'a mut Counts,
    now: MonoMs,
    at: TimeText,
    utc: TimeText,
    sends_left: usize,
    /// Members that have been sent a page of what they missed.
    pages_sent: Vec<Key>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Visited {
    /// Nothing more is owed.
    Done,
    /// The socket is full or broken.
    Stuck,
}

impl Shard {
    /// Works on what is owed to members, with at most `sweep_sends_max` sends. Says whether there
    /// is more to do. The turn's records must be in the journal before.
    pub fn sweep(&mut self, now: Now, sockets: &mut impl Sockets, fx: &mut Effects) -> bool {
        debug_assert!(fx.records.is_empty(), "the journal comes before the sweep");
        let now = self.never_earlier(now);
        let mut visit = Visit {
            sockets,
            counts: &mut self.counts,
            now: now.mono,
            at: *self.time.text(now.unix),
            utc: *self.utc.text(now.unix),
            sends_left: self.limits.sweep_sends_max,
            pages_sent: Vec::new(),
        };
        // Single members first, but never so many that the spaces starve.
        let half = visit.sends_left / 2;
        let mut finished = Vec::new();
        while visit.sends_left > half {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(member) = self.members.get_mut(key) else { continue };
            member.queued = false;
            let space = self.spaces.at_mut(member.space);
            if member.is_seated() {
                let space = space.expect("a seated member has a space");
                // Only who lagged can have held a log or a pause; rounds settle at their end.
                let lagged = member.lagging;
                if visit.member(key, member, space) == Visited::Done && lagged {
                    self.unsettled.push(member.space);
                }
            } else if visit.detached(key, member) == Visited::Done {
                finished.push(key);
            }
        }
        // One visit may have taken more than its share, but not the spaces'.
        visit.sends_left = visit.sends_left.max(half).max(1);
        let mut spaces = self.dirty.len();
        while visit.sends_left > 0 && spaces > 0 {
            spaces -= 1;
            let Some(slot) = self.dirty.pop_front() else { break };
            let Some(space) = self.spaces.at_mut(slot) else { continue };
            let stop = visit.sends_left.saturating_sub(SPACE_SENDS);
            while visit.sends_left > stop
                && let Some(member) = space.next_visit()
            {
                let key = self.members.key_at(member).expect("a seat is taken");
                let member = self.members.at_mut(member).expect("a seat is taken");
                visit.member(key, member, space);
            }
            if space.sweep_left > 0 {
                self.dirty.push_back(slot);
            } else {
                space.queued = false;
                self.unsettled.push(slot);
            }
        }
        let pages_sent = visit.pages_sent;
        for key in finished {
            self.close_sent(key, fx);
        }
        self.settle_spaces(now, fx);
        for key in pages_sent {
            self.page_sent(now, key, fx);
        }
        !self.ready.is_empty() || !self.dirty.is_empty()
    }
}

impl<S: Sockets> Visit<'_, S> {
    /// Sends a member all that it is owed, private frames at frame boundaries only.
    fn member(&mut self, key: Key, member: &mut Member, space: &mut Space) -> Visited {
        if member.blocked {
            return Visited::Stuck;
        }
        loop {
            if member.at_boundary() {
                if member.private.is_some() {
                    match self.send_private(key, member) {
                        Visited::Done => continue,
                        Visited::Stuck => return stuck(member, Some(space)),
                    }
                }
                if self.compose(member, space) {
                    continue;
                }
                member.boundary = log_target(member, space);
            }
            if member.cursor == member.boundary {
                break;
            }
            let (first, second) = space.log.slices(member.cursor, member.boundary);
            let sent = if second.is_empty() {
                self.sockets.send(key, first)
            } else {
                self.sockets.sendv(key, first, second)
            };
            match self.note(key, member, sent) {
                Some(bytes) => member.cursor += bytes as u64,
                None => return stuck(member, Some(space)),
            }
        }
        let catch_up = member.rare.as_ref().and_then(|rare| rare.catch_up.as_ref());
        if catch_up.is_some_and(|catch_up| catch_up.waits_for_socket()) {
            self.pages_sent.push(key);
        }
        if member.lagging && member.cursor == space.log.end() {
            member.lagging = false;
            space.lagging -= 1;
        }
        Visited::Done
    }

    /// Sends a member that is in no space any more its last private frames.
    fn detached(&mut self, key: Key, member: &mut Member) -> Visited {
        if member.blocked {
            return Visited::Stuck;
        }
        match self.send_private(key, member) {
            Visited::Done => {
                self.sockets.finish(key);
                Visited::Done
            }
            Visited::Stuck => stuck(member, None),
        }
    }

    fn send_private(&mut self, key: Key, member: &mut Member) -> Visited {
        while let Some(private) = &mut member.private {
            if private.bytes().is_empty() {
                member.private = None;
                break;
            }
            let sent = self.sockets.send(key, private.bytes());
            let Some(bytes) = self.note(key, member, sent) else { return Visited::Stuck };
            if let Some(private) = &mut member.private {
                private.sent(bytes);
            }
            self.counts.sub(Metric::PrivateBytes, bytes as u64);
        }
        Visited::Done
    }

    /// Counts a send; `None`: the member is stuck.
    fn note(&mut self, key: Key, member: &mut Member, sent: Sent) -> Option<usize> {
        self.sends_left = self.sends_left.saturating_sub(1);
        self.counts.add(Metric::Sends, 1);
        match sent {
            Sent::Bytes(bytes) => {
                self.counts.add(Metric::SentBytes, bytes as u64);
                if member.closing.is_none() {
                    member.since = self.now;
                }
                return Some(bytes);
            }
            Sent::Blocked => {
                self.counts.add(Metric::SendsBlocked, 1);
                self.sockets.arm(key);
            }
            // A read will show it too; until then it counts as full.
            Sent::Broken => {}
        }
        member.blocked = true;
        self.counts.add(Metric::MembersBlocked, 1);
        // One that is being closed has its time whatever it takes meanwhile.
        let since =
            if member.lagging || member.closing.is_some() { member.since } else { self.now };
        member.since = since.min(self.now);
        None
    }

    /// At a frame boundary with no private frame waiting: makes the next one that is due, if any.
    fn compose(&mut self, member: &mut Member, space: &Space) -> bool {
        let before = member.private_bytes();
        self.compose_rare(member, space);
        if member.dialect == Dialect::V1
            && member.presence_seen != space.presence_version
            && let SpaceKey::Chat(id) = space.key
        {
            member.presence_seen = space.presence_version;
            let (members, at) = (space.roster.len(), &self.at);
            member.private().push(|out| server_message::presence(out, id, members, at));
        }
        let composed = member.private_bytes() - before;
        self.counts.add(Metric::PrivateBytes, composed as u64);
        composed > 0
    }

    fn compose_rare(&mut self, member: &mut Member, space: &Space) {
        let Some(rare) = &mut member.rare else { return };
        if let Some(resume) = rare.resume
            && member.cursor == resume.end
        {
            rare.resume = None;
            let at = self.at;
            if member.dialect == Dialect::V1 {
                member.private().push(|out| server_message::resumed(out, &resume.resumed, &at));
            }
            if let SpaceKey::Chat(id) = space.key
                && resume.own_join
            {
                let (user, name) = (member.user, std::mem::take(&mut member.username));
                member.private().push(|out| _ = server_message::join(out, id, user, &name, &at));
                member.username = name;
            }
        } else if let Some(from) = rare.listing {
            let step = listing_step(space, member.user, from);
            rare.listing = step.last().filter(|_| step.len() == LISTING_STEP).and_then(|last| {
                // The list ends with the highest user id there can be.
                last.0.checked_add(1)
            });
            for user in step {
                let utc = &self.utc;
                member.private().push(|out| _ = server_message::user_status(out, user, true, utc));
            }
        }
    }
}

/// The next users of the list of who is online, from a user id on, without the reader.
fn listing_step(space: &Space, reader: UserId, from: i32) -> Vec<UserId> {
    let mut step: Vec<UserId> = Vec::with_capacity(LISTING_STEP);
    let mut from = Some(from);
    while let Some(lowest) = from
        && step.len() < LISTING_STEP
    {
        // One look-up a user, however many sockets it has.
        let next = space.users.range((UserId(lowest), 0)..).next();
        let Some((user, _)) = next else { break };
        if *user != reader {
            step.push(*user);
        }
        from = user.0.checked_add(1);
    }
    step
}

/// Up to where the log may be sent now.
fn log_target(member: &Member, space: &Space) -> u64 {
    match &member.rare {
        Some(rare) if rare.listing.is_some() || rare.catch_up.is_some() => member.cursor,
        Some(rare) => rare.resume.map_or(space.log.end(), |resume| resume.end),
        None => space.log.end(),
    }
}

fn stuck(member: &mut Member, space: Option<&mut Space>) -> Visited {
    if let Some(space) = space
        && !member.lagging
    {
        member.lagging = true;
        space.lagging += 1;
    }
    Visited::Stuck
}
